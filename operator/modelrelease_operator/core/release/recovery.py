"""Who was stable, where status does not say it any more: the release's own Deployments and its
Service do.

Deployments are labelled with their track, and the Service's selector names who serves. Only
Deployments that name the release's uid as owner are asked (`Workload.runs`).
"""

from modelrelease_operator.api import names
from modelrelease_operator.api.status import Target
from modelrelease_operator.core.observed import Observed

STABLE = "stable"


def served_before(observed: Observed) -> Target | None:
    """Return the revision that was stable and can go on serving; None where there is none, or none
    is told.

    The labels decide. Where a promotion left two with the same label, the Service does; so it does
    where no Deployment is labelled.
    """
    own = {name: workload.runs for name, workload in observed.workloads.items() if workload.runs}
    ready = [name for name in own if observed.workloads[name].ready]
    labelled = [name for name in ready if observed.workloads[name].track == STABLE]
    alone = next(iter(observed.routed)) if observed.routed and len(observed.routed) == 1 else None
    if alone in labelled:
        return own[alone]
    if len(labelled) == 1:
        return own[labelled[0]]
    unlabelled = all(observed.workloads[name].track is None for name in own)
    return own[alone] if unlabelled and alone in ready else None


def untold(observed: Observed) -> str | None:
    """Say that nothing tells which of the revisions that run was stable,
    and what to do; else None.
    """
    own = sorted(name for name, workload in observed.workloads.items() if workload.runs)
    serving = [name for name in own if observed.workloads[name].ready]
    target = observed.target and observed.target.revision
    doubtful = [name for name in serving if observed.workloads[name].track != STABLE]
    if not doubtful or own == [target] or served_before(observed):
        return None
    return (
        f"status was lost, and nothing tells which of the revisions {', '.join(own)} was stable; "
        "what serves goes on; label the Deployment of one that has ready pods "
        f"{names.LABEL_TRACK}={STABLE}"
    )
