"""The rules of others, as their documentation shows them and as a generous expert would tune them.

Each takes the counts of many runs and returns the poll at which each run is rolled back, or NEVER.
Where the tuned rules get their limits is `tuning`; why these are fair is in benchmarks/README.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from benchmarks.decisions.kayenta import judged
from benchmarks.decisions.traffic import POLL, Cell, Counts, Floats, Ints
from benchmarks.decisions.tuning import limit_for
from benchmarks.decisions.vectorized import (
    NEVER,
    default_policy,
    first,
    promotion_polls,
    rollback_polls,
)
from modelrelease_operator.core.statistics.eprocess import Tolerance

MINUTE = 60 // POLL
"""Polls in a minute."""
FLAGGER_THRESHOLD = 5
FLAGGER_LIMIT = 0.01
"""`thresholdRange: {min: 99}` of the success rate in percent."""
ARGO_FAILURE_LIMIT = 3
ARGO_LIMIT = 0.05
"""`successCondition: result[0] >= 0.95`."""
ARGO_INTERVAL = 5 * MINUTE
LEVEL = 0.01
"""What the tuned rules and the z-tests are allowed of false rollbacks, as ours is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A way to decide."""

    name: str
    rollback: Callable[[Counts, Cell], Ints]
    promotion: Callable[[Counts], Ints] | None = None
    """When promotion is proven; without, whatever was not rolled back is promoted at the end."""


def share_bad(failures: Ints, total: Ints) -> Floats:
    """Return the share of bad requests; NaN without requests, as Prometheus divides."""
    with np.errstate(invalid="ignore"):
        return np.asarray(failures / np.where(total > 0, total, np.nan))


def too_bad(share: Floats, limit: float) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return which checks fail: those above the limit, and those that have no number."""
    return ~((1 - share) >= (1 - limit) - 1e-12)


def flagger(counts: Counts, limit: float) -> Ints:
    """Check the last minute every minute; roll back on the tick after the fifth failed check."""
    minutes = counts.every(MINUTE)
    failed = (
        np.cumsum(too_bad(share_bad(minutes.x, minutes.n_c), limit), axis=1) >= FLAGGER_THRESHOLD
    )
    tick = first(failed) + 2
    return np.where(tick <= minutes.polls, tick * MINUTE - 1, NEVER)


def argo(counts: Counts, limit: float, *, window: int) -> Ints:
    """Measure every five minutes, over so many of the last polls;
    the fourth failed measurement aborts.
    """
    ends = np.arange(ARGO_INTERVAL, counts.polls + 1, ARGO_INTERVAL)

    def last(part: Ints) -> Ints:
        return np.stack([part[:, end - window : end].sum(axis=1) for end in ends], axis=1)

    failed = np.cumsum(too_bad(share_bad(last(counts.x), last(counts.n_c)), limit), axis=1)
    when = first(failed > ARGO_FAILURE_LIMIT)
    return np.where(when < NEVER, (when + 1) * ARGO_INTERVAL - 1, NEVER)


def z_test(counts: Counts, level: float, *, errors: int = 0) -> Ints:
    """Test at every poll whether the canary fails more often, on all counts so far; pooled,
    one-sided.

    With `errors`, only from so many bad canary requests on: below, the normal distribution is none.
    """
    n_c, x, n_s, y = (
        np.cumsum(part, axis=1).astype(np.float64)
        for part in (counts.n_c, counts.x, counts.n_s, counts.y)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (x + y) / (n_c + n_s)
        z = (x / n_c - y / n_s) / np.sqrt(pooled * (1 - pooled) * (1 / n_c + 1 / n_s))
        return first((z > NormalDist().inv_cdf(1 - level)) & (x >= errors))


def _flagger_tuned(counts: Counts, cell: Cell) -> Ints:
    limit = limit_for(
        cell, polls=MINUTE, checks=cell.polls // MINUTE - 1, failures=FLAGGER_THRESHOLD, level=LEVEL
    )
    return flagger(counts, limit)


def _argo_tuned(counts: Counts, cell: Cell) -> Ints:
    limit = limit_for(
        cell,
        polls=ARGO_INTERVAL,
        checks=cell.polls // ARGO_INTERVAL,
        failures=ARGO_FAILURE_LIMIT + 1,
        level=LEVEL,
    )
    return argo(counts, limit, window=ARGO_INTERVAL)


OURS = default_policy()
STRICT = default_policy(tolerated=Tolerance(ratio=1.0, points=0.0))
TWO_GATES = default_policy(gates=2)

RULES = (
    Rule(
        name="ours",
        rollback=lambda counts, _: rollback_polls(counts, OURS),
        promotion=lambda counts: promotion_polls(counts, OURS),
    ),
    Rule(
        name="ours, no tolerance",
        rollback=lambda counts, _: rollback_polls(counts, STRICT),
        promotion=lambda counts: promotion_polls(counts, STRICT),
    ),
    Rule(
        name="ours, two gates",
        rollback=lambda counts, _: rollback_polls(counts, TWO_GATES),
        promotion=lambda counts: promotion_polls(counts, TWO_GATES),
    ),
    Rule(name="Flagger", rollback=lambda counts, _: flagger(counts, FLAGGER_LIMIT)),
    Rule(name="Flagger, 2x base", rollback=lambda counts, cell: flagger(counts, 2 * cell.base)),
    Rule(name="Flagger, tuned", rollback=_flagger_tuned),
    Rule(name="Argo", rollback=lambda counts, _: argo(counts, ARGO_LIMIT, window=1)),
    Rule(name="Argo, tuned", rollback=_argo_tuned),
    Rule(name="Kayenta, 10 min", rollback=lambda counts, _: judged(counts, minutes=10)),
    Rule(name="Kayenta, once", rollback=lambda counts, _: judged(counts, minutes=60)),
    Rule(name="z, each poll", rollback=lambda counts, _: z_test(counts, LEVEL)),
    Rule(name="z, Bonferroni", rollback=lambda counts, cell: z_test(counts, LEVEL / cell.polls)),
    Rule(
        name="z, tuned", rollback=lambda counts, cell: z_test(counts, LEVEL / cell.polls, errors=5)
    ),
)
