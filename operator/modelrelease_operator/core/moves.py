"""The moves of a release: each returns the decision that makes it, with its record and its Event."""

from dataclasses import replace
from datetime import datetime, timedelta

from modelrelease_operator.api.durations import format_duration, parse_duration
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import (
    CanaryStatus,
    Crashes,
    Evidence,
    Phase,
    Previous,
    Reason,
    Rejected,
    StableStatus,
    Status,
    Target,
)
from modelrelease_operator.core.split import rounding_note, split
from modelrelease_operator.core.state import Commands, Decision, Notice, Seen
from modelrelease_operator.core.watch import as_pair
from modelrelease_operator.core.worlds import (
    SOON,
    WATCH,
    alike_note,
    canary_of,
    entry,
    last_alike,
    only,
    probed_steps,
    ready_of,
    say,
    side_by_side,
    split_of,
    stable_of,
    steady,
)

QUIET = (Reason.SUPERSEDED, Reason.SPEC_REVERTED)
"""Rollbacks that a person asked for by changing the spec: no warning."""


FRESH_STEP: dict[str, object] = {
    "waiting_seconds": 0.0, "step_seconds": 0.0, "unjudged_seconds": 0.0, "blind_since": None,
    "blind_seconds": 0.0, "unseen": False, "visible_seconds": 0.0,
    "unready_since": None, "unready_seconds": 0.0,
    "ready_seconds": 0.0,
    "alone": False, "blocked": None, "question": None, "asked_at": None, "approved": False,
    "approved_anyway": False,
}  # fmt: skip
"""What belongs to one step of a canary and is forgotten at the next."""


def first_version(spec: ReleaseSpec, status: Status, target: Target, now: datetime) -> Decision:
    """The first version is ready: it is stable."""
    message = f"version {target.version} serves"
    stable = StableStatus(**target.parts(), since=now)
    status = status.model_copy(update={"phase": Phase.STABLE, "stable": stable, "message": message})
    status = status.with_history(entry(target, Reason.FIRST_VERSION_SERVES, message, now))
    notice = Notice(reason=Reason.FIRST_VERSION_SERVES, message=message)
    return Decision(desired=only(target, spec.serving.replicas), status=status, notices=(notice,))


def recover(status: Status, found: Target, now: datetime) -> tuple[Status, Notice]:
    """Take up a release whose status was lost, from what its Deployments say."""
    message = f"status was lost; version {found.version} ({found.revision}) is stable, as its Deployment says"
    stable = StableStatus(**found.parts(), since=now)
    status = status.model_copy(update={"phase": Phase.STABLE, "stable": stable, "message": message})
    status = status.with_history(entry(found, Reason.STATUS_LOST, message, now))
    return status, Notice(reason=Reason.STATUS_LOST, message=message, warning=True)


def begin_canary(spec: ReleaseSpec, status: Status, target: Target, now: datetime) -> Decision:
    """Start the pods of a new candidate in the dark."""
    canary = CanaryStatus(**target.parts(), steps=len(spec.canary.plan), since=now)
    message = f"canary {target.version} ({target.revision}) starts beside {stable_of(status).version}"
    status = status.model_copy(
        update={
            "phase": Phase.STARTING,
            "canary": canary,
            "previous": None,
            "rejected": None,
            "gates": (),
            "verdict": None,
            "evidence": Evidence(),
            "crashes": Crashes(),
            "weight": 0,
            "message": message,
        }
    )
    replicas = split_of(spec, canary).canary
    return Decision(
        desired=side_by_side(spec, status, canary_replicas=replicas, opened=False),
        status=status,
        requeue=WATCH,
        notices=(Notice(reason=Reason.CANARY_STARTED, message=message),),
    )


