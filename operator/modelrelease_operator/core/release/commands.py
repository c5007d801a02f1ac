"""What people ask by annotation: each command counts once, when it is first seen, or not at all.

An approval answers a question, so it counts only where one is open already. A command that stands
when nothing is asked is remembered as seen; to give it again, it needs another note behind the
slash. An approval that was seen beside this canary needs one also when it was taken away meanwhile:
whoever applies from Git may put it back without having been asked. What became of each is in
`status.commands` from the same pass on, because whoever applies from Git may take it away.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

from modelrelease_operator.api.status import (
    CanaryStatus,
    CommandSeen,
    Phase,
    Reason,
    Status,
    Verdict,
)
from modelrelease_operator.core.observed import Commands, Observed
from modelrelease_operator.core.scope import Scope

KINDS = ("approve", "abort", "promote", "retry")
UNDERWAY = (
    Phase.STARTING, Phase.SHADOWING, Phase.PROGRESSING, Phase.PAUSED, Phase.PROMOTING,
)  # fmt: skip
NO_COMMANDS = Commands()
ANYWAY = "anyway"
"""The further word: `approve=<revision>/anyway` holds although the canary cannot be seen or is not
fit.
"""
LONGEST_VALUE = 253
MOST_EARLIER = 50
"""Approvals of one canary that are remembered.
One more is not taken: it could be any that was forgotten.
"""


def take(scope: Scope) -> Scope:
    """Remember every command, and leave those that count in this pass in `observed`."""
    given = scope.observed.commands
    if given == NO_COMMANDS and scope.status.commands == ():
        return scope
    known = {
        command.command: _beside(command, scope.status.canary)
        for command in scope.status.commands or ()
    }
    unknown = scope.status.commands is None
    counting: dict[str, str | None] = {}
    for kind in KINDS:
        value, old = getattr(given, kind), known.get(kind)
        counting[kind] = None
        if value is None:
            if old and old.stands:
                known[kind] = old.but(stands=False)
            continue
        value = value[:LONGEST_VALUE]
        if old and old.stands and old.value == value:
            continue
        trouble = _trouble(kind, value, scope)
        earlier = _earlier(old, scope.status.canary)
        if unknown and (kind != "abort" or trouble):
            echo = _echo(kind, value, scope, "it stood before anything was asked", taken=False)
            known[kind] = _remembering(echo, scope.status.canary, earlier)
            continue
        echo = _echo(kind, value, scope, trouble or "taken", taken=trouble is None)
        known[kind] = _remembering(echo, scope.status.canary, earlier)
        scope = _noticing(scope, echo)
        if trouble is None:
            counting[kind] = value
            scope = _with_meaning(scope, kind, value, echo)
    commands = tuple(known[kind] for kind in KINDS if kind in known)
    left = Commands(retrain=given.retrain, signed=given.signed, **counting)
    if commands != scope.status.commands:
        scope = scope.with_status(commands=commands)
    return scope if left == given else scope.but(observed=replace(scope.observed, commands=left))


def value_for(status: Status, kind: str, revision: str, note: str | None = None) -> str:
    """Return what a person should write: with a note where the same value stands already."""
    plain = f"{revision}/{note}" if note else revision
    given = _given(status, kind)
    return next(value for value in _spellings(plain) if value not in given)


def _spellings(plain: str) -> Iterator[str]:
    """Yield a value, and ever new ones that mean the same."""
    yield plain
    yield f"{plain}/again"
    for time in count(2):
        yield f"{plain}/again-{time}"


def _given(status: Status, kind: str) -> tuple[str, ...]:
    """Return the values of a command that would not count again."""
    old = next((command for command in status.commands or () if command.command == kind), None)
    if old is None:
        return ()
    standing = (old.value,) if old.stands else ()
    return tuple(dict.fromkeys((*standing, *_earlier(_beside(old, status.canary), status.canary))))


def _beside(old: CommandSeen, canary: CanaryStatus | None) -> CommandSeen:
    """Return what is known of a command.
    One that stands when a canary begins was not given for it.
    """
    if canary is None or not old.stands or old.about == canary.revision:
        return old
    return old.but(about=canary.revision, earlier=())


def _earlier(old: CommandSeen | None, canary: CanaryStatus | None) -> tuple[str, ...]:
    """Return the approvals that were seen beside this canary."""
    if old is None or canary is None or old.command != "approve" or old.about != canary.revision:
        return ()
    return tuple(dict.fromkeys((*old.earlier, old.value)))


def _remembering(
    echo: CommandSeen, canary: CanaryStatus | None, earlier: tuple[str, ...]
) -> CommandSeen:
    """Return what became of a command with those of its kind that were seen before it."""
    others = tuple(value for value in earlier if value != echo.value)[:MOST_EARLIER]
    return echo.but(about=canary and canary.revision, earlier=others)


def blind(status: Status) -> str | None:
    """Say that the canary cannot be seen now, or None."""
    canary = status.canary
    if canary is None:
        return None
    if canary.unseen:
        return f"canary {canary.version} cannot be seen"
    if status.verdict is Verdict.UNAVAILABLE:
        return "its metrics are unavailable"
    return None


def approval_of(status: Status, observed: Observed, canary: CanaryStatus) -> str:
    """Return the value of an approval that would count now."""
    doubt = blind(status) or unfit(status, observed)
    return value_for(status, "approve", canary.revision, ANYWAY if doubt else None)


def unfit(status: Status, observed: Observed) -> str | None:
    """Return what is wrong with the model or with the pods, whatever the gates say, or None."""
    canary, stable = status.canary, status.stable
    if observed.problem:
        return observed.problem.message
    if canary and canary.unready_since:
        return f"not all pods of canary {canary.version} are ready"
    if stable and not observed.ready(stable.revision, 1):
        return f"no pod of stable {stable.version} is ready"
    return None


def _trouble(kind: str, value: str, scope: Scope) -> str | None:
    """Say why a command does not count, or None where it does."""
    status, observed, canary = scope.status, scope.observed, scope.status.canary
    if kind == "retry":
        return _trouble_with_retry(value, status, observed)
    if canary is None or status.phase not in UNDERWAY:
        return "there is no canary"
    if not Commands.names(value, canary):
        return f"it names another one than canary {canary.version} ({canary.revision})"
    if kind == "abort":
        return None
    abort, target = observed.commands.abort, observed.target
    if Commands.names(abort, canary) and not _stood(status, "abort", abort):
        return "an abort was given with it, which goes first"
    if target and target.revision != canary.revision:
        return f"the spec asks for version {target.version} ({target.revision}) by now"
    if scope.spec.paused:
        return "spec.paused holds the release"
    if kind == "promote":
        return _trouble_with_promotion(value, canary, observed)
    return _trouble_with_approval(value, status, canary, observed)


def _stood(status: Status, kind: str, value: str | None) -> bool:
    """Return whether a command was seen in an earlier pass and counts no more."""
    return any(
        old.command == kind and old.stands and old.value == value for old in status.commands or ()
    )


def _trouble_with_retry(value: str, status: Status, observed: Observed) -> str | None:
    rejected = observed.target and status.rejection_of(observed.target.revision)
    if status.phase is not Phase.STABLE or not observed.target or not rejected:
        return "nothing that the spec asks for was rejected"
    if status.rejected is None or status.rejected.revision != rejected.revision:
        return (
            f"it was given before version {rejected.version} ({rejected.revision}) was shown as "
            "rejected"
        )
    if not Commands.names(value, observed.target):
        return f"it names another one than version {rejected.version} ({rejected.revision})"
    return None


def _trouble_with_promotion(value: str, canary: CanaryStatus, observed: Observed) -> str | None:
    if value.split("/", maxsplit=1)[0] != canary.revision:
        return f"a promotion by hand names the revision, {canary.revision}, and not the version"
    if observed.problem:
        return observed.problem.message
    return None


def _trouble_with_approval(
    value: str, status: Status, canary: CanaryStatus, observed: Observed
) -> str | None:
    if canary.question is None and canary.unseen:
        by_hand = value_for(status, "promote", canary.revision)
        return (
            f"{blind(status)}, and its step begins anew once it can be; promote={by_hand} promotes "
            "it unseen"
        )
    if canary.question is None:
        return f"nothing was asked: canary {canary.version} goes on by itself"
    if repeated := _repeated(value, status, canary):
        return repeated
    if canary.question is Reason.STABLE_NOT_READY or _says_anyway(value):
        return None
    if why := blind(status) or unfit(status, observed):
        return f"{why}; approve={canary.revision}/{ANYWAY} would let it pass all the same"
    return None


def _repeated(value: str, status: Status, canary: CanaryStatus) -> str | None:
    """Say that an approval was seen before, and what would count, or return None."""
    given = _given(status, "approve")
    if len(given) > MOST_EARLIER:
        return (
            f"{MOST_EARLIER} approvals were given for this canary; promote={canary.revision} ends "
            "it"
        )
    if value not in given:
        return None
    answer = value_for(status, "approve", canary.revision)
    return f"it was given before this was asked, and counts once; approve={answer} answers now"


def _with_meaning(scope: Scope, kind: str, value: str, echo: CommandSeen) -> Scope:
    """Return the scope with what an approval or a promotion means; the others act in this pass."""
    canary = scope.status.canary
    if canary is None or kind not in ("approve", "promote"):
        return scope
    if kind == "approve" and canary.question is not Reason.STABLE_NOT_READY:
        return scope.with_canary(approved=True, approved_anyway=_says_anyway(value))
    person = f"by {echo.by}" if echo.by else "by annotation"
    return scope.with_canary(by_hand=person, question=None, asked_at=None)


def _says_anyway(value: str) -> bool:
    return value.split("/")[1:2] == [ANYWAY]


def _echo(kind: str, value: str, scope: Scope, message: str, *, taken: bool) -> CommandSeen:
    signature = scope.observed.commands.signed.get(kind)
    return CommandSeen(
        command=kind,
        value=value,
        taken=taken,
        message=message,
        at=scope.now,
        by=signature and signature.by,
        given=signature and signature.at,
    )


def _noticing(scope: Scope, echo: CommandSeen) -> Scope:
    by = f" by {echo.by}" if echo.by else ""
    given = f"{echo.command}={echo.value}{by}"
    if echo.taken:
        return scope.noticing(Reason.COMMAND_TAKEN, f"{given} was taken")
    message = f"{given} does nothing: {echo.message}"
    return scope.noticing(Reason.COMMAND_IGNORED, message, warning=True)
