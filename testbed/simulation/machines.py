"""What controllers, kubelets, clients and whoever collects garbage do, without chance or noise.

Requests come evenly and fail evenly, so a healthy version never looks sick by chance: whatever is
held against it is a fault of the operator, and not of statistics.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from modelrelease_contract.runtime import EXIT_REFUSED
from modelrelease_operator.api import names
from testbed.simulation.cluster import Cluster, Key, Object
from testbed.simulation.gateway import Gateway
from testbed.simulation.story import Tell
from testbed.simulation.virtual_time import Timeline
from testbed.simulation.weather import Spell, Weather

MACHINES = "the machines"
NOBODY = "somebody else"
COLLECTS_AFTER = 5.0
"""Seconds until what has no owner any more is collected."""
SERVER = "predictor"
BACK_OFF = (1.0, 10.0, 20.0, 40.0)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the pods of a version behave."""

    start_seconds: float = 2.0
    errors: float = 0.0
    """Share of the requests that it fails."""
    slow: bool = False
    starts: bool = True
    refuses: bool = False
    """Whether its container refuses the artifact."""
    dies_every: float | None = None
    """Seconds between two ends of a process of one pod."""
    flaps_every: float | None = None
    """Seconds between two short times in which a pod is not ready."""

    @property
    def sick(self) -> bool:
        """Whether users would be worse off with it, by what is counted."""
        return self.errors > 0 or self.slow

    @property
    def well(self) -> bool:
        """Whether nothing can be held against it."""
        return self == Behaviour(start_seconds=self.start_seconds)


@dataclass(slots=True)
class Sample:
    """What one scrape of a pod showed."""

    at: float
    started: float
    total: int
    bad: int
    slow: int


@dataclass(slots=True)
class Pod:
    """One pod and the process in it."""

    name: str
    deployment: str
    revision: str
    version: str
    born: float
    started: float = 0.0
    ready: bool = False
    ends: int = 0
    requests: float = 0.0
    rate: float = 0.0
    """Requests a second that it has now."""
    counted_at: float = 0.0
    sample: Sample | None = None
    gone: float | None = None
    phase: float = field(init=False)
    """At which part of an interval it is scraped."""

    def __post_init__(self) -> None:
        self.phase = (hash_of(self.name) % 1000) / 1000


def hash_of(name: str) -> int:
    """Return a number that is the same in every process."""
    return sum(ord(letter) * (index + 7) for index, letter in enumerate(name)) * 2654435761 >> 7


