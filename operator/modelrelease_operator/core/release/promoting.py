"""Promoting: the canary is brought to full strength while it is judged, then becomes stable."""

from modelrelease_operator.api.status import Reason, Verdict
from modelrelease_operator.core.analysis import crashes as crash_gate
from modelrelease_operator.core.analysis.judge import Judgement
from modelrelease_operator.core.desired import POLL_PODS, Decision
from modelrelease_operator.core.release.desired_state import growing
from modelrelease_operator.core.release.looks import (
    judged,
    proven_worse,
    ticked,
    too_blind,
    with_crashes,
    with_judgement,
    with_start,
)
from modelrelease_operator.core.release.starting import held_by_person, late_start
from modelrelease_operator.core.release.transitions import (
    back_from_unwanted,
    back_to_step,
    promote,
    reject,
    with_note,
    withdraw,
)
from modelrelease_operator.core.release.words import passed
from modelrelease_operator.core.scope import Scope


def promoting(scope: Scope) -> Decision:
    """Bring the canary to full strength while it is judged, then move the pointer."""
    if back := back_from_unwanted(scope):
        return back
    scope = ticked(scope)
    if held_by_person(scope):
        # Back to where it waits for a verdict.
        return back_to_step(scope.with_canary(by_hand=None), len(scope.spec.canary.plan) - 1)
    scope = with_crashes(with_note(scope))
    judgement = judged(scope)
    scope = with_judgement(scope, judgement)
    if back := _back(scope, judgement):
        return back
    unwell = None if scope.canary.by_hand else _unwell(scope, judgement)
    if unwell and scope.stable_serves and too_blind(scope):
        return withdraw(scope, judgement.message)
    ready = scope.observed.ready(scope.canary.revision, scope.replicas)
    scope = with_start(scope, ready=ready)
    if ready and not unwell:
        return promote(scope)
    if scope.stable_serves and (late := late_start(scope, scope.replicas, ready=ready)):
        return late
    message = f"{passed(scope.canary)}; it grows to {scope.replicas} pods before it becomes stable"
    if why := unwell or scope.canary.blocked:
        message = f"{message}; holding: {why}"
    scope = scope.with_status(message=message)
    return scope.decision(growing(scope), requeue=POLL_PODS)


def _back(scope: Scope, judgement: Judgement) -> Decision | None:
    """Reject a canary that is proven worse while there is somebody to give the traffic back to."""
    worse = proven_worse(scope, judgement) if scope.stable_serves else None
    return reject(scope, Reason.REGRESSION, worse) if worse else None


def _unwell(scope: Scope, judgement: Judgement) -> str | None:
    """Say why a canary that passed does not become stable at this moment, or None."""
    if judgement.verdict is Verdict.UNAVAILABLE or too_blind(scope):
        return judgement.message
    if not scope.stable_serves:
        return None
    unquiet = crash_gate.unquiet(scope.status.crashes, scope.canary.version)
    return unquiet or scope.observed.route_problem
