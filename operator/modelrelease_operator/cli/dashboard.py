"""`modelrelease dashboard`: all releases on a page, and one as it goes on."""

import argparse
import re
from typing import Final

from modelrelease_operator.cli.common import Commands, add_place, command
from modelrelease_operator.errors import Invalid

PORT: Final = 8765
IN_CLUSTER_PORT: Final = 8081
PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")
DETAILS = """\
Serves a page on this machine alone, with your kubeconfig and your rights. It
only shows, unless --commands is given: then a command asks for the code that
is printed here, because other users of this machine reach the page, too.

What is drawn over time is what the page has seen since it was started.

examples:
  modelrelease dashboard
  modelrelease dashboard -A --context production
  modelrelease dashboard -n prod --commands
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "dashboard", "show releases on a page in your browser", DETAILS)
    add_place(parser)
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    parser.add_argument(
        "--commands", action="store_true",
        help="let the page approve, promote, abort, retry, pause and resume, with your rights",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=int, metavar="PORT", help=f"0: any that is free (default: {PORT})"
    )
    parser.add_argument(
        "--base-path", type=_path, default="", metavar="PATH",
        help="below which the page is, such as /releases (default: the root)",
    )  # fmt: skip
    parser.add_argument(
        "--host-name", action="append", default=[], metavar="NAME",
        help="another name by which browsers may ask for it; may be given more than once",
    )  # fmt: skip
    parser.add_argument(
        "--in-cluster", action="store_true",
        help="as the chart does: with the pod's account, on every address",
    )  # fmt: skip
    parser.add_argument(
        "--viewers", choices=("token", "anyone"), default="token",
        help="with --in-cluster: who sees it, whoever's token a proxy sends along may, or anybody "
        "who reaches it, without commands (default: token)",
    )  # fmt: skip
    parser.add_argument(
        "--watch-namespace", action="append", default=[], metavar="NAMESPACE",
        help="with --in-cluster: one to show; may be given more than once (default: all)",
    )  # fmt: skip
    parser.set_defaults(run=_dashboard)


def _path(text: str) -> str:
    path = text.rstrip("/")
    if not PATH.fullmatch(path):
        msg = f"must be a path such as /releases, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return path


def _dashboard(parsed: argparse.Namespace) -> int:
    try:
        from modelrelease_operator.ui.serve import (  # noqa: PLC0415 - only this needs a server
            Desk,
            InCluster,
            serve_desk,
            serve_in_cluster,
        )
    except ImportError as problem:
        msg = f"{problem.name} is not installed: pip install 'modelrelease[operator,ui]'"
        raise Invalid(msg) from problem
    if parsed.in_cluster:
        if parsed.viewers == "anyone" and parsed.commands:
            msg = "--viewers anyone tells nobody apart, so it takes no --commands"
            raise Invalid(msg)
        serve_in_cluster(
            InCluster(
                namespaces=parsed.watch_namespace, viewers=parsed.viewers,
                commands=parsed.commands, base_path=parsed.base_path, hosts=parsed.host_name,
                port=IN_CLUSTER_PORT if parsed.port is None else parsed.port,
            )
        )  # fmt: skip
        return 0
    serve_desk(
        Desk(
            namespace=parsed.namespace, context=parsed.context,
            everywhere=parsed.all_namespaces, commands=parsed.commands,
            base_path=parsed.base_path, hosts=parsed.host_name,
            port=PORT if parsed.port is None else parsed.port, ready=_ready,
        )
    )  # fmt: skip
    return 0


def _ready(address: str, code: str | None) -> None:
    print(f"releases are at {address} until Ctrl-C")
    if code:
        print(f"a command asks for this code: {code}")
