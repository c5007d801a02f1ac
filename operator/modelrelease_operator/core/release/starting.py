"""Starting: the canary's pods come up in the dark, where no client reaches them."""

from datetime import timedelta

from modelrelease_operator.api.status import Reason
from modelrelease_operator.core.desired import POLL_PODS, Decision
from modelrelease_operator.core.release.desired_state import side_by_side
from modelrelease_operator.core.release.looks import ticked, with_start
from modelrelease_operator.core.release.transitions import (
    back_from_unwanted,
    begin_shadow,
    enter_step,
    promote_by_hand,
    reject,
)
from modelrelease_operator.core.release.words import not_ready
from modelrelease_operator.core.scope import Scope
from modelrelease_operator.core.steps import last_alike
from modelrelease_operator.traffic.registry import provider_of


def starting(scope: Scope) -> Decision:
    """Start the canary in the dark; open to it only when it is ready and alone with stable."""
    if back := back_from_unwanted(scope):
        return back
    scope = ticked(scope)
    replicas, workload = scope.split.canary, scope.canary_workload
    if workload and workload.refused:
        return reject(scope, Reason.ARTIFACT_REFUSED, workload.refused)
    ready = scope.observed.ready(scope.canary.revision, replicas)
    scope = with_start(scope, ready=ready)
    if late := late_start(scope, replicas, ready=ready):
        return late
    scope = _with_ready_time(scope, ready=ready)
    if _is_known(scope) and may_open(scope):
        if scope.canary.by_hand:
            return promote_by_hand(scope)
        if scope.spec.canary.shadow and scope.stable_serves:
            return begin_shadow(scope)
        return enter_step(scope, last_alike(scope.spec, 0))
    scope = scope.with_status(message=_waits(scope, replicas, ready=ready))
    if not scope.stable_serves:
        # It will carry everything.
        replicas = max(replicas, scope.replicas)
    return scope.decision(
        side_by_side(scope, canary_replicas=replicas, opened=False), requeue=POLL_PODS
    )


def _with_ready_time(scope: Scope, *, ready: bool) -> Scope:
    """Count from the pass that first saw all pods ready."""
    before = scope.canary.dark_seconds
    if not ready:
        return scope.with_canary(dark_seconds=None)
    return scope.with_canary(dark_seconds=0.0 if before is None else before + scope.passed)


def _is_known(scope: Scope) -> bool:
    """Return whether the pods were ready for so long that whoever deals out requests knows them."""
    seconds = scope.canary.dark_seconds
    delay = provider_of(scope.spec).endpoints_delay
    return seconds is not None and seconds >= delay.total_seconds()


def may_open(scope: Scope) -> bool:
    """Return whether the Service may be opened to the canary:
    to nobody else, and nobody holds it back.
    """
    # Open already: the pass that opened died before it was remembered, and shutting would undo it.
    known = scope.observed.routed in (frozenset({scope.stable.revision}), scope.arms)
    return known and not scope.strangers and not held_by_person(scope)


def _waits(scope: Scope, replicas: int, *, ready: bool) -> str:
    """Say what the start of the canary waits for."""
    version, workload = scope.canary.version, scope.canary_workload
    held = held_by_person(scope)
    if ready and held:
        return f"canary {version} is ready; {held}"
    if ready and scope.strangers:
        return (
            f"canary {version} is ready; pods of revision {', '.join(scope.strangers)} must go "
            "first"
        )
    if ready and not _is_known(scope):
        return f"canary {version} is ready; the gateway is given time to learn of its pods"
    count = workload.ready if workload else 0
    message = f"canary {version} starts unseen by clients: {count} of {replicas} pods are ready"
    trouble = workload and (workload.blocked or workload.problem)
    return f"{message}; {trouble}" if trouble else message


def late_start(scope: Scope, replicas: int, *, ready: bool) -> Decision | None:
    """Reject a canary whose pods did not start in time, by its own fault."""
    waited = timedelta(seconds=scope.canary.starting_seconds)
    if ready or scope.canary.blocked or waited <= scope.spec.canary.start_deadline.span:
        return None
    return reject(scope, Reason.CANARY_NOT_READY, not_ready(scope, replicas, waited))


def held_by_person(scope: Scope) -> str | None:
    """Return what a person has set in the way of going forward, or None."""
    if scope.spec.paused:
        return "spec.paused holds it back"
    problem = scope.observed.problem
    return f"holding: {problem.message}" if problem else None
