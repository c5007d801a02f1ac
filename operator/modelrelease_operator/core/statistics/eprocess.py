"""Evidence from counts of good and bad requests, valid however often it is looked at.

Every test here is an e-process: a number that starts at 1, grows when the counts contradict the
hypothesis under test, and, while that hypothesis is true, ever reaches 1/alpha with probability
alpha at most (Ville 1939; Howard et al. 2021, arXiv 1810.08240). So a decision may be taken at any
look, and at every look. The proof and its conditions are in docs/explanation/decisions.md.

Everything works on logarithms. Nothing here knows a clock, a metric's name or a policy.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, repeat
from operator import add, le
from statistics import NormalDist
from typing import Any, NamedTuple, Protocol, Self, TypeVar

from modelrelease_operator.core.immutable import Value, immutable

REGRESSION_GRID = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
"""How much worse than the tolerance each design supposes the canary to be."""

NON_INFERIORITY_GRID = (0.95, 0.9, 0.8, 0.65, 0.5, 0.3, 0.1, 0.0)
"""How much better than the margin each design supposes the canary to be;
0 supposes no bad request.
"""


@immutable
class ArmCounts:
    """Requests that one arm answered in an interval, and how many of them were bad.

    Raises ValueError unless both are integers and 0 <= bad <= total.
    """

    total: int
    bad: int

    def __post_init__(self) -> None:
        total, bad = self.total, self.bad
        if not (type(total) is type(bad) is int and 0 <= bad <= total):
            msg = f"counts must be integers with 0 <= bad <= total, got bad={bad!r} total={total!r}"
            raise ValueError(msg)

    @property
    def rate(self) -> float | None:
        """Share of bad requests in [0, 1]; None without requests."""
        return self.bad / self.total if self.total else None


@immutable
class Interval:
    """Both arms' counts over the same span of time, at one traffic weight."""

    canary: ArmCounts
    stable: ArmCounts


class Storable(Protocol):
    """Evidence that is stored between looks."""

    def from_state(self, state: Sequence[float | None]) -> Self:
        """Return this with what was stored; raises ValueError for a state of another form."""


_Kept = TypeVar("_Kept", bound=Storable)
Counts = tuple[int, int, int, int]
"""The canary's requests, the bad ones among them, and the same of stable."""


@immutable
class Tolerance:
    """The line p_canary = ratio * p_stable + points that a test draws.

    `points` is a share in [0, 1], not a percentage. Raises ValueError when the ratio is not
    above 0 (an absolute limit is a `Guardrail`) or the points are outside [0, 1].
    """

    ratio: float
    points: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ratio) and self.ratio > 0):
            msg = f"tolerance ratio must be above 0, got {self.ratio}"
            raise ValueError(msg)
        if not 0 <= self.points <= 1:
            msg = f"tolerance points must be a share between 0 and 1, got {self.points}"
            raise ValueError(msg)


@immutable
class _Mixture(Value):
    """The mean of one e-process for each design, kept as their logarithms."""

    log_e: tuple[float, ...]
    dispersion: float = 1.0
    """Most requests that fail together.
    Divides each log e when it is read, never the stored ones.
    """

    def gaining(self, gains: Iterable[float]) -> Self:
        """Return the evidence with so much more for each design."""
        return self.but(log_e=tuple(map(add, self.log_e, gains)))

    @property
    def log_value(self) -> float:
        """Natural logarithm of the e-value: of the mean over the designs.

        Each design is divided by the dispersion before the mean is taken. The root of the mean
        would be larger (Jensen) and is not covered by the proof.
        """
        return log_mean_exp(self.log_e if self.dispersion == 1 else self.divided)

    @property
    def divided(self) -> Sequence[float]:
        """Natural logarithm of each design's e-value, as the dispersion allows it."""
        if self.dispersion == 1:
            return self.log_e
        return [value / self.dispersion for value in self.log_e]

    def progress(self, threshold: float) -> float:
        """Return how far the evidence has come towards `threshold` (1/alpha), in [0, 1]."""
        return progress(self.log_value, threshold)

    def to_state(self) -> list[float | None]:
        """Return what must be stored, JSON-safe:
        undivided log e-values, None for minus infinity.
        """
        return _written(self.log_e)

    def from_state(self, state: Sequence[float | None]) -> Self:
        """Return this test with stored evidence.
        Raises ValueError for a state that is not one of its own.
        """
        return self.but(log_e=_read(state, len(self.log_e)))


