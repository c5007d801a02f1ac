"""Releases on a fake clock: the same `decide`, in a world light enough to live through a thousand
times.

Nothing is decided here. The world has pods that take time to start, clients that come by chance
(Poisson), errors and latencies that are independent from request to request, and a Prometheus that
scrapes each pod at moments of its own (core/whatif/fleet.py).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain
from random import Random
from statistics import NormalDist
from typing import Any

from modelrelease_contract import metrics as words
from modelrelease_operator.api.spec import Approval, ReleaseSpec
from modelrelease_operator.api.status import (
    CanaryStatus,
    Evidence,
    Phase,
    Recipe,
    StableStatus,
    Status,
    Target,
)
from modelrelease_operator.core.analysis.assumptions import (
    LAYOUT,
    Assumption,
    Assumptions,
    BadShares,
    Values,
    grown,
    shift_of,
)
from modelrelease_operator.core.analysis.gates.registry import assumed, kind_of
from modelrelease_operator.core.analysis.shadow import pairs_per_second, slower_of
from modelrelease_operator.core.desired import Decision, Desired, DesiredProber
from modelrelease_operator.core.measurement.series import INFINITY
from modelrelease_operator.core.observed import Counter, NotDue, Observed, PairCounter, Workload
from modelrelease_operator.core.query_results import CounterSample, QueryResult, ScalarResult
from modelrelease_operator.core.release.decide import decide
from modelrelease_operator.core.scope import judged_pair
from modelrelease_operator.core.statistics.random_variates import binomial, poisson
from modelrelease_operator.core.whatif.copies import Copies, PairLaw
from modelrelease_operator.core.whatif.end import IN_SHADOW, End, Watch, end_of, unwatched
from modelrelease_operator.core.whatif.fleet import (
    Chance,
    Course,
    Group,
    Increments,
    Scrapes,
    groups_of,
)
from modelrelease_operator.core.whatif.language import (
    measures_more,
    of_a_second,
    shown_beside,
)
from modelrelease_operator.traffic.registry import provider_of

START = datetime(2026, 1, 1, tzinfo=UTC)
SERVED_BEFORE = 100_000
"""Requests that stable answered before the release: its latency is cut at quantiles of these."""
PROBED = {"200": words.PROBE_SAME, "500": words.PROBE_ERROR}
"""What the prober calls it."""
UNSEEN = 1e-7
"""Buckets that are rarer than this in both arms are left out of the histogram:
only time would be lost.
"""

COUNTED = {"code": "code", "le": "bound", "bin": "bin"}
"""By kind of the predictor's counters: the field of `Counter` that its value goes to."""
PROBER = "prober"
MOST_OF_A_SHARE = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyModel:
    """A lognormal law of the time to answer, in seconds."""

    median: float = 0.080
    p99: float = 0.256

    def __post_init__(self) -> None:
        if not 0 < self.median < self.p99:
            msg = (
                f"the median must be above 0 and below the 99th percentile, got {self.median} and "
                f"{self.p99}"
            )
            raise ValueError(msg)

    def within(self, seconds: float, stretch: float = 1.0) -> float:
        """Return the share of answers that take at most so long,
        when all take `stretch` times as long.
        """
        if seconds == math.inf:
            return 1.0
        spread = math.log(self.p99 / self.median) / NormalDist().inv_cdf(0.99)
        return NormalDist().cdf(math.log(seconds / stretch / self.median) / spread)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What the world is like. Rates are shares in [0, 1],
    bounds are those of the latency histogram.
    """

    rps: float
    stable_errors: float
    canary_errors: float
    bounds: Sequence[float]
    latency: LatencyModel = field(default_factory=LatencyModel)
    latency_ratio: float = 1.0
    onset: timedelta = timedelta(0)
    """How long the canary has had clients before it becomes worse than stable."""
    scrapes: Scrapes = field(default_factory=Scrapes)
    shared: Course | None = None
    """Share of either arm's requests that fail, by the seconds since the canary got clients;
    instead of both error rates."""
    pods_restart: float = math.inf
    """Seconds between two restarts of a process, of whichever revision, in its pod."""
    servers_restart: float = math.inf
    """Seconds between two restarts of a Prometheus, which forgets what it saw."""
    pod_start: timedelta = timedelta(seconds=10)
    disagreement: float = 0.0
    """Share of the canary's answers that are not stable's."""
    share_ratio: float = 1.0
    """What a gateway gives the canary of the share that its weight says."""
    given: Assumptions = field(default_factory=dict)
    """What is known of gates that look at more than errors and latency; the rest is assumed."""

    def assumptions(self, spec: ReleaseSpec) -> dict[str, Assumption]:
        """Return what every such gate of a release is given to look at."""
        default = assumed(spec, stable_errors=self.stable_errors, canary_errors=self.canary_errors)
        return {name: self.given.get(name, assumption) for name, assumption in default.items()}

    def __post_init__(self) -> None:
        if not (self.rps > 0 and self.latency_ratio > 0):
            msg = (
                f"rps and the latency ratio must be above 0, got {self.rps} and "
                f"{self.latency_ratio}"
            )
            raise ValueError(msg)
        if not 0 <= self.share_ratio <= MOST_OF_A_SHARE:
            msg = f"the share's ratio must be in [0, {MOST_OF_A_SHARE:g}], got {self.share_ratio}"
            raise ValueError(msg)
        if not (0 <= self.stable_errors <= 1 and 0 <= self.canary_errors <= 1):
            msg = (
                f"error rates must be in [0, 1], got {self.stable_errors} and {self.canary_errors}"
            )
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedRun:
    """One simulated release."""

    end: End
    seconds: float
    canary_requests: int
    bad_answers: int
    """Requests that the canary answered with an error."""
    step: int
    """Index of the last step that was entered; -1 while it was in the shadow."""
    message: str
    with_clients: float = 0.0
    """Seconds since the canary's first clients."""


