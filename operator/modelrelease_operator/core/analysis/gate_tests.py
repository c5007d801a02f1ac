"""The tests of a gate, with their evidence, and the indicators of requests that they read."""

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from operator import itemgetter
from typing import TypeVar

from modelrelease_operator.api.spec import Line, ReleaseSpec
from modelrelease_operator.api.status import Evidence
from modelrelease_operator.core.analysis.probes import is_of_probes
from modelrelease_operator.core.analysis.restart_schedule import planned_copies
from modelrelease_operator.core.immutable import Value, immutable
from modelrelease_operator.core.measurement.indicators import (
    ERRORS,
    Indicator,
)
from modelrelease_operator.core.measurement.series import PREDICTOR
from modelrelease_operator.core.query_results import NotMeasured
from modelrelease_operator.core.statistics.difference import DifferenceEvidence
from modelrelease_operator.core.statistics.eprocess import (
    NO_COUNTS,
    ArmCounts,
    Confirmed,
    EProcess,
    Guardrail,
    Interval,
    Restarts,
    Tolerance,
    added,
    carried_on,
    combine,
    stored_counts,
)

BLAST_RADIUS = 0.0025
"""Share of all requests that an unseen excess may spoil:
a margin at weight w is at least this / w.
"""

EMPTY = Interval(canary=NO_COUNTS, stable=NO_COUNTS)
"""An interval that was left out: nothing is paired across it."""

_Test = TypeVar("_Test", EProcess, Guardrail, Confirmed, DifferenceEvidence)


@immutable
class Comparison(Value):
    """The canary against stable on one indicator, in both directions."""

    indicator: Indicator
    rollback: Confirmed
    promote: EProcess | None
    """None where only a rollback is asked about."""
    exchanged: bool = False
    """Whether stable stands where the canary does: evidence that the canary has *less* of it."""
    difference: DifferenceEvidence | None = None
    """What the interval is made from; None where none is shown. It decides nothing."""

    def arms(self, interval: Interval) -> Interval:
        """Return an interval as this comparison sees it."""
        return (
            Interval(canary=interval.stable, stable=interval.canary) if self.exchanged else interval
        )

    def update(self, interval: Interval) -> "Comparison":
        """Let both directions see one interval."""
        seen = self.arms(interval)
        canary, stable, difference = interval.canary, interval.stable, self.difference
        if difference:
            difference = difference.update(canary.total, canary.bad, stable.total, stable.bad)
        promote = self.promote and self.promote.update(seen)
        rollback = self.rollback.update(seen)
        return self.but(rollback=rollback, promote=promote, difference=difference)

    def keys(self, gate: str) -> tuple[str, str, str]:
        """Return where the evidence of both directions is kept, and what the interval is made from.

        The lines are part of the first two: evidence about one line says nothing about another, so
        a gate that is edited in the middle starts anew.
        """
        lines = (
            self.rollback.plan.template.tolerance,
            self.promote.tolerance if self.promote else None,
        )
        back, on = (f"{line.ratio:g}x+{line.points:g}" if line else "" for line in lines)
        indicator = f"{self.indicator.key}/less" if self.exchanged else self.indicator.key
        return (
            f"rollback/{gate}/{indicator}/{back}",
            f"promote/{gate}/{indicator}/{on}",
            f"interval/{gate}/{indicator}",
        )


@immutable
class TestParameters:
    """What the tests of one look share."""

    alpha: float
    dispersion: float
    planned: int
    copies: int
    next_weight: int

    @classmethod
    def of(cls, spec: ReleaseSpec, evidence: Evidence, next_weight: int) -> "TestParameters":
        """Read them from what is asked for and remembered."""
        return cls(
            alpha=spec.analysis.false_rollback_probability,
            dispersion=spec.dispersion,
            planned=evidence.planned or planned_copies(spec.canary),
            copies=evidence.copies,
            next_weight=next_weight,
        )

    def comparison(
        self,
        indicator: Indicator,
        tolerated: Tolerance,
        margin: Tolerance | None,
        *,
        together: float = 1,
    ) -> "Comparison":
        """Compare both arms on an indicator, on which about `together` requests go bad at once.

        The test for a regression is confirmed, because the arms are not scraped at one moment.
        """
        dispersion = max(self.dispersion, together)
        template = EProcess.regression(tolerated, dispersion=dispersion)
        rollback = Confirmed.by_shift(Restarts.plan(template, planned=self.planned))
        promote = EProcess.non_inferiority(margin, dispersion=self.dispersion) if margin else None
        return Comparison(
            indicator=indicator, rollback=rollback.running(self.copies), promote=promote,
            difference=DifferenceEvidence(),
        )  # fmt: skip

    def widened(self, margin: Line) -> Tolerance:
        """Return a margin for the next weight:
        each step may spoil the same share of all requests.
        """
        points = max(margin.points / 100, BLAST_RADIUS / (self.next_weight / 100))
        return Tolerance(ratio=margin.ratio, points=points)

    def limit(self, indicator: Indicator, max_percent: float, allowed: str) -> "AbsoluteLimit":
        """Hold both arms against a share on an indicator."""
        share = max_percent / 100
        rail = Guardrail(limit=share, dispersion=self.dispersion)
        line = Tolerance(ratio=1.0, points=share)
        promote = EProcess.non_inferiority(line, dispersion=self.dispersion)
        return AbsoluteLimit(
            indicator=indicator, canary=rail, stable=rail, promote=promote, allowed=allowed
        )


