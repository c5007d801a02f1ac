"""`modelrelease report`: one release as one file, for a ticket or an audit."""

import argparse
import asyncio
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from modelrelease_operator.api import names
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Status
from modelrelease_operator.cli.common import Commands, add_place, command, releases_in
from modelrelease_operator.errors import Invalid
from modelrelease_operator.ui.moments import Moment, Past
from modelrelease_operator.ui.report import report
from modelrelease_operator.ui.story import story

DETAILS = """\
Writes what a release's status tells into one HTML file that needs no other:
the sentence, both arms, the evidence, drift, and what was decided. A status
holds the present: pictures over time are in the report of a page that watched
(`modelrelease dashboard`), and in those of replay and simulate (--report).

examples:
  modelrelease report qna -n prod -o report.html
  kubectl get modelrelease qna -o json | modelrelease report -f - -o report.html
  modelrelease simulate release.yaml --report simulated.html
"""
STDOUT: Final = "-"
ONE_REPORT: Final = "--report is of one release: the file has several, so give it one of them"


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "report", "write a release's story into one file", DETAILS)
    parser.add_argument("name", nargs="?", metavar="NAME", help="name of the ModelRelease")
    add_place(parser)
    parser.add_argument(
        "-f", "--file", type=Path, metavar="FILE",
        help="read what `kubectl get modelrelease -o json` printed instead; - for standard input",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", default=STDOUT, metavar="FILE", help="(default: standard output)"
    )
    parser.set_defaults(run=_report)


def add_report(parser: argparse.ArgumentParser, what: str) -> None:
    """Add where the report of a release that is not in a cluster is written."""
    parser.add_argument("--report", metavar="FILE", help=f"write {what} as one HTML file, too")


def _report(parsed: argparse.Namespace) -> int:
    if not parsed.name and not parsed.file:
        print("modelrelease report: a NAME or -f FILE is needed; --help has examples",
              file=sys.stderr)  # fmt: skip
        return 2
    release = _from_file(parsed) if parsed.file else asyncio.run(_read(parsed))
    now, past = datetime.now(UTC), Past()
    told = story(release, now, past, context=parsed.context)
    write(parsed.output, report(told, source="as its status tells it"))
    return 0


def _from_file(parsed: argparse.Namespace) -> dict[str, Any]:
    found = [
        release
        for release in releases_in(parsed.file)
        if parsed.name in (None, (release.get("metadata") or {}).get("name"))
        and parsed.namespace in (None, (release.get("metadata") or {}).get("namespace"))
    ]
    if len(found) != 1:
        msg = (
            f"{parsed.file} has {len(found) or 'no'} {names.KIND} of that name, and a report is of "
            "one: name it with NAME and -n"
        )
        raise Invalid(msg)
    return found[0]


async def _read(parsed: argparse.Namespace) -> dict[str, Any]:
    from modelrelease_operator.runtime.as_user import as_user  # noqa: PLC0415 - only this needs a client

    async with as_user(parsed.namespace, parsed.context) as cluster:
        return await cluster.read(parsed.name)


def write(output: str, text: str) -> None:
    """Write a file, or to standard output; raises Invalid where it cannot be."""
    if output == STDOUT:
        print(text)
        return
    try:
        Path(output).write_text(text)
    except OSError as problem:
        msg = f"{output}: cannot be written: {problem.strerror}"
        raise Invalid(msg) from problem


class Watched:
    """What was seen of a release that is not in a cluster, ready to be told."""

    def __init__(self, name: str, namespace: str | None, spec: ReleaseSpec) -> None:
        self._name, self._namespace, self._spec = name, namespace or "default", spec
        self._past = Past()
        self._last: tuple[datetime, Status] | None = None

    @property
    def watch(self) -> Callable[[datetime, Status], None]:
        """What is to be told each status."""
        return self._see

    def _see(self, at: datetime, status: Status) -> None:
        self._last = at, status
        self._past.add(Moment.of(self._spec, status, at))

    def write(self, output: str, source: str) -> None:
        """Write the report of what was seen; raises Invalid where nothing was, or where it cannot
        be written.
        """
        if self._last is None:
            msg = f"{names.KIND} {self._name}: there was no look, so there is nothing to report"
            raise Invalid(msg)
        at, status = self._last
        meta = {"name": self._name, "namespace": self._namespace,
                "generation": status.observed_generation}  # fmt: skip
        spec = self._spec.model_dump(
            mode="json", by_alias=True, exclude_none=True, exclude_unset=True
        )
        release = {"kind": names.KIND, "metadata": meta, "spec": spec, "status": status.to_dict()}
        told = story(release, at, self._past)
        # Nobody can do anything about what is not there.
        told |= {"actions": [], "awaited": [], "warnings": []}
        write(output, report(told, source=source))
