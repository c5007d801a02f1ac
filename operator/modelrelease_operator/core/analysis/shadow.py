"""The gates of a comparison in the shadow: what pairs of answers say of a canary without users.

Their evidence is a part of the release's: it has a fixed weight in the mean that is held against
1/falseRollbackProbability, whether it convicts now or adds to what users' requests say later.
docs/explanation/shadow.md has the tests, and what they assume.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeVar

from modelrelease_contract import shadow as words
from modelrelease_operator.api.shadow import Shadow
from modelrelease_operator.api.spec import ErrorRateGate, LatencyGate, ReleaseSpec
from modelrelease_operator.api.status import GateStatus, ShadowStatus, Verdict
from modelrelease_operator.core.analysis.gates.share import tolerance
from modelrelease_operator.core.analysis.messages import percent
from modelrelease_operator.core.analysis.probes import ORDER
from modelrelease_operator.core.observed import PairCounter
from modelrelease_operator.core.statistics import pairs as paired
from modelrelease_operator.core.statistics.eprocess import (
    ArmCounts,
    EProcess,
    Interval,
    Tolerance,
    combine,
    progress,
)
from modelrelease_operator.core.statistics.pairs import Pairs
from modelrelease_operator.serving_runtimes import runtime_for

WEIGHT = 0.2
"""Of the evidence in the shadow, beside that of all gates on users' requests together."""
MOST_PROCESSES = 500
"""Processes that are remembered, or three times as many as a look shows: pods come and go."""
PREFIX = "shadow/"
"""Begins the names of these gates. No person can name a gate so."""
FAILURES, ANSWERS, LATENCY = (f"{PREFIX}{name}" for name in ("failures", "answers", "latency"))
COPIED, EXAMPLE = "copied", "example"
"""Kinds of requests that pairs come of: of users, or of the artifacts' example rows."""
REPEATS = Tolerance(ratio=1.0, points=1e-4)
"""As often as stable differs from itself, and next to nothing more."""
EVEN = Tolerance(ratio=1.0, points=0.0)
"""Slower on a pair is as likely for one arm as for the other."""
COLDER = Tolerance(ratio=1.0, points=0.02)
"""The same by a prober's clock: stable's users keep it warm, and nobody the canary."""
_Compared = TypeVar("_Compared", ErrorRateGate, LatencyGate)
"""Settings of a gate that may compare with stable."""
PAIRED = (
    words.SAME,
    words.DIFFERENT,
    words.CANARY_FAILED,
    words.STABLE_FAILED,
    words.BOTH_FAILED,
)
"""Results that are a pair: the others say how it came, or what did not become one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowJudgement:
    """What the pairs say."""

    verdict: Verdict
    message: str
    gates: tuple[GateStatus, ...]
    rollback_log: float
    """Logarithm of the evidence of all gates in the shadow."""


class _PairTest(Protocol):
    """One question asked of the pairs."""

    @property
    def rollback_log(self) -> float:
        """Logarithm of the evidence against the canary."""

    @property
    def promotion_log(self) -> float | None:
        """Logarithm of the evidence that it may go on; None where it is not asked for that."""

    def status(self, verdict: Verdict, confidence: float, version: str) -> GateStatus:
        """Say what was found."""


def weight_of(spec: ReleaseSpec) -> float:
    """Return the weight of the shadow in a release's evidence; 0 where it has none."""
    return WEIGHT if spec.canary.shadow else 0.0


def warm_up_of(spec: ReleaseSpec) -> timedelta:
    """Return for how long pairs are left out: pods are slower while they are new."""
    latency = _latency_of(spec)
    return latency.warms_for if latency else timedelta(0)


def slower_of(spec: ReleaseSpec) -> tuple[float, float]:
    """Return by which ratio and by how many seconds an arm must be slower on a pair to count so."""
    tolerated = (_latency_of(spec) or LatencyGate()).tolerated
    return tolerated.ratio, tolerated.milliseconds / 1000


def by_examples(spec: ReleaseSpec) -> bool:
    """Return whether pairs of two versions with the spec's server come of example requests."""
    server = runtime_for(spec.serving.runtime.to_dict() if spec.serving.runtime else {})
    return not server.answers_copies


def pairs_per_second(spec: ReleaseSpec, shadow: Shadow, rps: float) -> float:
    """Return how many pairs come, where users send `rps` requests a second."""
    if by_examples(spec):
        return shadow.copies_per_second
    return min(rps * shadow.share / 100, shadow.copies_per_second * spec.serving.replicas)


