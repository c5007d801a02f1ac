"""The product's evidence for many runs at once.

`modelrelease_operator.core.statistics.eprocess` looks at one release and one interval at a time, as
an operator does; a thousand simulated hours of that would take the day. This is the same arithmetic
on arrays. tests/unit/benchmarks/test_benchmark_rules.py holds the two against each other, and the
benchmark replays a sample of its runs with the product's classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.decisions.traffic import Counts, Floats, Ints
from modelrelease_operator.api.spec import Analysis, Canary, ErrorRateGate, Line
from modelrelease_operator.core.analysis.gate_tests import BLAST_RADIUS
from modelrelease_operator.core.analysis.restart_schedule import planned_copies
from modelrelease_operator.core.statistics.eprocess import (
    NON_INFERIORITY_GRID,
    POOLED_SHARE,
    REGRESSION_GRID,
    EProcess,
    Restarts,
    Tolerance,
)

NEVER = 10**9
"""The poll of something that did not happen."""

BLOCK = 100
"""Runs that are worked on together: few enough for the processor's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the product is asked to hold to."""

    tolerated: Tolerance
    margin: Line
    alpha: float
    beta: float
    min_requests: int
    gates: int = 1
    """Gates that share alpha; the others are taken to find nothing at all."""
    dispersion: float = 1.0
    first_copy: float = 1.0
    """Weight of the test's first copy;
    the others, which start with later steps and hours, count 1.
    """

    def margin_before(self, next_weight: float) -> Tolerance:
        """Return what a canary must be better than to get `next_weight` (a share;
        1 is promotion).
        """
        return Tolerance(
            ratio=self.margin.ratio,
            points=max(self.margin.points / 100, BLAST_RADIUS / next_weight),
        )

    @property
    def bar(self) -> float:
        """What the first copy's log E has to reach for a rollback.

        The mean over the gates and over the copies is held against 1 / alpha.
        """
        waiting = 1 - self.first_copy
        return float(np.log((self.gates / self.alpha - waiting) / self.first_copy))


def default_policy(**changes: object) -> Policy:
    """Return what the product does unless it is told otherwise, with some of it changed."""
    gate, analysis = ErrorRateGate(), Analysis()
    tolerated = Tolerance(ratio=gate.tolerated.ratio, points=gate.tolerated.points / 100)
    plan = Restarts.plan(EProcess.regression(tolerated), planned=planned_copies(Canary()))
    settings: dict[str, object] = {
        "tolerated": tolerated,
        "margin": gate.margin,
        "alpha": analysis.false_rollback_probability,
        "beta": analysis.false_promotion_probability,
        "min_requests": analysis.min_requests,
        "first_copy": plan.weights[0],
    }
    return Policy(**{**settings, **changes})  # type: ignore[arg-type]


def designs_of(grid: Sequence[float], ratio: float) -> Floats:
    """Return the designs that a test of the line with this ratio is a mean over."""
    return ratio * np.asarray(grid, dtype=np.float64)


def gains(ratio: float, points: Floats | float, designs: Floats, counts: Counts) -> Floats:
    """Return what each interval adds to each design's log e; the designs are the last axis."""
    n_c, x, n_s, y = (part[..., None].astype(np.float64) for part in _parts(counts))
    with np.errstate(divide="ignore", invalid="ignore"):
        mixed = designs * n_c + n_s
        excess = (designs - ratio) * n_s / (ratio * mixed)
        log_a = np.where(designs > 0, np.log1p(excess), -np.inf)
        log_b = np.log1p((ratio - designs) * n_c / mixed)
        gained = np.where(x > 0, x * log_a, 0.0) + np.where(y > 0, y * log_b, 0.0)
        gained = gained - excess * np.asarray(points)[..., None] * n_c
    return np.where((n_c > 0) & (n_s > 0), gained, 0.0)


def _parts(counts: Counts) -> tuple[Ints, Ints, Ints, Ints]:
    return counts.n_c, counts.x, counts.n_s, counts.y


def log_mean_exp(logs: Floats) -> Floats:
    """Return the logarithm of the mean over the last axis."""
    largest = logs.max(axis=-1, keepdims=True)
    finite = np.where(np.isfinite(largest), largest, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(logs - finite).mean(axis=-1)) + finite[..., 0])


