"""What a release will take, before it is shipped: requests, time, and what slips through.

Worked out, not simulated: every test is taken to grow at its expected speed (`expected_requests`),
with the very tests that the release will use (`gate_tests_of`). Medians of simulated releases lie
near these figures; `modelrelease simulate` gives their spread.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from modelrelease_operator.api.prometheus import Source
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Evidence
from modelrelease_operator.core.analysis import sample_ratio
from modelrelease_operator.core.analysis.assumptions import BINS, LAYOUT
from modelrelease_operator.core.analysis.gate_tests import Comparison, GateTest
from modelrelease_operator.core.analysis.gates.registry import gate_tests_of, kind_of
from modelrelease_operator.core.analysis.gates.share import NOTABLE
from modelrelease_operator.core.analysis.probes import is_of_probes
from modelrelease_operator.core.analysis.shadow import weight_of
from modelrelease_operator.core.measurement.indicators import ERRORS, Indicator
from modelrelease_operator.core.measurement.series import INFINITY
from modelrelease_operator.core.observed import Counter
from modelrelease_operator.core.release.watch import LEAST, shows
from modelrelease_operator.core.statistics.eprocess import ArmCounts, EProcess
from modelrelease_operator.core.statistics.sample_size import to_breach, to_reach, to_stay_below
from modelrelease_operator.core.steps import last_alike, next_weight
from modelrelease_operator.core.whatif.end import IN_SHADOW, End
from modelrelease_operator.core.whatif.language import of_a_second, shown_beside
from modelrelease_operator.core.whatif.shadow_plan import ShadowPlan, shadow_plan
from modelrelease_operator.core.whatif.simulation import SERVED_BEFORE, LatencyModel
from modelrelease_operator.traffic.registry import split_of

RATIOS = (1.5, 2.0, 5.0)
"""Regressions that a plan looks at:
how many times as often as stable's the canary's requests fail.
"""
HALF_A_SHARE = 0.5
"""What a plan supposes that a broken gateway gives the canary of its weight."""
SETTLING = timedelta(seconds=1)
"""Until a weight that needs no new pods is seen in effect."""
LONGEST = timedelta(days=3650)
"""Stands for any time that does not end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What is assumed of the world."""

    rps: float
    stable_errors: float
    bounds: Sequence[float]
    latency: LatencyModel = field(default_factory=LatencyModel)
    pod_start: timedelta = timedelta(seconds=10)
    scrape_interval: timedelta = timedelta(seconds=15)
    """Between two samples of a pod: of Prometheus' configuration, whose own default is a minute."""