def counted(known: ShadowStatus, rows: Sequence[PairCounter]) -> ShadowStatus:
    """Add what stable's processes counted since the last look.

    Each process's counters only grow, so the largest value that was ever seen is the newest,
    whichever of two Prometheus servers showed it. What the first look shows is only recorded: it is
    of an earlier trial of the same revision.
    """
    values = _by_process(rows)
    counts = dict(known.counts)
    # Those that are shown last, so that the others are forgotten first.
    processes = {name: seen for name, seen in known.processes.items() if name not in values}
    for process, now in values.items():
        before = known.processes.get(process, [0] * len(now))
        before = [*before, *[0] * (len(now) - len(before))]
        newest = [max(old, new) for old, new in zip(before, now, strict=True)]
        processes[process] = newest
        if not known.begun:
            continue
        for result, old, new in zip(words.SHADOW_RESULTS, before, newest, strict=True):
            counts[result] = counts.get(result, 0) + new - old
    pairs = sum(counts.get(result, 0) for result in PAIRED)
    most = max(MOST_PROCESSES, 3 * len(values))
    newest_processes = dict(list(processes.items())[-most:])
    return known.but(counts=counts, processes=newest_processes, pairs=pairs, begun=True)


def judge_pairs(
    spec: ReleaseSpec, known: ShadowStatus, version: str, *, asked: str = COPIED
) -> ShadowJudgement:
    """Ask every gate of the shadow what the pairs say of the canary; `asked` is what kind of
    requests they came of.
    """
    analysis, shadow = spec.analysis, spec.canary.shadow or Shadow()
    tests = _tests(spec, shadow, known.counts, asked)
    rollback = combine([(1 / len(tests), test.rollback_log) for test in tests])
    bar, beta = bar_of(spec), analysis.false_promotion_probability
    strongest = max(tests, key=lambda test: test.rollback_log)
    gates, enough = [], known.pairs >= max(shadow.pairs, known.counts.get(words.BUSY, 0))
    for test in tests:
        failed = rollback >= bar and test is strongest
        verdict = _verdict(test, failed=failed, enough=enough, beta=beta)
        promotion = test.promotion_log
        alpha = analysis.false_rollback_probability
        confidence = 1 - (alpha if failed else beta)
        gates.append(
            test.status(verdict, confidence, version).but(
                evidence_for_rollback=round(progress(test.rollback_log, math.exp(bar)), 3),
                evidence_for_promotion=round(
                    1.0 if promotion is None else progress(promotion, 1 / beta), 3
                ),
            )
        )
    worst = min(gates, key=_least_good)
    return ShadowJudgement(
        verdict=worst.verdict,
        message=_message(worst, known, shadow),
        gates=tuple(gates),
        rollback_log=rollback,
    )


def _least_good(gate: GateStatus) -> tuple[int, float]:
    """Order gates by their verdict, and by how far they are from passing."""
    return ORDER.index(gate.verdict), gate.evidence_for_promotion


def tests_in(spec: ReleaseSpec) -> int:
    """Return how many gates a release's shadow has."""
    return len(_tests(spec, spec.canary.shadow or Shadow(), {}))


def bar_of(spec: ReleaseSpec) -> float:
    """Return the logarithm of the evidence in the shadow that convicts a canary by itself.

    While there are no users their gates count 1, so that w e + (1 - w) >= 1/alpha.
    """
    alpha = spec.analysis.false_rollback_probability
    return math.log((1 / alpha - (1 - WEIGHT)) / WEIGHT)


def _verdict(test: _PairTest, *, failed: bool, enough: bool, beta: float) -> Verdict:
    promotion = test.promotion_log
    if failed:
        return Verdict.FAIL
    if enough and (promotion is None or promotion >= -math.log(beta)):
        return Verdict.PASS
    return Verdict.INSUFFICIENT


def _message(worst: GateStatus, known: ShadowStatus, shadow: Shadow) -> str:
    busy = known.counts.get(words.BUSY, 0)
    if worst.verdict is Verdict.INSUFFICIENT and busy > known.pairs:
        return f"the canary was too busy for {busy:,} copies and took {known.pairs:,}"
    if worst.verdict is Verdict.INSUFFICIENT and known.pairs < shadow.pairs:
        return f"{worst.message}: {known.pairs:,} of the {shadow.pairs:,} pairs needed"
    if worst.verdict is Verdict.INSUFFICIENT:
        share = 100 * worst.evidence_for_promotion
        return f"{worst.message}: {share:.0f} % of the evidence needed to go on"
    return worst.message


