"""Any fitted estimator becomes an artifact: `modelrelease-train export`, and `export` in Python.

Nothing here fits. The rows are given as the estimator takes them, and what it answers them is
recorded. Before the artifact appears, the predictor has loaded it in a process of its own and has
given the same answers.
"""

import io
import json
import math
import os
import pickle
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError
from typing_extensions import override

from modelrelease_contract.artifact import (
    MANIFEST_BYTES_MAX,
    ArtifactManifest,
    Baseline,
    Examples,
    Format,
    Histogram,
    Output,
    OutputColumn,
    Version,
)
from modelrelease_training.bins import edges, histogram, text_histogram
from modelrelease_training.booster_files import BOOSTERS, is_bare, native_files, native_format
from modelrelease_training.columns import Columns, Value, columns_of
from modelrelease_training.errors import ArtifactError
from modelrelease_training.export import (
    EXAMPLE_ROWS,
    Exported,
    Files,
    Label,
    dump,
    encode,
    libraries_of,
    listed,
    write,
)

LEAST_ROWS: Final = 200
"""Rows from which a baseline is recorded: of fewer, chance alone looks like drift."""
MOST_EXAMPLES: Final = 32
TRIED_ROWS: Final = 1000
"""Rows that the predictor must answer as the estimator did: what one request may hold."""
TOLERANCE: Final = 1e-6
TRIAL_SECONDS: Final = 300
_OURS: Final = frozenset({"joblib", "numpy", "scipy", "sklearn"})
"""What the predictor's image has; beyond are Python itself and what somebody adds to an image."""
_MOST_CLASSES: Final = 20
_KEPT: Final = frozenset({"HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "VIRTUAL_ENV"})
_KEPT_PREFIXES: Final = ("LC_", "MKL_", "OMP_", "OPENBLAS_", "PYTHON")
_OTHER_LIBRARIES: Final = ": this predictor has other libraries"
"""How a predictor begins its advice about a model that fails there."""
_UNREADABLE: Final = "cannot be loaded"
_ROWS_THERE: Final = (
    "rows reach a predictor as 64-bit numbers, texts and gaps, without a table of pandas, so fit "
    "it to such"
)
_ROWS_OF_ONNX: Final = (
    "give rows with the columns that its inputs take, in their order and of their kinds (--drop "
    "leaves one out)"
)
_LABELS: Final[TypeAdapter[str]] = TypeAdapter(Version)

Served = Format | Literal["native"]

Answer = float | str | tuple[float | str, ...]
"""A number or class; one for each output of a model that has several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnModel:
    """A model's artifact, before it is written."""

    manifest: ArtifactManifest
    files: Files
    columns: Columns
    answers: list[Answer]
    """Of the model itself, one for each row."""
    notes: tuple[str, ...]
    """What a person should know about it: sentences."""


def export(  # noqa: PLR0913 - each is named, and most have defaults
    model: Any,
    examples: Any,
    *,
    name: str,
    version: str,
    output: Path | str = "artifacts",
    served: Served = "joblib",
    feature_service: str | None = None,
    force: bool = False,
    say: Callable[[str], None] = print,
) -> Exported:
    """Write a fitted estimator to `<output>/<name>/<version>`, once the predictor has tried it.

    `model` may also be the path of a file in ONNX, which ONNX Runtime answers here and in pods.

    `examples` are rows that it was not fitted to, as its `predict` takes them: a DataFrame, an
    array of shape (rows, features), or a list of texts. From 200 rows on they are the baseline that
    drift is measured against. `served` is the format of the file that a predictor loads, `native`
    being the library's own; the artifact has also the other one, where it can be written.
    `feature_service` is the name by which a feature store has the columns. `say` is told what a
    person should know.

    Raises ArtifactError, in a sentence, for a model that cannot be served.
    """
    label = _label(name, version)
    try:
        if isinstance(model, Path | str):
            own = describe_onnx(Path(model), examples, label=label, feature_service=feature_service)
        else:
            own = describe(
                model, examples, label=label, served=served, feature_service=feature_service
            )
    except ValueError as error:
        msg = f"the model cannot be exported: {_sentence(error)}"
        raise ArtifactError(msg) from error
    for note in own.notes:
        say(note)
    with tempfile.TemporaryDirectory(prefix="modelrelease-") as trial:
        tried = write(own.manifest, own.files, output=Path(trial))
        form = try_it(tried, own)
        shown = min(len(own.answers), TRIED_ROWS)
        say(f"the predictor gave the same {shown} of {shown} answers (by {form})")
        return write(own.manifest, own.files, output=Path(output), force=force)


def _label(name: str, version: str) -> Label:
    """Return what the model is called. Raises ArtifactError for what can be no folder."""
    for what, text in {"name": name, "version": version}.items():
        try:
            _LABELS.validate_python(text, strict=True)
        except ValidationError as error:
            rule = (
                "must be 1 to 63 letters, digits, '-', '_' or '.', with a letter or digit at both "
                "ends"
            )
            msg = f"the {what} of a model {rule}, got {text!r}"
            raise ArtifactError(msg) from error
    return Label(name=name, version=version)


def _sentence(error: ValueError) -> str:
    """Return what is wrong in one line: pydantic says it in several."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the manifest'}: {first['msg']}"


def describe(
    model: Any,
    examples: Any,
    *,
    label: Label,
    served: Served = "joblib",
    feature_service: str | None = None,
) -> OwnModel:
    """Return the artifact of a fitted estimator and the rows it answers. Writes nothing.

    Raises ValueError for what cannot be served.
    """
    columns = columns_of(_selected(model, examples))
    answers = answers_of(model, columns.given)
    if served == "native":
        served = _native(model)
    files, notes = _files(model, served)
    strangers = _strangers(model)
    output = _output(model, answers)
    baseline = _baseline(output, columns, answers) if len(columns.rows) >= LEAST_ROWS else None
    notes += [*_on_strangers(strangers), *_on_the_baseline(baseline, output, len(columns.rows))]
    shown = _examples(columns.rows)
    manifest = ArtifactManifest(
        name=label.name,
        version=label.version,
        created=label.created,
        feature_service=feature_service,
        format=served,
        model_file=next(iter(files)),
        features=columns.features,
        output=output,
        libraries=libraries_of(served, also=strangers),
        baseline=baseline,
        examples=Examples(
            rows=tuple(tuple(columns.rows[index]) for index in shown),
            predictions=tuple(answers[index] for index in shown),
            tolerance=TOLERANCE,
        ),
        files=listed(files),
    )
    _require_readable(manifest)
    return OwnModel(
        manifest=manifest, files=files, columns=columns, answers=answers, notes=tuple(notes)
    )


def _on_strangers(strangers: Sequence[str]) -> Iterator[str]:
    """Say which image has the libraries that the predictor's usual one lacks."""
    if strangers:
        ours = BOOSTERS.issuperset(strangers)
        image = "modelrelease-serving-boosters" if ours else "an image of your own"
        yield (
            f"the model needs {', '.join(strangers)}, which the predictor's usual image does not "
            f"have: name {image} in spec.serving.image (docs/how-to/bring-your-own-model.md)"
        )


def _on_the_baseline(baseline: Baseline | None, output: Output, rows: int) -> Iterator[str]:
    """Say what of drift cannot be measured."""
    if baseline is None:
        yield (
            f"no baseline is recorded, so drift cannot be measured: it takes {LEAST_ROWS} rows, "
            f"and these are {rows}"
        )
    elif output.columns:
        yield (
            f"it answers {len(output.columns)} values a row, so its answers are in no baseline, "
            "which counts one bin a row: drift of the features is measured, and no gate asks for "
            "`predictions`"
        )


def describe_onnx(
    path: Path, examples: Any, *, label: Label, feature_service: str | None = None
) -> OwnModel:
    """Return the artifact of a model in ONNX. Its answers are those of a predictor here.

    Raises ValueError for what cannot be served, ArtifactError for what the predictor refuses.
    """
    columns = columns_of(examples)
    files = {"model.onnx": _read_onnx(path)}
    shown = tuple(tuple(columns.rows[index]) for index in _examples(columns.rows))
    draft = ArtifactManifest(
        name=label.name,
        version=label.version,
        created=label.created,
        format="onnx",
        model_file="model.onnx",
        features=columns.features,
        feature_service=feature_service,
        libraries=_libraries_of_onnx(),
        examples=Examples(rows=shown, predictions=(), tolerance=TOLERANCE),
        files=listed(files),
    )
    with tempfile.TemporaryDirectory(prefix="modelrelease-") as trial:
        exported = write(draft, files, output=Path(trial))
        said = _ask_predictor(exported, _bodies(columns.rows))["answers"]
    answers = [_plain(answer) for answer in said]
    output = Output(task="regression")
    if not all(isinstance(answer, float) for answer in said):
        output = Output(classes=tuple(str(name) for name in sorted(set(said))))
    enough = len(columns.rows) >= LEAST_ROWS
    manifest = draft.model_copy(
        update={
            "output": output,
            "baseline": _baseline(output, columns, answers) if enough else None,
            "examples": Examples(
                rows=shown,
                predictions=tuple(answers[index] for index in _examples(columns.rows)),
                tolerance=TOLERANCE,
            ),
        }
    )
    _require_readable(manifest)
    notes = (
        "the model needs onnxruntime, which the predictor's usual image does not have: name "
        "modelrelease-serving-boosters in spec.serving.image "
        "(docs/how-to/bring-your-own-model.md)",
    )
    return OwnModel(
        manifest=manifest, files=files, columns=columns, answers=list(answers), notes=notes
    )


def _read_onnx(path: Path) -> bytes:
    if path.suffix != ".onnx":
        msg = f"{path} is no file in ONNX by its name: load the estimator in it, and give that"
        raise ValueError(msg)
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror})"
        raise ValueError(msg) from error


