"""A cluster of the user's, used only when its context is named."""

from __future__ import annotations

from pathlib import Path

from cluster import engines, shell, toolchain
from cluster.errors import ClusterError
from cluster.progress import say, step
from cluster.state import State


class Existing:
    """Borrows a context: never creates, never destroys."""

    name = "existing"
    creates = False

    def __init__(self, state: State, context: str, registry: str) -> None:
        self.state = state
        self.context = context or str(state.read("cluster").get("context", ""))
        self.registry = registry

    def modules(self) -> tuple[toolchain.Module, ...]:
        """Name nothing: all is there."""
        return ()

    def up(self) -> None:
        """Copy the context, alone, to the state folder, and see that it answers."""
        self.state.create()
        view = ["config", "view", "--raw", "--minify", "--flatten", "--context", self.context]
        view_process = shell.run([*toolchain.kubectl(), *view], check=False)
        if view_process.returncode != 0:
            raise ClusterError(
                f"context {self.context!r}: {view_process.stderr.strip()}",
                "kubectl config get-contexts lists those you have",
            )
        self.state.kubeconfig.touch(mode=0o600)
        self.state.kubeconfig.write_text(view_process.stdout)
        if not self.healthy():
            raise ClusterError(
                f"context {self.context!r}: its API server does not answer /readyz with `ok`",
                f"kubectl --context {self.context} get --raw=/readyz",
            )

    def down(self) -> None:
        """Forget the copy; the cluster is the user's."""
        say(f"context {self.context!r} is yours: the cluster itself stays as it is")
        self.state.remove()

    def healthy(self) -> bool:
        """Tell whether the API server says that it is ready."""
        return toolchain.api_ready(self.state.kubeconfig)

    def status(self) -> dict[str, str]:
        """Say which context is used."""
        return {"context": self.context, "registry": self.registry or "none: you push the images"}

    def load_image(self, archive: Path, reference: str) -> None:
        """Push to the registry that was named, or leave it to the user."""
        if not self.registry:
            say(f"{reference}: not pushed ({archive}); push it yourself, or add --registry PREFIX")
            return
        pushed = f"{self.registry.rstrip('/')}/{reference}"
        with step(f"pushing {pushed}"):
            engine = engines.engine(self.name)
            if engine == "buildah":
                shell.run(["buildah", "pull", f"docker-archive:{archive}"])
                shell.run(
                    ["buildah", "push", f"docker.io/library/{reference}", f"docker://{pushed}"]
                )
                return
            shell.run([engine, "load", "--input", archive])
            shell.run([engine, "tag", reference, pushed])
            shell.run([engine, "push", pushed])
