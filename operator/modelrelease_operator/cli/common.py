"""What commands share: manifests from files, arguments with a meaning, tables."""

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from modelrelease_operator.api import names
from modelrelease_operator.api.durations import parse_duration
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.errors import Invalid

CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""All but the line break."""
Commands = Any
"""The subparsers of argparse, whose type has no public name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A ModelRelease in a file."""

    name: str
    namespace: str | None
    spec: ReleaseSpec


class NothingThere(Exception):
    """A file holds no ModelRelease."""


def command(commands: Commands, name: str, summary: str, details: str) -> argparse.ArgumentParser:
    """Add a command whose help ends with examples."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add where a release is: every command that reads a cluster says it in the same words."""
    parser.add_argument(
        "-n", "--namespace", metavar="NAMESPACE",
        help="(default: that of your kubeconfig's context)",
    )  # fmt: skip
    parser.add_argument(
        "--context", metavar="CONTEXT", help="context of your kubeconfig (default: the current one)"
    )


def _with_nodes(file: Path) -> list[tuple[Any, yaml.Node]]:
    """Return the YAML or JSON documents of a file, `-` for standard input, each with the node that
    knows the lines of its fields; raise Invalid.
    """
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
        loader = yaml.SafeLoader(text)
        found = []
        while loader.check_node():
            if (node := loader.get_node()) is not None:
                found.append((loader.construct_document(node), node))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        msg = f"{file}: cannot be read: {problem}"
        raise Invalid(msg) from problem
    except RecursionError as problem:
        msg = f"{file}: cannot be read: it is nested too deeply"
        raise Invalid(msg) from problem
    except ValueError as problem:
        # YAML takes 2026-13-45 for a date.
        msg = (
            f"{file}: cannot be read: a value looks like a date or a number and is none "
            f"({problem}): put it in quotes"
        )
        raise Invalid(msg) from problem
    return found


def located_in(file: Path) -> list[tuple[dict[str, Any], yaml.Node]]:
    """Return the raw ModelReleases of a file with their nodes, those in a list such as `kubectl get
    -o json` gives, too; raise Invalid when it cannot be read.
    """
    return [found for each in _with_nodes(file) for found in _releases(*each)]


def _releases(document: Any, node: yaml.Node) -> Iterator[tuple[dict[str, Any], yaml.Node]]:
    if not isinstance(document, dict):
        return
    kind, group = document.get("kind"), str(document.get("apiVersion", "")).rpartition("/")[0]
    if kind == names.KIND and group in ("", names.GROUP):
        yield document, node
    items, listed = document.get("items"), _child(node, "items")
    if str(kind).endswith("List") and isinstance(items, list) and listed:
        for index, item in enumerate(items):
            if child := _child(listed[1], index):
                yield from _releases(item, child[1])


def line_of(node: yaml.Node, path: Iterable[str | int]) -> int:
    """Return the line of a field, counted from 1; of what is missing, that of what it is missing
    in.
    """
    line = node.start_mark.line
    for part in path:
        child = _child(node, part)
        if child is None:
            break
        begin, node = child
        line = begin.start_mark.line
    return line + 1


def _child(node: yaml.Node, part: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """Return where a field begins, and its value."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None


def releases_in(file: Path) -> list[dict[str, Any]]:
    """Return the raw ModelReleases of a file; raise Invalid when it cannot be read."""
    return [document for document, _ in located_in(file)]


def name_of(document: dict[str, Any]) -> str:
    """Return the name of an object, or `?`."""
    meta = document.get("metadata")
    return str(meta.get("name", "?")) if isinstance(meta, dict) else "?"


def manifests(file: Path) -> list[Manifest]:
    """Read every ModelRelease of a file; raise Invalid for the first wrong one, or NothingThere."""
    releases = []
    for document in releases_in(file):
        try:
            spec = ReleaseSpec.parse(document.get("spec") or {}, strict=True)
        except Invalid as problem:
            msg = f"{file}: {names.KIND} {name_of(document)}: {problem}"
            raise Invalid(msg) from problem
        meta = document.get("metadata") or {}
        releases.append(
            Manifest(name=name_of(document), namespace=meta.get("namespace"), spec=spec)
        )
    if not releases:
        raise NothingThere(file)
    return releases


def nothing_in(file: Path) -> int:
    """Say that a file holds nothing to work on; return the exit code for that."""
    print(f"no {names.KIND} was found in {file}", file=sys.stderr)
    return 2


def add_output(parser: argparse.ArgumentParser, default: str = "text") -> None:
    """Add how an answer is written: for people by default, or for programs."""
    parser.add_argument(
        "-o", "--output", choices=(default, "json", "yaml"), default=default,
        help=f"(default: {default})",
    )  # fmt: skip


def written(result: Any, output: str) -> str:
    """Return an answer for programs: the same as JSON and as YAML."""
    text = json.dumps(result, indent=2, allow_nan=False)
    if output == "json":
        return text
    # From the JSON, so that both have the same words and no type of ours is in either.
    return yaml.safe_dump(json.loads(text), sort_keys=False, allow_unicode=True).rstrip()


def show(results: Sequence[dict[str, Any]], output: str) -> None:
    """Print an answer for programs: an object for one release, a list for several."""
    print(written(results[0] if len(results) == 1 else results, output))


def duration(text: str) -> timedelta:
    """Read an argument such as `30m`."""
    try:
        return parse_duration(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from problem


def share(text: str) -> float:
    """Read an argument that is a share between 0 and 1; percentages are refused, not guessed."""
    value = number(text)
    if not 0 <= value <= 1:
        msg = f"must be a share between 0 and 1 (0.01 is one percent), got {text}"
        raise argparse.ArgumentTypeError(msg)
    return value


def positive(text: str) -> float:
    """Read an argument that is a number above 0."""
    value = number(text)
    if not value > 0:
        msg = f"must be above 0, got {text}"
        raise argparse.ArgumentTypeError(msg)
    return value


def number(text: str) -> float:
    """Read a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        msg = f"must be a number, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return value


def percent(value: float) -> str:
    """Write a share as people read it, such as `1 %`, `0.05 %`."""
    return f"{100 * value:.3g} %"


def indented(text: str, first: str = "  ", then: str = "  ") -> str:
    """Wrap a sentence for a terminal of 80 columns, two columns in."""
    return textwrap.fill(
        text, 80, initial_indent=first, subsequent_indent=then, break_on_hyphens=False
    )


def plain(text: str) -> str:
    """Return a text without what moves a terminal's cursor, colours it, or turns letters round:
    messages quote servers and pods, which may say anything.
    """
    return CONTROLS.sub(" ", text)


def one_line(text: str) -> str:
    """Return a plain text on one line."""
    return plain(" ".join(text.splitlines()))


def table(rows: Iterable[Sequence[str]], *, left: frozenset[int] = frozenset()) -> str:
    """Align columns: to the right, but for those in `left`."""
    lines = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_aligned(line, widths, left) for line in lines)


def _aligned(line: Sequence[str], widths: Sequence[int], left: frozenset[int]) -> str:
    cells = [
        text.ljust(width) if index in left else text.rjust(width)
        for index, (text, width) in enumerate(zip(line, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
