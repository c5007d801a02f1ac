"""Kayenta's judge: a Mann-Whitney test on one number a minute, read in its source and written anew.

A metric is High when the lower end of the 98 % confidence interval of the shift between the arms is
above a quarter of the Hodges-Lehmann estimate of that shift. The interval is R's asymptotic one,
with correction for continuity and ties: its lower end is where the normal score of "canary minus
shift" falls to the quantile. That score only falls with the shift, so "the lower end is above c" is
the same as "the score at c is above the quantile", which needs no search for a root and works on
all runs at once. A test holds this against a search for the root.
"""

from statistics import NormalDist

import numpy as np

from benchmarks.decisions.traffic import Counts, Floats, Ints
from benchmarks.decisions.vectorized import BLOCK, NEVER

CONFIDENCE = 0.98
EFFECT = 0.25
QUANTILE = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)

Flags = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def is_high(canary: Floats, stable: Floats) -> Flags:
    """Return for each row whether the canary's series is classified High beside stable's."""
    gaps = canary[:, :, None] - stable[:, None, :]
    shift = EFFECT * np.abs(np.median(gaps.reshape(len(gaps), -1), axis=1))
    lowest = canary.min(axis=1) - stable.max(axis=1)
    # Where even the lowest shift's score is below the quantile, Kayenta takes that shift for the
    # bound.
    clear = (score(canary, stable, gaps, lowest) <= QUANTILE) & (lowest > shift)
    differ = (np.sort(canary, axis=1) != np.sort(stable, axis=1)).any(axis=1)
    return np.asarray(differ & ((score(canary, stable, gaps, shift) > QUANTILE) | clear))


def score(canary: Floats, stable: Floats, gaps: Floats, shift: Floats) -> Floats:
    """Return the normal score of the rank sum of "canary minus shift" among stable's values."""
    size, other = canary.shape[1], stable.shape[1]
    both = size + other
    beyond = np.sign(gaps - shift[:, None, None]).sum(axis=(1, 2)) / 2
    ties = _ties(np.concatenate([canary - shift[:, None], stable], axis=1))
    variance = size * other / 12 * (both + 1 - ties / (both * (both - 1)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(
            np.where(variance > 0, (beyond - np.sign(beyond) * 0.5) / np.sqrt(variance), -np.inf)
        )


def _ties(values: Floats) -> Floats:
    """Return the sum of t^3 - t over each row's groups of t equal values."""
    ordered = np.sort(values, axis=1)
    begins = np.ones(ordered.shape, dtype=bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    groups = np.cumsum(begins.ravel()) - 1
    sizes = np.bincount(groups).astype(np.float64)
    row = np.repeat(np.arange(len(ordered)), ordered.shape[1])[begins.ravel()]
    return np.bincount(row, weights=sizes**3 - sizes, minlength=len(ordered)).astype(np.float64)


def judged(counts: Counts, *, minutes: int, polls_a_minute: int = 6) -> Ints:
    """Return the poll at which a judgement every so many minutes, on all data so far, fails; or
    NEVER.

    Minutes without a request in an arm have no value. So few of them occur here that a run that has
    one counts as judged with a rate of 0 in it.
    """
    parts = [slice(start, start + BLOCK) for start in range(0, counts.runs, BLOCK)]
    blocks = [_judged(counts.part(part).every(polls_a_minute), minutes) for part in parts]
    polls = np.concatenate(blocks)
    return np.where(polls < NEVER, polls * polls_a_minute - 1, NEVER)


def _judged(series: Counts, minutes: int) -> Ints:
    canary = 100 * series.x / np.maximum(series.n_c, 1)
    stable = 100 * series.y / np.maximum(series.n_s, 1)
    when = np.full(series.runs, NEVER, dtype=np.int64)
    for until in range(minutes, series.polls + 1, minutes):
        undecided = np.flatnonzero(when == NEVER)
        if not undecided.size:
            break
        high = is_high(canary[undecided, :until], stable[undecided, :until])
        when[undecided[high]] = until
    return when
