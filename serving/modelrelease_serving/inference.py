"""The Open Inference Protocol, version 2, over REST: tensors in, tensors out.

Reads `/v2/…/infer` requests into rows and writes answers as tensors, both as JSON and in the binary
extension (`Inference-Header-Content-Length`: a JSON header, then the tensors' bytes in order),
which clients such as Triton's use by default. Two layouts of input are known: one tensor with a row
for each prediction, or one tensor for each feature, by its name.
"""

import json
from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np
from pydantic_core import SchemaValidator, ValidationError, core_schema, from_json

from modelrelease_contract import Feature
from modelrelease_contract.artifact import FeatureKind
from modelrelease_serving.comparison import values_of
from modelrelease_serving.engine import PredictionResult
from modelrelease_serving.errors import BadRequestError
from modelrelease_serving.estimator import Answer
from modelrelease_serving.model import Model
from modelrelease_serving.predictions import VERSION_HEADER, PredictRequest, is_json
from modelrelease_serving.responses import Headers, Reply, protocol_error, reply
from modelrelease_serving.rows import Decoder, refuse_many

LENGTH_HEADER: Final = b"inference-header-content-length"
PROBABILITIES: Final = "probabilities"
FEATURES: Final = "features"
"""Name of the one tensor that holds whole rows. Any other name is understood, too."""

NUMPY: Final = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
"""numpy's type for each datatype that has one: what binary tensors are made of."""
DATATYPES: Final = (*NUMPY, "BYTES")


class _Wanted(NamedTuple):
    """An output tensor that a request asks for."""

    name: str
    binary: bool


class _Tensor(NamedTuple):
    """An input tensor: its values in row-major order."""

    name: str
    shape: list[int]
    values: list[Any]


