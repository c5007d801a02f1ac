"""The four that release the same versions of the same model, and how each is told to."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from typing_extensions import override

from benchmarks.rollouts import ends, objects, rivals
from benchmarks.rollouts.api import Api
from benchmarks.rollouts.figures import GOOD, PROMOTED
from benchmarks.rollouts.objects import NAME, Artifact
from cluster import Cluster
from cluster.gateways import TRAEFIK, Gateway
from examples import fixtures
from examples.waiting import wait_until
from modelrelease_contract.runtime import HTTP_PORT
from testbed.releases import OPERATOR_SPACE

START_SECONDS: Final = 240
LOAD_SECONDS: Final = 3600

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """The program that releases: where it runs, and where it counts its processor time."""

    space: str
    label: str
    port: int


@dataclass(kw_only=True)
class Contender(ABC):
    """One way to release, in a namespace of its own, with clients of its own."""

    name: ClassVar[str]
    controller: ClassVar[Controller]
    by_gateway: ClassVar[bool]
    cluster: Cluster
    api: Api
    artifacts: Mapping[str, Artifact]
    gateway: Gateway = TRAEFIK

    @property
    def space(self) -> str:
        """Its namespace."""
        return f"rollouts-{self.name}"

    @property
    def url(self) -> str:
        """What its clients call."""
        return f"http://{objects.host(self.space) if self.by_gateway else NAME}/predict"

    def begin(self, version: str, rps: float) -> None:
        """Have a first version serve, and clients call it."""
        delete = ("delete", "namespace", self.space, "--ignore-not-found", "--wait")
        self.cluster.kubectl(*delete, "--timeout=180s")
        front = objects.front(self.space, self.gateway)
        fixtures.apply(self.cluster, fixtures.namespace(self.space), front)
        self._install(self.artifacts[version])
        wait_until(
            f"{self.name} to serve version {version}",
            self._serves,
            lambda serves: serves,
            within=START_SECONDS,
        )
        self._call(rps)

    def end(self) -> None:
        """Remove everything of it."""
        self.cluster.kubectl("delete", "namespace", self.space, "--wait=false")

    @abstractmethod
    def release(self, version: str) -> None:
        """Apply another version, as a user does."""

    @abstractmethod
    def outcome(self, version: str) -> str:
        """Return how the release of a version ended, or that it did not yet."""

    @abstractmethod
    def _install(self, artifact: Artifact) -> None:
        """Apply its own objects with a first version."""

    @abstractmethod
    def _serves(self) -> bool:
        """Return whether the first version serves and nothing goes on."""

    def _call(self, rps: float) -> None:
        """Start the clients, and wait for a hundred good answers in a row of looks."""
        config, clients = fixtures.load_generator(
            self.space, url=self.url, rps=rps, seconds=LOAD_SECONDS
        )
        (container,) = clients["spec"]["template"]["spec"]["containers"]
        container["resources"] = objects.CLIENT_RESOURCES
        fixtures.apply(self.cluster, config, clients)
        rollout = ("rollout", "status", "-n", self.space, "deployment/load")
        self.cluster.kubectl(*rollout, "--timeout=120s")
        wait_until(
            f"clients of {self.name} to be answered",
            lambda: self.api.counts(self.space),
            lambda counts: sum(n for (_, what), n in counts.items() if what == GOOD) > rps,
            within=60,
        )

    def _patch(self, kind: str, *operations: Object) -> None:
        where = ("patch", kind, NAME, "-n", self.space, "--type=json")
        self.cluster.kubectl(*where, "-p", json.dumps(operations))


@dataclass(kw_only=True)
class Ours(Contender):
    """This operator, its weights by replica counts."""

    name = "ours-replicas"
    by_gateway = False
    controller = Controller(
        space=OPERATOR_SPACE, label="app.kubernetes.io/name=modelrelease-operator", port=9090
    )
    parts: Mapping[str, Any] = field(default_factory=dict)
    """Of the spec, for what is not the benchmark's usual."""

    @override
    def _install(self, artifact: Artifact) -> None:
        self._apply(artifact)

    def _apply(self, artifact: Artifact) -> None:
        canary = dict(self.parts.get("canary", {}))
        if self.by_gateway:
            canary |= objects.by_gateway(self.space, self.gateway)
        spec = {**self.parts, "canary": canary}
        fixtures.apply(self.cluster, objects.model_release(self.space, artifact, **spec))

    @override
    def _serves(self) -> bool:
        status = self.status()
        is_done = status.get("phase") == "Stable" and "stable" in status
        return is_done and status["stable"].get("revision") is not None

    def status(self) -> Object:
        """Return the release's status, empty while it is about an older generation."""
        release = self.get()
        status: Object = release.get("status", {})
        is_fresh = status.get("observedGeneration") == release["metadata"]["generation"]
        return status if is_fresh else {}

    def get(self) -> Object:
        """Return the release as the API server has it."""
        return self.api.custom("modelrelease.dev/v1alpha1", "modelreleases", self.space, NAME)

    @override
    def release(self, version: str) -> None:
        self._apply(self.artifacts[version])

    @override
    def outcome(self, version: str) -> str:
        return ends.of_ours(self.get(), version)


