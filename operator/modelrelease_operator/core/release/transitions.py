"""The transitions of a release: each returns the decision that makes it,
with its record and its Event.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from modelrelease_operator.api.durations import format_duration
from modelrelease_operator.api.spec import ALL
from modelrelease_operator.api.status import (
    CanaryStatus,
    Crashes,
    Evidence,
    Phase,
    Previous,
    Reason,
    Rejected,
    ShadowStatus,
    StableStatus,
    Target,
)
from modelrelease_operator.core.desired import POLL_PODS, REQUEUE_SOON, Decision
from modelrelease_operator.core.observed import Commands
from modelrelease_operator.core.release.desired_state import (
    growing,
    only,
    pods_at_step,
    side_by_side,
    steady,
    taken_back,
    withdrawn,
)
from modelrelease_operator.core.release.watch import as_pair
from modelrelease_operator.core.release.words import in_the_dark, probed_steps, sticky_note
from modelrelease_operator.core.scope import Scope
from modelrelease_operator.core.steps import alike_note, last_alike, share_words
from modelrelease_operator.serving_runtimes import asks_examples
from modelrelease_operator.traffic.registry import provider_of

BACK_TO = "back to version"
"""How a message begins of going back to the version that is warm."""
SILENT_REASONS = (Reason.SUPERSEDED, Reason.SPEC_REVERTED)
"""Rollbacks that a person asked for by changing the spec: no warning."""

FRESH_STEP: Mapping[str, Any] = MappingProxyType(
    {
        "waiting_seconds": 0.0,
        "step_seconds": 0.0,
        "unjudged_seconds": 0.0,
        "blind_since": None,
        "blind_seconds": 0.0,
        "unseen": False,
        "visible_seconds": 0.0,
        "unready_since": None,
        "unready_seconds": 0.0,
        "growing_seconds": 0.0,
        "ready_seconds": 0.0,
        "alone": False,
        "blocked": None,
        "question": None,
        "asked_at": None,
        "approved": False,
        "approved_anyway": False,
        "share": None,
    }
)
"""What belongs to one step of a canary and is forgotten at the next."""


def first_version(scope: Scope, target: Target) -> Decision:
    """The first version is ready: it is stable."""
    message = f"version {target.version} serves"
    stable = StableStatus(**target.parts(), since=scope.now)
    scope = scope.with_status(phase=Phase.STABLE, stable=stable, message=message)
    scope = scope.with_history(target, Reason.FIRST_VERSION_SERVES, message)
    scope = scope.noticing(Reason.FIRST_VERSION_SERVES, message)
    return scope.decision(only(target, scope.replicas))


def recovered(scope: Scope, served: Target) -> Scope:
    """Take up a release whose status was lost, from what its Deployments say."""
    who = f"version {served.version} ({served.revision})"
    message = f"status was lost; {who} is stable, as its Deployment says"
    stable = StableStatus(**served.parts(), since=scope.now)
    scope = scope.with_status(phase=Phase.STABLE, stable=stable, message=message)
    scope = scope.with_history(served, Reason.STATUS_LOST, message)
    return scope.noticing(Reason.STATUS_LOST, message, warning=True)


def begin_canary(scope: Scope, target: Target) -> Decision:
    """Start the pods of a new candidate in the dark."""
    canary = CanaryStatus(**target.parts(), steps=len(scope.spec.canary.plan), since=scope.now)
    message = f"canary {target.version} ({target.revision}) starts beside {scope.stable.version}"
    scope = scope.with_status(
        phase=Phase.STARTING,
        canary=canary,
        previous=None,
        rejected=None,
        gates=(),
        verdict=None,
        evidence=Evidence(),
        crashes=Crashes(),
        weight=0,
        message=message,
    )
    scope = scope.noticing(Reason.CANARY_STARTED, message)
    desired = side_by_side(scope, canary_replicas=scope.split.canary, opened=False)
    return scope.decision(desired, requeue=POLL_PODS)


def begin_shadow(scope: Scope) -> Decision:
    """Have the canary asked what stable is asked, copies of requests or example rows; a comparison
    that was cut short goes on.
    """
    known = scope.canary.shadow
    examples = asks_examples(scope.stable, scope.canary)
    asked = "example requests" if examples else "copies of requests"
    message = f"canary {scope.canary.version} answers {asked} in the dark: no user meets it"
    scope = scope.with_canary(
        shadow=ShadowStatus(since=scope.now) if known is None or known.left else known,
        unproven=None,
        requested_weight=0,
        effective_weight=None,
        step_since=None,
        clock_at=scope.now,
        next_look=scope.now,
        **FRESH_STEP,
    )
    scope = scope.with_status(phase=Phase.SHADOWING, weight=0, message=message)
    scope = scope.noticing(Reason.SHADOW_STARTED, message)
    desired = side_by_side(scope, canary_replicas=scope.split.canary, opened=False)
    return scope.decision(desired, requeue=REQUEUE_SOON)


def begin_preview(scope: Scope, why: str | None = None) -> Decision:
    """Bring the canary to full strength in the dark, before every request moves to it at once."""
    version = scope.canary.version
    message = f"canary {version} is tried at full strength in the dark: no user meets it"
    message = f"{message}; {why}" if why else message
    scope = scope.with_canary(
        step=0,
        steps=len(scope.spec.canary.plan),
        requested_weight=0,
        asked_since=scope.now,
        step_since=None,
        effective_weight=None,
        next_look=scope.now + REQUEUE_SOON,
        note=None,
        clock_at=scope.now,
        **FRESH_STEP,
    )
    scope = scope.with_status(
        phase=Phase.PROGRESSING,
        weight=0,
        evidence=scope.status.evidence.next_step(),
        message=message,
    ).noticing(Reason.STEP_STARTED, message)
    desired = side_by_side(scope, canary_replicas=scope.split.canary, opened=False)
    return scope.decision(desired, requeue=REQUEUE_SOON)


def enter_step(scope: Scope, index: int, *, why: str | None = None) -> Decision:
    """Ask for a step's weight. The step and its evidence start when the weight is seen in
    effect.
    """
    step = scope.spec.canary.plan[index]
    if step.weight == ALL:
        return begin_preview(scope, why)
    canary = scope.canary.but(
        step=index,
        steps=len(scope.spec.canary.plan),
        requested_weight=step.weight,
        asked_since=scope.now,
        step_since=None,
        effective_weight=None,
        next_look=scope.now + REQUEUE_SOON,
        note=_note_of(scope, index),
        clock_at=scope.now,
        **FRESH_STEP,
    )
    message = step_message(scope, index, why)
    scope = scope.with_status(
        phase=Phase.PROGRESSING,
        canary=canary,
        weight=step.weight,
        evidence=scope.status.evidence.next_step(),
        message=message,
    ).noticing(Reason.STEP_STARTED, message)
    desired = side_by_side(scope, canary_replicas=pods_at_step(scope), opened=True)
    return scope.decision(desired, requeue=REQUEUE_SOON)


def with_note(scope: Scope) -> Scope:
    """Say anew what the canary's share is worth: the routing may have changed within the step."""
    index = scope.canary.step
    if scope.spec.canary.switches or index >= len(scope.spec.canary.plan):
        return scope
    note = _note_of(scope, index)
    return scope if note == scope.canary.note else scope.with_canary(note=note)


