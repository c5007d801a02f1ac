"""A small fake world for the state machine: pods that take time, clients that call, counters that grow.

It stands in for a cluster only in tests of pure code. It can fail in the ways that a cluster does:
Prometheus stops answering, pods do not start, the operator dies between acting and remembering.
"""

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Phase, Status, Target
from modelrelease_operator.core.decide import decide
from modelrelease_operator.core.state import (
    Commands,
    Counter,
    Decision,
    MetricsUnavailable,
    Problem,
    Seen,
    Workload,
)
from tests.support.builders import START

BOUNDS = (0.01, 0.02, 0.05, 0.1, 1.0)


@dataclass
class Pods:
    """One revision's Deployment."""

    wanted: int = 0
    ready: int = 0
    ready_at: datetime | None = None


@dataclass
class Behaviour:
    """How a version behaves."""

    error_rate: float = 0.0
    latency: float = 0.015
    starts: bool = True
    refuses: str | None = None


@dataclass
class World:
    """Everything outside of `decide`."""

    spec: ReleaseSpec
    target: Target | None
    rps: float = 100.0
    seed: int = 1
    start_seconds: float = 3.0
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    status: Status = field(default_factory=Status)
    now: datetime = START
    pods: dict[str, Pods] = field(default_factory=dict)
    routed: frozenset[str] | None = None
    prometheus_up: bool = True
    commands: Commands = field(default_factory=Commands)
    problem: Problem | None = None
    dies_before_status: bool = False
    counters: dict[tuple[str, str, str, str], int] = field(default_factory=dict)
    served: dict[str, int] = field(default_factory=dict)
    unanswered: int = 0
    reasons: list[str] = field(default_factory=list)
    trail: list[Decision] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def behaviour(self, revision: str) -> Behaviour:
        return self.behaviours.setdefault(revision, Behaviour())

    def see(self) -> Seen:
        return Seen(
            generation=1,
            target=self.target,
            problem=self.problem,
            workloads={name: self._workload(name, pods) for name, pods in self.pods.items()},
            routed=self.routed,
            metrics=self._metrics(),
            commands=self.commands,
        )

    def step(self) -> Decision:
        """Make one pass, then let time go by until the next."""
        decision = decide(spec=self.spec, status=self.status, seen=self.see(), now=self.now)
        self._apply(decision)
        if not self.dies_before_status:
            self.status = decision.status
            self.reasons += [notice.reason for notice in decision.notices]
        self.trail.append(decision)
        wait = decision.requeue if decision.requeue is not None else timedelta(seconds=5)
        self._pass_time(max(0.2, wait.total_seconds()))
        return decision

    def run(self, *, until: Phase | None = None, passes: int = 2000) -> "World":
        """Step until a phase is reached, or until nothing is left to do."""
        for _ in range(passes):
            decision = self.step()
            if until is not None and self.status.phase is until:
                return self
            idle = self.status.phase is Phase.STABLE and decision.requeue is None
            if until is None and idle:
                return self
        msg = f"after {passes} passes the release is {self.status.phase}: {self.status.message}"
        raise AssertionError(msg)

    def release(self, target: Target) -> "World":
        self.target = target
        return self

    def _workload(self, name: str, pods: Pods) -> Workload:
        return Workload(
            revision=name,
            wanted=pods.wanted,
            ready=pods.ready,
            pods=pods.wanted,
            refused=self.behaviour(name).refuses,
        )

    def _metrics(self) -> tuple[Counter, ...] | MetricsUnavailable:
        if not self.prometheus_up:
            return MetricsUnavailable(message="Prometheus does not answer")
        return tuple(
            Counter(
                revision=revision,
                pod=pod,
                code=value if kind == "code" else None,
                bound=value if kind == "le" else None,
                value=count,
            )
            for (revision, pod, kind, value), count in self.counters.items()
        )

    def _apply(self, decision: Decision) -> None:
        wanted = {running.target.revision: running.replicas for running in decision.desired.running}
        for name in list(self.pods):
            if name not in wanted:
                del self.pods[name]
        for name, replicas in wanted.items():
            pods = self.pods.setdefault(name, Pods())
            if pods.wanted != replicas:
                pods.wanted = replicas
                pods.ready = min(pods.ready, replicas)
                pods.ready_at = self.now + timedelta(seconds=self.start_seconds)
        if decision.desired.routed:
            self.routed = decision.desired.routed

    def _pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        for name, pods in self.pods.items():
            able = self.behaviour(name).starts and not self.behaviour(name).refuses
            if able and pods.ready_at is not None and self.now >= pods.ready_at:
                pods.ready = pods.wanted
        self._serve(round(self.rps * seconds))

    def _serve(self, requests: int) -> None:
        shares = {name: self.pods[name].ready for name in self.routed or () if name in self.pods}
        total = sum(shares.values())
        if not total:
            self.unanswered += requests
            return
        for name, ready in shares.items():
            count = self._binomial(requests, ready / total)
            self._count(name, count)

    def _count(self, name: str, requests: int) -> None:
        behaviour, pod = self.behaviour(name), f"{name}-0"
        bad = self._binomial(requests, behaviour.error_rate)
        self.served[name] = self.served.get(name, 0) + requests
        for code, count in (("200", requests - bad), ("500", bad)):
            key = (name, pod, "code", code)
            self.counters[key] = self.counters.get(key, 0) + count
        for bound in BOUNDS:
            key = (name, pod, "le", str(bound))
            within = requests if behaviour.latency <= bound else 0
            self.counters[key] = self.counters.get(key, 0) + within
        key = (name, pod, "le", "+Inf")
        self.counters[key] = self.counters.get(key, 0) + requests

    def _binomial(self, count: int, share: float) -> int:
        if share <= 0 or count <= 0:
            return 0
        return min(count, sum(self.random.random() < share for _ in range(count)))