@immutable
class EProcess(_Mixture):
    """Evidence about the canary's bad rate against the line that `tolerance` draws from stable's.

    One log e-value for each design ratio r. With a = (r/r0) b and b = (r0 n_c + n_s) / (r n_c +
    n_s), an interval of n_c canary requests, x bad, and n_s stable requests, y bad, adds

        x log a + y log b - (a - 1) c0 n_c

    to it. Designs above r0 test "no worse than the line" (`regression`), designs below it test "at
    least as bad as the line" (`non_inferiority`); formula and proof are the same.
    """

    tolerance: Tolerance
    designs: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.dispersion < math.inf:
            raise ValueError(_wrong_dispersion(self.dispersion))

    @classmethod
    def regression(cls, tolerance: Tolerance, *, dispersion: float = 1.0) -> Self:
        """Test H0: p_canary <= ratio * p_stable + points.
        Evidence against it asks for a rollback.
        """
        return cls._fresh(tolerance, REGRESSION_GRID, dispersion)

    @classmethod
    def non_inferiority(cls, margin: Tolerance, *, dispersion: float = 1.0) -> Self:
        """Test H0: p_canary >= ratio * p_stable + points.
        Evidence against it allows a promotion.
        """
        return cls._fresh(margin, NON_INFERIORITY_GRID, dispersion)

    @classmethod
    def _fresh(cls, tolerance: Tolerance, grid: Sequence[float], dispersion: float) -> Self:
        designs = tuple(tolerance.ratio * step for step in grid)
        return cls(
            tolerance=tolerance, designs=designs, log_e=(0.0,) * len(designs), dispersion=dispersion
        )

    def update(self, interval: Interval) -> Self:
        """Return the evidence with one more interval;
        an interval that lacks an arm changes nothing.
        """
        gains = self.gains(interval)
        return self.gaining(gains) if gains else self

    def gains(self, interval: Interval) -> tuple[float, ...]:
        """Return what an interval adds for each design; nothing where it lacks an arm or tells
        nothing.
        """
        canary, stable = interval.canary, interval.stable
        return self.gains_of(canary.total, canary.bad, stable.total, stable.bad)

    def gains_of(self, n_c: int, x: int, n_s: int, y: int) -> tuple[float, ...]:
        """Return what an interval of these counts adds for each design (`gains`)."""
        if n_c == 0 or n_s == 0:
            return ()
        if not (x or y or self.tolerance.points):
            # By a line through 0, as many good requests as one likes say nothing.
            return ()
        return _gains(self.designs, self.tolerance, n_c, x, n_s, y)


@immutable
class Guardrail(_Mixture):
    """Evidence against H0: p <= limit for one arm, whichever.

    A mean of likelihood ratios of p1 = min(q * limit, (1 + limit) / 2) to the limit, with q in the
    grid of regressions. A breach says nothing about the other arm: compare before blaming one.
    """

    limit: float
    log_e: tuple[float, ...] = (0.0,) * len(REGRESSION_GRID)

    def __post_init__(self) -> None:
        if not 1 <= self.dispersion < math.inf:
            raise ValueError(_wrong_dispersion(self.dispersion))
        if not 0 < self.limit < 1:
            msg = (
                "a guardrail's limit must be a share between 0 and 1, both excluded, got "
                f"{self.limit}"
            )
            raise ValueError(msg)

    def update(self, counts: ArmCounts) -> Self:
        """Return the evidence with one more interval of this arm."""
        if not counts.total:
            return self
        # Once, and not in each product below.
        bad, good = float(counts.bad), float(counts.total - counts.bad)
        odds = zip(self.log_e, _odds(self.limit), strict=True)
        gained = [log + (bad * of_bad + good * of_good) for log, (of_bad, of_good) in odds]
        return self.but(log_e=tuple(gained))


