"""What happens to a canary that has no verdict when its time is over.

By default a person is asked. `analysis.onInsufficientEvidence` can promote it or roll it back
instead; then every message says that the deadline decided and not the evidence. It never acts on
metrics that are unavailable: an outage of Prometheus is no reason to move anything. Nor does it on
a share of the requests that is not the canary's weight: such counts are no evidence.

The time that is held against the deadline is that in which a verdict was possible
(core/release/elapsed.py).
"""

from modelrelease_operator.api.spec import OnInsufficientEvidence, ReleaseSpec
from modelrelease_operator.api.status import CanaryStatus, Reason, Verdict
from modelrelease_operator.core.analysis.judge import Judgement


def is_late(spec: ReleaseSpec, canary: CanaryStatus) -> bool:
    """Return whether the time for a verdict is over."""
    return canary.judged_seconds > spec.canary.progress_deadline.span.total_seconds()


def policy_at_deadline(
    judgement: Judgement, spec: ReleaseSpec, canary: CanaryStatus
) -> OnInsufficientEvidence | None:
    """Return what the spec has the deadline do now, or None before it and where there is a verdict.

    A canary for which a person was asked already waits for that person, and so does one that left
    the Service because it cannot be seen.
    """
    if judgement.verdict in (Verdict.PASS, Verdict.FAIL) or spec.paused:
        return None
    if canary.inconclusive or canary.unseen or canary.approved or not is_late(spec, canary):
        return None
    if canary.question is Reason.WAITING_FOR_APPROVAL:
        return None
    if judgement.verdict is Verdict.UNAVAILABLE or judgement.mismatched:
        return OnInsufficientEvidence.PAUSE
    return spec.analysis.on_insufficient_evidence


def decided_by_deadline(judgement: Judgement, spec: ReleaseSpec) -> str:
    """Say that no evidence decided, and which there was."""
    return (
        f"the deadline of {spec.canary.progress_deadline} decided and not the evidence "
        f"(analysis.onInsufficientEvidence is {spec.analysis.on_insufficient_evidence}): "
        f"{judgement.message}"
    )