def _libraries_of_onnx() -> dict[str, str]:
    runtime = packages_distributions().get("onnxruntime", ())
    if not runtime:
        msg = "it is in ONNX, and there is no onnxruntime here to answer it: install one"
        raise ValueError(msg)
    return {runtime[0]: version_of(runtime[0]), "python": platform.python_version()}


def _bodies(rows: Sequence[Sequence[Value]]) -> bytes:
    """Return requests for rows, one a line, of as many rows as one may hold."""
    parts = [rows[at : at + TRIED_ROWS] for at in range(0, len(rows), TRIED_ROWS)]
    return b"".join(json.dumps({"features": part}).encode() + b"\n" for part in parts)


def _require_readable(manifest: ArtifactManifest) -> None:
    """Raise ValueError for a manifest that is larger than a predictor reads."""
    size = len(encode(manifest))
    if size > MANIFEST_BYTES_MAX:
        msg = (
            f"its manifest would have {size / 2**20:.1f} MiB, and a predictor reads "
            f"{MANIFEST_BYTES_MAX / 2**20:g}: it describes each of {len(manifest.features)} "
            "columns and repeats example rows, so give fewer columns or shorter texts"
        )
        raise ValueError(msg)


def answers_of(model: Any, given: Any) -> list[Answer]:
    """Return what the model itself answers: for each row a number or class, or a tuple of them.

    Raises ValueError for what JSON has no word for.
    """
    if not callable(getattr(model, "predict", None)):
        msg = f"a {type(model).__name__} has no predict, and only what predict answers is served"
        raise ValueError(msg)
    if is_bare(model, "xgboost"):
        msg = (
            "it is a Booster as xgboost.train returns it, which takes no rows: fit XGBClassifier "
            "or XGBRegressor, or have one read its file (load_model)"
        )
        raise ValueError(msg)
    try:
        predicted = _array(model.predict(given))
    except Exception as error:
        fault = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        msg = f"it does not answer the examples ({fault}): give them as they were given to fit"
        raise ValueError(msg) from error
    if predicted.ndim == 2 and predicted.shape[1] == 1:
        predicted = predicted[:, 0]
    if predicted.ndim not in {1, 2} or predicted.size == 0:
        msg = (
            f"it answers with an array of shape {predicted.shape}: one value, or a list of them, "
            "for each row is served"
        )
        raise ValueError(msg)
    values = [_plain(value) for value in predicted.ravel().tolist()]
    if any(isinstance(value, float) and not math.isfinite(value) for value in values):
        msg = "it answers with a number that is not finite, which JSON has no word for"
        raise ValueError(msg)
    if predicted.ndim == 1:
        return list(values)
    width = predicted.shape[1]
    return [tuple(values[at : at + width]) for at in range(0, len(values), width)]


