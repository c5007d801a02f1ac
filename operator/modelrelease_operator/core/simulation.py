"""Releases on a fake clock: the same `decide`, in a world light enough to live through a thousand times.

Nothing is decided here. The world has pods that take time to start, clients that come by chance
(Poisson), errors and latencies that are independent from request to request, and a Prometheus that
shows counters. A revision's pods are counted as one: their sums have the same law, and only sums are read.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from random import Random
from statistics import NormalDist
from typing import Any

from modelrelease_contract import metrics as words
from modelrelease_operator.api.durations import parse_duration
from modelrelease_operator.api.spec import Approval, ReleaseSpec
from modelrelease_operator.api.status import Evidence, Phase, Recipe, StableStatus, Status, Target
from modelrelease_operator.core.answers import Answer, Number, Tallied
from modelrelease_operator.core.assumptions import (
    LAYOUT,
    Assumption,
    Assumptions,
    BadShares,
    Values,
    assumed,
    at_limit,
    grown,
    shift_of,
)
from modelrelease_operator.core.chance import binomial, poisson
from modelrelease_operator.core.decide import decide
from modelrelease_operator.core.state import Counter, Decision, Desired, Probing, Seen, Workload
from modelrelease_operator.core.streams import INFINITY
from modelrelease_operator.core.worlds import judged_pair

START = datetime(2026, 1, 1, tzinfo=UTC)
SERVED_BEFORE = 100_000
"""Requests that stable answered before the release: its latency is cut at quantiles of these."""
PROBED = {"200": words.PROBE_SAME, "500": words.PROBE_ERROR}
"""What the prober calls it."""
UNSEEN = 1e-7
"""Buckets that are rarer than this in both arms are left out of the histogram: only time would be lost."""

COUNTED = {"code": "code", "le": "bound", "bin": "bin"}
"""By kind of the predictor's counters: the field of `Counter` that its value goes to."""
Growth = dict[tuple[str, str], int]
"""By kind of counter (those, or a gate's own `total` and `bad`) and its value: how much it grew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """A lognormal law of the time to answer, in seconds."""

    median: float = 0.080
    p99: float = 0.256

    def __post_init__(self) -> None:
        if not 0 < self.median < self.p99:
            msg = (
                f"the median must be above 0 and below the 99th percentile, got {self.median} and {self.p99}"
            )
            raise ValueError(msg)

    def within(self, seconds: float, stretch: float = 1.0) -> float:
        """Return the share of answers that take at most so long, when all take `stretch` times as long."""
        if seconds == math.inf:
            return 1.0
        spread = math.log(self.p99 / self.median) / NormalDist().inv_cdf(0.99)
        return NormalDist().cdf(math.log(seconds / stretch / self.median) / spread)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What the world is like. Rates are shares in [0, 1], bounds are those of the latency histogram."""

    rps: float
    stable_errors: float
    canary_errors: float
    bounds: Sequence[float]
    latency: Latency = field(default_factory=Latency)
    latency_ratio: float = 1.0
    onset: timedelta = timedelta(0)
    """How long the canary has had clients before it becomes worse than stable."""
    scrape_lag: timedelta = timedelta(0)
    """By how much stable's counters are older than the canary's."""
    pod_start: timedelta = timedelta(seconds=10)
    given: Assumptions = field(default_factory=dict)
    """What is known of gates that look at more than errors and latency; the rest is assumed."""

    def assumptions(self, spec: ReleaseSpec) -> dict[str, Assumption]:
        """Return what every such gate of a release is given to look at."""
        default = assumed(spec, stable_errors=self.stable_errors, canary_errors=self.canary_errors)
        return {name: self.given.get(name, one) for name, one in default.items()}

    def __post_init__(self) -> None:
        if not (self.rps > 0 and self.latency_ratio > 0):
            msg = f"rps and the latency ratio must be above 0, got {self.rps} and {self.latency_ratio}"
            raise ValueError(msg)
        if not (0 <= self.stable_errors <= 1 and 0 <= self.canary_errors <= 1):
            msg = f"error rates must be in [0, 1], got {self.stable_errors} and {self.canary_errors}"
            raise ValueError(msg)


