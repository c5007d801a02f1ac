"""What a look at both arms finds, and how much time counts by it."""

from dataclasses import replace
from datetime import timedelta

from modelrelease_operator.api.status import Reason, Verdict
from modelrelease_operator.core.analysis import crashes as crash_gate
from modelrelease_operator.core.analysis.judge import Judgement, judge
from modelrelease_operator.core.measurement.samples import blind_limit, few_scrapes
from modelrelease_operator.core.observed import MetricsUnavailable, NotDue
from modelrelease_operator.core.release.commands import unfit
from modelrelease_operator.core.release.elapsed import span
from modelrelease_operator.core.scope import Scope
from modelrelease_operator.core.steps import bake_of, next_weight

LONG_READY = 600.0
"""Seconds with all pods ready after which it is forgotten that they were not."""
NOT_ASKED = MetricsUnavailable(message="not asked")


def ticked(scope: Scope) -> Scope:
    """Return the scope with this pass remembered, and the seconds since the last one that count."""
    canary = scope.canary
    passed = span(scope.spec, canary.clock_at or canary.asked_since or canary.since, scope.now)
    return replace(scope.with_canary(clock_at=scope.now), passed=passed)


def judged(scope: Scope) -> Judgement:
    """Have the evidence of both arms judged, at a look that is due."""
    observed = scope.observed
    judgement = judge(
        spec=scope.spec,
        status=scope.status,
        metrics=NOT_ASKED if isinstance(observed.metrics, NotDue) else observed.metrics,
        answers=observed.answers,
        next_weight=next_weight(scope.spec, scope.canary.step),
        now=scope.now,
        pods={revision: workload.ready_names for revision, workload in observed.workloads.items()},
    )
    if observed.hint is None:
        return judgement
    return replace(judgement, message=f"{judgement.message}: {observed.hint}")


def with_judgement(scope: Scope, judgement: Judgement) -> Scope:
    """Remember a look: what it found, and how much time counts by it."""
    canary, status = scope.canary, scope.status
    period = scope.spec.analysis.period
    unjudged = canary.unjudged_seconds
    if _decidable(scope, judgement):
        unjudged += scope.passed
    sighted = judgement.sighted
    judged_canary = canary.but(
        effective_weight=None if canary.unseen else judgement.effective_weight,
        next_look=scope.now + min(period, judgement.look_in or period),
        judged_seconds=canary.judged_seconds + (unjudged if sighted else 0.0),
        unjudged_seconds=0.0 if sighted else unjudged,
        blind_since=None if sighted else canary.blind_since or scope.now,
        blind_seconds=0.0 if sighted else canary.blind_seconds + scope.passed,
        visible_seconds=canary.visible_seconds + scope.passed
        if _is_visible(scope, judgement)
        else 0.0,
    )
    return scope.with_status(
        canary=judged_canary,
        evidence=judgement.evidence,
        gates=judgement.gates,
        samples=judgement.samples or status.samples,
        verdict=_verdict(scope, judgement),
    )


def _decidable(scope: Scope, judgement: Judgement) -> bool:
    """Return whether a verdict was possible in the time since the last pass, and none was there."""
    canary = scope.canary
    if scope.spec.paused or canary.unseen or canary.alone or canary.step_since is None:
        return False
    if canary.question not in (None, Reason.DRIFTED) or unfit(scope.status, scope.observed):
        return False
    bake = bake_of(scope.spec, canary.step).total_seconds()
    return judgement.verdict is not Verdict.PASS or canary.step_seconds >= bake


def _verdict(scope: Scope, judgement: Judgement) -> Verdict:
    """Return the verdict. What was passed is not asked again while a person is awaited."""
    awaited = scope.canary.question is Reason.WAITING_FOR_APPROVAL
    passed = scope.status.verdict is Verdict.PASS
    if awaited and passed and judgement.verdict is Verdict.INSUFFICIENT:
        return Verdict.PASS
    return judgement.verdict


