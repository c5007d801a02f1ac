"""Conditions as kstatus and `kubectl wait` read them, worked out from the rest of the status."""

import re
from collections.abc import Iterable
from datetime import datetime

from modelrelease_operator.api.status import CanaryStatus, Condition, Phase, Reason, Status
from modelrelease_operator.core.drift import sustained
from modelrelease_operator.core.observed import Observed
from modelrelease_operator.core.release.autoscaling import AUTOSCALED, State
from modelrelease_operator.core.release.recovery import untold

DRIFTED = "Drifted"
WAITING = "WaitingForPerson"
RESOLVED = "ModelResolved"
PROTECTED = "Protected"
WAITS_FOR_WORLD = frozenset({Reason.MODEL_UNAVAILABLE})
"""Problems that may pass by themselves; any other needs a person."""


def with_conditions(
    status: Status, observed: Observed, now: datetime, autoscaled: State | None = None,
    *, paused: bool = False,
) -> Status:  # fmt: skip
    """Return the status with its generation and its conditions brought up to date.

    `paused`: whether the spec holds the release.
    """
    stalled = _stalled(status, observed)
    conditions = [
        (kind, "True" if holds else "False", reason, message)
        for kind, holds, reason, message in (
            ("Ready", *_ready(status, observed)),
            ("Reconciling", *_reconciling(status, observed, stalled)),
            ("Stalled", *stalled),
            (WAITING, *_waiting(status, paused=paused)),
        )
    ]
    optional = {DRIFTED: sustained.condition(status), RESOLVED: _resolved(observed)}
    if observed.autoscalers.seen:
        optional[AUTOSCALED] = autoscaled  # Else what was known of it stays.
    conditions += [(kind, *state) for kind, state in optional.items() if state]
    kept = [condition for condition in status.conditions if optional.get(condition.type, True)]
    return _telling(status, kept, conditions, observed.generation, now)


def _resolved(observed: Observed) -> tuple[str, Reason, str] | None:
    """ModelResolved: where the alias points is known. Told only where an alias is followed."""
    followed = observed.following
    if followed is None:
        return None
    if followed.problem is None:
        return "True", Reason.RESOLVED, f"{followed.alias} is version {followed.version}"
    kept = f"; it goes on meaning version {followed.version}" if followed.version else ""
    return "False", followed.problem.reason, f"{followed.problem.message}{kept}"


def _ready(status: Status, observed: Observed) -> tuple[bool, Reason, str]:
    """Ready: what the spec asks for is what serves."""
    if observed.problem:
        return False, observed.problem.reason, observed.problem.message
    if status.phase is not Phase.STABLE or status.stable is None:
        return False, _reason_of_phase(status), status.message
    if status.rejected:
        return False, Reason.REJECTED, status.message
    if observed.target is None or observed.target.revision != status.stable.revision:
        return False, Reason.STARTING, status.message
    if not observed.ready(status.stable.revision, 1):
        return False, Reason.STABLE_NOT_READY, f"no pod of version {status.stable.version} is ready"
    return True, Reason.RECONCILED, status.message


def _reconciling(
    status: Status, observed: Observed, stalled: tuple[bool, Reason, str]
) -> tuple[bool, Reason, str]:
    """Reconciling: something moves, or will by itself."""
    if stalled[0]:
        return False, *stalled[1:]
    if observed.problem:
        return True, observed.problem.reason, observed.problem.message
    if status.phase is Phase.STABLE:
        return False, Reason.RECONCILED, status.message
    return True, _reason_of_phase(status), status.message


def _stalled(status: Status, observed: Observed) -> tuple[bool, Reason, str]:
    """Stalled: something failed, and nothing will move until a person mends it.

    A release that awaits a person works as it was asked to, so it is Reconciling and no failure.
    """
    if observed.problem and observed.problem.reason not in WAITS_FOR_WORLD:
        return True, observed.problem.reason, observed.problem.message
    if status.phase is Phase.STABLE and status.rejected and not observed.problem:
        return True, Reason.REJECTED, status.rejected.message
    if status.phase is Phase.PENDING and untold(observed):
        return True, Reason.STATUS_LOST, status.message
    refused = [workload.refused for workload in observed.workloads.values() if workload.refused]
    if status.phase is Phase.PENDING and refused:
        return True, Reason.ARTIFACT_REFUSED, refused[0]
    return False, Reason.RECONCILED, "nothing waits for a person"


def _waiting(status: Status, *, paused: bool) -> tuple[bool, Reason, str]:
    """WaitingForPerson: a person is asked something, and what."""
    canary = status.canary
    if canary and canary.question is Reason.STABLE_NOT_READY:
        return True, Reason.STABLE_NOT_READY, status.message
    if canary and canary.question and status.phase is Phase.SHADOWING:
        return True, canary.question, status.message
    if status.phase is Phase.PAUSED and not (canary and canary.unseen):
        return True, _reason_of_phase(status), status.message
    if canary and paused and _is_done_in_the_dark(status.phase, canary):
        return True, Reason.SUSPENDED, status.message
    return False, Reason.NOBODY_AWAITED, "no person is awaited"