def simulate(
    spec: ReleaseSpec, scenario: Scenario, random: Random, *, watch: Watch = unwatched
) -> SimulatedRun:
    """Release once. Nobody pauses it, and a person who is asked approves at once.

    `watch` is told every status on the way.
    """
    canary = spec.canary.but(approval=Approval.AUTOMATIC)
    spec = spec.but(paused=False, canary=canary)
    world = _World(spec=spec, scenario=scenario, random=random)
    # `decide` ends every release at its deadline; twice that is a world that it does not
    # understand.
    patience = 2 * (spec.canary.progress_deadline.span + spec.canary.start_deadline.span)
    while world.now - START < patience:
        decision = world.step()
        watch(world.now, decision.status)
        end = end_of(decision.status, canary=CANARY.revision)
        if end and not (spec.canary.switches and decision.status.previous):
            return world.outcome(end, decision.status)
        world.let_pass(decision.requeue or spec.analysis.period)
    msg = f"a simulated release did not end within {patience}: {world.status.message}"
    raise AssertionError(msg)


def _target(revision: str, version: str) -> Target:
    return Target(
        revision=revision, version=version, uri="", sha256="0" * 64, recipe=Recipe(image="")
    )


STABLE, CANARY = _target("stable", "old"), _target("canary", "new")


@dataclass(kw_only=True)
class _Arm:
    """One revision: its pods, and what its clients got."""

    name: str
    bounds: tuple[float, ...]
    groups: list[Group] = field(default_factory=list)
    started: int = 0
    requests: int = 0
    bad: int = 0

    @property
    def pods(self) -> int:
        return sum(group.size for group in self.groups)

    def ready(self, now: float) -> int:
        return sum(group.size for group in self.groups if group.ready_at <= now)

    def start(self, pods: int, ready_at: float) -> list[Group]:
        """Start so many more pods; return their groups."""
        new = []
        for size in groups_of(pods) if pods else ():
            self.started += 1
            name = f"{self.name}-{self.started}"
            new.append(
                Group(name=name, size=size, ready_at=ready_at, born=ready_at, until=ready_at)
            )
        self.groups += new
        return new

    def stop(self, pods: int) -> None:
        """Stop so many pods, the newest first.
        Prometheus does not show those of which none is left.
        """
        while pods and self.groups:
            last = self.groups[-1]
            gone = min(pods, last.size)
            last.size, pods = last.size - gone, pods - gone
            if not last.size:
                self.groups.pop()

    def answer(
        self, random: Random, requests: int, errors: float, latency: LatencyModel, stretch: float
    ) -> Increments:
        """Return by how much the counters grow with so many requests."""
        bad = binomial(random, requests, errors)
        grown = {("code", "200"): requests - bad, ("code", "500"): bad}
        within = 0
        for bound, share in _shares(latency, self.bounds, stretch):
            within += binomial(random, requests - within, share) if share else 0
            grown["le", bound] = within
        grown["le", INFINITY] = requests
        return grown

    def read_less(self, bounds: tuple[float, ...]) -> None:
        """Count only these buckets from now on."""
        self.bounds = bounds
        for group in self.groups:
            group.counters = _without_buckets(group.counters, bounds)
            group.shown = {
                server: (at, born, _without_buckets(counters, bounds))
                for server, (at, born, counters) in group.shown.items()
            }

    def counters(self, server: int) -> Iterable[Counter]:
        """Return what a server shows of the ready pods."""
        for group in self.groups:
            if server in group.shown:
                yield from _counters(self.name, group.name, *group.shown[server])

    def tallied(self, gate: str, server: int) -> Iterable[CounterSample]:
        for group in self.groups:
            _, _, counters = group.shown.get(server, (0.0, 0.0, {}))
            for kind in ("total", "bad"):
                if (count := counters.get((kind, gate))) is not None:
                    yield CounterSample(
                        revision=self.name,
                        bad=kind == "bad",
                        pod=group.name,
                        labels="",
                        value=count,
                    )


