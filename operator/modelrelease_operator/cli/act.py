"""`modelrelease approve`, `promote`, `abort`, `retry`, `retrain`, `pause`, `resume`: what a person
may do about a release, with the person's own rights.

What may be done now, and which value of an annotation would count, is what `why` tells. A command
is given and its echo awaited: the operator says in status what became of it.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from modelrelease_operator.api import names
from modelrelease_operator.api.status import CommandSeen, Status
from modelrelease_operator.cli.common import Commands, add_place, command, duration, one_line
from modelrelease_operator.core.explain import Action, Explanation, explain
from modelrelease_operator.core.release.commands import KINDS
from modelrelease_operator.errors import Invalid, Unavailable

if TYPE_CHECKING:
    from modelrelease_operator.runtime.as_user import AsUser

EVERY_SECONDS: Final = 0.5
"""Between two looks at what became of a command."""
WAIT: Final = "30s"
UNHEARD: Final = "the operator has not said yet what becomes of it: is it running?"
HELD_BACK: Final = "no canary goes on, and none meets users, until `modelrelease resume`"

SUMMARIES: Final = {
    "approve": "let a canary go on that waits for a person",
    "promote": "promote a canary by hand, without a verdict",
    "abort": "take a canary back",
    "retry": "try a rejected version again",
    "retrain": "start a retraining now, whatever drift says",
    "pause": "hold a release back: no canary goes on",
    "resume": "let a paused release go on",
}
DETAILS: Final = {
    "approve": """\
An approval answers the question that is open now: the next step, a verdict
that did not come in time, or the first users after a shadow. It lets one step
pass. Where metrics are unavailable, --anyway is needed, too.

examples:
  modelrelease approve qna -n prod
  modelrelease approve qna -n prod --anyway
""",
    "promote": """\
Skips every step and every gate but one: a canary that is proven worse is
taken back all the same. The history says PromotedByHand, and who.

example:
  modelrelease promote qna -n prod
""",
    "abort": """\
The canary has no clients any more within seconds, and its version is rejected
until the spec names another one, or a retry.

example:
  modelrelease abort qna -n prod
""",
    "retry": """\
The version that was rejected last starts as a canary once more, if the spec
still asks for it.

example:
  modelrelease retry qna -n prod
""",
    "retrain": """\
Starts the Job of spec.retrain. Its cooldown does not hold this back.

example:
  modelrelease retrain qna -n prod
""",
    "pause": """\
Sets spec.paused. What serves goes on serving, and a canary that is proven
worse is still taken back. Where Git holds the release, set it there: what
applies Git sets it back.

example:
  modelrelease pause qna -n prod
""",
    "resume": """\
Takes spec.paused back. Where Git holds the release, take it out there.

example:
  modelrelease resume qna -n prod
""",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a command."""

    good: bool
    sentence: str


def add(commands: Commands) -> None:
    """Add the commands."""
    for verb, summary in SUMMARIES.items():
        parser = command(commands, verb, summary, DETAILS[verb])
        parser.add_argument("name", metavar="NAME", help="name of the ModelRelease")
        add_place(parser)
        if verb == "approve":
            parser.add_argument(
                "--anyway", action="store_true", help="although the canary cannot be seen"
            )
        if verb in KINDS:
            parser.add_argument(
                "--wait", type=duration, default=duration(WAIT), metavar="DURATION",
                help=f"for the operator to say what became of it; 0s not at all (default: {WAIT})",
            )  # fmt: skip
        parser.set_defaults(run=_act)


def _act(parsed: argparse.Namespace) -> int:
    outcome = asyncio.run(_acted(parsed))
    print(one_line(outcome.sentence), file=sys.stdout if outcome.good else sys.stderr)
    return 0 if outcome.good else 1


