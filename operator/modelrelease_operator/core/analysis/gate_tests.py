"""The tests of a gate, with their evidence, and the indicators of requests that they read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import TypeVar

from modelrelease_operator.api.spec import Line, ReleaseSpec
from modelrelease_operator.api.status import Evidence
from modelrelease_operator.core.analysis.probes import is_of_probes
from modelrelease_operator.core.analysis.restart_schedule import planned_copies
from modelrelease_operator.core.immutable import immutable
from modelrelease_operator.core.measurement.indicators import (
    ERRORS,
    Indicator,
)
from modelrelease_operator.core.measurement.series import PREDICTOR
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
    combine,
    stored_counts,
)

BLAST_RADIUS = 0.0025
"""Share of all requests that an unseen excess may spoil:
a margin at weight w is at least this / w.
"""

EMPTY = Interval(canary=NO_COUNTS, stable=NO_COUNTS)
"""An interval that was left out: nothing is paired across it."""

_Test = TypeVar("_Test", EProcess, Guardrail, Confirmed)


@immutable
class Comparison:
    """The canary against stable on one indicator, in both directions."""

    indicator: Indicator
    rollback: Confirmed
    promote: EProcess | None
    """None where only a rollback is asked about."""
    exchanged: bool = False
    """Whether stable stands where the canary does: evidence that the canary has *less* of it."""

    def arms(self, interval: Interval) -> Interval:
        """Return an interval as this comparison sees it."""
        return (
            Interval(canary=interval.stable, stable=interval.canary) if self.exchanged else interval
        )

    def update(self, interval: Interval) -> "Comparison":
        """Let both directions see one interval."""
        seen = self.arms(interval)
        return self.having(self.rollback.update(seen), self.promote and self.promote.update(seen))

    def having(self, rollback: Confirmed, promote: EProcess | None) -> "Comparison":
        """Return the comparison with other evidence."""
        return Comparison(
            indicator=self.indicator, rollback=rollback, promote=promote, exchanged=self.exchanged
        )

    def keys(self, gate: str) -> tuple[str, str]:
        """Return where the evidence of both directions is kept.

        The lines are part of the key: evidence about one line says nothing about another, so a gate
        that is edited in the middle starts anew.
        """
        lines = (
            self.rollback.plan.template.tolerance,
            self.promote.tolerance if self.promote else None,
        )
        back, on = (f"{line.ratio:g}x+{line.points:g}" if line else "" for line in lines)
        indicator = f"{self.indicator.key}/less" if self.exchanged else self.indicator.key
        return f"rollback/{gate}/{indicator}/{back}", f"promote/{gate}/{indicator}/{on}"


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
            dispersion=spec.analysis.dispersion,
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
            indicator=indicator, rollback=rollback.running(self.copies), promote=promote
        )

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
class AbsoluteLimit:
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
        return self.having(
            canary=self.canary.update(due),
            stable=self.stable.update(interval.stable),
            promote=self.promote.update(_beside_a_flawless_arm(interval)),
            waiting=waiting,
        )

    def having(
        self, *, canary: Guardrail, stable: Guardrail, promote: EProcess, waiting: ArmCounts
    ) -> "AbsoluteLimit":
        """Return the limit with other evidence."""
        return AbsoluteLimit(
            indicator=self.indicator, allowed=self.allowed,
            canary=canary, stable=stable, promote=promote, waiting=waiting,
        )  # fmt: skip

    def cut_off(self) -> "AbsoluteLimit":
        """Return the evidence without the counts that wait: nothing follows on them."""
        return replace(self, waiting=NO_COUNTS)


@immutable
class Reads:
    """What a gate's tests read, and where their evidence is kept: the same look after look."""

    indicators: tuple[Indicator, ...]
    """Each once."""
    bounds: frozenset[str]
    """Every histogram bound that must be counted."""
    keys: tuple[tuple[str, str], ...]
    """Of each comparison (`Comparison.keys`)."""
    source: str
    """Whose counters they are: the predictor's, the prober's, or the gate's own."""

    @classmethod
    def of(
        cls, gate: str, comparisons: Sequence[Comparison], limit: AbsoluteLimit | None
    ) -> "Reads":
        """Read it from a gate's tests."""
        limits = (limit.indicator,) if limit else ()
        indicators = tuple(dict.fromkeys((*(test.indicator for test in comparisons), *limits)))
        bounds = frozenset[str]().union(*(indicator.bounds for indicator in indicators))
        keys = tuple(test.keys(gate) for test in comparisons)
        source = indicators[0].source if indicators else PREDICTOR
        return cls(indicators=indicators, bounds=bounds, keys=keys, source=source)


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
class GateTest:
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
    dry_run: bool = False

    @property
    def of_probes(self) -> "GateTest":
        """The same tests, on the same indicators of the prober's counts."""
        comparisons = tuple(
            replace(test, indicator=test.indicator.of_probes) for test in self.comparisons
        )
        limit = self.limit and replace(self.limit, indicator=self.limit.indicator.of_probes)
        reads = Reads.of(self.name, comparisons, limit)
        return replace(self, comparisons=comparisons, limit=limit, reads=reads)

    @property
    def bound(self) -> str:
        """What the canary is held to, in words."""
        limits = [self.limit.allowed] if self.limit else []
        return "; ".join([self.allowed] * bool(self.comparisons) + limits) or self.allowed

    def having(
        self, comparisons: tuple[Comparison, ...], limit: AbsoluteLimit | None
    ) -> "GateTest":
        """Return the tests with other evidence of the same tests."""
        return GateTest(
            name=self.name, bad=self.bad, allowed=self.allowed, alpha=self.alpha, ready=self.ready,
            unready=self.unready, dry_run=self.dry_run, reads=self.reads,
            comparisons=comparisons, limit=limit,
        )  # fmt: skip

    def waiting_for(self, why: str) -> "GateTest":
        """Return the tests as ones that do not count yet, and why."""
        return replace(self, ready=False, unready=why)

    def update(
        self, intervals: Mapping[str, Interval], *, stable_is_later: bool = True
    ) -> "GateTest":
        """Let every test see one interval."""
        comparisons = tuple(test.update(intervals[test.indicator.key]) for test in self.comparisons)
        limit = self.limit
        if limit:
            limit = limit.update(intervals[limit.indicator.key], stable_is_later=stable_is_later)
        return self.having(comparisons, limit)

    def preceded_by(self, intervals: Mapping[str, Interval]) -> "GateTest":
        """Tell every comparison what stable did before the next interval."""
        comparisons = tuple(
            replace(
                test,
                rollback=test.rollback.preceded_by(test.arms(intervals[test.indicator.key]).stable),
            )
            for test in self.comparisons
        )
        return self.having(comparisons, self.limit)

    def without_an_interval(self) -> "GateTest":
        """Leave one interval out, so that nothing is paired across it."""
        comparisons = tuple(test.update(EMPTY) for test in self.comparisons)
        return self.having(comparisons, self.limit and self.limit.cut_off())

    def strength(self) -> Strength:
        """Return what the evidence comes to."""
        rollback_logs = [test.rollback.log_value for test in self.comparisons]
        promotion_logs = [test.promote.log_value for test in self.comparisons if test.promote]
        candidates = [
            (log, test.indicator, self.allowed)
            for log, test in zip(rollback_logs, self.comparisons, strict=True)
        ]
        frozen = False
        if limit := self.limit:
            canary_log = limit.canary.log_value
            frozen = limit.stable.log_value >= -math.log(self.alpha)
            rollback_logs.append(-math.inf if frozen else canary_log)
            promotion_logs.append(limit.promote.log_value)
            if not (candidates and frozen):
                candidates.append((canary_log, limit.indicator, limit.allowed))
        idle = (0.0, self._idle_indicator, self.allowed)
        _, indicator, line = max(candidates, key=itemgetter(0), default=idle)
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
        for test, (back, on) in zip(self.comparisons, self.reads.keys, strict=True):
            state[back] = test.rollback.to_state()
            if test.promote:
                state[on] = test.promote.to_state()
        if self.limit:
            state[f"rollback/{self.name}/limit"] = self.limit.canary.to_state()
            state[f"stable/{self.name}/limit"] = self.limit.stable.to_state()
            state[f"promote/{self.name}/limit"] = self.limit.promote.to_state()
            if self.limit.waiting.total:
                counts = self.limit.waiting
                state[f"waiting/{self.name}/limit"] = [float(counts.total), float(counts.bad)]
        return state

    def from_state(self, state: Mapping[str, Sequence[float | None]]) -> "GateTest":
        """Return the tests with the evidence that is stored for it."""

        def stored(test: _Test, key: str) -> _Test:
            return test.from_state(state[key]) if key in state else test

        comparisons = []
        for test, (back, on) in zip(self.comparisons, self.reads.keys, strict=True):
            copies = test.rollback.plan.running
            # A restart may be due since the state was stored.
            rollback = stored(test.rollback, back).running(copies)
            comparisons.append(test.having(rollback, test.promote and stored(test.promote, on)))
        limit = self.limit and self.limit.having(
            canary=stored(self.limit.canary, f"rollback/{self.name}/limit"),
            stable=stored(self.limit.stable, f"stable/{self.name}/limit"),
            promote=stored(self.limit.promote, f"promote/{self.name}/limit"),
            waiting=stored_counts(state.get(f"waiting/{self.name}/limit", ())),
        )
        return self.having(tuple(comparisons), limit)


def _mean(logs: Sequence[float]) -> float:
    if len(logs) < 2:
        return logs[0] if logs else 0.0
    return combine([(1 / len(logs), log) for log in logs])


def _beside_a_flawless_arm(interval: Interval) -> Interval:
    """Compare with an arm so large and faultless that the line is the absolute limit alone."""
    return Interval(
        canary=interval.canary, stable=ArmCounts(total=interval.canary.total * 10**6, bad=0)
    )