def _tests(
    spec: ReleaseSpec, shadow: Shadow, counts: Mapping[str, int], asked: str = COPIED
) -> list[_PairTest]:
    dispersion, errors = spec.analysis.dispersion, errors_of(spec)
    tests: list[_PairTest] = [
        _Failures(
            pairs=_failures(counts),
            settings=errors or ErrorRateGate(),
            convicts=errors is not None,
            dispersion=dispersion,
            asked=asked,
        )
    ]
    if shadow.max_disagreement_percent is not None:
        tests.append(
            _Answers(
                pairs=_answers(counts),
                noise=_noise(counts),
                limit=shadow.max_disagreement_percent / 100,
                dispersion=dispersion,
                asked=asked,
            )
        )
    if _latency_of(spec):
        tests.append(_Latency(pairs=_latencies(counts), dispersion=dispersion, asked=asked))
    return tests


def errors_of(spec: ReleaseSpec) -> ErrorRateGate | None:
    """Return the release's own gate on errors that compares with stable, if it has one."""
    return _comparing(gate.error_rate for gate in spec.analysis.gates if not gate.dry_run)


def _latency_of(spec: ReleaseSpec) -> LatencyGate | None:
    """Return the release's own gate on the time to answer that compares with stable, if any."""
    gates = (gate.latency for gate in spec.analysis.gates if not gate.dry_run)
    return _comparing(latency for latency in gates if latency and latency.metric is None)


def _comparing(settings: Iterable[_Compared | None]) -> _Compared | None:
    return next((gate for gate in settings if gate and gate.compare_with_stable), None)


def _by_process(rows: Sequence[PairCounter]) -> dict[str, list[int]]:
    """Return each process's counters in the results' order;
    a process that two targets show is one.
    """
    values: dict[str, list[int]] = {}
    order = {result: at for at, result in enumerate(words.SHADOW_RESULTS)}
    for row in rows:
        at = order.get(row.result)
        if at is not None:
            counters = values.setdefault(row.process, [0] * len(order))
            counters[at] = max(counters[at], row.value)
    return values


def _failures(counts: Mapping[str, int]) -> Pairs:
    return Pairs(
        neither=counts.get(words.SAME, 0) + counts.get(words.DIFFERENT, 0),
        canary=counts.get(words.CANARY_FAILED, 0),
        stable=counts.get(words.STABLE_FAILED, 0),
        both=counts.get(words.BOTH_FAILED, 0),
    )


def _latencies(counts: Mapping[str, int]) -> Pairs:
    return Pairs(
        neither=counts.get(words.ALIKE, 0),
        canary=counts.get(words.CANARY_SLOWER, 0),
        stable=counts.get(words.STABLE_SLOWER, 0),
    )


def _answers(counts: Mapping[str, int]) -> ArmCounts:
    different = counts.get(words.DIFFERENT, 0)
    return ArmCounts(total=counts.get(words.SAME, 0) + different, bad=different)


