"""Training data made from a seed, so that a release can be tried without anyone's records.

The world that the rows come from is fixed; a seed only draws other rows of it. Two versions trained
with two seeds therefore agree on what is true. Nothing here fits, measures or writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.util import hash_pandas_object

FEATURES: Final = 16
HELD_OUT_SHARE: Final = 0.2
MINIMUM_ROWS: Final = 200
_POPULATION_SEED: Final = 20_240_901
"""Seed of the world itself: means, scales, weights. Never the user's seed."""
_CHANNELS: Final = ("web", "mobile", "partner")
_NO_SHIFTS: Final[Mapping[str, float]] = MappingProxyType({})

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Texts = NDArray[np.str_]
Shifts = Mapping[str, float]
"""Feature name to how far its values move, in standard deviations of the feature."""


def feature_names() -> tuple[str, ...]:
    """Return the feature names in the order of the columns."""
    return tuple(f"feature_{index:02d}" for index in range(FEATURES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Rows of shape (rows, features) and one label, 0 or 1, for each."""

    rows: Floats
    labels: Labels
    names: tuple[str, ...] = field(default_factory=feature_names)
    """Of the features, in the order of the columns."""
    nullable: frozenset[str] = frozenset()
    """Names of the features that may be missing (NaN)."""
    segments: Texts | None = None
    """Which part of the population each row belongs to, where known. No input of the model."""

    def take(self, index: Any) -> "Data":
        """Return the rows that a numpy index, slice or mask names."""
        segments = None if self.segments is None else self.segments[index]
        return replace(self, rows=self.rows[index], labels=self.labels[index], segments=segments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """What a model may be fitted to, and what it is measured on."""

    training: Data
    held_out: Data


def make_data(*, seed: int, rows: int, shifts: Shifts = _NO_SHIFTS) -> Data:
    """Draw `rows` rows: correlated features on different scales, labels by a noisy rule.

    `shifts` moves features and leaves the rule as it is: covariate shift. Raises ValueError when
    there are too few rows for a baseline, or a shift names no feature.
    """
    if rows < MINIMUM_ROWS:
        msg = (
            f"rows must be at least {MINIMUM_ROWS}, of which a fifth is held out to measure on; "
            f"got {rows}"
        )
        raise ValueError(msg)
    population = np.random.default_rng(_POPULATION_SEED)
    mixing = np.eye(FEATURES) + 0.25 * population.standard_normal((FEATURES, FEATURES))
    weights = population.normal(scale=0.7, size=FEATURES)
    centres = population.uniform(-5.0, 5.0, size=FEATURES)
    scales = 10.0 ** population.uniform(-0.5, 1.0, size=FEATURES)

    draw = np.random.default_rng(seed)
    latent = draw.standard_normal((rows, FEATURES)) @ mixing + _moves(shifts, mixing)
    logits = latent @ weights + 0.5 * latent[:, 0] * latent[:, 1]
    labels = (draw.random(rows) < 1.0 / (1.0 + np.exp(-logits))).astype(np.int64)
    # Six digits are what a person would send, and they keep the manifest's example rows readable.
    return Data(
        rows=np.round(latent * scales + centres, 6),
        labels=labels,
        segments=draw.choice(_CHANNELS, size=rows, p=[0.6, 0.3, 0.1]),
    )


def _moves(shifts: Shifts, mixing: Floats) -> Floats:
    unknown = sorted(set(shifts) - set(feature_names()))
    if unknown:
        first, *_, last = feature_names()
        msg = f"a shift names {unknown[0]!r}, but the features are {first} to {last}"
        raise ValueError(msg)
    # The rows are independent standard normals times `mixing`, so these are the standard
    # deviations.
    deviations = np.linalg.norm(mixing, axis=0)
    moves = deviations * [shifts.get(name, 0.0) for name in feature_names()]
    return np.asarray(moves, dtype=np.float64)


def split(data: Data) -> Split:
    """Keep the last fifth of the rows apart: drawn independently, it is a fair sample."""
    cut = len(data.labels) - round(len(data.labels) * HELD_OUT_SHARE)
    return Split(training=data.take(slice(None, cut)), held_out=data.take(slice(cut, None)))


def split_by_content(data: Data) -> Split:
    """Keep about a fifth of the rows apart, chosen by a hash of each row's features.

    The same row is on the same side in whichever file it appears, so a row that one version was
    measured on was not learned by another, and duplicates never fall on both sides. The order of
    the rows does not matter. Raises ValueError when either side would have too few rows or one
    class only.
    """
    keys = hash_pandas_object(pd.DataFrame(data.rows), index=False).to_numpy()
    held_out = keys % round(1 / HELD_OUT_SHARE) == 0
    parts = Split(training=data.take(~held_out), held_out=data.take(held_out))
    for part, purpose in ((parts.training, "to train on"), (parts.held_out, "held out")):
        _check_part(part, purpose, of=len(data.labels))
    for name, column in zip(data.names, parts.training.rows.T, strict=True):
        if np.isnan(column).all():
            fact = f"column {name} has no value in any of the {len(column)} rows to train on"
            raise ValueError(
                f"{fact}: leave it out of the data schema, or bring rows that have values"
            )
    return parts


def _check_part(part: Data, purpose: str, *, of: int) -> None:
    least, rows = round(MINIMUM_ROWS * HELD_OUT_SHARE / 2), len(part.labels)
    if rows < least:
        msg = (
            f"of {of} rows, {rows} are {purpose}, and at least {least} are needed: bring more rows"
        )
        raise ValueError(msg)
    classes = np.unique(part.labels).tolist()
    if len(classes) < 2:
        fact = f"of {of} rows, the {rows} {purpose} all have the label {classes[0]}"
        raise ValueError(
            f"{fact}, and both labels are needed on both sides: bring more rows of the other"
        )
