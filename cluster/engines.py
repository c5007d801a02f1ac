"""Which program builds and pushes images: docker, podman or buildah, whichever the machine has."""

from __future__ import annotations

from cluster import shell
from cluster.native.host import install_packages


def docker_answers() -> bool:
    """Tell whether a Docker daemon answers, not only the client."""
    return (
        shell.has("docker")
        and shell.run(["docker", "info"], check=False, timeout=30).returncode == 0
    )


def engine(provider: str) -> str:
    """Choose the program that builds: Docker for kind, buildah for the native cluster."""
    if provider != "native":
        if docker_answers():
            return "docker"
        if shell.has("podman"):
            return "podman"
    install_packages("images")
    return "buildah"