class End(StrEnum):
    """How a release ended."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One simulated release."""

    end: End
    seconds: float
    canary_requests: int
    bad_answers: int
    """Requests that the canary answered with an error."""
    step: int
    """Index of the last step that was entered."""
    message: str


def simulate(spec: ReleaseSpec, scenario: Scenario, random: Random) -> Outcome:
    """Release once. Nobody pauses it, and a person who is asked approves at once."""
    canary = spec.canary.model_copy(update={"approval": Approval.AUTOMATIC})
    spec = spec.model_copy(update={"paused": False, "canary": canary})
    world = _World(spec=spec, scenario=scenario, random=random)
    # `decide` ends every release at its deadline; twice that is a world that it does not understand.
    patience = 2 * (
        parse_duration(spec.canary.progress_deadline) + parse_duration(spec.canary.start_deadline)
    )
    while world.now - START < patience:
        decision = world.step()
        if end := _end_of(decision.status):
            return world.outcome(end, decision.status)
        world.let_pass(decision.requeue or spec.analysis.period)
    msg = f"a simulated release did not end within {patience}: {world.status.message}"
    raise AssertionError(msg)


def _end_of(status: Status) -> End | None:
    if status.phase is Phase.ROLLING_BACK:
        return End.ROLLED_BACK
    if status.phase is Phase.PAUSED and status.canary and status.canary.inconclusive:
        return End.INCONCLUSIVE
    if status.phase is Phase.STABLE and status.stable and status.stable.revision == CANARY.revision:
        return End.PROMOTED
    return None


def _target(revision: str, version: str) -> Target:
    return Target(revision=revision, version=version, uri="", sha256="0" * 64, recipe=Recipe(image=""))


STABLE, CANARY = _target("stable", "old"), _target("canary", "new")


@dataclass(kw_only=True)
class _Arm:
    """One revision: its pods, what its counters are, and what Prometheus shows of them."""

    bounds: tuple[float, ...]
    lag: timedelta = timedelta(0)
    ready_at: list[datetime] = field(default_factory=list)
    shown: Growth = field(default_factory=dict)
    probed: Growth = field(default_factory=dict)
    """What the prober's counters of this revision are."""
    unscraped: deque[tuple[datetime, Growth]] = field(default_factory=deque)
    requests: int = 0
    bad: int = 0

    def scale(self, replicas: int, ready_at: datetime) -> None:
        self.ready_at.sort()
        del self.ready_at[replicas:]
        self.ready_at += [ready_at] * (replicas - len(self.ready_at))

    def ready(self, now: datetime) -> int:
        return sum(at <= now for at in self.ready_at)

    def answer(
        self, random: Random, requests: int, errors: float, latency: Latency, stretch: float
    ) -> Growth:
        """Return by how much the counters grow with so many requests."""
        bad = binomial(random, requests, errors)
        grown = {("code", "200"): requests - bad, ("code", "500"): bad}
        within, below = 0, 0.0
        for bound in self.bounds:
            share = latency.within(bound, stretch)
            if share > below:
                within += binomial(random, requests - within, (share - below) / (1 - below))
            below = share
            grown["le", str(bound)] = within
        grown["le", INFINITY] = requests
        return grown

    def scrape(self, now: datetime) -> None:
        """Show what had happened `lag` ago."""
        while self.unscraped and self.unscraped[0][0] <= now - self.lag:
            for key, count in self.unscraped.popleft()[1].items():
                self.shown[key] = self.shown.get(key, 0) + count

    def probe(self, growth: Growth) -> None:
        """Count probes as the prober does; their rows are taken to be as hard as users' are."""
        for (kind, value), count in growth.items():
            if kind in ("code", "le"):
                key = (kind, PROBED.get(value, value))
                self.probed[key] = self.probed.get(key, 0) + count

    def counters(self, revision: str) -> Iterable[Counter]:
        for pod, probe, series in ((revision, False, self.shown), ("prober", True, self.probed)):
            for (kind, value), count in series.items():
                if kind in COUNTED:
                    told: dict[str, Any] = {COUNTED[kind]: value}
                    yield Counter(revision=revision, pod=pod, probe=probe, value=count, **told)

    def tallied(self, revision: str, gate: str) -> Iterable[Tallied]:
        for kind in ("total", "bad"):
            count = self.shown.get((kind, gate), 0)
            yield Tallied(revision=revision, bad=kind == "bad", pod=revision, labels="", value=count)


