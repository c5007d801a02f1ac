"""What became of a version of a registered model, to be told to the registry.

An outcome is written to status together with the decision that made it, and stays there until the
registry was told. So a crash loses none; telling one twice writes the same words again.
"""

from modelrelease_operator.api.registry import CHAMPION, followed_alias
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Reason, RegistryFate, RegistryOutcome, Status
from modelrelease_operator.core.observed import RecordedOutcome
from modelrelease_operator.core.scope import Scope

MAX_WAITING = 10
"""Outcomes that wait for a registry that is away; older ones are dropped."""


def collect_outcomes(scope: Scope, *, before: Status) -> Scope:
    """Take in what was recorded since, and note what this decision made of a version.

    `before` is the status that the decision was made from.
    """
    spec, after, recorded = scope.spec, scope.status, scope.observed.recorded
    if recorded is None:
        return scope.with_status(outcomes=()) if after.outcomes else scope
    waiting = [outcome for outcome in after.outcomes if outcome.key not in recorded]
    new = (
        _promoted(spec, before, after),
        _rejected(before, after),
        _back_again(spec, before, after),
    )
    waiting += [outcome for outcome in new if outcome]
    scope = scope.with_status(outcomes=tuple(waiting[-MAX_WAITING:]))
    for outcome in after.outcomes:
        if outcome.key in recorded:
            scope = _noticing(scope, recorded[outcome.key])
    return scope


def _noticing(scope: Scope, recorded: RecordedOutcome) -> Scope:
    reason = Reason.OUTCOME_RECORDED if recorded.done else Reason.OUTCOME_NOT_RECORDED
    return scope.noticing(reason, recorded.message, warning=not recorded.done)


def _promoted(spec: ReleaseSpec, before: Status, after: Status) -> RegistryOutcome | None:
    """Return the outcome of a version that serves now and did not before."""
    stable, previous = after.stable, before.stable
    if stable is None or stable.registered is None:
        return None
    served = previous.registered if previous else None
    if served == stable.registered:
        # Another image or other settings: nothing was found out about the model.
        return None
    last = after.history[0] if after.history else None
    if last and last.outcome is Reason.REOPENED:
        # Nothing was decided yet: the version just promoted is compared once more.
        return None
    return RegistryOutcome(
        registered=stable.registered,
        fate=RegistryFate.PROMOTED,
        reason=last.outcome if last else Reason.PROMOTED,
        message=last.message if last else after.message,
        at=stable.since,
        moves_champion=followed_alias(spec.model.uri) not in (None, CHAMPION),
        champion_before=served.version
        if served and served.name == stable.registered.name
        else None,
    )


def _back_again(spec: ReleaseSpec, before: Status, after: Status) -> RegistryOutcome | None:
    """Return the outcome of a predecessor that serves again because the version after it was taken
    back.
    """
    rejected, stable, canary = _rejected(before, after), after.stable, before.canary
    reopened = any(
        entry.outcome is Reason.REOPENED and canary and entry.revision == canary.revision
        for entry in after.history
    )
    if rejected is None or not reopened or stable is None or stable.registered is None:
        return None
    same = stable.registered.name == rejected.registered.name
    return RegistryOutcome(
        registered=stable.registered,
        fate=RegistryFate.PROMOTED,
        reason=rejected.reason,
        message=rejected.message,
        at=rejected.at,
        moves_champion=followed_alias(spec.model.uri) not in (None, CHAMPION),
        champion_before=rejected.registered.version if same else None,
    )


def _rejected(before: Status, after: Status) -> RegistryOutcome | None:
    """Return the outcome of a version that was rolled back and is not tried again."""
    # Without a canary, a version that had every client already was taken back.
    rejected, canary, stable = after.rejected, before.canary or before.stable, after.stable
    if (
        rejected is None
        or rejected == before.rejected
        or canary is None
        or canary.registered is None
    ):
        return None
    if rejected.revision != canary.revision or (stable and stable.registered == canary.registered):
        return None
    return RegistryOutcome(
        registered=canary.registered,
        fate=RegistryFate.ROLLED_BACK,
        reason=rejected.reason,
        message=rejected.message,
        at=rejected.at,
    )
