"""`modelrelease status` and `watch`: all releases in a table, and one as it goes on."""

import argparse
import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from modelrelease_operator.api import names
from modelrelease_operator.api.status import Phase, Status
from modelrelease_operator.cli.common import (
    Commands,
    add_output,
    add_place,
    command,
    one_line,
    table,
    written,
)
from modelrelease_operator.core.explain import holds, waits_for_person
from modelrelease_operator.errors import Invalid, Unavailable

if TYPE_CHECKING:
    from modelrelease_operator.runtime.as_user import AsUser

EVERY_SECONDS: Final = 1.0
"""Between two looks of `watch`: one small request each."""
AWAY_SECONDS: Final = 120.0
"""For which `watch` bears with an API server that is away: an upgrade, or a lost network."""
COLUMNS: Final = ("NAMESPACE", "NAME", "PHASE", "STABLE", "CANARY", "WEIGHT", "VERDICT", "MESSAGE")
NARROWEST: Final = 20
"""Columns of a message that are worth printing."""

STATUS_DETAILS = """\
Reads ModelReleases with your kubeconfig; nothing is changed. A release that
waits for a person, or whose spec is wrong, is marked with ! before its name.

examples:
  modelrelease status                          those of your namespace
  modelrelease status -A                       those of all namespaces
  modelrelease status -A -o json | jq '.[] | select(.waits_for_person)'
"""
WATCH_DETAILS = """\
Prints a line whenever something changes, until nothing goes on any more or a
person is asked. Nothing is changed.

exit codes:
  0  the version that the spec asks for serves
  1  it was rejected, or a person is asked

example:
  modelrelease watch qna -n prod
"""


def add(commands: Commands) -> None:
    """Add both commands."""
    parser = command(commands, "status", "show releases in a table", STATUS_DETAILS)
    add_place(parser)
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    add_output(parser)
    parser.set_defaults(run=_status)
    parser = command(commands, "watch", "follow a release until nothing goes on", WATCH_DETAILS)
    parser.add_argument("name", metavar="NAME", help="name of the ModelRelease")
    add_place(parser)
    parser.set_defaults(run=_watch)


def _status(parsed: argparse.Namespace) -> int:
    releases = sorted(asyncio.run(_listed(parsed)), key=_place)
    if parsed.output != "text":
        print(written([_as_json(release) for release in releases], parsed.output))
        return 0
    if not releases:
        where = "all namespaces" if parsed.all_namespaces else "this namespace; -A shows all"
        print(f"there is no {names.KIND} in {where}", file=sys.stderr)
        return 0
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    print(as_table(releases, width=width))
    return 0


async def _listed(parsed: argparse.Namespace) -> Sequence[dict[str, Any]]:
    from modelrelease_operator.runtime.as_user import as_user  # noqa: PLC0415 - only this needs a client

    async with as_user(parsed.namespace, parsed.context) as cluster:
        return await cluster.releases(everywhere=parsed.all_namespaces)


def _place(release: dict[str, Any]) -> tuple[str, str]:
    return release["metadata"]["namespace"], release["metadata"]["name"]


def as_table(releases: Sequence[dict[str, Any]], *, width: int = 0) -> str:
    """Return a line for each release; messages are cut where the terminal ends (0: it does not)."""
    shown = ([one_line(cell) for cell in _row(release)] for release in releases)
    rows = [list(COLUMNS), *shown]
    left = frozenset(range(len(COLUMNS)))
    if width:
        others = table([row[:-1] for row in rows], left=left).splitlines()
        room = max(NARROWEST, width - max(map(len, others)) - 2)
        rows = [[*row[:-1], _cut(row[-1], room)] for row in rows]
    return table(rows, left=left)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"


def _row(release: dict[str, Any]) -> list[str]:
    namespace, name = _place(release)
    status, wrong = _status_of(release)
    marked = f"! {name}" if wrong or waits_for_person(status) else name
    if wrong:
        return [namespace, marked, "?", "", "", "", "", wrong]
    canary = status.canary
    return [
        namespace,
        marked,
        status.phase,
        status.stable.version if status.stable else "",
        canary.version if canary else "",
        f"{status.weight} %" if canary else "",
        (status.verdict or "") if canary else "",
        status.message or "not seen by the operator yet",
    ]


def _status_of(release: dict[str, Any]) -> tuple[Status, str | None]:
    """Return a release's status, and why it cannot be read: one of many must not hide the rest."""
    try:
        return Status.parse(release.get("status")), None
    except Invalid as problem:
        return Status(), str(problem)


def _as_json(release: dict[str, Any]) -> dict[str, Any]:
    namespace, name = _place(release)
    status, wrong = _status_of(release)
    return {
        "namespace": namespace,
        "name": name,
        "phase": None if wrong else status.phase,
        "stable": status.stable.version if status.stable else None,
        "canary": status.canary.version if status.canary else None,
        "weight": status.weight,
        "verdict": status.verdict,
        "waits_for_person": waits_for_person(status),
        "message": wrong or status.message,
    }


def _watch(parsed: argparse.Namespace) -> int:
    return asyncio.run(_watched(parsed))


async def _watched(parsed: argparse.Namespace) -> int:
    from modelrelease_operator.runtime.as_user import as_user  # noqa: PLC0415 - only this needs a client

    async with as_user(parsed.namespace, parsed.context) as cluster:
        last = ""
        async for release in _looks(cluster, parsed.name):
            status = Status.parse(release.get("status"))
            line = _line(status)
            if line != last:
                print(f"{datetime.now(UTC):%H:%M:%S} {line}", flush=True)
                last = line
            if (code := end_of(release, status)) is not None:
                return code
    return 0


async def _looks(cluster: "AsUser", name: str) -> AsyncIterator[dict[str, Any]]:
    """Read a release again and again. Once it was read, an API server that is away ends nothing."""
    loop = asyncio.get_running_loop()
    answered = float("-inf")
    while True:
        try:
            release = await cluster.read(name)
        except Unavailable as problem:
            if loop.time() - answered > AWAY_SECONDS:
                raise
            print(f"{one_line(str(problem))}; trying again", file=sys.stderr, flush=True)
        else:
            answered = loop.time()
            yield release
        await asyncio.sleep(EVERY_SECONDS)


def _line(status: Status) -> str:
    """Return what a status says, without what changes at every look."""
    canary = status.canary
    arms = f"stable {status.stable.version}" if status.stable else "nothing serves"
    if canary:
        arms = f"{arms}, canary {canary.version} at {status.weight} %"
    verdict = f", {status.verdict}" if canary and status.verdict else ""
    return one_line(f"{status.phase}: {arms}{verdict}: {status.message}")


def end_of(release: dict[str, Any], status: Status) -> int | None:
    """Return the exit code once nothing goes on any more, or a person is asked; else None."""
    generation = release["metadata"].get("generation", status.observed_generation)
    if generation != status.observed_generation:
        return None
    if waits_for_person(status):
        return 1
    if status.phase is not Phase.STABLE:
        return None
    if status.rejected:
        return 1
    # Stable serves also where the version that is asked for cannot be read yet, or has no route.
    return 0 if holds(status, "Ready") else None
