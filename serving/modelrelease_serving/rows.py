"""From a request's bytes to rows that the model can take, or to the first mistake in them.

Pure: bytes and the manifest's features in, plain lists out. Written by hand rather than as a
pydantic model because it runs for every request and its messages name the feature.
"""

import json
import math
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from modelrelease_contract import Feature
from modelrelease_contract.artifact import FeatureKind
from modelrelease_serving.errors import BadRequestError
from modelrelease_serving.model import Value

MAX_ROWS: Final = 1000


def parse_rows(body: bytes, features: Sequence[Feature]) -> tuple[list[list[Value]], bool]:
    """Return the rows of `{"features": [...]}`, and True when one bare row was sent instead of a list.

    Raises BadRequestError: 400 for what is not such a document, 413 for too many rows, 422 for a
    value that the feature cannot have.
    """
    given = _document(body)
    single = not given or not isinstance(given[0], list)
    rows = [given] if single else given
    if len(rows) > MAX_ROWS:
        raise BadRequestError(
            413, f"a request may hold {MAX_ROWS} rows, got {len(rows)}: send several requests"
        )
    return [_row(values, index, features) for index, values in enumerate(rows)], single


def _document(body: bytes) -> list[Any]:
    try:
        document = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(400, f"the body is not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("features"), list):
        detail = 'the body must be an object with "features": one row of values, or a list of rows'
        raise BadRequestError(400, detail)
    return list(document["features"])


def _no_constant(name: str) -> NoReturn:
    msg = f"{name} is not a JSON number"
    raise ValueError(msg)


def _row(values: Any, index: int, features: Sequence[Feature]) -> list[Value]:
    if not isinstance(values, list) or len(values) != len(features):
        got = f"{len(values)} values" if isinstance(values, list) else f"a {type(values).__name__}"
        detail = f"row {index} must hold {len(features)} values, one for each feature, got {got}"
        raise BadRequestError(422, detail, row=index)
    return [_value(value, index, feature) for value, feature in zip(values, features, strict=True)]


def _value(value: Any, row: int, feature: Feature) -> Value:
    """Return the value as the model takes it. A number out of the range of training is not refused."""
    if feature.kind is FeatureKind.NUMERIC:
        # type() and not isinstance(): True is an int, and no client means 1.0 by it.
        if type(value) is float and math.isfinite(value):
            return value
        if type(value) is int:
            try:
                return float(value)
            except OverflowError:
                _refuse(row, feature, "a number that fits a 64-bit float", "one that is too large")
        rule = "a finite number"
    else:
        if isinstance(value, str):
            return value
        rule = "a text"
    if value is None and feature.nullable:
        return None
    return _refuse(row, feature, rule, json.dumps(value)[:80])


def _refuse(row: int, feature: Feature, rule: str, got: str) -> NoReturn:
    detail = f"row {row}: feature {feature.name} must be {rule}, got {got}"
    raise BadRequestError(422, detail, row=row, feature=feature.name)
