"""MLflow's own scikit-learn layout, read without MLflow: an `MLmodel` and no manifest.

`MLmodel` names the files that matter and describes the inputs, so an equivalent manifest can be
made. Such a folder has no manifest whose digest could pin it. Its digest is defined over a listing
instead: the sha256 of the lines `<sha256> <path>` of the files that `MLmodel` names and of itself,
sorted by path. With the names from `named_files`, a shell finds the same:

    sha256sum MLmodel input_example.json model.skops | sha256sum

Reading YAML is left to the callers: this package imports pydantic only.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from reprlib import Repr
from typing import Any, NamedTuple

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
INPUTS_MAX = 100_000
_NUMERIC = ("double", "float", "integer", "long", "boolean", "int", "uint", "bool")
_BOOLEAN = "bool"
_TEXT = ("string", "str", "object")
_CONTINUOUS = ("double", "float")
_SERIALIZATIONS = ("pickle", "cloudpickle", "joblib", "skops")

_BRIEF = Repr()
_BRIEF.maxlevel, _BRIEF.maxlist, _BRIEF.maxdict, _BRIEF.maxstring = 1, 4, 4, 80
"""Values are named in sentences, and YAML can write a value of any size in a few bytes."""

Cell = float | str | None


def listing_digest(files: Iterable[ModelFile]) -> str:
    """Return the sha256, in hexadecimal, of a line for each file, as `sha256sum` prints it."""
    lines = sorted((file.path, file.sha256) for file in files)
    text = "".join(f"{sha256}  {path}\n" for path, sha256 in lines)
    return hashlib.sha256(text.encode()).hexdigest()


def flavor(mlmodel: Mapping[str, Any]) -> tuple[str, str]:
    """Return the model file of the scikit-learn flavour, and how it was written: pickle or skops.

    Raises ValueError, in a sentence, for a model that is not plain scikit-learn.
    """
    flavors = _mapping(mlmodel, "flavors")
    if "sklearn" not in flavors:
        names = ", ".join(sorted(_BRIEF.repr(flavor) for flavor in flavors)[:10])
        msg = f"only scikit-learn models can be served, and this one has the flavours {names}"
        raise ValueError(msg)
    sklearn = _mapping(flavors, "sklearn")
    form, path = sklearn.get("serialization_format") or "pickle", sklearn.get("pickled_model")
    if form not in _SERIALIZATIONS or not isinstance(path, str):
        fact = f"the model file {_BRIEF.repr(path)} was written as {_BRIEF.repr(form)}"
        msg = f"{fact}, which nobody here can read"
        raise ValueError(msg)
    if sklearn.get("code"):
        msg = (
            "the model brings code of its own (code_paths), which is not loaded: use types of "
            "libraries only"
        )
        raise ValueError(msg)
    predict_fn = _mapping(flavors, "python_function").get("predict_fn", "predict")
    if predict_fn != "predict":
        msg = (
            f"the model was saved with pyfunc_predict_fn={_BRIEF.repr(predict_fn)}, but only "
            "'predict' is served"
        )
        raise ValueError(msg)
    return path, "skops" if form == "skops" else "pickle"


def named_files(mlmodel: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the paths of all files that a predictor needs, sorted: these are pinned, no others.

    Raises ValueError as `flavor` does, and for a path that leads out of the folder.
    """
    model_file, _ = flavor(mlmodel)
    paths = {MLMODEL_NAME, model_file}
    if example := example_file(mlmodel):
        paths.add(example)
    # Refuses a path that leads out of the folder.
    return tuple(ModelFile(path=path, sha256="0" * 64, size=0).path for path in sorted(paths))


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
    columns = _columns(signature.get("inputs"))
    rows = _rows(example, columns)
    features = _features(columns, rows)
    sklearn, python = (_mapping(mlmodel["flavors"], key) for key in ("sklearn", "python_function"))
    libraries = {
        "scikit-learn": _text(sklearn, "sklearn_version"),
        "python": _text(python, "python_version"),
    }
    return ArtifactManifest(
        name=name,
        version=version or _text(mlmodel, "model_id") or _text(mlmodel, "model_uuid") or "unknown",
        format="mlflow",
        model_file=MLMODEL_NAME,
        features=features,
        output=Output(task=_task(signature.get("outputs"))),
        libraries={library: number for library, number in libraries.items() if number},
        examples=Examples(rows=rows, predictions=()),
        files=tuple(files),
    )


