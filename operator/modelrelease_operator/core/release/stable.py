"""Stable: one revision serves, and its predecessor is kept warm for a while."""

from modelrelease_operator.api.status import Crashes, Evidence, Previous
from modelrelease_operator.core.desired import POLL_PODS, Decision
from modelrelease_operator.core.release.desired_state import steady
from modelrelease_operator.core.release.elapsed import kept, span
from modelrelease_operator.core.release.transitions import (
    back_to_previous,
    back_together,
    begin_canary,
    reopen,
    switch_back,
    with_retry,
)
from modelrelease_operator.core.release.watch import watched
from modelrelease_operator.core.scope import Scope, judged_pair


def stable(scope: Scope) -> Decision:
    """Serve; begin a canary when the spec means another revision than the one that serves."""
    before = scope.status.previous
    scope = scope.with_status(previous=_kept(scope, before))
    if scope.status.previous is None:
        scope = scope.with_status(evidence=Evidence(), crashes=Crashes())
    message = _serves(scope)
    target = scope.observed.target
    if target and target.revision == scope.stable.revision:
        scope = scope.with_status(rejected=None)
    elif target:
        if back := _back(scope):
            return back
        scope = with_retry(scope, target)
        rejected = scope.status.rejected
        if rejected is None and (problem := scope.observed.route_problem):
            # A gateway that still follows old weights would lead clients to a canary that starts.
            message = f"{message}; version {target.version} waits for the route: {problem}"
            return scope.with_status(message=message).decision(steady(scope), requeue=POLL_PODS)
        if rejected is None:
            return begin_canary(scope, target)
        message = f"{message}; version {target.version} was rejected: {rejected.message}"
    if before and judged_pair(scope.status):
        scope, why = watched(scope, span(scope.spec, before.clock_at, scope.now))
        if why and _may_take_over(scope):
            return switch_back(scope, why) if scope.spec.canary.switches else reopen(scope, why)
        if why:
            message = f"{message}; {_suspicion(scope, why)}"
    previous = scope.status.previous
    requeue = min(previous.left or POLL_PODS, scope.spec.analysis.period) if previous else None
    return scope.with_status(message=message).decision(steady(scope), requeue=requeue)


def _serves(scope: Scope) -> str:
    """Say that stable serves, or that it cannot."""
    version = scope.stable.version
    ready = scope.ready_pods(scope.stable.revision)
    return f"version {version} serves" if ready else f"no pod of version {version} is ready"


def _kept(scope: Scope, before: Previous | None) -> Previous | None:
    """Return the predecessor while it is kept: also after its time, where clients are still led to
    it, because what moves them was refused.
    """
    left = kept(scope.spec, before, scope.now)
    if left is None and before and before.revision in (scope.observed.routed or frozenset()):
        return before.but(left_seconds=0.0, clock_at=scope.now)
    return left


def _back(scope: Scope) -> Decision | None:
    """Go back to the predecessor where the spec names it again and it is warm;
    None for any other.
    """
    previous, target = scope.status.previous, scope.observed.target
    if previous is None or target is None or not previous.proven:
        return None
    if target.revision != previous.revision:
        return None
    if scope.observed.ready(previous.revision, _enough(scope)):
        return back_to_previous(scope, previous)
    if scope.observed.ready(previous.revision, 1):
        return back_together(scope, previous)
    return None


def _enough(scope: Scope) -> int:
    """Return how many pods of the way back must be ready:
    as many as serve now, up to its full strength.
    """
    return min(scope.replicas, max(1, scope.ready_pods(scope.stable.revision)))


def _suspicion(scope: Scope, why: str) -> str:
    """Say what speaks against the version that serves, and why its predecessor does nothing."""
    said = f"it looks worse: {why}"
    previous = scope.status.previous
    if previous is None or not _is_asked_for(scope):
        return said
    ready, others = scope.ready_pods(previous.revision), _others(scope, previous)
    if ready < _needed(scope):
        lack = f"{ready} of its {scope.replicas} pods are ready"
    else:
        lack = f"pods of revision {', '.join(others)} must go first"
    return f"{said}; version {previous.version} cannot take over yet, {lack}"


def _is_asked_for(scope: Scope) -> bool:
    """Return whether the spec asks for the version that serves, and for no other."""
    target = scope.observed.target
    return target is None or target.revision == scope.stable.revision


def _others(scope: Scope, previous: Previous) -> list[str]:
    """Return the revisions beside the pair that have pods."""
    pair = {scope.stable.revision, previous.revision}
    return sorted(
        revision
        for revision, workload in scope.observed.workloads.items()
        if workload.pods and revision not in pair
    )


def _needed(scope: Scope) -> int:
    """Return how many pods the predecessor needs: all, beside the version that serves; as many as
    that one has, where it gets every client at once.
    """
    return _enough(scope) if scope.spec.canary.switches else scope.replicas


def _may_take_over(scope: Scope) -> bool:
    """Return whether the predecessor can have clients again now, and nobody else has pods."""
    previous = scope.status.previous
    if previous is None or not _is_asked_for(scope):
        return False
    whole = scope.observed.ready(previous.revision, _needed(scope))
    return whole and not _others(scope, previous)
