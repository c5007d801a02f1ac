"""A training as a user starts it: `modelrelease-train train`, here or in a process of its own."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from modelrelease_training.__main__ import main

VERSION = ("--version", "1")
ROWS = ("--rows", "400")
"""Few, so that a training takes no time."""


def train(output: Path, *options: object, card: bool = False) -> int:
    """Train in this process; return the exit code."""
    return main(_arguments(output, *options, card=card))


def command(output: Path, *options: object, card: bool = False) -> list[str]:
    """Return the command that trains in a process of its own."""
    return [sys.executable, "-m", "modelrelease_training", *_arguments(output, *options, card=card)]


def train_apart(
    output: Path,
    *options: object,
    card: bool = False,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Train in a process of its own; its exit code is for the caller to judge."""
    return subprocess.run(
        command(output, *options, card=card),
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def _arguments(output: Path, *options: object, card: bool) -> list[str]:
    card_options = [] if card else ["--no-card"]
    return ["train", "--output", str(output), *card_options, *map(str, options)]
