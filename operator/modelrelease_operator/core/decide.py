"""The state machine of a release: one function for each phase.

Level-triggered: nothing here asks what changed, only what is. A pass that is repeated, or that
died between acting and writing its status, comes to the same end. Order is kept by conditions on
what was *seen* ("the canary goes only when the router is seen sending it nothing"), never by
remembering that something was asked for.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from modelrelease_operator.api.durations import format_duration, parse_duration
from modelrelease_operator.api.spec import OnInsufficientEvidence, ReleaseSpec
from modelrelease_operator.api.status import CanaryStatus, Evidence, Phase, Reason, Status, Verdict
from modelrelease_operator.core.conditions import with_conditions
from modelrelease_operator.core.deadline import decided_by_deadline, is_late, policy_at_deadline
from modelrelease_operator.core.drift_status import heed
from modelrelease_operator.core.judge import Judgement, judge
from modelrelease_operator.core.moves import (
    advance,
    back_from_unwanted,
    back_to_previous,
    begin_canary,
    enter_step,
    first_version,
    heed_retry,
    promote,
    promote_unproven,
    reject,
    wanted_pods,
)
from modelrelease_operator.core.outcomes import heed as heed_outcomes
from modelrelease_operator.core.promotion import why_not_promoted
from modelrelease_operator.core.retrain import heed as heed_retrain
from modelrelease_operator.core.state import Commands, Decision, Desired, NotDue, Notice, Seen
from modelrelease_operator.core.worlds import (
    SOON,
    WATCH,
    canary_of,
    next_weight,
    not_ready,
    only,
    others_of,
    pair_of,
    probed_steps,
    probing_of,
    say,
    side_by_side,
    split_of,
    stable_of,
    steady,
)

PERSON_NEEDED = (Reason.SUSPENDED, Reason.WAITING_FOR_APPROVAL, Reason.INCONCLUSIVE)
"""Reasons to hold that only a person can lift."""


def decide(*, spec: ReleaseSpec, status: Status, seen: Seen, now: datetime) -> Decision:
    """Return what should be, given what is asked for, remembered and seen."""
    status, drift_notices = heed(spec, status, seen)
    match status.phase:
        case Phase.PENDING:
            decision = _pending(spec, status, seen, now)
        case Phase.STABLE:
            decision = _stable(spec, status, seen, now)
        case Phase.STARTING:
            decision = _starting(spec, status, seen, now)
        case Phase.PROGRESSING | Phase.PAUSED:
            decision = _progressing(spec, status, seen, now)
        case Phase.PROMOTING:
            decision = _promoting(spec, status, seen, now)
        case Phase.ROLLING_BACK:
            decision = _rolling_back(spec, status, seen)
        case _:
            assert_never(status.phase)
    # Again, because a version that became stable just now is judged by its own windows.
    after, later = heed(spec, decision.status, seen)
    retrain = heed_retrain(spec, after, seen, now)
    outcomes = heed_outcomes(spec, status, retrain.status, seen)
    return replace(
        decision,
        desired=replace(decision.desired, retraining=retrain.retraining, probing=probing_of(spec, after)),
        status=with_conditions(outcomes.status, seen, now),
        requeue=_sooner(decision.requeue, retrain.requeue),
        notices=(*drift_notices, *decision.notices, *later, *retrain.notices, *outcomes.notices),
    )


def _sooner(*waits: timedelta | None) -> timedelta | None:
    return min((wait for wait in waits if wait is not None), default=None)


def _pending(spec: ReleaseSpec, status: Status, seen: Seen, now: datetime) -> Decision:
    """Bring up the first version: there is nothing to compare it with, so it only has to be ready.

    A release whose status was lost (a restored backup) comes here too. What serves then goes on
    serving until the version that the spec asks for can take over.
    """
    target, replicas = seen.target, spec.serving.replicas
    serving = frozenset(name for name, other in seen.workloads.items() if other.ready)
    if target is None:
        message = seen.problem.message if seen.problem else "the model is being resolved"
        return Decision(desired=Desired(spared=serving), status=say(status, message))
    ready = seen.ready(target.revision, replicas)
    if ready and seen.routed == frozenset({target.revision}):
        return first_version(spec, status, target, now)
    workload = seen.workloads.get(target.revision)
    message = f"version {target.version} starts: {workload.ready if workload else 0} of {replicas} pods ready"
    if workload and (trouble := workload.refused or workload.problem):
        message = f"{message}; {trouble}"
    desired = replace(only(target, replicas), spared=serving)
    if not ready and (still := serving & (seen.routed or frozenset())):
        desired = replace(desired, routed=still)
    return Decision(desired=desired, status=say(status, message), requeue=WATCH)


def _stable(spec: ReleaseSpec, status: Status, seen: Seen, now: datetime) -> Decision:
    """Serve; begin a canary when the spec means another revision than the one that serves."""
    stable, target = stable_of(status), seen.target
    previous = status.previous if status.previous and now < status.previous.until else None
    status = status.model_copy(update={"previous": previous})
    message = f"version {stable.version} serves"
    if target is not None and target.revision == stable.revision:
        status = status.model_copy(update={"rejected": None})
    elif target is not None:
        if previous and target.revision == previous.revision and seen.ready(previous.revision, 1):
            return back_to_previous(spec, status, previous, now)
        status = heed_retry(status, seen.commands, target)
        rejected = status.rejected
        if rejected is None or rejected.revision != target.revision:
            return begin_canary(spec, status, target, now)
        message = f"{message}; version {target.version} was rejected: {rejected.message}"
    return Decision(
        desired=steady(spec, status),
        status=say(status, message),
        requeue=previous.until - now if previous else None,
    )


def _starting(spec: ReleaseSpec, status: Status, seen: Seen, now: datetime) -> Decision:
    """Start the canary in the dark; open to it only when it is ready and alone with stable."""
    if back := back_from_unwanted(spec, status, seen, now):
        return back
    canary, stable = canary_of(status), stable_of(status)
    replicas = split_of(spec, canary).canary
    workload = seen.workloads.get(canary.revision)
    if workload and workload.refused:
        return reject(spec, status, seen, Reason.ARTIFACT_REFUSED, workload.refused, now)
    waited = now - canary.since
    ready = seen.ready(canary.revision, replicas)
    if not ready and waited > parse_duration(spec.canary.start_deadline):
        message = not_ready(canary, seen, replicas, waited)
        return reject(spec, status, seen, Reason.CANARY_NOT_READY, message, now)
    others, held = others_of(status, seen), _held_by_person(spec, seen)
    # Open already: the pass that opened died before it was remembered, and shutting would undo it.
    known = seen.routed in (frozenset({stable.revision}), pair_of(status))
    if ready and known and not others and not held:
        return enter_step(spec, status, 0, now)
    message = f"canary {canary.version} starts unseen by clients: "
    message += f"{workload.ready if workload else 0} of {replicas} pods are ready"
    if ready and held:
        message = f"canary {canary.version} is ready; {held}"
    elif ready and others:
        message = f"canary {canary.version} is ready; pods of revision {', '.join(others)} must go first"
    elif workload and workload.problem:
        message = f"{message}; {workload.problem}"
    desired = side_by_side(spec, status, canary_replicas=replicas, opened=False)
    return Decision(desired=desired, status=say(status, message), requeue=WATCH)


def _progressing(spec: ReleaseSpec, status: Status, seen: Seen, now: datetime) -> Decision:
    """Judge the canary at its weight: back, on, or wait."""
    if back := back_from_unwanted(spec, status, seen, now):
        return back
    canary, plan = canary_of(status), spec.canary.plan
    index = min(canary.step, len(plan) - 1)
    change = plan[index].weight - canary.requested_weight
    if change < 0 or (change > 0 and not spec.paused):
        return enter_step(spec, status, index, now)
    replicas = split_of(spec, canary).canary
    ready = seen.ready(canary.revision, replicas)
    in_effect = ready and seen.ready(stable_of(status).revision, 1) and seen.routed == pair_of(status)
    if canary.step_since is None and in_effect:
        canary = canary.model_copy(update={"step_since": now})
    canary = canary.model_copy(
        update={"steps": len(plan), "unready_since": None if ready else canary.unready_since or now}
    )
    status = status.model_copy(update={"canary": canary})
    waited = now - (canary.unready_since or now)
    if waited > parse_duration(spec.canary.start_deadline):
        message = not_ready(canary, seen, replicas, waited)
        return reject(spec, status, seen, Reason.CANARY_NOT_READY, message, now)
    desired = side_by_side(spec, status, canary_replicas=replicas, opened=True)
    if canary.step_since is None:
        return _await_effect(spec, status, seen, now, desired)
    if isinstance(seen.metrics, NotDue):
        return Decision(desired=desired, status=status, requeue=_until_next_look(spec, canary, now))
    found = judge(
        spec=spec,
        status=status,
        metrics=seen.metrics,
        answers=seen.answers,
        next_weight=next_weight(spec, canary),
        now=now,
        pods={name: each.ready_names for name, each in seen.workloads.items()},
    )
    return _act_on(found, spec, status, seen, now, desired)


def _until_next_look(spec: ReleaseSpec, canary: CanaryStatus, now: datetime) -> timedelta:
    """Return the time that is left: whoever wakes a pass, a look comes when it is due."""
    left = (canary.next_look or now) - now
    return max(timedelta(0), min(left, spec.analysis.period))


def _await_effect(spec: ReleaseSpec, status: Status, seen: Seen, now: datetime, desired: Desired) -> Decision:
    """Wait until the weight is seen in effect; when that alone outlasts the deadline, wait for a person."""
    canary = canary_of(status)
    message = f"step {canary.step + 1} of {canary.steps}: waiting until the weight is seen in effect"
    if others := others_of(status, seen):
        message = f"{message}; pods of revision {', '.join(others)} must go first"
    waited = now - (canary.asked_since or now)
    if waited <= parse_duration(spec.canary.progress_deadline):
        return Decision(desired=desired, status=say(status, message), requeue=SOON)
    message = f"no verdict within {spec.canary.progress_deadline}: {message}"
    canary = canary.model_copy(update={"inconclusive": True})
    entered = status.phase is not Phase.PAUSED
    status = status.model_copy(update={"phase": Phase.PAUSED, "canary": canary, "message": message})
    notices = (Notice(reason=Reason.INCONCLUSIVE, message=message, warning=True),) if entered else ()
    return Decision(desired=desired, status=status, requeue=spec.analysis.period, notices=notices)


def _act_on(
    found: Judgement, spec: ReleaseSpec, status: Status, seen: Seen, now: datetime, desired: Desired
) -> Decision:
    """Turn a judgement into a move, or into waiting."""
    wait = min(spec.analysis.period, found.look_in or spec.analysis.period)
    canary = canary_of(status).model_copy(
        update={"effective_weight": found.effective_weight, "next_look": now + wait}
    )
    status = status.model_copy(
        update={
            "canary": canary,
            "evidence": found.evidence,
            "gates": found.gates,
            "verdict": found.verdict,
            "samples": found.samples or status.samples,
        }
    )
    if found.verdict is Verdict.FAIL:
        return reject(spec, status, seen, Reason.REGRESSION, found.message, now)
    policy = policy_at_deadline(found, spec, canary, now)
    if policy is OnInsufficientEvidence.ROLL_BACK:
        return reject(spec, status, seen, Reason.INCONCLUSIVE, decided_by_deadline(found, spec), now)
    hold = _why_hold(found, spec, status, seen, now)
    if hold is None and policy is OnInsufficientEvidence.PROMOTE:
        return promote_unproven(spec, status, decided_by_deadline(found, spec), now)
    if hold is None:
        return advance(spec, status, now, by_probes=found.by_probes)
    reason, message = hold
    inconclusive = canary.inconclusive or reason is Reason.INCONCLUSIVE
    phase = Phase.PAUSED if reason in PERSON_NEEDED else Phase.PROGRESSING
    entered = phase is Phase.PAUSED and status.phase is not phase
    status = status.model_copy(
        update={
            "phase": phase,
            "canary": canary.model_copy(update={"inconclusive": inconclusive}),
            "message": message,
        }
    )
    notices = (Notice(reason=reason, message=message),) if entered else ()
    return Decision(desired=desired, status=status, requeue=wait, notices=notices)


def _why_hold(
    found: Judgement, spec: ReleaseSpec, status: Status, seen: Seen, now: datetime
) -> tuple[Reason, str] | None:
    """Return why the canary stays where it is, or None when it may go on."""
    canary = canary_of(status)
    approved = Commands.names(seen.commands.approve, canary)
    late = is_late(spec, canary, now)
    promotes = policy_at_deadline(found, spec, canary, now) is OnInsufficientEvidence.PROMOTE
    if spec.paused:
        text = f"spec.paused holds canary {canary.version} at {canary.requested_weight} %"
        return Reason.SUSPENDED, text
    if canary.inconclusive or (late and found.verdict is not Verdict.PASS and not promotes):
        text = f"no verdict within {spec.canary.progress_deadline}: {found.message}"
        asked = f"annotate approve or abort with {canary.revision}"
        return None if approved else (Reason.INCONCLUSIVE, f"{text}; {asked}")
    if found.verdict is Verdict.UNAVAILABLE:
        return Reason.METRICS_UNAVAILABLE, found.message
    if unfit := _unfit(status, seen):
        return Reason.HOLDING, f"holding: {unfit}"
    if promotes:
        return None if approved else why_not_promoted(spec, status, seen, late=late)
    if found.verdict is not Verdict.PASS:
        return Reason.HOLDING, found.message
    plan = spec.canary.plan
    step = plan[min(canary.step, len(plan) - 1)]
    left = parse_duration(step.bake) - (now - (canary.step_since or now))
    if left > timedelta(0):
        passed = found.by_probes or "every gate passes"
        return Reason.HOLDING, f"{passed}; the step bakes for another {format_duration(left)}"
    if canary.step + 1 < len(plan) or approved:
        return None
    return why_not_promoted(spec, status, seen, late=late)


def _unfit(status: Status, seen: Seen) -> str | None:
    """Return what is wrong with the model or with the pods, whatever the gates say, or None."""
    canary, stable = canary_of(status), stable_of(status)
    if seen.problem:
        return seen.problem.message
    if canary.unready_since:
        return f"not all pods of canary {canary.version} are ready"
    if not seen.ready(stable.revision, 1):
        return f"no pod of stable {stable.version} is ready"
    return None


def _promoting(spec: ReleaseSpec, status: Status, seen: Seen, now: datetime) -> Decision:
    """Bring the canary to full strength, then move the pointer."""
    if back := back_from_unwanted(spec, status, seen, now):
        return back
    canary, replicas = canary_of(status), spec.serving.replicas
    if _held_by_person(spec, seen):
        # Back to where it is judged: at full strength nobody looks at it.
        return enter_step(spec, status, len(spec.canary.plan) - 1, now)
    if seen.ready(canary.revision, replicas):
        return promote(spec, status, now)
    waited = now - (canary.asked_since or now)
    if waited > parse_duration(spec.canary.start_deadline):
        message = not_ready(canary, seen, replicas, waited)
        return reject(spec, status, seen, Reason.CANARY_NOT_READY, message, now)
    desired = side_by_side(spec, status, canary_replicas=replicas, opened=True)
    passed = "is promoted by the deadline" if canary.unproven else "passed"
    passed = f"{passed} ({told})" if (told := probed_steps(canary)) else passed
    message = f"canary {canary.version} {passed}; it grows to {replicas} pods before it becomes stable"
    return Decision(desired=desired, status=say(status, message), requeue=WATCH)


def _held_by_person(spec: ReleaseSpec, seen: Seen) -> str | None:
    """Return what a person has set in the way of going forward, or None."""
    if spec.paused:
        return "spec.paused holds it back"
    return f"holding: {seen.problem.message}" if seen.problem else None


def _rolling_back(spec: ReleaseSpec, status: Status, seen: Seen) -> Decision:
    """Keep the canary's pods until the router is seen sending them nothing; then they drain."""
    canary, stable = canary_of(status), stable_of(status)
    if seen.routed != frozenset({stable.revision}):
        kept = wanted_pods(canary, seen)
        desired = side_by_side(spec, status, canary_replicas=kept, opened=False)
        return Decision(desired=desired, status=status, requeue=SOON)
    message = f"version {stable.version} serves alone; canary {canary.version} is removed"
    status = status.model_copy(
        update={
            "phase": Phase.STABLE,
            "canary": None,
            "weight": 0,
            "evidence": Evidence(),
            "message": message,
        }
    )
    notice = Notice(reason=Reason.ROLLED_BACK, message=message)
    return Decision(desired=steady(spec, status), status=status, requeue=SOON, notices=(notice,))