async def _acted(parsed: argparse.Namespace) -> Outcome:
    from modelrelease_operator.runtime.as_user import as_user  # noqa: PLC0415 - only this needs a client

    async with as_user(parsed.namespace, parsed.context) as cluster:
        release = await cluster.read(parsed.name)
        about = f"{names.KIND} {cluster.namespace}/{parsed.name}"
        if parsed.command in ("pause", "resume"):
            return await _paused(cluster, release, about, paused=parsed.command == "pause")
        try:
            explanation = explain(release, datetime.now(UTC), context=parsed.context)
        except Invalid as problem:
            if parsed.command != "abort":
                raise
            return await _aborted_unread(cluster, release, about, problem)
        action = _action(explanation, parsed, about)
        before = _seen(release, action.verb)
        await cluster.patch(parsed.name, action.patch)
        said = f"{about}: asked to {action.does}"
        value = _value_in(action.patch)
        seconds = parsed.wait.total_seconds() if action.verb in KINDS else 0.0
        if not seconds:
            return Outcome(good=True, sentence=said)
        echo = await _echo(cluster, parsed.name, (action.verb, value), before, seconds)
    if echo is None:
        return Outcome(good=False, sentence=f"{said}; {UNHEARD}")
    became = "taken" if echo.taken else f"not taken: {echo.message}"
    return Outcome(good=echo.taken, sentence=f"{said}; {became}")


async def _aborted_unread(
    cluster: "AsUser", release: Mapping[str, Any], about: str, problem: Invalid
) -> Outcome:
    """Take the canary of a status back that this version cannot read, as after an upgrade of the
    operator: users must not wait for another version of this command. Raises `problem` where the
    status tells of none.
    """
    status = release.get("status")
    canary = status.get("canary") if isinstance(status, dict) else None
    revision = canary.get("revision") if isinstance(canary, dict) else None
    if not (isinstance(revision, str) and revision):
        raise problem
    # With a note of its own: what stands already would not count again.
    value = f"{revision}/{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    patch = {"metadata": {"annotations": {f"{names.GROUP}/abort": value}}}
    await cluster.patch(release["metadata"]["name"], patch)
    said = f"{about}: asked to take canary {revision} back; what becomes of it is not known here"
    return Outcome(good=True, sentence=f"{said} ({problem})")


def _action(explanation: Explanation, parsed: argparse.Namespace, about: str) -> Action:
    """Return what is to be done; raises Invalid where nothing of the kind is asked now."""
    ways = {action.verb: action for action in explanation.next_actions}
    action = ways.get(parsed.command)
    if action is None:
        others = ", ".join(f"`modelrelease {verb}`" for verb in ways) or "nothing"
        state = explanation.status.message or explanation.status.phase
        msg = f"{about}: there is nothing to {parsed.command} ({state}); what can be done: {others}"
        raise Invalid(msg)
    if action.doubt and not getattr(parsed, "anyway", False):
        msg = f"{about}: {action.doubt}; add --anyway to {parsed.command} it all the same"
        raise Invalid(msg)
    return action


def _value_in(patch: Mapping[str, Any]) -> str:
    """Return the value of the one annotation that a patch sets, or nothing."""
    annotations: Mapping[str, str] = patch.get("metadata", {}).get("annotations", {})
    return next(iter(annotations.values()), "")


async def _paused(
    cluster: "AsUser", release: dict[str, Any], about: str, *, paused: bool
) -> Outcome:
    """Hold a release back, or let it go on."""
    # Not the whole spec: what is wrong in it, or newer than this command, holds nobody up.
    if bool((release.get("spec") or {}).get("paused")) is paused:
        word = "paused already" if paused else "not paused"
        return Outcome(good=True, sentence=f"{about} is {word}")
    await cluster.patch(release["metadata"]["name"], {"spec": {"paused": paused}})
    word = f"paused: {HELD_BACK}" if paused else "goes on"
    return Outcome(good=True, sentence=f"{about} {'is ' if paused else ''}{word}")


def _seen(release: Mapping[str, Any], verb: str) -> CommandSeen | None:
    """Return the last command of a kind that the operator has said something of."""
    commands = Status.parse(release.get("status")).commands or ()
    return next((seen for seen in commands if seen.command == verb), None)


async def _echo(
    cluster: "AsUser", name: str, given: tuple[str, str], before: CommandSeen | None, seconds: float
) -> CommandSeen | None:
    """Wait until the operator says what became of a command; None when it does not in time.

    What it said `before` may be of the same value, where the annotation was taken away since.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        # The command is given already: an API server that is away for a moment takes nothing back.
        with suppress(Unavailable):
            seen = _seen(await cluster.read(name), given[0])
            if seen and seen.value == given[1] and (before is None or seen.at != before.at):
                return seen
        if loop.time() > end:
            return None
        await asyncio.sleep(EVERY_SECONDS)
