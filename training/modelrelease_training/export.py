"""Writes artifacts: the only module that touches the disk.

An artifact appears whole or not at all, under `<output>/<name>/<version>`, and the same model and
data give the same bytes. Nothing here fits or measures.
"""

import hashlib
import io
import math
import platform
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from importlib.metadata import version as installed
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import joblib
import numpy as np

from modelrelease_contract.artifact import (
    MANIFEST_NAME,
    ArtifactManifest,
    Baseline,
    Examples,
    Feature,
    Format,
    ModelFile,
    Output,
    manifest_digest,
)
from modelrelease_training.bins import edges, histogram
from modelrelease_training.data import Data, Floats, Split
from modelrelease_training.errors import ExistsError
from modelrelease_training.skops_bytes import skops_bytes

EXAMPLE_ROWS: Final = 8
TRAINING_NAME: Final = "training.json"
"""File of the artifact that says how the model came to be."""
_LIBRARIES: Final = ("joblib", "numpy", "scikit-learn")
_MODEL_FILES: Final[dict[str, Format]] = {"model.joblib": "joblib", "model.skops": "skops"}

Files = Mapping[str, bytes]
"""Contents by file name. The first one that holds a model is the one that is served."""
_NOTHING: Final[Files] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An artifact on disk: folder, digest (sha256 of the manifest, hexadecimal) and manifest."""

    path: Path
    digest: str
    manifest: ArtifactManifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What a person calls the model."""

    name: str
    version: str
    created: str | None = None
    """RFC 3339 time. None keeps the export reproducible."""


def export_artifact(
    model: Any,
    *,
    label: Label,
    data: Split,
    metrics: dict[str, float],
    output: Path,
    example_rows: Floats | None = None,
    force: bool = False,
) -> Exported:
    """Write `model`, a fitted binary classifier with `predict_proba`, to
    `<output>/<name>/<version>`.

    The baseline comes from `data.held_out`. `example_rows`, shape (n, features), are the first
    held-out rows when left out. Raises ExistsError unless `force`, ValueError for a label that
    cannot be written, OSError when the disk refuses.
    """
    files = dump(model)
    manifest = describe(
        model, files, label=label, data=data, metrics=metrics, example_rows=example_rows
    )
    return write(manifest, files, output=output, force=force)


def dump(model: Any, formats: Sequence[Format] = ("joblib",)) -> dict[str, bytes]:
    """Return the model's files, one for each format. The first format is the one that is served."""
    return {
        f"model.{name}": _joblib_bytes(model) if name == "joblib" else skops_bytes(model)
        for name in formats
    }


def describe(
    model: Any,
    files: Files,
    *,
    label: Label,
    data: Split,
    metrics: dict[str, float],
    example_rows: Floats | None = None,
) -> ArtifactManifest:
    """Return the manifest of `model`, whose artifact holds `files`. Writes nothing."""
    rows = data.held_out.rows[:EXAMPLE_ROWS] if example_rows is None else example_rows
    model_file = next(name for name in files if name in _MODEL_FILES)
    served = _MODEL_FILES[model_file]
    return ArtifactManifest(
        name=label.name,
        version=label.version,
        created=label.created,
        format=served,
        model_file=model_file,
        features=_features(data.training),
        output=Output(classes=("0", "1"), probability=True),
        libraries=libraries_of(served),
        metrics=metrics,
        baseline=_baseline(model, data.held_out),
        examples=Examples(
            rows=tuple(tuple(map(_json_number, row)) for row in rows.tolist()),
            predictions=tuple(model.predict_proba(rows)[:, 1].tolist()),
        ),
        files=listed(files),
    )


def libraries_of(served: Format, *, also: Iterable[str] = ()) -> dict[str, str]:
    """Return the versions of the libraries that a model file needs, and of Python.

    `also` are packages that the model is made of beside scikit-learn.
    """
    names = {*_LIBRARIES, *(["skops"] if served == "skops" else [])}
    for package in also:
        names.update(packages_distributions().get(package, ())[:1])
    versions = {name: installed(name) for name in sorted(names)}
    return versions | {"python": platform.python_version()}


def listed(files: Files) -> tuple[ModelFile, ...]:
    """Return path, size and digest of files, as a manifest lists them."""
    return tuple(
        ModelFile(path=path, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
        for path, content in files.items()
    )


def make_room(output: Path, label: Label, *, force: bool) -> Path:
    """Return the folder that a version goes to, and make the one above before a long training.

    Raises ExistsError when this version was exported before, unless `force`; OSError when the disk
    refuses.
    """
    target = output / label.name / label.version
    if target.exists() and not force:
        msg = (
            f"{target} exists, and a released version never changes: "
            "choose another --version, or pass --force to replace it"
        )
        raise ExistsError(msg)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def write(
    manifest: ArtifactManifest,
    files: Files,
    *,
    output: Path,
    beside: Files = _NOTHING,
    force: bool = False,
) -> Exported:
    """Put the manifest and its files into `<output>/<name>/<version>`, all or none.

    `beside` are files that the manifest does not name, such as the model card, which names the
    digest.
    """
    target = make_room(output, Label(name=manifest.name, version=manifest.version), force=force)
    raw = encode(manifest)
    fresh = Path(tempfile.mkdtemp(prefix=f".{manifest.version}-", dir=target.parent))
    try:
        for name, content in {**files, **beside, MANIFEST_NAME: raw}.items():
            (fresh / name).parent.mkdir(exist_ok=True)
            (fresh / name).write_bytes(content)
        # mkdtemp is for secrets; a pod with another user id has to read this folder.
        fresh.chmod(0o755)
        _swap(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return Exported(path=target, digest=manifest_digest(raw), manifest=manifest)


def encode(manifest: ArtifactManifest) -> bytes:
    """Return the bytes of manifest.json: what the digest is of."""
    return manifest.model_dump_json(indent=1, exclude_none=True).encode() + b"\n"


def _swap(fresh: Path, target: Path) -> None:
    """Move `fresh` to `target`. Afterwards `fresh` is gone or holds what was there before."""
    if target.exists():
        old = fresh.with_name(f"{fresh.name}.old")
        target.rename(old)
        fresh.rename(target)
        old.rename(fresh)
    else:
        fresh.rename(target)


def _joblib_bytes(model: Any) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(model, buffer, compress=("zlib", 3))
    return buffer.getvalue()


def _json_number(value: float) -> float | None:
    """Return a value as a client would send it: null where it is missing, as JSON has no NaN."""
    return None if math.isnan(value) else value


def _features(data: Data) -> tuple[Feature, ...]:
    lows, highs = np.nanmin(data.rows, axis=0).tolist(), np.nanmax(data.rows, axis=0).tolist()
    return tuple(
        Feature(name=name, minimum=low, maximum=high, nullable=name in data.nullable)
        for name, low, high in zip(data.names, lows, highs, strict=True)
    )


def _baseline(model: Any, data: Data) -> Baseline:
    probabilities = model.predict_proba(data.rows)[:, 1]
    columns = zip(data.names, data.rows.T, strict=True)
    return Baseline(
        rows=len(data.rows),
        features={name: histogram(column, edges(column)) for name, column in columns},
        prediction=histogram(probabilities, [tenth / 10 for tenth in range(1, 10)]),
    )
