"""`modelrelease history`: what was decided of a release, as far as its status keeps it."""

import argparse
import asyncio
import sys
from datetime import UTC
from typing import Any, Final

from modelrelease_operator.api import names
from modelrelease_operator.api.status import HISTORY_LIMIT, Reason, Status
from modelrelease_operator.cli.common import (
    Commands,
    add_output,
    add_place,
    command,
    one_line,
    table,
    written,
)
from modelrelease_operator.core.history import BEGIN_TO_SERVE, Told, told_of

DETAILS = f"""\
The newest comes first, and a status keeps {HISTORY_LIMIT} of them. FROM is the version that
served then, ? where what is kept does not tell it. BY is who decided it:
operator, spec (whoever changed it), or what wrote a person's command.

examples:
  modelrelease history qna -n prod
  modelrelease history qna -n prod -o json
"""
COLUMNS: Final = ("TIME", "FROM", "TO", "OUTCOME", "BY", "REASON")


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
