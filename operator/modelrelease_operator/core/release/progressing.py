"""Progressing and Paused: the canary has its share of the traffic and is judged."""

from datetime import timedelta

from modelrelease_operator.api.spec import OnInsufficientEvidence
from modelrelease_operator.api.status import Evidence, Phase, Reason
from modelrelease_operator.core.analysis import crashes as crash_gate
from modelrelease_operator.core.analysis.judge import Judgement
from modelrelease_operator.core.desired import POLL_PODS, REQUEUE_SOON, Decision, Desired
from modelrelease_operator.core.observed import NotDue
from modelrelease_operator.core.release.commands import value_for
from modelrelease_operator.core.release.deadline import decided_by_deadline, policy_at_deadline
from modelrelease_operator.core.release.desired_state import (
    pods_at_step,
    side_by_side,
    withdrawn,
)
from modelrelease_operator.core.release.holding import hold, why_held
from modelrelease_operator.core.release.looks import (
    judged,
    not_in_effect,
    proven_by_crashes,
    proven_worse,
    timed,
    too_blind,
    unready_for,
    until_next_look,
    with_judgement,
    with_pods,
    without_look,
)
from modelrelease_operator.core.release.previewing import previewing
from modelrelease_operator.core.release.transitions import (
    advance,
    back_from_unwanted,
    back_to_step,
    begin_shadow,
    enter_step,
    promote_by_hand,
    promote_unproven,
    reject,
    with_note,
    withdraw,
)
from modelrelease_operator.core.release.unseen import act_unseen
from modelrelease_operator.core.release.words import not_ready
from modelrelease_operator.core.scope import Scope


def progressing(scope: Scope) -> Decision:
    """Judge the canary at its weight: back, on, or wait."""
    if back := back_from_unwanted(scope):
        return back
    scope = timed(scope)
    if scope.canary.by_hand:
        return promote_by_hand(scope)
    index = min(scope.canary.step, len(scope.spec.canary.plan) - 1)
    if _weight_changed(scope, index):
        return enter_step(scope, index)
    wanted = scope.split.canary
    ready = scope.observed.ready(scope.canary.revision, wanted)
    scope = with_pods(scope, ready=ready, wanted=wanted)
    if late := _crashing(scope) or _unready_for_long(scope):
        return late
    if scope.canary_serves and not scope.stable_serves:
        return _alone(scope)
    if scope.canary.alone:
        return _together_again(scope, index)
    if _was_cut_short(scope):
        return begin_shadow(scope)
    if scope.spec.canary.switches or not scope.canary.requested_weight:
        # Also where weights are asked for by now that spec.paused holds back.
        return previewing(scope, ready=ready)
    return _at_weight(scope, ready=ready)


def _at_weight(scope: Scope, *, ready: bool) -> Decision:
    """Judge a canary that has its share of the users, or will have it once more."""
    scope = with_note(_with_step_time(scope, ready=ready))
    unseen = scope.canary.unseen
    open_to_both = side_by_side(scope, canary_replicas=pods_at_step(scope), opened=True)
    desired = withdrawn(scope) if unseen else open_to_both
    if scope.canary.step_since is None and not unseen:
        scope, back = _judged_meanwhile(scope)
        return back or _await_effect(scope, desired)
    if isinstance(scope.observed.metrics, NotDue):
        return without_look(scope).decision(desired, requeue=until_next_look(scope))
    judgement = judged(scope)
    return _act_on(with_judgement(scope, judgement), judgement, desired)


def _weight_changed(scope: Scope, index: int) -> bool:
    """Return whether the spec's weight of this step is another one now, and may be asked for."""
    wanted = 0 if scope.spec.canary.switches else scope.spec.canary.plan[index].weight
    change = wanted - scope.canary.requested_weight
    if scope.canary.unseen and not scope.spec.canary.switches:
        return False
    return change < 0 or (change > 0 and not scope.spec.paused)


def _crashing(scope: Scope) -> Decision | None:
    """Reject a canary whose containers are proven to end too often,
    whether or not a look is due.
    """
    worse = proven_by_crashes(scope) if scope.stable_serves else None
    return reject(scope, Reason.REGRESSION, worse) if worse else None


def _unready_for_long(scope: Scope) -> Decision | None:
    """Reject a canary that was not ready for too long, unless it alone answers."""
    waited = unready_for(scope.canary)
    if waited <= scope.spec.canary.start_deadline.span:
        return None
    if scope.canary_serves and not scope.stable_serves:
        return None
    return reject(scope, Reason.CANARY_NOT_READY, not_ready(scope, scope.split.canary, waited))


def _with_step_time(scope: Scope, *, ready: bool) -> Scope:
    """Begin the step when its weight is seen in effect; else count the time in it, or before it.

    Time in which the route is not in effect is none of the step's: what was counted before stays.
    """
    canary = scope.canary
    routed = frozenset({scope.stable.revision}) if canary.unseen else scope.arms
    in_effect = (
        ready and scope.stable_serves and scope.observed.routed == routed and _is_weighed(scope)
    )
    if canary.step_since is None and in_effect:
        scope = scope.with_canary(step_since=scope.now)
        return scope.with_status(evidence=_from_here(scope.status.evidence))
    if canary.step_since is None:
        return scope.with_canary(waiting_seconds=canary.waiting_seconds + scope.passed)
    if not_in_effect(scope):
        return scope
    return scope.with_canary(step_seconds=canary.step_seconds + scope.passed)


def _is_weighed(scope: Scope) -> bool:
    """Return whether a gateway has taken the weight;
    where pods make it, there is nothing to take.
    """
    if scope.observed.route_problem:
        return False
    return scope.canary.unseen or scope.observed.routed_weight in (
        None,
        scope.canary.requested_weight,
    )


