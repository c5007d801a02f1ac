"""A small fake world for the state machine: pods that take time, clients that call, counters that
grow.

It stands in for a cluster only in tests of pure code. It can fail in the ways that a cluster does:
Prometheus stops answering or misses a pod, pods do not start or start anew, the operator dies
between acting and remembering. What the operator remembers goes through JSON at every pass, so
every test here is also one of an operator that is restarted at every pass.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from modelrelease_contract import metrics as words
from modelrelease_contract import shadow
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import (
    CanaryStatus,
    Phase,
    Reason,
    StableStatus,
    Status,
    Target,
    Verdict,
)
from modelrelease_operator.core.analysis.gates.registry import answer_of
from modelrelease_operator.core.desired import (
    Decision,
    Desired,
    DesiredComparison,
    DesiredProber,
)
from modelrelease_operator.core.measurement.queries import ARM, KIND, QueryScope
from modelrelease_operator.core.observed import (
    Commands,
    Counter,
    MetricsUnavailable,
    Observed,
    PairCounter,
    Problem,
    Workload,
)
from modelrelease_operator.core.query_results import NotMeasured, QueryResult
from modelrelease_operator.core.release.decide import decide
from modelrelease_operator.core.scope import judged_pair
from modelrelease_operator.core.statistics.random_variates import binomial
from modelrelease_operator.serving_runtimes import runtime_of
from modelrelease_operator.traffic.registry import provider_of
from modelrelease_operator.traffic.replicas import routed_by, selector_for
from testbed.builders import START, a_spec, a_target

BACK_OFF = (0, 10, 20, 40, 80, 160, 300)
"""Seconds that the kubelet waits before it starts a container once more."""
BOUNDS = (0.01, 0.02, 0.05, 0.1, 1.0)
TOKENS = {
    "timeToFirstToken": (0.02, 0.06, 0.1, 0.25, 0.5, 1.0),
    "answerTokens": (20.0, 50.0, 100.0, 200.0, 500.0),
}
"""Bounds of a language model's server, by what it measures."""
RELEASE = "qna"


@dataclass
class Behaviour:
    """How a version behaves."""

    error_rate: float = 0.0
    probe_error_rate: float = 0.0
    probes_refused: bool = False
    latency: float = 0.015
    first_token: float = 0.05
    """Seconds to the first token, of servers of language models."""
    cold_seconds: float = 0.0
    """Seconds that a pod's prefix cache is cold: the first token takes ten times as long."""
    tokens: int = 100
    """Of each answer."""
    cut_short: float = 0.0
    """Share of the answers that end by `length` and not by `stop`."""
    gone_bad: float = 0.0
    """Share of the requests that a person's own counters count as bad."""
    bins: tuple[float, ...] = ()
    """Shares of the answers by bin of the baseline; with none, answers are not counted by bin."""
    starts: bool = True
    refuses: str | None = None
    blocked: str | None = None
    """What the cluster lacks: new pods do not start."""
    crashes_after: float | None = None
    """Mean seconds after which a ready pod's process dies;
    the kubelet starts it anew, ever later.
    """
    scraped: bool = True
    disagrees: float = 0.0
    """Share of its answers that are not those of other versions."""
    copies: bool = True
    """Whether its pods copy what they answer to a canary in the dark."""
    busy: bool = False
    """Whether it refuses every copy with 503."""
    unreachable: bool = False
    """Whether pods of the other version get no connection to its pods."""
    answers_examples: bool = True
    """Whether its server takes the example requests that it is asked."""


@dataclass
class Pod:
    """One pod; `counters` is what its process would show to a scrape."""

    name: str
    ready_at: datetime | None
    ready: bool = False
    ends: int = 0
    """How many of its processes ended abnormally."""
    counters: dict[tuple[str, str], int] = field(default_factory=dict)
    pairs: dict[str, int] = field(default_factory=dict)
    """By result: what it compared in the shadow."""


