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
from modelrelease_operator.api.status import CanaryStatus, Crashes, Evidence, Phase, Reason, Status, Verdict
from modelrelease_operator.core import crashes as crash_gate
from modelrelease_operator.core.clock import kept, span, ticked
from modelrelease_operator.core.commands import blind, take, unfit, value_for
from modelrelease_operator.core.conditions import with_conditions
from modelrelease_operator.core.deadline import decided_by_deadline, is_late, policy_at_deadline
from modelrelease_operator.core.drift_status import heed
from modelrelease_operator.core.judge import Judgement, judge
from modelrelease_operator.core.lastgood import with_last_good
from modelrelease_operator.core.moves import (
    advance,
    back_from_unwanted,
    back_to_previous,
    back_together,
    begin_canary,
    enter_step,
    first_version,
    heed_retry,
    in_the_dark,
    promote,
    promote_by_hand,
    promote_unproven,
    recover,
    reject,
    reopen,
    wanted_pods,
    withdraw,
)
from modelrelease_operator.core.outcomes import heed as heed_outcomes
from modelrelease_operator.core.promotion import why_not_promoted
from modelrelease_operator.core.recovery import served_before, untold
from modelrelease_operator.core.retrain import heed as heed_retrain
from modelrelease_operator.core.samples import blind_limit, few_scrapes
from modelrelease_operator.core.state import (
    Decision,
    Desired,
    MetricsUnavailable,
    NotDue,
    Notice,
    Seen,
)
from modelrelease_operator.core.watch import as_pair, suspicion
from modelrelease_operator.core.worlds import (
    SOON,
    WATCH,
    bake_of,
    canary_of,
    judged_pair,
    last_alike,
    next_weight,
    not_ready,
    only,
    others_of,
    pair_of,
    probed_steps,
    probing_of,
    ready_of,
    say,
    side_by_side,
    split_of,
    stable_of,
    steady,
)

QUESTIONS = (Reason.WAITING_FOR_APPROVAL, Reason.INCONCLUSIVE, Reason.DRIFTED)
"""Reasons to hold that an approval lifts."""
PERSON_NEEDED = (Reason.SUSPENDED, Reason.WAITING_FOR_APPROVAL, Reason.INCONCLUSIVE)
"""Reasons to hold that only a person can lift."""
LATELY = timedelta(hours=2)
"""How long a return into the Service is remembered."""
SECOND_RETURN = 240.0
"""Seconds that a canary has to be seen before it comes back a second time; doubled for each further."""
LONGEST_WAIT = 1920.0
"""Most seconds of that."""
LONG_READY = 600.0
"""Seconds with all pods ready after which it is forgotten that they were not."""


def decide(*, spec: ReleaseSpec, status: Status, seen: Seen, now: datetime) -> Decision:
    """Return what should be, given what is asked for, remembered and seen."""
    status, drift_notices = heed(spec, status, seen)
    status, seen, command_notices = take(spec, status, seen, now)
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
    decided = (*drift_notices, *decision.notices, *command_notices)
    # Again, because a version that became stable just now is judged by its own windows.
    after, later = heed(spec, decision.status, seen)
    retrain = heed_retrain(spec, after, seen, now)
    outcomes = heed_outcomes(spec, status, retrain.status, seen)
    return replace(
        decision,
        desired=replace(decision.desired, retraining=retrain.retraining, probing=probing_of(spec, after)),
        status=with_conditions(with_last_good(outcomes.status, spec), seen, now),
        requeue=_sooner(decision.requeue, retrain.requeue),
        notices=(*decided, *later, *retrain.notices, *outcomes.notices),
    )


def _sooner(*waits: timedelta | None) -> timedelta | None:
    return min((wait for wait in waits if wait is not None), default=None)