def enter_step(
    spec: ReleaseSpec, status: Status, index: int, now: datetime, *, why: str | None = None
) -> Decision:
    """Ask for a step's weight. The step and its evidence start when the weight is seen in effect."""
    step = spec.canary.plan[index]
    notes = (
        alike_note(spec, index),
        rounding_note(weight=step.weight, chosen=split(weight=step.weight, replicas=spec.serving.replicas)),
    )
    chosen = split(weight=step.weight, replicas=spec.serving.replicas)
    canary = canary_of(status).model_copy(
        update={
            "step": index,
            "steps": len(spec.canary.plan),
            "requested_weight": step.weight,
            "asked_since": now,
            "step_since": None,
            "effective_weight": None,
            "next_look": now + SOON,
            "note": "; ".join(note for note in notes if note) or None,
            **FRESH_STEP,
            "clock_at": now,
        }
    )
    message = f"step {index + 1} of {len(spec.canary.plan)}: {step.weight} % to canary {canary.version}"
    message = f"{message}; {why}" if why else message
    status = status.model_copy(
        update={
            "phase": Phase.PROGRESSING,
            "canary": canary,
            "weight": step.weight,
            "evidence": status.evidence.next_step(),
            "message": message,
        }
    )
    return Decision(
        desired=side_by_side(spec, status, canary_replicas=chosen.canary, opened=True),
        status=status,
        requeue=SOON,
        notices=(Notice(reason=Reason.STEP_STARTED, message=message),),
    )


def advance(spec: ReleaseSpec, status: Status, now: datetime, *, by_probes: str | None = None) -> Decision:
    """Go to the next step, or to promotion after the last; `by_probes` says that users did not prove it."""
    canary = canary_of(status)
    if by_probes:
        steps = tuple(sorted({*canary.probed_steps, canary.step + 1}))
        canary = canary.model_copy(update={"probed_steps": steps})
    if canary.approved and canary.inconclusive:
        # A person let one step pass; the next has its own time for a verdict.
        canary = canary.model_copy(update={"inconclusive": False, "judged_seconds": 0.0})
        told = f"a person let step {canary.step + 1} pass without a verdict"
    else:
        told = None
    status = status.model_copy(update={"canary": canary})
    following = last_alike(spec, canary.step) + 1
    if following < len(spec.canary.plan):
        return enter_step(spec, status, last_alike(spec, following), now, why=told or by_probes)
    if told:
        return promote_unproven(spec, status, told, now)
    message = f"canary {canary.version} passed every gate at {canary.requested_weight} %"
    message = f"{message}; {by_probes}" if by_probes else message
    status = status.model_copy(update={"canary": canary.model_copy(update={"unproven": None})})
    return _grow(spec, status, message, now)


def promote_by_hand(spec: ReleaseSpec, status: Status, now: datetime) -> Decision:
    """Go to promotion because a person says so, whatever is known of the canary."""
    canary = canary_of(status)
    why = f"promoted by hand without a verdict, {canary.by_hand}"
    canary = canary.model_copy(update={"unproven": why, "alone": False, "unseen": False})
    status = status.model_copy(update={"canary": canary, "weight": canary.requested_weight})
    status = status.with_history(entry(canary, Reason.PROMOTED_BY_HAND, why, now))
    return _grow(spec, status, f"canary {canary.version} is {why}", now)


def withdraw(spec: ReleaseSpec, status: Status, seen: Seen, why: str) -> Decision:
    """Take a canary that cannot be seen out of the Service. Its pods and its evidence stay."""
    canary = canary_of(status)
    blind = format_duration(timedelta(seconds=canary.blind_seconds))
    waits, why = in_the_dark(canary, seen, why)
    message = f"canary {canary.version} left the Service and {waits}, not seen for {blind}: {why}"
    canary = canary.model_copy(update={"unseen": True, "effective_weight": None, "question": None,
                                       "approved": False, "unjudged_seconds": 0.0,
                                       "visible_seconds": 0.0})  # fmt: skip
    status = status.model_copy(
        update={"phase": Phase.PAUSED, "canary": canary, "weight": 0, "message": message}
    )
    return Decision(
        desired=side_by_side(spec, status, canary_replicas=wanted_pods(canary, seen), opened=False),
        status=status,
        requeue=SOON,
        notices=(Notice(reason=Reason.CANARY_UNSEEN, message=message, warning=True),),
    )


