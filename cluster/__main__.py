"""The command line: `python -m cluster up`, `down`, `status` and so on."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cluster import toolchain
from cluster.cluster import Cluster, cluster_for
from cluster.errors import ClusterError
from cluster.gateways import GATEWAYS, TRAEFIK
from cluster.imageset import IMAGES, USUAL
from cluster.providers import PROVIDERS


def up(cluster: Cluster, options: argparse.Namespace) -> int:
    """Bring the cluster up."""
    cluster.up(controller_qps=options.controller_qps, prometheus=options.prometheus)
    return 0


def prepare(cluster: Cluster, options: argparse.Namespace) -> int:
    """Compile, fetch and build ahead."""
    cluster.prepare(prometheus=options.prometheus)
    return 0


def down(cluster: Cluster, options: argparse.Namespace) -> int:
    """Remove the cluster, and the cache as well if asked."""
    cluster.down(and_cache=options.cache)
    return 0


def status(cluster: Cluster, _: argparse.Namespace) -> int:
    """Show what there is."""
    facts = cluster.status()
    for name, value in facts.items():
        print(f"{name + ':':<12} {value}")
    return 0 if facts.get("API server") == "ready" else 1


def kubeconfig(cluster: Cluster, _: argparse.Namespace) -> int:
    """Print the path of the kubeconfig."""
    print(_existing_kubeconfig(cluster))
    return 0


def _existing_kubeconfig(cluster: Cluster) -> Path:
    if cluster.kubeconfig.is_file():
        return cluster.kubeconfig
    raise ClusterError(
        f"cluster {cluster.name!r} is not up", f"python -m cluster up --name {cluster.name}"
    )


def images(cluster: Cluster, options: argparse.Namespace) -> int:
    """Build and load the images."""
    cluster.build_images(*options.images)
    return 0


def operator(cluster: Cluster, options: argparse.Namespace) -> int:
    """Install the operator."""
    cluster.install_operator(*options.set)
    return 0


def prometheus(cluster: Cluster, _: argparse.Namespace) -> int:
    """Install Prometheus."""
    cluster.install_prometheus()
    return 0


def gateway(cluster: Cluster, options: argparse.Namespace) -> int:
    """Install a Gateway API implementation."""
    cluster.install_gateway(options.implementation)
    return 0


def load(cluster: Cluster, options: argparse.Namespace) -> int:
    """Load an image's archive."""
    cluster.load_image(options.archive, options.reference)
    return 0


def run(cluster: Cluster, options: argparse.Namespace) -> int:
    """Run a command with KUBECONFIG set, and kubectl and Helm on PATH."""
    environment = {**os.environ, **_environment(cluster)}
    # By its path: subprocess would look for a name on the PATH that this process has.
    program = shutil.which(options.command[0], path=environment["PATH"])
    command = [program or options.command[0], *options.command[1:]]
    return subprocess.run(command, env=environment, check=False).returncode


def env(cluster: Cluster, _: argparse.Namespace) -> int:
    """Print what a shell has to set to work with the cluster."""
    for name, value in _environment(cluster).items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _environment(cluster: Cluster) -> dict[str, str]:
    """Return the variables that lead to a cluster, its kubectl and Helm, and this Python."""
    kubeconfig = str(_existing_kubeconfig(cluster))
    programs = [*toolchain.kubectl(), toolchain.helm(), sys.executable]
    ours = [str(Path(program).parent) for program in programs]
    theirs = [it for it in os.environ.get("PATH", "").split(os.pathsep) if it not in ours]
    return {"KUBECONFIG": kubeconfig, "PATH": os.pathsep.join([*ours, *theirs])}


