"""Releases with clients of their own, and the same pods beside them without the operator."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Final

from typing_extensions import override

from benchmarks.chaos.figures import WAITING, Ending
from benchmarks.rollouts import objects
from benchmarks.rollouts.api import UnansweredError
from benchmarks.rollouts.contenders import Contender, Ours
from benchmarks.rollouts.figures import UNDECIDED, Counts
from cluster.progress import say
from examples import fixtures
from examples.waiting import NotSeenError, wait_until
from modelrelease_contract.runtime import HTTP_PORT
from testbed.releases import SOON_SURE

SCRAPE: Final = "5s"
REPLICAS: Final = 2
WAITING_REASON: Final = "WaitingForCluster"
LOOK_SECONDS: Final = 1.0
SETTLE_SECONDS: Final = 12.0
"""So long after the end clients go on: their own time-out is 10 s."""
BEGIN: Final = "1"
TOLERATIONS: Final = [
    {"key": "modelrelease.dev/leaves", "operator": "Exists", "effect": "NoSchedule"},
    *({"key": f"node.kubernetes.io/{what}", "operator": "Exists", "effect": "NoExecute",
       "tolerationSeconds": 20} for what in ("unreachable", "not-ready")),
]  # fmt: skip
"""May run on the node that leaves; and 20 s after it was found silent pods are made elsewhere."""

Object = dict[str, Any]


def parts(**others: Object) -> Object:
    """Return a spec that is decided after few requests; `others` are laid over its parts."""
    usual: Object = {
        "serving": {
            "replicas": REPLICAS,
            "resources": objects.RESOURCES,
            "tolerations": TOLERATIONS,
            "podTemplate": {"metadata": {"annotations": {"prometheus.io/scrape-interval": SCRAPE}}},
        },
        "canary": {
            "steps": [{"weight": 33, "bake": "15s"}, {"weight": 50, "bake": "15s"}],
            "keepPrevious": "1s",
            "startDeadline": "60s",
        },
        "analysis": SOON_SURE,
    }
    return {part: {**usual[part], **others.get(part, {})} for part in usual}


class OverError(Exception):
    """Somebody has had enough of the whole run."""


@dataclass(kw_only=True)
class Trial(Ours):
    """One release: what it ended as, and what its clients saw meanwhile."""

    name = "chaos"
    title: str
    over: Event
    """Set when the whole run is to end."""
    canary: Mapping[str, Any] = field(default_factory=dict)
    """What is laid over the spec with a new version."""
    _before: Counts = field(default_factory=dict)
    _began: float = 0.0
    _ended: float = 0.0

    def __post_init__(self) -> None:
        self.parts = parts()

    @property
    @override
    def space(self) -> str:
        return f"chaos-{self.title}"

    @override
    def release(self, version: str) -> None:
        """Apply another version; what is counted begins here."""
        self._before, self._began = self.api.counts(self.space), time.monotonic()
        self.parts = parts(**self.canary)
        super().release(version)

    def put_right(self, version: str) -> None:
        """Apply the version again, with nothing laid over its spec."""
        self.parts = parts()
        super().release(version)

    def seen(self) -> Object:
        """Return status, empty where it is about an older spec or the API server is silent."""
        self._go_on()
        try:
            return self.status()
        except UnansweredError as error:
            say(f"{self.title}: a look was not answered: {str(error)[:100]}")
            return {}

    def end_so_far(self, version: str) -> str:
        """Return how the release of a version ended; without an answer it has not, yet."""
        self._go_on()
        try:
            return self.outcome(version)
        except UnansweredError:
            return UNDECIDED

    def _go_on(self) -> None:
        if self.over.is_set():
            raise OverError

    @override
    def _serves(self) -> bool:
        self._go_on()
        return super()._serves()

    def stop_clock(self) -> None:
        """Remember that the release has ended now."""
        self._ended = time.monotonic()

    def sentence(self) -> str:
        """Return what status says."""
        status = self.seen()
        return str(status.get("rejected", status).get("message", ""))

    def ending(self, version: str, outcome: str, *, faulty: Sequence[str] = ()) -> Ending:
        """Return what became of a version; `faulty` are versions whose own errors are theirs."""
        return Ending(
            title=self.title,
            version=version,
            outcome=outcome,
            seconds=self._ended - self._began,
            before=self._before,
            after=self.api.counts(self.space),
            faulty=tuple(faulty),
            sentence=self.sentence(),
        )


class TrialByGateway(Trial):
    """A release whose clients come by the Gateway."""

    by_gateway = True


@dataclass(kw_only=True)
class Bystander(Contender):
    """The same pods behind a plain Service, with clients: what a fault costs whoever releases."""

    name = "beside"
    by_gateway = False
    controller = Ours.controller
    before: Counts = field(default_factory=dict)

    @property
    @override
    def space(self) -> str:
        return f"chaos-{self.name}"

    @override
    def _install(self, artifact: objects.Artifact) -> None:
        plain = objects.plain_deployment(self.space, artifact)
        plain["spec"]["replicas"] = REPLICAS
        plain["spec"]["template"]["spec"] |= {
            "tolerations": TOLERATIONS,
            "topologySpreadConstraints": [{
                "maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app": objects.NAME}},
            }],
        }  # fmt: skip
        found = [fixtures.service(objects.NAME, self.space, HTTP_PORT), plain]
        if self.by_gateway:
            found.append(_route(self.space, self.gateway.parent))
        fixtures.apply(self.cluster, *found)

    @override
    def _serves(self) -> bool:
        path = f"/apis/apps/v1/namespaces/{self.space}/deployments/{objects.NAME}"
        ready: int = self.api.object(path).get("status", {}).get("readyReplicas", 0)
        return ready == REPLICAS

    @override
    def release(self, version: str) -> None:
        """Release nothing; what is counted begins here."""
        self.before = self.api.counts(self.space)

    @override
    def outcome(self, version: str) -> str:
        return UNDECIDED


class BystanderByGateway(Bystander):
    """The same by the Gateway."""

    name = "beside-gateway"
    by_gateway = True


def _route(space: str, parent: Object) -> Object:
    """Return the route that leads from the Gateway to the plain Service."""
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": objects.NAME, "namespace": space},
        "spec": {
            "parentRefs": [parent],
            "hostnames": [objects.host(space)],
            "rules": [{"backendRefs": [{"name": objects.NAME, "port": 80}]}],
        },
    }


def side_by_side(over: Event, *jobs: Callable[[], object], most: int = 0) -> None:
    """Do several things at once, `most` at a time; raise the first problem.

    Ctrl-C sets `over`, which ends what the others wait for.
    """
    with ThreadPoolExecutor(max_workers=most or len(jobs)) as pool, ending_on_interrupt(over):
        for done in [pool.submit(job) for job in jobs]:
            done.result()


@contextmanager
def ending_on_interrupt(over: Event) -> Iterator[None]:
    """Set `over` when Ctrl-C is pressed: threads know nothing of it by themselves."""
    try:
        yield
    except KeyboardInterrupt:
        over.set()
        raise


def await_status(trial: Trial, what: str, is_so: Callable[[Object], bool], within: float) -> Object:
    """Wait for a status; silence of the API server is waited out."""
    return wait_until(
        f"{trial.title}: {what}", trial.seen, is_so, within=within, every=LOOK_SECONDS
    )


def await_end(trial: Trial, version: str, within: float) -> str:
    """Wait until a release has ended; return how, or what it is at when the time is over."""
    try:
        return wait_until(
            f"{trial.title}: version {version} to end",
            lambda: trial.end_so_far(version),
            lambda end: end != UNDECIDED,
            within=within,
            every=LOOK_SECONDS,
        )
    except NotSeenError:
        return WAITING if is_waiting(trial.seen()) else UNDECIDED
    finally:
        trial.stop_clock()


def is_waiting(status: Object) -> bool:
    """Return whether a release says that it waits for the cluster."""
    return any(condition["reason"] == WAITING_REASON for condition in status.get("conditions", ()))
