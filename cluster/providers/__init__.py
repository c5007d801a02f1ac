"""The ways to a cluster: one that exists, kind where Docker is, and a native one otherwise."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cluster.engines import docker_answers
from cluster.errors import ClusterError
from cluster.toolchain import Module

PROVIDERS = ("auto", "native", "kind", "existing")


class Provider(Protocol):
    """What the rest of this package needs from a way to get a cluster."""

    name: str
    creates: bool  # whether `up` makes a cluster that `down` may destroy

    def modules(self) -> tuple[Module, ...]:
        """Name what has to be compiled before `up` can make a cluster."""

    def up(self) -> None:
        """Bring API server and node up unless they are; leave a kubeconfig in the state folder."""

    def down(self) -> None:
        """Remove all that `up` made, also when it was half made."""

    def healthy(self) -> bool:
        """Tell whether this provider's cluster of this name answers now."""

    def status(self) -> dict[str, str]:
        """Say in a few words what runs where."""

    def load_image(self, archive: Path, reference: str) -> None:
        """Give the cluster's pods an image (a `docker save` archive) as `reference`."""


@dataclass(frozen=True)
class Choice:
    """Which provider, and why, in words for the person who waits."""

    provider: str
    reason: str
    context: str = ""


def choose(provider: str, context: str, remembered: str, *, docker: bool | None = None) -> Choice:
    """Choose a provider from what was asked for, what runs already and what the machine has."""
    provider = (
        provider if provider != "auto" else os.environ.get("MODELRELEASE_CLUSTER_PROVIDER", "auto")
    )
    context = context or os.environ.get("MODELRELEASE_CONTEXT", "")
    if provider not in PROVIDERS:
        raise ClusterError(
            f"provider {provider!r} is none of {', '.join(PROVIDERS)}",
            "see python -m cluster up --help",
        )
    if provider == "existing" and not context:
        raise ClusterError(
            (
                "provider 'existing' needs a context: a cluster of yours is never used unless you "
                "name it"
            ),
            (
                "add --context NAME (kubectl config get-contexts lists them), or set "
                "MODELRELEASE_CONTEXT"
            ),
        )
    if context and provider not in {"auto", "existing"}:
        raise ClusterError(
            (
                f"context {context!r} and provider {provider!r} contradict each other: "
                f"{provider} makes its own"
            ),
            "leave out --context, or choose --provider existing",
        )
    if context:
        return Choice("existing", f"the context {context!r} was named", context)
    if provider != "auto":
        return Choice(provider, "it was asked for")
    if remembered:
        return Choice(remembered, "a cluster of this name was made with it")
    if docker is None:
        docker = docker_answers()
    if docker:
        return Choice("kind", "a Docker daemon answers")
    return Choice("native", "no context was named and no Docker daemon answers")