class Inference:
    """Reads and writes the protocol's inference requests for one model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._features = model.manifest.features
        self._decoder = Decoder(self._features)
        self._output = model.manifest.output.name
        self._headers: Headers = [
            (VERSION_HEADER.lower().encode(), model.manifest.version.encode())
        ]

    def read(self, body: bytes, headers: dict[bytes, bytes]) -> PredictRequest:
        """Return what a request asks for. Raises BadRequestError."""
        document, rest = _split(body, headers)
        request = _document(document)
        tensors = _tensors(request["inputs"], rest)
        rows = self._decoder.check(self._rows(tensors))
        wanted = self._wanted(request)
        explain = any(each.name == PROBABILITIES for each in wanted)
        name = request.get("id")
        return PredictRequest(rows, partial(self._write, wanted, name), explain, name)

    refuse = staticmethod(protocol_error)

    def metadata(self) -> dict[str, Any]:
        """Describe the model's tensors, once it is loaded."""
        columns = self._model.estimator.outputs
        output = {
            "name": self._output,
            "datatype": _datatype(self._model.answer_type),
            "shape": [-1, columns] if columns else [-1],
        }
        outputs = [output]
        if self._model.estimator.has_probabilities:
            classes = len(self._model.estimator.classes)
            outputs.append({"name": PROBABILITIES, "datatype": "FP64", "shape": [-1, classes]})
        return {
            "name": self._model.manifest.name,
            "versions": [self._model.manifest.version],
            "platform": self._model.estimator.library,
            "inputs": self._inputs(),
            "outputs": outputs,
        }

    def _inputs(self) -> list[dict[str, Any]]:
        if all(feature.kind is FeatureKind.NUMERIC for feature in self._features):
            return [{"name": FEATURES, "datatype": "FP64", "shape": [-1, len(self._features)]}]
        return [
            {"name": each.name, "datatype": datatype_of(each), "shape": [-1]}
            for each in self._features
        ]

    def _rows(self, tensors: Sequence[_Tensor]) -> list[list[Any]]:
        width = len(self._features)
        first = tensors[0]
        if len(tensors) == 1 and first.name != self._features[0].name:
            if len(first.shape) != 2 or first.shape[1] != width:
                detail = f"input {first.name!r} must have shape [rows, {width}], got {first.shape}"
                raise BadRequestError(422, detail)
            _require_rows(first.shape[0])
            return [first.values[at : at + width] for at in range(0, len(first.values), width)]
        return self._rows_of_columns({tensor.name: tensor for tensor in tensors})

    def _rows_of_columns(self, tensors: dict[str, _Tensor]) -> list[list[Any]]:
        if unknown := sorted(set(tensors) - {feature.name for feature in self._features}):
            raise BadRequestError(422, f"input {unknown[0]!r} is no feature of this model")
        columns = []
        for feature in self._features:
            tensor = tensors.get(feature.name)
            if tensor is None:
                raise BadRequestError(
                    422, f"feature {feature.name} is missing", feature=feature.name
                )
            if not tensor.shape or tensor.shape[1:] not in ([], [1]):
                detail = f"input {feature.name!r} must have shape [rows], got {tensor.shape}"
                raise BadRequestError(422, detail, feature=feature.name)
            columns.append(tensor.values)
        lengths = {len(column) for column in columns}
        if len(lengths) > 1:
            raise BadRequestError(422, f"all inputs must have as many rows, got {sorted(lengths)}")
        _require_rows(lengths.pop())
        return [list(row) for row in zip(*columns, strict=True)]

    def _wanted(self, request: dict[str, Any]) -> list[_Wanted]:
        binary = _flag(request, "binary_data_output", default=False)
        outputs = request.get("outputs") or [{"name": self._output}]
        known = [self._output]
        if self._model.estimator.has_probabilities:
            known.append(PROBABILITIES)
        for output in outputs:
            if output["name"] not in known:
                detail = f"this model has no output {output['name']!r}: it has {', '.join(known)}"
                raise BadRequestError(422, detail)
        return [
            _Wanted(each["name"], _flag(each, "binary_data", default=binary)) for each in outputs
        ]

    def _write(
        self, wanted: Sequence[_Wanted], name: str | None, result: PredictionResult
    ) -> Reply:
        manifest = self._model.manifest
        outputs, parts = [], []
        for each in wanted:
            described, values = self._tensor(each.name, result)
            if each.binary:
                content = _pack(described["datatype"], values)
                parts.append(content)
                described["parameters"] = {"binary_data_size": len(content)}
            else:
                described["data"] = values
            outputs.append(described)
        answer: dict[str, Any] = {"model_name": manifest.name, "model_version": manifest.version}
        if name is not None:
            answer["id"] = name
        head = json.dumps({**answer, "outputs": outputs}, separators=(",", ":")).encode()
        if not parts:
            return reply(200, head, self._headers)
        headers = [*self._headers, (LENGTH_HEADER, str(len(head)).encode())]
        return reply(200, b"".join([head, *parts]), headers, media_type=b"application/octet-stream")

    def _tensor(self, name: str, result: PredictionResult) -> tuple[dict[str, Any], list[Any]]:
        """Return a tensor's description, and its values in row-major order."""
        rows = len(result.answers)
        if name == PROBABILITIES and result.probabilities is not None:
            values = [share for shares in result.probabilities for share in shares]
            return {"name": name, "datatype": "FP64", "shape": [rows, len(values) // rows]}, values
        columns = self._model.estimator.outputs
        if columns:
            return self._matrix(name, result.answers, [rows, columns])
        datatype = _datatype(type(result.answers[0]))
        return {"name": name, "datatype": datatype, "shape": [rows]}, list(result.answers)

    def _matrix(
        self, name: str, answers: Sequence[Answer], shape: list[int]
    ) -> tuple[dict[str, Any], list[Any]]:
        """Return the tensor of answers that are lists. It has one datatype, whatever they mix."""
        kind = self._model.answer_type
        values = [kind(value) for answer in answers for value in values_of(answer)]
        return {"name": name, "datatype": _datatype(kind), "shape": shape}, values


def _split(body: bytes, headers: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return the JSON document of a body, and the bytes of its binary tensors."""
    length = headers.get(LENGTH_HEADER)
    if length is None:
        media_type = headers.get(b"content-type", b"application/json")
        if not is_json(media_type):
            detail = (
                "send JSON as Content-Type: application/json, or tensors with "
                "Inference-Header-Content-Length"
            )
            raise BadRequestError(415, detail)
        return body, b""
    if not length.isdigit() or len(length) > 9 or int(length) > len(body):
        detail = (
            f"Inference-Header-Content-Length must be a number up to the body's {len(body)} bytes"
        )
        raise BadRequestError(400, detail)
    return body[: int(length)], body[int(length) :]


def _document(content: bytes) -> dict[str, Any]:
    try:
        document: dict[str, Any] = _REQUEST.validate_python(from_json(content))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise BadRequestError(400, f"{place}: {first['msg']}") from error
    except ValueError as error:
        raise BadRequestError(400, f"the body is not JSON: {error}") from error
    return document


def _tensors(inputs: Sequence[dict[str, Any]], rest: bytes) -> list[_Tensor]:
    """Return the input tensors, taking binary ones from `rest` in order."""
    tensors = []
    for each in inputs:
        size = (each.get("parameters") or {}).get("binary_data_size")
        if size is None:
            values = _flat(each)
        else:
            if type(size) is not int or not 0 <= size <= len(rest):
                detail = (
                    f"input {each['name']!r} names {size!r} bytes, but {len(rest)} are left in the "
                    "body"
                )
                raise BadRequestError(400, detail)
            values, rest = _unpack(each, rest[:size]), rest[size:]
        if len(values) != prod(each["shape"]):
            detail = f"input {each['name']!r} has shape {each['shape']}, but {len(values)} values"
            raise BadRequestError(400, detail)
        tensors.append(_Tensor(each["name"], each["shape"], values))
    if rest:
        raise BadRequestError(400, f"{len(rest)} bytes of the body belong to no input")
    return tensors


def _flat(described: dict[str, Any]) -> list[Any]:
    """Return the JSON values of a tensor, nested or not, in row-major order."""
    values = described.get("data")
    if values is None:
        raise BadRequestError(400, f"input {described['name']!r} has no data")
    for _ in described["shape"][1:]:
        if values and all(type(value) is list for value in values):
            values = [inner for value in values for inner in value]
    if described["datatype"] == "BOOL":
        return [float(value) if type(value) is bool else value for value in values]
    if described["datatype"].startswith("FP"):
        # Clients write NaN, which is no JSON, where an array has it: a value is missing.
        return [None if value != value else value for value in values]  # noqa: PLR0124
    return list(values)


def _unpack(described: dict[str, Any], content: bytes) -> list[Any]:
    """Return the binary values of a tensor.
    NaN is how numeric tensors say that a value is missing.
    """
    if described["datatype"] == "BYTES":
        return _texts(described["name"], content)
    kind = np.dtype(NUMPY[described["datatype"]])
    if len(content) % kind.itemsize:
        detail = f"input {described['name']!r}: {len(content)} bytes are no whole number of values"
        raise BadRequestError(400, detail)
    array = np.frombuffer(content, dtype=kind).astype(np.float64)
    values: list[Any] = array.tolist()
    for at in np.flatnonzero(np.isnan(array)).tolist():
        values[at] = None
    return values


def _texts(name: str, content: bytes) -> list[str]:
    """Return texts, each of which follows its length in four bytes."""
    texts, at = [], 0
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "little")
        text = content[at + 4 : at + 4 + length]
        if len(text) < length or at + 4 > len(content):
            raise BadRequestError(400, f"input {name!r}: the last text is cut off")
        try:
            texts.append(text.decode())
        except UnicodeDecodeError as error:
            raise BadRequestError(400, f"input {name!r}: text {len(texts)} is not UTF-8") from error
        at += 4 + length
    return texts


def _pack(datatype: str, values: Sequence[Any]) -> bytes:
    if datatype != "BYTES":
        return np.array(values, dtype=NUMPY[datatype]).tobytes()
    texts = [str(value).encode() for value in values]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def _datatype(kind: type) -> str:
    return {float: "FP64", int: "INT64", bool: "BOOL"}.get(kind, "BYTES")


def datatype_of(feature: Feature) -> str:
    """Return the datatype of a feature's own tensor."""
    if feature.kind is not FeatureKind.NUMERIC:
        return "BYTES"
    return "BOOL" if feature.boolean and not feature.nullable else "FP64"


def _flag(holder: dict[str, Any], name: str, *, default: bool) -> bool:
    return bool((holder.get("parameters") or {}).get(name, default))


def _require_rows(rows: int) -> None:
    if not rows:
        raise BadRequestError(422, "a request must hold a row")
    refuse_many(rows)


def _request_schema() -> core_schema.CoreSchema:
    field, text = core_schema.typed_dict_field, core_schema.str_schema(strict=True)

    def optional(schema: core_schema.CoreSchema) -> core_schema.TypedDictField:
        # Typed clients write every member, and null for those that they do not mean.
        return field(core_schema.nullable_schema(schema), required=False)

    anything = core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema())
    size = core_schema.int_schema(strict=True, ge=0, le=2**31)
    tensor = core_schema.typed_dict_schema(
        {
            "name": field(text),
            "shape": field(core_schema.list_schema(size, min_length=1, max_length=8, strict=True)),
            "datatype": field(core_schema.literal_schema(list(DATATYPES))),
            "parameters": optional(anything),
            "data": field(
                core_schema.list_schema(core_schema.any_schema(), strict=True), required=False
            ),
        }
    )
    output = core_schema.typed_dict_schema({"name": field(text), "parameters": optional(anything)})
    return core_schema.typed_dict_schema(
        {
            "id": optional(text),
            "parameters": optional(anything),
            "inputs": field(core_schema.list_schema(tensor, min_length=1, strict=True)),
            "outputs": optional(core_schema.list_schema(output, strict=True)),
        }
    )


_REQUEST: Final = SchemaValidator(_request_schema())
