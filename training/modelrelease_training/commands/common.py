"""What the commands share: how they read arguments, answer and complain."""

import argparse
import json
import math
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

from typing_extensions import override

from modelrelease_training.errors import EXIT_USAGE

TRACEBACK_VARIABLE: Final = "MODELRELEASE_TRACEBACK"
"""Environment variable: set, an error that nobody foresaw is shown with its traceback."""
_LONGEST_REASON: Final = 300

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
    commands: Commands, name: str, run: Run, *, summary: str, epilog: str
) -> argparse.ArgumentParser:
    """Return the parser of a new command, with the options that every command has."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
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


def add_label(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what an artifact is called."""
    parser.add_argument("--name", required=True, type=version_label, help="name of the model")
    parser.add_argument(
        "--version", required=True, type=version_label, help="version, such as 3 or 2026-11-28"
    )


def last_resort(error: Exception) -> str:
    """Return the sentence about an error that nobody foresaw.

    A traceback would end with exit code 1, which is an answer (drift, decay): a script that reads
    it must not be told so by a fault of ours.
    """
    if os.environ.get(TRACEBACK_VARIABLE):
        traceback.print_exception(error)
    message = " ".join(str(error).split())[:_LONGEST_REASON]
    fault = f"{type(error).__name__}: {message}{_line_of(error)}"
    return (
        f"cannot go on: {fault}; it may be a fault of ours: {TRACEBACK_VARIABLE}=1 shows the whole "
        "way to it"
    )


def at_least_one(text: str) -> int:
    """Return `text` as a whole number from 1 up."""
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 19 and int(text) > 0):
        msg = f"must be a whole number from 1 up, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def share(text: str) -> float:
    """Return `text` as a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        msg = f"must be a number from 0 to 1, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return value


def version_label(text: str) -> str:
    """Return `text` if it can be a version: a folder, and a label in Kubernetes and in metrics."""
    if not re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", text):
        rule = (
            "must be 1 to 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends"
        )
        msg = f"{rule}, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return text


def seed(text: str) -> int:
    """Return `text` as a seed."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 10) or int(text) >= 2**32:
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


def _line_of(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


def print_answer(options: argparse.Namespace, fields: dict[str, Any], text: str) -> None:
    """Print the answer in the format of `--format`."""
    if options.format == "json":
        print(json.dumps(fields))
    else:
        print(text)


def table(title: str, rows: dict[str, object]) -> str:
    """Return a title and aligned names and values."""
    width = max([13, *map(len, rows)])
    return "\n".join([title, *(f"  {name:<{width}} {value}" for name, value in rows.items())])
