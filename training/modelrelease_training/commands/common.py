"""What the commands share: how they read arguments, answer and complain."""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from typing_extensions import override

from modelrelease_training.errors import EXIT_USAGE

Commands = Any
"""What `add_subparsers` returns; argparse names its type privately."""
Run = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """Answers a bad argument with one sentence; the usage is one `--help` away."""

    @override
    def error(self, message: str) -> NoReturn:
        """Print `message` on standard error and leave with exit code 2."""
        self.exit(EXIT_USAGE, f"{self.prog}: {message} (--help shows examples)\n")


def add_command(
    commands: Commands, name: str, run: Run, *, what: str, epilog: str
) -> argparse.ArgumentParser:
    """Return the parser of a new command, with the options that every command has."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "-o",
        "--format",
        choices=("text", "json"),
        default="text",
        help="of the answer",
    )
    return parser


def version_label(text: str) -> str:
    """Return `text` if it can be a version: it becomes a folder, a label in Kubernetes and in metrics."""
    if not re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", text):
        rule = "must be 1 to 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends"
        msg = f"{rule}, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return text


def seed(text: str) -> int:
    """Return `text` as a seed."""
    if not text.isdecimal() or int(text) >= 2**32:
        msg = f"must be a whole number from 0 to 4294967295, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def add_schema(parser: argparse._ActionsContainer) -> None:
    """Let a command take another data schema than the bundled one."""
    parser.add_argument(
        "--schema",
        type=Path,
        metavar="FILE",
        help="data schema in YAML (default: the demo's)",
    )


def say(line: str) -> None:
    """Tell a person on standard error what goes on; standard output is for the answer."""
    print(f"modelrelease-train: {line}", file=sys.stderr, flush=True)


def answer(options: argparse.Namespace, fields: dict[str, Any], text: str) -> None:
    """Print the answer in the format that was asked for."""
    print(json.dumps(fields) if options.format == "json" else text)


def table(title: str, rows: dict[str, object]) -> str:
    """Return a title and aligned names and values."""
    width = max(13, *(len(name) for name in rows)) if rows else 13
    return "\n".join([title, *(f"  {name:<{width}} {value}" for name, value in rows.items())])
