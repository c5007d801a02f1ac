"""What has to be known of a model server, as data: no client, no clock, no object of Kubernetes."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from modelrelease_contract import runtime as variables
from modelrelease_contract.shadow import RequestForm
from modelrelease_operator.api.pods import IMAGE_VOLUME
from modelrelease_operator.api.status import Target
from modelrelease_operator.serving_runtimes.metrics import ServerMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpProbe:
    """How the kubelet asks a server how it is. Status 200 to 399 means well."""

    path: str
    period_seconds: int
    failure_threshold: int
    """Failures in a row from which on the server is taken to be unwell."""
    timeout_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """How a server leaves without cutting a request."""

    grace_seconds: int
    """From the signal to the kill: draining, then requests in flight, then a margin. What comes
    before the signal is a part of it."""
    pre_stop_seconds: int = 0
    """That the kubelet waits before SIGTERM, for servers that close their port at once."""
    pre_stop_command: tuple[str, ...] = ()
    """That it runs before SIGTERM instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactDelivery:
    """How the artifact reaches the server."""

    directory: str
    """Where the volume with it is mounted, read-only for the server."""
    fetched: bool = True
    """Whether it is fetched into the volume before the server starts. Else the server has it, or
    gets it by itself."""

    def folder_of(self, target: Target) -> str:
        """Return where the artifact lies: of an image that a node mounts, the folder that is said.

        The whole image is mounted and no part of it, because containerd 2.1 mounts the whole
        where a part is asked for.
        """
        inner = (target.recipe.pod.get(IMAGE_VOLUME) or {}).get("path")
        return f"{self.directory}/{inner}" if inner else self.directory


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingRuntime:
    """One model server.

    Kubernetes fills in `$(NAME)` in `command`, `args` and `env`, of the variables that every
    server has: those of `env_for`.
    """

    name: str
    command: tuple[str, ...] = ()
    """Instead of the image's own; empty: as the image says."""
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    """Variables that no release may change: name and value."""
    port: int
    """Predictions and probes, over HTTP."""
    startup: HttpProbe
    readiness: HttpProbe
    liveness: HttpProbe | None
    metrics: ServerMetrics
    drain: Drain
    artifact: ArtifactDelivery
    refused: Mapping[str, str] = field(default_factory=dict)
    """What gates ask for (`GateSettings.asks`) that its counters cannot answer, and why."""
    answers_copies: bool = False
    """Whether it copies what it answers to a canary in the dark, and answers such copies."""
    prober_args: tuple[str, ...] | None = None
    """With which its image runs the prober, on the same port; None where it has no prober."""

    example_requests: RequestForm | None = None
    """How a prober asks it example rows; None where nobody knows. Its path may name variables of
    `env_for`."""

    def env_for(self, release: str, target: Target) -> Iterator[tuple[str, str]]:
        """Yield the names and values of the variables that are the operator's to set."""
        yield variables.ENV_RELEASE, release
        yield variables.ENV_REVISION, target.revision
        yield variables.ENV_MODEL_PATH, self.artifact.folder_of(target)
        yield variables.ENV_MODEL_VERSION, target.version
        yield variables.ENV_MODEL_SHA256, target.sha256
        if not self.artifact.fetched:
            yield variables.ENV_MODEL_URI, target.uri
        yield from self.env

    def form_for(self, release: str, target: Target) -> RequestForm | None:
        """Return how a prober asks a revision of this server example rows."""
        form = self.example_requests
        if form is None:
            return None
        known = dict(self.env_for(release, target))
        path = re.sub(r"\$\((\w+)\)", lambda name: known.get(name[1], name[0]), form.path)
        return form.model_copy(update={"path": path})
