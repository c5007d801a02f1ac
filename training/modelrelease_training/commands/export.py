"""`modelrelease-train export`: a fitted estimator of one's own becomes an artifact."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelrelease_training.commands.common import (
    Commands,
    add_command,
    add_label,
    print_answer,
    say,
    table,
)
from modelrelease_training.errors import ArtifactError, DataError

if TYPE_CHECKING:
    import pandas as pd

_EPILOG = """\
examples:
  modelrelease-train export churn.joblib --examples held_out.csv --name churn --version 1
  modelrelease-train export churn.joblib --examples held_out.parquet --drop churned --name churn --version 1 \\
    --output artifacts --model-format skops

MODEL is a fitted estimator that joblib or pickle wrote: reading it runs its code, so take one of your own. Or
it is a model in ONNX, which is served as it is (the extra `onnx`).
The examples are rows that it was not fitted to. A column that it was not fitted to, such as the target, is
left out where the model knows its columns by name. The predictor loads the artifact and answers up to 1,000
of the rows before it is written. In Python: modelrelease_training.own_model.export(model, rows, ...).
"""  # noqa: E501


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "export",
        run,
        summary="make an artifact of a model that you fitted yourself",
        epilog=_EPILOG,
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a .joblib, .pkl or .onnx file")
    parser.add_argument(
        "--examples",
        type=Path,
        required=True,
        metavar="FILE",
        help="a .csv or .parquet file of rows that the model was not fitted to",
    )
    parser.add_argument(
        "--drop",
        action="append",
        default=[],
        metavar="COLUMN",
        help="of the examples, such as the target; may be repeated",
    )
    parser.add_argument(
        "--texts",
        action="store_true",
        help="give the model the only column as a list of texts, as vectorizers take them",
    )
    add_label(parser)
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("artifacts"),
        metavar="FOLDER",
        help="the artifact goes to FOLDER/NAME/VERSION (default: %(default)s)",
    )
    parser.add_argument(
        "--model-format",
        choices=("joblib", "skops", "native"),
        default="joblib",
        help="of the file that is served; native: that of XGBoost, LightGBM or CatBoost (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--feature-service",
        metavar="NAME",
        help="what a feature store calls the columns; it is recorded for whoever looks them up",
    )
    parser.add_argument("--force", action="store_true", help="replace this version if it exists")


def run(options: argparse.Namespace) -> int:
    """Export, and say what came out and how to look at it."""
    from modelrelease_training import own_model  # noqa: PLC0415 (see the package)

    model, rows = _read_model(options.model), _read_rows(options)
    try:
        exported = own_model.export(
            model,
            rows,
            name=options.name,
            version=options.version,
            output=options.output,
            served=options.model_format,
            feature_service=options.feature_service,
            force=options.force,
            say=say,
        )
    except OSError as error:
        reason = error.strerror or error
        msg = f"cannot write to {options.output}: {reason}; choose another --output"
        raise ArtifactError(msg) from error
    fields = {
        "name": options.name,
        "version": options.version,
        "path": str(exported.path),
        "digest": exported.digest,
    }
    serve = f"MODEL_PATH={exported.path} MODEL_SHA256={exported.digest}"
    lines = {
        "folder": exported.path,
        "digest": exported.digest,
        "to serve it": f"{serve} python -m modelrelease_serving",
    }
    print_answer(options, fields, table(f"Exported {options.name} {options.version}", lines))
    return 0


def _read_model(path: Path) -> Any:
    import joblib  # noqa: PLC0415 (see the package)

    if path.suffix == ".onnx" and path.is_file():
        return path
    try:
        return joblib.load(path)
    except Exception as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        msg = (
            f"{path} cannot be read as a model ({reason}): name a file that joblib or pickle wrote"
        )
        raise ArtifactError(msg) from error


def _read_rows(options: argparse.Namespace) -> "pd.DataFrame | list[str]":
    from modelrelease_training.ingest import read_table  # noqa: PLC0415 (see the package)

    path = options.examples
    rows = read_table(path)
    if absent := [name for name in options.drop if name not in rows.columns]:
        columns = ", ".join(map(str, rows.columns))
        msg = f"--drop {absent[0]}: {path} has the columns {columns}"
        raise DataError(msg)
    rows = rows.drop(columns=options.drop)
    if not options.texts:
        return rows
    if len(rows.columns) != 1:
        msg = f"--texts takes one column, and {path} has {len(rows.columns)}: --drop the others"
        raise DataError(msg)
    # Again, as words: one that looks like a number, or like nothing, is a word.
    name = rows.columns[0]
    texts: list[object] = read_table(path, texts=[name])[name].fillna("").tolist()
    strange = [index for index, text in enumerate(texts) if not isinstance(text, str)]
    if strange:
        msg = f"--texts: row {strange[0]} of {path} holds {texts[strange[0]]!r}, which is no text"
        raise DataError(msg)
    return [str(text) for text in texts]