def _pending(spec: ReleaseSpec, status: Status, seen: Seen, now: datetime) -> Decision:
    """Bring up the first version: there is nothing to compare it with, so it only has to be ready.

    A release whose status was lost comes here too. What its Deployments say was stable stays stable. Where
    they are not its own (a restored backup), what serves goes on serving until the version that the spec
    asks for can take over.
    """
    target, replicas = seen.target, spec.serving.replicas
    found = served_before(seen)
    if found and (target is None or target.revision != found.revision):
        recovered, notice = recover(status, found, now)
        made = _stable(spec, recovered, seen, now)
        return replace(made, notices=(notice, *made.notices))
    if unclear := untold(seen):
        return Decision(desired=Desired(spared=frozenset(seen.workloads)), status=say(status, unclear))
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
    before = status.previous
    previous = kept(spec, before, now)
    status = status.model_copy(update={"previous": previous})
    if previous is None:
        status = status.model_copy(update={"evidence": Evidence(), "crashes": Crashes()})
    message = f"version {stable.version} serves"
    if target is None or target.revision == stable.revision:
        status = status.model_copy(update={"rejected": None}) if target else status
    else:
        if previous and previous.proven and target.revision == previous.revision:
            if seen.ready(previous.revision, _serving(spec, status, seen)):
                return back_to_previous(spec, status, previous, now)
            if seen.ready(previous.revision, 1):
                return back_together(spec, status, previous, seen)
        status = heed_retry(status, seen.commands, target)
        rejected = status.rejected
        if rejected is None:
            return begin_canary(spec, status, target, now)
        message = f"{message}; version {target.version} was rejected: {rejected.message}"
    if judged_pair(status) and before:
        status, why = _watched(spec, status, seen, now, span(spec, before.clock_at, now))
        if why and _may_reopen(spec, status, seen):
            return reopen(spec, status, why, now)
    return Decision(
        desired=steady(spec, status),
        status=say(status, message),
        requeue=min(previous.left, spec.analysis.period) if previous else None,
    )


def _serving(spec: ReleaseSpec, status: Status, seen: Seen) -> int:
    """Return how many pods of the way back must be ready: as many as serve now, up to its full strength."""
    return min(spec.serving.replicas, max(1, ready_of(seen, stable_of(status).revision)))


def _watched(
    spec: ReleaseSpec, status: Status, seen: Seen, now: datetime, passed: float
) -> tuple[Status, str | None]:
    """Go on counting what the new version does, and say what is suspicious about it, if anything is."""
    pair = as_pair(spec, status)
    found = _judged(spec, pair, seen, now)
    # Nothing is proven without a concurrent arm: the tests stay as they were when there was one.
    update = {"processes": status.evidence.processes, "bounds": status.evidence.bounds}
    evidence = found.evidence.model_copy(update=update)
    crashes = _crashes(pair, seen, passed)
    status = status.model_copy(update={"evidence": evidence, "crashes": crashes})
    return status, suspicion(spec, evidence, crashes)


def _may_reopen(spec: ReleaseSpec, status: Status, seen: Seen) -> bool:
    """Return whether both can serve side by side now: the predecessor at full strength, and nobody else."""
    stable, previous = stable_of(status), status.previous
    if previous is None or (seen.target and seen.target.revision != stable.revision):
        return False
    known = {stable.revision, previous.revision}
    strangers = any(other.pods for name, other in seen.workloads.items() if name not in known)
    return seen.ready(previous.revision, spec.serving.replicas) and not strangers


def _starting(spec: ReleaseSpec, status: Status, seen: Seen, now: datetime) -> Decision:
    """Start the canary in the dark; open to it only when it is ready and alone with stable."""
    if back := back_from_unwanted(spec, status, seen, now):
        return back
    status, passed = _ticked(spec, status, now)
    canary, stable = canary_of(status), stable_of(status)
    replicas = split_of(spec, canary).canary
    workload = seen.workloads.get(canary.revision)
    if workload and workload.refused:
        return reject(spec, status, seen, Reason.ARTIFACT_REFUSED, workload.refused, now)
    ready = seen.ready(canary.revision, replicas)
    status, notices = _started(status, seen, passed, ready=ready)
    if late := _late_start(spec, status, seen, replicas, now, ready=ready):
        return late
    others, held = others_of(status, seen), _held_by_person(spec, seen)
    # Open already: the pass that opened died before it was remembered, and shutting would undo it.
    known = seen.routed in (frozenset({stable.revision}), pair_of(status))
    if ready and known and not others and not held:
        if canary.by_hand:
            return promote_by_hand(spec, status, now)
        return enter_step(spec, status, last_alike(spec, 0), now)
    message = f"canary {canary.version} starts unseen by clients: "
    message += f"{workload.ready if workload else 0} of {replicas} pods are ready"
    if ready and held:
        message = f"canary {canary.version} is ready; {held}"
    elif ready and others:
        message = f"canary {canary.version} is ready; pods of revision {', '.join(others)} must go first"
    elif workload and (trouble := workload.blocked or workload.problem):
        message = f"{message}; {trouble}"
    if not seen.ready(stable.revision, 1):
        # It will carry everything.
        replicas = max(replicas, spec.serving.replicas)
    desired = side_by_side(spec, status, canary_replicas=replicas, opened=False)
    return Decision(desired=desired, status=say(status, message), requeue=WATCH, notices=notices)