def _is_visible(scope: Scope, judgement: Judgement) -> bool:
    """Return whether a canary out of the Service can be seen by now:
    at this look, or between two scrapes.
    """
    canary = scope.canary
    if not canary.unseen or judgement.verdict is Verdict.UNAVAILABLE:
        return False
    shown_lately = canary.blind_seconds <= few_scrapes(judgement.evidence)
    return judgement.sighted or (canary.visible_seconds > 0 and shown_lately)


def without_look(scope: Scope) -> Scope:
    """Keep the time since the last look for the next one to count."""
    canary, passed = scope.canary, scope.passed
    return scope.with_canary(
        unjudged_seconds=canary.unjudged_seconds + passed,
        blind_seconds=canary.blind_seconds + passed if canary.blind_since else 0.0,
        visible_seconds=canary.visible_seconds + passed if canary.visible_seconds else 0.0,
    )


def until_next_look(scope: Scope) -> timedelta:
    """Return the time that is left: whoever wakes a pass, a look comes when it is due."""
    left = (scope.canary.next_look or scope.now) - scope.now
    return max(timedelta(0), min(left, scope.spec.analysis.period))


def proven_worse(scope: Scope, judgement: Judgement) -> str | None:
    """Return what is proven against the canary, or None."""
    return judgement.message if judgement.verdict is Verdict.FAIL else proven_by_crashes(scope)


def proven_by_crashes(scope: Scope) -> str | None:
    """Return what the ends of both arms' containers prove against the canary,
    or None; takes no look.
    """
    crashes = scope.status.crashes
    if not crash_gate.convicts(crashes, scope.spec):
        return None
    sure = 100 * (1 - crash_gate.SHARE * scope.spec.analysis.false_rollback_probability)
    counts = crash_gate.crash_figures(crashes, scope.canary.version)
    return f"{counts}: more often than stable's, with {sure:g} % confidence"


def too_blind(scope: Scope) -> bool:
    """Return whether the canary was not seen for longer than it may keep users."""
    limit = blind_limit(scope.spec.analysis.max_blind.span, scope.status.evidence)
    return scope.canary.blind_seconds > limit.total_seconds()


def with_crashes(scope: Scope) -> Scope:
    """Count the ends of containers of both arms since the last pass."""
    workloads = scope.observed.workloads
    arms = (workloads.get(scope.canary.revision), workloads.get(scope.stable.revision))
    return scope.with_status(crashes=crash_gate.counted(scope.status.crashes, *arms, scope.passed))


def with_blocked(scope: Scope, *, ready: bool) -> Scope:
    """Remember what the cluster lacks, and tell it once."""
    canary, workload = scope.canary, scope.canary_workload
    blocked = None if ready or workload is None else workload.blocked
    if blocked and canary.blocked is None:
        message = (
            f"canary {canary.version} waits for the cluster, which is not held against it: "
            f"{blocked}"
        )
        scope = scope.noticing(Reason.WAITING_FOR_CLUSTER, message, warning=True)
    return scope if blocked == canary.blocked else scope.with_canary(blocked=blocked)


def with_start(scope: Scope, *, ready: bool) -> Scope:
    """Count the time that the canary's pods take to start,
    unless the cluster lacks what they need.
    """
    scope = with_blocked(scope, ready=ready)
    if ready or scope.canary.blocked:
        return scope
    return scope.with_canary(starting_seconds=scope.canary.starting_seconds + scope.passed)


def with_readiness(scope: Scope, *, ready: bool) -> Scope:
    """Count the time in which not all of the canary's pods are ready, by its own fault."""
    canary = scope.canary
    unready = canary.unready_seconds
    well = canary.ready_seconds + scope.passed if ready else 0.0
    if not ready and canary.blocked is None:
        unready += scope.passed
    elif well >= LONG_READY:
        unready = 0.0
    return scope.with_canary(
        steps=len(scope.spec.canary.plan),
        unready_since=None if ready else canary.unready_since or scope.now,
        unready_seconds=unready,
        ready_seconds=well,
    )