@immutable
class AbsoluteLimit(Value):
    """Both arms against an absolute limit on one indicator."""

    indicator: Indicator
    canary: Guardrail
    stable: Guardrail
    promote: EProcess
    """Evidence that the canary is below the limit: stable stands in as an arm that never fails."""
    allowed: str
    waiting: ArmCounts = NO_COUNTS
    """The canary's newest counts, until stable's next ones show whether it breaks the limit too."""

    def update(self, interval: Interval, *, stable_is_later: bool) -> "AbsoluteLimit":
        """Return the evidence with one more interval.

        Where stable's samples are older than the canary's, an outage of both shows in the canary
        first.
        """
        due, waiting = added(self.waiting, interval.canary), NO_COUNTS
        if not stable_is_later:
            due, waiting = self.waiting, interval.canary
        return self.but(
            canary=self.canary.update(due),
            stable=self.stable.update(interval.stable),
            promote=self.promote.update(_beside_a_flawless_arm(interval)),
            waiting=waiting,
        )

    def cut_off(self) -> "AbsoluteLimit":
        """Return the evidence without the counts that wait: nothing follows on them."""
        return self.but(waiting=NO_COUNTS)


@immutable
class Reads:
    """What a gate's tests read, and where their evidence is kept: the same look after look."""

    indicators: tuple[Indicator, ...]
    """Each once."""
    buckets: frozenset[str]
    """Every bucket of a histogram that must be counted."""
    keys: tuple[tuple[str, str, str], ...]
    """Of each comparison (`Comparison.keys`)."""
    limit_keys: tuple[str, str, str, str]
    """Of the limit: of the canary's test, of stable's, of the one to promote, and of what waits."""
    source: str
    """Whose counters they are: the predictor's, the prober's, or the gate's own."""

    @classmethod
    def of(
        cls, gate: str, comparisons: Sequence[Comparison], limit: AbsoluteLimit | None
    ) -> "Reads":
        """Read it from a gate's tests."""
        limits = (limit.indicator,) if limit else ()
        indicators = tuple(dict.fromkeys((*(test.indicator for test in comparisons), *limits)))
        buckets = frozenset[str]().union(*(indicator.buckets for indicator in indicators))
        keys = tuple(test.keys(gate) for test in comparisons)
        source = indicators[0].source if indicators else PREDICTOR
        directions = ("rollback", "stable", "promote", "waiting")
        back, stable, on, waiting = (f"{direction}/{gate}/limit" for direction in directions)
        return cls(
            indicators=indicators,
            buckets=buckets,
            keys=keys,
            limit_keys=(back, stable, on, waiting),
            source=source,
        )


@immutable
class Strength:
    """What the evidence of a gate's tests comes to."""

    rollback_log: float
    """Logarithm of the evidence that the canary is worse than tolerated:
    the mean over the tests.
    """
    promotion_log: float
    """Logarithm of the weakest evidence that the canary is within a margin:
    all must have it.
    """
    frozen: bool
    """Whether stable breaks the absolute limit too:
    then nobody blames the canary, and nothing moves.
    """
    indicator: Indicator
    """The one with the strongest evidence against the canary: the one to show."""
    line: str
    """What the canary is worse than by that indicator, if it is."""