def _ticked(spec: ReleaseSpec, status: Status, now: datetime) -> tuple[Status, float]:
    canary, passed = ticked(spec, canary_of(status), now)
    return status.model_copy(update={"canary": canary}), passed


def _started(status: Status, seen: Seen, passed: float, *, ready: bool) -> tuple[Status, tuple[Notice, ...]]:
    """Count the time that the canary's pods take to start, unless the cluster lacks what they need."""
    status, notices = _blocked(status, seen, ready=ready)
    canary = canary_of(status)
    counts = not ready and canary.blocked is None
    update = {"starting_seconds": canary.starting_seconds + passed * counts}
    return status.model_copy(update={"canary": canary.model_copy(update=update)}), notices


def _blocked(status: Status, seen: Seen, *, ready: bool) -> tuple[Status, tuple[Notice, ...]]:
    """Remember what the cluster lacks, and tell it once."""
    canary = canary_of(status)
    workload = seen.workloads.get(canary.revision)
    blocked = None if ready or workload is None else workload.blocked
    told: tuple[Notice, ...] = ()
    if blocked and canary.blocked is None:
        message = f"canary {canary.version} waits for the cluster, which is not held against it: {blocked}"
        told = (Notice(reason=Reason.WAITING_FOR_CLUSTER, message=message, warning=True),)
    return status.model_copy(update={"canary": canary.model_copy(update={"blocked": blocked})}), told


def _late_start(
    spec: ReleaseSpec, status: Status, seen: Seen, replicas: int, now: datetime, *, ready: bool
) -> Decision | None:
    """Reject a canary whose pods did not start in time, by its own fault."""
    canary = canary_of(status)
    waited = timedelta(seconds=canary.starting_seconds)
    if ready or canary.blocked or waited <= parse_duration(spec.canary.start_deadline):
        return None
    message = not_ready(canary, seen, replicas, waited)
    return reject(spec, status, seen, Reason.CANARY_NOT_READY, message, now)


def _progressing(spec: ReleaseSpec, status: Status, seen: Seen, now: datetime) -> Decision:
    """Judge the canary at its weight: back, on, or wait."""
    if back := back_from_unwanted(spec, status, seen, now):
        return back
    status, passed = _ticked(spec, status, now)
    canary, plan = canary_of(status), spec.canary.plan
    if canary.by_hand:
        return promote_by_hand(spec, status, now)
    index = min(canary.step, len(plan) - 1)
    change = plan[index].weight - canary.requested_weight
    if not canary.unseen and (change < 0 or (change > 0 and not spec.paused)):
        return enter_step(spec, status, index, now)
    replicas = split_of(spec, canary).canary
    ready = seen.ready(canary.revision, replicas)
    status, notices = _blocked(status, seen, ready=ready)
    status = _with_readiness(spec, status, now, passed, ready=ready)
    status = status.model_copy(update={"crashes": _crashes(status, seen, passed)})
    canary = canary_of(status)
    serves = seen.ready(canary.revision, 1)
    standing = seen.ready(stable_of(status).revision, 1)
    waited = timedelta(seconds=canary.unready_seconds)
    if waited > parse_duration(spec.canary.start_deadline) and (standing or not serves):
        message = not_ready(canary, seen, replicas, waited)
        return reject(spec, status, seen, Reason.CANARY_NOT_READY, message, now)
    if serves and not standing:
        return _alone(spec, status, seen, now)
    if canary.alone:
        return _together_again(spec, status, seen, index, now, passed)
    routed = pair_of(status) if not canary.unseen else frozenset({stable_of(status).revision})
    in_effect = ready and standing and seen.routed == routed
    if canary.step_since is None and in_effect:
        canary = canary.model_copy(update={"step_since": now})
        status = status.model_copy(update={"evidence": _from_here(status.evidence)})
    else:
        counted = "waiting_seconds" if canary.step_since is None else "step_seconds"
        canary = canary.model_copy(update={counted: getattr(canary, counted) + passed})
    status = status.model_copy(update={"canary": canary})
    pods = wanted_pods(canary, seen) if canary.unseen else replicas
    desired = side_by_side(spec, status, canary_replicas=pods, opened=not canary.unseen)
    if canary.step_since is None and not canary.unseen:
        status, back = _meanwhile(spec, status, seen, now, passed)
        return back or _await_effect(spec, status, seen, desired)
    if isinstance(seen.metrics, NotDue):
        wait = _until_next_look(spec, canary, now)
        return Decision(
            desired=desired, status=_unlooked(status, passed), requeue=wait, notices=tuple(notices)
        )
    found = _judged(spec, status, seen, now)
    made = _act_on(found, spec, _looked_at(found, spec, status, seen, now, passed), seen, now, desired)
    return replace(made, notices=(*notices, *made.notices))