@dataclass(kw_only=True)
class _World:
    """Everything outside of `decide`, from the moment that a new version is asked for."""

    spec: ReleaseSpec
    scenario: Scenario
    random: Random
    now: datetime = START
    clients_since: datetime | None = None
    """When the canary got its first clients."""
    probing: Probing | None = None
    unsent: float = 0.0
    """The part of a pair of probes that is due and not sent yet."""

    def __post_init__(self) -> None:
        bounds = _telling_bounds(self.spec, self.scenario)
        self.assumptions = self.scenario.assumptions(self.spec)
        self.arms = {
            STABLE.revision: _Arm(bounds=bounds, lag=self.scenario.scrape_lag),
            CANARY.revision: _Arm(bounds=bounds),
        }
        stable = self.arms[STABLE.revision]
        stable.ready_at = [START] * self.spec.serving.replicas
        stable.shown = self._growth(STABLE.revision, SERVED_BEFORE)
        # A predictor shows its series with 0 before its first request.
        self.arms[CANARY.revision].shown = self._growth(CANARY.revision, 0)
        self.routed = frozenset({STABLE.revision})
        self.status = Status(phase=Phase.STABLE, stable=StableStatus(**STABLE.parts(), since=START))

    def step(self) -> Decision:
        """Make one pass at the present moment."""
        decision = decide(spec=self.spec, status=self.status, seen=self._seen(), now=self.now)
        self._apply(decision.desired)
        self.status = decision.status
        self._read_less(decision.status.evidence)
        return decision

    def let_pass(self, time: timedelta) -> None:
        """Let clients call until the next pass."""
        lag = self.scenario.scrape_lag
        # Cut where stable's next scrape will have been, so that what it shows is exact.
        parts = [time - lag, lag] if timedelta(0) < lag < time else [time]
        for part in parts:
            self.now += part
            self._serve(part.total_seconds())
            self._probe(part.total_seconds())
        for arm in self.arms.values():
            arm.scrape(self.now)

    def outcome(self, end: End, status: Status) -> Outcome:
        canary = self.arms[CANARY.revision]
        last = status.canary or self.status.canary
        return Outcome(
            end=end,
            seconds=(self.now - START).total_seconds(),
            canary_requests=canary.requests,
            bad_answers=canary.bad,
            step=last.step if last else len(self.spec.canary.plan) - 1,
            message=status.rejected.message if status.rejected else status.message,
        )

    def _seen(self) -> Seen:
        metrics: list[Counter] = []
        answers: dict[str, Answer] = {}
        if judged_pair(self.status):
            for name, arm in self.arms.items():
                metrics += arm.counters(name)
            if shift_of(self.assumptions):
                metrics += [Counter(revision=it, pod=it, layout=LAYOUT, value=1) for it in self.arms]
            answers = dict(self._answers())
        return Seen(
            generation=1,
            target=CANARY,
            workloads={name: self._workload(name, arm) for name, arm in self.arms.items() if arm.ready_at},
            routed=self.routed,
            metrics=tuple(metrics),
            answers=answers,
        )

    def _answers(self) -> Iterable[tuple[str, Answer]]:
        """What the gates' own queries give now."""
        for gate in self.spec.analysis.gates:
            one = self.assumptions.get(gate.name)
            if isinstance(one, BadShares):
                arms = self.arms.items()
                yield gate.name, tuple(it for name, arm in arms for it in arm.tallied(name, gate.name))
            elif isinstance(one, Values) and gate.threshold:
                since = self.now - (self.clients_since or self.now) - self.scenario.onset
                like_stable = since < timedelta(0)
                value = (
                    at_limit(gate.threshold) if like_stable else one.at(since // self.spec.analysis.period)
                )
                yield gate.name, Number(value=value)

    def _workload(self, name: str, arm: _Arm) -> Workload:
        ready, pods = arm.ready(self.now), len(arm.ready_at)
        names = frozenset({name}) if ready else frozenset[str]()
        return Workload(revision=name, wanted=pods, pods=pods, ready=ready, ready_names=names)

    def _apply(self, desired: Desired) -> None:
        for running in desired.running:
            self.arms[running.target.revision].scale(running.replicas, self.now + self.scenario.pod_start)
        self.routed, self.probing = desired.routed, desired.probing

    def _serve(self, seconds: float) -> None:
        requests = poisson(self.random, self.scenario.rps * seconds)
        ready = {name: self.arms[name].ready(self.now) for name in self.routed}
        pods = sum(ready.values())
        canary = ready.get(CANARY.revision, 0)
        if canary and self.clients_since is None:
            self.clients_since = self.now - timedelta(seconds=seconds)
        to_canary = binomial(self.random, requests, canary / pods) if pods else 0
        for name, count in ((CANARY.revision, to_canary), (STABLE.revision, requests - to_canary)):
            arm, growth = self.arms[name], self._growth(name, count)
            arm.requests, arm.bad = arm.requests + count, arm.bad + growth["code", "500"]
            arm.unscraped.append((self.now, growth))

    def _probe(self, seconds: float) -> None:
        """Let the prober ask both arms alike, while there is one."""
        if (probing := self.probing) is None:
            return
        self.unsent += probing.asked.rate / 2 * seconds
        pairs = int(self.unsent)
        self.unsent -= pairs
        for name, arm in self.arms.items():
            arm.probe(self._growth(name, pairs))

    def _growth(self, name: str, requests: int) -> Growth:
        scene = self.scenario
        worse = name == CANARY.revision and self.now - (self.clients_since or self.now) >= scene.onset
        errors = scene.canary_errors if worse else scene.stable_errors
        stretch = scene.latency_ratio if worse else 1.0
        growth = self.arms[name].answer(self.random, requests, errors, scene.latency, stretch)
        return growth | grown(self.random, self.assumptions, requests, canary=worse)

    def _read_less(self, evidence: Evidence) -> None:
        """Stop counting buckets that `decide` has not chosen: it fixes its bounds for the whole release."""
        used = _bounds_in_use(evidence.bounds)
        for arm in self.arms.values():
            kept = tuple(bound for bound in arm.bounds if str(bound) in used)
            if kept and len(kept) < len(arm.bounds):
                arm.bounds = kept
                names = {INFINITY, *map(str, kept)}
                arm.shown, arm.probed = (
                    {key: count for key, count in series.items() if key[0] != "le" or key[1] in names}
                    for series in (arm.shown, arm.probed)
                )


def _telling_bounds(spec: ReleaseSpec, scenario: Scenario) -> tuple[float, ...]:
    """Return the bounds that can matter: those that some request may fall on either side of, and limits."""
    law, ordered = scenario.latency, sorted(scenario.bounds)
    kept = {
        bound
        for bound in ordered
        if any(UNSEEN < law.within(bound, stretch) < 1 - UNSEEN for stretch in (1.0, scenario.latency_ratio))
    }
    for gate in spec.analysis.gates:
        limit = gate.latency.max_seconds if gate.latency else None
        if limit is not None:
            kept.update([bound for bound in ordered if bound >= limit][:1])
    kept.update([bound for bound in ordered if bound > max(kept, default=0.0)][:1])
    return tuple(sorted(kept))


def _bounds_in_use(chosen: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """Return every bound that latency gates were cut at; nothing while one of them still waits."""
    if not all(chosen.values()):
        return frozenset()
    return frozenset(bound for pairs in chosen.values() for pair in pairs for bound in pair.split(">"))