Command = Callable[[Cluster, argparse.Namespace], int]
COMMANDS: dict[str, tuple[Command, str, str]] = {
    "up": (up, "bring a cluster up, with DNS and Prometheus; can be run again at any time", "up"),
    "prepare": (
        prepare,
        "compile, fetch and build, side by side, what `up` and `operator` need",
        "prepare",
    ),
    "down": (down, "remove everything of a cluster, and nothing else", "down --name demo"),
    "status": (status, "show what runs where; exit code 0 if the API server is ready", "status"),
    "kubeconfig": (kubeconfig, "print the path of the kubeconfig", "kubeconfig"),
    "images": (
        images,
        f"build images ({', '.join(IMAGES)}; default: {' and '.join(USUAL)}) and load what changed",
        "images serving operator training",
    ),
    "operator": (operator, "build, load and install the operator by its Helm chart", "operator"),
    "prometheus": (prometheus, "add Prometheus to a cluster that came up without", "prometheus"),
    "gateway": (
        gateway,
        "install the Gateway API, an implementation and a Gateway named public",
        "gateway --implementation contour",
    ),
    "load": (load, "load an image archive of your own", "load app.tar docker.io/library/app:dev"),
    "run": (
        run,
        "run a command with KUBECONFIG set, and kubectl and Helm on PATH",
        "run -- kubectl get pods -A",
    ),
    "env": (
        env,
        'print KUBECONFIG and PATH for a shell: eval "$(python -m cluster env)"',
        "env --name demo",
    ),
}


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    main_parser = argparse.ArgumentParser(
        prog="python -m cluster",
        description="A real Kubernetes cluster for tests and the demo: yours, kind's, or native.",
        epilog="Start with: python -m cluster up",
    )
    commands = main_parser.add_subparsers(dest="what", required=True, metavar="COMMAND")
    for name, (_, purpose, example) in COMMANDS.items():
        command = commands.add_parser(
            name, help=purpose, description=purpose, epilog=f"Example: python -m cluster {example}"
        )
        _common(command)
        if name in ("up", "prepare"):
            command.add_argument(
                "--no-prometheus",
                dest="prometheus",
                action="store_false",
                help="leave Prometheus out; `prometheus` adds it later",
            )
        if name == "up":
            command.add_argument(
                "--controller-qps", type=int, metavar="N",
                help="requests a second that each of Kubernetes' controllers may make, with "
                     "provider native "
                "(default: 20, as Kubernetes has it)",
            )  # fmt: skip
        elif name == "down":
            command.add_argument(
                "--cache", action="store_true", help="remove what was compiled and built, too"
            )
        elif name == "gateway":
            command.add_argument(
                "--implementation", choices=GATEWAYS, default=TRAEFIK.name,
                help="each has a namespace of its own: gateway or gateway-contour "
                "(default: %(default)s)",
            )  # fmt: skip
        elif name == "operator":
            command.add_argument(
                "--set", action="append", default=[], help="another chart value, KEY=VALUE"
            )
        elif name == "images":
            command.add_argument(
                "images", nargs="*", metavar="IMAGE", help=f"any of {', '.join(IMAGES)}"
            )
        elif name == "load":
            command.add_argument("archive", type=Path, help="file written by docker save")
            command.add_argument("reference", help="name of the image in it")
        elif name == "run":
            command.add_argument(
                "command", nargs="+", help="the command and its arguments, after --"
            )
    return main_parser


def _common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--name", default="dev", help="name of the cluster (default: dev)")
    command.add_argument(
        "--provider",
        choices=PROVIDERS,
        default="auto",
        help="auto: a context that you name, else kind if Docker answers, else native "
        "(also: MODELRELEASE_CLUSTER_PROVIDER)",
    )
    command.add_argument(
        "--context",
        default="",
        help="use this context of your kubeconfig (also: MODELRELEASE_CONTEXT)",
    )
    command.add_argument(
        "--registry", default="", help="with --context: push images to this prefix"
    )


def _check_images(options: argparse.Namespace) -> None:
    """Refuse an image that there is none of; argparse's choices would refuse an empty list, too."""
    unknown = [name for name in getattr(options, "images", []) if name not in IMAGES]
    if unknown:
        raise ClusterError(f"there is no image {unknown[0]!r}", f"choose from {', '.join(IMAGES)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; an error is one sentence and what to do next."""
    options = parser().parse_args(arguments)
    try:
        _check_images(options)
        cluster = cluster_for(options.name, options.provider, options.context, options.registry)
        return COMMANDS[options.what][0](cluster, options)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"\ninterrupted; `{options.what}` can be run again and goes on from here",
            file=sys.stderr,
        )
        return 130


if __name__ == "__main__":
    sys.exit(main())
