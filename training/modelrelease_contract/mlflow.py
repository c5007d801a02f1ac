"""MLflow's own scikit-learn layout, read without MLflow: a folder with an `MLmodel` and no manifest.

`MLmodel` names the files that matter and describes the inputs, so an equivalent manifest can be made.
Such a folder has no manifest whose digest could pin it. Its digest is defined over a listing instead:
the sha256 of the lines `<sha256>  <path>` of the files that `MLmodel` names and of itself, sorted by
path. With the names from `named_files`, a shell finds the same:

    sha256sum MLmodel input_example.json model.skops | sha256sum

Reading YAML is left to the callers: this package imports pydantic only.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from modelrelease_contract.artifact import (
    ArtifactManifest,
    Examples,
    Feature,
    FeatureKind,
    ModelFile,
    Output,
)

MLMODEL_NAME = "MLmodel"
"""File name of MLflow's description of a model, at the top of its folder."""

EXAMPLE_ROWS = 8
_NUMERIC = ("double", "float", "integer", "long", "boolean", "int", "uint", "bool")
_TEXT = ("string", "str", "object")
_CONTINUOUS = ("double", "float")
_SERIALIZATIONS = ("pickle", "cloudpickle", "joblib", "skops")


def listing_digest(files: Iterable[ModelFile]) -> str:
    """Return the sha256, in hexadecimal, that pins `files`: of a line for each, as `sha256sum` prints it."""
    lines = sorted((file.path, file.sha256) for file in files)
    text = "".join(f"{sha256}  {path}\n" for path, sha256 in lines)
    return hashlib.sha256(text.encode()).hexdigest()


def flavor(mlmodel: Mapping[str, Any]) -> tuple[str, str]:
    """Return the model file of the scikit-learn flavour, and how it was written: pickle or skops.

    Raises ValueError, in a sentence, for a model that is not plain scikit-learn.
    """
    flavors = _mapping(mlmodel, "flavors")
    if "sklearn" not in flavors:
        msg = f"only scikit-learn models can be served, and this one has the flavours {sorted(flavors)}"
        raise ValueError(msg)
    sklearn = _mapping(flavors, "sklearn")
    form, path = sklearn.get("serialization_format") or "pickle", sklearn.get("pickled_model")
    if form not in _SERIALIZATIONS or not isinstance(path, str):
        msg = f"the model file {path!r} was written as {form!r}, which nobody here can read"
        raise ValueError(msg)
    if sklearn.get("code"):
        msg = (
            "the model brings code of its own (code_paths), which is not loaded: use types of libraries only"
        )
        raise ValueError(msg)
    answers = _mapping(flavors, "python_function").get("predict_fn", "predict")
    if answers != "predict":
        msg = f"the model was saved with pyfunc_predict_fn={answers!r}, but only 'predict' is served"
        raise ValueError(msg)
    return path, "skops" if form == "skops" else "pickle"