@lru_cache(maxsize=64)
def _shares(
    latency: LatencyModel, bounds: tuple[float, ...], stretch: float
) -> tuple[tuple[str, float], ...]:
    """Return each bound with the share of the requests above the one before that are within it."""
    shares, below = [], 0.0
    for bound in bounds:
        share = latency.within(bound, stretch)
        shares.append((str(bound), (share - below) / (1 - below) if share > below else 0.0))
        below = max(below, share)
    return tuple(shares)


def _counters(
    revision: str, pod: str, at: float, born: float, counters: Increments, *, probe: bool = False
) -> Iterable[Counter]:
    for (kind, value), count in counters.items():
        if kind in COUNTED:
            label: dict[str, Any] = {COUNTED[kind]: value}
            yield Counter(
                revision=revision,
                pod=pod,
                probe=probe,
                value=count,
                at=_unix(at),
                started=_unix(born),
                **label,
            )


def _whole(seconds: float) -> float:
    """Return a time in whole microseconds, as clocks have them."""
    return round(seconds, 6)


def _unix(seconds: float) -> float:
    return START.timestamp() + seconds


def _without_buckets(counters: Increments, kept: Iterable[float]) -> Increments:
    names = {INFINITY, *map(str, kept)}
    return {key: count for key, count in counters.items() if key[0] != "le" or key[1] in names}


def _as_probes(increments: Increments) -> Increments:
    """Return what the prober counts; its rows are taken to be as hard as users' are."""
    return {
        (kind, PROBED.get(value, value)): count
        for (kind, value), count in increments.items()
        if kind in ("code", "le")
    }


