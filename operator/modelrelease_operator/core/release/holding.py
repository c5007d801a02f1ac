"""Why a canary stays where it is, and who is asked to let it go on."""

from datetime import timedelta

from modelrelease_operator.api.durations import format_duration
from modelrelease_operator.api.spec import Approval, OnInsufficientEvidence
from modelrelease_operator.api.status import Phase, Reason, Verdict
from modelrelease_operator.core.analysis import crashes as crash_gate
from modelrelease_operator.core.analysis import sample_ratio
from modelrelease_operator.core.analysis.judge import Judgement
from modelrelease_operator.core.desired import Decision, Desired
from modelrelease_operator.core.drift import sustained
from modelrelease_operator.core.release.commands import approval_of, unfit, value_for
from modelrelease_operator.core.release.deadline import is_late, policy_at_deadline
from modelrelease_operator.core.release.looks import not_in_effect, until_next_look
from modelrelease_operator.core.scope import Scope
from modelrelease_operator.core.steps import bake_of, last_alike, share_words

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
        where = "in the dark"
        if canary.requested_weight:
            where = f"at {share_words(scope.spec, canary.requested_weight)}"
        return Reason.SUSPENDED, f"spec.paused holds canary {canary.version} {where}"
    late = is_late(scope.spec, canary)
    if inconclusive := _inconclusive(scope, judgement, late=late):
        return inconclusive
    if trouble := _trouble(scope, judgement, waits=waits):
        return trouble
    if late and _promotes_at_deadline(scope, judgement) and not canary.approved:
        return why_not_promoted(scope, late=late)
    passed = scope.status.verdict is Verdict.PASS
    waits_for_approval = canary.question is Reason.WAITING_FOR_APPROVAL
    if not passed and not canary.approved and not waits_for_approval:
        return Reason.HOLDING, judgement.message
    if young := _young(scope, judgement):
        return Reason.HOLDING, young
    if canary.approved or last_alike(scope.spec, canary.step) + 1 < len(scope.spec.canary.plan):
        return None
    return why_not_promoted(scope, late=late)


def _young(scope: Scope, judgement: Judgement) -> str | None:
    """Say for how long the step goes on whatever the gates say, or None where it may end."""
    canary = scope.canary
    counted = timedelta(seconds=canary.step_seconds)
    left = bake_of(scope.spec, canary.step) - counted
    if left > timedelta(0):
        why = "a person approved" if canary.approved else judgement.by_probes or "every gate passes"
        return f"{why}; the step bakes for another {format_duration(left)}"
    if canary.approved or judgement.by_probes:
        return None
    scrapes = scope.status.evidence.scrape_seconds or 0.0
    left = sample_ratio.time_of(scope.spec, canary.step, scrapes) - counted
    if left <= timedelta(0):
        return None
    span = format_duration(left)
    return f"every gate passes; the canary's share of the requests is counted for another {span}"


def _promotes_at_deadline(scope: Scope, judgement: Judgement) -> bool:
    policy = policy_at_deadline(judgement, scope.spec, scope.canary)
    return policy is OnInsufficientEvidence.PROMOTE


def _inconclusive(scope: Scope, judgement: Judgement, *, late: bool) -> Hold | None:
    """Return that no verdict came in time and a person must say what is to be done, or None."""
    canary, deadline = scope.canary, scope.spec.canary.progress_deadline
    if canary.approved:
        return None
    passed = scope.status.verdict is Verdict.PASS
    runs_out = late and not passed and _runs_out(scope, judgement)
    if not (canary.inconclusive or runs_out):
        return None
    text = f"no verdict within {deadline}: {judgement.message}"
    if passed:
        text = f"no verdict within {deadline}; by now every gate passes"
    return Reason.INCONCLUSIVE, f"{text}; {_how_to_answer(scope)}"


def _runs_out(scope: Scope, judgement: Judgement) -> bool:
    """Return whether nothing decides but a person, now that the time for a verdict is over."""
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
    elif why := not_in_effect(scope):
        trouble = Reason.HOLDING, f"holding until its weight is in effect again: {why}"
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
    if scope.spec.canary.switches:
        state = f"canary {canary.version} is at full strength in the dark"
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
    inconclusive = canary.inconclusive or reason is Reason.INCONCLUSIVE
    answered = (inconclusive, question, asked_at if question else None)
    if answered != (canary.inconclusive, canary.question, canary.asked_at):
        inconclusive, question, asked_at = answered
        canary = canary.but(inconclusive=inconclusive, question=question, asked_at=asked_at)
    scope = scope.with_status(canary=canary, phase=phase, message=message)
    if phase is Phase.PAUSED and (asks or (entered and not question)):
        scope = scope.noticing(reason, message)
    return scope.decision(desired, requeue=until_next_look(scope))