def _note_of(scope: Scope, index: int) -> str | None:
    """Say why the share of a step is another one, and why its requests are no random sample."""
    provider, weight = provider_of(scope.spec), scope.spec.canary.plan[index].weight
    notes = (
        alike_note(scope.spec, index),
        provider.note(weight=weight, replicas=scope.replicas),
        provider.caveat(scope.spec.canary),
        sticky_note(scope),
    )
    return "; ".join(note for note in notes if note) or None


def back_to_step(scope: Scope, index: int, *, why: str | None = None) -> Decision:
    """Go back to a step: to the dark where the canary had no weight yet and may get none now."""
    if scope.spec.paused and not scope.canary.requested_weight:
        return begin_preview(scope, why)
    return enter_step(scope, index, why=why)


def step_message(scope: Scope, index: int, why: str | None) -> str:
    """Say which step begins, and why where that needs saying."""
    plan = scope.spec.canary.plan
    share = share_words(scope.spec, plan[index].weight)
    message = f"step {index + 1} of {len(plan)}: {share} to canary {scope.canary.version}"
    return f"{message}; {why}" if why else message


def advance(scope: Scope, *, by_probes: str | None = None) -> Decision:
    """Go to the next step, or to promotion after the last;
    `by_probes` says that users did not prove it.
    """
    plan, step = scope.spec.canary.plan, scope.canary.step
    if by_probes:
        steps = tuple(sorted({*scope.canary.probed_steps, step + 1}))
        scope = scope.with_canary(probed_steps=steps)
    approval = None
    if scope.canary.approved and scope.canary.inconclusive:
        # A person let one step pass; the next has its own time for a verdict.
        scope = scope.with_canary(inconclusive=False, judged_seconds=0.0)
        approval = f"a person let step {step + 1} pass without a verdict"
    following = last_alike(scope.spec, step) + 1
    if following < len(plan):
        return enter_step(scope, last_alike(scope.spec, following), why=approval or by_probes)
    if approval:
        return promote_unproven(scope, approval)
    share = share_words(scope.spec, scope.canary.requested_weight)
    message = f"canary {scope.canary.version} passed every gate at {share}"
    message = f"{message}; {by_probes}" if by_probes else message
    return _grow(scope.with_canary(unproven=None), message)