class Limiter(StrEnum):
    """What a healthy canary waits for in a step."""

    EVIDENCE = "evidence"
    MIN_REQUESTS = "minRequests"
    LOOKS = "looks in a row"
    BAKE = "bake"
    NEVER = "never passes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Catch:
    """How soon a regression is caught that is there from the first request, at one weight."""

    ratio: float
    requests: float
    time: timedelta | None
    """None when it is not caught at all."""
    bad_answers: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """One step."""

    index: int
    """Its place in the plan, from 0: of steps that are the same pods, the last."""
    weight: int
    effective: float
    """Percent, from the pods that the weight is rounded to."""
    replicas: int
    """Pods of the canary."""
    requests: float
    """Canary requests that the gates need of a healthy canary."""
    by_gate: Mapping[str, float]
    """The same for each gate that counts requests."""
    limiter: Limiter
    time: timedelta | None
    so_far: timedelta | None
    catches: tuple[Catch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """A canary's way through all steps when it fails `ratio` times as often as stable."""

    ratio: float
    end: End
    """`promoted`, `rolled_back` or `inconclusive`."""
    step: int
    """From 0; `IN_SHADOW` before the first."""
    time: timedelta
    requests: float
    bad_answers: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareNotice:
    """How soon a step holds for a canary that a gateway sends half of its weight."""

    weight: int
    requests: float
    """Of both arms."""
    time: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a release will take."""

    steps: tuple[StepPlan, ...]
    journeys: tuple[Journey, ...]
    """Of a healthy canary first, then one for each ratio."""
    shadow: ShadowPlan | None
    """The step before them, where the release has one."""
    share: tuple[ShareNotice, ...]
    """For each step, where the canary's share of the requests is checked."""
    blind: bool
    """Whether no gate looks at errors."""


def plan(spec: ReleaseSpec, conditions: Conditions) -> Plan:
    """Work out every step and every journey."""
    stages = tuple(_stages(spec, conditions))
    shadow = _shadow(spec, conditions)
    so_far: timedelta | None = conditions.pod_start
    if shadow:
        healthy = shadow.of(1.0).time
        so_far = None if healthy is None else conditions.pod_start + healthy
    steps = []
    for stage in stages:
        needed, limiter = stage.needed(1.0)
        time = stage.passing(1.0)
        so_far = None if so_far is None or time is None else so_far + time
        steps.append(
            StepPlan(
                index=stage.index,
                weight=stage.weight,
                effective=100 * stage.share,
                replicas=stage.replicas,
                requests=needed,
                by_gate=stage.needed_by_gate(),
                limiter=limiter,
                time=time,
                so_far=so_far,
                catches=tuple(stage.catch(ratio) for ratio in RATIOS),
            )
        )
    return Plan(
        steps=tuple(steps),
        journeys=tuple(
            _journey(spec, conditions, stages, ratio, shadow) for ratio in (1.0, *RATIOS)
        ),
        shadow=shadow,
        share=tuple(_share_notices(spec, conditions, stages)),
        blind=not any(stage.sees_errors for stage in stages),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    """A step with its tests."""

    spec: ReleaseSpec
    conditions: Conditions
    index: int
    weight: int
    share: float
    replicas: int
    settling: timedelta
    bake: timedelta
    gate_tests: tuple[GateTest, ...]
    dark: bool
    """Whether no user meets the canary before every request moves to it."""
    tests_counted: int
    """Questions that share the probability of a false rollback,
    those asked of probes among them.
    """

    @property
    def canary_rps(self) -> float:
        return self.conditions.rps * self.share

    @property
    def sees_errors(self) -> bool:
        """Whether any test looks at errors."""
        errors = any(ERRORS in gate_test.reads.indicators for gate_test in self.gate_tests)
        return errors or self.dark

    def duration(self, requests: float, *, confirmations: int = 0) -> timedelta | None:
        """Return the time until so many canary requests were counted by a look; None without end.

        Counting begins once each pod has a sample of this weight, and an interval is closed once
        each has a newer one: both take a scrape interval at most, or a look, if that is longer.
        """
        seconds = self.between_closes.total_seconds()
        closes = requests / self.canary_rps / seconds
        if closes * seconds > LONGEST.total_seconds():
            return None
        begins = self.settling + self.conditions.scrape_interval
        return begins + (math.ceil(closes - 1e-9) + confirmations) * self.between_closes

    @property
    def between_closes(self) -> timedelta:
        """Return the time between two looks at which the tests see something."""
        return max(self.spec.analysis.period, self.conditions.scrape_interval)

    def passing(self, ratio: float) -> timedelta | None:
        """Return the time until every gate passes and the step has baked; None without end."""
        evidence, look = self.duration(self.counted(ratio)), self.spec.analysis.period
        waits = max(self.bake, self.in_a_row)
        return evidence and max(evidence, self.settling + math.ceil(waits / look) * look)

    def to_pass(self, ratio: float) -> float:
        """Return the canary requests until every gate passes and the step has baked."""
        time = self.passing(ratio)
        return (
            math.inf if time is None else (time - self.settling).total_seconds() * self.canary_rps
        )

    def counted(self, ratio: float) -> float:
        """Return the canary requests that must be counted until every gate passes."""
        beta = self.spec.analysis.false_promotion_probability
        evidence = max(
            (self._to_promote(gate_test, ratio, beta) for gate_test in self.gate_tests), default=0.0
        )
        return max(evidence, float(self.spec.analysis.min_requests) if self.gate_tests else 0.0)

    def needed(self, ratio: float) -> tuple[float, Limiter]:
        """Return the canary requests until every gate passes,
        and what the step waits for longest.
        """
        beta = self.spec.analysis.false_promotion_probability
        evidence = max(
            (self._to_promote(gate_test, ratio, beta) for gate_test in self.gate_tests), default=0.0
        )
        if evidence == math.inf:
            return math.inf, Limiter.NEVER
        least = float(self.spec.analysis.min_requests) if self.gate_tests else 0.0
        requests, limiter = max(
            (evidence, Limiter.EVIDENCE),
            (least, Limiter.MIN_REQUESTS),
            (self._while_in_a_row, Limiter.LOOKS),
        )
        baked = self.bake.total_seconds() * self.canary_rps > requests
        return requests, Limiter.BAKE if baked else limiter

    def needed_by_gate(self) -> dict[str, float]:
        """Return the canary requests after which each gate passes a healthy canary."""
        beta, least = (
            self.spec.analysis.false_promotion_probability,
            float(self.spec.analysis.min_requests),
        )
        return {
            gate_test.name: max(least, self._to_promote(gate_test, 1.0, beta))
            for gate_test in self.gate_tests
        }

    @property
    def in_a_row(self) -> timedelta:
        """Return how long thresholds are looked at:
        at once, then at each look that may see a new scrape.
        """
        rows = (
            kind_of(gate).looks_in_row(gate.settings)
            for gate in self.spec.analysis.gates
            if not gate.dry_run
        )
        return (max(rows, default=1) - 1) * between_looks(self.spec, self.conditions)

    @property
    def _while_in_a_row(self) -> float:
        """Return the canary requests that come meanwhile."""
        return self.in_a_row.total_seconds() * self.canary_rps

    def to_catch(self, ratio: float) -> float:
        """Return the canary requests until the canary is convicted, from a fresh start."""
        # Pairs in the shadow have their share of the evidence.
        users = 1 - weight_of(self.spec)
        alpha = users * self.spec.analysis.false_rollback_probability
        if self.dark:
            return self.to_suspect(ratio)
        return min(
            (
                self._to_convict(gate_test, ratio, alpha / self.tests_counted)
                for gate_test in self.gate_tests
            ),
            default=math.inf,
        )  # fmt: skip

    def to_suspect(self, ratio: float) -> float:
        """Return the requests after a switch at which a version is taken back, beside what stable
        did while it was in the dark; infinity if that is not within the time it stays warm.
        """
        stable, canary = _error_rates(self.conditions, ratio)
        before = round(self.conditions.rps * self.bake.total_seconds())
        bar = math.log(self.tests_counted / self.spec.analysis.false_rollback_probability)
        old = ArmCounts(total=before, bad=round(stable * before))
        longest = self.conditions.rps * self.spec.canary.keep_previous.span.total_seconds()
        requests = float(LEAST)
        while requests <= longest:
            new = ArmCounts(total=round(requests), bad=round(canary * requests))
            if before >= LEAST and shows(NOTABLE, new, old, bar):
                return requests
            requests *= 1.1
        return math.inf

    def catch(self, ratio: float) -> Catch:
        requests = self.to_catch(ratio)
        return Catch(
            ratio=ratio,
            requests=requests,
            time=self.duration(requests, confirmations=1),
            bad_answers=requests * _error_rates(self.conditions, ratio)[1],
        )

    def _to_promote(self, gate_test: GateTest, ratio: float, beta: float) -> float:
        if not gate_test.ready:
            return math.inf
        needs = [
            self._requests(test.promote, test, ratio, beta)
            for test in gate_test.comparisons
            if test.promote
        ]
        if limit := gate_test.limit:
            stable, canary = self._rates(limit.indicator, ratio)
            if stable > limit.canary.limit:
                return math.inf  # stable breaks the limit itself: nothing moves
            needs.append(to_stay_below(limit.promote, canary, beta))
        return max(needs, default=0.0)

    def _to_convict(self, gate_test: GateTest, ratio: float, alpha: float) -> float:
        """The tests of a gate share its alpha,
        and a test shares it with its copies that start later.
        """
        tests = len(gate_test.comparisons) + (gate_test.limit is not None)
        needs = [
            self._requests(
                _template(test),
                test,
                ratio,
                alpha / tests * test.rollback.plan.weights[0],
            )
            for test in gate_test.comparisons
        ]
        if limit := gate_test.limit:
            stable, canary = self._rates(limit.indicator, ratio)
            needs.append(
                to_breach(limit.canary, canary, alpha / tests)
                if stable <= limit.canary.limit
                else math.inf
            )
        return min(needs, default=math.inf)

    def _requests(
        self, test: EProcess, comparison: Comparison, ratio: float, probability: float
    ) -> float:
        stable, canary = self._rates(comparison.indicator, ratio)
        if comparison.exchanged:
            stable, canary = canary, stable
        # A stable that never fails is as good as one that fails once in a trillion.
        stable = max(stable, 1e-12)
        return to_reach(
            test,
            stable_rate=stable,
            ratio=canary / stable,
            weight=self.share,
            probability=probability,
        )

    def _rates(self, indicator: Indicator, ratio: float) -> tuple[float, float]:
        """Return how often requests of either arm are bad in an indicator.

        Own counts are taken to go bad as often as requests fail, and answers of a language model to
        end badly; predictions to be alike; its other times, and its tokens, to be parts of the time
        to answer.
        """
        if indicator.bin is not None:
            return 1 / BINS, 1 / BINS
        if indicator.canary_bound is None or indicator.stable_bound is None:
            return _error_rates(self.conditions, ratio)
        law, unit = self.conditions.latency, of_a_second(indicator.metric)
        return 1 - law.within(float(indicator.stable_bound) / unit), 1 - law.within(
            float(indicator.canary_bound) / unit
        )


def between_looks(spec: ReleaseSpec, conditions: Conditions) -> timedelta:
    """Return the time between two looks that see different scrapes."""
    look = spec.analysis.period
    if spec.analysis.source is Source.PODS:
        return conditions.scrape_interval
    return max(1, math.ceil(conditions.scrape_interval / look)) * look


def _template(test: Comparison) -> EProcess:
    return test.rollback.plan.template


def _error_rates(conditions: Conditions, ratio: float) -> tuple[float, float]:
    return conditions.stable_errors, min(1.0, ratio * conditions.stable_errors)


def _stages(spec: ReleaseSpec, conditions: Conditions) -> Iterator[_Stage]:
    steps, pods = _distinct(spec), 0
    histogram = tuple(_histogram(conditions))
    served = Counter(revision="stable", pod="stable", code="200", value=SERVED_BEFORE)
    counters = (*histogram, *shown_beside(spec, (*histogram, served)), *_bins())
    for index in steps:
        step = spec.canary.plan[index]
        chosen = split_of(spec, step.weight)
        following = next_weight(spec, index)
        grows = pods and chosen.canary > pods
        gate_tests = _deciding(
            gate_tests_of(spec, Evidence(), counters, ("stable", "stable"), following)[1]
        )
        yield _Stage(
            spec=spec,
            conditions=conditions,
            index=index,
            weight=step.weight,
            share=1.0 if spec.canary.switches else chosen.weight / 100,
            replicas=chosen.canary,
            settling=conditions.pod_start if grows else SETTLING,
            bake=sample_ratio.time_of(spec, index, conditions.scrape_interval.total_seconds()),
            gate_tests=tuple(
                gate_test
                for gate_test in gate_tests
                if not (is_of_probes(gate_test.name) or spec.canary.switches)
            ),
            dark=spec.canary.switches,
            tests_counted=len(gate_tests),
        )
        pods = chosen.canary


def _share_notices(
    spec: ReleaseSpec, conditions: Conditions, stages: Sequence[_Stage]
) -> Iterator[ShareNotice]:
    """Yield when each step notices a canary that is sent half of its weight."""
    if not sample_ratio.is_checked(spec):
        return
    for stage in stages:
        requests = sample_ratio.requests_to_notice(
            stage.weight,
            HALF_A_SHARE * stage.weight / 100,
            dispersion=spec.dispersion,
            step=stage.index,
        )
        counted = timedelta(seconds=requests / conditions.rps)
        # The first interval, and one at an edge, are left out.
        waits = sample_ratio.SETTLED + (2 + math.ceil(counted / stage.between_closes)) * (
            stage.between_closes
        )
        yield ShareNotice(weight=stage.weight, requests=requests, time=stage.settling + waits)


def _distinct(spec: ReleaseSpec) -> tuple[int, ...]:
    """Return the steps that are taken: of those that come out as the same pods, the last."""
    return tuple(
        index for index in range(len(spec.canary.plan)) if last_alike(spec, index) == index
    )


def _deciding(gate_tests: Iterable[GateTest]) -> tuple[GateTest, ...]:
    return tuple(gate_test for gate_test in gate_tests if not gate_test.dry_run)


def _bins() -> Iterable[Counter]:
    """What both arms show of their predictions: gates that compare them know their bins."""
    for revision in ("stable", "canary"):
        yield Counter(revision=revision, pod=revision, layout=LAYOUT, value=1)
        for place in range(BINS):
            yield Counter(
                revision=revision, pod=revision, bin=str(place), value=SERVED_BEFORE // BINS
            )


def _histogram(conditions: Conditions) -> Iterable[Counter]:
    """What stable's histogram looks like: latency gates are cut at its quantiles."""
    for bound in conditions.bounds:
        value = round(SERVED_BEFORE * conditions.latency.within(bound))
        yield Counter(revision="stable", pod="stable", bound=str(bound), value=value)
    yield Counter(revision="stable", pod="stable", bound=INFINITY, value=SERVED_BEFORE)


def _shadow(spec: ReleaseSpec, conditions: Conditions) -> ShadowPlan | None:
    """Return the step before the first user, where the release has one."""
    if spec.canary.shadow is None:
        return None
    return shadow_plan(
        spec,
        spec.canary.shadow,
        rps=conditions.rps,
        stable_errors=conditions.stable_errors,
        scrape_interval=conditions.scrape_interval,
        ratios=(1.0, *RATIOS),
    )


def _switched(spec: ReleaseSpec, stage: _Stage, ratio: float, *, start: timedelta) -> Journey:
    """Return the journey of a canary that gets every request at once, after its time in the
    dark.
    """
    time = start + (stage.passing(ratio) or timedelta(0))
    requests, bad = stage.to_suspect(ratio), _error_rates(stage.conditions, ratio)[1]
    took = stage.duration(requests, confirmations=1) if requests < math.inf else None
    caught = took is not None and took <= spec.canary.keep_previous.span
    if took is None or not caught:
        return Journey(
            ratio=ratio, end=End.PROMOTED, step=0, time=time, requests=0.0, bad_answers=0.0
        )
    met = took.total_seconds() * stage.canary_rps
    return Journey(
        ratio=ratio, end=End.ROLLED_BACK, step=0, time=time + took, requests=met,
        bad_answers=bad * met,
    )  # fmt: skip


def _left_in_shadow(
    spec: ReleaseSpec, conditions: Conditions, shadow: ShadowPlan, ratio: float
) -> Journey | None:
    """Return the journey of a canary that no user meets, or None for one that goes on."""
    left = shadow.of(ratio)
    deadline = spec.canary.shadow.deadline.span if spec.canary.shadow else timedelta(0)
    if left.time is not None and left.time <= deadline:
        if not left.caught:
            return None
        end, time = End.ROLLED_BACK, left.time
    else:
        end, time = End.INCONCLUSIVE, deadline
    return Journey(
        ratio=ratio, end=end, step=IN_SHADOW, time=conditions.pod_start + time, requests=0.0,
        bad_answers=0.0,
    )  # fmt: skip


def _journey(
    spec: ReleaseSpec,
    conditions: Conditions,
    stages: Sequence[_Stage],
    ratio: float,
    shadow: ShadowPlan | None,
) -> Journey:
    """Walk through the steps. Evidence for a rollback adds up over them,
    that for promotion does not.
    """
    bad, deadline = _error_rates(conditions, ratio)[1], spec.canary.progress_deadline.span
    time, requests, missing = conditions.pod_start, 0.0, 1.0
    if shadow:
        if ended := _left_in_shadow(spec, conditions, shadow, ratio):
            return ended
        in_the_dark = shadow.of(ratio).time or timedelta(0)
        time, deadline = time + in_the_dark, deadline + in_the_dark
    if stages[0].dark:
        return _switched(spec, stages[0], ratio, start=time)
    for stage in stages:
        index = stage.index
        passing, whole = stage.to_pass(ratio), stage.to_catch(ratio)
        catching = missing * whole
        caught = catching <= passing
        taken = min(catching, passing)
        took = stage.duration(taken, confirmations=1) if caught else stage.passing(ratio)
        if took is None or time + took > deadline:
            left = max(timedelta(0), deadline - time).total_seconds() * stage.canary_rps
            return Journey(
                ratio=ratio, end=End.INCONCLUSIVE, step=index, time=deadline,
                requests=requests + left,
                bad_answers=bad * (requests + left),
            )  # fmt: skip
        # Requests are counted until the look that sees enough of them.
        met = max(taken, (took - stage.settling).total_seconds() * stage.canary_rps)
        time, requests = time + took, requests + met
        if caught:
            return Journey(
                ratio=ratio, end=End.ROLLED_BACK, step=index, time=time, requests=requests,
                bad_answers=bad * requests,
            )  # fmt: skip
        missing -= taken / whole if whole < math.inf else 0.0
    end = stages[-1].index
    time += conditions.pod_start if stages[-1].replicas < spec.serving.replicas else SETTLING
    return Journey(
        ratio=ratio,
        end=End.PROMOTED,
        step=end,
        time=time,
        requests=requests,
        bad_answers=bad * requests,
    )