def in_the_dark(canary: CanaryStatus, seen: Seen, why: str) -> tuple[str, str]:
    """Say how a canary that left the Service waits, and why it cannot be seen: without pods nothing can."""
    ready, wanted = ready_of(seen, canary.revision), wanted_pods(canary, seen)
    if ready >= wanted:
        return "waits warm", why
    workload = seen.workloads.get(canary.revision)
    trouble = workload and (workload.blocked or workload.problem)
    return f"waits with {ready} of {wanted} pods ready", trouble or (
        why if ready else "no pod of it is ready"
    )


def reopen(spec: ReleaseSpec, status: Status, why: str, now: datetime) -> Decision:
    """Make a version that was just promoted the canary again, beside the predecessor that is warm."""
    pair = as_pair(spec, status)
    canary = canary_of(pair)
    message = f"version {canary.version} is compared with {stable_of(pair).version} again: {why}"
    status = pair.model_copy(
        update={"canary": canary.model_copy(update={"since": now}), "previous": None, "rejected": None}
    ).with_history(entry(canary, Reason.REOPENED, message, now))
    made = enter_step(spec, status, len(spec.canary.plan) - 1, now, why=why)
    return replace(
        made,
        status=say(made.status, message),
        notices=(Notice(reason=Reason.REOPENED, message=message, warning=True), *made.notices),
    )


def promote_unproven(spec: ReleaseSpec, status: Status, why: str, now: datetime) -> Decision:
    """Go to promotion although no gate proved the canary, and keep why for the record."""
    canary = canary_of(status).model_copy(update={"unproven": why})
    status = status.model_copy(update={"canary": canary})
    return _grow(spec, status, f"canary {canary.version} is promoted: {why}", now)


def _grow(spec: ReleaseSpec, status: Status, message: str, now: datetime) -> Decision:
    canary = canary_of(status).model_copy(
        update={"asked_since": now, "clock_at": now, "starting_seconds": 0.0, "blind_seconds": 0.0,
                "blind_since": None, "blocked": None, "question": None, "asked_at": None}
    )  # fmt: skip
    status = status.model_copy(update={"phase": Phase.PROMOTING, "canary": canary, "message": message})
    return Decision(
        desired=side_by_side(spec, status, canary_replicas=spec.serving.replicas, opened=True),
        status=status,
        requeue=SOON,
        notices=(Notice(reason=Reason.PROMOTING, message=message),),
    )


def promote(spec: ReleaseSpec, status: Status, now: datetime) -> Decision:
    """Move the pointer to the canary. No pod is restarted; the old ones stay warm."""
    canary, stable = canary_of(status), stable_of(status)
    kept = parse_duration(spec.canary.keep_previous)
    what = f"stays warm for {format_duration(kept)}" if kept else "is removed"
    message = f"version {canary.version} serves; version {stable.version} {what}"
    if told := canary.unproven or probed_steps(canary):
        message = f"{message}; {told}"
    evidence, crashes = status.evidence.next_step(), status.crashes.model_copy(update={"newly": 0})
    made = _point_at(spec, status, canary.target, now, Reason.PROMOTED, message)
    # Kept while the old version is warm: what it did is what the new one is watched against.
    return replace(made, status=made.status.model_copy(update={"evidence": evidence, "crashes": crashes}))


def back_to_previous(spec: ReleaseSpec, status: Status, previous: Previous, now: datetime) -> Decision:
    """Move the pointer back to the revision that is still warm: it was proven before.

    What it is moved from was taken back: if the spec names it again, it is a canary like any other.
    """
    message = f"back to version {previous.version}, still warm; version {stable_of(status).version} is out"
    made = _point_at(spec, status, previous.target, now, Reason.SPEC_REVERTED, message)
    before = made.status.previous
    taken_back = before and before.model_copy(update={"proven": False})
    return replace(made, status=made.status.model_copy(update={"previous": taken_back}))