def _array(predicted: Any) -> Any:
    return predicted.toarray() if hasattr(predicted, "toarray") else np.asarray(predicted)


def _plain(answer: object) -> float | str:
    if isinstance(answer, str | float):
        return answer
    if isinstance(answer, bool | int):
        return float(answer)
    msg = f"it answers with a {type(answer).__name__}, and only numbers and texts are served"
    raise ValueError(msg)


def _selected(model: Any, examples: Any) -> Any:
    """Return the columns that the model was fitted to, where a table has more, such as the target.

    Raises ValueError for a table without one of them.
    """
    names = _fitted_names(model)
    if names is None or not hasattr(examples, "columns"):
        return examples
    known = {str(column): column for column in examples.columns}
    if type(model).__module__.startswith("lightgbm."):
        # It has an underscore for each space.
        known |= {name.replace(" ", "_"): column for name, column in known.items()}
    if absent := [name for name in names if name not in known]:
        msg = f"the examples lack the column {absent[0]!r}, which the model was fitted to"
        raise ValueError(msg)
    return examples[[known[name] for name in names]]


def _fitted_names(model: Any) -> list[str] | None:
    """Return the columns that a model was fitted to, None where it does not know them by name."""
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        # CatBoost keeps them under a name of its own, and numbers in their place.
        names = getattr(model, "feature_names_", None)
        if names == [str(index) for index in range(len(names or ()))]:
            return None
    return None if names is None else [str(name) for name in names]


