"""`modelrelease-train register`, and how `train --register` does the same."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from modelrelease_training.commands.common import Commands, add_command, print_answer, say, table

if TYPE_CHECKING:
    from modelrelease_training.registry import Registered

_EPILOG = """\
examples:
  modelrelease-train register artifacts/qna/2
  modelrelease-train register artifacts/qna/2 --mlflow http://127.0.0.1:5000 --alias champion -o json

The alias `candidate` moves to the version unless other aliases are named. The same artifact registered
twice is one version. docs/reference/registry.md says how it lies in MLflow.
"""  # noqa: E501


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "register",
        run,
        summary="put an artifact into MLflow and move an alias to it",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "artifact", type=Path, metavar="ARTIFACT", help="the folder that `train` wrote"
    )
    add_registry(parser)


def add_registry(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where to register."""
    group = parser.add_argument_group("MLflow")
    group.add_argument(
        "--mlflow",
        metavar="URI",
        help="server or store (default: MLFLOW_TRACKING_URI, or sqlite:///mlflow.db)",
    )
    group.add_argument(
        "--experiment",
        metavar="NAME",
        help="for the run (default: MLFLOW_EXPERIMENT_NAME, or production)",
    )
    group.add_argument(
        "--alias",
        action="append",
        metavar="NAME",
        help="to move; may be repeated (default: candidate)",
    )


def run(options: argparse.Namespace) -> int:
    """Register, and say as what."""
    registered = register(options, options.artifact)
    print_answer(options, asdict(registered), text(registered))
    return 0


def register(options: argparse.Namespace, folder: Path) -> "Registered":
    """Register the artifact in `folder` as the options say."""
    from modelrelease_training.load import read_training  # noqa: PLC0415 (see the package)
    from modelrelease_training.registry import CANDIDATE, Registry, facts_of  # noqa: PLC0415

    registry = Registry(options.mlflow, options.experiment)
    say(f"registering {folder} with MLflow at {registry.uri}")
    facts = facts_of(read_training(folder))
    return registry.register(folder, aliases=options.alias or [CANDIDATE], facts=facts)


def text(registered: "Registered") -> str:
    """Return the answer for a person."""
    rows: dict[str, object] = {
        "aliases": ", ".join(registered.aliases),
        "digest": registered.digest,
        "run": registered.run_id,
        "source": registered.source,
    }
    uri = f"models:/{registered.name}/{registered.version}"
    return table(f"Registered {registered.name} {registered.model_version} as {uri}", rows)
