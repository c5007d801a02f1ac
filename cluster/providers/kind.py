"""A cluster in Docker containers, made by kind; for machines where a Docker daemon answers."""

from __future__ import annotations

from pathlib import Path

from cluster import cache, shell, toolchain, versions
from cluster.engines import docker_answers
from cluster.errors import ClusterError
from cluster.progress import say, step
from cluster.state import State


def _node() -> list[str]:
    """Return kind's option for the version of Kubernetes that is wanted."""
    minor = versions.wanted_kubernetes()
    if not minor:
        return []
    nodes = versions.kind_nodes()
    if minor not in nodes:
        raise ClusterError(
            f"{versions.WANTED}={minor} is no version that there is a node of kind for",
            f"name one of {', '.join(nodes)}, or add it to {versions.FILE.name}",
        )
    return ["--image", nodes[minor]]


class Kind:
    """Drives the `kind` program; the cluster is called `modelrelease-NAME` there."""

    name = "kind"
    creates = True

    def __init__(self, state: State) -> None:
        self.state = state
        self.cluster = f"modelrelease-{state.name}"

    def modules(self) -> tuple[toolchain.Module, ...]:
        """Name kind where the machine has none."""
        return () if toolchain.kind_here() else (toolchain.kind_module(),)

    def up(self) -> None:
        """Create the cluster unless it is there and healthy."""
        if not docker_answers():
            raise ClusterError(
                "provider 'kind' needs a Docker daemon, and `docker info` fails",
                "start Docker, or use --provider native (Linux, root)",
            )
        self.state.create()
        if self.cluster in self._clusters():
            if self.healthy():
                say(f"kind cluster {self.cluster!r} runs already and is healthy: using it")
                return
            say(f"kind cluster {self.cluster!r} does not answer: making it anew")
            self._delete()
        create = [toolchain.kind(), "create", "cluster", *_node()]
        shell.stream(
            f"creating kind cluster {self.cluster}",
            [
                *create,
                "--name",
                self.cluster,
                "--kubeconfig",
                self.state.kubeconfig,
                "--wait",
                "180s",
            ],
            cache.root() / "logs" / "kind.log",
        )

    def _clusters(self) -> list[str]:
        return shell.output([toolchain.kind(), "get", "clusters"]).splitlines()

    def _delete(self) -> None:
        with step(f"deleting kind cluster {self.cluster}"):
            command = [toolchain.kind(), "delete", "cluster", "--name", self.cluster]
            shell.run([*command, "--kubeconfig", self.state.kubeconfig])

    def down(self) -> None:
        """Delete the cluster, if it is there."""
        if docker_answers() and self.cluster in self._clusters():
            self._delete()
        self.state.remove()

    def healthy(self) -> bool:
        """Tell whether the API server says that it is ready."""
        return toolchain.api_ready(self.state.kubeconfig)

    def status(self) -> dict[str, str]:
        """Say which kind cluster it is."""
        return {"kind cluster": self.cluster}

    def load_image(self, archive: Path, reference: str) -> None:
        """Load an archive into the node."""
        with step(f"loading {reference} into {self.cluster}"):
            shell.run([toolchain.kind(), "load", "image-archive", archive, "--name", self.cluster])
