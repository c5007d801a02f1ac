"""Pods as a source of metrics: each is asked for its own page, when a look wants it."""

from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Self

from modelrelease_operator.api import names
from modelrelease_operator.api.prometheus import Source
from modelrelease_operator.api.spec import Analysis, Gate
from modelrelease_operator.api.status import Verdict
from modelrelease_operator.core.analysis.gates.registry import shown
from modelrelease_operator.core.drift.windows import BinSample
from modelrelease_operator.core.measurement.queries import QueryScope
from modelrelease_operator.core.observed import (
    Counter,
    Metrics,
    MetricsUnavailable,
    PairCounters,
)
from modelrelease_operator.core.query_results import NotMeasured, QueryResult
from modelrelease_operator.errors import ReleaseError
from modelrelease_operator.runtime.kube import Kube
from modelrelease_operator.runtime.metric_sources.pods.addresses import (
    PodAddress,
    addresses_of,
    probers_of,
)
from modelrelease_operator.runtime.metric_sources.pods.farewells import Farewells
from modelrelease_operator.runtime.metric_sources.pods.page import FOR_BINS, FOR_COUNTERS, Room
from modelrelease_operator.runtime.metric_sources.pods.reader import (
    Ask,
    PageReader,
    Understood,
)
from modelrelease_operator.runtime.metric_sources.pods.readings import (
    BIN_NAMES,
    PAIR_NAMES,
    PROBE_NAMES,
    bins_of,
    counters_of,
    labels_of,
    names_of,
    pairs_of,
    probes_of,
)
from modelrelease_operator.runtime.metric_sources.source import Bins, Revisions
from modelrelease_operator.serving_runtimes.predictor import PREDICTOR
from modelrelease_operator.settings import Settings

ARM_SECONDS = 4.0
"""For all pods of one revision: time for two that do not answer, one after the other."""
MOST_RELEASES = 1000
"""Of which it is remembered why pods could not be read."""
NO_QUERIES = (
    "it has a query of its own, and pods answer none: name a Prometheus "
    "(spec.analysis.prometheus.url, or the chart value prometheus.url), or take the gate out"
)

NO_GATEWAY = (
    "a gateway is to count (spec.analysis.countedBy), and pods tell nothing of it: name a "
    "Prometheus that scrapes it (spec.analysis.prometheus.url, or the chart value prometheus.url)"
)