@dataclass
class World:
    """Everything outside of `decide`."""

    spec: ReleaseSpec
    target: Target | None
    rps: float = 100.0
    seed: int = 1
    bounds: tuple[float, ...] = BOUNDS
    start_seconds: float = 3.0
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    status: Status = field(default_factory=Status)
    now: datetime = START
    pods: dict[str, list[Pod]] = field(default_factory=dict)
    """By revision: the pods of its Deployment."""
    strangers: dict[str, int] = field(default_factory=dict)
    """By revision: ready pods of the release that no Deployment of ours owns."""
    selector: dict[str, str] | None = None
    tracks: dict[str, str] = field(default_factory=dict)
    """By revision: what its Deployment is labelled as."""
    recorded_targets: dict[str, Target] = field(default_factory=dict)
    """By revision: what its Deployment tells of it."""
    probing: DesiredProber | None = None
    probed: dict[str, dict[tuple[str, str], int]] = field(default_factory=dict)
    """By revision: what the prober's counters are, one pod for each canary."""
    comparing: DesiredComparison | None = None
    compared: dict[str, int] = field(default_factory=dict)
    """By result: what a prober compared in the shadow."""
    prober_trouble: str | None = None
    """Why the prober's pod does not run."""
    prometheus_up: bool = True
    unscraped: set[str] = field(default_factory=set)
    """Names of pods that Prometheus does not show."""
    commands: Commands = field(default_factory=Commands)
    problem: Problem | None = None
    dies_before_status: bool = False
    served: dict[str, int] = field(default_factory=dict)
    share_ratio: float = 1.0
    """What a gateway gives the canary of the share that its weight says."""
    routed_weight: int | None = None
    """The canary's weight where a gateway deals out the requests."""
    unanswered: int = 0
    """Requests that met no ready pod, once the release served at all."""
    started: dict[str, int] = field(default_factory=dict)
    """By revision: how many pods were ever started."""
    reasons: list[Reason] = field(default_factory=list)
    trail: list[Decision] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    @property
    def canary(self) -> CanaryStatus:
        assert self.status.canary, f"there is no canary: {self.status.message}"
        return self.status.canary

    @property
    def stable(self) -> StableStatus:
        assert self.status.stable, f"nothing serves: {self.status.message}"
        return self.status.stable

    @property
    def routed(self) -> frozenset[str] | None:
        return None if self.selector is None else routed_by(self.selector, self._revisions())

    @property
    def observed(self) -> Observed:
        return Observed(
            generation=1,
            target=self.target,
            problem=self.problem,
            answers=self._answers(),
            workloads={name: self._workload(name) for name in self._revisions()},
            routed=self.routed,
            routed_weight=self.routed_weight,
            metrics=self._metrics(),
            pairs=self._pairs(),
            probers=frozenset({"prober"}) if self.probing or self.comparing else frozenset(),
            hint=self.prober_trouble,
            commands=self.commands,
        )

    def behaviour(self, revision: str) -> Behaviour:
        return self.behaviours.setdefault(revision, Behaviour())

    def decide(self) -> Decision:
        """Decide as a pass would, and change nothing."""
        return decide(spec=self.spec, status=self.status, observed=self.observed, now=self.now)

    def step(self) -> Decision:
        """Make one pass, then let time go by until the next."""
        decision = self.decide()
        self._apply(decision.desired)
        if not self.dies_before_status:
            self.status = Status.parse(json.loads(json.dumps(decision.status.to_dict())))
            self.reasons += [notice.reason for notice in decision.notices]
        self.trail.append(decision)
        wait = decision.requeue if decision.requeue is not None else timedelta(seconds=5)
        self.pass_time(max(0.2, wait.total_seconds()))
        return decision

    def steps(self, count: int) -> "World":
        for _ in range(count):
            self.step()
        return self

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

    def ask(self, **parts: Any) -> "World":
        """Change parts of the spec, such as `paused=True`."""
        raw = self.spec.model_dump(
            mode="json", by_alias=True, exclude_none=True, exclude_unset=True
        )
        self.spec = ReleaseSpec.parse({**raw, **parts})
        return self

    def lose_pods(self, revision: str) -> None:
        """Kill every pod of a revision; its Deployment starts new ones."""
        lost = self.pods[revision]
        self.pods[revision] = [self._new_pod(revision) for _ in lost]

    def restart_containers(self, revision: str) -> None:
        """Restart every process of a revision in its pod: names stay, counters start at 0."""
        for pod in self.pods[revision]:
            pod.counters.clear()
            pod.pairs.clear()

    def ready(self, revision: str) -> int:
        return sum(pod.ready for pod in self.pods.get(revision, ()))

    def pass_time(self, seconds: float) -> None:
        if any(behaviour.crashes_after for behaviour in self.behaviours.values()):
            while seconds > 0.5:
                self._pass_time(0.5)
                seconds -= 0.5
        self._pass_time(seconds)

    def _pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        for name, pods in self.pods.items():
            behaviour = self.behaviour(name)
            able = behaviour.starts and not behaviour.refuses and not behaviour.blocked
            for pod in pods:
                due = pod.ready_at is not None and self.now >= pod.ready_at
                pod.ready = pod.ready or (due and able)
                self._maybe_crash(pod, behaviour, seconds)
        self._serve(round(self.rps * seconds))
        if self.status.phase is Phase.SHADOWING:
            self._copy(seconds)
        if self.probing:
            self._probe(round(self.probing.settings.rate / 2 * seconds))

    def _maybe_crash(self, pod: Pod, behaviour: Behaviour, seconds: float) -> None:
        mean = behaviour.crashes_after
        if mean and pod.ready and self.random.random() < seconds / mean:
            pod.ready = False
            pod.ready_at = self.now + timedelta(
                seconds=4 + BACK_OFF[min(pod.ends, len(BACK_OFF) - 1)]
            )
            pod.counters.clear()
            pod.ends += 1

    def _revisions(self) -> list[str]:
        return [*self.pods, *(name for name in self.strangers if name not in self.pods)]

    def _workload(self, name: str) -> Workload:
        pods = self.pods.get(name, [])
        return Workload(
            revision=name,
            wanted=len(pods),
            ready=self.ready(name),
            ready_names=frozenset(pod.name for pod in pods if pod.ready),
            pods=len(pods) + self.strangers.get(name, 0),
            refused=self.behaviour(name).refuses,
            blocked=self.behaviour(name).blocked,
            crashes={pod.name: pod.ends for pod in pods if pod.ends},
            track=self.tracks.get(name) if name in self.pods else None,
            runs=self.recorded_targets.get(name)
            if name in self.pods and self.status.stable is None
            else None,
            crash="container predictor ended with exit code 139"
            if any(pod.ends for pod in pods)
            else None,
        )

    def _metrics(self) -> tuple[Counter, ...] | MetricsUnavailable:
        if not self.prometheus_up:
            return MetricsUnavailable(message="Prometheus does not answer")
        return tuple(
            Counter(
                revision=revision,
                pod=pod.name,
                code=value if kind == "code" else None,
                bound=value if kind == "le" else None,
                bin=value if kind == "bin" else None,
                layout=value if kind == "layout" else None,
                reason=value if kind == "reason" else None,
                value=count,
            )
            for revision, pod in self._scraped()
            for (kind, value), count in (pod.counters or {("code", "200"): 0}).items()
            if kind != "own" and kind not in TOKENS
        ) + tuple(
            Counter(revision=revision, pod=pod.name, metric=kind, bound=value, value=count)
            for revision, pod in self._scraped()
            for (kind, value), count in pod.counters.items()
            if kind in TOKENS
        ) + tuple(
            Counter(
                revision=revision, pod="prober", probe=True, value=count,
                code=value if kind == "code" else None, bound=value if kind == "le" else None,
            )
            for revision, counters in self.probed.items()
            for (kind, value), count in counters.items()
        )  # fmt: skip

    def _pairs(self) -> tuple[PairCounter, ...] | MetricsUnavailable:
        if not self.prometheus_up:
            return MetricsUnavailable(message="Prometheus does not answer")
        return tuple(
            PairCounter(process=f"{pod.name}/{pod.ends}", result=result, value=count)
            for _, pod in self._scraped()
            for result, count in pod.pairs.items()
        ) + tuple(
            PairCounter(process=f"prober/{self.canary.revision}", result=result, value=count)
            for result, count in self.compared.items()
        )

    def _copy(self, seconds: float) -> None:
        """Have stable's pods ask the canary copies of what they answer; or a prober examples."""
        if self.comparing:
            self._ask_examples(self.comparing, seconds)
            return
        settings = self.spec.canary.shadow
        assert settings, "a release without canary.shadow has none"
        stable = self.behaviour(self.stable.revision)
        canary = self.behaviour(self.canary.revision)
        pods = [pod for pod in self.pods[self.stable.revision] if pod.ready]
        recipes = [arm.recipe for arm in (self.stable, self.canary)]
        copies = stable.copies and all(runtime_of(recipe).answers_copies for recipe in recipes)
        if not copies or canary.unreachable or not self.ready(self.canary.revision):
            return
        for pod in pods:
            rate = min(self.rps * settings.share / 100 / len(pods), settings.copies_per_second)
            for result, count in self._compared(round(rate * seconds), stable, canary).items():
                pod.pairs[result] = pod.pairs.get(result, 0) + count

    def _ask_examples(self, comparing: DesiredComparison, seconds: float) -> None:
        if self.prober_trouble or not self.ready(self.canary.revision):
            return
        stable = self.behaviour(self.stable.revision)
        if not stable.answers_examples:
            self.compared[shadow.REFUSED] = self.compared.get(shadow.REFUSED, 0) + 1
            return
        canary, pairs = self.behaviour(self.canary.revision), comparing.settings.per_second
        for result, count in self._compared(round(pairs * seconds), stable, canary).items():
            self.compared[result] = self.compared.get(result, 0) + count

    def _compared(self, copies: int, stable: Behaviour, canary: Behaviour) -> dict[str, int]:
        if canary.busy:
            return {shadow.SAME: 0, shadow.BUSY: copies}
        stable_bad = binomial(self.random, copies, stable.error_rate)
        canary_bad = binomial(self.random, copies - stable_bad, canary.error_rate)
        good = copies - stable_bad - canary_bad
        different = binomial(self.random, good, canary.disagrees)
        slower = canary.latency > 1.2 * stable.latency and canary.latency > stable.latency + 0.005
        return {
            shadow.SAME: good - different,
            shadow.DIFFERENT: different,
            shadow.CANARY_FAILED: canary_bad,
            shadow.STABLE_FAILED: stable_bad,
            shadow.CANARY_SLOWER if slower else shadow.ALIKE: copies // 10,
        }

    def _scraped(self) -> Iterator[tuple[str, Pod]]:
        for revision, pods in self.pods.items():
            for pod in pods:
                if (
                    pod.ready
                    and pod.name not in self.unscraped
                    and self.behaviour(revision).scraped
                ):
                    yield revision, pod

    def _answers(self) -> dict[str, QueryResult]:
        """Answer the gates' own queries as Prometheus would, where the operator asks them."""
        pair = judged_pair(self.status)
        gates = [gate for gate in self.spec.analysis.gates if gate.counts]
        if pair is None or not gates:
            return {}
        if not self.prometheus_up:
            away = NotMeasured(verdict=Verdict.UNAVAILABLE, message="Prometheus does not answer")
            return {gate.name: away for gate in gates}
        canary, stable = pair
        query_scope = QueryScope(
            namespace="ml",
            release=RELEASE,
            canary=canary,
            stable=stable,
            interval=self.spec.analysis.period,
        )
        arms = {canary.revision: "canary", stable.revision: "stable"}
        rows = [
            {"metric": {ARM: arms[revision], KIND: of, "pod": pod.name}, "value": [0, str(count)]}
            for revision, pod in self._scraped()
            if revision in arms
            for (kind, of), count in pod.counters.items()
            if kind == "own"
        ]
        return {gate.name: answer_of(gate, query_scope, rows) for gate in gates}

    def _apply(self, desired: Desired) -> None:
        replicas_by_revision = {
            running.target.revision: running.replicas for running in desired.running
        }
        for name in list(self.pods):
            if name not in replicas_by_revision and name not in desired.retained:
                del self.pods[name]
        for running in desired.running:
            self.tracks[running.target.revision] = running.track
            self.recorded_targets[running.target.revision] = running.target
        for name, replicas in replicas_by_revision.items():
            pods = self.pods.setdefault(name, [])
            pods.sort(key=lambda pod: not pod.ready)
            del pods[replicas:]
            pods += [self._new_pod(name) for _ in range(replicas - len(pods))]
        if desired.probing is None or desired.probing != self.probing:
            self.probed.clear()
        self.probing = desired.probing
        if desired.comparing is None or desired.comparing != self.comparing:
            self.compared.clear()
        self.comparing = desired.comparing
        self.routed_weight = None
        if provider_of(self.spec).leads_to_arms and len(desired.routed) > 1:
            self.routed_weight = desired.weight
        if desired.routed:
            self.selector = selector_for(RELEASE, desired.routed)

    def _new_pod(self, revision: str) -> Pod:
        serial = self.started[revision] = self.started.get(revision, 0) + 1
        return Pod(
            name=f"{revision}-{serial}", ready_at=self.now + timedelta(seconds=self.start_seconds)
        )

    def _serve(self, requests: int) -> None:
        names = sorted(self.routed or ())
        pods = [(name, pod) for name in names for pod in self.pods.get(name, ()) if pod.ready]
        if not pods:
            self.unanswered += requests if self.served else 0
            return
        if self.routed_weight is not None and self.status.canary:
            self._deal(requests, pods, self.status.canary.revision)
            return
        self._spread(requests, pods)

    def _deal(self, requests: int, pods: list[tuple[str, Pod]], canary: str) -> None:
        """Give the canary its weight of the requests, whatever its pods."""
        share = min(1.0, (self.routed_weight or 0) / 100 * self.share_ratio)
        its_own = binomial(self.random, requests, share)
        self._spread(its_own, [pod for pod in pods if pod[0] == canary])
        self._spread(requests - its_own, [pod for pod in pods if pod[0] != canary])

    def _spread(self, requests: int, pods: list[tuple[str, Pod]]) -> None:
        for index, (name, pod) in enumerate(pods):
            count = binomial(self.random, requests, 1 / (len(pods) - index))
            requests -= count
            self._count(name, pod, count)

    def _count(self, name: str, pod: Pod, requests: int) -> None:
        behaviour = self.behaviour(name)
        failures = binomial(self.random, requests, behaviour.error_rate)
        self.served[name] = self.served.get(name, 0) + requests
        grown = {
            ("code", "200"): requests - failures,
            ("code", "500"): failures,
            ("le", "+Inf"): requests,
        }
        for bound in self.bounds:
            grown["le", str(bound)] = requests if behaviour.latency <= bound else 0
        grown |= self._by_own_counters(requests, behaviour) | self._by_bins(requests, behaviour)
        if self._answers_in_tokens(name):
            grown |= self._by_tokens(requests, behaviour, pod)
        for key, count in grown.items():
            pod.counters[key] = pod.counters.get(key, 0) + count
        if behaviour.bins:
            pod.counters["layout", "baseline"] = 1

    def _answers_in_tokens(self, revision: str) -> bool:
        target = self.recorded_targets.get(revision)
        return target is not None and bool(runtime_of(target.recipe).metrics.histograms)

    def _by_tokens(
        self, requests: int, behaviour: Behaviour, pod: Pod
    ) -> dict[tuple[str, str], int]:
        """Count what a server of language models counts beside the time to answer."""
        warm_at = (pod.ready_at or START) + timedelta(seconds=behaviour.cold_seconds)
        first = behaviour.first_token * (10 if self.now < warm_at else 1)
        cut = binomial(self.random, requests, behaviour.cut_short)
        grown = {("reason", "stop"): requests - cut, ("reason", "length"): cut}
        measured = {"timeToFirstToken": first, "answerTokens": float(behaviour.tokens)}
        for metric, value in measured.items():
            bounds = TOKENS[metric]
            grown |= {(metric, str(at)): requests if value <= at else 0 for at in bounds}
            grown[metric, "+Inf"] = requests
        return grown

    def _by_own_counters(self, requests: int, behaviour: Behaviour) -> dict[tuple[str, str], int]:
        if not any(gate.counts for gate in self.spec.analysis.gates):
            return {}
        failures = binomial(self.random, requests, behaviour.gone_bad)
        return {("own", "total"): requests, ("own", "bad"): failures}

    def _by_bins(self, requests: int, behaviour: Behaviour) -> dict[tuple[str, str], int]:
        grown, remaining = {}, 1.0
        for index, share in enumerate(behaviour.bins):
            count = binomial(
                self.random, requests, min(1.0, share / remaining) if remaining > 0 else 0.0
            )
            grown["bin", str(index)] = count
            requests, remaining = requests - count, remaining - share
        return grown

    def _probe(self, pairs: int) -> None:
        assert self.probing
        for revision in (self.probing.stable.revision, self.probing.canary.revision):
            behaviour = self.behaviour(revision)
            failures = binomial(self.random, pairs, behaviour.probe_error_rate)
            if behaviour.probes_refused:
                grown = {("code", words.PROBE_REFUSED): pairs}
            else:
                grown = {
                    ("code", words.PROBE_SAME): pairs - failures,
                    ("code", words.PROBE_ERROR): failures,
                }
                grown |= {("le", str(at)): pairs if behaviour.latency <= at else 0 for at in BOUNDS}
                grown["le", "+Inf"] = pairs
            counters = self.probed.setdefault(revision, {})
            for key, count in grown.items():
                counters[key] = counters.get(key, 0) + count