def _until_next_look(spec: ReleaseSpec, canary: CanaryStatus, now: datetime) -> timedelta:
    """Return the time that is left: whoever wakes a pass, a look comes when it is due."""
    left = (canary.next_look or now) - now
    return max(timedelta(0), min(left, spec.analysis.period))


def _unlooked(status: Status, passed: float) -> Status:
    """Keep the time since the last look for the next one to count."""
    canary = canary_of(status)
    blind = canary.blind_seconds + passed if canary.blind_since else 0.0
    visible = canary.visible_seconds + passed if canary.visible_seconds else 0.0
    update = {
        "unjudged_seconds": canary.unjudged_seconds + passed,
        "blind_seconds": blind,
        "visible_seconds": visible,
    }
    return status.model_copy(update={"canary": canary.model_copy(update=update)})


def _from_here(evidence: Evidence) -> Evidence:
    """Forget what would promote, of the time before the weight was in effect; no copy starts for it."""
    return evidence.next_step().model_copy(update={"copies": evidence.copies})


def _with_readiness(
    spec: ReleaseSpec, status: Status, now: datetime, passed: float, *, ready: bool
) -> Status:
    """Count the time in which not all of the canary's pods are ready, by its own fault."""
    canary = canary_of(status)
    unready, well = canary.unready_seconds, canary.ready_seconds + passed if ready else 0.0
    if not ready and canary.blocked is None:
        unready += passed
    elif well >= LONG_READY:
        unready = 0.0
    update = {
        "steps": len(spec.canary.plan),
        "unready_since": None if ready else canary.unready_since or now,
        "unready_seconds": unready,
        "ready_seconds": well,
    }
    return status.model_copy(update={"canary": canary.model_copy(update=update)})


def _crashes(pair: Status, seen: Seen, passed: float) -> Crashes:
    """Count the ends of containers of both arms since the last pass."""
    canary, stable = canary_of(pair), stable_of(pair)
    arms = (seen.workloads.get(canary.revision), seen.workloads.get(stable.revision))
    return crash_gate.counted(pair.crashes, *arms, passed)


def _judged(spec: ReleaseSpec, status: Status, seen: Seen, now: datetime) -> Judgement:
    """Have the evidence of both arms judged, at a look that is due."""
    found = judge(
        spec=spec,
        status=status,
        metrics=MetricsUnavailable(message="not asked") if isinstance(seen.metrics, NotDue) else seen.metrics,
        answers=seen.answers,
        next_weight=next_weight(spec, canary_of(status).step),
        now=now,
        pods={name: each.ready_names for name, each in seen.workloads.items()},
    )
    return replace(found, message=f"{found.message}: {seen.hint}") if seen.hint else found


def _alone(spec: ReleaseSpec, status: Status, seen: Seen, now: datetime) -> Decision:
    """Have the canary carry everything while no pod of stable is ready, and ask a person.

    It is not judged: there is nothing to compare it with. It is not taken back: nobody would answer.
    """
    canary, stable = canary_of(status), stable_of(status)
    replicas = max(spec.serving.replicas, split_of(spec, canary).canary)
    by_hand = value_for(status, "promote", canary.revision)
    message = (
        f"no pod of stable {stable.version} is ready; canary {canary.version} ({canary.revision}) answers "
        f"alone on {ready_of(seen, canary.revision)} of {replicas} pods; annotate promote={by_hand} to "
        "have it take over"
    )
    told = () if canary.alone else (Notice(reason=Reason.STABLE_NOT_READY, message=message, warning=True),)
    update = {
        "alone": True,
        "unseen": False,
        "question": Reason.STABLE_NOT_READY,
        "asked_at": canary.asked_at if canary.question is Reason.STABLE_NOT_READY else now,
        "blind_seconds": 0.0,
        "blind_since": None,
        "unjudged_seconds": 0.0,
    }
    status = status.model_copy(
        update={
            "phase": Phase.PROGRESSING,
            "weight": canary.requested_weight,
            "canary": canary.model_copy(update=update),
            "message": message,
        }
    )
    desired = side_by_side(spec, status, canary_replicas=replicas, opened=True)
    return Decision(desired=desired, status=status, requeue=spec.analysis.period, notices=told)


