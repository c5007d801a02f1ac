"""How much more often the canary fails than stable: an interval that holds at every look at once.

The test of `eprocess` with ratio 1, inverted. Its designs' evidence against "p_canary - p_stable is
at most t" is L - S t, with two sums that do not depend on t; so no t has to be tried, and both ends
come in closed form. The same sums give the ratio's interval. The proof, and what is covered while
rates move, are in docs/explanation/decisions.md.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import repeat
from operator import add, mul, neg, sub, truediv
from typing import Any, Self

from modelrelease_operator.core.immutable import Value, immutable
from modelrelease_operator.core.statistics.eprocess import POOLED_SHARE, Counts

BELOW = (-0.95, -0.75, -0.36, -0.12, -0.04)
ABOVE = (0.04, 0.12, 0.36, 1.1, 3.6, 11.0, 40.0)
EXCESSES = (*BELOW, *ABOVE)
"""By design: the canary's rate over stable's, less 1. The best is about the root of 2 B / N for N
bad requests of the canary and the price B of `_price`: a grid by a factor of three costs 15 % of
the width at most, between N = 1 and N = 10,000.
"""

_ZEROS = (0.0,) * len(EXCESSES)
_ONES = (1.0,) * len(EXCESSES)
_LOGS = tuple(math.log1p(excess) for excess in EXCESSES)
_RATIOS = (*(1 + excess for excess in BELOW), 1.0, *(1 + excess for excess in ABOVE))
_LOG_RATIOS = tuple(map(math.log, _RATIOS))


@immutable
class DifferenceInterval:
    """What the counts leave possible, of the canary's rate beside stable's."""

    lower: float
    upper: float
    """Of p_canary - p_stable, as shares in [-1, 1]."""
    ratio_lower: float
    ratio_upper: float
    """Of p_canary / p_stable; 0 and infinity where the counts exclude nothing."""

    @property
    def excludes_nothing(self) -> bool:
        """Whether every difference is still possible."""
        return self.lower <= -1 and self.upper >= 1


@immutable
class DifferenceEvidence(Value):
    """What both arms' counts say about p_canary - p_stable, summed interval by interval.

    With w the canary's share of an interval's requests, k a design's excess and m the bad requests
    of both arms, an interval of n_c and n_s requests adds m log(1 + k w) to the design's
    `log_shares` and (n_c n_s / (n_c + n_s)) / (1 + k w) to its `exposures`.
    """

    bad: float = 0.0
    stable_bad: float = 0.0
    """Bad requests of the canary and of stable."""
    log_shares: tuple[float, ...] = _ZEROS
    exposures: tuple[float, ...] = _ZEROS

    @property
    def began(self) -> bool:
        """Whether any interval was seen."""
        return self.exposures[0] > 0

    def update(self, n_c: int, x: int, n_s: int, y: int) -> Self:
        """Return the evidence with one more interval: the canary's requests and the bad ones among
        them, and the same of stable. One that lacks an arm changes nothing.
        """
        if n_c == 0 or n_s == 0:
            return self
        share = n_c / (n_c + n_s)
        mixed = tuple(map(add, _ONES, map(mul, EXCESSES, repeat(share))))
        gained = map(truediv, repeat(n_s * share), mixed)
        log_shares = self.log_shares
        if x or y:
            log_shares = tuple(map(add, log_shares, map(mul, map(math.log, mixed), repeat(x + y))))
        return self.but(
            bad=self.bad + x,
            stable_bad=self.stable_bad + y,
            log_shares=log_shares,
            exposures=tuple(map(add, self.exposures, gained)),
        )

    def interval(
        self, *, alpha: float, dispersion: float = 1.0, pooled: Iterable[Counts] = ()
    ) -> DifferenceInterval | None:
        """Return what is left possible with a confidence of 1 - alpha at every look at once.

        `pooled` are comparisons of sums (`Pooled.covers`): 0, and a ratio of 1, are excluded only
        as far as each of them says a third of it. None where the two ends would cross. Raises
        ValueError when alpha is not strictly between 0 and 1 or the dispersion is below 1.
        """
        if not (0 < alpha < 1 and 1 <= dispersion < math.inf):
            msg = (
                "alpha must be strictly between 0 and 1 and the dispersion at least 1, got "
                f"{alpha=} {dispersion=}"
            )
            raise ValueError(msg)
        price = dispersion * _price(alpha)
        interval = self._interval(price)
        if interval.lower > 0 or interval.upper < 0:
            sides = [type(self)().update(*counts) for counts in pooled]
            interval = _borne_out(
                interval, [side._interval(price / POOLED_SHARE) for side in sides]
            )
        return interval if interval.lower <= interval.upper else None

    def _interval(self, price: float) -> DifferenceInterval:
        if not self.began:
            return DifferenceInterval(lower=-1.0, upper=1.0, ratio_lower=0.0, ratio_upper=math.inf)
        logs, ratio_lower, ratio_upper = _ZEROS, 0.0, math.inf
        below = len(BELOW)
        # Without a bad request every ratio is possible.
        if self.bad or self.stable_bad:
            logs = tuple(map(sub, map(mul, _LOGS, repeat(self.bad)), self.log_shares))
            ratio_lower, ratio_upper = _ratios(
                (*logs[:below], 0.0, *logs[below:]), price, (self.bad, -self.stable_bad)
            )
        slopes = map(mul, EXCESSES, self.exposures)
        ends = tuple(map(truediv, map(sub, logs, repeat(price)), slopes))
        return DifferenceInterval(
            lower=max(-1.0, *ends[below:]),
            upper=min(1.0, *ends[:below]),
            ratio_lower=ratio_lower,
            ratio_upper=ratio_upper,
        )

    def to_state(self) -> list[float | None]:
        """Return what must be stored, JSON-safe."""
        return [self.bad, self.stable_bad, *self.log_shares, *self.exposures]

    def from_state(self, state: Sequence[float | None]) -> Self:
        """Return stored evidence. Raises ValueError for a state that is not one of its own."""
        size = len(EXCESSES)
        sums: Sequence[Any] = state
        if len(sums) != 2 + 2 * size or not _are_numbers(sums):
            msg = f"the stored evidence of a difference must be {2 + 2 * size} numbers, got {state}"
            raise ValueError(msg)
        return self.but(
            bad=sums[0],
            stable_bad=sums[1],
            log_shares=tuple(sums[2 : 2 + size]),
            exposures=tuple(sums[2 + size :]),
        )


def _are_numbers(values: Sequence[float]) -> bool:
    """Return whether there is no null among numbers: a sum tells, and looks at none by itself."""
    try:
        sum(values)
    except TypeError:
        return False
    return True


@lru_cache(maxsize=64)
def _price(alpha: float) -> float:
    """Return the logarithm that one design must reach: half of alpha for each end, divided over
    the designs and the ratio 1.
    """
    return math.log(2 * len(_RATIOS) / alpha)


def _ratios(
    logs: Sequence[float], price: float, outermost: tuple[float, float]
) -> tuple[float, float]:
    """Return both ends of the ratio, from the log-likelihood at each of `_RATIOS`.

    It is concave in the logarithm of the ratio, so what lies beyond the chord of two neighbours
    lies below it: the chord is drawn on to the level that the best design rejects. `outermost` are
    the slopes towards 0 and infinity, the steepest that there are.
    """
    best = max(logs)
    peak, level = logs.index(best), best - price
    left = bisect_right(logs, level, 0, peak) - 1
    right = bisect_left(logs, -level, peak + 1, key=neg)
    lower, upper = 0.0, math.inf
    if left >= 0:
        slope = _chord(logs, left - 1) if left else outermost[0]
        reached = _LOG_RATIOS[left] + (level - logs[left]) / slope
        lower = math.exp(min(reached, _LOG_RATIOS[left + 1]))
    if right < len(logs):
        slope = _chord(logs, right) if right + 1 < len(logs) else outermost[1]
        reached = _LOG_RATIOS[right] + (level - logs[right]) / slope
        upper = math.exp(max(reached, _LOG_RATIOS[right - 1]))
    return lower, upper


def _chord(logs: Sequence[float], left: int) -> float:
    """Return the slope between one of the ratios and the next."""
    return (logs[left + 1] - logs[left]) / (_LOG_RATIOS[left + 1] - _LOG_RATIOS[left])


def _borne_out(
    interval: DifferenceInterval, sides: Sequence[DifferenceInterval]
) -> DifferenceInterval:
    """Return the interval with what excludes 0 held to the weakest of the sides."""
    lower, upper = interval.lower, interval.upper
    ratio_lower, ratio_upper = interval.ratio_lower, interval.ratio_upper
    for side in sides:
        if interval.lower > 0:
            lower = min(lower, max(0.0, side.lower))
            ratio_lower = min(ratio_lower, max(1.0, side.ratio_lower))
        if interval.upper < 0:
            upper = max(upper, min(0.0, side.upper))
            ratio_upper = max(ratio_upper, min(1.0, side.ratio_upper))
    return DifferenceInterval(
        lower=lower, upper=upper, ratio_lower=ratio_lower, ratio_upper=ratio_upper
    )
