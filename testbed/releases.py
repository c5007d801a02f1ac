"""A release on a real cluster, as a test speaks of it."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from kubernetes.client import CustomObjectsApi
from kubernetes.config import new_client_from_config

from cluster import Cluster
from examples import fixtures
from examples.waiting import PATIENCE_SECONDS, NotSeenError, wait_until

OPERATOR_SPACE = "modelrelease-system"
SOON_SURE: dict[str, Any] = {
    "interval": "3s",
    "gates": [{"name": "errors", "errorRate": {"margin": {"ratio": 1.25, "points": 2}}}],
}
"""A wide margin: a few hundred requests are evidence enough.
For tests that are not about evidence.
"""

FAST: dict[str, Any] = {
    "serving": {"replicas": 2, "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}}},
    "canary": {
        "steps": [{"weight": 33, "bake": "5s"}, {"weight": 50, "bake": "5s"}],
        "keepPrevious": "1s",
    },
    "analysis": {"interval": "3s"},
}
"""A spec that is decided as fast as the evidence allows."""

OFTEN: dict[str, Any] = {"metadata": {"annotations": {"prometheus.io/scrape-interval": "2s"}}}
"""A pod template for tests that are not about evidence:
the usual 15 s would only make them wait.
"""

PROMPTLY = 60.0
"""Seconds for what takes one or two on a machine that is not busy, and is to be done at once."""

Object = dict[str, Any]


@dataclass(kw_only=True)
class Release:
    """One ModelRelease, what it owns, and the clients that call it."""

    cluster: Cluster
    space: str
    store: str
    name: str = "qna"
    spec: dict[str, Any] = field(default_factory=lambda: dict(FAST))
    host: str = ""
    """The host name that clients call; empty: the release's own Service."""

    def apply(self, version: str, **parts: Any) -> None:
        """Apply the release with a version of the model."""
        self.spec |= parts
        fixtures.apply(
            self.cluster, fixtures.release(self.name, self.space, self.uri(version), **self.spec)
        )

    def scraped_often(self) -> None:
        """Have its pods scraped every two seconds; whoever calls this says why."""
        self.spec["serving"] = {**self.spec["serving"], "podTemplate": OFTEN}

    def uri(self, version: str) -> str:
        return fixtures.store_uri(self.store, "qna", version)

    def serves(self, version: str, *, within: float = PATIENCE_SECONDS) -> None:
        """Wait until a version is stable and nothing goes on."""
        self.wait(
            f"version {version} to be stable",
            lambda status: (
                status.get("phase") == "Stable" and _version(status, "stable") == version
            ),
            within=within,
        )

    def begins(self, version: str = "1") -> None:
        """Apply the first version and wait until it serves."""
        self.apply(version)
        self.serves(version)

    def wait(
        self,
        condition: str,
        is_done: Callable[[Object], bool],
        *,
        within: float = PATIENCE_SECONDS,
    ) -> Object:
        """Wait for a status of the present generation; on failure say what the operator logged."""
        try:
            return wait_until(condition, self.status, is_done, within=within)
        except NotSeenError as problem:
            msg = f"{problem}\n--- events\n{self.events()}\n--- operator\n{self.operator_log()}"
            raise NotSeenError(msg) from problem

    def status(self) -> Object:
        """Return the status, empty while it is about an older generation."""
        release = self.get()
        status: Object = release.get("status", {})
        fresh = status.get("observedGeneration") == release["metadata"]["generation"]
        return status if fresh else {}

    def get(self) -> Object:
        """Return the release as the API server has it."""
        release = self._api.get_namespaced_custom_object(
            group="modelrelease.dev",
            version="v1alpha1",
            namespace=self.space,
            plural="modelreleases",
            name=self.name,
        )
        assert isinstance(release, dict), release
        return release

    @cached_property
    def _api(self) -> CustomObjectsApi:
        """A client of our own: a kubectl for each look of many waiting threads would take a
        core.
        """
        return CustomObjectsApi(new_client_from_config(str(self.cluster.kubeconfig)))

    def read(self, kind: str, name: str) -> Object:
        obj: Object = json.loads(
            self.cluster.kubectl("get", kind, name, "-n", self.space, "-o", "json")
        )
        return obj

    def items(self, kind: str) -> list[Object]:
        """Return everything of a kind that belongs to the release."""
        raw = self.cluster.kubectl(
            "get",
            kind,
            "-n",
            self.space,
            "-l",
            f"modelrelease.dev/release={self.name}",
            "-o",
            "json",
        )
        objects: list[Object] = json.loads(raw)["items"]
        return objects

    def probers(self) -> list[str]:
        """Return the names of probers' Deployments and pods."""
        raw = self.cluster.kubectl(
            "get", "deployments,pods", "-n", self.space, "-l", "modelrelease.dev/prober",
            "-o", "json",
        )  # fmt: skip
        return [item["metadata"]["name"] for item in json.loads(raw)["items"]]

    def pods(self, version: str) -> dict[str, str]:
        """Return uid by name of a version's pods that are not terminating."""
        return {
            pod["metadata"]["name"]: pod["metadata"]["uid"]
            for pod in self.items("pods")
            if pod["metadata"]["labels"]["modelrelease.dev/version"] == version
            and "deletionTimestamp" not in pod["metadata"]
        }

    def restarts(self) -> int:
        """Return how often containers of the release's pods were restarted."""
        return sum(
            container["restartCount"]
            for pod in self.items("pods")
            for kind in ("containerStatuses", "initContainerStatuses")
            for container in pod["status"].get(kind, [])
        )

    def annotate(self, **commands: str) -> None:
        """Give commands, such as approve="2"."""
        pairs = [f"modelrelease.dev/{kind}={value}" for kind, value in commands.items()]
        self.cluster.kubectl(
            "annotate", "modelrelease", self.name, "-n", self.space, *pairs, "--overwrite"
        )

    def reasons(self) -> list[str]:
        """Return the reasons of the release's Events, oldest first."""
        return [event["reason"] for event in self._events()]

    def events(self) -> str:
        return "\n".join(
            f"{event['type']} {event['reason']}: {event['message']}" for event in self._events()
        )

    def _events(self) -> list[Object]:
        raw = self.cluster.kubectl(
            "get", "events", "-n", self.space,
            "--field-selector", f"involvedObject.kind=ModelRelease,involvedObject.name={self.name}",
            "--sort-by=.metadata.creationTimestamp", "-o", "json",
        )  # fmt: skip
        events: list[Object] = json.loads(raw)["items"]
        return events

    def operator_log(self) -> str:
        return self.cluster.kubectl(
            "logs", "-n", OPERATOR_SPACE, "-l", "app.kubernetes.io/name=modelrelease-operator",
            "--tail=40",
            check=False,
        )  # fmt: skip

    def load(
        self,
        rps: float = 50,
        shifts: Mapping[str, float] | None = None,
        path: str = "/predict",
        seconds: float = 3600,
    ) -> None:
        """Start clients that call the main Service, and wait until they do.

        `shifts` moves features by so many standard deviations. Clients that run already read it
        after `fixtures.restart`.
        """
        url = f"http://{self.host or f'{self.name}.{self.space}'}{path}"
        clients = fixtures.load_generator(
            self.space, url=url, rps=rps, seconds=seconds, shifts=shifts
        )
        fixtures.apply(self.cluster, *clients)
        self.cluster.kubectl(
            "rollout", "status", "-n", self.space, "deployment/load", "--timeout=600s"
        )

    def stats(self) -> fixtures.LoadStats:
        return fixtures.LoadStats.read(self.cluster, self.space)

    @contextmanager
    def no_request_lost(self, *, except_by: tuple[str, ...] = ()) -> Iterator[None]:
        """Check that every request sent meanwhile was answered, resets and refused connections
        included.

        `except_by` names versions whose own wrong answers are expected.
        """
        before = self.stats()
        yield
        after = wait_until(
            "every request to be answered",
            self.stats,
            lambda stats: stats.sent > before.sent and stats.answered >= stats.sent - 20,
            within=PROMPTLY,
        )
        earlier = before.failures(except_by=except_by)
        failures = after.failures(except_by=except_by)
        lost = {kind: n - earlier.get(kind, 0) for kind, n in failures.items()}
        lost = {kind: n for kind, n in lost.items() if n}
        requests = after.sent - before.sent
        assert not lost, f"{lost} of {requests} requests; last: {after.last_failures[-10:]}"


def _version(status: Object, arm: str) -> str | None:
    version: str | None = status.get(arm, {}).get("version")
    return version


def phase_is(*phases: str) -> Callable[[Object], bool]:
    """Return a check that a status is in one of the phases."""
    return lambda status: status.get("phase") in phases


def rejected(version: str) -> Callable[[Object], bool]:
    """Return a check that a version was rejected and nothing goes on any more."""
    return lambda status: (
        status.get("phase") == "Stable" and status.get("rejected", {}).get("version") == version
    )
