"""`modelrelease run`: the operator itself."""

import argparse

from modelrelease_operator.cli.common import Commands, command
from modelrelease_operator.settings import Settings

DETAILS = """\
Reads its settings from the environment (docs/reference/settings.md), watches
until SIGTERM. In a cluster the chart runs it; on a desk it uses your
kubeconfig.

example:
  MODELRELEASE_PROMETHEUS_URL=http://localhost:9090 modelrelease run
"""


def add(commands: Commands) -> None:
    """Add the command."""
    command(commands, "run", "run the operator until it is told to stop", DETAILS).set_defaults(
        run=_run
    )


def _run(_: argparse.Namespace) -> int:
    from modelrelease_operator.runtime.handlers import run  # noqa: PLC0415 - the other commands need no kopf

    run(Settings())
    return 0
