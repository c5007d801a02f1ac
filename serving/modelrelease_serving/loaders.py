"""From the files of an artifact to an estimator: a loader for each format, under the settings.

A pickle is code: joblib artifacts are loaded only when somebody pinned their digest, and so are the
files of libraries of trees, whose readers trust them. skops files hold no code, but name the types
to build: only known ones are built. The files' digests were checked before.
"""

import logging
import textwrap
import warnings
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

import numpy as np

from modelrelease_contract import ArtifactManifest
from modelrelease_contract.artifact import Format
from modelrelease_contract.mlflow import flavor
from modelrelease_serving.artifact import parse_mlmodel
from modelrelease_serving.boosters import NATIVE, forget_columns, forget_threads, read_native
from modelrelease_serving.errors import RefusedError
from modelrelease_serving.logs import fields
from modelrelease_serving.tables import forget_names, parts

ADVICE: Final = (
    "this predictor has other libraries than training, or the artifact is wrong; export it again"
)

_LOG = logging.getLogger(__name__)
_DTYPE: Final = "numpy.dtype"
"""A kind of numbers, such as that of an encoder: a name, which runs no code."""
_TREE: Final = "sklearn.tree._tree.Tree"
"""scikit-learn's own type of a decision tree, without which no forest can be read. It holds numbers
and runs no code; that its branches stay inside is checked here."""
_SHOWN: Final = 3
"""Columns that a sentence names: a pod's last words have 4096 bytes."""
_STRICT: Final = "scikit-learn"
"""The library whose minor versions read each other's pickles wrongly, or not at all."""