def _is_done_in_the_dark(phase: Phase, canary: CanaryStatus) -> bool:
    """Return whether users are all that a canary without any waits for, but for a comparison."""
    is_ready = canary.dark_seconds is not None
    return phase is Phase.SHADOWING or (phase is Phase.STARTING and is_ready)


def _reason_of_phase(status: Status) -> Reason:
    canary = status.canary
    if canary and canary.blocked and status.phase is not Phase.ROLLING_BACK:
        return Reason.WAITING_FOR_CLUSTER
    match status.phase:
        case Phase.PENDING | Phase.STARTING:
            return Reason.STARTING
        case Phase.SHADOWING:
            return (canary and canary.question) or Reason.SHADOW_STARTED
        case Phase.PROGRESSING:
            return Reason.HOLDING
        case Phase.PAUSED:
            return _reason_of_pause(canary)
        case Phase.PROMOTING:
            return Reason.PROMOTING
        case Phase.ROLLING_BACK:
            return Reason.ROLLED_BACK
        case Phase.STABLE:
            return Reason.RECONCILED


def _reason_of_pause(canary: CanaryStatus | None) -> Reason:
    if canary is None:
        return Reason.SUSPENDED
    if canary.unseen:
        return Reason.CANARY_UNSEEN
    return canary.question or (Reason.INCONCLUSIVE if canary.inconclusive else Reason.SUSPENDED)


def with_stall(
    status: Status, reason: Reason, message: str, generation: int, now: datetime
) -> Status:
    """Return the status with the conditions of trouble that no decision knows of:
    a person must act.
    """
    answers = (("Ready", "False"), ("Reconciling", "False"), ("Stalled", "True"))
    conditions = [(kind, answer, reason, message) for kind, answer in answers]
    return _telling(status, status.conditions, conditions, generation, now).but(message=message)


def with_trouble(status: Status, message: str, generation: int, now: datetime) -> Status:
    """Return the status with the conditions of passes that fail:
    the world must act, and they go on.
    """
    answers = (("Ready", "Unknown"), ("Reconciling", "True"), ("Stalled", "False"))
    conditions = [(kind, answer, Reason.FAILING, message) for kind, answer in answers]
    return _telling(status, status.conditions, conditions, generation, now).but(message=message)


def with_protection(
    status: Status, problem: str, generation: int, now: datetime, *, refused: bool
) -> Status:
    """Return the status with why what serves has no budget for drains, or (where that is not
    `refused`, but does not work now) may have none.
    """
    if not problem:
        left = tuple(condition for condition in status.conditions if condition.type != PROTECTED)
        return status if left == status.conditions else status.but(conditions=left)
    unknown = (PROTECTED, "Unknown", Reason.FAILING, problem)
    state = (PROTECTED, "False", Reason.APPLY_REFUSED, problem) if refused else unknown
    return _telling(status, status.conditions, [state], generation, now)


def with_refused_autoscaler(
    status: Status, before: Status, problem: str, generation: int, now: datetime
) -> Status:
    """Return the status with why the release's own autoscaler is not as it was asked for.

    By the condition of `before`, so that one which says so already stays as it is.
    """
    others = [each for each in status.conditions if each.type != AUTOSCALED]
    known = [each for each in before.conditions if each.type == AUTOSCALED]
    refused = (AUTOSCALED, "False", Reason.APPLY_REFUSED, problem)
    return _telling(status, [*others, *known], [refused], generation, now)


def is_known_refusal(status: Status, problem: str, release: str) -> bool:
    """Return whether a status tells of the same refusals of budgets: each revision's has a name of
    its own, and the cause is the same.
    """
    told = (
        condition.message
        for condition in status.conditions
        if condition.type == PROTECTED and condition.reason == Reason.APPLY_REFUSED
    )
    known = {cause for message in told for cause in _causes(message, release)}
    return _causes(problem, release) <= known


def _causes(problem: str, release: str) -> set[str]:
    """Return the sentences of a message, without the names of revisions."""
    return set(re.sub(rf"\b{re.escape(release)}-[0-9a-f]+\b", release, problem).split("; "))


def _telling(
    status: Status, before: Iterable[Condition], states: Iterable[tuple[str, str, Reason, str]],
    generation: int, now: datetime,
) -> Status:  # fmt: skip
    """Return the status with conditions of (type, status, reason, message) about one generation."""
    conditions = {condition.type: condition for condition in before}
    for kind, answer, reason, message in states:
        old = conditions.get(kind)
        if old and _tells(old, answer, reason, message, generation):
            continue
        conditions[kind] = Condition(
            type=kind,
            status=answer,
            reason=reason,
            message=message,
            observed_generation=generation,
            last_transition_time=old.last_transition_time if old and old.status == answer else now,
        )
    in_order = tuple([conditions[kind] for kind in sorted(conditions)])
    return status.but(observed_generation=generation, conditions=in_order)


def _tells(
    condition: Condition, answer: str, reason: Reason, message: str, generation: int
) -> bool:
    """Return whether a condition says so already."""
    return (
        condition.message == message
        and condition.status == answer
        and condition.reason == reason
        and condition.observed_generation == generation
    )