def _meanwhile(
    spec: ReleaseSpec, status: Status, seen: Seen, now: datetime, passed: float
) -> tuple[Status, Decision | None]:
    """Judge a canary that has clients before its weight is in effect: it may go back, and never on."""
    canary, stable = canary_of(status), stable_of(status)
    serve = seen.ready(canary.revision, 1) and seen.ready(stable.revision, 1)
    if not serve or seen.routed != pair_of(status) or isinstance(seen.metrics, NotDue):
        return status, None
    found = _judged(spec, status, seen, now)
    status = _looked_at(found, spec, status, seen, now, passed)
    if worse := _proven_worse(found, spec, status):
        return status, reject(spec, status, seen, Reason.REGRESSION, worse, now)
    if _too_blind(spec, status):
        return status, withdraw(spec, status, seen, found.message)
    return status, None


def _together_again(
    spec: ReleaseSpec, status: Status, seen: Seen, index: int, now: datetime, passed: float
) -> Decision:
    """Keep the canary at full strength until all of stable's pods are back; then the step begins anew."""
    canary, stable = canary_of(status), stable_of(status)
    if seen.ready(stable.revision, spec.serving.replicas):
        return enter_step(spec, status, index, now, why=f"stable {stable.version} is back")
    status, back = _meanwhile(spec, status, seen, now, passed)
    if back:
        return back
    canary = canary_of(status)
    ready = ready_of(seen, stable.revision)
    message = (
        f"{ready} of {spec.serving.replicas} pods of stable {stable.version} are ready again; "
        f"canary {canary.version} stays at full strength until all are"
    )
    update = {"question": None, "asked_at": None}
    status = status.model_copy(update={"canary": canary.model_copy(update=update), "message": message})
    replicas = max(spec.serving.replicas, split_of(spec, canary).canary)
    desired = side_by_side(spec, status, canary_replicas=replicas, opened=True)
    return Decision(desired=desired, status=status, requeue=WATCH)


def _await_effect(spec: ReleaseSpec, status: Status, seen: Seen, desired: Desired) -> Decision:
    """Wait until the weight is seen in effect; when that alone outlasts the deadline, wait for a person."""
    canary = canary_of(status)
    message = f"step {canary.step + 1} of {canary.steps}: waiting until the weight is seen in effect"
    if others := others_of(status, seen):
        message = f"{message}; pods of revision {', '.join(others)} must go first"
    if canary.blocked:
        message = f"{message}; {canary.blocked}"
    waited = timedelta(seconds=canary.waiting_seconds)
    if waited <= parse_duration(spec.canary.progress_deadline):
        return Decision(desired=desired, status=say(status, message), requeue=SOON)
    message = f"no verdict within {spec.canary.progress_deadline}: {message}"
    canary = canary.model_copy(update={"inconclusive": True})
    entered = status.phase is not Phase.PAUSED
    status = status.model_copy(update={"phase": Phase.PAUSED, "canary": canary, "message": message})
    notices = (Notice(reason=Reason.INCONCLUSIVE, message=message, warning=True),) if entered else ()
    return Decision(desired=desired, status=status, requeue=spec.analysis.period, notices=notices)