OnMismatch = Literal["refuse", "warn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What may be loaded. The defaults suit a pod."""

    allow_unpinned: bool = False
    """Read a file that needs a pin without one. For work on one's own machine."""
    trusted_types: tuple[str, ...] = ()
    """Full names of types that a skops file may build, beside those that skops itself trusts."""
    on_mismatch: OnMismatch = "refuse"
    """What follows from a pickle of another minor version of scikit-learn; other libraries warn."""


def load_estimator(folder: Path, manifest: ArtifactManifest, *, pinned: bool, rules: Rules) -> Any:
    """Return the estimator in `folder`. `pinned` says that a release named the manifest's digest.

    Raises RefusedError for whatever the rules forbid or the libraries here cannot read.
    """
    path, form = folder / manifest.model_file, manifest.format
    if form == "mlflow":
        path, form = _model_file_of_mlflow(folder, manifest)
    if form in NATIVE:
        danger = "is read by code that trusts what it says"
        _require_pin(path, danger, pinned=pinned, rules=rules)
        compare_libraries(manifest, pickled=False, rules=rules)
        estimator = _load_native(path, manifest)
    elif form == "skops":
        compare_libraries(manifest, pickled=False, rules=rules)
        estimator = _load_skops(path, rules)
    else:
        _require_pin(path, "is a pickle, which can run any code", pinned=pinned, rules=rules)
        compare_libraries(manifest, pickled=True, rules=rules)
        estimator = _load_pickle(path)
    _check_names(estimator, manifest)
    forget_names(estimator)
    for part in parts(estimator):
        forget_columns(part)
        forget_threads(part)
    # Rows come without names, and were just found to be in the right order: no need to say it each
    # time.
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    return estimator


def compare_libraries(manifest: ArtifactManifest, *, pickled: bool, rules: Rules) -> None:
    """Warn of every library that differs from training's. Raises RefusedError by the rules."""
    for library, trained in manifest.libraries.items():
        installed = _installed(library)
        if installed is None or installed == trained:
            continue
        strict = pickled and library == _STRICT and rules.on_mismatch == "refuse"
        if strict and _minor(installed) != _minor(trained):
            trained_with = f"the model was trained with {library} {trained}"
            fact = f"{trained_with}, but this predictor has {installed}"
            way_out = (
                "train it again, choose an image with that version, or set LIBRARY_MISMATCH=warn"
            )
            msg = f"{fact}, and pickles do not carry over between minor versions: {way_out}"
            raise RefusedError(msg)
        _LOG.warning(
            "a library differs from the one at training",
            extra=fields(library=library, trained=trained, here=installed),
        )


def _model_file_of_mlflow(folder: Path, manifest: ArtifactManifest) -> tuple[Path, Format]:
    """Return the model file that an `MLmodel` names, and its format; what it trusts is ignored."""
    description = folder / manifest.model_file
    path, form = flavor(parse_mlmodel(description.read_bytes(), origin=str(description)))
    model_file = (PurePosixPath(manifest.model_file).parent / path).as_posix()
    # Only listed files had their digests checked.
    if model_file not in {file.path for file in manifest.files}:
        msg = (
            f"{description} names the model file {path!r}, which is not among the artifact's files"
        )
        raise RefusedError(msg)
    return folder / model_file, "skops" if form == "skops" else "joblib"


def _require_pin(path: Path, danger: str, *, pinned: bool, rules: Rules) -> None:
    if not (pinned or rules.allow_unpinned):
        fact = f"{path.name} {danger}, and nobody pinned its digest"
        msg = f"{fact}: set MODEL_SHA256, or ALLOW_UNPINNED=true for a file that you made yourself"
        raise RefusedError(msg)


def _load_pickle(path: Path) -> Any:
    import joblib  # noqa: PLC0415 - each format brings its own library

    try:
        return joblib.load(path)
    except Exception as error:
        raise _unreadable(path, error) from error


def _load_native(path: Path, manifest: ArtifactManifest) -> Any:
    try:
        return read_native(path, manifest)
    except Exception as error:
        raise _unreadable(path, error) from error


def _load_skops(path: Path, rules: Rules) -> Any:
    # It imports all of scikit-learn, which artifacts of other formats need not wait for.
    from skops import io  # noqa: PLC0415

    try:
        types = io.get_untrusted_types(file=path)
    except Exception as error:
        raise _unreadable(path, error) from error
    if refused := sorted(set(types) - {_DTYPE, _TREE, *rules.trusted_types}):
        fact = (
            f"{path.name} holds types that are not on the list of trusted ones: "
            f"{', '.join(refused)}"
        )
        msg = f"{fact}; if you do trust them, add them to SKOPS_TRUSTED_TYPES"
        raise RefusedError(msg)
    try:
        estimator = io.load(path, trusted=types)
    except Exception as error:
        raise _unreadable(path, error) from error
    _check_trees(estimator, path)
    return estimator


def _check_trees(estimator: Any, path: Path) -> None:
    """Refuse trees whose branches lead out or in a circle: scikit-learn follows them blindly."""
    for part in parts(estimator):
        tree = getattr(part, "tree_", None)
        if tree is None or f"{type(tree).__module__}.{type(tree).__name__}" != _TREE:
            continue
        nodes = tree.__getstate__()["nodes"]
        numbers = np.arange(len(nodes))
        inner = nodes["left_child"] != -1
        children = [nodes[side][inner] for side in ("left_child", "right_child")]
        leads_on = all(((side > numbers[inner]) & (side < len(nodes))).all() for side in children)
        features = nodes["feature"][inner]
        features_exist = ((features >= 0) & (features < tree.n_features)).all()
        if not (leads_on and features_exist and len(nodes)):
            msg = f"{path.name} holds a tree whose branches lead nowhere: export the model again"
            raise RefusedError(msg)


def _check_names(estimator: Any, manifest: ArtifactManifest) -> None:
    """Refuse an estimator that was fitted to other columns, or to another order of them."""
    columns = getattr(estimator, "feature_names_in_", None)
    if columns is None:
        return
    names = [feature.name for feature in manifest.features]
    # LightGBM has an underscore for each space.
    pairs = zip_longest([_joined(column) for column in columns], map(_joined, names))
    apart = next((at for at, (fitted, named) in enumerate(pairs) if fitted != named), None)
    if apart is not None:
        fitted, named = (list(map(str, each[apart : apart + _SHOWN])) for each in (columns, names))
        fact = (
            f"the model was fitted to {len(columns)} columns, but the manifest names {len(names)} "
            f"features, and they differ from number {apart + 1} on: {fitted} there, {named} here"
        )
        msg = f"{fact}: their order decides what a row means, so export the model again"
        raise RefusedError(msg)


def _joined(name: object) -> str:
    return str(name).replace(" ", "_")


def _unreadable(path: Path, error: Exception) -> RefusedError:
    if isinstance(error, ModuleNotFoundError):
        fact = f"{path.name} needs the library {error.name!r}, which this predictor does not have"
        return RefusedError(f"{fact}: name an image that has it (spec.serving.image)")
    # XGBoost's lines after the first are a stack of C++.
    reason = textwrap.shorten(str(error).partition("\n")[0], 300, placeholder=" …")
    fault = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    return RefusedError(f"{path.name} cannot be loaded ({fault}): {ADVICE}")


def _installed(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _minor(release: str) -> tuple[str, ...]:
    """Return the first two numbers of a version: 1.9 of 1.9.1."""
    return tuple(release.split(".")[:2])
