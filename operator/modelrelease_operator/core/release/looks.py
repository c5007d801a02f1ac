"""What a look at both arms finds, and how much time counts by it."""

from dataclasses import replace
from datetime import timedelta

from modelrelease_operator.api.prometheus import Source
from modelrelease_operator.api.status import CanaryStatus, Crashes, Phase, Reason, Verdict
from modelrelease_operator.core.analysis import crashes as crash_gate
from modelrelease_operator.core.analysis import sample_ratio
from modelrelease_operator.core.analysis.judge import (
    LOOK_OFTEN,
    SECOND_LOOK_IN,
    Judgement,
    is_another_source,
    judge,
    time_at_weight,
)
from modelrelease_operator.core.measurement.samples import blind_limit, few_scrapes
from modelrelease_operator.core.observed import MetricsUnavailable, NotDue
from modelrelease_operator.core.release.commands import unfit
from modelrelease_operator.core.release.elapsed import span
from modelrelease_operator.core.scope import Scope
from modelrelease_operator.core.steps import bake_of, next_weight

TO_BEGIN = timedelta(seconds=1)
"""Until the look at which counting can begin, where looks read the pods."""
LONG_READY = 600.0
"""Seconds with all pods ready after which it is forgotten that they were not."""
NOW_FROM = {
    Source.PODS: "metrics are read from the pods now",
    Source.PROMETHEUS: "metrics are read from Prometheus now",
}
NOT_ASKED = MetricsUnavailable(message="not asked")


def timed(scope: Scope) -> Scope:
    """Return the scope with the seconds since the last pass that count."""
    canary = scope.canary
    passed = span(scope.spec, canary.clock_at or canary.asked_since or canary.since, scope.now)
    return scope.but(passed=passed)


def ticked(scope: Scope) -> Scope:
    """Return the scope with this pass remembered, and the seconds since the last one that count."""
    return timed(scope).with_canary(clock_at=scope.now)


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
        source=observed.source,
    )
    judgement = _of_source(scope, _with_share(scope, judgement))
    if observed.hint is None:
        return judgement
    return replace(judgement, message=f"{judgement.message}: {observed.hint}")


def _of_source(scope: Scope, judgement: Judgement) -> Judgement:
    """Say in the message where the samples come from, where that has changed."""
    source = scope.observed.source
    if judgement.samples is None or source is None or not is_another_source(scope.status, source):
        return judgement
    message = f"{judgement.message}; {NOW_FROM[source]}, so counting begins anew at this weight"
    return replace(judgement, message=message)


def _with_share(scope: Scope, judgement: Judgement) -> Judgement:
    """Hold the canary's share of the requests against its weight, where a gateway deals them
    out.
    """
    users, known = judgement.users, judgement.evidence.share
    if not sample_ratio.is_checked(scope.spec):
        if known is None:
            return judgement
        forgotten = judgement.evidence.but(share=sample_ratio.unchecked(known))
        return replace(judgement, evidence=forgotten)
    if users is None or scope.canary.unseen:
        # What was proven stands, and what this look lacks is what it says.
        return replace(judgement, share=scope.canary.share)
    weight = _dealt(scope)
    known = sample_ratio.advanced(known, weight=weight, interval=users.interval, cut=users.cut)
    if known and weight and users.all_seen:
        known = sample_ratio.judged(known, dispersion=scope.spec.dispersion)
    judgement = replace(judgement, evidence=judgement.evidence.but(share=known))
    return judgement.beside(sample_ratio.status_of(known, scope.canary.version))


def _dealt(scope: Scope) -> int | None:
    """Return the weight that a gateway has dealt out for a while, in percent, or None."""
    observed, canary = scope.observed, scope.canary
    has_clients = scope.status.phase in (Phase.PROGRESSING, Phase.PAUSED)
    in_effect = canary.step_since is not None and observed.routed == scope.arms
    taken = observed.route_problem is None and observed.routed_weight == canary.requested_weight
    both_serve = scope.canary_serves and scope.stable_serves
    settled = time_at_weight(canary, scope.now) >= sample_ratio.SETTLED
    dealt = has_clients and in_effect and taken and both_serve and settled
    return canary.requested_weight if dealt else None


def with_judgement(scope: Scope, judgement: Judgement) -> Scope:
    """Remember a look: what it found, and how much time counts by it."""
    canary, status = scope.canary, scope.status
    unjudged = canary.unjudged_seconds
    if _decidable(scope, judgement):
        unjudged += scope.passed
    sighted = judgement.sighted
    if judgement.mismatched and not (canary.share and canary.share.mismatch):
        message = judgement.share.message if judgement.share else ""
        scope = scope.noticing(Reason.SHARE_MISMATCH, message, warning=True)
    judged_canary = canary.but(
        effective_weight=None if canary.unseen else judgement.effective_weight,
        next_look=scope.now + _next_look_in(scope, judgement),
        judged_seconds=canary.judged_seconds + (unjudged if sighted else 0.0),
        unjudged_seconds=0.0 if sighted else unjudged,
        blind_since=None if sighted else canary.blind_since or scope.now,
        blind_seconds=0.0 if sighted else canary.blind_seconds + scope.passed,
        visible_seconds=canary.visible_seconds + scope.passed
        if _is_visible(scope, judgement)
        else 0.0,
        share=judgement.share,
    )
    return scope.with_status(
        canary=judged_canary,
        evidence=judgement.evidence,
        gates=judgement.gates,
        samples=judgement.samples or status.samples,
        verdict=_verdict(scope, judgement),
    )