def _looked_at(
    found: Judgement, spec: ReleaseSpec, status: Status, seen: Seen, now: datetime, passed: float
) -> Status:
    """Remember a look: what it found, and how much time counts by it."""
    canary = canary_of(status)
    held = spec.paused or canary.unseen or canary.alone or canary.step_since is None
    held = held or canary.question not in (None, Reason.DRIFTED)
    decidable = not held and unfit(status, seen) is None
    bakes = found.verdict is Verdict.PASS and canary.step_seconds < bake_of(spec, canary.step).total_seconds()
    unjudged = canary.unjudged_seconds + passed * (decidable and not bakes)
    awaited = canary.question is Reason.WAITING_FOR_APPROVAL and found.verdict is Verdict.INSUFFICIENT
    update = {
        "effective_weight": None if canary.unseen else found.effective_weight,
        "next_look": now + min(spec.analysis.period, found.look_in or spec.analysis.period),
        "judged_seconds": canary.judged_seconds + unjudged * found.sighted,
        "unjudged_seconds": 0.0 if found.sighted else unjudged,
        "blind_since": None if found.sighted else canary.blind_since or now,
        "blind_seconds": 0.0 if found.sighted else canary.blind_seconds + passed,
        "visible_seconds": canary.visible_seconds + passed if _is_visible(found, canary) else 0.0,
    }
    return status.model_copy(
        update={
            "canary": canary.model_copy(update=update),
            "evidence": found.evidence,
            "gates": found.gates,
            "samples": found.samples or status.samples,
            # What was passed is not asked again while a person is awaited.
            "verdict": Verdict.PASS if awaited and status.verdict is Verdict.PASS else found.verdict,
        }
    )


def _is_visible(found: Judgement, canary: CanaryStatus) -> bool:
    """Return whether a canary out of the Service can be seen by now: at this look, or between two scrapes."""
    if not canary.unseen or found.verdict is Verdict.UNAVAILABLE:
        return False
    shown_lately = canary.blind_seconds <= few_scrapes(found.evidence)
    return found.sighted or (canary.visible_seconds > 0 and shown_lately)


def _proven_worse(found: Judgement, spec: ReleaseSpec, status: Status) -> str | None:
    """Return what is proven against the canary, or None."""
    if found.verdict is Verdict.FAIL:
        return found.message
    if crash_gate.convicts(status.crashes, spec):
        sure = 100 * (1 - crash_gate.SHARE * spec.analysis.false_rollback_probability)
        told = crash_gate.told(status.crashes, canary_of(status).version)
        return f"{told}: more often than stable's, with {sure:g} % confidence"
    return None


def _too_blind(spec: ReleaseSpec, status: Status) -> bool:
    limit = blind_limit(parse_duration(spec.analysis.max_blind), status.evidence)
    return canary_of(status).blind_seconds > limit.total_seconds()


def _act_on(
    found: Judgement, spec: ReleaseSpec, status: Status, seen: Seen, now: datetime, desired: Desired
) -> Decision:
    """Turn a judgement into a move, or into waiting."""
    canary = canary_of(status)
    if worse := _proven_worse(found, spec, status):
        return reject(spec, status, seen, Reason.REGRESSION, worse, now)
    if canary.unseen:
        return _act_in_the_dark(found, spec, status, seen, now, desired)
    if _too_blind(spec, status):
        return withdraw(spec, status, seen, found.message)
    policy = policy_at_deadline(found, spec, canary)
    if policy is OnInsufficientEvidence.ROLL_BACK:
        return reject(spec, status, seen, Reason.INCONCLUSIVE, decided_by_deadline(found, spec), now)
    hold = _why_hold(found, spec, status, seen)
    if hold is None and policy is OnInsufficientEvidence.PROMOTE and not canary.approved:
        return promote_unproven(spec, status, decided_by_deadline(found, spec), now)
    if hold is None:
        return advance(spec, status, now, by_probes=found.by_probes)
    return _hold(spec, status, desired, *hold, now)


def _hold(
    spec: ReleaseSpec, status: Status, desired: Desired, reason: Reason, message: str, now: datetime
) -> Decision:
    """Stay, and ask a person where only a person can go on: once for each wait."""
    canary = canary_of(status)
    question = reason if reason in QUESTIONS else None
    phase = Phase.PAUSED if reason in PERSON_NEEDED else Phase.PROGRESSING
    asks = question is not None and canary.question is not question
    entered = phase is Phase.PAUSED and status.phase is not phase
    update = {
        "inconclusive": canary.inconclusive or reason is Reason.INCONCLUSIVE,
        "question": question,
        "asked_at": None if question is None else now if asks else canary.asked_at,
    }
    status = status.model_copy(
        update={"phase": phase, "canary": canary.model_copy(update=update), "message": message}
    )
    told = phase is Phase.PAUSED and (asks or (entered and not question))
    notices = (Notice(reason=reason, message=message),) if told else ()
    wait = _until_next_look(spec, canary, now)
    return Decision(desired=desired, status=status, requeue=wait, notices=notices)