@lru_cache(maxsize=256)
def _odds(limit: float) -> tuple[tuple[float, float], ...]:
    """Return what a bad and a good request add to the logarithm of each design's evidence."""
    designs = (min(q * limit, (1 + limit) / 2) for q in REGRESSION_GRID)
    return tuple((math.log(p1 / limit), math.log1p(-p1) - math.log1p(-limit)) for p1 in designs)


@immutable
class Restarts(Value):
    """Up to `planned` copies of one test, started one after the other, for a regression that sets
    in late.

    Healthy hours leave a single test deep below 1, and a later regression must first climb out of
    them. A copy started after those hours need not. The first copy has half of the weight and the
    others share the rest, because most regressions are there from the start. Weights are fixed in
    advance and a copy counts 1 until it starts, so the mean is an e-process whatever decides when
    the next one starts.
    """

    template: EProcess
    planned: int
    log_e: tuple[float, ...]
    """Of the running copies' designs, one copy after the other."""

    @classmethod
    def plan(cls, template: EProcess, *, planned: int) -> Self:
        """Plan so many copies of a fresh test and start the first. Raises ValueError below 1."""
        if planned < 1:
            msg = f"at least one copy must be planned, got {planned}"
            raise ValueError(msg)
        return cls(template=template, planned=planned, log_e=template.log_e)

    @property
    def running(self) -> int:
        """Copies that have started."""
        return len(self.log_e) // len(self.template.designs)

    @property
    def copies(self) -> tuple[EProcess, ...]:
        """The running copies, each as a test of its own."""
        size = len(self.template.designs)
        starts = range(0, len(self.log_e), size)
        return tuple(
            [self.template.but(log_e=self.log_e[start : start + size]) for start in starts]
        )

    @property
    def remaining(self) -> int:
        """Copies that may still be started."""
        return self.planned - self.running

    @property
    def weights(self) -> list[float]:
        """The weight of each planned copy."""
        return _weights(self.planned)

    def start_next(self) -> Self:
        """Start one more copy. Raises ValueError when all planned copies run:
        more would cost the bound.
        """
        if not self.remaining:
            msg = f"all {self.planned} planned copies have started"
            raise ValueError(msg)
        return self.but(log_e=(*self.log_e, *self.template.log_e))

    def update(self, interval: Interval) -> Self:
        """Return the evidence with one more interval given to every running copy."""
        gains = self.template.gains(interval)
        return self.but(log_e=tuple(map(add, self.log_e, gains * self.running))) if gains else self

    @property
    def log_value(self) -> float:
        """Natural logarithm of the e-value: the weighted mean over all planned copies."""
        return self._log_mean(self.log_e)

    def log_values_of(self, sides: Iterable[Iterable[Counts]]) -> list[float]:
        """Return what `log_value` would be, had each running copy seen one interval only: one for
        each. Of sides that come to the same, one is left.
        """
        fresh, gains_of = self.template.log_e, self.template.gains_of
        seen = {tuple([gains_of(*counts) or fresh for counts in side]) for side in sides}
        return [self._log_mean([*chain.from_iterable(gains)]) for gains in seen]

    def _log_mean(self, log_e: Sequence[float]) -> float:
        designs, dispersion = len(self.template.designs), self.template.dispersion
        shifts, waiting = _log_weights(self.planned, len(log_e) // designs, designs)
        # Each design is divided before the mean is taken (`_Mixture.log_value`).
        divided = log_e if dispersion == 1 else [value / dispersion for value in log_e]
        return _log_sum_exp([*map(add, divided, shifts), *waiting])

    def progress(self, threshold: float) -> float:
        """Return how far the evidence has come towards `threshold` (1/alpha), in [0, 1]."""
        return progress(self.log_value, threshold)

    def to_state(self) -> list[float | None]:
        """Return what must be stored, JSON-safe:
        the states of the running copies, one after the other.
        """
        return _written(self.log_e)

    def from_state(self, state: Sequence[float | None]) -> Self:
        """Return this plan with stored copies.
        Raises ValueError for a state that is not one of its own.
        """
        size = len(self.template.designs)
        running, rest = divmod(len(state), size)
        if rest or not 1 <= running <= self.planned:
            msg = (
                f"between 1 and {self.planned} stored copies of {size} expected, got {len(state)} "
                "values"
            )
            raise ValueError(msg)
        return self.but(log_e=_read(state, len(state)))


def _written(log_e: Sequence[float]) -> list[float | None]:
    """Return logarithms as JSON has them."""
    # Nearly always there is no infinity among them, and to look for it costs less than to ask each.
    if -math.inf not in log_e:
        return [*log_e]
    return [None if value == -math.inf else value for value in log_e]


def _read(state: Sequence[float | None], size: int) -> tuple[float, ...]:
    """Return so many logarithms as they were stored. Raises ValueError for anything else."""
    values: Sequence[Any] = state
    # A sum tells of a null among them, and is infinite or not a number as soon as a term is.
    try:
        total = sum(values)
    except TypeError:
        values = [-math.inf if value is None else value for value in state]
        total = sum(values)
    if len(values) != size or not total < math.inf:
        msg = f"stored evidence must be {size} numbers or nulls, got {list(state)}"
        raise ValueError(msg)
    return tuple(values)


def _weights(planned: int) -> list[float]:
    others = planned - 1
    return [0.5, *[0.5 / others] * others] if others else [1.0]


@lru_cache(maxsize=256)
def _log_weights(
    planned: int, running: int, designs: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the logarithm of each running design's weight,
    and of the weight that waits, if any.
    """
    weights = _weights(planned)
    logs = [math.log(weight / designs) for weight in weights[:running]]
    shifts = tuple(chain.from_iterable(repeat(log, designs) for log in logs))
    waiting = sum(weights[running:])
    return shifts, (math.log(waiting),) if waiting else ()


NO_COUNTS = ArmCounts(total=0, bad=0)

WITH_SUMS = -1.0
"""Begins the stored evidence that has sums: no count is below 0."""

POOLED_SHARE = 3.0
"""The pooled counts must hold one part in so many of the evidence:
they only have to point the same way.
"""


class Pooled(NamedTuple):
    """Both arms' counts of many intervals as if they were one, since one copy of a test started.

    Where scrapes are rare, the two windows of an interval overlap in part only, and a rate that
    rises twentyfold in a minute makes one pair of windows look guilty and the next one innocent.
    The pairs differ in their sizes, so the two do not cancel. In the sums they do.
    """

    before_total: int
    """Stable's requests of the interval before."""
    before_bad: int
    canary_total: int
    canary_bad: int
    stable_total: int
    stable_bad: int

    def covers(self, newest: Interval) -> tuple[Counts, Counts, Counts, Counts]:
        """Return four comparisons that an outage of both arms does not win at once.

        In the first stable's window reaches beyond the canary's at its end, and in the second at
        its start: an outage that is on there is seen in stable at least as long. In the third the
        canary's reaches beyond stable's at its end: so is what comes after an outage. In the fourth
        stable's window is as long and one interval earlier: an outage that was over when stable's
        first sample came is in it, and no length of calm dilutes it. `newest` are the counts of the
        newest interval.
        """
        canary, stable = (self.canary_total, self.canary_bad), (self.stable_total, self.stable_bad)
        longer = (self.before_total + self.stable_total, self.before_bad + self.stable_bad)
        return (
            (*_without(canary, newest.canary), *stable),
            (*canary, *longer),
            (*canary, *_without(stable, newest.stable)),
            (*canary, *_without(longer, newest.stable)),
        )


SUMS = len(Pooled._fields)
"""Counts that one copy of a test sums up."""


@immutable
class Confirmed(Value):
    """A plan of restarts that a second one must confirm, for arms that are not scraped at one
    moment.

    When stable's newest scrape is older than the canary's, an outage that both share shows in the
    canary first, and for one interval the canary alone looks sick. So a second plan holds each
    interval of the canary against stable's next one, and the smaller of the two e-values counts.
    That costs one interval's delay and cannot raise the probability of a false alarm. An interval
    that was left out must be given as an empty one, so that no pair reaches across it.

    Neither may say much more than the sums of all counts do (`Pooled`).
    """

    plan: Restarts
    shifted: Restarts
    last: ArmCounts = NO_COUNTS
    """The canary's newest counts, which wait for stable's next ones."""
    before: ArmCounts = NO_COUNTS
    """Stable's newest counts: those before whatever starts next."""
    sums: tuple[int, ...] | None = None
    """Of each running copy, one copy after the other: the fields of `Pooled`.
    None for evidence of an operator that kept none.
    """

    @classmethod
    def by_shift(cls, plan: Restarts) -> Self:
        """Have a fresh plan confirmed by its own copy, one interval late."""
        return cls(plan=plan, shifted=plan, sums=(0,) * SUMS * plan.running)

    @property
    def remaining(self) -> int:
        """Copies that may still be started."""
        return self.plan.remaining

    def running(self, copies: int) -> Self:
        """Return the test with at least so many copies running, as far as they are planned."""
        test = self
        while test.plan.running < copies and test.remaining:
            test = test.start_next()
        return test

    def start_next(self) -> Self:
        """Start one more copy in both plans. Raises ValueError when all planned copies run."""
        sums = None if self.sums is None else (*self.sums, *_sums_after(self.before))
        return self.but(plan=self.plan.start_next(), shifted=self.shifted.start_next(), sums=sums)

    def preceded_by(self, stable: ArmCounts) -> Self:
        """Return the test knowing what stable did before the next interval, at whatever weight.

        The sums begin anew: across the gap before it the arms' windows end and begin at other
        moments, and calm hours before it would dilute an outage that falls into it.
        """
        sums = None
        if self.sums is not None:
            sums = _sums_after(stable) * (len(self.sums) // SUMS)
        return self.but(before=stable, sums=sums)

    def update(self, interval: Interval) -> Self:
        """Return the evidence with one more interval."""
        late = Interval(canary=self.last, stable=interval.stable)
        return self.but(
            plan=self.plan.update(interval),
            shifted=self.shifted.update(late),
            last=interval.canary,
            before=interval.stable,
            sums=self.sums and _with_counts(self.sums, interval),
        )

    @property
    def log_value(self) -> float:
        """Natural logarithm of the smaller e-value, as far as the sums bear it out."""
        log = min(self.plan.log_value, self.shifted.log_value)
        if log <= 0 or self.sums is None:
            return log
        # By side: what each copy would have seen.
        newest = Interval(canary=self.last, stable=self.before)
        starts = range(0, len(self.sums), SUMS)
        pooled = [Pooled(*self.sums[start : start + SUMS]) for start in starts]
        sides = zip(*[counts.covers(newest) for counts in pooled], strict=True)
        return min(log, *[POOLED_SHARE * value for value in self.plan.log_values_of(sides)])

    def sides(self) -> Iterator[Counts]:
        """Yield the comparisons of all that was summed (`Pooled.covers`); none without sums."""
        if self.sums is not None:
            newest = Interval(canary=self.last, stable=self.before)
            yield from Pooled(*self.sums[:SUMS]).covers(newest)

    def progress(self, threshold: float) -> float:
        """Return how far the evidence has come towards `threshold` (1/alpha), in [0, 1]."""
        return progress(self.log_value, threshold)

    def to_state(self) -> list[float | None]:
        """Return what must be stored, JSON-safe:
        counts that wait, each copy's sums, then both plans.
        """
        plans = [*self.plan.to_state(), *self.shifted.to_state()]
        if self.sums is None:
            return [self.last.total, self.last.bad, *plans]
        waiting = (self.last.total, self.last.bad, self.before.total, self.before.bad)
        copies = len(self.sums) // SUMS
        return [WITH_SUMS, copies, *waiting, *map(float, self.sums), *plans]

    def from_state(self, state: Sequence[float | None]) -> Self:
        """Return this test with stored evidence. Raises ValueError for a state that is not one of
        its own.

        An operator that kept no sums stored two counts and both plans.
        """
        if not state or state[0] != WITH_SUMS:
            return self._with(state[:2], state[2:], before=NO_COUNTS, sums=None)
        end = 6 + SUMS * int(state[1] or 0)
        sums, plans = _stored_sums(state[6:end]), state[end:]
        return self._with(state[2:4], plans, before=stored_counts(state[4:6]), sums=sums)

    def _with(
        self,
        last: Sequence[float | None],
        plans: Sequence[float | None],
        *,
        before: ArmCounts,
        sums: tuple[int, ...] | None,
    ) -> Self:
        middle = len(plans) // 2
        return self.but(
            plan=self.plan.from_state(plans[:middle]),
            shifted=self.shifted.from_state(plans[middle:]),
            last=stored_counts(last),
            before=before,
            sums=sums,
        )


@immutable
class RateInterval:
    """Two-sided confidence interval of a bad rate, as shares in [0, 1]."""

    lower: float
    upper: float


def _sums_after(stable: ArmCounts) -> tuple[int, ...]:
    """Return the sums of a copy that starts after an interval of stable's."""
    return Pooled(stable.total, stable.bad, 0, 0, 0, 0)


def _with_counts(sums: tuple[int, ...], interval: Interval) -> tuple[int, ...]:
    """Return every copy's sums with one more interval."""
    canary, stable = interval.canary, interval.stable
    counts = (0, 0, canary.total, canary.bad, stable.total, stable.bad)
    return tuple(map(add, sums, counts * (len(sums) // SUMS)))


def _stored_sums(stored: Sequence[float | None]) -> tuple[int, ...]:
    """Return sums that were stored. Raises ValueError unless each copy has its counts."""
    counts: Sequence[Any] = stored
    sums = tuple(map(int, counts))
    totals, bads = sums[::2], sums[1::2]
    if len(sums) % SUMS or not all(map(le, bads, totals)) or min(bads, default=0) < 0:
        msg = f"stored sums must be {SUMS} counts for each copy, got {list(stored)}"
        raise ValueError(msg)
    return sums


def carried_on(test: _Kept, state: Sequence[float | None]) -> _Kept:
    """Return a test with stored evidence; without any where it was stored in another form.

    Another version may have stored it. A test that begins anew errs no more often than it may, and
    only takes longer, while a pass that ends here would end so every time.
    """
    try:
        return test.from_state(state)
    except (ValueError, TypeError, LookupError, ArithmeticError):
        return test


def stored_counts(stored: Sequence[float | None]) -> ArmCounts:
    """Return counts that were stored as two numbers; what is missing is 0."""
    if not stored:
        return NO_COUNTS
    total, bad = stored if len(stored) == 2 else (*stored, 0, 0)[:2]
    return ArmCounts(total=int(total or 0), bad=int(bad or 0))


def added(counts: ArmCounts, other: ArmCounts) -> ArmCounts:
    """Return the counts of both together."""
    if not counts.total:
        return other
    return ArmCounts(total=counts.total + other.total, bad=counts.bad + other.bad)


def _without(counts: tuple[int, int], newest: ArmCounts) -> tuple[int, int]:
    """Return total and bad of one arm without those of the newest interval."""
    total = max(0, counts[0] - newest.total)
    return total, min(total, max(0, counts[1] - newest.bad))


def progress(log_value: float, threshold: float) -> float:
    """Return log_value / log(threshold) held within [0, 1]; 1 means that the threshold was reached.

    Raises ValueError when the threshold is not above 1.
    """
    if not threshold > 1:
        msg = f"a threshold for evidence must be above 1, got {threshold}"
        raise ValueError(msg)
    return min(1.0, max(0.0, log_value / math.log(threshold)))


def combine(weighted: Iterable[tuple[float, float]]) -> float:
    """Return the log of the weighted arithmetic mean of e-values given as (weight, log value).

    The mean of e-values is one itself, whatever their dependence, so metrics and guardrails that
    can each ask for a rollback share one alpha. The weights must be fixed before the first look; a
    metric that cannot be measured keeps its weight and its last value. Raises ValueError unless the
    weights are positive and sum to 1.
    """
    weights, values = [], []
    for weight, value in weighted:
        weights.append(weight)
        values.append(value + (math.log(weight) if weight > 0 else math.nan))
    if not (weights and min(weights) > 0 and abs(math.fsum(weights) - 1) <= 1e-9):
        msg = f"weights must be positive and sum to 1, got {weights}"
        raise ValueError(msg)
    return _log_sum_exp(values)


def expected_requests(
    test: EProcess, *, stable_rate: float, ratio: float, weight: float, alpha: float
) -> float:
    """Return about how many canary requests `test` needs to reach 1/alpha, from a fresh start.

    The canary fails at `ratio` times `stable_rate` (held to 1) and gets the share `weight` of the
    traffic. The best design's growth for each canary request has to pay log(1/alpha) and the log of
    the number of designs, since it enters the mean with that weight. Medians measured by simulation
    lie up to a quarter below. math.inf when no design grows: the test is not expected to decide.
    """
    if not (0 <= stable_rate <= 1 and ratio >= 0 and 0 < weight < 1 and 0 < alpha < 1):
        msg = (
            "rates must be in [0, 1], weight and alpha strictly between 0 and 1, got "
            f"{stable_rate=} {ratio=} {weight=} {alpha=}"
        )
        raise ValueError(msg)
    canary_rate = min(1.0, ratio * stable_rate)
    rest = 1 - weight
    of_each = _gains(
        test.designs, test.tolerance, weight, canary_rate * weight, rest, stable_rate * rest
    )
    growth = max(of_each) / weight
    price = test.dispersion * (math.log(len(test.designs)) - math.log(alpha))
    return price / growth if growth > 0 else math.inf


def rate_interval(counts: ArmCounts, confidence: float) -> RateInterval:
    """Return Wilson's score interval (Wilson 1927) of a bad rate, for people to read.

    Valid for one look at a fixed number of requests; no decision rests on it. Without requests it
    is [0, 1]. Raises ValueError when the confidence is not strictly between 0 and 1.
    """
    if not 0 < confidence < 1:
        msg = f"confidence must be strictly between 0 and 1, got {confidence}"
        raise ValueError(msg)
    n, x = counts.total, counts.bad
    if n == 0:
        return RateInterval(lower=0.0, upper=1.0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (x + z * z / 2) / (n + z * z)
    spread = z * math.sqrt(x * (n - x) / n + z * z / 4) / (n + z * z)
    return RateInterval(
        lower=0.0 if x == 0 else max(0.0, centre - spread),
        upper=1.0 if x == n else min(1.0, centre + spread),
    )


def _gains(
    designs: Iterable[float], tolerance: Tolerance, n_c: float, x: float, n_s: float, y: float
) -> tuple[float, ...]:
    """Return what `EProcess` adds for each design,
    without the cancellation of making log b from log a.
    """
    points, null = tolerance.points, tolerance.ratio
    # Once, and not in each product below.
    n_c, x, n_s, y = float(n_c), float(x), float(n_s), float(y)
    gains = []
    for design in designs:
        mixed = design * n_c + n_s
        excess = (design - null) * n_s / (null * mixed)
        gain = -excess * points * n_c
        # Not `count * log` where the count is 0: the logarithm may be infinite.
        if x:
            gain += x * (math.log1p(excess) if design else -math.inf)
        if y:
            gain += y * math.log1p((null - design) * n_c / mixed)
        gains.append(gain)
    return tuple(gains)


def _log_sum_exp(values: Sequence[float]) -> float:
    largest = max(values)
    if largest == -math.inf:
        return largest
    total = 0.0
    for value in values:
        total += math.exp(value - largest)
    return largest + math.log(total)


def log_mean_exp(values: Sequence[float]) -> float:
    """Return the logarithm of the mean of numbers that are given as their logarithms."""
    return _log_sum_exp(values) - math.log(len(values))


def _wrong_dispersion(dispersion: float) -> str:
    return f"dispersion must be at least 1, got {dispersion}"
