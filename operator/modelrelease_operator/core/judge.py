"""The gates: questions asked of the evidence at one look.

Rollback: every gate's test that the canary is *worse than tolerated* brings an e-value; their mean
is held against 1/alpha, so alpha holds for the whole release, all gates and all looks together.
Promotion: every gate must by itself have shown that the canary is *within its margin*, at the
present weight (intersection-union: no correction is needed). Sections A2 and A4 of
docs/explanation/decisions.md.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Evidence, GateStatus, Status, Verdict
from modelrelease_operator.core import sentences
from modelrelease_operator.core.evidence import ArmCounts, Interval, combine
from modelrelease_operator.core.questions import Question, questions_of
from modelrelease_operator.core.restarts import with_due_copies
from modelrelease_operator.core.state import Counter, Metrics, MetricsUnavailable
from modelrelease_operator.core.streams import ERRORS, count, growth_of, newest, nonsense

ORDER = (Verdict.FAIL, Verdict.UNAVAILABLE, Verdict.INSUFFICIENT, Verdict.PASS)
"""Worst first: a release's verdict is the worst of its gates'."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a look found."""

    evidence: Evidence
    gates: tuple[GateStatus, ...]
    verdict: Verdict
    message: str
    effective_weight: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What the helpers below share."""

    spec: ReleaseSpec
    status: Status
    canary: str
    stable: str


def judge(
    *,
    spec: ReleaseSpec,
    status: Status,
    metrics: Metrics,
    next_weight: int,
    now: datetime,
    pods: frozenset[str] = frozenset(),
) -> Judgement:
    """Add the newest counts to the evidence and ask every gate.

    `pods` are the ready pods of both arms: a look in which one is missing is not used, because what
    one arm did would be held against what only part of the other did.

    `next_weight` is what the canary would get next (percent, 100 for promotion): the higher it is,
    the smaller the excess that may go unseen.
    """
    if isinstance(metrics, MetricsUnavailable):
        return _unavailable(spec, status, metrics.message)
    if status.canary is None or status.stable is None:
        msg = "there is nothing to judge without a canary and a stable revision"
        raise ValueError(msg)
    arms = (status.canary.revision, status.stable.revision)
    mine = newest(counter for counter in metrics if counter.revision in arms)
    if trouble := nonsense(mine):
        return _unavailable(spec, status, trouble)
    if trouble := _missing(pods, mine):
        return _held(spec, status, Verdict.INSUFFICIENT, trouble)
    evidence = with_due_copies(status.evidence, spec.canary, status.canary, now)
    evidence, questions = questions_of(spec, evidence, mine, status.stable.revision, next_weight)
    look = _Look(spec=spec, status=status, canary=arms[0], stable=arms[1])
    evidence, questions = _advance(look, evidence, questions, mine)
    gates = _verdicts(look, evidence, questions)
    worst = min(gates, key=lambda gate: ORDER.index(gate.verdict))
    return Judgement(
        evidence=evidence,
        gates=gates,
        verdict=worst.verdict,
        message=worst.message,
        effective_weight=_effective_weight(evidence),
    )


def _advance(
    look: _Look, evidence: Evidence, questions: Sequence[Question], counters: Sequence[Counter]
) -> tuple[Evidence, tuple[Question, ...]]:
    """Count what is new since the last look and let every test see it once."""
    bounds = frozenset(bound for question in questions for bound in question.bounds)
    state, deltas = count(evidence.counters, counters, bounds, started=evidence.started)
    growth = growth_of(deltas)
    release, step = dict(evidence.release), dict(evidence.step)
    updated = []
    for question in questions:
        intervals: dict[str, Interval] = {}
        for stream in question.streams:
            interval = stream.interval(growth, canary=look.canary, stable=look.stable)
            intervals[stream.key] = interval
        updated.append(question.update(intervals))
        release.update({key: _add(release.get(key), interval) for key, interval in intervals.items()})
        step.update({key: _add(step.get(key), interval) for key, interval in intervals.items()})
    processes = {key: value for question in updated for key, value in question.to_state().items()}
    return (
        evidence.model_copy(
            update={
                "counters": state,
                "started": True,
                "release": release,
                "step": step,
                "processes": processes,
            }
        ),
        tuple(updated),
    )


def _missing(pods: frozenset[str], counters: Sequence[Counter]) -> str | None:
    """Say which ready pods Prometheus does not know; None where it names no pods at all."""
    scraped = {counter.pod for counter in counters}
    absent = sorted(pods - scraped)
    if not absent or (scraped and not scraped & pods):
        return None
    return f"waiting for Prometheus to scrape {len(absent)} of {len(pods)} ready pods ({absent[0]})"


def _add(before: Sequence[int] | None, interval: Interval) -> list[int]:
    new = (interval.canary.total, interval.canary.bad, interval.stable.total, interval.stable.bad)
    return [old + grown for old, grown in zip(before or (0, 0, 0, 0), new, strict=True)]


def _verdicts(look: _Look, evidence: Evidence, questions: Sequence[Question]) -> tuple[GateStatus, ...]:
    """Return each gate's verdict; when the gates together convict the canary, the strongest fails."""
    analysis = look.spec.analysis
    convicted = combine([(1 / len(questions), question.rollback_log) for question in questions])
    strongest = max(questions, key=lambda question: question.rollback_log)
    failed = strongest if convicted >= -math.log(analysis.false_rollback_probability) else None
    return tuple(_gate(look, evidence, question, failed=question is failed) for question in questions)