def _from_here(evidence: Evidence) -> Evidence:
    """Forget what would promote, of the time before the weight was in effect;
    no copy starts for it.
    """
    return evidence.next_step().but(copies=evidence.copies)


def _alone(scope: Scope) -> Decision:
    """Have the canary carry everything while no pod of stable is ready, and ask a person.

    It is not judged: there is nothing to compare it with. It is not taken back: nobody would
    answer.
    """
    canary, stable = scope.canary, scope.stable
    replicas = max(scope.replicas, scope.split.canary)
    by_hand = value_for(scope.status, "promote", canary.revision)
    message = (
        f"no pod of stable {stable.version} is ready; canary {canary.version} ({canary.revision}) "
        f"answers alone on {scope.ready_pods(canary.revision)} of {replicas} pods; annotate "
        f"promote={by_hand} to "
        "have it take over"
    )
    if not canary.alone:
        scope = scope.noticing(Reason.STABLE_NOT_READY, message, warning=True)
    scope = scope.with_canary(
        alone=True,
        unseen=False,
        question=Reason.STABLE_NOT_READY,
        asked_at=canary.asked_at if canary.question is Reason.STABLE_NOT_READY else scope.now,
        blind_seconds=0.0,
        blind_since=None,
        unjudged_seconds=0.0,
    )
    scope = scope.with_status(
        phase=Phase.PROGRESSING, weight=canary.requested_weight, message=message
    )
    desired = side_by_side(scope, canary_replicas=replicas, opened=True)
    return scope.decision(desired, requeue=scope.spec.analysis.period)


def _together_again(scope: Scope, index: int) -> Decision:
    """Keep the canary at full strength until all of stable's pods are back;
    then the step begins anew.
    """
    stable = scope.stable
    if scope.observed.ready(stable.revision, scope.replicas):
        if _was_cut_short(scope):
            return begin_shadow(scope)
        return back_to_step(scope, index, why=f"stable {stable.version} is back")
    scope, back = _judged_meanwhile(scope)
    if back:
        return back
    message = (
        f"{scope.ready_pods(stable.revision)} of {scope.replicas} pods of stable {stable.version} "
        f"are ready again; canary {scope.canary.version} stays at full strength until all are"
    )
    scope = scope.with_canary(question=None, asked_at=None).with_status(message=message)
    replicas = max(scope.replicas, scope.split.canary)
    return scope.decision(
        side_by_side(scope, canary_replicas=replicas, opened=True), requeue=POLL_PODS
    )


def _was_cut_short(scope: Scope) -> bool:
    """Return whether the canary has users only because stable was down while it was compared."""
    known = scope.canary.shadow
    cut_short = known is not None and not known.left
    return cut_short and scope.stable_serves and scope.spec.canary.shadow is not None


def _judged_meanwhile(scope: Scope) -> tuple[Scope, Decision | None]:
    """Judge a canary that has clients before its weight is in effect:
    it may go back, and never on.
    """
    if not (scope.canary_serves and scope.stable_serves) or scope.observed.routed != scope.arms:
        return scope, None
    if isinstance(scope.observed.metrics, NotDue):
        return scope, None
    judgement = judged(scope)
    scope = with_judgement(scope, judgement)
    if worse := proven_worse(scope, judgement):
        return scope, reject(scope, Reason.REGRESSION, worse)
    if too_blind(scope):
        return scope, withdraw(scope, judgement.message)
    return scope, None


def _await_effect(scope: Scope, desired: Desired) -> Decision:
    """Wait until the weight is seen in effect;
    when that alone outlasts the deadline, wait for a person.
    """
    canary, deadline = scope.canary, scope.spec.canary.progress_deadline
    message = (
        f"step {canary.step + 1} of {canary.steps}: waiting until the weight is seen in effect"
    )
    if scope.strangers:
        message = f"{message}; pods of revision {', '.join(scope.strangers)} must go first"
    for why in (canary.blocked, scope.observed.route_problem):
        message = f"{message}; {why}" if why else message
    if scope.status.crashes.canary:
        message = f"{message}; {crash_gate.crash_figures(scope.status.crashes, canary.version)}"
    if timedelta(seconds=canary.waiting_seconds) <= deadline.span:
        return scope.with_status(message=message).decision(desired, requeue=REQUEUE_SOON)
    message = f"no verdict within {deadline}: {message}"
    if scope.status.phase is not Phase.PAUSED:
        scope = scope.noticing(Reason.INCONCLUSIVE, message, warning=True)
    scope = scope.with_canary(inconclusive=True).with_status(phase=Phase.PAUSED, message=message)
    return scope.decision(desired, requeue=scope.spec.analysis.period)


def _act_on(scope: Scope, judgement: Judgement, desired: Desired) -> Decision:
    """Turn a judgement into a transition, or into waiting."""
    if worse := proven_worse(scope, judgement):
        return reject(scope, Reason.REGRESSION, worse)
    if scope.canary.unseen:
        return act_unseen(scope, judgement, desired)
    if too_blind(scope):
        return withdraw(scope, judgement.message)
    policy = policy_at_deadline(judgement, scope.spec, scope.canary)
    if policy is OnInsufficientEvidence.ROLL_BACK:
        return reject(scope, Reason.INCONCLUSIVE, decided_by_deadline(judgement, scope.spec))
    held = why_held(scope, judgement)
    if held:
        return hold(scope, desired, *held)
    if policy is OnInsufficientEvidence.PROMOTE and not scope.canary.approved:
        return promote_unproven(scope, decided_by_deadline(judgement, scope.spec))
    return advance(scope, by_probes=judgement.by_probes)
