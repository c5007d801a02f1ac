"""The command line: run the operator, try a release beforehand, say why one is where it is.

One module for each command; each adds its parser and the function that runs it. What needs a client
of Kubernetes or Prometheus is imported only by the command that calls it.
"""

import argparse
import io
import os
import sys
from collections.abc import Sequence

from modelrelease_operator import __version__
from modelrelease_operator.cli.act import add as add_act
from modelrelease_operator.cli.common import plain
from modelrelease_operator.cli.completion import add as add_completion
from modelrelease_operator.cli.dashboard import add as add_dashboard
from modelrelease_operator.cli.doctor import add as add_doctor
from modelrelease_operator.cli.history import add as add_history
from modelrelease_operator.cli.init import add as add_init
from modelrelease_operator.cli.plan import add as add_plan
from modelrelease_operator.cli.replay import add as add_replay
from modelrelease_operator.cli.report import add as add_report
from modelrelease_operator.cli.run import add as add_run
from modelrelease_operator.cli.simulate import add as add_simulate
from modelrelease_operator.cli.status import add as add_status
from modelrelease_operator.cli.validate import add as add_validate
from modelrelease_operator.cli.why import add as add_why
from modelrelease_operator.errors import ReleaseError

EXAMPLES = """\
examples:
  modelrelease init models:/qna@champion        write a first manifest
  modelrelease validate release.yaml            check manifests without a cluster
  modelrelease plan release.yaml --rps 20       what a release will take, and what it will catch
  modelrelease why qna -n prod                  why a release is where it is, and how to go on

exit codes:
  0  done
  1  the answer is bad news: a manifest is invalid, something does not exist or does not answer
  2  the command was used wrongly, or there was nothing to work on

`modelrelease COMMAND --help` teaches each command with an example.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal without a letter of a message is no reason to show nothing.
        sys.stdout.reconfigure(errors="replace")
    parsed = parser().parse_args(arguments)
    try:
        code: int = parsed.run(parsed)
        sys.stdout.flush()
    except ReleaseError as problem:
        print(plain(f"modelrelease {parsed.command}: {problem}"), file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read the output (`head`, a pager) has seen enough; what is left goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return code


def parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    whole = argparse.ArgumentParser(
        prog="modelrelease",
        description="Release machine-learning models, and decide from evidence whether they stay.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=f"modelrelease {__version__}")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        add_run, add_init, add_validate, add_plan, add_simulate, add_replay, add_status, add_why,
        add_history, add_dashboard, add_report, add_act, add_doctor,
        add_completion,
    ):  # fmt: skip
        add(commands)
    return whole