@dataclass(kw_only=True)
class _World:
    """Everything outside of `decide`, from the moment that a new version is asked for."""

    spec: ReleaseSpec
    scenario: Scenario
    random: Random
    now: datetime = START
    clients_since: float | None = None
    """When the canary got its first clients, in seconds since the beginning."""
    worse: bool = False
    """Whether the canary is by now what the scenario says."""
    probing: DesiredProber | None = None
    regime: tuple[object, ...] = ()
    """Who is ready, and whether the canary is worse: requests are drawn until this changes."""
    copies: Copies | None = None
    """Who copies requests to a canary in the dark, while that goes on."""
    unsent: float = 0.0
    """The part of a pair of probes that is due and not sent yet."""

    def __post_init__(self) -> None:
        bounds = _telling_bounds(self.spec, self.scenario)
        self.assumptions = self.scenario.assumptions(self.spec)
        self.by = Chance(self.scenario.scrapes, self.random)
        self.arms = {
            name: _Arm(name=name, bounds=bounds) for name in (STABLE.revision, CANARY.revision)
        }
        self.probers: dict[str, Group] = {}
        """By revision: the prober's counts of it.
        One process counts them all, so it is scraped once.
        """
        stable, pods = self.arms[STABLE.revision], self.spec.serving.replicas
        for group in stable.start(pods, 0.0):
            group.born = -3600.0
            group.count(
                self._increments(STABLE.revision, SERVED_BEFORE * group.size // pods, errors=None)
            )
            group.begin_scrapes(
                self.scenario.scrapes, self.random, -self.scenario.scrapes.interval - 10
            )
            group.scrape_before(0.0, lambda *_: None, self.by)
        self.routed = frozenset({STABLE.revision})
        self.weights: Mapping[str, float] = {}
        self.routed_weight: int | None = None
        self.restarts = (self.scenario.pods_restart, self.scenario.servers_restart)
        self._set_rates()
        self.status = Status(phase=Phase.STABLE, stable=StableStatus(**STABLE.parts(), since=START))

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return (self.now - START).total_seconds()

    def step(self) -> Decision:
        """Make one pass at the present moment."""
        decision = decide(spec=self.spec, status=self.status, observed=self._seen(), now=self.now)
        self._apply(decision.desired)
        self.status = decision.status
        self._copy()
        self._read_less(decision.status.evidence)
        return decision

    def let_pass(self, time: timedelta) -> None:
        """Let clients call until the next pass."""
        end = self.seconds + time.total_seconds()
        while (now := self.seconds) < end:
            self._set_rates()
            until = min([end, *(at for at in self._changes() if at > now)])
            for group in self._groups():
                group.scrape_before(until, self._draw, self.by)
            self._probe(until - now)
            if self.copies:
                self.copies.let_pass(until)
            self.now = START + timedelta(seconds=until)
            self._restart()

    def _changes(self) -> Iterable[float]:
        """Yield when traffic, or what becomes of it, changes."""
        for arm in self.arms.values():
            yield from (group.ready_at for group in arm.groups)
        if self.clients_since is not None:
            yield _whole(self.clients_since + self.scenario.onset.total_seconds())
        yield from self.restarts

    def _groups(self) -> list[Group]:
        return list(chain.from_iterable(arm.groups for arm in self.arms.values()))

    def _set_rates(self) -> None:
        """Share the requests among the pods that are ready, once who is ready has changed.

        By a gateway each arm has its weight of them, whatever its pods.
        """
        ready = {name: self.arms[name].ready(self.seconds) for name in sorted(self.routed)}
        regime = (tuple(ready.items()), tuple(self.weights.items()), self._is_worse())
        if regime == self.regime:
            return
        self._draw_all()
        self.regime = regime
        if ready.get(CANARY.revision) and self.clients_since is None:
            self.clients_since = self.seconds
        self.worse = self._is_worse()
        rate_of_pod = self.scenario.rps / max(1, sum(ready.values()))
        for name, arm in self.arms.items():
            if name in self.weights:
                rate_of_pod = self.scenario.rps * self.weights[name] / max(1, ready[name])
            for group in arm.groups:
                serves = name in self.routed and group.ready_at <= self.seconds
                group.rate = rate_of_pod * group.size if serves else 0.0

    def _draw_all(self) -> None:
        for group in self._groups():
            self._draw(group, self.seconds)

    def _is_worse(self) -> bool:
        since = self.clients_since
        return since is not None and self.seconds >= _whole(
            since + self.scenario.onset.total_seconds()
        )

    def _draw(self, group: Group, until: float) -> None:
        """Let a group's counters grow until a moment."""
        if until <= group.until:
            return
        name = group.name.rpartition("-")[0]
        requests = poisson(self.random, group.rate * (until - group.until))
        increments = self._increments(name, requests, errors=self._shared(group.until, until))
        self.arms[name].requests += requests
        self.arms[name].bad += increments["code", "500"]
        group.count(increments)
        group.until = until

    def _shared(self, start: float, end: float) -> float | None:
        course, since = self.scenario.shared, self.clients_since
        return course.mean(start - since, end - since) if course and since is not None else None

    def _restart(self) -> None:
        """Restart a process, or a server, if it is time."""
        pods, servers = self.restarts
        if self.seconds >= pods:
            pods = _whole(pods + self.scenario.pods_restart)
            serving = [group for group in self._groups() if group.ready_at <= self.seconds]
            victim = self.random.choice(serving)
            self._draw(victim, self.seconds)
            victim.restart(self.seconds)
        if self.seconds >= servers:
            servers = _whole(servers + self.scenario.servers_restart)
            server = self.random.randrange(self.scenario.scrapes.servers)
            for group in (*self._groups(), *self.probers.values()):
                group.shown.pop(server, None)
        self.restarts = (pods, servers)

    def outcome(self, end: End, status: Status) -> SimulatedRun:
        self._draw_all()
        canary = self.arms[CANARY.revision]
        last = status.canary or self.status.canary
        return SimulatedRun(
            end=end,
            seconds=(self.now - START).total_seconds(),
            canary_requests=canary.requests,
            bad_answers=canary.bad,
            step=self._last_step(last),
            message=status.rejected.message if status.rejected else status.message,
            with_clients=0.0 if self.clients_since is None else self.seconds - self.clients_since,
        )

    def _last_step(self, last: CanaryStatus | None) -> int:
        if last is None:
            return len(self.spec.canary.plan) - 1
        met_nobody = self.spec.canary.shadow is not None and self.clients_since is None
        return IN_SHADOW if met_nobody else last.step

    def _seen(self) -> Observed:
        metrics: list[Counter] = []
        pairs: tuple[PairCounter, ...] | NotDue = NotDue()
        if self.copies:
            pairs = tuple(self.copies.counters(self.random.randrange(self.by.scrapes.servers)))
        answers: dict[str, QueryResult] = {}
        if judged_pair(self.status):
            server = self.random.randrange(self.scenario.scrapes.servers)
            for arm in self.arms.values():
                shown = tuple(arm.counters(server))
                metrics += [*shown, *shown_beside(self.spec, shown)]
            for name, prober in self.probers.items():
                if server in prober.shown:
                    metrics += _counters(name, PROBER, *prober.shown[server], probe=True)
            if shift_of(self.assumptions):
                pods = {
                    (counter.revision, counter.pod): counter
                    for counter in metrics
                    if not counter.probe
                }
                metrics += [
                    replace(counter, code=None, bound=None, bin=None, layout=LAYOUT, value=1)
                    for counter in pods.values()
                ]
            answers = dict(self._answers(server))
        return Observed(
            generation=1,
            target=CANARY,
            workloads={
                name: self._workload(name, arm) for name, arm in self.arms.items() if arm.groups
            },
            routed=self.routed,
            routed_weight=self.routed_weight,
            metrics=tuple(metrics),
            pairs=pairs,
            answers=answers,
        )

    def _answers(self, server: int) -> Iterable[tuple[str, QueryResult]]:
        """What the gates' own queries give now."""
        for gate in self.spec.analysis.gates:
            assumption = self.assumptions.get(gate.name)
            if isinstance(assumption, BadShares):
                samples = [arm.tallied(gate.name, server) for arm in self.arms.values()]
                yield gate.name, tuple(chain.from_iterable(samples))
            elif isinstance(assumption, Values):
                began = self.seconds if self.clients_since is None else self.clients_since
                since = timedelta(seconds=self.seconds - began) - self.scenario.onset
                like_stable = since < timedelta(0)
                value = assumption.at(since // self.spec.analysis.period)
                if like_stable:
                    value = kind_of(gate).calm_value(gate.settings)
                yield gate.name, ScalarResult(value=value)

    def _workload(self, name: str, arm: _Arm) -> Workload:
        names = frozenset(group.name for group in arm.groups if group.ready_at <= self.seconds)
        ready, pods = arm.ready(self.seconds), arm.pods
        return Workload(revision=name, wanted=pods, pods=pods, ready=ready, ready_names=names)

    def _apply(self, desired: Desired) -> None:
        ready_at = _whole(self.seconds + self.scenario.pod_start.total_seconds())
        for running in desired.running:
            arm = self.arms[running.target.revision]
            more = running.replicas - arm.pods
            if more < 0:
                self._draw_all()
                arm.stop(-more)
            for group in arm.start(max(0, more), ready_at):
                # A predictor shows its series with 0 before its first request.
                group.count(self._increments(arm.name, 0, errors=None))
                group.begin_scrapes(self.scenario.scrapes, self.random, ready_at)
        self.routed = desired.routed
        self.weights, self.routed_weight = {}, None
        if provider_of(self.spec).leads_to_arms and len(desired.routed) > 1:
            self.routed_weight = desired.weight
            share = min(1.0, desired.weight / 100 * self.scenario.share_ratio)
            self.weights = {STABLE.revision: 1 - share, CANARY.revision: share}
        if desired.probing != self.probing:
            self._probe_anew(desired.probing)

    def _copy(self) -> None:
        """Begin to copy requests to a canary in the dark, or end it."""
        shadow = self.spec.canary.shadow
        if shadow is None or self.status.phase is not Phase.SHADOWING:
            self.copies = None
        elif self.copies is None:
            self.copies = Copies(
                shadow=shadow, law=self._law(),
                rate=pairs_per_second(self.spec, shadow, self.scenario.rps),
                pods=self.spec.serving.replicas, random=self.random, now=self.seconds, by=self.by,
            )  # fmt: skip

    def _law(self) -> PairLaw:
        """Return how pairs come out: a canary that becomes worse later is like stable in the
        dark.
        """
        scene, (ratio, seconds) = self.scenario, slower_of(self.spec)
        worse = not scene.onset
        return PairLaw(
            stable_errors=scene.stable_errors,
            canary_errors=scene.canary_errors if worse else scene.stable_errors,
            different=scene.disagreement if worse else 0.0,
            slower_ratio=ratio,
            slower_seconds=seconds,
            median=scene.latency.median,
            p99=scene.latency.p99,
            stretch=scene.latency_ratio if worse else 1.0,
        )

    def _probe_anew(self, probing: DesiredProber | None) -> None:
        """Start a prober, whose counts of both arms are scraped together; or stop it."""
        self.probing, self.probers = probing, {}
        if probing is None:
            return
        state = self.random.getstate()
        for name in self.arms:
            # Drawn alike, because one process counts both.
            self.random.setstate(state)
            now = self.seconds
            prober = Group(name=name, size=1, ready_at=now, born=now, until=now)
            prober.begin_scrapes(self.scenario.scrapes, self.random, now)
            self.probers[name] = prober

    def _probe(self, seconds: float) -> None:
        """Let the prober ask both arms alike, while there is one."""
        if (probing := self.probing) is None:
            return
        self.unsent += probing.settings.rate / 2 * seconds
        pairs = int(self.unsent)
        self.unsent -= pairs
        for name, prober in self.probers.items():
            prober.count(_as_probes(self._increments(name, pairs, errors=None)))
            prober.scrape_before(self.seconds + seconds, lambda *_: None, self.by)

    def _increments(self, name: str, requests: int, *, errors: float | None) -> Increments:
        """Return what so many requests add to the counters;
        `errors` is the share that fails, if shared.
        """
        scene = self.scenario
        worse = name == CANARY.revision and self.worse
        if errors is None:
            errors = scene.canary_errors if worse else scene.stable_errors
        stretch = scene.latency_ratio if worse else 1.0
        increments = self.arms[name].answer(self.random, requests, errors, scene.latency, stretch)
        return increments | grown(self.random, self.assumptions, requests, canary=worse)

    def _read_less(self, evidence: Evidence) -> None:
        """Stop counting buckets that `decide` has not chosen:
        it fixes its bounds for the whole release. Nothing where other histograms are made of them.
        """
        if measures_more(self.spec):
            return
        used = _bounds_in_use(evidence.bounds)
        for arm in self.arms.values():
            kept = tuple(bound for bound in arm.bounds if str(bound) in used)
            if kept and len(kept) < len(arm.bounds):
                arm.read_less(kept)


def _telling_bounds(spec: ReleaseSpec, scenario: Scenario) -> tuple[float, ...]:
    """Return the bounds that can matter:
    those that some request may fall on either side of, and limits.
    """
    ordered = sorted(scenario.bounds)
    kept = {bound for bound in ordered if _is_telling(bound, scenario)}
    for gate in spec.analysis.gates:
        limit = kind_of(gate).telling_seconds(gate.settings)
        if limit is not None:
            seconds = limit / of_a_second(kind_of(gate).metric(gate.settings))
            kept.update([bound for bound in ordered if bound >= seconds][:1])
    kept.update([bound for bound in ordered if bound > max(kept, default=0.0)][:1])
    return tuple(sorted(kept))


def _is_telling(bound: float, scenario: Scenario) -> bool:
    """Return whether requests fall on either side of a bound, before the onset or after it."""
    stretches = (1.0, scenario.latency_ratio)
    shares = (scenario.latency.within(bound, stretch) for stretch in stretches)
    return any(UNSEEN < share < 1 - UNSEEN for share in shares)


def _bounds_in_use(chosen: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """Return every bound that latency gates were cut at; nothing while one of them still waits."""
    if not all(chosen.values()):
        return frozenset()
    pairs = chain.from_iterable(chosen.values())
    return frozenset(chain.from_iterable(pair.split(">") for pair in pairs))