def back_together(spec: ReleaseSpec, status: Status, previous: Previous, seen: Seen) -> Decision:
    """Open to both until as many pods of the previous version are ready as serve now."""
    ready = ready_of(seen, previous.revision)
    message = (
        f"back to version {previous.version}: {ready} of its {spec.serving.replicas} pods are ready; "
        f"version {stable_of(status).version} helps until all are"
    )
    desired = steady(spec, status)
    both = frozenset({previous.revision, stable_of(status).revision})
    return Decision(desired=replace(desired, routed=both), status=say(status, message), requeue=WATCH)


def _point_at(
    spec: ReleaseSpec, status: Status, new: Target, now: datetime, outcome: Reason, message: str
) -> Decision:
    keep = max(parse_duration(spec.canary.keep_previous), SOON)
    status = status.model_copy(
        update={
            "phase": Phase.STABLE,
            "stable": StableStatus(**new.parts(), since=now),
            "previous": Previous(
                **stable_of(status).parts(), until=now + keep, left_seconds=keep.total_seconds(), clock_at=now
            ),
            "canary": None,
            "rejected": None,
            "weight": 0,
            "evidence": Evidence(),
            "message": message,
        }
    ).with_history(entry(new, outcome, message, now))
    notice = Notice(reason=outcome, message=message)
    return Decision(desired=steady(spec, status), status=status, requeue=SOON, notices=(notice,))


def reject(
    spec: ReleaseSpec, status: Status, seen: Seen, reason: Reason, message: str, now: datetime
) -> Decision:
    """Give the traffic back and remember the revision, so that it is not tried again by itself."""
    canary = canary_of(status)
    rejected = Rejected(
        revision=canary.revision,
        version=canary.version,
        reason=reason,
        message=message,
        at=now,
    )
    status = status.with_rejection(rejected)
    return roll_back(spec, status, seen, reason, message, now)


def roll_back(
    spec: ReleaseSpec, status: Status, seen: Seen, reason: Reason, message: str, now: datetime
) -> Decision:
    """Send every client to stable at once; the canary's pods stay until that is seen."""
    canary = canary_of(status)
    status = status.model_copy(
        update={"phase": Phase.ROLLING_BACK, "weight": 0, "message": message}
    ).with_history(entry(canary, reason, message, now))
    return Decision(
        desired=side_by_side(spec, status, canary_replicas=wanted_pods(canary, seen), opened=False),
        status=status,
        requeue=SOON,
        notices=(Notice(reason=reason, message=message, warning=reason not in QUIET),),
    )


def wanted_pods(canary: CanaryStatus, seen: Seen) -> int:
    """Return the replicas that the canary's Deployment asks for now: a rollback changes none."""
    workload = seen.workloads.get(canary.revision)
    return max(1, workload.wanted) if workload else 1


def back_from_unwanted(spec: ReleaseSpec, status: Status, seen: Seen, now: datetime) -> Decision | None:
    """Roll back a canary that a person aborts or that the spec no longer asks for; None for any other."""
    canary = canary_of(status)
    if Commands.names(seen.commands.abort, canary):
        message = f"version {canary.version} was aborted by annotation"
        return reject(spec, status, seen, Reason.ABORTED, message, now)
    if seen.target is None or seen.target.revision == canary.revision:
        return None
    if seen.target.revision == stable_of(status).revision:
        message = f"the spec went back to version {seen.target.version}"
        return roll_back(spec, status, seen, Reason.SPEC_REVERTED, message, now)
    message = f"the spec moved on to version {seen.target.version} ({seen.target.revision})"
    return roll_back(spec, status, seen, Reason.SUPERSEDED, message, now)


def heed_retry(status: Status, commands: Commands, target: Target) -> Status:
    """Forget a rejection when a person asks again; else show the one of what the spec asks for now."""
    if Commands.names(commands.retry, target):
        return status.without_rejection(target.revision)
    return status.model_copy(update={"rejected": status.rejection_of(target.revision)})
