"""Whoever scrapes the pods: a Prometheus of any interval and phase, or the operator's own looks."""

import asyncio
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from random import Random

from modelrelease_operator.api.prometheus import Source
from modelrelease_operator.api.spec import Gate
from modelrelease_operator.core.measurement.queries import QueryScope
from modelrelease_operator.core.observed import Counter, Metrics, MetricsUnavailable, PairCounters
from modelrelease_operator.core.query_results import QueryResult
from modelrelease_operator.runtime.metric_sources.source import Bins, MetricSource, Revisions
from testbed.simulation.machines import Machines, Pod, Sample
from testbed.simulation.shadow import Pairs
from testbed.simulation.story import Tell
from testbed.simulation.virtual_time import Timeline
from testbed.simulation.weather import Spell, Weather

NOT_ASKED = MetricsUnavailable(message="the simulation counts requests and nothing else")
SHOWN_AFTER_DEATH = 30.0
"""Seconds for which the series of a pod that is gone are shown."""


@dataclass(slots=True)
class Look:
    """What one look was told of each pod."""

    at: float
    samples: dict[str, tuple[str, Sample]]
    """By pod: its revision and its newest sample."""


@dataclass
class Scrapes:
    """The source of metrics of every process of the operator."""

    machines: Machines
    timeline: Timeline
    weather: Weather
    random: Random
    tell: Tell
    interval: float
    reads_anew: bool = False
    seconds: float = 5.0
    patience_seconds: float = 5.0
    looks: list[Look] = field(default_factory=list)
    """What was told since whoever audits has taken it."""

    newest: dict[str, float] = field(default_factory=dict)
    """By revision: the newest sample that a look was told."""

    _totals: dict[tuple[str, str, float], int] = field(default_factory=dict)
    """By process: the requests that a look was told."""

    def __post_init__(self) -> None:
        self.source = Source.PODS if self.reads_anew else Source.PROMETHEUS
        self.pairs = Pairs(self.machines, 0.0 if self.reads_anew else self.interval)
        if not self.reads_anew:
            self._scrape_on()

    def shown(self, revision: str) -> int:
        """Return the requests of a revision that looks were ever told."""
        return sum(total for (of, _, _), total in self._totals.items() if of == revision)

    async def source_of(self, *_: object, **__: object) -> MetricSource:
        return self

    def _scrape_on(self) -> None:
        """Scrape each pod at a moment of its own in every interval."""
        for name, pod in self.machines.pods.items():
            self.timeline.after(pod.phase * self.interval, partial(self._scrape, name))
        self.timeline.after(self.interval, self._scrape_on)

    def _scrape(self, name: str) -> None:
        pod = self.machines.pods.get(name)
        if pod is None or not self._answers(pod) or self._hidden(pod):
            return
        pod.sample = self.machines.scraped(pod)

    def _answers(self, pod: Pod) -> bool:
        """Return whether a pod has a process that shows a page."""
        return 0 < pod.started <= self.timeline.now

    def _hidden(self, pod: Pod) -> bool:
        now = self.timeline.now
        if self.weather.has(Spell.METRICS_DOWN, now):
            return True
        about = "stable" if pod.version == "1" else "the canary"
        return self.weather.has(Spell.NOT_SCRAPED, now, about)

    async def read_counters(self, of: Revisions, *, predictions: bool, probes: bool) -> Metrics:
        now = self.timeline.now
        if self.weather.has(Spell.METRICS_DOWN, now):
            self.tell("  the source of metrics does not answer")
            return MetricsUnavailable(message="Prometheus does not answer")
        if self.weather.has(Spell.METRICS_SLOW, now):
            await asyncio.sleep(self.random.choice((1.0, 4.0, 60.0)))
        samples = {pod.name: (pod.revision, sample) for pod, sample in self._shown(of)}
        self.looks.append(Look(at=now, samples=samples))
        for pod, (revision, sample) in samples.items():
            self._totals[revision, pod, sample.started] = sample.total
            self.newest[revision] = max(self.newest.get(revision, 0.0), sample.at)
        self.tell("  a look is told {}", samples)
        return tuple(
            counter
            for pod, (revision, sample) in samples.items()
            for counter in _counters(revision, pod, sample)
        )

    def _shown(self, of: Revisions) -> Iterator[tuple[Pod, Sample]]:
        for revision in of.metrics:
            for pod in (*self.machines.pods.values(), *self.machines.dead):
                if pod.revision != revision:
                    continue
                sample = self._read(pod) if self.reads_anew else self._kept(pod)
                if sample is not None:
                    yield pod, sample

    def _read(self, pod: Pod) -> Sample | None:
        """Read a pod's page now."""
        if pod.gone is not None or not self._answers(pod) or self._hidden(pod):
            return None
        return self.machines.scraped(pod)

    def _kept(self, pod: Pod) -> Sample | None:
        """Return the newest sample, while Prometheus still shows it."""
        now, sample = self.timeline.now, pod.sample
        if sample is None or now - sample.at > 300:
            return None
        return None if pod.gone is not None and now - pod.gone > SHOWN_AFTER_DEATH else sample

    async def read_pairs(self, of: Revisions, *, canary: str, stable: str) -> PairCounters:
        now = self.timeline.now
        hidden = self.weather.has(Spell.NOT_SCRAPED, now, "stable")
        if hidden or self.weather.has(Spell.METRICS_DOWN, now):
            self.tell("  the source of pairs does not answer")
            return MetricsUnavailable(message="Prometheus does not answer")
        if self.weather.has(Spell.METRICS_SLOW, now):
            await asyncio.sleep(self.random.choice((1.0, 4.0, 60.0)))
        rows = self.pairs.read(stable=stable, canary=canary)
        self.tell("  a look is told of {} pairs", sum(row.value for row in rows) // 2)
        return rows

    async def answer(self, gate: Gate, query_scope: QueryScope) -> QueryResult:
        msg = "no release of the simulation has gates with queries of their own"
        raise AssertionError(msg)

    async def read_bins(self, of: Revisions) -> Bins:
        return NOT_ASKED

    async def explain_missing(
        self, of: Revisions, *, revision: str, pods: Collection[str]
    ) -> str | None:
        return None

    async def close(self) -> None:
        """Nothing is open."""


def _counters(revision: str, pod: str, sample: Sample) -> Iterator[Counter]:
    at, started = sample.at, sample.started
    for code, value in (("200", sample.total - sample.bad), ("500", sample.bad)):
        yield Counter(revision=revision, pod=pod, code=code, value=value, at=at, started=started)
    quick = sample.total - sample.slow
    buckets = (("0.05", 0), ("0.1", quick), ("0.25", quick), ("1.0", sample.total))
    for bound, value in (*buckets, ("+Inf", sample.total)):
        yield Counter(revision=revision, pod=pod, bound=bound, value=value, at=at, started=started)