class PodSource:
    """The pods of a release that has no Prometheus."""

    source = Source.PODS
    reads_anew = True
    seconds = 3 * ARM_SECONDS
    """For both revisions and the probers, one after the other."""
    patience_seconds = 3 * ARM_SECONDS

    def __init__(self, kube: Kube, shared: "Shared") -> None:
        self._kube = kube
        self._reader = shared.reader
        self._problems = shared.problems
        self._farewells = shared.farewells

    async def close(self) -> None:
        """Leave the connections open: all releases share them."""

    async def read_counters(self, of: Revisions, *, predictions: bool, probes: bool) -> Metrics:
        """Return the counters of every pod that shows them, or why none does.

        One revision after the other, the canary before stable: then an outage that both share is
        never shown by the canary alone.
        """
        if of.gateway:
            return MetricsUnavailable(message=NO_GATEWAY)
        self._reader.clock.go_on_after((of.namespace, of.release), of.after)
        try:
            pods = await self._pods_of(of)
            probers = await self._probers_of(of) if probes else []
        except ReleaseError as problem:
            return MetricsUnavailable(message=str(problem))
        counters: list[Counter] = []
        problems: dict[str, str] = {}
        for revision, metrics in of.metrics.items():
            asks = _asks(of, revision, pods, names_of(metrics, predictions=predictions))
            read = await self._reader.read(asks, within=ARM_SECONDS)
            read.pages += self._farewells.take((of.namespace, of.release), revision)
            for ask in asks:
                if ask.pod.leaving:
                    self._farewells.follow(ask)
            understand = partial(counters_of, release=of.release, metrics=metrics)
            understood = read.understood(understand, _whose(of, revision))
            counters += chain.from_iterable(understood.parts)
            problems |= understood.problems
        probed = await self._read_probes(of, probers)
        self._problems.remember(of, problems)
        trouble = _trouble(pods, problems)
        if trouble and not counters:
            return MetricsUnavailable(message=trouble)
        return tuple(chain(counters, *probed.parts))

    async def read_pairs(self, of: Revisions, *, canary: str, stable: str) -> PairCounters:
        """Return what stable's pods counted of the answers that they compared with a canary's; or a
        prober, where they compare none.
        """
        compares = of.metrics[stable].labelled
        try:
            pods = await (self._pods_of(of) if compares else self._probers_of(of))
        except ReleaseError as problem:
            return MetricsUnavailable(message=str(problem))
        understand = partial(pairs_of, release=of.release, canary=canary, stable=stable)
        asks = (
            _asks(of, stable, pods, PAIR_NAMES)
            if compares
            else _asks_of_probers(of, pods, PAIR_NAMES)
        )
        pages = await self._reader.read(asks, within=ARM_SECONDS)
        read = pages.understood(understand, _whose(of, stable))
        trouble = _trouble(pods, read.problems)
        if trouble and not read.parts:
            return MetricsUnavailable(message=trouble)
        return tuple(chain.from_iterable(read.parts))

    async def read_bins(self, of: Revisions) -> Bins:
        """Return the counts of these revisions' bins, and one copy of their baselines."""
        counting = [revision for revision, names in of.metrics.items() if names.counts_bins]
        if not counting:
            return ()
        try:
            pods = await self._pods_of(of)
        except ReleaseError as problem:
            return MetricsUnavailable(message=str(problem))
        samples: list[BinSample] = []
        problems: dict[str, str] = {}
        for revision in counting:
            understand = partial(bins_of, release=of.release)
            asks = _asks(of, revision, pods, BIN_NAMES, FOR_BINS)
            pages = await self._reader.read(asks, within=ARM_SECONDS)
            read = pages.understood(understand, _whose(of, revision))
            samples += _with_one_baseline(read.parts)
            problems |= read.problems
        trouble = _trouble(pods, problems)
        return MetricsUnavailable(message=trouble) if trouble and not samples else tuple(samples)

    async def answer(self, gate: Gate, query_scope: QueryScope) -> QueryResult:  # noqa: ARG002 - as of every source
        """Say that pods answer no query."""
        return NotMeasured(verdict=Verdict.UNAVAILABLE, message=f"{shown(gate)}: {NO_QUERIES}")

    async def explain_missing(
        self,
        of: Revisions,
        *,
        revision: str,  # noqa: ARG002 - as of every source
        pods: Collection[str],
    ) -> str | None:
        """Return why these pods' pages were not used at the newest look: nobody is asked."""
        known = self._problems.of(of)
        return next((known[pod] for pod in sorted(pods) if pod in known), None)

    async def _read_probes(
        self, of: Revisions, probers: Iterable[PodAddress]
    ) -> Understood[tuple[Counter, ...]]:
        """Return what probers counted of both revisions."""
        asks = _asks_of_probers(of, probers, PROBE_NAMES)
        read = await self._reader.read(asks, within=ARM_SECONDS)
        return read.understood(partial(probes_of, release=of.release, revisions=of.metrics))

    async def _pods_of(self, of: Revisions) -> list[PodAddress]:
        """Return the pods that may answer: where the API server's news are kept, at no cost."""
        pods = await self._kube.list("Pod", of.namespace, {names.LABEL_RELEASE: of.release})
        return addresses_of(pods, of.release, of.metrics)

    async def _probers_of(self, of: Revisions) -> list[PodAddress]:
        """Return the pods that probe; nobody follows those, so it costs one question."""
        canary = next(iter(of.metrics))
        pods = await self._kube.list("Pod", of.namespace, {names.LABEL_PROBER: of.release})
        return probers_of(pods, of.release, canary)