def named_files(mlmodel: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the paths of all files that a predictor needs, sorted: these are pinned, no others.

    Raises ValueError as `flavor` does, and for a path that leads out of the folder.
    """
    model_file, _ = flavor(mlmodel)
    example = example_file(mlmodel)
    paths = sorted({MLMODEL_NAME, model_file} | ({example} if example else set()))
    # Refuses a path that leads out of the folder.
    return tuple(ModelFile(path=path, sha256="0" * 64, size=0).path for path in paths)


def example_file(mlmodel: Mapping[str, Any]) -> str | None:
    """Return the path of the saved input example, if there is one."""
    example = _mapping(mlmodel, "saved_input_example_info").get("artifact_path")
    return example if isinstance(example, str) else None


def mlflow_manifest(
    mlmodel: Mapping[str, Any],
    files: Sequence[ModelFile],
    *,
    name: str,
    version: str | None = None,
    example: bytes | None = None,
) -> ArtifactManifest:
    """Return the manifest that is equivalent to `mlmodel`, whose named files are `files`.

    `version` is the registry's; MLflow's own id of the model stands in for it. `example` is the
    content of the saved input example: its rows must be answered, with what nobody recorded.
    Raises ValueError (pydantic's ValidationError is one) for a model that cannot be served.
    """
    flavor(mlmodel)
    signature = _mapping(mlmodel, "signature")
    features = _features(signature.get("inputs"))
    sklearn, python = (_mapping(mlmodel["flavors"], key) for key in ("sklearn", "python_function"))
    libraries = {"scikit-learn": sklearn.get("sklearn_version"), "python": python.get("python_version")}
    return ArtifactManifest(
        name=name,
        version=version or str(mlmodel.get("model_id") or mlmodel.get("model_uuid") or "unknown"),
        format="mlflow",
        model_file=MLMODEL_NAME,
        features=features,
        output=Output(task=_task(signature.get("outputs"))),
        libraries={library: str(number) for library, number in libraries.items() if number},
        examples=Examples(rows=_rows(example, features), predictions=()),
        files=tuple(files),
    )


def _mapping(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a member that is a mapping; nothing and null are empty ones."""
    found = parent.get(key) or {}
    if not isinstance(found, Mapping):
        msg = f"{key} must be a mapping, got {found!r}"
        raise ValueError(msg)
    return found


def _columns(text: object) -> list[tuple[str | None, str, bool]]:
    """Return name, type and whether it is required, for each input of a signature."""
    columns: list[tuple[str | None, str, bool]] = []
    for spec in json.loads(text) if isinstance(text, str) else []:
        kind = spec.get("type")
        if kind != "tensor":
            columns.append((spec.get("name"), str(kind), spec.get("required", True)))
            continue
        shape, dtype = spec["tensor-spec"]["shape"], spec["tensor-spec"]["dtype"]
        if not isinstance(shape, list):
            msg = f"an input has the shape {shape!r}, which is no list of sizes"
            raise ValueError(msg)
        if len(shape) == 1:
            columns.append((spec.get("name"), dtype, True))
        elif len(shape) == 2 and shape[1] > 0:
            columns += [(None, dtype, True)] * shape[1]
        else:
            msg = f"an input has the shape {shape}, but only rows of numbers and text can be served"
            raise ValueError(msg)
    return columns


def _features(text: object) -> tuple[Feature, ...]:
    columns = _columns(text)
    if not columns:
        msg = "the model has no signature, so nobody knows its inputs: save it with an input_example"
        raise ValueError(msg)
    return tuple(
        Feature(name=name or f"x{index}", kind=_kind(name or f"x{index}", kind), nullable=not required)
        for index, (name, kind, required) in enumerate(columns)
    )


def _kind(name: str, kind: str) -> FeatureKind:
    if kind.startswith(_NUMERIC):
        return FeatureKind.NUMERIC
    if kind.startswith((*_TEXT, "<U")):
        return FeatureKind.CATEGORICAL
    msg = f"the input {name!r} is of type {kind!r}, but only numbers and text can be served"
    raise ValueError(msg)


def _task(text: object) -> Any:
    """Return what is predicted: a signature tells numbers with fractions from classes, no more."""
    kinds = [kind for _, kind, _ in _columns(text)]
    return "regression" if kinds and kinds[0].startswith(_CONTINUOUS) else "classification"


def _rows(example: bytes | None, features: Sequence[Feature]) -> tuple[tuple[float | str | None, ...], ...]:
    """Return the first rows of a saved input example, or a row of zeros where all inputs are numbers."""
    saved = json.loads(example) if example is not None else []
    if isinstance(saved, Mapping):
        saved = saved.get("data") or saved.get("inputs") or []
    table = saved[:EXAMPLE_ROWS] if isinstance(saved, list) else []
    rows = [row for row in table if isinstance(row, list) and len(row) == len(features)]
    if not rows and any(feature.kind is FeatureKind.CATEGORICAL for feature in features):
        msg = "the model takes text and has no example row to try it with: save it with an input_example"
        raise ValueError(msg)
    return tuple(tuple(_cell(cell) for cell in row) for row in rows or [[0.0] * len(features)])


def _cell(cell: object) -> float | str | None:
    return cell if cell is None or isinstance(cell, str) else float(cell)  # type: ignore[arg-type]
