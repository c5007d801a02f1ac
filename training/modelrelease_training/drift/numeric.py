"""Whether rows of numbers are distributed as a baseline's: the operator's own test, on a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modelrelease_contract.artifact import Baseline, Histogram
from modelrelease_contract.drift import (
    PRACTICAL_PSI,
    Calibration,
    DriftVerdict,
    FeatureDrift,
    assess,
)
from modelrelease_training.bins import count_texts, edges, histogram, text_histogram
from modelrelease_training.drift.errors import DriftError

Columns = Mapping[str, NDArray[np.float64] | list[str | None]]

ALPHA: Final = 0.01
"""Probability that one check of rows without drift says drift, all features together."""
MINIMUM_ROWS: Final = 100
"""Rows of a batch, and of a baseline, below which nothing is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericDrift:
    """What one batch of rows says."""

    n: int
    features: tuple[FeatureDrift, ...]
    extra: tuple[str, ...]
    """Columns that the baseline does not know."""

    @property
    def found_by(self) -> tuple[str, ...]:
        """The features that drifted, those furthest beyond their limit first."""
        drifted = [feature for feature in self.features if feature.verdict is DriftVerdict.DRIFTED]
        return tuple(
            feature.name
            for feature in sorted(drifted, key=lambda feature: -feature.psi / feature.threshold)
        )

    @property
    def insufficient(self) -> bool:
        """Whether too few rows came to say anything."""
        return all(feature.verdict is DriftVerdict.INSUFFICIENT for feature in self.features)


def make(columns: Columns) -> Baseline:
    """Return the histograms of `columns`.

    Raises DriftError for fewer than MINIMUM_ROWS rows, or a column without a value.
    """
    rows = max(len(values) for values in columns.values())
    if rows < MINIMUM_ROWS:
        raise DriftError(
            f"a baseline needs at least {MINIMUM_ROWS} rows, got {rows}: give more of them"
        )
    return Baseline(
        rows=rows, features={name: _histogram(name, values) for name, values in columns.items()}
    )


def compare(
    baseline: Baseline, columns: Columns, *, alpha: float = ALPHA, practical: float = PRACTICAL_PSI
) -> NumericDrift:
    """Compare a batch with the baseline.

    Raises DriftError for a column that is missing, or holds no numbers where the baseline has them.
    """
    if absent := [name for name in baseline.features if name not in columns]:
        lacking = f"the rows lack {', '.join(absent[:5])}, which the baseline has"
        raise DriftError(f"{lacking}; their columns: {', '.join(columns)}")
    window = {
        name: _bins(_counted(name, columns[name], bins)) for name, bins in baseline.features.items()
    }
    baselines = {name: _bins(bins) for name, bins in baseline.features.items()}
    calibration = Calibration(
        alpha=alpha, windows=1, practical=practical, minimum_sample=MINIMUM_ROWS
    )
    return NumericDrift(
        n=max(len(values) for values in columns.values()),
        features=assess(window, baselines, calibration),
        extra=tuple(name for name in columns if name not in baseline.features),
    )


def _histogram(name: str, values: NDArray[np.float64] | list[str | None]) -> Histogram:
    if isinstance(values, list):
        return text_histogram(values)
    if not np.isfinite(values).any():
        raise DriftError(
            f"column {name} has no value at all: leave it out, or give rows with values"
        )
    return histogram(values, edges(values))


def _counted(
    name: str, values: NDArray[np.float64] | list[str | None], bins: Histogram
) -> Histogram:
    if bins.labels:
        texts = values if isinstance(values, list) else _spelled(values)
        return count_texts(texts, bins)
    numbers = _numbers(name, values) if isinstance(values, list) else values
    return histogram(numbers, bins.edges)


def _spelled(values: NDArray[np.float64]) -> list[str | None]:
    return [_spelling(value) for value in values.tolist()]


def _spelling(value: float) -> str | None:
    if np.isnan(value):
        return None
    return str(int(value)) if value.is_integer() else str(value)


def _numbers(name: str, values: list[str | None]) -> NDArray[np.float64]:
    numbers = np.full(len(values), np.nan)
    for row, value in enumerate(values):
        try:
            numbers[row] = float(value) if value is not None else np.nan
        except ValueError as error:
            msg = f"column {name} must hold numbers, got {value!r} in row {row + 1}"
            raise DriftError(msg) from error
    return numbers


def _bins(column: Histogram) -> list[int]:
    return [*column.counts, column.missing]
