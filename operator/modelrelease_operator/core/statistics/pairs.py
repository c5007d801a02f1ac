"""Evidence from pairs: both arms were asked the same request, valid however often it is looked at.

What makes a request hard is the same for both arms of a pair, so only pairs in which the arms
differ carry information (McNemar 1947). Each pair has a score within known bounds whose mean is at
most 0 under the hypothesis; a bet of a share `stake` on it multiplies the evidence by
1 + stake x score, and stays an e-process whatever the past was (Waudby-Smith and Ramdas 2020,
arXiv 2010.09686; Choe and Ramdas 2021, arXiv 2110.00115). The mean over several stakes is one too.
A product over pairs needs their numbers alone: no order is kept.

Nothing here knows a clock, a metric's name or a policy. Logarithms are natural.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from modelrelease_operator.core.statistics.eprocess import (
    NON_INFERIORITY_GRID,
    ArmCounts,
    Guardrail,
    Tolerance,
    log_mean_exp,
)

STAKES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
"""Shares of the largest stake that a bet may have: small ones find small differences."""


Cells = tuple[float, float, float, float]
"""Pairs bad on neither arm, on the canary alone, on stable alone, on both."""
Scores = Sequence[tuple[float, float]]
"""How many pairs have which score."""
LEAST_LOSS = 0.01
"""A line so wide that nothing can be lost by a bet is bet on as if this could be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Pairs by which arm was bad. Raises ValueError for a number below 0."""

    neither: int = 0
    canary: int = 0
    """The canary alone."""
    stable: int = 0
    both: int = 0

    def __post_init__(self) -> None:
        if min(self.neither, self.canary, self.stable, self.both) < 0:
            msg = f"pairs are counted from 0, got {self}"
            raise ValueError(msg)

    @property
    def counts(self) -> "Cells":
        """Neither, the canary alone, stable alone, both."""
        return self.neither, self.canary, self.stable, self.both

    @property
    def total(self) -> int:
        """All of them."""
        return self.neither + self.canary + self.stable + self.both


def worse_than(pairs: Pairs, line: Tolerance, *, dispersion: float = 1) -> float:
    """Return log evidence that the canary is bad more often than
    `ratio` x stable's share + `points`.

    With ratio 1 and no points this is the sign test as a bet: with stake s = 2 theta - 1, each pair
    in which the canary alone is bad counts 2 theta, and each of stable's 2 (1 - theta).
    """
    scores = _against(pairs.counts, line)
    return _bets(scores, -line.ratio - line.points, dispersion)


def within(pairs: Pairs, line: Tolerance, *, dispersion: float = 1) -> float:
    """Return log evidence that the canary is bad less often than
    `ratio` x stable's share + `points`.
    """
    return _bets(_in_favour(pairs.counts, line), line.points - 1, dispersion)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRates:
    """How often each arm is bad on a copied request, independently: shares in [0, 1]."""

    canary: float
    stable: float

    def of(self, pairs: float) -> tuple[float, float, float, float]:
        """Return how many of so many pairs are bad on neither arm, the canary alone,
        stable alone, and both.
        """
        canary, stable = self.canary, self.stable
        good = (1 - canary) * (1 - stable)
        return (
            pairs * good,
            pairs * canary * (1 - stable),
            pairs * stable * (1 - canary),
            pairs * canary * stable,
        )


def to_prove_worse(
    rates: PairRates, line: Tolerance, needed: float, *, dispersion: float = 1
) -> float:
    """Return the pairs after which `worse_than` is expected to reach `needed`; infinity if
    never.
    """
    return _to_reach(_against(rates.of(1), line), -line.ratio - line.points, needed, dispersion)


def to_prove_within(
    rates: PairRates, line: Tolerance, needed: float, *, dispersion: float = 1
) -> float:
    """Return the pairs after which `within` is expected to reach `needed`; infinity if never."""
    return _to_reach(_in_favour(rates.of(1), line), line.points - 1, needed, dispersion)


def to_prove_below(limit: float, needed: float, *, dispersion: float = 1) -> float:
    """Return the pairs without a difference after which `below` reaches `needed`."""
    return dispersion * (needed + math.log(len(NON_INFERIORITY_GRID))) / -math.log1p(-limit)


def above(counts: ArmCounts, limit: float, *, dispersion: float = 1) -> float:
    """Return log evidence that a share, `bad` of `total`, is above `limit`."""
    return Guardrail(limit=limit, dispersion=dispersion).update(counts).log_value


def below(counts: ArmCounts, limit: float, *, dispersion: float = 1) -> float:
    """Return log evidence that a share, `bad` of `total`, is below `limit`.

    A mean of likelihood ratios of q x limit to the limit, q in the grid of non-inferiority.
    """
    good = counts.total - counts.bad
    return log_mean_exp(
        [
            (_times(counts.bad, q) + good * (math.log1p(-q * limit) - math.log1p(-limit)))
            / dispersion
            for q in NON_INFERIORITY_GRID
        ]
    )


def upper_bound(counts: ArmCounts, confidence: float) -> float:
    """Return what a share, `bad` of `total`, is below with this confidence, at every look at once.

    The limits that `below` rejects, inverted; 1 where it rejects none.
    """
    needed = -math.log1p(-confidence)
    low, high = (counts.rate or 0.0), 1.0
    if below(counts, 1 - 1e-9) < needed:
        return 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        proven = middle > 0 and below(counts, min(middle, 1 - 1e-9)) >= needed
        low, high = (low, middle) if proven else (middle, high)
    return high


def _against(cells: Cells, line: Tolerance) -> Scores:
    """Return each cell with its score: canary's badness - ratio x stable's - points."""
    neither, canary, stable, both = cells
    ratio, points = line.ratio, line.points
    return (
        (neither, -points),
        (canary, 1 - points),
        (stable, -ratio - points),
        (both, 1 - ratio - points),
    )


def _in_favour(cells: Cells, line: Tolerance) -> Scores:
    """Return each cell with the opposite score."""
    return tuple((count, -score) for count, score in _against(cells, line))


def _to_reach(scores: Scores, lowest: float, needed: float, dispersion: float) -> float:
    """Return when the best of the bets, which has paid for all of them, reaches `needed`."""
    largest = 1 / max(-lowest, LEAST_LOSS)
    speed = max(_bet(scores, share * largest) for share in STAKES) / dispersion
    return (needed + math.log(len(STAKES))) / speed if speed > 0 else math.inf


def _bets(scores: Scores, lowest: float, dispersion: float) -> float:
    """Return the mean over the stakes of the product of 1 + stake x score.

    `lowest` is the worst score: with the largest stake it would lose everything. Each bet is
    divided by the most pairs that go bad together before the mean is taken, as in `_Mixture`.
    """
    largest = 1 / max(-lowest, LEAST_LOSS)
    return log_mean_exp([_bet(scores, share * largest) / dispersion for share in STAKES])


def _bet(scores: Scores, stake: float) -> float:
    return sum(count * math.log1p(stake * score) for count, score in scores)


def _times(count: int, ratio: float) -> float:
    """Return count x log ratio, and 0 where nothing is counted."""
    if not count:
        return 0.0
    return count * math.log(ratio) if ratio else -math.inf