QUICK: dict[str, Any] = {
    "canary": {
        "steps": [{"weight": 25, "bake": "10s"}, {"weight": 50, "bake": "10s"}],
        "startDeadline": "60s",
        "progressDeadline": "30m",
        "keepPrevious": "30s",
    },
    "analysis": {"interval": "5s"},
}
"""A spec whose releases take a minute or two of the world's time."""


def a_world(*, canary: dict[str, Any] | None = None, **changes: Any) -> World:
    """Build a world in which nothing has started;
    `canary` overrides parts of QUICK's (None: leaves out).
    """
    parts = {
        name: changes.pop(name) for name in ("serving", "analysis", "paused") if name in changes
    }
    overridden: dict[str, Any] = {**QUICK["canary"], **(canary or {})}
    canary_settings = {name: value for name, value in overridden.items() if value is not None}
    spec = a_spec(**(QUICK | parts | {"canary": canary_settings}))
    fields: dict[str, Any] = {"spec": spec, "target": a_target("1"), "rps": 1000.0}
    return World(**(fields | changes))


def a_serving_world(**changes: Any) -> World:
    """Build a world in which version 1 serves."""
    return a_world(**changes).run()


def a_world_in(phase: Phase, **changes: Any) -> World:
    """Build a world in which version 2 is released beside version 1 and has come to a phase."""
    if phase is Phase.SHADOWING:
        changes["canary"] = {"shadow": {}, **(changes.get("canary") or {})}
    world = a_serving_world(**changes).release(a_target("2"))
    match phase:
        case Phase.PENDING:
            return a_world(**changes)
        case Phase.STABLE:
            return world.release(a_target("1"))
        case Phase.PAUSED:
            world.run(until=Phase.PROGRESSING).steps(2).ask(paused=True)
            return world.run(until=Phase.PAUSED)
        case Phase.ROLLING_BACK:
            world.run(until=Phase.PROGRESSING).steps(2)
            world.behaviours["rev2"] = Behaviour(error_rate=0.5)
            return world.run(until=phase)
        case _:
            return world.run(until=phase)