def _mapping(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a member that is a mapping; nothing and null are empty ones."""
    member = parent.get(key) or {}
    if not isinstance(member, Mapping):
        msg = f"{key} must be a mapping, got {_BRIEF.repr(member)}"
        raise ValueError(msg)
    return member


def _text(parent: Mapping[str, Any], key: str) -> str | None:
    """Return a member that is a text or a number, as text."""
    member = parent.get(key)
    return str(member) if isinstance(member, str | int | float) and member != "" else None


class _Column(NamedTuple):
    """An input of a signature."""

    name: str
    kind: str
    nullable: bool = False
    of_tensor: bool = False
    """True: one of several columns that have no names and one type."""


def _columns(text: object) -> list[_Column]:
    """Return the inputs of a signature in order. Those without a name are called x0, x1, …"""
    columns: list[_Column] = []
    for spec in _specs(text):
        kind, name = spec.get("type"), spec.get("name")
        if kind == "tensor":
            columns += _of_tensor(spec["tensor-spec"], name, len(columns))
        else:
            required = spec.get("required", True)
            columns.append(
                _Column(_name(name, len(columns)), _kind_name(kind), nullable=not required)
            )
        if len(columns) > INPUTS_MAX:
            msg = f"the model has more than {INPUTS_MAX} inputs"
            raise ValueError(msg)
    return columns


def _specs(text: object) -> Sequence[Mapping[str, Any]]:
    specs = json.loads(text) if isinstance(text, str) else []
    if not isinstance(specs, list) or not all(isinstance(spec, Mapping) for spec in specs):
        msg = f"a signature must list inputs or outputs, got {_BRIEF.repr(specs)}"
        raise ValueError(msg)
    return specs


def _of_tensor(tensor: Mapping[str, Any], name: object, start: int) -> list[_Column]:
    shape, kind = tensor["shape"], _kind_name(tensor["dtype"])
    if not isinstance(shape, list) or not all(isinstance(size, int) for size in shape):
        msg = f"an input has the shape {_BRIEF.repr(shape)}, which is no list of sizes"
        raise ValueError(msg)
    if len(shape) == 1:
        return [_Column(_name(name, start), kind)]
    if len(shape) == 2 and 0 < shape[1] <= INPUTS_MAX:
        return [
            _Column(_name(None, index), kind, of_tensor=True)
            for index in range(start, start + shape[1])
        ]
    msg = (
        f"an input has the shape {_BRIEF.repr(shape)}, but only rows of numbers and text can be "
        "served"
    )
    raise ValueError(msg)


def _name(name: object, index: int) -> str:
    """Return the name of an input; columns that a table numbered have none, nor in scikit-learn."""
    return name if isinstance(name, str) and name else f"x{index}"


def _kind_name(kind: object) -> str:
    if not isinstance(kind, str):
        msg = f"an input is of type {_BRIEF.repr(kind)}, but only numbers and text can be served"
        raise ValueError(msg)
    return kind


def _features(columns: Sequence[_Column], rows: Sequence[Sequence[Cell]]) -> tuple[Feature, ...]:
    """Return the inputs as features. What is missing in the example may be missing in a request.

    A tensor says nothing of that, and a gap in one of its columns speaks for all.
    """
    if not columns:
        msg = (
            "the model has no signature, so nobody knows its inputs: save it with an input_example"
        )
        raise ValueError(msg)
    cells = [_cells(rows, index) for index in range(len(columns))]
    gaps = [None in column_cells for column_cells in cells]
    tensor_gap = any(gap for gap, column in zip(gaps, columns, strict=True) if column.of_tensor)
    return tuple(
        Feature(
            name=column.name,
            kind=_kind(column, column_cells),
            nullable=column.nullable or gap or (tensor_gap and column.of_tensor),
            boolean=column.kind.startswith(_BOOLEAN),
        )
        for column, column_cells, gap in zip(columns, cells, gaps, strict=True)
    )


def _cells(rows: Sequence[Sequence[Cell]], index: int) -> list[Cell]:
    return [row[index] for row in rows]


def _kind(column: _Column, cells: Sequence[Cell]) -> FeatureKind:
    if column.kind.startswith(_NUMERIC):
        return FeatureKind.NUMERIC
    if column.kind == "object":
        # An array of objects may hold both; the example tells.
        present = [cell for cell in cells if cell is not None]
        numbers = bool(present) and not any(isinstance(cell, str) for cell in present)
        return FeatureKind.NUMERIC if numbers else FeatureKind.CATEGORICAL
    if column.kind.startswith((*_TEXT, "<U")):
        return FeatureKind.CATEGORICAL
    fact = f"the input {column.name!r} is of type {_BRIEF.repr(column.kind)}"
    msg = f"{fact}, but only numbers and text can be served"
    raise ValueError(msg)


def _task(text: object) -> Any:
    """Return what is predicted: a signature tells numbers with fractions from classes, no more."""
    columns = _columns(text)
    continuous = bool(columns) and columns[0].kind.startswith(_CONTINUOUS)
    return "regression" if continuous else "classification"


def _rows(example: bytes | None, columns: Sequence[_Column]) -> tuple[tuple[Cell, ...], ...]:
    """Return the first rows of a saved input example; without one, zeros for numeric inputs."""
    names = [column.name for column in columns]
    saved_rows = [_row(row, names) for row in _table(example, names)[:EXAMPLE_ROWS]]
    rows = [row for row in saved_rows if row is not None and len(row) == len(names)]
    if not rows and not all(column.kind.startswith(_NUMERIC) for column in columns):
        msg = (
            "the model takes text and has no example row to try it with: save it with an "
            "input_example"
        )
        raise ValueError(msg)
    return tuple(tuple(map(_cell, row)) for row in rows or [[0.0] * len(names)])


def _table(example: bytes | None, names: Sequence[str]) -> list[Any]:
    """Return the rows of a saved input example, empty where it is of another shape."""
    saved = json.loads(example) if example is not None else []
    if isinstance(saved, Mapping):
        saved = saved.get("data") or saved.get("inputs") or saved
    if isinstance(saved, Mapping):
        return _table_of_columns(saved, names)
    return saved if isinstance(saved, list) else []


def _table_of_columns(saved: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    if set(saved) != set(names):
        return []
    columns = [saved[name] for name in names]
    if not all(isinstance(column, list) for column in columns):
        return []
    return [list(row) for row in zip(*columns, strict=False)]


def _row(saved: object, names: Sequence[str]) -> list[Any] | None:
    """Return one row of an example: a list, a record, or the only value of a row."""
    if isinstance(saved, list):
        return saved
    if isinstance(saved, Mapping):
        return [saved[name] for name in names] if set(saved) == set(names) else None
    return [saved] if len(names) == 1 else None


def _cell(cell: object) -> Cell:
    """Return a value as a client would send it: null in JSON where a table has NaN."""
    if cell is None or isinstance(cell, str):
        return cell
    number = float(cell)  # type: ignore[arg-type]
    return None if math.isnan(number) else number