def promote_by_hand(scope: Scope) -> Decision:
    """Go to promotion because a person says so, whatever is known of the canary."""
    canary = scope.canary
    why = f"promoted by hand without a verdict, {canary.by_hand}"
    scope = scope.with_canary(unproven=why, alone=False, unseen=False)
    scope = scope.with_status(weight=canary.requested_weight)
    scope = scope.with_history(scope.canary, Reason.PROMOTED_BY_HAND, why)
    return _grow(scope, f"canary {canary.version} is {why}")


def promote_unproven(scope: Scope, why: str) -> Decision:
    """Go to promotion although no gate proved the canary, and keep why for the record."""
    return _grow(
        scope.with_canary(unproven=why), f"canary {scope.canary.version} is promoted: {why}"
    )


def _grow(scope: Scope, message: str) -> Decision:
    """Bring the canary to full strength before the pointer moves."""
    scope = scope.with_canary(
        asked_since=scope.now,
        clock_at=scope.now,
        starting_seconds=0.0,
        blind_seconds=0.0,
        blind_since=None,
        blocked=None,
        question=None,
        asked_at=None,
    )
    scope = scope.with_status(phase=Phase.PROMOTING, message=message).noticing(
        Reason.PROMOTING, message
    )
    return scope.decision(growing(scope), requeue=REQUEUE_SOON)


def promote(scope: Scope) -> Decision:
    """Move the pointer to the canary. No pod is restarted; the old ones stay warm."""
    canary, stable = scope.canary, scope.stable
    keep = scope.spec.canary.keep_previous.span
    fate = f"stays warm for {format_duration(keep)}" if keep else "is removed"
    message = f"version {canary.version} serves; version {stable.version} {fate}"
    if caveat := canary.unproven or probed_steps(canary):
        message = f"{message}; {caveat}"
    evidence, crashes = scope.status.evidence.next_step(), scope.status.crashes.but(newly=0)
    scope = _pointing_at(scope, canary.target, Reason.PROMOTED, message)
    previous = scope.status.previous
    if previous and canary.shadow:
        summary = canary.shadow.but(processes={}, left=True)
        scope = scope.with_status(previous=previous.but(shadow=summary))
    # Kept while the old version is warm: what it did is what the new one is watched against.
    return _serving(scope.with_status(evidence=evidence, crashes=crashes))


def caveat_of(message: str) -> str:
    """Return what `promote` says of a promotion beside who serves and what becomes of the
    predecessor: by what it was decided where not by the gates, or without users. Empty where that
    is nothing.
    """
    return "".join(message.split("; ", 2)[2:])


def back_to_previous(scope: Scope, previous: Previous) -> Decision:
    """Move the pointer back to the revision that is still warm: it was proven before.

    What it is moved from was taken back: if the spec names it again, it is a canary like any other.
    """
    message = f"{BACK_TO} {previous.version}, still warm; version {scope.stable.version} is out"
    scope = _pointing_at(scope, previous.target, Reason.SPEC_REVERTED, message)
    before = scope.status.previous
    taken_back = before.but(proven=False) if before else None
    return _serving(scope.with_status(previous=taken_back))


def back_together(scope: Scope, previous: Previous) -> Decision:
    """Open to both until as many pods of the previous version are ready as serve now."""
    message = (
        f"{BACK_TO} {previous.version}: {scope.ready_pods(previous.revision)} of its "
        f"{scope.replicas} pods are ready; version {scope.stable.version} helps until all are"
    )
    both = frozenset({previous.revision, scope.stable.revision})
    scope = scope.with_status(message=message)
    return scope.decision(steady(scope).but(routed=both), requeue=POLL_PODS)


