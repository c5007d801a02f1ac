"""What the last step still waits for once every gate passes: drift that holds it, or a person."""

from modelrelease_operator.api.spec import Approval, ReleaseSpec
from modelrelease_operator.api.status import Reason, Status, Verdict
from modelrelease_operator.core.commands import value_for
from modelrelease_operator.core.drift_status import hold
from modelrelease_operator.core.state import Seen
from modelrelease_operator.core.worlds import canary_of


def why_not_promoted(
    spec: ReleaseSpec, status: Status, seen: Seen, *, late: bool
) -> tuple[Reason, str] | None:
    """Return what holds the promotion, with its reason, or None. Not asked where a person approved."""
    canary = canary_of(status)
    if drift := hold(spec, status, canary, seen):
        # Past the deadline a person is asked; when the drift ends by itself, nobody needs to answer.
        return (Reason.WAITING_FOR_APPROVAL if late else Reason.DRIFTED), drift
    if spec.canary.approval is Approval.MANUAL:
        found = "every gate passes" if status.verdict is Verdict.PASS else "no verdict in time"
        answer = value_for(status, "approve", canary.revision)
        text = f"{found}; annotate approve={answer} to promote {canary.version}"
        return Reason.WAITING_FOR_APPROVAL, text
    return None
