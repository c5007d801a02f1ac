"""How far a feature's, or the predictions', distribution has moved from the model's baseline.

Everything is computed from counts in the baseline's bins. The threshold is calibrated: a small
window may not cry drift because it is small, nor a huge one because it notices nothings. Input
drift reaches both revisions alike, so it is no evidence against a canary. The statistics are
explained in docs/explanation/decisions.md.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

PRACTICAL_PSI = 0.1
"""Shifts below this are not worth acting on, however certain (a convention of credit scoring)."""

MINIMUM_SAMPLE = 500
"""Values in a window below which nothing is said."""


class DriftVerdict(StrEnum):
    """What a window says about one feature."""

    DRIFTED = "Drifted"
    STABLE = "Stable"
    INSUFFICIENT = "Insufficient"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureDrift:
    """The verdict on one feature, with the figures that it rests on."""

    name: str
    psi: float
    """Population stability index; 0 without values."""
    threshold: float
    """PSI above which the feature has drifted; infinite without values."""
    n: int
    """Values in the window."""
    verdict: DriftVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How often all features and windows of a release together may raise a false alarm.

    `windows` is how many windows will be judged (Bonferroni over features and windows). `repeats`
    is how many near-identical values one client sends on average (the design effect). Raises
    ValueError for an alpha outside (0, 1), fewer than one window or repeats below 1.
    """

    alpha: float = 0.01
    windows: int = 60
    practical: float = PRACTICAL_PSI
    minimum_sample: int = MINIMUM_SAMPLE
    repeats: float = 1.0

    def __post_init__(self) -> None:
        if not (0 < self.alpha < 1 and self.windows >= 1 and self.repeats >= 1):
            msg = f"drift needs 0 < alpha < 1, windows >= 1 and repeats >= 1, got {self}"
            raise ValueError(msg)


def assess(
    windows: Mapping[str, Sequence[int]],
    baselines: Mapping[str, Sequence[int]],
    calibration: Calibration,
) -> tuple[FeatureDrift, ...]:
    """Judge one window of every feature that has a baseline, in the baselines' order.

    A feature without counts in the window is Insufficient; one without a baseline is left out. Bins
    must match one by one, the bin of missing values included. Raises ValueError where they do not.
    """
    tail = calibration.alpha / (max(1, len(baselines)) * calibration.windows)
    return tuple(
        _feature_drift(name, windows.get(name, (0,) * len(baseline)), baseline, tail, calibration)
        for name, baseline in baselines.items()
    )


def _feature_drift(
    name: str, counts: Sequence[int], baseline: Sequence[int], tail: float, calibration: Calibration
) -> FeatureDrift:
    n = sum(counts)
    score = psi(counts, baseline)
    limit = max(
        calibration.practical, psi_threshold(counts, baseline, tail, repeats=calibration.repeats)
    )
    if n < calibration.minimum_sample:
        verdict = DriftVerdict.INSUFFICIENT
    else:
        verdict = DriftVerdict.DRIFTED if score > limit else DriftVerdict.STABLE
    return FeatureDrift(name=name, psi=score, threshold=limit, n=n, verdict=verdict)


def psi(counts: Sequence[int], baseline: Sequence[int]) -> float:
    """Return the population stability index of shares smoothed by half a count.

    It is the sum of (q - p) ln(q / p): 0 when there are no values. Raises ValueError for bins that
    do not match or counts that are negative.
    """
    pairs = _occupied(counts, baseline)
    return math.fsum((q - p) * math.log(q / p) for q, p in _shares(pairs))


def psi_threshold(
    counts: Sequence[int], baseline: Sequence[int], tail: float, *, repeats: float = 1.0
) -> float:
    """Return the PSI that a window without drift exceeds with probability `tail`.

    PSI / (1/n + 1/m) is asymptotically chi-squared with (occupied bins - 1) degrees of freedom, for
    n values in the window and m in the baseline (Yurdakul 2018). `repeats` multiplies 1/n. Infinite
    when either side has no values.
    """
    pairs = _occupied(counts, baseline)
    n, m = _sizes(pairs)
    if not (n and m):
        return math.inf
    if len(pairs) == 1:
        return 0.0
    return (repeats / n + 1 / m) * chi_squared_quantile(tail, len(pairs) - 1)


@lru_cache(maxsize=256)
def chi_squared_quantile(tail: float, degrees: int) -> float:
    """Return the value that a chi-squared variable exceeds with probability `tail`.

    By bisection, to the last digits of a double. Raises ValueError unless 0 < tail < 1 and there is
    at least one degree of freedom.
    """
    if not (0 < tail < 1 and degrees >= 1):
        msg = (
            f"a chi-squared quantile needs 0 < tail < 1 and degrees >= 1, got {tail} and {degrees}"
        )
        raise ValueError(msg)
    low, high = 0.0, float(degrees)
    while chi_squared_survival(high, degrees) > tail:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        if chi_squared_survival(middle, degrees) > tail:
            low = middle
        else:
            high = middle
    return high


def chi_squared_survival(value: float, degrees: int) -> float:
    """Return the probability that a chi-squared variable exceeds `value`.

    For whole degrees of freedom this is a finite sum of positive terms (Abramowitz and Stegun
    26.4.4 and 26.4.5), so nothing cancels.
    """
    if value <= 0:
        return 1.0
    half, odd = value / 2, degrees % 2
    first, last = (0.5, math.erfc(math.sqrt(half))) if odd else (0.0, 0.0)
    powers = (first + step for step in range((degrees - odd) // 2))
    terms = (math.exp(power * math.log(half) - half - math.lgamma(power + 1)) for power in powers)
    return math.fsum(terms) + last


def _occupied(counts: Sequence[int], baseline: Sequence[int]) -> list[tuple[int, int]]:
    """Pair the bins, without those that are empty on both sides: they tell nothing."""
    if len(counts) != len(baseline) or min((*counts, *baseline), default=0) < 0:
        msg = (
            f"drift needs the same bins and no negative counts, got {list(counts)} for "
            f"{list(baseline)}"
        )
        raise ValueError(msg)
    return [(c, b) for c, b in zip(counts, baseline, strict=True) if c or b]


def _sizes(pairs: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return sum(c for c, _ in pairs), sum(b for _, b in pairs)


def _shares(pairs: Sequence[tuple[int, int]]) -> list[tuple[float, float]]:
    n, m = _sizes(pairs)
    if not (n and m):
        return []
    smooth = 0.5 * len(pairs)
    return [((c + 0.5) / (n + smooth), (b + 0.5) / (m + smooth)) for c, b in pairs]
