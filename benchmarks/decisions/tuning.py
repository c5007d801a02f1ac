"""Limits for rules that compare with a number: as good as anyone could set them.

The limit is the lowest that keeps a healthy canary's false rollbacks within the level, for the very
base rate, traffic, weight and number of checks of the cell. Nobody who runs a release knows all
these; so the tuned rules show what their form can do at its best.
"""

import math
from functools import cache

import numpy as np

from benchmarks.decisions.traffic import POLL, Cell, generator

SAMPLES = 400_000


def tail(trials: int, share: float, at_least: int) -> float:
    """Return the probability of at least so many successes of a share's trials."""
    below = (
        math.comb(trials, successes) * share**successes * (1 - share) ** (trials - successes)
        for successes in range(at_least)
    )
    return 1 - math.fsum(below)


def failing_share(checks: int, failures: int, level: float) -> float:
    """Return how often one check may fail,
    so that `failures` of `checks` come together within the level.
    """
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(checks, middle, failures) <= level else (low, middle)
    return low


def limit_for(cell: Cell, *, polls: int, checks: int, failures: int, level: float) -> float:
    """Return the lowest limit for the bad share of a check over so many polls."""
    per_check = cell.rps * cell.weight * polls * POLL
    return _limit(per_check, cell.base, failing_share(checks, failures, level))


@cache
def _limit(requests: float, base: float, share: float) -> float:
    random = generator(0, "tuning", requests, base)
    failures = random.poisson(requests * base, SAMPLES)
    total = failures + random.poisson(requests * (1 - base), SAMPLES)
    # A check without requests fails whatever the limit is.
    rates = np.where(total > 0, failures / np.maximum(total, 1), np.inf)
    return float(np.quantile(rates, 1 - share, method="higher"))