def _act_in_the_dark(
    found: Judgement, spec: ReleaseSpec, status: Status, seen: Seen, now: datetime, desired: Desired
) -> Decision:
    """Bring a canary that can be seen again back into the Service, where its step begins anew."""
    canary = canary_of(status)
    returned = tuple(at for at in canary.returned if timedelta(0) <= now - at < LATELY)
    # Seen twice, so that what it does once it has clients can be counted.
    awaited = max(few_scrapes(found.evidence), _damped(len(returned)))
    left = awaited - canary.visible_seconds
    often = _often(len(returned), awaited)
    if not found.sighted and not canary.visible_seconds:
        waits, why = in_the_dark(canary, seen, found.message)
        by_hand = value_for(status, "promote", canary.revision)
        message = f"canary {canary.version} left the Service and {waits}, because it cannot be seen: "
        message += f"{why}{often}; annotate abort, or promote={by_hand} to promote it unseen"
    elif spec.paused:
        message = f"canary {canary.version} can be seen again; spec.paused keeps it out of the Service"
    elif left > 0 or not found.sighted:
        told = format_duration(timedelta(seconds=max(1.0, left)))
        message = f"canary {canary.version} can be seen again; it comes back if that holds for another {told}"
        message += often
    elif canary.unready_since:
        message = f"canary {canary.version} can be seen again; not all of its pods are ready"
    else:
        index = min(canary.step, len(spec.canary.plan) - 1)
        update = {"returned": (*returned, now)}
        status = status.model_copy(update={"canary": canary.model_copy(update=update)})
        made = enter_step(spec, status, index, now, why="the canary can be seen again")
        notice = Notice(reason=Reason.CANARY_SEEN, message=made.status.message)
        return replace(made, notices=(notice, *made.notices))
    status = status.model_copy(update={"phase": Phase.PAUSED, "weight": 0, "message": message})
    return Decision(desired=desired, status=status, requeue=spec.analysis.period)


def _damped(returns: int) -> float:
    """Return the seconds that a canary has to be seen after so many returns: none before the first."""
    return min(LONGEST_WAIT, SECOND_RETURN * 2 ** (returns - 1)) if returns else 0.0


def _often(returns: int, awaited: float) -> str:
    """Say why a canary waits longer than the first time, if it does."""
    if not returns:
        return ""
    times = "once" if returns == 1 else f"{returns} times"
    told = format_duration(timedelta(seconds=awaited))
    return f"; it came back {times} lately, so it has to be seen for {told}"


def _why_hold(found: Judgement, spec: ReleaseSpec, status: Status, seen: Seen) -> tuple[Reason, str] | None:
    """Return why the canary stays where it is, or None when it may go on."""
    canary = canary_of(status)
    approved, late = canary.approved, is_late(spec, canary)
    promotes = policy_at_deadline(found, spec, canary) is OnInsufficientEvidence.PROMOTE
    passed = status.verdict is Verdict.PASS
    asked = canary.question is Reason.WAITING_FOR_APPROVAL
    if spec.paused:
        text = f"spec.paused holds canary {canary.version} at {canary.requested_weight} %"
        return Reason.SUSPENDED, text
    if not approved and (canary.inconclusive or (late and not passed and not promotes and not asked)):
        text = f"no verdict within {spec.canary.progress_deadline}: {found.message}"
        if passed:
            text = f"no verdict within {spec.canary.progress_deadline}; by now every gate passes"
        return Reason.INCONCLUSIVE, f"{text}; {_how_to_answer(status, seen)}"
    if trouble := _trouble(found, status, seen, waits=asked and not approved):
        return trouble
    if promotes and not approved:
        return why_not_promoted(spec, status, seen, late=late)
    if not passed and not approved and not asked:
        return Reason.HOLDING, found.message
    left = bake_of(spec, canary.step) - timedelta(seconds=canary.step_seconds)
    if left > timedelta(0):
        told = "a person approved" if approved else found.by_probes or "every gate passes"
        return Reason.HOLDING, f"{told}; the step bakes for another {format_duration(left)}"
    if approved or last_alike(spec, canary.step) + 1 < len(spec.canary.plan):
        return None
    return why_not_promoted(spec, status, seen, late=late)


