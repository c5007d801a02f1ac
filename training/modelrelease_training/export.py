"""Writes artifacts: the only module that touches the disk.

An artifact appears whole or not at all, under `<output>/<name>/<version>`, and the same model and
data give the same bytes. Nothing here fits or measures.
"""

import hashlib
import io
import platform
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, Final

import joblib
import numpy as np

from modelrelease_contract.artifact import (
    MANIFEST_NAME,
    ArtifactManifest,
    Baseline,
    Examples,
    Feature,
    Histogram,
    ModelFile,
    Output,
    manifest_digest,
)
from modelrelease_training.data import Floats, Split, feature_names

EXAMPLE_ROWS: Final = 8
_MODEL_FILE: Final = "model.joblib"
_DECILES: Final = np.linspace(0.1, 0.9, 9)
_LIBRARIES: Final = ("joblib", "numpy", "scikit-learn")


class ExistsError(Exception):
    """This version has been exported before, and versions do not change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An artifact on disk: its folder, its digest (sha256 of the manifest, hexadecimal) and its manifest."""

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
    """Write `model`, a fitted binary classifier with `predict_proba`, to `<output>/<name>/<version>`.

    The baseline comes from `data.held_out`. `example_rows`, shape (n, 16), are the first held-out
    rows when left out. Raises ExistsError unless `force`, ValueError for a label that cannot be
    written, OSError when the disk refuses.
    """
    content = dump(model)
    manifest = describe(model, content, label=label, data=data, metrics=metrics, example_rows=example_rows)
    return write(manifest, content, output=output, force=force)


def dump(model: Any) -> bytes:
    """Return the bytes of the model file."""
    buffer = io.BytesIO()
    joblib.dump(model, buffer, compress=("zlib", 3))
    return buffer.getvalue()


def describe(
    model: Any,
    content: bytes,
    *,
    label: Label,
    data: Split,
    metrics: dict[str, float],
    example_rows: Floats | None = None,
) -> ArtifactManifest:
    """Return the manifest of `model`, whose file has the bytes `content`. Writes nothing."""
    rows = data.held_out.rows[:EXAMPLE_ROWS] if example_rows is None else example_rows
    return ArtifactManifest(
        name=label.name,
        version=label.version,
        created=label.created,
        model_file=_MODEL_FILE,
        features=_features(data.training.rows),
        output=Output(classes=("0", "1"), probability=True),
        libraries={name: installed(name) for name in _LIBRARIES} | {"python": platform.python_version()},
        metrics=metrics,
        baseline=_baseline(model, data.held_out.rows),
        examples=Examples(
            rows=tuple(tuple(row) for row in rows.tolist()),
            predictions=tuple(model.predict_proba(rows)[:, 1].tolist()),
        ),
        files=(ModelFile(path=_MODEL_FILE, sha256=hashlib.sha256(content).hexdigest(), size=len(content)),),
    )


def write(manifest: ArtifactManifest, content: bytes, *, output: Path, force: bool = False) -> Exported:
    """Put the manifest and the model file into `<output>/<name>/<version>`, both or neither."""
    target = output / manifest.name / manifest.version
    if target.exists() and not force:
        msg = (
            f"{target} exists, and a released version never changes: "
            "choose another --version, or pass --force to replace it"
        )
        raise ExistsError(msg)
    raw = manifest.model_dump_json(indent=1, exclude_none=True).encode() + b"\n"
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{manifest.version}-", dir=target.parent))
    try:
        (fresh / manifest.model_file).write_bytes(content)
        (fresh / MANIFEST_NAME).write_bytes(raw)
        # mkdtemp is for secrets; a pod with another user id has to read this folder.
        fresh.chmod(0o755)
        _swap(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return Exported(path=target, digest=manifest_digest(raw), manifest=manifest)


def _swap(fresh: Path, target: Path) -> None:
    """Move `fresh` to `target`. Afterwards `fresh` is gone or holds what was there before."""
    if target.exists():
        old = fresh.with_name(f"{fresh.name}.old")
        target.rename(old)
        fresh.rename(target)
        old.rename(fresh)
    else:
        fresh.rename(target)


def _features(rows: Floats) -> tuple[Feature, ...]:
    lows, highs = rows.min(axis=0).tolist(), rows.max(axis=0).tolist()
    return tuple(
        Feature(name=name, minimum=low, maximum=high)
        for name, low, high in zip(feature_names(), lows, highs, strict=True)
    )


def _baseline(model: Any, rows: Floats) -> Baseline:
    probabilities = model.predict_proba(rows)[:, 1]
    deciles = np.quantile(rows, _DECILES, axis=0).T.tolist()
    columns = zip(feature_names(), deciles, rows.T, strict=True)
    return Baseline(
        rows=len(rows),
        features={name: histogram(column, edges) for name, edges, column in columns},
        prediction=histogram(probabilities, [tenth / 10 for tenth in range(1, 10)]),
    )


def histogram(values: Floats, edges: Sequence[float]) -> Histogram:
    """Count `values`, shape (n,), between the inner `edges`; NaN counts as missing.

    Equal edges collapse into one, so a feature with few values has fewer bins.
    """
    inner = sorted(set(edges))
    missing = np.isnan(values)
    # side="right" is bisect_right, the rule of the contract.
    bins = np.searchsorted(inner, values[~missing], side="right")
    counts = np.bincount(bins, minlength=len(inner) + 1).tolist()
    return Histogram(edges=tuple(inner), counts=tuple(counts), missing=int(missing.sum()))