def _next_look_in(scope: Scope, judgement: Judgement) -> timedelta:
    """Return when the next look is of use.

    Where a look itself reads the pods, each brings new samples: then what happens between two looks
    is all that a faulty canary can do unseen.
    """
    period = scope.spec.analysis.period
    wanted = judgement.look_in or period
    if scope.observed.reads_anew:
        young = judgement.look_in is not None and judgement.verdict is not Verdict.UNAVAILABLE
        soon = SECOND_LOOK_IN if judgement.evidence.started else TO_BEGIN
        wanted = soon if young else LOOK_OFTEN
    return min(period, wanted)


def not_in_effect(scope: Scope) -> str | None:
    """Say why clients do not meet both arms by the weight of a step that has begun, or None.

    In the dark nobody is to meet the canary yet, so only the route's own trouble counts.
    """
    observed, canary = scope.observed, scope.canary
    in_the_dark = canary.unseen or scope.spec.canary.switches
    if observed.route_problem or in_the_dark or observed.routed is None:
        return observed.route_problem
    if scope.arms <= observed.routed:
        return None
    return f"clients do not reach both version {scope.stable.version} and canary {canary.version}"


def _decidable(scope: Scope, judgement: Judgement) -> bool:
    """Return whether a verdict was possible in the time since the last pass, and none was there."""
    canary = scope.canary
    if not_in_effect(scope):
        return False
    if scope.spec.paused or canary.unseen or canary.alone or canary.step_since is None:
        return False
    if canary.question not in (None, Reason.DRIFTED) or unfit(scope.status, scope.observed):
        return False
    if judgement.verdict is not Verdict.PASS:
        return True
    return canary.step_seconds >= bake_of(scope.spec, canary.step).total_seconds()


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
    blind = scope.canary.blind_seconds
    if not blind:
        return False
    limit = blind_limit(scope.spec.analysis.max_blind.span, scope.status.evidence)
    return blind > limit.total_seconds()


def with_pods(scope: Scope, *, ready: bool, wanted: int) -> Scope:
    """Remember this pass, and how both arms' pods do since the last one: what the cluster lacks for
    the canary's, of which so many are wanted, for how long they were not ready, and which
    containers ended.
    """
    scope = with_blocked(scope, ready=ready)
    canary = _with_readiness(scope, ready=ready, wanted=wanted)
    return scope.with_status(canary=canary, crashes=_crashes(scope))


def with_crashes(scope: Scope) -> Scope:
    """Count the ends of containers of both arms since the last pass."""
    return scope.with_status(crashes=_crashes(scope))


def _crashes(scope: Scope) -> Crashes:
    workloads = scope.observed.workloads
    arms = (workloads.get(scope.canary.revision), workloads.get(scope.stable.revision))
    return crash_gate.counted(scope.status.crashes, *arms, scope.passed)


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

    While it grows to full strength, each pod that gets ready has it begin anew: an autoscaler may
    ask for more all the time.
    """
    scope = with_blocked(scope, ready=ready)
    if ready or scope.canary.blocked:
        return scope
    waited, count = scope.canary.starting_seconds, scope.ready_pods(scope.canary.revision)
    if scope.status.phase is Phase.PROMOTING and count > scope.canary.full_pods:
        scope, waited = scope.with_canary(full_pods=count), 0.0
    return scope.with_canary(starting_seconds=waited + scope.passed)


def _with_readiness(scope: Scope, *, ready: bool, wanted: int) -> CanaryStatus:
    """Return the canary with this pass remembered, and with the time in which not all of its pods
    were ready, by its own fault.
    """
    canary = scope.canary
    count = scope.ready_pods(canary.revision)
    well = canary.ready_seconds + scope.passed if ready else 0.0
    unready, growing, full = canary.unready_seconds, canary.growing_seconds, canary.full_pods
    if ready:
        growing, full = 0.0, wanted
    elif count > full:
        growing, full = 0.0, count
    elif canary.blocked is None and count == full:
        growing += scope.passed
    elif canary.blocked is None:
        unready += scope.passed
    return canary.but(
        clock_at=scope.now,
        steps=len(scope.spec.canary.plan),
        unready_since=None if ready else canary.unready_since or scope.now,
        unready_seconds=0.0 if well >= LONG_READY else unready,
        growing_seconds=growing,
        full_pods=full,
        ready_seconds=well,
    )


def unready_for(canary: CanaryStatus) -> timedelta:
    """Return the time that counts against a canary whose pods are not all ready."""
    return timedelta(seconds=max(canary.unready_seconds, canary.growing_seconds))