@dataclass(kw_only=True)
class OursByGateway(Ours):
    """This operator, its weights by the Gateway API."""

    name = "ours-gateway"
    by_gateway = True


@dataclass(kw_only=True)
class ArgoRollouts(Contender):
    """Argo Rollouts, its weights by replica counts."""

    name = "argo-rollouts"
    by_gateway = False
    controller = Controller(
        space=rivals.ARGO_SPACE, label="app.kubernetes.io/name=argo-rollouts", port=8090
    )

    @override
    def _install(self, artifact: Artifact) -> None:
        service = fixtures.service(NAME, self.space, HTTP_PORT)
        fixtures.apply(
            self.cluster,
            service,
            objects.analysis_template(self.space),
            objects.rollout(self.space, artifact),
        )

    def _get(self) -> Object:
        return self.api.custom("argoproj.io/v1alpha1", "rollouts", self.space, NAME)

    @override
    def _serves(self) -> bool:
        return ends.of_rollout(self._get()) == PROMOTED

    @override
    def release(self, version: str) -> None:
        template = objects.pod_template(self.artifacts[version])
        self._patch("rollout", {"op": "replace", "path": "/spec/template", "value": template})

    @override
    def outcome(self, version: str) -> str:
        return ends.of_rollout(self._get())


@dataclass(kw_only=True)
class Flagger(Contender):
    """Flagger, its weights by the Gateway API."""

    name = "flagger"
    by_gateway = True
    controller = Controller(
        space=rivals.FLAGGER_SPACE, label="app.kubernetes.io/name=flagger", port=8080
    )
    _spec_before: str | None = None

    @override
    def _install(self, artifact: Artifact) -> None:
        fixtures.apply(
            self.cluster,
            objects.plain_deployment(self.space, artifact),
            objects.metric_template(self.space),
            objects.canary(self.space, self.gateway),
        )

    def _get(self) -> Object:
        return self.api.custom("flagger.app/v1beta1", "canaries", self.space, NAME)

    @override
    def _serves(self) -> bool:
        return bool(self._get().get("status", {}).get("phase") == "Initialized")

    @override
    def release(self, version: str) -> None:
        self._spec_before = self._get().get("status", {}).get("lastAppliedSpec")
        template = objects.pod_template(self.artifacts[version])
        self._patch("deployment", {"op": "replace", "path": "/spec/template", "value": template})

    @override
    def outcome(self, version: str) -> str:
        return ends.of_canary(self._get(), self._spec_before)


CONTENDERS: Final[tuple[type[Contender], ...]] = (Ours, ArgoRollouts, OursByGateway, Flagger)
"""In pairs: by replica counts, and by the Gateway."""