@immutable
class GateTest(Value):
    """One gate with its tests and their evidence."""

    name: str
    bad: str
    """What a bad request does, such as "fails" or "is slower than"."""
    allowed: str
    """What a canary that a comparison convicts is worse than."""
    alpha: float
    comparisons: tuple[Comparison, ...]
    limit: AbsoluteLimit | None
    reads: Reads
    """What the tests read: worked out once, because a look copies each thrice."""
    ready: bool = True
    """False while a comparison cannot be set up yet."""
    unready: str | None = None
    """Why not, if it is not that stable has answered too little."""
    trouble: NotMeasured | None = None
    """Why it cannot be asked at this look."""
    warm_up: timedelta = timedelta(0)
    """For how long at each weight it leaves the canary out."""
    dry_run: bool = False

    @property
    def of_probes(self) -> "GateTest":
        """The same tests, on the same indicators of the prober's counts."""
        comparisons = tuple(
            test.but(indicator=test.indicator.of_probes) for test in self.comparisons
        )
        limit = self.limit and self.limit.but(indicator=self.limit.indicator.of_probes)
        reads = Reads.of(self.name, comparisons, limit)
        return self.but(comparisons=comparisons, limit=limit, reads=reads)

    @property
    def bound(self) -> str:
        """What the canary is held to, in words."""
        if self.limit is None:
            return self.allowed
        held = self.limit.allowed
        return f"{self.allowed}; {held}" if self.comparisons else held

    def waiting_for(self, why: str) -> "GateTest":
        """Return the tests as ones that do not count yet, and why."""
        return self.but(ready=False, unready=why)

    def update(
        self, intervals: Mapping[str, Interval], *, stable_is_later: bool = True
    ) -> "GateTest":
        """Let every test see one interval."""
        comparisons = tuple(
            [test.update(intervals[test.indicator.key]) for test in self.comparisons]
        )
        limit = self.limit
        if limit:
            limit = limit.update(intervals[limit.indicator.key], stable_is_later=stable_is_later)
        return self.but(comparisons=comparisons, limit=limit)

    def preceded_by(self, intervals: Mapping[str, Interval]) -> "GateTest":
        """Tell every comparison what stable did before the next interval."""
        comparisons = tuple(
            test.but(
                rollback=test.rollback.preceded_by(test.arms(intervals[test.indicator.key]).stable),
            )
            for test in self.comparisons
        )
        return self.but(comparisons=comparisons)

    def without_an_interval(self) -> "GateTest":
        """Leave one interval out, so that nothing is paired across it."""
        comparisons = tuple(test.update(EMPTY) for test in self.comparisons)
        return self.but(comparisons=comparisons, limit=self.limit and self.limit.cut_off())

    def strength(self) -> Strength:
        """Return what the evidence comes to."""
        rollback_logs, promotion_logs, candidates = [], [], []
        for test in self.comparisons:
            log = test.rollback.log_value
            rollback_logs.append(log)
            candidates.append((log, test.indicator, self.allowed))
            if test.promote:
                promotion_logs.append(test.promote.log_value)
        frozen = False
        if limit := self.limit:
            canary_log = limit.canary.log_value
            frozen = limit.stable.log_value >= -math.log(self.alpha)
            rollback_logs.append(-math.inf if frozen else canary_log)
            promotion_logs.append(limit.promote.log_value)
            if not (candidates and frozen):
                candidates.append((canary_log, limit.indicator, limit.allowed))
        if not candidates:
            candidates.append((0.0, self._idle_indicator, self.allowed))
        _, indicator, line = max(candidates, key=itemgetter(0))
        return Strength(
            rollback_log=_mean(rollback_logs),
            promotion_log=min(promotion_logs, default=0.0) if self.ready else 0.0,
            frozen=frozen,
            indicator=indicator,
            line=line,
        )

    @property
    def _idle_indicator(self) -> Indicator:
        return ERRORS.of_probes if is_of_probes(self.name) else ERRORS

    def to_state(self) -> dict[str, list[float | None]]:
        """Return every test's evidence by key."""
        state = {}
        for test, (back, on, between) in zip(self.comparisons, self.reads.keys, strict=True):
            state[back] = test.rollback.to_state()
            if test.promote:
                state[on] = test.promote.to_state()
            if test.difference and test.difference.began:
                state[between] = test.difference.to_state()
        if limit := self.limit:
            back, stable, on, waiting = self.reads.limit_keys
            state[back] = limit.canary.to_state()
            state[stable] = limit.stable.to_state()
            state[on] = limit.promote.to_state()
            if limit.waiting.total:
                state[waiting] = [float(limit.waiting.total), float(limit.waiting.bad)]
        return state

    def from_state(self, state: Mapping[str, Sequence[float | None]]) -> "GateTest":
        """Return the tests with the evidence that is stored for it."""
        comparisons = []
        for test, (back, on, between) in zip(self.comparisons, self.reads.keys, strict=True):
            copies = test.rollback.plan.running
            # A restart may be due since the state was stored.
            rollback = _stored(test.rollback, state, back).running(copies)
            promote = test.promote and _stored(test.promote, state, on)
            difference = test.difference and _stored(test.difference, state, between)
            comparisons.append(test.but(rollback=rollback, promote=promote, difference=difference))
        limit = self.limit
        if limit:
            back, stable, on, waiting = self.reads.limit_keys
            limit = limit.but(
                canary=_stored(limit.canary, state, back),
                stable=_stored(limit.stable, state, stable),
                promote=_stored(limit.promote, state, on),
                waiting=_waiting(state.get(waiting, ())),
            )
        return self.but(comparisons=tuple(comparisons), limit=limit)


def _stored(test: _Test, state: Mapping[str, Sequence[float | None]], key: str) -> _Test:
    return carried_on(test, state[key]) if key in state else test


def _waiting(stored: Sequence[float | None]) -> ArmCounts:
    try:
        return stored_counts(stored)
    except (ValueError, ArithmeticError):
        return NO_COUNTS


def _mean(logs: Sequence[float]) -> float:
    if len(logs) < 2:
        return logs[0] if logs else 0.0
    return combine([(1 / len(logs), log) for log in logs])


def _beside_a_flawless_arm(interval: Interval) -> Interval:
    """Compare with an arm so large and faultless that the line is the absolute limit alone."""
    return Interval(
        canary=interval.canary, stable=ArmCounts(total=interval.canary.total * 10**6, bad=0)
    )