def _native(model: Any) -> Format:
    """Return the format of a model's own library. Raises ValueError where there is none."""
    form = native_format(model)
    if form is None:
        msg = (
            f"a {type(model).__name__} is of no library with a file of its own, which XGBoost, "
            "LightGBM and CatBoost have: serve it as joblib or skops"
        )
        raise ValueError(msg)
    return form


def _files(model: Any, served: Format) -> tuple[dict[str, bytes], list[str]]:
    """Return the model in both formats, the one that is served first, and what is to be told.

    Raises ValueError where the one to be served cannot be written.
    """
    files: dict[str, bytes] = {}
    notes = []
    safer: Format = native_format(model) or "skops"
    other: Format = safer if served == "joblib" else "joblib"
    for form in (served, other):
        try:
            files |= native_files(model) if form in BOOSTERS else dump(model, (form,))
        except Exception as error:
            fault = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            if form == served:
                msg = f"it cannot be written as {form} ({fault})"
                raise ValueError(msg) from error
            notes.append(f"the artifact has no {form} file, for it cannot be written ({fault})")
    return files, notes


class _Modules(pickle.Unpickler):
    """Notes which modules a pickle takes its types and functions from."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        self.seen: set[str] = set()

    @override
    def find_class(self, module: str, name: str) -> Any:
        """Note the module."""
        self.seen.add(module)
        return super().find_class(module, name)


def _strangers(model: Any) -> list[str]:
    """Return the packages that a model is made of and the predictor's image lacks.

    Raises ValueError for what only the script has that made the model.
    """
    try:
        modules = _Modules(pickle.dumps(model))
        modules.load()
    except Exception:
        # Only skops can write it, which names its types itself.
        return []
    roots = {module.partition(".")[0] for module in modules.seen}
    if "__main__" in roots:
        msg = (
            "it holds a function or class of the script that made it, which no predictor has: "
            "put it into a package, and the package into an image of your own"
        )
        raise ValueError(msg)
    return sorted(roots - _OURS - set(sys.stdlib_module_names))


def _output(model: Any, answers: Sequence[Answer]) -> Output:
    if isinstance(answers[0], tuple):
        return _columns(model, list(zip(*answers, strict=True)))
    classes = np.ravel(getattr(model, "classes_", ()))
    if len(classes) or any(isinstance(answer, str) for answer in answers):
        return Output(classes=tuple(str(name) for name in classes))
    return Output(task="regression")


def _columns(model: Any, columns: Sequence[Sequence[float | str]]) -> Output:
    """Return the output of a model that answers with lists, one of `columns` for each value."""
    classes = getattr(model, "classes_", ())
    if isinstance(classes, list) and len(classes) == len(columns):
        known = [tuple(map(str, names)) for names in classes]
    elif len(classes):
        # Of each label it says yes or no, and its classes are the numbers of the labels.
        known = [("0", "1")] * len(columns)
    else:
        known = [()] * len(columns)
    return Output(
        task="classification" if len(classes) else "regression",
        columns=tuple(
            OutputColumn(name=f"prediction_{index}", classes=names)
            for index, names in enumerate(known)
        ),
    )


def _examples(rows: Sequence[Sequence[Value]]) -> list[int]:
    """Return which rows a predictor repeats before it is ready: the first ones, and one for each
    column's gaps, so that a missing value is tried as well.
    """
    chosen = dict.fromkeys(range(min(EXAMPLE_ROWS, len(rows))))
    gaps: dict[int, int] = {}
    for index, row in enumerate(rows):
        for column, value in enumerate(row):
            if value is None:
                gaps.setdefault(column, index)
    chosen |= dict.fromkeys(gaps.values())
    return list(chosen)[:MOST_EXAMPLES]


def _baseline(output: Output, columns: Columns, answers: Sequence[Answer]) -> Baseline:
    return Baseline(
        rows=len(columns.rows),
        features=columns.histograms,
        prediction=None if output.columns else _binned(output, answers),
    )


def _binned(output: Output, answers: Sequence[Answer]) -> Histogram:
    """Return the answers in bins: one for each class, where there are few, else of numbers."""
    texts = [answer for answer in answers if isinstance(answer, str)]
    if texts:
        return text_histogram(texts)
    numbers = np.array(answers, dtype=np.float64)
    if output.task == "regression" or len(output.classes) > _MOST_CLASSES:
        return histogram(numbers, edges(numbers))
    distinct = np.unique(numbers)
    return histogram(numbers, ((distinct[1:] + distinct[:-1]) / 2).tolist())


def try_it(exported: Exported, own: OwnModel) -> str:
    """Have the predictor load an artifact, in a process of its own, and compare its answers.

    Returns who answers there: scikit-learn, or the name of a faster form. Raises ArtifactError for
    an artifact that a pod would refuse, or that answers otherwise.
    """
    rows, answers = own.columns.rows[:TRIED_ROWS], own.answers[:TRIED_ROWS]
    said = _ask_predictor(exported, _bodies(rows))
    pairs = zip(said["answers"], answers, strict=True)
    wrong = [index for index, pair in enumerate(pairs) if not _same(*pair)]
    if wrong:
        first = wrong[0]
        msg = (
            f"the predictor answers {len(wrong)} of {len(answers)} rows otherwise than the model: "
            f"row {first} with {said['answers'][first]!r}, and the model with {answers[first]!r}; "
            "nothing was written"
        )
        raise ArtifactError(msg)
    return str(said["answers_from"])


def _same(answer: Any, recorded: Answer) -> bool:
    if isinstance(recorded, tuple):
        return len(answer) == len(recorded) and all(map(_same, answer, recorded))
    if isinstance(answer, str) or isinstance(recorded, str):
        return bool(answer == recorded)
    return bool(abs(answer - recorded) <= TOLERANCE * max(1.0, abs(recorded)))


def _ask_predictor(exported: Exported, requests: bytes) -> dict[str, Any]:
    command = [sys.executable, "-m", "modelrelease_serving", "check"]
    settings = {
        "MODEL_PATH": str(exported.path),
        "MODEL_SHA256": exported.digest,
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "ERROR",
    }
    try:
        ended = subprocess.run(
            command,
            input=requests,
            capture_output=True,
            timeout=TRIAL_SECONDS,
            env={**_environment(), **settings},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        msg = f"the predictor did not answer within {TRIAL_SECONDS} s; nothing was written"
        raise ArtifactError(msg) from error
    if ended.returncode:
        why = _last_words(ended.stderr)
        if _OTHER_LIBRARIES in why:
            # Here they are the same.
            why = why.partition(_OTHER_LIBRARIES)[0]
            rows = _ROWS_OF_ONNX if exported.manifest.format == "onnx" else _ROWS_THERE
            why = why if _UNREADABLE in why else f"{why}: {rows}"
        msg = f"the predictor refuses the model: {why}; nothing was written"
        raise ArtifactError(msg)
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


def _environment() -> dict[str, str]:
    """Return this process's environment without what a predictor would take for settings.

    A pod has its own, and what it would refuse must not pass because of a shell's.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }


def _last_words(log: bytes) -> str:
    """Return the sentence of the last line of a predictor's log."""
    lines = log.decode(errors="replace").strip().splitlines() or ["it said nothing"]
    try:
        return str(json.loads(lines[-1])["message"])
    except (ValueError, KeyError, TypeError):
        return lines[-1]
