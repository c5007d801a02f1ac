"""What the OpenAPI document says of predictions: the model's features, and every answer's shape.

JSON Schema as plain data. Ranges of training are descriptions here, for a value outside them is
counted and not refused.
"""

from collections.abc import Sequence
from typing import Any, Final

from modelrelease_contract import ArtifactManifest, Feature
from modelrelease_contract.artifact import FeatureKind
from modelrelease_contract.shadow import ShadowSettings
from modelrelease_serving.inference import DATATYPES, FEATURES, PROBABILITIES, datatype_of
from modelrelease_serving.rows import MAX_ROWS, NUMBER_MAX

Schema = dict[str, Any]

_NUMBER: Final[Schema] = {"type": "number", "minimum": -NUMBER_MAX, "maximum": NUMBER_MAX}
_ANSWER: Final[Schema] = {"type": ["number", "string"]}
_SHARES: Final[Schema] = {"type": "object", "additionalProperties": {"type": "number"}}
_PROBLEM: Final[Schema] = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "row": {"type": "integer", "description": "the first row with a mistake, from 0"},
        "feature": {"type": "string"},
        "error": {
            "type": "string",
            "description": "the detail, as the Open Inference Protocol names it",
        },
    },
}
_REFUSALS: Final = {
    400: "The body is not such a document",
    404: "Nothing of that name",
    408: "The request was not complete in time",
    413: "Too many bytes or rows",
    415: "The body is of another media type, or compressed",
    422: "A value that the feature cannot have; `row` and `feature` name it",
    500: "The model failed",
    503: "The model is still loading, or too much waits for it",
}


def problems(*codes: int) -> dict[int | str, Schema]:
    """Return the description of answers that are problem documents."""
    return _refusals(codes, "application/problem+json")


def errors(*codes: int) -> dict[int | str, Schema]:
    """Return the same for the Open Inference Protocol, whose clients know no type but JSON."""
    return _refusals(codes, "application/json")


def _refusals(codes: Sequence[int], media_type: str) -> dict[int | str, Schema]:
    return {
        code: {"description": _REFUSALS[code], "content": {media_type: {"schema": _PROBLEM}}}
        for code in codes
    }


def answer(
    schema: Schema, description: str = "The answer", *, code: int = 200
) -> dict[int | str, Schema]:
    """Return the description of an answer."""
    return {code: {"description": description, "content": {"application/json": {"schema": schema}}}}


def text(*names: str) -> Schema:
    """Return the schema of an object with texts under `names`."""
    return record({name: {"type": "string"} for name in names})


def record(properties: dict[str, Schema], **optional: Schema) -> Schema:
    """Return the schema of an object; `properties` are always there."""
    return {"type": "object", "required": [*properties], "properties": {**properties, **optional}}


def predict_request(manifest: ArtifactManifest) -> Schema:
    """Describe the request of `/predict` by the artifact's own features, with its example rows."""
    row = _row(manifest)
    rows = {"type": "array", "items": row, "minItems": 1, "maxItems": MAX_ROWS}
    schema = record(
        {"features": {"description": "one row, or a list of rows", "oneOf": [row, rows]}},
        probabilities={
            "type": "boolean",
            "description": "whether to tell the probability of each class",
        },
    )
    sent = [_row_as_sent(manifest.features, row) for row in manifest.examples.rows[:2]]
    examples = {
        "one row": {"value": {"features": sent[0]}},
        "two rows": {"value": {"features": sent}},
    }
    return _body(schema, examples)


def predict_answer(manifest: ArtifactManifest) -> Schema:
    """Describe the answer of `/predict`."""
    return {
        "type": "object",
        "required": ["model_version"],
        "properties": {
            "prediction": {**_prediction(manifest), "description": "for one row"},
            "predictions": {
                "type": "array",
                "items": _prediction(manifest),
                "description": "for a list of rows",
            },
            "probabilities": {"oneOf": [_SHARES, {"type": "array", "items": _SHARES}]},
            "model_version": {"const": manifest.version},
        },
        "oneOf": [{"required": ["prediction"]}, {"required": ["predictions"]}],
    }


def invocations_request(manifest: ArtifactManifest) -> Schema:
    """Describe a request of MLflow's clients, with examples that work."""
    names = [feature.name for feature in manifest.features]
    row = _row_as_sent(manifest.features, manifest.examples.rows[0])
    rows = {"type": "array", "items": _row(manifest), "minItems": 1, "maxItems": MAX_ROWS}
    values = [_value(feature, index, manifest) for index, feature in enumerate(manifest.features)]
    of_record = record(dict(zip(names, values, strict=True)))
    forms: dict[str, Schema] = {
        "dataframe_split": record({"columns": {"const": names}, "data": rows}),
        "dataframe_records": {**rows, "items": of_record},
        "instances": rows,
        "inputs": rows,
    }
    alone = {"additionalProperties": False}
    schema = {"oneOf": [record({name: form}) | alone for name, form in forms.items()]}
    table = {"columns": names, "data": [row]}
    examples = {
        "a table": {"value": {"dataframe_split": table}},
        "records": {"value": {"dataframe_records": [dict(zip(names, row, strict=True))]}},
    }
    return _body(schema, examples)


