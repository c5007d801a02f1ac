"""`modelrelease history`: what was decided of a release, as far as its status keeps it."""

import argparse
import asyncio
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final

from modelrelease_operator.api import names
from modelrelease_operator.api.status import HISTORY_LIMIT, HistoryEntry, Reason, Status
from modelrelease_operator.cli.common import (
    Commands,
    add_output,
    add_place,
    command,
    one_line,
    table,
    written,
)
from modelrelease_operator.core.release.transitions import BACK_TO

DETAILS = f"""\
The newest comes first, and a status keeps {HISTORY_LIMIT} of them. FROM is the version that
served then, ? where what is kept does not tell it. BY is who decided it:
operator, spec (whoever changed it), or what wrote a person's command.

examples:
  modelrelease history qna -n prod
  modelrelease history qna -n prod -o json
"""
COLUMNS: Final = ("TIME", "FROM", "TO", "OUTCOME", "BY", "REASON")
BEGIN_TO_SERVE: Final = (Reason.FIRST_VERSION_SERVES, Reason.STATUS_LOST, Reason.PROMOTED)
"""Outcomes after which their revision serves."""
Revision = tuple[str, str]
"""A revision and its version."""
BY_SPEC: Final = (Reason.SPEC_REVERTED, Reason.SUPERSEDED)
BY_COMMAND: Final[Mapping[str, str]] = {Reason.PROMOTED_BY_HAND: "promote", Reason.ABORTED: "abort"}
"""By outcome: the command of a person that brings it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One thing that was decided, with what follows from the others."""

    entry: HistoryEntry
    served: str | None
    """The version that served when it was decided; None where that is not told."""
    by: str


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "history", "show what was decided of a release", DETAILS)
    parser.add_argument("name", metavar="NAME", help="name of the ModelRelease")
    add_place(parser)
    add_output(parser)
    parser.set_defaults(run=_history)


def _history(parsed: argparse.Namespace) -> int:
    release = asyncio.run(_read(parsed))
    told = list(told_of(Status.parse(release.get("status"))))
    if parsed.output != "text":
        print(written([_as_json(each) for each in told], parsed.output))
        return 0
    if not told:
        meta = release["metadata"]
        about = f"{names.KIND} {meta['namespace']}/{meta['name']}"
        print(f"{about}: nothing was decided yet", file=sys.stderr)
        return 0
    rows = [COLUMNS, *([one_line(cell) for cell in _row(each)] for each in told)]
    print(table(rows, left=frozenset(range(len(COLUMNS)))))
    return 0


async def _read(parsed: argparse.Namespace) -> dict[str, Any]:
    from modelrelease_operator.runtime.as_user import as_user  # noqa: PLC0415 - only this needs a client

    async with as_user(parsed.namespace, parsed.context) as cluster:
        return await cluster.read(parsed.name)


def told_of(status: Status) -> Iterator[Told]:
    """Yield what was decided, the newest first, with the version that served then."""
    for entry, served in zip(status.history, reversed(_served(status)), strict=True):
        yield Told(entry=entry, served=served, by=_by(entry, status))


def _served(status: Status) -> list[str | None]:
    """Return the version that served before each entry, the oldest entry first.

    A revision that was promoted serves from then on. What is decided of the very one that serves
    is said after a promotion: it was compared again, or taken back.
    """
    entries = status.history[::-1]
    stays = not any(map(_moves, entries))
    now = (status.stable.revision, status.stable.version) if status.stable and stays else None
    before: Revision | None = None
    versions: list[str | None] = []
    for entry in entries:
        versions.append(now[1] if now else None)
        if _moves(entry):
            before, now = now, (entry.revision, entry.version)
        elif now and entry.revision == now[0]:
            before, now = None, before
    return versions


def _moves(entry: HistoryEntry) -> bool:
    """Return whether a decision made its revision the one that serves."""
    back = entry.outcome is Reason.SPEC_REVERTED and entry.message.startswith(BACK_TO)
    return back or entry.outcome in BEGIN_TO_SERVE


def _by(entry: HistoryEntry, status: Status) -> str:
    """Say who decided it. Of a person's command only the last of its kind is kept."""
    if entry.outcome in BY_SPEC:
        return "spec"
    kind = BY_COMMAND.get(entry.outcome)
    if kind is None:
        return "operator"
    for seen in status.commands or ():
        about_it = seen.about == entry.revision and seen.at <= entry.at
        if seen.command == kind and seen.taken and about_it and seen.by:
            return seen.by
    return "a person"


def _row(told: Told) -> list[str]:
    entry = told.entry
    begins = entry.outcome in BEGIN_TO_SERVE and entry.outcome is not Reason.PROMOTED
    unknown = "" if begins else "?"
    moment = entry.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    served = told.served or unknown
    return [moment, served, entry.version, str(entry.outcome), told.by, entry.message]


def _as_json(told: Told) -> dict[str, Any]:
    entry = told.entry
    return {
        "at": entry.at.astimezone(UTC).isoformat(),
        "from": told.served,
        "to": entry.version,
        "revision": entry.revision,
        "outcome": entry.outcome,
        "by": told.by,
        "message": entry.message,
    }
