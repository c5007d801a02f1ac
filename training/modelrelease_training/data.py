"""Training data made from a seed, so that a release can be tried without anyone's records.

The world that the rows come from is fixed; a seed only draws other rows of it. Two versions trained
with two seeds therefore agree on what is true. Nothing here fits, measures or writes.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FEATURES: Final = 16
HELD_OUT_SHARE: Final = 0.2
MINIMUM_ROWS: Final = 200
_WORLD: Final = 20_240_901
"""Seed of the world itself: means, scales, weights. Never the user's seed."""

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Rows of shape (rows, 16) and one label, 0 or 1, for each."""

    rows: Floats
    labels: Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """What a model may be fitted to, and what it is measured on."""

    training: Data
    held_out: Data


def feature_names() -> tuple[str, ...]:
    """Return the feature names in the order of the columns."""
    return tuple(f"feature_{index:02d}" for index in range(FEATURES))


def make_data(*, seed: int, rows: int) -> Data:
    """Draw `rows` rows of the world: correlated features on different scales, labels by a noisy rule.

    Raises ValueError when there are too few rows for a baseline.
    """
    if rows < MINIMUM_ROWS:
        msg = f"rows must be at least {MINIMUM_ROWS}, to fill every decile of the held-out rows; got {rows}"
        raise ValueError(msg)
    world = np.random.default_rng(_WORLD)
    mixing = np.eye(FEATURES) + 0.25 * world.standard_normal((FEATURES, FEATURES))
    weights = world.normal(scale=0.7, size=FEATURES)
    centres = world.uniform(-5.0, 5.0, size=FEATURES)
    scales = 10.0 ** world.uniform(-0.5, 1.0, size=FEATURES)

    draw = np.random.default_rng(seed)
    latent = draw.standard_normal((rows, FEATURES)) @ mixing
    logits = latent @ weights + 0.5 * latent[:, 0] * latent[:, 1]
    labels = (draw.random(rows) < 1.0 / (1.0 + np.exp(-logits))).astype(np.int64)
    # Six digits are what a person would send, and they keep the manifest's example rows readable.
    return Data(rows=np.round(latent * scales + centres, 6), labels=labels)


def split(data: Data) -> Split:
    """Keep the last fifth of the rows apart. They are drawn independently, so the tail is a fair sample."""
    cut = len(data.labels) - round(len(data.labels) * HELD_OUT_SHARE)
    return Split(
        training=Data(rows=data.rows[:cut], labels=data.labels[:cut]),
        held_out=Data(rows=data.rows[cut:], labels=data.labels[cut:]),
    )