def invocations_answer(manifest: ArtifactManifest) -> Schema:
    """Describe the answer to MLflow's clients."""
    return record({"predictions": {"type": "array", "items": _prediction(manifest)}})


def _prediction(manifest: ArtifactManifest) -> Schema:
    """Describe the answer to one row: one value, or one for each column of the output."""
    columns = manifest.output.columns
    if not columns:
        return _ANSWER
    values = [{**_ANSWER, "title": column.name} for column in columns]
    number = len(columns)
    return {"type": "array", "prefixItems": values, "minItems": number, "maxItems": number}


def infer_request(manifest: ArtifactManifest) -> Schema:
    """Describe an inference request, with an example that works."""
    tensor = record(
        {
            "name": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
            "datatype": {"enum": [*DATATYPES]},
        },
        data={"type": "array", "description": "in row-major order, nested or not"},
        parameters={"type": "object"},
    )
    output = record(
        {"name": {"enum": [manifest.output.name, PROBABILITIES]}}, parameters={"type": "object"}
    )
    schema = record(
        {"inputs": {"type": "array", "items": tensor, "minItems": 1}},
        id={"type": "string"},
        outputs={"type": "array", "items": output},
        parameters={"type": "object"},
    )
    return _body(schema, {"one row": {"value": infer_example(manifest)}})


def infer_example(manifest: ArtifactManifest) -> Schema:
    """Return an inference request for the first example row."""
    row = list(manifest.examples.rows[0])
    if all(feature.kind is FeatureKind.NUMERIC for feature in manifest.features):
        tensor = {"name": FEATURES, "datatype": "FP64", "shape": [1, len(row)], "data": row}
        return {"inputs": [tensor]}
    columns = zip(manifest.features, row, strict=True)
    return {
        "inputs": [
            {
                "name": feature.name,
                "datatype": datatype_of(feature),
                "shape": [1],
                "data": [_as_sent(feature, value)],
            }
            for feature, value in columns
        ]
    }


def infer_answer() -> Schema:
    """Describe the answer of an inference request."""
    tensor = record(
        {
            "name": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "datatype": {"enum": [*DATATYPES]},
        },
        data={"type": "array", "items": {"type": ["number", "string", "boolean"]}},
        parameters={"type": "object"},
    )
    return record(
        {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "outputs": {"type": "array", "items": tensor},
        },
        id={"type": "string"},
    )


def metadata_answer() -> Schema:
    """Describe the metadata of a model."""
    tensor = record(
        {
            "name": {"type": "string"},
            "datatype": {"enum": [*DATATYPES]},
            "shape": {"type": "array", "items": {"type": "integer"}},
        }
    )
    return record(
        {
            "name": {"type": "string"},
            "versions": {"type": "array", "items": {"type": "string"}},
            "platform": {"type": "string"},
            "inputs": {"type": "array", "items": tensor},
            "outputs": {"type": "array", "items": tensor},
        }
    )


def wish_answer() -> Schema:
    """Describe which copies of requests a predictor wants."""
    settings = {"anyOf": [ShadowSettings.model_json_schema(), {"type": "null"}]}
    return record({"revision": {"type": "string"}, "settings": settings})


def _body(schema: Schema, examples: Schema) -> Schema:
    content = {"application/json": {"schema": schema, "examples": examples}}
    return {"requestBody": {"required": True, "content": content}}


def _row(manifest: ArtifactManifest) -> Schema:
    values = [_value(feature, index, manifest) for index, feature in enumerate(manifest.features)]
    return {
        "type": "array",
        "prefixItems": values,
        "minItems": len(values),
        "maxItems": len(values),
    }


def _value(feature: Feature, index: int, manifest: ArtifactManifest) -> Schema:
    schema: Schema = {
        "title": feature.name,
        "description": _description(feature),
        "examples": [_as_sent(feature, manifest.examples.rows[0][index])],
        **(_NUMBER if feature.kind is FeatureKind.NUMERIC else {"type": "string"}),
    }
    if feature.boolean:
        schema = {name: schema[name] for name in ("title", "description", "examples")}
        schema["type"] = "boolean"
    if feature.nullable:
        schema["type"] = [schema["type"], "null"]
    return schema


def _row_as_sent(features: Sequence[Feature], row: Sequence[float | str | None]) -> list[object]:
    return [_as_sent(*pair) for pair in zip(features, row, strict=True)]


def _as_sent(feature: Feature, value: float | str | None) -> float | str | bool | None:
    """Return a value as a client writes it."""
    return bool(value) if feature.boolean and value is not None else value


def _description(feature: Feature) -> str:
    if feature.boolean:
        return "true or false"
    if feature.kind is FeatureKind.CATEGORICAL:
        return f"at training: {', '.join(feature.categories) or 'any text'}"
    low = "any" if feature.minimum is None else f"{feature.minimum:g}"
    high = "any" if feature.maximum is None else f"{feature.maximum:g}"
    return (
        f"at training from {low} to {high}; other numbers are answered, and counted as out of range"
    )