def _trouble(found: Judgement, status: Status, seen: Seen, *, waits: bool) -> tuple[Reason, str] | None:
    """Return what keeps even a canary that passed, unless a person said that it does not matter.

    While a person is awaited the wait goes on: the trouble is told and is no other state.
    """
    if canary_of(status).approved_anyway:
        return None
    trouble: tuple[Reason, str] | None = None
    if found.verdict is Verdict.UNAVAILABLE:
        trouble = Reason.METRICS_UNAVAILABLE, found.message
    elif (why := unfit(status, seen)) or (
        why := crash_gate.unquiet(status.crashes, canary_of(status).version)
    ):
        trouble = Reason.HOLDING, f"holding: {why}"
    if trouble and waits:
        return Reason.WAITING_FOR_APPROVAL, trouble[1]
    return trouble


def _how_to_answer(status: Status, seen: Seen) -> str:
    """Return the words of the annotations that answer an inconclusive step."""
    canary = canary_of(status)
    why = blind(status) or unfit(status, seen)
    approve = value_for(status, "approve", canary.revision, "anyway" if why else None)
    if approve == canary.revision:
        return f"annotate approve or abort with {canary.revision}"
    return f"annotate approve={approve} or abort={canary.revision}"


def _promoting(spec: ReleaseSpec, status: Status, seen: Seen, now: datetime) -> Decision:
    """Bring the canary to full strength while it is judged, then move the pointer."""
    if back := back_from_unwanted(spec, status, seen, now):
        return back
    status, passed = _ticked(spec, status, now)
    canary, replicas = canary_of(status), spec.serving.replicas
    last = len(spec.canary.plan) - 1
    if _held_by_person(spec, seen):
        # Back to where it waits for a verdict.
        update = {"canary": canary.model_copy(update={"by_hand": None})}
        return enter_step(spec, status.model_copy(update=update), last, now)
    status = status.model_copy(update={"crashes": _crashes(status, seen, passed)})
    found = _judged(spec, status, seen, now)
    status = _looked_at(found, spec, status, seen, now, passed)
    standing = seen.ready(stable_of(status).revision, 1)
    if standing and (worse := _proven_worse(found, spec, status)):
        return reject(spec, status, seen, Reason.REGRESSION, worse, now)
    unwell = None if canary.by_hand else _unwell(found, spec, status, standing=standing)
    if unwell and _too_blind(spec, status) and standing:
        return withdraw(spec, status, seen, found.message)
    ready = seen.ready(canary.revision, replicas)
    status, notices = _started(status, seen, passed, ready=ready)
    if ready and not unwell:
        return promote(spec, status, now)
    if standing and (late := _late_start(spec, status, seen, replicas, now, ready=ready)):
        return late
    desired = side_by_side(spec, status, canary_replicas=replicas, opened=True)
    message = f"{_passed(canary)}; it grows to {replicas} pods before it becomes stable"
    if told := unwell or canary_of(status).blocked:
        message = f"{message}; holding: {told}"
    return Decision(desired=desired, status=say(status, message), requeue=WATCH, notices=notices)


def _unwell(found: Judgement, spec: ReleaseSpec, status: Status, *, standing: bool) -> str | None:
    """Say why a canary that passed does not become stable at this moment, or None."""
    canary = canary_of(status)
    if found.verdict is Verdict.UNAVAILABLE or _too_blind(spec, status):
        return found.message
    if not standing:
        return None
    return crash_gate.unquiet(status.crashes, canary.version)


def _passed(canary: CanaryStatus) -> str:
    """Say what a canary goes to promotion on."""
    passed = "passed"
    if canary.by_hand:
        passed = f"is promoted by hand without a verdict, {canary.by_hand}"
    elif canary.unproven:
        passed = "is promoted by the deadline"
        if not canary.unproven.startswith("the deadline"):
            passed = f"is promoted: {canary.unproven}"
    if told := probed_steps(canary):
        passed = f"{passed} ({told})"
    return f"canary {canary.version} {passed}"


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
            "crashes": Crashes(),
            "message": message,
        }
    )
    notice = Notice(reason=Reason.ROLLED_BACK, message=message)
    return Decision(desired=steady(spec, status), status=status, requeue=SOON, notices=(notice,))
