"""Who was stable, where status does not say it any more: the release's own Deployments and its Service do.

Deployments are labelled with their track, and the Service's selector names who serves. Only Deployments
that name the release's uid as owner are asked (`Workload.runs`).
"""

from modelrelease_operator.api import names
from modelrelease_operator.api.status import Target
from modelrelease_operator.core.state import Seen

STABLE = "stable"


def served_before(seen: Seen) -> Target | None:
    """Return the revision that was stable and can go on serving; None where there is none, or none is told.

    The labels decide. Where a promotion left two with the same label, the Service does; so it does where no
    Deployment is labelled.
    """
    own = {name: each.runs for name, each in seen.workloads.items() if each.runs}
    ready = [name for name in own if seen.workloads[name].ready]
    labelled = [name for name in ready if seen.workloads[name].track == STABLE]
    alone = next(iter(seen.routed)) if seen.routed and len(seen.routed) == 1 else None
    if alone in labelled:
        return own[alone]
    if len(labelled) == 1:
        return own[labelled[0]]
    unlabelled = all(seen.workloads[name].track is None for name in own)
    return own[alone] if unlabelled and alone in ready else None


def untold(seen: Seen) -> str | None:
    """Say that nothing tells which of the revisions that run was stable, and what to do; else None."""
    own = sorted(name for name, each in seen.workloads.items() if each.runs)
    serving = [name for name in own if seen.workloads[name].ready]
    target = seen.target and seen.target.revision
    doubtful = [name for name in serving if seen.workloads[name].track != STABLE]
    if not doubtful or own == [target] or served_before(seen):
        return None
    return (
        f"status was lost, and nothing tells which of the revisions {', '.join(own)} was stable; what serves "
        f"goes on; label the Deployment of one that has ready pods {names.LABEL_TRACK}={STABLE}"
    )