def _noise(counts: Mapping[str, int]) -> ArmCounts:
    different = counts.get(words.NOISE_DIFFERENT, 0)
    return ArmCounts(total=counts.get(words.NOISE_SAME, 0) + different, bad=different)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failures:
    """Whether the canary fails on requests that stable answers, by the lines of errorRate."""

    pairs: Pairs
    settings: ErrorRateGate
    convicts: bool
    dispersion: float
    asked: str
    name: str = FAILURES

    @property
    def rollback_log(self) -> float:
        """Nothing where no gate of the owner's compares errors: it only keeps from going on."""
        if not self.convicts:
            return 0.0
        line = tolerance(self.settings.tolerated)
        return paired.worse_than(self.pairs, line, dispersion=self.dispersion)

    @property
    def promotion_log(self) -> float:
        line = tolerance(self.settings.margin)
        return paired.within(self.pairs, line, dispersion=self.dispersion)

    def status(self, verdict: Verdict, confidence: float, version: str) -> GateStatus:
        pairs, tolerated = self.pairs, self.settings.tolerated
        canary = ArmCounts(total=pairs.total, bad=pairs.canary + pairs.both)
        stable = ArmCounts(total=pairs.total, bad=pairs.stable + pairs.both)
        facts = (
            f"canary {version} fails {percent(canary)} of {pairs.total:,} {self.asked} requests, "
            f"stable {percent(stable)} of the same"
        )
        if not pairs.total:
            facts = f"no {self.asked} request was compared with canary {version}'s answer yet"
        line = f"{tolerated.ratio:g} times stable's plus {tolerated.points:g} points"
        words_of = {
            Verdict.FAIL: f": more than {line}, with {100 * confidence:g} % confidence",
            Verdict.PASS: f": within the margin with {100 * confidence:g} % confidence",
        }
        return GateStatus(
            name=self.name, verdict=verdict, message=facts + words_of.get(verdict, ""), bound=line,
            canary_total=canary.total, canary_bad=canary.bad, canary_percent=_rounded(canary),
            stable_total=stable.total, stable_bad=stable.bad, stable_percent=_rounded(stable),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answers:
    """Whether more answers differ than the owner lets differ.

    Where stable itself differs from itself, only what the canary differs by more speaks against it.
    """

    pairs: ArmCounts
    noise: ArmCounts
    limit: float
    dispersion: float
    asked: str
    name: str = ANSWERS

    @property
    def noisy(self) -> bool:
        """Whether stable, asked again, is shown to break the limit: at a chance of 1 % at most."""
        return paired.above(self.noise, self.limit, dispersion=self.dispersion) >= math.log(100)

    @property
    def rollback_log(self) -> float:
        """The weaker of two: above the limit, and more than stable differs from itself.

        Either hypothesis clears the canary, so both must be contradicted. Stable is asked again at
        a constant share of the pairs, so its totals are one interval.
        """
        if self.noisy:
            return -math.inf
        above = paired.above(self.pairs, self.limit, dispersion=self.dispersion)
        if not self.noise.total:
            return above
        more = EProcess.regression(REPEATS, dispersion=self.dispersion)
        both = Interval(canary=self.pairs, stable=self.noise)
        return min(above, more.update(both).log_value)

    @property
    def promotion_log(self) -> float:
        return paired.below(self.pairs, self.limit, dispersion=self.dispersion)

    def status(self, verdict: Verdict, confidence: float, version: str) -> GateStatus:
        limit = f"the limit of {100 * self.limit:g} %"
        facts = (
            f"canary {version} answers {percent(self.pairs)} of {self.pairs.total:,} {self.asked} "
            "requests otherwise than stable"
        )
        if self.noise.total:
            again = f"{percent(self.noise)} of {self.noise.total:,}"
            facts = f"{facts}, which asked again answers {again} otherwise"
        if verdict is Verdict.FAIL:
            facts = f"{facts}: above {limit}, with {100 * confidence:g} % confidence"
        elif self.noisy:
            facts = f"{facts}: stable itself breaks {limit}, so nobody is blamed and nothing moves"
        elif verdict is Verdict.PASS:
            bound = 100 * paired.upper_bound(self.pairs, confidence)
            facts = f"{facts}: at most {bound:.2g} %, with {100 * confidence:g} % confidence"
        return GateStatus(
            name=self.name, verdict=verdict, message=facts, bound=limit,
            canary_total=self.pairs.total, canary_bad=self.pairs.bad,
            canary_percent=_rounded(self.pairs), stable_total=self.noise.total,
            stable_bad=self.noise.bad, stable_percent=_rounded(self.noise),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Latency:
    """Whether the canary is the slower one of a pair more often than stable.

    Only against it: what it must show to go on, it shows with users.
    """

    pairs: Pairs
    dispersion: float
    asked: str
    name: str = LATENCY
    promotion_log: None = None

    @property
    def line(self) -> Tolerance:
        """How often the canary may be the slower one, beside stable."""
        return COLDER if self.asked == EXAMPLE else EVEN

    @property
    def rollback_log(self) -> float:
        return paired.worse_than(self.pairs, self.line, dispersion=self.dispersion)

    def status(self, verdict: Verdict, confidence: float, version: str) -> GateStatus:
        pairs = self.pairs
        facts = f"latency of canary {version} was not compared: stable was asked nothing again"
        if pairs.total:
            facts = (
                f"canary {version} was the slower one on {pairs.canary:,} of {pairs.total:,} "
                f"{self.asked} requests that both were asked, stable on {pairs.stable:,}"
            )
        more = f" plus {100 * self.line.points:g} points" if self.line.points else ""
        if verdict is Verdict.FAIL:
            facts = f"{facts}: more often than stable{more}, with {100 * confidence:g} % confidence"
        canary = ArmCounts(total=pairs.total, bad=pairs.canary)
        stable = ArmCounts(total=pairs.total, bad=pairs.stable)
        return GateStatus(
            name=self.name, verdict=verdict, message=facts, bound=f"as often as stable{more}",
            canary_total=canary.total, canary_bad=canary.bad, canary_percent=_rounded(canary),
            stable_total=stable.total, stable_bad=stable.bad, stable_percent=_rounded(stable),
        )  # fmt: skip


def _rounded(counts: ArmCounts) -> float | None:
    return None if counts.rate is None else round(100 * counts.rate, 3)
