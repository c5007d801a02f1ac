"""The gates: what the evidence says at one look.

Rollback: every gate's test that the canary is *worse than tolerated* brings an e-value; their mean
is held against 1/alpha, so alpha holds for the whole release, all gates and all looks together.
Promotion: every gate must by itself have shown that the canary is *within its margin*, at the
present weight (intersection-union: no correction is needed).
docs/explanation/decisions.md has both, with the proof.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from operator import add

from modelrelease_operator.api import names
from modelrelease_operator.api.durations import format_duration
from modelrelease_operator.api.prometheus import Source
from modelrelease_operator.api.spec import Gate, ReleaseSpec
from modelrelease_operator.api.status import (
    CanaryStatus,
    Evidence,
    GateStatus,
    Samples,
    ShareStatus,
    Status,
    Streak,
    Verdict,
)
from modelrelease_operator.core.analysis import messages
from modelrelease_operator.core.analysis.gate_tests import GateTest, Strength
from modelrelease_operator.core.analysis.gates.registry import gate_tests_of, kind_of
from modelrelease_operator.core.analysis.intervals import shown_interval
from modelrelease_operator.core.analysis.probes import Settled, gates_of, is_of_probes, settle
from modelrelease_operator.core.analysis.restart_schedule import with_due_copies
from modelrelease_operator.core.analysis.shadow import WEIGHT
from modelrelease_operator.core.immutable import immutable
from modelrelease_operator.core.measurement.indicators import (
    ERRORS,
    Increments,
    Indicator,
    refused_probes,
    why_not_cut,
)
from modelrelease_operator.core.measurement.intervals import (
    Counted,
    Moment,
    count,
    is_of_another_time,
    unready_arms,
    with_horizon,
)
from modelrelease_operator.core.measurement.losses import come_past
from modelrelease_operator.core.measurement.samples import (
    MAY_MISS,
    NOTHING,
    STABLE_MAY_MISS,
    Arm,
    Newest,
    Sight,
    newest,
    nonsense,
    sight_of,
)
from modelrelease_operator.core.measurement.series import INFINITY, OWN, PREDICTOR, PROBE, pair_of
from modelrelease_operator.core.observed import Metrics, MetricsUnavailable
from modelrelease_operator.core.query_results import (
    NOT_QUERIED,
    CounterSample,
    NotMeasured,
    QueryResults,
)
from modelrelease_operator.core.statistics.eprocess import ArmCounts, Interval, combine

REFUSED = f"{PROBE}refused"
"""Key of the counts of probes that were refused."""
SECOND_LOOK_IN = timedelta(seconds=2)
"""Until the second look of a step: where scrapes are frequent, counting can begin then."""
LOOK_OFTEN = timedelta(seconds=5)
"""Between the looks of a young step."""
YOUNG_INTERVALS = 4
"""Intervals that a step is young for:
one to begin in, one to count, one to confirm, and one to spare.
"""
MAX_NAMED = 5
"""Pods that status names at most."""
NONE = (0, 0, 0, 0)
"""Counts of both arms, as `Evidence.release` has them, where there are none."""
DOUBT = 0.5
"""Share of the evidence for a rollback from which probes do not answer for users any more."""


@immutable
class CountedUsers:
    """What a look counted of users' requests, for whoever asks which arm had how many."""

    canary: str
    stable: str
    """The revisions that are compared."""
    closed: Increments | None
    """What the interval that closed at this look counted; None where none did."""
    cut: bool
    """Whether one ended that compares nothing."""
    all_seen: bool
    """Whether every ready pod of both arms is shown."""

    @property
    def interval(self) -> Interval | None:
        """The requests of both arms in the interval that closed, whatever came of them."""
        if self.closed is None:
            return None
        return ERRORS.interval(self.closed, canary=self.canary, stable=self.stable)


@immutable
class Judgement:
    """What a look found."""

    evidence: Evidence
    gates: tuple[GateStatus, ...]
    verdict: Verdict
    message: str
    effective_weight: float | None = None
    by_probes: str | None = None
    """Says so, where it passes on probes because users are too few."""
    sighted: bool = False
    """Whether this look brought something new of the canary, in all of its pods but a few."""
    samples: Samples | None = None
    """How old the samples are, and of whom; None where there was none."""
    look_in: timedelta | None = None
    """When the next look is of use, if that is sooner than `analysis.interval`."""
    users: CountedUsers | None = None
    """None where nothing could be counted."""
    share: ShareStatus | None = None
    """Which share of the requests the canary has had, where a gateway deals them out."""

    @property
    def mismatched(self) -> bool:
        """Whether that is proven to be another share than its weight."""
        return self.share is not None and self.share.mismatch

    def beside(self, share: ShareStatus | None) -> "Judgement":
        """Return the judgement with the canary's share of the requests.

        On a mismatch nothing goes on; what is proven against the canary, or cannot be measured,
        stays as it is.
        """
        kept = self.verdict in (Verdict.FAIL, Verdict.UNAVAILABLE)
        if share is None or not share.mismatch or kept:
            return replace(self, share=share)
        verdict, message = Verdict.INSUFFICIENT, share.message
        return replace(self, share=share, verdict=verdict, message=message, by_probes=None)


