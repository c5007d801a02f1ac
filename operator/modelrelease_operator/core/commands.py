"""What people ask by annotation: each command counts once, when it is first seen, or not at all.

An approval answers a question, so it counts only where one is open already. A command that stands when
nothing is asked is remembered as seen; to give it again, it needs another note behind the slash. An approval
that was seen beside this canary needs one also when it was taken away meanwhile: whoever applies from Git may
put it back without having been asked. What became of each is in `status.commands` from the same pass on,
because whoever applies from Git may take it away.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from itertools import count

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import CanaryStatus, CommandSeen, Phase, Reason, Status, Verdict
from modelrelease_operator.core.state import Commands, Notice, Seen

KINDS = ("approve", "abort", "promote", "retry")
UNDERWAY = (Phase.STARTING, Phase.PROGRESSING, Phase.PAUSED, Phase.PROMOTING)
ANYWAY = "anyway"
"""The further word: `approve=<revision>/anyway` holds although the canary cannot be seen or is not fit."""
LONGEST_VALUE = 253
MOST_EARLIER = 50
"""Approvals of one canary that are remembered. One more is not taken: it could be any that was forgotten."""


def take(
    spec: ReleaseSpec, status: Status, seen: Seen, now: datetime
) -> tuple[Status, Seen, tuple[Notice, ...]]:
    """Remember every command, and leave those in `seen` that count in this pass."""
    known = {each.command: _beside(each, status.canary) for each in status.commands or ()}
    unknown = status.commands is None
    notices: list[Notice] = []
    counting: dict[str, str | None] = {}
    for kind in KINDS:
        value, old = getattr(seen.commands, kind), known.get(kind)
        counting[kind] = None
        if value is None:
            if old and old.stands:
                known[kind] = old.model_copy(update={"stands": False})
            continue
        value = value[:LONGEST_VALUE]
        if old and old.stands and old.value == value:
            continue
        trouble = _trouble(kind, value, spec, status, seen)
        earlier = _earlier(old, status.canary)
        if unknown and (kind != "abort" or trouble):
            echo = _echo(kind, value, seen, now, "it stood before anything was asked", taken=False)
            known[kind] = _remembering(echo, status.canary, earlier)
            continue
        echo = _echo(kind, value, seen, now, trouble or "taken", taken=trouble is None)
        known[kind] = _remembering(echo, status.canary, earlier)
        notices.append(_notice(known[kind]))
        if trouble is None:
            counting[kind] = value
            status = _heeded(kind, value, status, known[kind])
    commands = tuple(known[kind] for kind in KINDS if kind in known)
    status = status.model_copy(update={"commands": commands})
    left = Commands(retrain=seen.commands.retrain, signed=seen.commands.signed, **counting)
    return status, replace(seen, commands=left), tuple(notices)


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
    old = next((each for each in status.commands or () if each.command == kind), None)
    if old is None:
        return ()
    standing = (old.value,) if old.stands else ()
    return tuple(dict.fromkeys((*standing, *_earlier(_beside(old, status.canary), status.canary))))


def _beside(old: CommandSeen, canary: CanaryStatus | None) -> CommandSeen:
    """Return what is known of a command. One that stands when a canary begins was not given for it."""
    if canary is None or not old.stands or old.about == canary.revision:
        return old
    return old.model_copy(update={"about": canary.revision, "earlier": ()})


def _earlier(old: CommandSeen | None, canary: CanaryStatus | None) -> tuple[str, ...]:
    """Return the approvals that were seen beside this canary."""
    if old is None or canary is None or old.command != "approve" or old.about != canary.revision:
        return ()
    return tuple(dict.fromkeys((*old.earlier, old.value)))


def _remembering(echo: CommandSeen, canary: CanaryStatus | None, earlier: tuple[str, ...]) -> CommandSeen:
    """Return what became of a command with those of its kind that were seen before it."""
    others = tuple(value for value in earlier if value != echo.value)[:MOST_EARLIER]
    return echo.model_copy(update={"about": canary and canary.revision, "earlier": others})


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


def unfit(status: Status, seen: Seen) -> str | None:
    """Return what is wrong with the model or with the pods, whatever the gates say, or None."""
    canary, stable = status.canary, status.stable
    if seen.problem:
        return seen.problem.message
    if canary and canary.unready_since:
        return f"not all pods of canary {canary.version} are ready"
    if stable and not seen.ready(stable.revision, 1):
        return f"no pod of stable {stable.version} is ready"
    return None


def _trouble(kind: str, value: str, spec: ReleaseSpec, status: Status, seen: Seen) -> str | None:
    """Say why a command does not count, or None where it does."""
    canary = status.canary
    if kind == "retry":
        return _trouble_with_retry(value, status, seen)
    if canary is None or status.phase not in UNDERWAY:
        return "there is no canary"
    if not Commands.names(value, canary):
        return f"it names another one than canary {canary.version} ({canary.revision})"
    if kind == "abort":
        return None
    if Commands.names(seen.commands.abort, canary) and not _stood(status, "abort", seen.commands.abort):
        return "an abort was given with it, which goes first"
    if seen.target and seen.target.revision != canary.revision:
        return f"the spec asks for version {seen.target.version} ({seen.target.revision}) by now"
    if spec.paused:
        return "spec.paused holds the release"
    if kind == "promote":
        return _trouble_with_promotion(value, canary, seen)
    return _trouble_with_approval(value, status, canary, seen)


def _stood(status: Status, kind: str, value: str | None) -> bool:
    """Return whether a command was seen in an earlier pass and counts no more."""
    return any(old.command == kind and old.stands and old.value == value for old in status.commands or ())


def _trouble_with_retry(value: str, status: Status, seen: Seen) -> str | None:
    rejected = seen.target and status.rejection_of(seen.target.revision)
    if status.phase is not Phase.STABLE or not seen.target or not rejected:
        return "nothing that the spec asks for was rejected"
    if status.rejected is None or status.rejected.revision != rejected.revision:
        return f"it was given before version {rejected.version} ({rejected.revision}) was shown as rejected"
    if not Commands.names(value, seen.target):
        return f"it names another one than version {rejected.version} ({rejected.revision})"
    return None


def _trouble_with_promotion(value: str, canary: CanaryStatus, seen: Seen) -> str | None:
    if value.split("/", maxsplit=1)[0] != canary.revision:
        return f"a promotion by hand names the revision, {canary.revision}, and not the version"
    if seen.problem:
        return seen.problem.message
    return None


def _trouble_with_approval(value: str, status: Status, canary: CanaryStatus, seen: Seen) -> str | None:
    if canary.question is None and canary.unseen:
        by_hand = value_for(status, "promote", canary.revision)
        return (
            f"{blind(status)}, and its step begins anew once it can be; promote={by_hand} promotes it unseen"
        )
    if canary.question is None:
        return f"nothing was asked: canary {canary.version} goes on by itself"
    if repeated := _repeated(value, status, canary):
        return repeated
    if canary.question is Reason.STABLE_NOT_READY or _says_anyway(value):
        return None
    if why := blind(status) or unfit(status, seen):
        return f"{why}; approve={canary.revision}/{ANYWAY} would let it pass all the same"
    return None


def _repeated(value: str, status: Status, canary: CanaryStatus) -> str | None:
    """Say that an approval was seen before, and what would count, or return None."""
    given = _given(status, "approve")
    if len(given) > MOST_EARLIER:
        return f"{MOST_EARLIER} approvals were given for this canary; promote={canary.revision} ends it"
    if value not in given:
        return None
    answer = value_for(status, "approve", canary.revision)
    return f"it was given before this was asked, and counts once; approve={answer} answers now"


def _heeded(kind: str, value: str, status: Status, echo: CommandSeen) -> Status:
    """Return the status with what an approval or a promotion means; the others act in this pass."""
    canary = status.canary
    if canary is None or kind not in ("approve", "promote"):
        return status
    who = f"by {echo.by}" if echo.by else "by annotation"
    if kind == "promote" or canary.question is Reason.STABLE_NOT_READY:
        update: dict[str, object] = {"by_hand": who, "question": None, "asked_at": None}
    else:
        update = {"approved": True, "approved_anyway": _says_anyway(value)}
    return status.model_copy(update={"canary": canary.model_copy(update=update)})


def _says_anyway(value: str) -> bool:
    return value.split("/")[1:2] == [ANYWAY]


def _echo(kind: str, value: str, seen: Seen, now: datetime, message: str, *, taken: bool) -> CommandSeen:
    signature = seen.commands.signed.get(kind)
    return CommandSeen(
        command=kind, value=value, taken=taken, message=message, at=now,
        by=signature and signature.by, given=signature and signature.at,
    )  # fmt: skip


def _notice(echo: CommandSeen) -> Notice:
    by = f" by {echo.by}" if echo.by else ""
    if echo.taken:
        return Notice(reason=Reason.COMMAND_TAKEN, message=f"{echo.command}={echo.value}{by} was taken")
    message = f"{echo.command}={echo.value}{by} does nothing: {echo.message}"
    return Notice(reason=Reason.COMMAND_IGNORED, message=message, warning=True)
