"""Why a canary stays where it is, and who is asked to let it go on."""

from datetime import timedelta

from modelrelease_operator.api.durations import format_duration
from modelrelease_operator.api.spec import Approval, OnInsufficientEvidence
from modelrelease_operator.api.status import Phase, Reason, Verdict
from modelrelease_operator.core.analysis import crashes as crash_gate
from modelrelease_operator.core.analysis.judge import Judgement
from modelrelease_operator.core.desired import Decision, Desired
from modelrelease_operator.core.drift import sustained
from modelrelease_operator.core.release.commands import approval_of, unfit, value_for
from modelrelease_operator.core.release.deadline import is_late, policy_at_deadline
from modelrelease_operator.core.release.looks import until_next_look
from modelrelease_operator.core.scope import Scope
from modelrelease_operator.core.steps import bake_of, last_alike

QUESTIONS = (Reason.WAITING_FOR_APPROVAL, Reason.INCONCLUSIVE, Reason.DRIFTED)
"""Reasons to hold that an approval lifts."""
PERSON_NEEDED = (Reason.SUSPENDED, Reason.WAITING_FOR_APPROVAL, Reason.INCONCLUSIVE)
"""Reasons to hold that only a person can lift."""

Hold = tuple[Reason, str]
"""Why the canary stays, as a reason and as a sentence."""


def why_held(scope: Scope, judgement: Judgement) -> Hold | None:
    """Return why the canary stays where it is, or None when it may go on."""
    canary = scope.canary
    waits = canary.question is Reason.WAITING_FOR_APPROVAL and not canary.approved
    if scope.spec.paused:
        text = f"spec.paused holds canary {canary.version} at {canary.requested_weight} %"
        return Reason.SUSPENDED, text
    if inconclusive := _inconclusive(scope, judgement):
        return inconclusive
    if trouble := _trouble(scope, judgement, waits=waits):
        return trouble
    late = is_late(scope.spec, canary)
    if _promotes_at_deadline(scope, judgement) and not canary.approved:
        return why_not_promoted(scope, late=late)
    passed = scope.status.verdict is Verdict.PASS
    waits_for_approval = canary.question is Reason.WAITING_FOR_APPROVAL
    if not passed and not canary.approved and not waits_for_approval:
        return Reason.HOLDING, judgement.message
    left = bake_of(scope.spec, canary.step) - timedelta(seconds=canary.step_seconds)
    if left > timedelta(0):
        why = "a person approved" if canary.approved else judgement.by_probes or "every gate passes"
        return Reason.HOLDING, f"{why}; the step bakes for another {format_duration(left)}"
    if canary.approved or last_alike(scope.spec, canary.step) + 1 < len(scope.spec.canary.plan):
        return None
    return why_not_promoted(scope, late=late)


def _promotes_at_deadline(scope: Scope, judgement: Judgement) -> bool:
    policy = policy_at_deadline(judgement, scope.spec, scope.canary)
    return policy is OnInsufficientEvidence.PROMOTE


def _inconclusive(scope: Scope, judgement: Judgement) -> Hold | None:
    """Return that no verdict came in time and a person must say what is to be done, or None."""
    canary, deadline = scope.canary, scope.spec.canary.progress_deadline
    if canary.approved:
        return None
    passed = scope.status.verdict is Verdict.PASS
    if not canary.inconclusive and not _runs_out(scope, judgement, passed=passed):
        return None
    text = f"no verdict within {deadline}: {judgement.message}"
    if passed:
        text = f"no verdict within {deadline}; by now every gate passes"
    return Reason.INCONCLUSIVE, f"{text}; {_how_to_answer(scope)}"


def _runs_out(scope: Scope, judgement: Judgement, *, passed: bool) -> bool:
    """Return whether the time for a verdict is over now, and nothing else decides."""
    if passed or not is_late(scope.spec, scope.canary):
        return False
    if scope.canary.question is Reason.WAITING_FOR_APPROVAL:
        return False
    return not _promotes_at_deadline(scope, judgement)


def _trouble(scope: Scope, judgement: Judgement, *, waits: bool) -> Hold | None:
    """Return what keeps even a canary that passed, unless a person said that it does not matter.

    While a person is awaited the wait goes on: the trouble is told and is no other state.
    """
    canary, status = scope.canary, scope.status
    if canary.approved_anyway:
        return None
    if judgement.verdict is Verdict.UNAVAILABLE:
        trouble = Reason.METRICS_UNAVAILABLE, judgement.message
    elif why := unfit(status, scope.observed) or crash_gate.unquiet(status.crashes, canary.version):
        trouble = Reason.HOLDING, f"holding: {why}"
    else:
        return None
    return (Reason.WAITING_FOR_APPROVAL, trouble[1]) if waits else trouble


def _how_to_answer(scope: Scope) -> str:
    """Return the words of the annotations that answer an inconclusive step."""
    revision = scope.canary.revision
    approve = approval_of(scope.status, scope.observed, scope.canary)
    if approve == revision:
        return f"annotate approve or abort with {revision}"
    return f"annotate approve={approve} or abort={revision}"


def why_not_promoted(scope: Scope, *, late: bool) -> Hold | None:
    """Return what holds the promotion once every gate passes, or None.
    Not asked where a person approved.
    """
    canary = scope.canary
    if drift := sustained.hold(scope.spec, scope.status, canary, scope.observed):
        # Past the deadline a person is asked; when the drift ends by itself, nobody needs to
        # answer.
        return (Reason.WAITING_FOR_APPROVAL if late else Reason.DRIFTED), drift
    if scope.spec.canary.approval is not Approval.MANUAL:
        return None
    state = "every gate passes" if scope.status.verdict is Verdict.PASS else "no verdict in time"
    answer = value_for(scope.status, "approve", canary.revision)
    text = f"{state}; annotate approve={answer} to promote {canary.version}"
    return Reason.WAITING_FOR_APPROVAL, text


def hold(scope: Scope, desired: Desired, reason: Reason, message: str) -> Decision:
    """Stay, and ask a person where only a person can go on: once for each wait."""
    canary, status = scope.canary, scope.status
    question = reason if reason in QUESTIONS else None
    phase = Phase.PAUSED if reason in PERSON_NEEDED else Phase.PROGRESSING
    asks = question is not None and canary.question is not question
    entered = phase is Phase.PAUSED and status.phase is not phase
    asked_at = scope.now if asks else canary.asked_at
    canary = canary.but(
        inconclusive=canary.inconclusive or reason is Reason.INCONCLUSIVE,
        question=question,
        asked_at=asked_at if question else None,
    )
    scope = scope.with_status(canary=canary, phase=phase, message=message)
    if phase is Phase.PAUSED and (asks or (entered and not question)):
        scope = scope.noticing(reason, message)
    return scope.decision(desired, requeue=until_next_look(scope))