@immutable
class _Look:
    """What the helpers below share."""

    spec: ReleaseSpec
    status: Status
    judged: CanaryStatus
    canary: str
    stable: str
    """The revisions that are compared."""
    gates: tuple[Gate, ...]
    """All that are asked (`gates_of`)."""
    pods: Mapping[str, Collection[str]]
    """By revision: the names of its ready pods."""
    answers: QueryResults
    now: datetime
    waited: timedelta
    """How long the present weight has been in effect."""
    rollback_bar: float
    """Logarithm of the evidence that a rollback needs."""
    promotion_bar: float
    """Logarithm of the evidence that a promotion needs."""
    newest_samples: Newest
    """What was shown of both arms."""
    sight: Sight
    trouble: NotMeasured | None
    """Why that is not used at this look."""

    @property
    def arms(self) -> tuple[str, str]:
        """Canary and stable."""
        return self.canary, self.stable


def judge(  # noqa: PLR0913 - all that a look is about, each given by name
    *,
    spec: ReleaseSpec,
    status: Status,
    metrics: Metrics,
    next_weight: int,
    now: datetime,
    pods: Mapping[str, Collection[str]] | None = None,
    answers: QueryResults | None = None,
    source: Source | None = None,
) -> Judgement:
    """Add the newest counts to the evidence and ask every gate.

    `pods` are the names of the ready pods of each revision: those that are not shown are left out
    of the counts and said, and a canary does not go on while they are more than a few.

    `next_weight` is what the canary would get next (percent, 100 for promotion): the higher it is,
    the smaller the excess that may go unseen.

    `source` is who showed the metrics: where that is another than at the last look, counting begins
    anew.
    """
    status = _of_source(status, source)
    if isinstance(metrics, MetricsUnavailable) and not _own_gates(spec):
        return _held(spec, status, _unavailable(metrics.message))
    names_pods = source is Source.PODS
    look = _look_at(spec, status, metrics, pods or {}, answers or {}, now, names_pods=names_pods)
    evidence = _told_apart(look)
    if look.trouble and not _own_gates(spec):
        held = _held(spec, status, look.trouble)
        return replace(
            held, evidence=evidence, samples=_samples(look, evidence, source), look_in=LOOK_OFTEN
        )
    evidence = with_due_copies(evidence, spec.canary, look.judged, now)
    evidence, gate_tests = gate_tests_of(
        spec, evidence, look.newest_samples.counters, look.arms, next_weight
    )
    counted, gate_tests = _advance(look, evidence, _as_asked(look, evidence, gate_tests))
    evidence = counted.evidence
    strengths = {gate_test.name: gate_test.strength() for gate_test in gate_tests}
    evidence, thresholds = _thresholds(look, evidence)
    verdicts = _verdicts(look, evidence, gate_tests, strengths)
    gates = {gate.name: gate for gate in (*verdicts, *thresholds)}
    settled = _settled(look, evidence, strengths, gates)
    return Judgement(
        evidence=evidence,
        gates=tuple([gates[gate.name] for gate in look.gates]),
        verdict=settled.verdict,
        message=settled.message,
        effective_weight=_effective_weight(evidence),
        by_probes=settled.by_probes,
        sighted=counted.saw_canary and look.sight.canary.may_go_on,
        samples=_samples(look, evidence, source),
        look_in=_look_in(look, evidence),
        users=_users(look, counted),
    )


