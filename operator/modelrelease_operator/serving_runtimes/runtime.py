"""What has to be known of a model server, as data: no client, no clock, no object of Kubernetes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from modelrelease_operator.api.status import Target


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
    """From the signal to the kill: draining, then requests in flight, then a margin."""
    pre_stop: tuple[str, ...] = ()
    """Command that the kubelet runs before SIGTERM, for servers that close their port at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactDelivery:
    """How the artifact reaches the server: fetched into a volume before the server starts."""

    directory: str
    """Where the volume is mounted, read-only for the server."""
    fetch_image: str | None = None
    """Image of the container that fetches; None: the server's own, with its command `fetch`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerMetrics:
    """Under which names a server counts. All of its counters must be raw: they only grow."""

    path: str
    """Where they are shown, on the server's port."""
    requests_total: str
    """Counter of answered requests."""
    code: str
    """Its label with the HTTP status code of the answer."""
    duration_seconds: str
    """Histogram of the time to answer, in seconds; its series end in `_bucket`."""
    release: str
    revision: str
    model_version: str
    """Labels that say whose a series is: the server's own, or the scrape job's, from pod labels."""
    counts_bins: bool = False
    """Whether features and predictions are counted in the bins of the artifact's baseline, under
    the names of the contract. Without them there is no drift and no gate on predictions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingRuntime:
    """One model server.

    Texts of `args` and `env` are templates: `{release}`, `{revision}`, `{version}`, `{sha256}`,
    `{uri}` and `{directory}` are filled in.
    """

    name: str
    images: tuple[str, ...]
    """Patterns, as of a shell, of the images that are this server."""
    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    """Variables that no release may change: name and template."""
    port: int
    """Predictions, health and metrics, over HTTP."""
    startup: HttpProbe
    readiness: HttpProbe
    liveness: HttpProbe
    metrics: ServerMetrics
    drain: Drain
    artifact: ArtifactDelivery
    answers_copies: bool = False
    """Whether it copies what it answers to a canary in the dark, and answers such copies."""
    prober_args: tuple[str, ...] | None = None
    """With which its image runs the prober, on the same port; None where it has no prober."""

    def runs(self, image: str) -> bool:
        """Return whether an image is this server."""
        return any(fnmatchcase(image, pattern) for pattern in self.images)

    def args_for(self, release: str, target: Target) -> list[str]:
        """Return the arguments of the server's container."""
        values = self._values(release, target)
        return [text.format_map(values) for text in self.args]

    def env_for(self, release: str, target: Target) -> Iterator[tuple[str, str]]:
        """Yield the names and values of the variables that are the operator's to set."""
        values = self._values(release, target)
        for name, text in self.env:
            yield name, text.format_map(values)

    def _values(self, release: str, target: Target) -> Mapping[str, str]:
        return {
            "release": release,
            "revision": target.revision,
            "version": target.version,
            "sha256": target.sha256,
            "uri": target.uri,
            "directory": self.artifact.directory,
        }