class Problems:
    """Why pods' pages were not used at the newest look of each release."""

    def __init__(self) -> None:
        self._by_release: OrderedDict[tuple[str, str], dict[str, str]] = OrderedDict()

    def of(self, of: Revisions) -> dict[str, str]:
        """Return the sentences by pod."""
        return self._by_release.get((of.namespace, of.release), {})

    def remember(self, of: Revisions, problems: dict[str, str]) -> None:
        """Take in those of a new look, in place of the last one's."""
        key = (of.namespace, of.release)
        self._by_release.pop(key, None)
        if problems:
            self._by_release[key] = problems
        while len(self._by_release) > MOST_RELEASES:
            self._by_release.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Shared:
    """What the sources of all releases share."""

    reader: PageReader
    farewells: Farewells
    problems: Problems

    @classmethod
    def of(cls, reader: PageReader) -> Self:
        """Return what is shared by all who read with this reader."""
        return cls(reader, Farewells(reader), Problems())

    async def close(self) -> None:
        """Follow nobody any more, and close the connections."""
        await self.farewells.close()
        await self.reader.close()


class Pods:
    """Serves releases that say so, and those for which nobody named a Prometheus."""

    def __init__(self) -> None:
        self._shared: Shared | None = None

    def serves(self, analysis: Analysis, settings: Settings) -> bool:
        """Return whether a release's metrics are read from its pods."""
        if analysis.source is not None:
            return analysis.source is Source.PODS
        return analysis.prometheus is None and not settings.prometheus_url

    async def source_of(
        self,
        kube: Kube,
        namespace: str,  # noqa: ARG002 - as of every kind
        analysis: Analysis,  # noqa: ARG002
        settings: Settings,  # noqa: ARG002
    ) -> PodSource:
        """Return a release's source: all share one reader and its connections."""
        self._shared = self._shared or Shared.of(PageReader())
        return PodSource(kube, self._shared)

    async def close(self) -> None:
        """Close the connections."""
        if self._shared:
            await self._shared.close()


def _asks(
    of: Revisions, revision: str, pods: Iterable[PodAddress], series: tuple[str, ...],
    room: Room = FOR_COUNTERS,
) -> list[Ask]:  # fmt: skip
    """Return which pages are wanted of one revision's pods."""
    metrics, release = of.metrics[revision], (of.namespace, of.release)
    mine = [pod for pod in pods if pod.revision == revision]
    return [
        Ask(release=release, pod=pod, port=metrics.port, path=metrics.path, names=series, room=room)
        for pod in mine
    ]


def _asks_of_probers(
    of: Revisions, probers: Iterable[PodAddress], series: tuple[str, ...]
) -> list[Ask]:
    """Return which pages of probers are wanted: they are our image, whatever the servers are."""
    ours, release = PREDICTOR.metrics, (of.namespace, of.release)
    return [
        Ask(release=release, pod=pod, port=ours.port, path=ours.path, names=series)
        for pod in probers
    ]


def _whose(of: Revisions, revision: str) -> dict[str, str]:
    """Return the labels by which a page says whose it is, where it says it."""
    return labels_of(of.metrics[revision], of.release, revision)


def _trouble(pods: Iterable[PodAddress], problems: dict[str, str]) -> str | None:
    """Return why pods that should answer show nothing: those that start or leave need not."""
    serving = [pod.name for pod in pods if pod.ready and not pod.leaving]
    sentences = [problems[name] for name in sorted(serving) if name in problems]
    if not sentences:
        return None
    more = f" (and {len(sentences) - 1} more pods)" if len(sentences) > 1 else ""
    return f"{sentences[0]}{more}"


def _with_one_baseline(parts: Iterable[tuple[BinSample, ...]]) -> list[BinSample]:
    """Return the samples of a revision's pods: each of them shows the same baseline."""
    samples: list[BinSample] = []
    has_baseline = False
    for part in parts:
        samples += (each for each in part if each.pod is not None or not has_baseline)
        has_baseline = has_baseline or any(each.pod is None for each in part)
    return samples
