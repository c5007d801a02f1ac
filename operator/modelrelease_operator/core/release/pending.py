"""Pending: the first version comes up;
there is nothing to compare it with, so it only has to be ready.
"""

from modelrelease_operator.api.status import Target
from modelrelease_operator.core.desired import POLL_PODS, Decision, Desired
from modelrelease_operator.core.release.desired_state import only
from modelrelease_operator.core.release.recovery import served_before, untold
from modelrelease_operator.core.release.stable import stable
from modelrelease_operator.core.release.transitions import first_version, recovered
from modelrelease_operator.core.scope import Scope


def pending(scope: Scope) -> Decision:
    """Bring up the first version.

    A release whose status was lost comes here too. What its Deployments say was stable stays
    stable. Where they are not its own (a restored backup), what serves goes on serving until the
    version that the spec asks for can take over.
    """
    observed, target = scope.observed, scope.observed.target
    served = served_before(observed)
    if served and (target is None or target.revision != served.revision):
        return stable(recovered(scope, served))
    if unclear := untold(observed):
        desired = Desired(retained=frozenset(observed.workloads))
        return scope.with_status(message=unclear).decision(desired)
    serving = frozenset(
        revision for revision, workload in observed.workloads.items() if workload.ready
    )
    if target is None:
        message = observed.problem.message if observed.problem else "the model is being resolved"
        return scope.with_status(message=message).decision(Desired(retained=serving))
    ready = observed.ready(target.revision, scope.replicas)
    led = observed.routed == frozenset({target.revision}) and not observed.leads_elsewhere
    if ready and led and not observed.route_problem:
        return first_version(scope, target)
    desired = only(target, scope.replicas).but(retained=serving)
    still = serving & (observed.routed or frozenset())
    if not ready and observed.leads_elsewhere:
        # Handed over: it goes on leading where it leads until there are pods to answer.
        desired = desired.but(routed=frozenset())
    elif still and not ready:
        desired = desired.but(routed=still)
    return scope.with_status(message=_starts(scope, target)).decision(desired, requeue=POLL_PODS)


def _starts(scope: Scope, target: Target) -> str:
    """Say how far the first version is, and what its pods say."""
    ready = scope.ready_pods(target.revision)
    message = f"version {target.version} starts: {ready} of {scope.replicas} pods ready"
    if scope.observed.leads_elsewhere:
        message = f"{message}; the Service that is handed over leads to others until then"
    workload = scope.observed.workloads.get(target.revision)
    trouble = (workload and (workload.refused or workload.problem)) or scope.observed.route_problem
    return f"{message}; {trouble}" if trouble else message