def _pointing_at(scope: Scope, new: Target, outcome: Reason, message: str) -> Scope:
    """Return the scope of a release whose stable is `new`, and whose old stable is kept warm."""
    keep = max(scope.spec.canary.keep_previous.span, REQUEUE_SOON)
    previous = Previous(
        **scope.stable.parts(),
        until=scope.now + keep,
        left_seconds=keep.total_seconds(),
        clock_at=scope.now,
    )
    scope = scope.with_status(
        phase=Phase.STABLE,
        stable=StableStatus(**new.parts(), since=scope.now),
        previous=previous,
        canary=None,
        rejected=None,
        weight=0,
        evidence=Evidence(),
        message=message,
    )
    return scope.with_history(new, outcome, message).noticing(outcome, message)


def _serving(scope: Scope) -> Decision:
    return scope.decision(steady(scope), requeue=REQUEUE_SOON)


def withdraw(scope: Scope, why: str) -> Decision:
    """Take a canary that cannot be seen out of the Service. Its pods and its evidence stay."""
    blind = format_duration(timedelta(seconds=scope.canary.blind_seconds))
    waits, why = in_the_dark(scope, why)
    message = (
        f"canary {scope.canary.version} left the Service and {waits}, not seen for {blind}: {why}"
    )
    scope = scope.with_canary(
        unseen=True,
        effective_weight=None,
        question=None,
        approved=False,
        unjudged_seconds=0.0,
        visible_seconds=0.0,
    )
    scope = scope.with_status(phase=Phase.PAUSED, weight=0, message=message)
    scope = scope.noticing(Reason.CANARY_UNSEEN, message, warning=True)
    return scope.decision(withdrawn(scope), requeue=REQUEUE_SOON)


def reopen(scope: Scope, why: str) -> Decision:
    """Make a version that was just promoted the canary again,
    beside the predecessor that is warm.
    """
    scope = as_pair(scope)
    message = f"version {scope.canary.version} is compared with {scope.stable.version} again: {why}"
    scope = scope.with_canary(since=scope.now).with_status(previous=None, rejected=None)
    scope = scope.with_history(scope.canary, Reason.REOPENED, message)
    scope = scope.noticing(Reason.REOPENED, message, warning=True)
    reopened = enter_step(scope, len(scope.spec.canary.plan) - 1, why=why)
    return replace(reopened, status=reopened.status.but(message=message))


def switch_back(scope: Scope, why: str) -> Decision:
    """Give every client back to the predecessor, which is warm: nothing is compared side by
    side.
    """
    version = scope.stable.version
    scope = as_pair(scope).with_status(previous=None, rejected=None)
    message = (
        f"version {version} is taken back, beside what version {scope.stable.version} did before "
        f"the promotion: {why}"
    )
    return reject(scope, Reason.REGRESSION, message)


def reject(scope: Scope, reason: Reason, message: str) -> Decision:
    """Give the traffic back and remember the revision, so that it is not tried again by itself."""
    canary = scope.canary
    rejected = Rejected(
        revision=canary.revision,
        version=canary.version,
        reason=reason,
        message=message,
        at=scope.now,
    )
    return roll_back(scope.but(status=scope.status.with_rejection(rejected)), reason, message)


def roll_back(scope: Scope, reason: Reason, message: str) -> Decision:
    """Send every client to stable at once; the canary's pods stay until that is seen."""
    scope = scope.with_status(phase=Phase.ROLLING_BACK, weight=0, message=message)
    scope = scope.with_history(scope.canary, reason, message)
    scope = scope.noticing(reason, message, warning=reason not in SILENT_REASONS)
    return scope.decision(taken_back(scope), requeue=REQUEUE_SOON)


def back_from_unwanted(scope: Scope) -> Decision | None:
    """Roll back a canary that a person aborts or that the spec no longer asks for;
    None for any other.
    """
    canary, target = scope.canary, scope.observed.target
    if Commands.names(scope.observed.commands.abort, canary):
        return reject(scope, Reason.ABORTED, f"version {canary.version} was aborted by annotation")
    if target is None or target.revision == canary.revision:
        return None
    if target.revision == scope.stable.revision:
        return roll_back(
            scope, Reason.SPEC_REVERTED, f"the spec went back to version {target.version}"
        )
    message = f"the spec moved on to version {target.version} ({target.revision})"
    return roll_back(scope, Reason.SUPERSEDED, message)


def with_retry(scope: Scope, target: Target) -> Scope:
    """Forget a rejection when a person asks again;
    else show the one of what the spec asks for now.
    """
    if Commands.names(scope.observed.commands.retry, target):
        return scope.but(status=scope.status.without_rejection(target.revision))
    return scope.with_status(rejected=scope.status.rejection_of(target.revision))