def _look_at(
    spec: ReleaseSpec, status: Status, metrics: Metrics, pods: Mapping[str, Collection[str]],
    answers: QueryResults, now: datetime, *, names_pods: bool,
) -> _Look:  # fmt: skip
    """Say what is seen of both arms. Raises ValueError without a canary and a stable revision."""
    if status.canary is None or status.stable is None:
        msg = "there is nothing to judge without a canary and a stable revision"
        raise ValueError(msg)
    arms, gates = (status.canary.revision, status.stable.revision), gates_of(spec)
    newest_samples, trouble = _usable(metrics, arms, _bounds_read(gates, status.evidence))
    sight = sight_of(status.evidence, newest_samples, arms, pods, names_pods=names_pods)
    return _Look(
        spec=spec, status=status, judged=status.canary, canary=arms[0], stable=arms[1], gates=gates,
        pods=pods, answers=answers, now=now, waited=time_at_weight(status.canary, now),
        rollback_bar=-math.log(spec.analysis.false_rollback_probability),
        promotion_bar=-math.log(spec.analysis.false_promotion_probability),
        newest_samples=newest_samples, sight=sight, trouble=trouble or _unseen(sight),
    )  # fmt: skip


def is_another_source(status: Status, source: Source | None) -> bool:
    """Return whether the last look had its samples from elsewhere; None is nobody.

    Then their times are of another clock, and their pods may have other names.
    """
    if source is None or status.samples is None:
        return False
    return source is not (status.samples.source or Source.PROMETHEUS)


def newest_counted(status: Status, source: Source) -> float | None:
    """Return the time of the newest sample of this source that was ever counted, in unix
    seconds.
    """
    if is_another_source(status, source):
        return None
    return max(status.evidence.scraped.values(), default=None)


def _of_source(status: Status, source: Source | None) -> Status:
    """Return the status with evidence to which samples of this source can be added."""
    if not is_another_source(status, source):
        return status
    return status.but(evidence=status.evidence.read_anew())


def time_at_weight(judged: CanaryStatus, now: datetime) -> timedelta:
    """Return how long the present weight has been in effect."""
    # The sum of passes too, for a clock that was set back says that nothing was waited for.
    by_clock = now - (judged.step_since or now)
    return max(by_clock, timedelta(seconds=judged.step_seconds))


def _told_apart(look: _Look) -> Evidence:
    """Return the evidence that knows which samples are of another weight,
    and when an arm had no pod.
    """
    evidence = look.status.evidence
    if is_of_another_time(evidence, look.sight):
        evidence = evidence.read_anew()
    if unready_arms(look.pods, look.arms):
        evidence = evidence.but(uneven=True)
    return with_horizon(evidence, look.sight)


def _settled(
    look: _Look,
    evidence: Evidence,
    strengths: Mapping[str, Strength],
    gates: Mapping[str, GateStatus],
) -> Settled:
    """Return the verdict of all gates together, after probes have answered for silent users."""
    doubtful = _doubtful(look, strengths) if look.spec.analysis.probe else frozenset[str]()
    users = _canary_total(evidence.step, ERRORS.key)
    return settle(look.spec, gates, doubtful=doubtful, users=users)


def _doubtful(look: _Look, strengths: Mapping[str, Strength]) -> frozenset[str]:
    """Return the gates of which users' requests speak against going on."""
    return frozenset(
        name
        for name, strength in strengths.items()
        if strength.frozen or _progress(strength.rollback_log, look.rollback_bar) >= DOUBT
    )


def _look_in(look: _Look, evidence: Evidence) -> timedelta | None:
    """Look more often while a step is young:
    what is wrong from the start should be found at once.
    """
    if not evidence.started:
        return min(LOOK_OFTEN, max(SECOND_LOOK_IN, look.waited))
    return LOOK_OFTEN if look.waited < YOUNG_INTERVALS * _between_scrapes(look, evidence) else None


def _samples(look: _Look, evidence: Evidence, source: Source | None) -> Samples:
    sight, known = look.sight, look.status.samples
    return Samples(
        source=source or (known and known.source),
        oldest=_moment(sight.oldest),
        newest=_moment(sight.newest),
        scrape_seconds=evidence.scrape_seconds,
        canary_pods=len(sight.canary.judged),
        stable_pods=len(sight.stable.judged),
        left_out=(*sight.canary.left_out, *sight.stable.left_out)[:MAX_NAMED],
        resets=(evidence.resets[0], evidence.resets[1]) if evidence.resets else (0, 0),
    )