def _gate(look: _Look, evidence: Evidence, question: Question, *, failed: bool) -> GateStatus:
    analysis = look.spec.analysis
    stream = question.telling_stream.key
    released = _arms(evidence.release, stream)
    stepped = _arms(evidence.step, stream)
    enough = stepped[0].total >= analysis.min_requests
    proven = question.promotion_log >= -math.log(analysis.false_promotion_probability)
    if failed:
        verdict = Verdict.FAIL
    elif proven and enough and not question.frozen:
        verdict = Verdict.PASS
    else:
        verdict = Verdict.INSUFFICIENT
    share = min(1.0, stepped[0].total / analysis.min_requests)
    promotion = min(share, _progress(question.promotion_log, analysis.false_promotion_probability))
    return GateStatus(
        name=question.name,
        verdict=verdict,
        canary_total=released[0].total,
        canary_bad=released[0].bad,
        stable_total=released[1].total,
        stable_bad=released[1].bad,
        evidence_for_rollback=round(_progress(question.rollback_log, analysis.false_rollback_probability), 3),
        evidence_for_promotion=round(promotion, 3),
        message=_message(look, question, verdict, released, stepped, promotion),
    )


def _message(
    look: _Look, question: Question, verdict: Verdict, released: tuple[ArmCounts, ArmCounts],
    stepped: tuple[ArmCounts, ArmCounts], promotion: float,
) -> str:  # fmt: skip
    if question.unready:
        return question.unready
    version = look.status.canary.version if look.status.canary else "?"
    facts = sentences.facts(version, question.bad, question.telling_stream, released)
    analysis = look.spec.analysis
    if verdict is Verdict.FAIL:
        sure = 100 * (1 - analysis.false_rollback_probability)
        return f"{facts}: worse than {question.telling_line}, with {sure:g} % confidence"
    if question.frozen:
        return f"{facts}: stable itself breaks the limit, so nobody is blamed and nothing moves"
    if verdict is Verdict.PASS:
        sure = 100 * (1 - analysis.false_promotion_probability)
        return f"{facts}: within the margin with {sure:g} % confidence"
    if stepped[0].total < analysis.min_requests:
        return f"{facts}: {stepped[0].total} of the {analysis.min_requests} canary requests needed"
    if not question.ready:
        return f"{facts}: stable has answered too little to compare with"
    return f"{facts}: {100 * promotion:.0f} % of the evidence needed to go on"


def _arms(counts: Mapping[str, list[int]], key: str) -> tuple[ArmCounts, ArmCounts]:
    canary_total, canary_bad, stable_total, stable_bad = counts.get(key, (0, 0, 0, 0))
    return ArmCounts(total=canary_total, bad=canary_bad), ArmCounts(total=stable_total, bad=stable_bad)


def _progress(log_value: float, probability: float) -> float:
    return min(1.0, max(0.0, log_value / -math.log(probability)))


def _effective_weight(evidence: Evidence) -> float | None:
    """Return the canary's counted share of this step's requests, in percent."""
    # Every stream counts the same requests; without a gate on errors there is only another.
    stream = ERRORS.key if ERRORS.key in evidence.step else next(iter(evidence.step), ERRORS.key)
    canary, stable = _arms(evidence.step, stream)
    total = canary.total + stable.total
    return round(100 * canary.total / total, 1) if total else None


def _unavailable(spec: ReleaseSpec, status: Status, why: str) -> Judgement:
    return _held(spec, status, Verdict.UNAVAILABLE, f"metrics are unavailable, so nothing moves: {why}")


def _held(spec: ReleaseSpec, status: Status, verdict: Verdict, message: str) -> Judgement:
    """Keep every count and every e-value: what was not measured says nothing, for or against."""
    known = {gate.name: gate for gate in status.gates}
    gates = tuple(
        known.get(gate.name, GateStatus(name=gate.name, verdict=verdict, message=message)).model_copy(
            update={"verdict": verdict, "message": message}
        )
        for gate in spec.analysis.gates
    )
    return Judgement(
        evidence=status.evidence,
        gates=gates,
        verdict=verdict,
        message=message,
        effective_weight=status.canary.effective_weight if status.canary else None,
    )
