"""From a request's bytes to rows that the model can take, or to the first mistake in them.

Pure: bytes and the manifest's features in, plain lists out. A valid body is decoded and checked in
one typed pass, by a validator that is compiled once from the features and makes no object for a
request. Whatever that refuses goes through the checker below, written by hand, which is the
definition: its messages name the row and the feature.
"""

import json
import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, NoReturn

from pydantic_core import CoreSchema, SchemaValidator, ValidationError, core_schema

from modelrelease_contract import Feature
from modelrelease_contract.artifact import FeatureKind
from modelrelease_serving.errors import BadRequestError
from modelrelease_serving.tables import Value

MAX_ROWS: Final = 1000
NUMBER_MAX: Final = 3.4028234663852886e38
"""The largest 32-bit float: beyond it trees cannot compare, and sums of other models overflow."""


class ParsedBody(NamedTuple):
    """What one request to `/predict` asks for."""

    rows: list[list[Value]]
    single: bool
    """True when one bare row was sent instead of a list."""
    probabilities: bool = False


class Decoder:
    """Decodes and checks the bodies of one model's requests."""

    __slots__ = ("_features", "_rows", "_validator")

    def __init__(self, features: Sequence[Feature]) -> None:
        row = _row_schema(features)
        rows = core_schema.list_schema(row, min_length=1, max_length=MAX_ROWS, fail_fast=True)
        self._features = features
        self._rows = SchemaValidator(rows)
        self._validator = SchemaValidator(
            core_schema.typed_dict_schema(
                {
                    "features": core_schema.typed_dict_field(
                        core_schema.union_schema([row, rows], mode="left_to_right")
                    ),
                    "probabilities": core_schema.typed_dict_field(
                        core_schema.bool_schema(strict=True), required=False
                    ),
                }
            )
        )

    def decode(self, body: bytes) -> ParsedBody:
        """Return what a body asks for. Raises BadRequestError as `parse_rows` does."""
        try:
            document = self._validator.validate_json(body)
        except ValidationError:
            return parse_rows(body, self._features)
        features = document["features"]
        probabilities = document.get("probabilities", False)
        if type(features[0]) is list:
            return ParsedBody(features, False, probabilities)
        return ParsedBody([features], True, probabilities)

    def check(self, rows: list[list[Any]]) -> list[list[Value]]:
        """Return rows that are no longer JSON, once each value is one that its feature can have.

        Raises BadRequestError: 413 for too many rows, 422 for a wrong value.
        """
        try:
            checked: list[list[Value]] = self._rows.validate_python(rows)
        except ValidationError:
            return check_rows(rows, self._features)
        return checked


def parse_rows(body: bytes, features: Sequence[Feature]) -> ParsedBody:
    """Return the rows of `{"features": [...]}`, checked one by one.

    Raises BadRequestError: 400 for what is not such a document, 413 for too many rows, 422 for a
    value that the feature cannot have.
    """
    rows, probabilities = _document(body)
    single = not rows or not isinstance(rows[0], list)
    if single:
        rows = [rows]
    return ParsedBody(check_rows(rows, features), single, probabilities)


def check_rows(rows: Sequence[Any], features: Sequence[Feature]) -> list[list[Value]]:
    """Return the rows as the model takes them. Raises BadRequestError, 413 or 422."""
    refuse_many(len(rows))
    return [_row(values, index, features) for index, values in enumerate(rows)]


def refuse_many(rows: int) -> None:
    """Raise BadRequestError for more rows than one request may hold."""
    if rows > MAX_ROWS:
        raise BadRequestError(
            413, f"a request may hold {MAX_ROWS} rows, got {rows}: send several requests"
        )


def _row_schema(features: Sequence[Feature]) -> CoreSchema:
    values = [_value_schema(feature) for feature in features]
    if all(value == values[0] for value in values):
        return core_schema.list_schema(
            values[0], strict=True, min_length=len(values), max_length=len(values), fail_fast=True
        )
    # A tuple has a schema for each place; the answer is a list again, as everywhere else.
    places = core_schema.tuple_schema(values, strict=True, fail_fast=True)
    return core_schema.no_info_after_validator_function(list, places)


def _value_schema(feature: Feature) -> CoreSchema:
    value: CoreSchema
    if feature.boolean:
        value = core_schema.no_info_plain_validator_function(_truth)
    elif feature.kind is FeatureKind.NUMERIC:
        value = core_schema.float_schema(
            strict=True, allow_inf_nan=False, ge=-NUMBER_MAX, le=NUMBER_MAX
        )
    else:
        value = core_schema.str_schema(strict=True)
    return core_schema.nullable_schema(value) if feature.nullable else value


def _truth(value: object) -> float:
    """Return true and false as numbers, which some clients write them as. Raises ValueError."""
    if isinstance(value, bool | int | float) and value in (0, 1):
        return float(value)
    raise ValueError


def _document(body: bytes) -> tuple[list[Any], bool]:
    try:
        document = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(400, f"the body is not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("features"), list):
        detail = 'the body must be an object with "features": one row of values, or a list of rows'
        raise BadRequestError(400, detail)
    probabilities = document.get("probabilities", False)
    if not isinstance(probabilities, bool):
        raise BadRequestError(400, '"probabilities" must be true or false')
    return list(document["features"]), probabilities


def _no_constant(name: str) -> NoReturn:
    msg = f"{name} is not a JSON number"
    raise ValueError(msg)


def _row(values: Any, index: int, features: Sequence[Feature]) -> list[Value]:
    if not isinstance(values, list) or len(values) != len(features):
        actual = f"a {type(values).__name__}"
        if isinstance(values, list):
            actual = f"{len(values)} values"
        detail = f"row {index} must hold {len(features)} values, one for each feature, got {actual}"
        raise BadRequestError(422, detail, row=index)
    return [_value(value, index, feature) for value, feature in zip(values, features, strict=True)]


def _value(value: Any, row: int, feature: Feature) -> Value:
    """Return the value as the model takes it; numbers out of training's range are not refused."""
    if feature.boolean:
        if isinstance(value, bool | int | float) and value in (0, 1):
            return float(value)
        rule = "true or false"
    elif feature.kind is FeatureKind.NUMERIC:
        # type() and not isinstance(): True is an int, and no client means 1.0 by it.
        if type(value) is int or (type(value) is float and math.isfinite(value)):
            if -NUMBER_MAX <= value <= NUMBER_MAX:
                return float(value)
            _refuse(row, feature, "a number that fits a 32-bit float", "one that is too large")
        rule = "a finite number"
    else:
        if isinstance(value, str):
            return value
        rule = "a text"
    if value is None and feature.nullable:
        return None
    return _refuse(row, feature, rule, json.dumps(value)[:80])


def _refuse(row: int, feature: Feature, rule: str, actual: str) -> NoReturn:
    detail = f"row {row}: feature {feature.name} must be {rule}, got {actual}"
    raise BadRequestError(422, detail, row=row, feature=feature.name)