def regression_logs(
    counts: Counts, line: Tolerance, dispersion: float = 1.0, *, first_copy: float = 1.0
) -> Floats:
    """Return log E against "no worse than tolerated" after each poll: the smaller of plan and
    shifted.

    Neither says much more than the sums do. `first_copy` is the weight of the copy that runs.
    """
    plan, shifted = (_logs(part, line, dispersion) for part in (counts, late(counts)))
    evidence = with_waiting(np.minimum(plan, shifted), first_copy)
    positive = evidence > 0
    for side in covers(counts):
        gained = gains(
            line.ratio, line.points, designs_of(REGRESSION_GRID, line.ratio), side.where(positive)
        )
        pooled = with_waiting(log_mean_exp(gained / dispersion), first_copy)
        evidence[positive] = np.minimum(evidence[positive], POOLED_SHARE * pooled)
    return evidence


def with_waiting(logs: Floats, first_copy: float) -> Floats:
    """Return the logarithm of the mean over a copy of this weight and those that wait, which count
    1.
    """
    if first_copy == 1:
        return logs
    return np.asarray(np.logaddexp(logs + np.log(first_copy), np.log(1 - first_copy)))


def covers(counts: Counts) -> tuple[Counts, Counts, Counts]:
    """Return the sums of all polls in which stable's reach beyond the canary's at the end, or the
    start, and those in which the canary's reach beyond stable's at the end.

    Nothing is known of stable before the first poll, so the second sums are those of both arms.
    """
    sums = Counts(
        n_c=counts.n_c.cumsum(axis=1), x=counts.x.cumsum(axis=1),
        n_s=counts.n_s.cumsum(axis=1), y=counts.y.cumsum(axis=1),
    )  # fmt: skip
    earlier = Counts(n_c=sums.n_c - counts.n_c, x=sums.x - counts.x, n_s=sums.n_s, y=sums.y)
    shorter = Counts(n_c=sums.n_c, x=sums.x, n_s=sums.n_s - counts.n_s, y=sums.y - counts.y)
    return earlier, sums, shorter


def plan_logs(counts: Counts, line: Tolerance, dispersion: float = 1.0) -> Floats:
    """Return the same without the shifted plan that confirms it."""
    return _logs(counts, line, dispersion)


def _logs(counts: Counts, line: Tolerance, dispersion: float) -> Floats:
    gained = gains(line.ratio, line.points, designs_of(REGRESSION_GRID, line.ratio), counts)
    return log_mean_exp(np.cumsum(gained, axis=1) / dispersion)


def late(counts: Counts) -> Counts:
    """Hold each interval of the canary against stable's next one."""

    def shifted(part: Ints) -> Ints:
        return np.concatenate([np.zeros_like(part[:, :1]), part[:, :-1]], axis=1)

    return Counts(n_c=shifted(counts.n_c), x=shifted(counts.x), n_s=counts.n_s, y=counts.y)


def promotion_logs(counts: Counts, margin: Tolerance) -> Floats:
    """Return log E against "at least as bad as the margin" after each poll."""
    gained = gains(
        margin.ratio, margin.points, designs_of(NON_INFERIORITY_GRID, margin.ratio), counts
    )
    return log_mean_exp(np.cumsum(gained, axis=1))


def first(reached: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Ints:
    """Return each run's first poll at which something is true, or NEVER."""
    return np.where(reached.any(axis=1), reached.argmax(axis=1), NEVER).astype(np.int64)


def rollback_polls(counts: Counts, policy: Policy) -> Ints:
    """Return the poll at which the product rolls each run back, or NEVER."""
    return _in_blocks(
        counts,
        lambda part: first(
            regression_logs(part, policy.tolerated, policy.dispersion, first_copy=policy.first_copy)
            >= np.log(policy.gates / policy.alpha)
        ),
    )


def promotion_polls(counts: Counts, policy: Policy) -> Ints:
    """Return the poll at which each run's promotion is proven,
    whatever the rollback says, or NEVER.
    """
    bar = -np.log(policy.beta)
    margin = policy.margin_before(1.0)

    def of(part: Counts) -> Ints:
        enough = np.cumsum(part.n_c, axis=1) >= policy.min_requests
        return first((promotion_logs(part, margin) >= bar) & enough)

    return _in_blocks(counts, of)


def _in_blocks(counts: Counts, of: Callable[[Counts], Ints]) -> Ints:
    starts = range(0, counts.runs, BLOCK)
    return np.concatenate([of(counts.part(slice(start, start + BLOCK))) for start in starts])