def _moment(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(round(at), UTC)


def _as_asked(
    look: _Look, evidence: Evidence, gate_tests: Sequence[GateTest]
) -> tuple[GateTest, ...]:
    """Return the tests as they are at this look: some do not count yet, and some have no answer."""
    gates = {gate.name: gate for gate in look.gates}
    asked = []
    for gate_test in gate_tests:
        why = _not_yet(look, evidence, gate_test)
        trouble = _trouble(look, gates[gate_test.name], evidence)
        waiting = gate_test.waiting_for(why) if why else gate_test
        asked.append(waiting.but(trouble=trouble) if trouble else waiting)
    return tuple(asked)


def _not_yet(look: _Look, evidence: Evidence, gate_test: GateTest) -> str | None:
    """Say why tests do not count yet, or return None: latency is left out until the step's pods are
    warm, because they are slower while they are new; and a gateway's counts while others come past
    it.
    """
    if past := _past(look, evidence, gate_test.reads.source):
        return (
            f"gate {gate_test.name}: the servers of {' and '.join(past)} answer more than the "
            "gateway sends them, so what is lost cannot be told; let callers come by the gateway"
        )
    if look.waited >= gate_test.warm_up:
        return None
    what = next((test.metric for test in gate_test.reads.indicators if test.metric), "latency")
    return f"{what} counts in {format_duration(gate_test.warm_up - look.waited)}, from warm pods"


def _past(look: _Look, evidence: Evidence, source: str) -> list[str]:
    """Return the arms whose servers answer more than a gateway sends them: none, unless a gate's
    own queries count both.
    """
    if source in (PREDICTOR, PROBE):
        return []
    arms = {"canary": look.canary, "stable": look.stable}
    pending = evidence.pending
    return [name for name, arm in arms.items() if come_past(pending.get(arm, {}), source)]


def _own_gates(spec: ReleaseSpec) -> bool:
    return any(kind_of(gate).own_queries for gate in spec.analysis.gates)


def _bounds_read(gates: Sequence[Gate], evidence: Evidence) -> frozenset[str] | None:
    """Return the buckets that this release reads;
    None while a gate must still choose from all of them.
    """
    chosen = [evidence.bounds.get(gate.name, ()) for gate in gates if kind_of(gate).cuts_histograms]
    if not all(chosen):
        return None
    bounds = {INFINITY}
    for text in chain.from_iterable(chosen):
        bounds.update(pair_of(text).bounds)
    return frozenset(bounds)


def _usable(
    metrics: Metrics, arms: tuple[str, str], bounds: frozenset[str] | None
) -> tuple[Newest, NotMeasured | None]:
    """Return the predictor's counters by process, or why this look at them is not used."""
    if isinstance(metrics, MetricsUnavailable):
        return NOTHING, _unavailable(metrics.message)
    newest_samples = newest(metrics, arms, bounds)
    if trouble := nonsense(newest_samples):
        return NOTHING, _unavailable(trouble)
    return newest_samples, None


def _unseen(sight: Sight) -> NotMeasured | None:
    """Say that one arm is not shown at all, or return None."""
    if sight.both or not (sight.canary.missing or sight.stable.missing):
        return None
    return NotMeasured(verdict=Verdict.INSUFFICIENT, message=_missing(sight.canary, sight.stable))


def _missing(*arms: Arm) -> str:
    """Say which ready pods are not shown."""
    absent = sorted(chain.from_iterable(arm.left_out for arm in arms))
    ready = sum(arm.ready for arm in arms)
    return f"waiting for the metrics of {len(absent)} of {ready} ready pods ({absent[0]})"


def _trouble(look: _Look, gate: Gate, evidence: Evidence) -> NotMeasured | None:
    """Say why a gate cannot be asked at this look, or return None:
    its counts and evidence stay as they are.
    """
    kind = kind_of(gate)
    if kind.own_queries:
        trouble = _own_trouble(look, gate)
        return _unheld(look, gate) if trouble is None and kind.beside_servers else trouble
    if look.trouble or not kind.cuts_histograms:
        return look.trouble
    return _uncut(look, gate, evidence)


def _own_trouble(look: _Look, gate: Gate) -> NotMeasured | None:
    """Say why a gate's own queries cannot be used at this look, or return None."""
    answer = look.answers.get(gate.name, NOT_QUERIED)
    if not isinstance(answer, tuple):
        return _of_gate(gate.name, answer if isinstance(answer, NotMeasured) else NOT_QUERIED)
    missing = _uncounted(look.pods, answer, look.arms)
    if missing is None:
        return None
    return _of_gate(gate.name, NotMeasured(verdict=Verdict.INSUFFICIENT, message=missing))


def _unheld(look: _Look, gate: Gate) -> NotMeasured | None:
    """Say that a gateway's counts have no server's to be held against, or return None: what a pod
    of the canary fails itself would be lost while Prometheus does not show it.
    """
    if look.trouble:
        return look.trouble
    left_out = look.sight.canary.left_out
    if left_out:
        message = _missing(look.sight.canary)
    elif look.sight.both:
        return None
    else:
        message = "Prometheus shows no server of one of the arms yet"
    return _of_gate(gate.name, NotMeasured(verdict=Verdict.INSUFFICIENT, message=message))


def _uncut(look: _Look, gate: Gate, evidence: Evidence) -> NotMeasured | None:
    """Say why latencies do not compare at this look, or return None."""
    metric = kind_of(gate).metric(gate.settings)
    shown = look.newest_samples.shapes(probe=is_of_probes(gate.name), metric=metric)
    if not shown:
        return _unshown(gate, metric) if metric and look.sight.both else None
    pairs = evidence.bounds.get(gate.name, [])
    what = metric or "latency"
    why = why_not_cut(shown, pairs, canary=look.canary, stable=look.stable, what=what)
    if why is None:
        return None
    passes, message = why
    return NotMeasured(
        verdict=Verdict.INSUFFICIENT if passes else Verdict.UNAVAILABLE, message=message
    )


def _unshown(gate: Gate, metric: str) -> NotMeasured:
    """Say that no server shows a histogram: before the first answer, or where it has none."""
    message = (
        f"gate {gate.name}: no server shows a histogram of {metric} yet; if answers come and this "
        f"stays, its version has none, or serving.runtime.metrics.{metric} names another"
    )
    return NotMeasured(verdict=Verdict.INSUFFICIENT, message=message)


def _uncounted(
    pods: Mapping[str, Collection[str]], answer: Sequence[CounterSample], arms: tuple[str, str]
) -> str | None:
    """Say which ready pods a gate's own query does not count,
    if it is more than a few of an arm.
    """
    ready = {revision: frozenset(pods.get(revision, ())) for revision in arms}
    counted = {revision: set[str]() for revision in arms}
    for sample in answer:
        if not (sample.bad or sample.by_server) and sample.revision in counted:
            counted[sample.revision].add(sample.pod)
    absent = {revision: ready[revision] - counted[revision] for revision in arms}
    share = {arms[0]: MAY_MISS, arms[1]: STABLE_MAY_MISS}
    if not any(len(absent[revision]) > share[revision] * len(ready[revision]) for revision in arms):
        return None
    if not any(counted[revision] & ready[revision] for revision in arms):
        # Its pods are named by another label, such as the address.
        return None
    names = sorted(chain.from_iterable(absent.values()))
    of = sum(len(pods_of_arm) for pods_of_arm in ready.values())
    return f"waiting for the metrics of {len(names)} of {of} ready pods ({names[0]})"


def _of_gate(name: str, trouble: NotMeasured) -> NotMeasured:
    message = f"gate {name}: {trouble.message}"
    if trouble.verdict is Verdict.UNAVAILABLE:
        message = f"gate {name} could not be measured, so nothing moves: {trouble.message}"
    return replace(trouble, message=message)


def _advance(
    look: _Look, evidence: Evidence, gate_tests: Sequence[GateTest]
) -> tuple[Counted, tuple[GateTest, ...]]:
    """Count what is new, and let the tests see each interval that closed."""
    buckets = frozenset[str]().union(*(gate_test.reads.buckets for gate_test in gate_tests))
    moment = Moment(
        canary=look.canary, stable=look.stable, buckets=buckets, waited=look.waited, now=look.now
    )
    newest_samples = NOTHING if look.trouble else look.newest_samples
    counted = count(evidence, newest_samples, look.sight, _own_answers(look, gate_tests), moment)
    evidence = counted.evidence
    left_out = frozenset(evidence.recut)
    tested = _tested(look, gate_tests, counted, left_out)
    increments = _increments(look, gate_tests, counted, left_out)
    release, step = (_added(known, increments) for known in (evidence.release, evidence.step))
    processes: dict[str, list[float | None]] = {}
    for gate_test in tested:
        processes |= gate_test.to_state()
    ended = {*counted.closed, *counted.left_out}
    whole = {gate_test.name for gate_test in gate_tests if gate_test.reads.source in ended}
    recut = [name for name in evidence.recut if name not in whole]
    update = {"release": release, "step": step, "processes": processes, "recut": recut}
    return counted.but(evidence=evidence.but(**update)), tested


def _users(look: _Look, counted: Counted) -> CountedUsers:
    return CountedUsers(
        canary=look.canary,
        stable=look.stable,
        closed=counted.closed.get(PREDICTOR),
        cut=PREDICTOR in counted.left_out,
        all_seen=look.sight.canary.all_seen and look.sight.stable.all_seen,
    )


def _tested(
    look: _Look, gate_tests: Sequence[GateTest], counted: Counted, left_out: frozenset[str]
) -> tuple[GateTest, ...]:
    """Return the gates' tests after this look: they see an interval when it closes, and whole."""
    closed = {
        source: _intervals(look, _indicators(gate_tests, source), increments)
        for source, increments in counted.closed.items()
    }
    tested = []
    for gate_test in gate_tests:
        out = gate_test.unready or gate_test.name in left_out or gate_test.trouble
        if gate_test.reads.source in counted.left_out:
            before = _intervals(look, gate_test.reads.indicators, counted.before)
            tested.append(gate_test.without_an_interval().preceded_by(before))
        elif gate_test.reads.source not in closed:
            tested.append(gate_test)
        elif out:
            tested.append(gate_test.without_an_interval())
        else:
            intervals = closed[gate_test.reads.source]
            tested.append(gate_test.update(intervals, stable_is_later=look.sight.stable_is_later))
    return tuple(tested)


def _indicators(gate_tests: Iterable[GateTest], source: str | None = None) -> Collection[Indicator]:
    """Return what gates read, of one source or of all; two gates may read one indicator."""
    chosen = [
        gate_test for gate_test in gate_tests if source is None or gate_test.reads.source == source
    ]
    indicators = chain.from_iterable(gate_test.reads.indicators for gate_test in chosen)
    return {indicator.key: indicator for indicator in indicators}.values()


def _intervals(
    look: _Look, indicators: Iterable[Indicator], counted: Increments
) -> dict[str, Interval]:
    """Return what was counted of each indicator, as the tests see it."""
    return {
        indicator.key: indicator.interval(counted, canary=look.canary, stable=look.stable)
        for indicator in indicators
    }


def _increments(
    look: _Look, gate_tests: Sequence[GateTest], counted: Counted, left_out: frozenset[str]
) -> dict[str, Interval]:
    """Return what every indicator that is read grew by at this look."""
    arms = {"canary": look.canary, "stable": look.stable}
    increments: dict[str, Interval] = {}
    if look.spec.analysis.probe and look.sight.shown:
        # Whatever the gates ask: how many users there are, and how many probes found no answer at
        # all.
        refused = refused_probes(counted.increments, **arms)
        increments = {ERRORS.key: ERRORS.interval(counted.increments, **arms), REFUSED: refused}
    measured = [
        gate_test
        for gate_test in gate_tests
        if not (gate_test.unready or gate_test.trouble or gate_test.name in left_out)
    ]
    return increments | _intervals(look, _indicators(measured), counted.increments)


def _own_answers(
    look: _Look, gate_tests: Sequence[GateTest]
) -> Iterator[tuple[Indicator, tuple[CounterSample, ...] | None]]:
    """Yield every indicator of a gate's own queries with what they gave;
    None where they could not be asked.
    """
    for gate_test in gate_tests:
        answer = look.answers.get(gate_test.name)
        usable = answer if isinstance(answer, tuple) and not gate_test.trouble else None
        yield from (
            (indicator, usable) for indicator in gate_test.reads.indicators if indicator.own
        )


def _thresholds(look: _Look, evidence: Evidence) -> tuple[Evidence, list[GateStatus]]:
    """Ask every gate that holds a number within limits."""
    held = [gate for gate in look.spec.analysis.gates if not kind_of(gate).has_tests]
    if not (held or evidence.streaks):
        return evidence, []
    gates, streaks = [], {}
    interval = _between_scrapes(look, evidence)
    for gate in held:
        kind, answer = kind_of(gate), look.answers.get(gate.name, NOT_QUERIED)
        key = kind.streak_key(gate.name, gate.settings)
        if key is None:
            continue
        streak = evidence.streaks.get(key, Streak())
        if looked := kind.look_at(gate, gate.settings, answer, streak, look.now, interval):
            status, streaks[key] = looked
            gates.append(status)
    if streaks != evidence.streaks:
        evidence = evidence.but(streaks=streaks)
    return evidence, gates


def _between_scrapes(look: _Look, evidence: Evidence) -> timedelta:
    """Return how far apart two looks must be to see two scrapes."""
    return max(look.spec.analysis.period, timedelta(seconds=evidence.scrape_seconds or 0.0))


def _added(known: Mapping[str, list[int]], counted: Mapping[str, Interval]) -> dict[str, list[int]]:
    total = dict(known)
    for key, interval in counted.items():
        total[key] = _add(known.get(key), interval)
    return total


def _add(before: Sequence[int] | None, interval: Interval) -> list[int]:
    canary, stable = interval.canary, interval.stable
    new = (canary.total, canary.bad, stable.total, stable.bad)
    return list(map(add, before or NONE, new))


def _verdicts(
    look: _Look,
    evidence: Evidence,
    gate_tests: Sequence[GateTest],
    strengths: Mapping[str, Strength],
) -> tuple[GateStatus, ...]:
    """Return each gate's verdict; when the gates together convict the canary, the strongest fails.

    A gate that was not asked keeps its weight and its evidence, but only one that was asked
    convicts. A dry run is held against the bound alone, as if it were the only gate.
    """
    failed = _failed(look, gate_tests, strengths)
    verdicts = []
    for gate_test in gate_tests:
        name, trouble = gate_test.name, gate_test.trouble
        if trouble:
            verdicts.append(_kept(look.status, name, trouble, dry_run=gate_test.dry_run))
        else:
            strength = strengths[name]
            gate_look = _GateLook(
                gate_test=gate_test,
                strength=strength,
                released=_arms(evidence.release, strength.indicator.key),
                step_total=_canary_total(evidence.step, strength.indicator.key),
                refused=_refused(evidence, gate_test),
            )
            verdicts.append(_gate(look, gate_look, failed=name in failed))
    return tuple(verdicts)


def _failed(
    look: _Look, gate_tests: Sequence[GateTest], strengths: Mapping[str, Strength]
) -> set[str]:
    """Return the gates that convict the canary: of those that decide, the strongest alone."""
    failed, together, measured = set(), [], {}
    for gate_test in gate_tests:
        name, log = gate_test.name, strengths[gate_test.name].rollback_log
        if not gate_test.dry_run:
            together.append(log)
            if not gate_test.trouble:
                measured[name] = log
        elif log >= look.rollback_bar:
            failed.add(name)
    if measured and _convicted(look, together) >= look.rollback_bar:
        failed.add(max(measured, key=measured.__getitem__))
    return failed


def _convicted(look: _Look, logs: Sequence[float]) -> float:
    """Return the logarithm of the evidence of all gates together,
    with what pairs in the shadow have said.
    """
    shadow = look.judged.shadow
    weight = WEIGHT if shadow else 0.0
    share = (1 - weight) / len(logs)
    weighted = [(share, log) for log in logs]
    return combine([*weighted, (weight, shadow.rollback_log)] if shadow else weighted)


@immutable
class _GateLook:
    """A gate that was asked at this look."""

    gate_test: GateTest
    strength: Strength
    released: tuple[ArmCounts, ArmCounts]
    """What was counted of the indicator to show since the canary began."""
    step_total: int
    """Requests of the canary of which it was counted in this step."""
    refused: str
    """Says that probes were refused, where some were."""


def _gate(look: _Look, gate_look: _GateLook, *, failed: bool) -> GateStatus:
    gate_test, strength, least = (
        gate_look.gate_test,
        gate_look.strength,
        look.spec.analysis.min_requests,
    )
    released = gate_look.released
    enough = gate_look.step_total >= least
    proven = strength.promotion_log >= look.promotion_bar
    if failed:
        verdict = Verdict.FAIL
    elif proven and enough and not strength.frozen and _is_covered(look, gate_test):
        verdict = Verdict.PASS
    else:
        verdict = Verdict.INSUFFICIENT
    share = min(1.0, gate_look.step_total / least)
    promotion = min(share, _progress(strength.promotion_log, look.promotion_bar))
    interval, withheld = shown_interval(
        gate_test, strength.indicator, verdict, released[1].rate or 0.0
    )
    return GateStatus(
        name=gate_test.name,
        dry_run=gate_test.dry_run,
        verdict=verdict,
        canary_total=released[0].total,
        canary_bad=released[0].bad,
        canary_percent=_percent(released[0]),
        stable_total=released[1].total,
        stable_bad=released[1].bad,
        stable_percent=_percent(released[1]),
        bound=gate_test.bound,
        evidence_for_rollback=round(_progress(strength.rollback_log, look.rollback_bar), 3),
        evidence_for_promotion=round(promotion, 3),
        interval=interval,
        interval_withheld=withheld,
        message=_message(look, gate_look, verdict, promotion=promotion),
    )


def _is_covered(look: _Look, gate_test: GateTest) -> bool:
    """Return whether what was counted speaks for all of the canary's pods but a few."""
    return gate_test.reads.source != PREDICTOR or look.sight.canary.may_go_on


def _message(look: _Look, gate_look: _GateLook, verdict: Verdict, *, promotion: float) -> str:
    gate_test, strength, step_total = gate_look.gate_test, gate_look.strength, gate_look.step_total
    if gate_test.unready:
        return gate_test.unready
    version, released = look.judged.version, gate_look.released
    facts = messages.facts(version, gate_test.bad, strength.indicator, released)
    facts = f"{facts}{gate_look.refused}"
    analysis = look.spec.analysis
    if verdict is Verdict.FAIL:
        sure = 100 * (1 - analysis.false_rollback_probability)
        return f"{facts}: worse than {strength.line}, with {sure:g} % confidence"
    if strength.frozen:
        return f"{facts}: stable itself breaks the limit, so nobody is blamed and nothing moves"
    if verdict is Verdict.PASS:
        sure = 100 * (1 - analysis.false_promotion_probability)
        return f"{facts}: within the margin with {sure:g} % confidence"
    if not _is_covered(look, gate_test) and look.sight.canary.left_out:
        return f"{facts}; {_missing(look.sight.canary)}"
    if is_of_probes(gate_test.name) and not step_total:
        return (
            f"no probe was counted at this weight yet{gate_look.refused}; prober: label "
            f"{names.LABEL_PROBER}"
        )
    if step_total < analysis.min_requests:
        what = "probes of the canary" if is_of_probes(gate_test.name) else "canary requests"
        return f"{facts}: {step_total} of the {analysis.min_requests} {what} needed"
    if not gate_test.ready:
        return f"{facts}: stable has answered too little to compare with"
    return f"{facts}: {100 * promotion:.0f} % of the evidence needed to go on"


def _refused(evidence: Evidence, gate_test: GateTest) -> str:
    """Say that probes found no answer because they do not fit, where there are such."""
    if not is_of_probes(gate_test.name):
        return ""
    canary, stable = _arms(evidence.release, REFUSED)
    if not canary.bad + stable.bad:
        return ""
    return f" ({canary.bad:,} and {stable.bad:,} more were refused with 4xx, and say nothing)"


def _arms(counts: Mapping[str, list[int]], key: str) -> tuple[ArmCounts, ArmCounts]:
    canary_total, canary_bad, stable_total, stable_bad = counts.get(key, NONE)
    canary = ArmCounts(total=canary_total, bad=canary_bad)
    return canary, ArmCounts(total=stable_total, bad=stable_bad)


def _canary_total(counts: Mapping[str, list[int]], key: str) -> int:
    return counts.get(key, NONE)[0]


def _progress(log_value: float, bar: float) -> float:
    """Return how much of the evidence that is needed is there, in [0, 1]."""
    share = log_value / bar
    if share >= 1:
        return 1.0
    return share if share > 0 else 0.0


def _percent(counts: ArmCounts) -> float | None:
    rate = counts.rate
    return None if rate is None else round(100 * rate, 4)


def _effective_weight(evidence: Evidence) -> float | None:
    """Return the canary's counted share of this step's requests, in percent."""
    # Every indicator of the predictor counts the same requests; a gate's own may count anything.
    users = [key for key in evidence.step if not key.startswith(PROBE)]
    key = min(users, key=lambda key: (key != ERRORS.key, key.startswith(OWN)), default="")
    canary, _, stable, _ = evidence.step.get(key, NONE)
    return round(100 * canary / (canary + stable), 1) if canary + stable else None


def _unavailable(why: str) -> NotMeasured:
    message = f"metrics are unavailable, so nothing moves: {why}"
    return NotMeasured(verdict=Verdict.UNAVAILABLE, message=message)


def _kept(status: Status, name: str, why: NotMeasured, *, dry_run: bool) -> GateStatus:
    """Return a gate with the figures of its last look:
    what was not measured says nothing, for or against.
    """
    known = next((gate for gate in status.gates if gate.name == name), None)
    fresh = known or GateStatus(name=name, verdict=why.verdict, message=why.message)
    return fresh.but(dry_run=dry_run, verdict=why.verdict, message=why.message)


def _held(spec: ReleaseSpec, status: Status, why: NotMeasured) -> Judgement:
    """Keep every count and all evidence."""
    return Judgement(
        evidence=status.evidence,
        gates=tuple(_kept(status, gate.name, why, dry_run=gate.dry_run) for gate in gates_of(spec)),
        verdict=why.verdict,
        message=why.message,
        effective_weight=status.canary.effective_weight if status.canary else None,
        sighted=False,
    )
