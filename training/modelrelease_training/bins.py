"""Counts of values between the edges of a baseline: what drift compares. Knows no file and no model."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modelrelease_contract.artifact import Histogram

Floats = NDArray[np.float64]

_DECILES: Final = np.linspace(0.1, 0.9, 9)


def deciles(values: Floats) -> list[float]:
    """Return the nine deciles of `values`, shape (n,), of which at least one is no NaN."""
    return [float(edge) for edge in np.nanquantile(values, _DECILES)]


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
