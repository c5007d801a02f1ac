"""`/invocations`: rows and answers as MLflow has them, so that clients of its server can stay.

The body is JSON with one of `dataframe_split`, `dataframe_records`, `instances` and `inputs`, or a
CSV file with a head (https://mlflow.org/docs/latest/deployment, "Local inference server"). Columns
are found by name, in any order, and those that the model does not take are left out, as MLflow does
by a model's signature. A value that the feature cannot have is refused as `/predict` refuses it.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from modelrelease_contract import Feature
from modelrelease_contract.artifact import FeatureKind
from modelrelease_serving.engine import PredictionResult
from modelrelease_serving.errors import BadRequestError
from modelrelease_serving.model import Model
from modelrelease_serving.predictions import VERSION_HEADER, PredictRequest, is_json
from modelrelease_serving.responses import Headers, Reply, mlflow_error, reply
from modelrelease_serving.rows import Decoder, refuse_many

CSV: Final = b"text/csv"
MISSING: Final = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"})
"""What a number that is missing is in a CSV file; in a column of texts only the empty field is."""
_TRUTH: Final = {"true": True, "false": False}

Rows = list[list[Any]]


class Invocations:
    """Reads and writes what MLflow's scoring server would, for one model."""

    def __init__(self, model: Model) -> None:
        self._features = model.manifest.features
        self._decoder = Decoder(self._features)
        self._headers: Headers = [
            (VERSION_HEADER.lower().encode(), model.manifest.version.encode())
        ]
        self._forms: Mapping[str, Callable[[Any], Rows]] = {
            "dataframe_split": self._split,
            "dataframe_records": self._records,
            "instances": self._instances,
            "inputs": self._inputs,
        }

    def read(self, body: bytes, headers: dict[bytes, bytes]) -> PredictRequest:
        """Return what a request asks for. Raises BadRequestError."""
        media_type = headers.get(b"content-type", b"application/json")
        if media_type.partition(b";")[0].strip().lower() == CSV:
            rows = self._of_csv(body)
        elif is_json(media_type):
            rows = self._of_json(body)
        else:
            raise BadRequestError(415, "send JSON as application/json, or CSV as text/csv")
        if not rows:
            raise BadRequestError(422, "the request has no rows")
        return PredictRequest(self._decoder.check(rows), self._write)

    refuse = staticmethod(mlflow_error)

    def _write(self, result: PredictionResult) -> Reply:
        text = json.dumps({"predictions": result.answers}, separators=(",", ":"))
        return reply(200, text.encode(), self._headers)

    def _of_json(self, body: bytes) -> Rows:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadRequestError(400, f"the body is not JSON: {error}") from error
        members = list(document) if isinstance(document, dict) else []
        if len(members) != 1 or members[0] not in self._forms:
            forms = ", ".join(self._forms)
            detail = f"the body must be an object with exactly one of {forms}, and nothing else"
            raise BadRequestError(400, detail)
        return self._forms[members[0]](document[members[0]])

    def _split(self, table: Any) -> Rows:
        if not isinstance(table, dict) or not isinstance(table.get("data"), list):
            raise BadRequestError(400, 'dataframe_split must be {"columns": [...], "data": [...]}')
        if "columns" not in table:
            return _lists(table["data"])
        return self._by_name(table["columns"], table["data"])

    def _records(self, records: Any) -> Rows:
        if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
            raise BadRequestError(400, "dataframe_records must be a list of objects")
        return [self._of_record(record, index) for index, record in enumerate(records)]

    def _instances(self, instances: Any) -> Rows:
        if isinstance(instances, list) and instances and isinstance(instances[0], dict):
            return self._records(instances)
        return _lists(instances)

    def _inputs(self, inputs: Any) -> Rows:
        if not isinstance(inputs, dict):
            return _lists(inputs)
        columns = list(inputs.values())
        lengths = {len(column) if isinstance(column, list) else -1 for column in columns}
        if len(lengths) != 1 or -1 in lengths:
            raise BadRequestError(400, "inputs must be lists of the same length, one for a feature")
        return self._by_name(list(inputs), list(zip(*columns, strict=True)))

    def _of_csv(self, body: bytes) -> Rows:
        try:
            lines = list(csv.reader(io.StringIO(body.decode("utf-8-sig")), strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            raise BadRequestError(400, f"the body is not CSV in UTF-8: {error}") from error
        if not lines:
            raise BadRequestError(400, "the body has no line with the names of the columns")
        rows = self._by_name(lines[0], [line for line in lines[1:] if line])
        return [[*map(_typed, self._features, row)] for row in rows]

    def _by_name(self, columns: Any, data: Sequence[Any]) -> Rows:
        """Return rows whose values stand in the order of `columns`, in that of the features."""
        # Tables without names have numbers, tables with two heads have lists.
        if not isinstance(columns, list) or not all(
            isinstance(each, str | int) for each in columns
        ):
            raise BadRequestError(400, "the columns must be a list of names, each a text")
        positions = {str(name): index for index, name in enumerate(columns)}
        if len(positions) < len(columns):
            raise BadRequestError(400, "the columns must be a list of different names")
        refuse_many(len(data))
        self._require(positions)
        order = [positions[feature.name] for feature in self._features]
        for index, row in enumerate(data):
            if not isinstance(row, list | tuple) or len(row) != len(columns):
                detail = f"row {index} must have {len(columns)} values, one for a column"
                raise BadRequestError(422, detail, row=index)
        return [[row[position] for position in order] for row in data]

    def _of_record(self, record: Mapping[str, Any], index: int) -> list[Any]:
        """Return a record's values; what may be missing may be left out."""
        absent = [
            feature.name
            for feature in self._features
            if feature.name not in record and not feature.nullable
        ]
        if absent:
            detail = f"feature {absent[0]} is missing in row {index}"
            raise BadRequestError(422, detail, row=index, feature=absent[0])
        return [record.get(feature.name) for feature in self._features]

    def _require(self, names: Iterable[object]) -> None:
        known = set(names)
        for feature in self._features:
            if feature.name not in known:
                detail = f"feature {feature.name} is missing"
                raise BadRequestError(422, detail, feature=feature.name)


def _lists(rows: Any) -> Rows:
    """Return rows without names: values in the order of the features, or one value each."""
    if not isinstance(rows, list):
        raise BadRequestError(400, "the rows must be a list")
    refuse_many(len(rows))
    return [row if isinstance(row, list) else [row] for row in rows]


def _typed(feature: Feature, text: str) -> object:
    """Return a field of a CSV file as its feature has it; what it cannot be stays a text."""
    if feature.kind is FeatureKind.CATEGORICAL:
        return text or (None if feature.nullable else text)
    if text in MISSING:
        return None
    if feature.boolean and text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    try:
        return float(text)
    except ValueError:
        return text