@dataclass
class Machines:
    """The nodes and the controllers of one cluster, and the clients that call the release."""

    cluster: Cluster
    timeline: Timeline
    weather: Weather
    random: Random
    tell: Tell
    behaviours: Mapping[str, Behaviour]
    """By version."""
    requests: float
    """A second, of all clients."""
    pods: dict[str, Pod] = field(default_factory=dict)
    ever_ready: set[str] = field(default_factory=set)
    """Revisions of which a pod was ready once."""
    dead: list[Pod] = field(default_factory=list)
    """Pods that are gone: a source may still show them for a while."""
    gateway: Gateway | None = None
    """Deals out the requests, where there is one."""
    well_after: float = float("inf")
    """From this time on no process ends and no pod flaps."""
    _due: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.cluster.hears.append(self._heard)
        if self.gateway is not None:
            self.gateway.deal = self._deal

    def lose_pod(self, name: str) -> None:
        """Delete a pod, as an eviction does; its Deployment makes another."""
        deployment = self.pods[name].deployment
        self._remove(name)
        self._control_soon(deployment)

    def end_process(self, name: str) -> None:
        """Have the process of a pod end; the kubelet starts it anew after a while."""
        pod = self.pods.get(name)
        if pod is None or not pod.ready:
            return
        self._settle(pod)
        pod.ready, pod.requests, pod.ends = False, 0.0, pod.ends + 1
        self._show(pod)
        self._deal()
        self._start_in(pod, BACK_OFF[min(pod.ends, len(BACK_OFF)) - 1])

    def unready(self, name: str, seconds: float) -> None:
        """Have a pod fail its probe for a while."""
        pod = self.pods.get(name)
        if pod is None or not pod.ready:
            return
        started = pod.started
        self._settle(pod)
        pod.ready = False
        self._show(pod)
        self._deal()
        self.timeline.after(seconds, lambda: self._ready(pod, started))

    def routed(self) -> list[Pod]:
        """Return the ready pods that clients reach."""
        if self.gateway is None:
            return self._behind(RELEASE)
        return [pod for name in self.gateway.shares() for pod in self._behind(name)]

    def _behind(self, name: str) -> list[Pod]:
        """Return the ready pods that a Service selects."""
        main = self.cluster.get("Service", name)
        if main is None:
            return []
        selector = main["spec"].get("selector") or {}
        wanted = selector.get(names.LABEL_REVISION)
        return [
            pod for pod in self.pods.values()
            if pod.ready and wanted in (None, pod.revision)
            and selector.get(names.LABEL_RELEASE) == RELEASE
        ]  # fmt: skip

    def _heard(self, key: Key, before: Object | None, after: Object | None, by: str) -> None:
        kind, name = key
        if kind == "Deployment":
            if after is None:
                for pod in [pod for pod in self.pods.values() if pod.deployment == name]:
                    self._remove(pod.name)
            elif by != MACHINES:
                self._control_soon(name)
        elif kind == "Service" and (name == RELEASE or self.gateway is not None):
            self._deal()
        if after is None and before is not None and kind == names.KIND:
            self._collect_soon(before["metadata"]["uid"])
        elif after is not None and kind != "Pod" and by != MACHINES:
            for owner in after["metadata"].get("ownerReferences") or ():
                if owner["uid"] not in self._uids():
                    self._collect_soon(owner["uid"])

    def _uids(self) -> set[str]:
        return {obj["metadata"]["uid"] for obj in self.cluster.of(names.KIND)}

    def _collect_soon(self, uid: str) -> None:
        self.timeline.after(COLLECTS_AFTER, lambda: self._collect(uid))

    def _collect(self, uid: str) -> None:
        if uid in self._uids():
            return
        owned = [
            key
            for key, obj in self.cluster.objects.items()
            if any(each["uid"] == uid for each in obj["metadata"].get("ownerReferences") or ())
        ]
        for kind, name in owned:
            self.cluster.drop(kind, name, MACHINES)

    # Deployments

    def _control_soon(self, name: str) -> None:
        if name not in self._due:
            self._due.add(name)
            self.timeline.after(self.random.uniform(0.1, 1.5), lambda: self._control(name))

    def _control(self, name: str) -> None:
        """Bring the pods of a Deployment to the number that is asked for."""
        self._due.discard(name)
        live = self.cluster.get("Deployment", name)
        if live is None:
            return
        labels = live["spec"]["template"]["metadata"].get("labels") or {}
        mine = sorted(
            (pod for pod in self.pods.values() if pod.deployment == name), key=lambda pod: pod.ready
        )
        missing = live["spec"].get("replicas", 1) - len(mine)
        for pod in mine[: max(0, -missing)]:
            self._remove(pod.name)
        status: dict[str, Any] = {"observedGeneration": live["metadata"]["generation"]}
        if missing > 0 and self.weather.has(Spell.QUOTA, self.timeline.now):
            message = "exceeded quota: pods"
            failure = {"type": "ReplicaFailure", "status": "True", "message": message}
            status["conditions"] = [failure]
            self._due.add(name)
            self.timeline.after(5.0, lambda: self._control(name))
        else:
            for _ in range(missing):
                self._create(name, labels)
        if live.get("status") != status:
            self.cluster.put("Deployment", name, MACHINES, status=status)

    def _create(self, deployment: str, labels: Mapping[str, str]) -> None:
        pod = Pod(
            name=f"{deployment}-{self.cluster.next_serial()}",
            deployment=deployment,
            revision=labels.get(names.LABEL_REVISION, ""),
            version=labels.get(names.LABEL_VERSION, ""),
            born=self.timeline.now,
        )
        self.pods[pod.name] = pod
        self._show(pod, labels)
        if self._behaviour(pod).starts:
            self._start_in(pod, 0.0)

    def _behaviour(self, pod: Pod) -> Behaviour:
        return self.behaviours[pod.version]

    def _remove(self, name: str) -> None:
        pod = self.pods.pop(name)
        self._settle(pod)
        pod.gone, pod.ready = self.timeline.now, False
        self.dead.append(pod)
        self.cluster.drop("Pod", name, MACHINES)
        self._deal()

    # Processes

    def _start_in(self, pod: Pod, seconds: float) -> None:
        start = seconds + self._behaviour(pod).start_seconds
        started = pod.started = self.timeline.now + start
        self.timeline.after(start, lambda: self._ready(pod, started))

    def _ready(self, pod: Pod, started: float) -> None:
        behaviour = self._behaviour(pod)
        if pod.gone is not None or pod.started != started or behaviour.refuses or pod.ready:
            return
        pod.ready, pod.counted_at = True, self.timeline.now
        self.ever_ready.add(pod.revision)
        self._show(pod)
        self._deal()
        if self.timeline.now > self.well_after:
            return
        if behaviour.dies_every:
            delay = self.random.uniform(0.5, 1.5) * behaviour.dies_every
            self.timeline.after(delay, lambda: self.end_process(pod.name))
        if behaviour.flaps_every:
            delay = self.random.uniform(0.5, 1.5) * behaviour.flaps_every
            self.timeline.after(delay, lambda: self.unready(pod.name, 3.0))

    def _show(self, pod: Pod, labels: Mapping[str, str] | None = None) -> None:
        """Write a pod as its kubelet does."""
        meta = {"labels": dict(labels)} if labels is not None else {}
        ready = {"type": "Ready", "status": "True" if pod.ready else "False"}
        state: dict[str, Any] = {"name": SERVER, "restartCount": pod.ends, "state": {}}
        if self._behaviour(pod).refuses:
            message = "the digest is another one"
            state["state"] = {"terminated": {"exitCode": EXIT_REFUSED, "message": message}}
        elif pod.ends:
            state["lastState"] = {"terminated": {"exitCode": 139}}
        status = {"phase": "Running", "conditions": [ready], "containerStatuses": [state]}
        self.cluster.put("Pod", pod.name, MACHINES, metadata=meta, status=status)

    # Clients

    def _settle(self, pod: Pod) -> None:
        """Count what was answered up to now."""
        now = self.timeline.now
        if pod.ready:
            pod.requests += pod.rate * (now - pod.counted_at)
        pod.counted_at = now

    def _deal(self) -> None:
        """Spread the clients' requests over the pods that they reach now."""
        rates: dict[str, float] = {}
        dealt = {RELEASE: 1.0} if self.gateway is None else self.gateway.shares()
        for service, share in dealt.items():
            reached = self._behind(service)
            for pod in reached:
                rates[pod.name] = rates.get(pod.name, 0.0) + self.requests * share / len(reached)
        for pod in self.pods.values():
            wanted = rates.get(pod.name, 0.0)
            if wanted != pod.rate:
                self._settle(pod)
                pod.rate = wanted

    def scraped(self, pod: Pod) -> Sample:
        """Return what a pod's page shows now."""
        self._settle(pod)
        behaviour, total = self._behaviour(pod), int(pod.requests)
        return Sample(
            at=self.timeline.now,
            started=pod.started,
            total=total,
            bad=int(pod.requests * behaviour.errors),
            slow=total if behaviour.slow else 0,
        )


RELEASE = "qna"
"""The one release of every simulation."""
