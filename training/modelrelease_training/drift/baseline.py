"""Baselines as files: arrays and JSON, never code. Reading one runs nothing that is in it."""

import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from modelrelease_contract.artifact import ArtifactManifest, Baseline, Histogram
from modelrelease_training.drift.encoder import Encoder, Vectors
from modelrelease_training.drift.errors import DriftError
from modelrelease_training.drift.text import KEPT, Reference, reference

PROBE: Final = (
    "A release says why it was rolled back in one sentence that a person on call can act on."
)
"""A sentence whose direction tells encoders apart, whatever name or folder they were loaded by."""
SAME_ENCODER: Final = 0.999
"""Cosine of two directions of the probe from which on they count as the same encoder's."""
LARGEST_FILE: Final = 1024**3
"""Bytes of a baseline file, unpacked, above which it is refused."""


class About(BaseModel):
    """What is known of a text baseline besides its arrays."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: Literal["modelrelease-text-baseline"] = "modelrelease-text-baseline"
    schema_version: Literal[1] = 1
    encoder: str
    dimension: int
    given: int
    """Texts in the file that the baseline was made of."""
    kept: int
    column: str | None = None
    """Column that the texts came from: what the drift service looks for in a request."""
    histograms: dict[str, Histogram]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextBaseline:
    """A text baseline: who encoded it, and what to compare with."""

    about: About
    probe: Vectors
    """Direction of PROBE, shape (dimension,)."""
    reference: Reference


def make(
    texts: Sequence[str],
    encoder: Encoder,
    *,
    column: str | None = None,
    seed: int = 0,
    progress: bool = False,
) -> TextBaseline:
    """Encode at most KEPT of `texts`, drawn by `seed`, into a baseline. Raises DriftError."""
    sample = list(texts)
    if len(sample) > KEPT:
        order = np.random.default_rng(seed).permutation(len(sample))[:KEPT]
        sample = [sample[index] for index in sorted(order)]
    vectors = encoder.encode([PROBE, *sample], progress=progress)
    sample_reference = reference(sample, vectors[1:], seed=seed)
    about = About(
        encoder=encoder.name, dimension=vectors.shape[1], given=len(texts), kept=len(sample),
        column=column,
        histograms=dict(sample_reference.histograms),
    )  # fmt: skip
    return TextBaseline(about=about, probe=vectors[0], reference=sample_reference)


def save(baseline: TextBaseline, path: Path) -> None:
    """Write the baseline, whole or not at all. Raises OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            np.savez_compressed(
                file,
                about=np.frombuffer(baseline.about.model_dump_json().encode(), dtype=np.uint8),
                probe=baseline.probe,
                # Half precision moves a cosine by less than 0.001, and halves the file.
                vectors=baseline.reference.vectors.astype(np.float16),
                clusters=baseline.reference.clusters,
            )
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def load(path: Path) -> TextBaseline:
    """Read a text baseline. Raises DriftError for what is none."""
    try:
        _refuse_a_bomb(path)
        with np.load(path, allow_pickle=False) as arrays:
            about = About.model_validate_json(arrays["about"].tobytes())
            probe, vectors, clusters = (
                np.asarray(arrays[name], dtype=np.float32)
                for name in ("probe", "vectors", "clusters")
            )
    except FileNotFoundError as error:
        msg = f"there is no baseline {path}: make one with `modelrelease-drift baseline`"
        raise DriftError(msg) from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        msg = (
            f"{path} is no text baseline ({_brief(error)}): make one with `modelrelease-drift "
            "baseline`"
        )
        raise DriftError(msg) from error
    shapes = (probe.shape, vectors.shape[1:], clusters.shape[1:])
    finite = all(np.isfinite(array).all() for array in (probe, vectors, clusters))
    if shapes != ((about.dimension,),) * 3 or not len(vectors) or not finite:
        msg = (
            f"{path} contradicts itself: {about.dimension} dimensions said, shapes {shapes}; make "
            "it again"
        )
        raise DriftError(msg)
    known_reference = Reference(vectors=vectors, clusters=clusters, histograms=about.histograms)
    return TextBaseline(about=about, probe=probe, reference=known_reference)


def check_encoder(baseline: TextBaseline, encoder: Encoder) -> None:
    """Raise DriftError unless `encoder` gives the directions of the one that made the baseline."""
    made_by = baseline.about
    (probe,) = encoder.encode([PROBE])
    if len(probe) != made_by.dimension:
        fault = f"gives {len(probe)} dimensions, the baseline has {made_by.dimension}"
    elif (alike := float(probe @ baseline.probe)) < SAME_ENCODER:
        fault = f"gives another direction for the same sentence (cosine {alike:.3f})"
    else:
        return
    msg = (
        f"the baseline was made with encoder {made_by.encoder!r}, and {encoder.name!r} {fault}: "
        "set EMB_MODEL to the one it was made with, or make the baseline again"
    )
    raise DriftError(msg)


def read_numbers(path: Path) -> Baseline:
    """Read histograms from an artifact's manifest or a baseline of our own. Raises DriftError."""
    try:
        document: Any = json.loads(path.read_bytes())
        if isinstance(document, dict) and "model_file" in document:
            histograms = ArtifactManifest.model_validate(document).baseline
        else:
            histograms = Baseline.model_validate(document)
    except (OSError, ValueError) as error:
        fault = f"{path} is no numeric baseline ({_brief(error)})"
        msg = f"{fault}: give a manifest.json, or make one with --kind numeric"
        raise DriftError(msg) from error
    if histograms is None or not histograms.features:
        msg = (
            f"{path} has no baseline: its model was exported without one; make one with --kind "
            "numeric"
        )
        raise DriftError(msg)
    return histograms


def _refuse_a_bomb(path: Path) -> None:
    with zipfile.ZipFile(path) as packed:
        size = sum(member.file_size for member in packed.infolist())
    if size > LARGEST_FILE:
        msg = f"it unpacks to {size} bytes, and {LARGEST_FILE} are allowed"
        raise ValueError(msg)


def _brief(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).partition("\n")[0] or type(error).__name__
