"""What a source of metrics is: what it is asked about a release's revisions, and what it gives."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from modelrelease_operator.api.prometheus import Source
from modelrelease_operator.api.spec import Analysis, Gate
from modelrelease_operator.core.drift.windows import BinSample
from modelrelease_operator.core.measurement.queries import QueryScope
from modelrelease_operator.core.observed import Metrics, MetricsUnavailable, PairCounters
from modelrelease_operator.core.query_results import QueryResult
from modelrelease_operator.runtime.kube import Kube
from modelrelease_operator.serving_runtimes import ServerMetrics
from modelrelease_operator.settings import Settings
from modelrelease_operator.traffic.gateway_counters import GatewayCounters

Bins = tuple[BinSample, ...] | MetricsUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Revisions:
    """Whose counters are meant, and under which names each revision's server counts."""

    namespace: str
    release: str
    metrics: Mapping[str, ServerMetrics]
    """By revision, in the order in which they are to be read: the canary before stable."""
    after: float | None = None
    """The time of the newest sample that was ever counted of them, in unix seconds."""
    gateway: GatewayCounters | None = None
    """Who counts requests instead of the servers, by the Service of each arm."""


class MetricSource(Protocol):
    """A place to read counters from. Nothing here raises for what a server does or does not do.

    What cannot be had is `MetricsUnavailable`, or an answer that says so: a sentence for people,
    which names the server and holds no credentials.
    """

    @property
    def source(self) -> Source:
        """What it is, as `spec.analysis.source` names it."""

    @property
    def reads_anew(self) -> bool:
        """Whether every look has samples of its own; else somebody else says when pods are read."""

    @property
    def seconds(self) -> float:
        """For the whole of one answer, at most."""

    @property
    def patience_seconds(self) -> float:
        """For one answer and the wait for a turn before it, at most."""

    async def read_counters(self, of: Revisions, *, predictions: bool, probes: bool) -> Metrics:
        """Return the counters of each pod of these revisions, each with its own sample's time.

        `predictions`: those of predictions by bin, too. `probes`: those of the prober, too.
        """

    async def read_pairs(self, of: Revisions, *, canary: str, stable: str) -> PairCounters:
        """Return what stable's pods counted of the answers that they compared with a canary's; or a
        prober, where they compare none.
        """

    async def answer(self, gate: Gate, query_scope: QueryScope) -> QueryResult:
        """Return what a gate's own queries give; a source without a query language says so."""

    async def read_bins(self, of: Revisions) -> Bins:
        """Return the counts of these revisions' bins, features' and predictions', and baselines."""

    async def explain_missing(
        self, of: Revisions, *, revision: str, pods: Collection[str]
    ) -> str | None:
        """Return why no counters of these ready pods are shown, or None where nobody knows."""

    async def close(self) -> None:
        """Close what is open; what is being asked is answered first."""


class MetricSourceKind(Protocol):
    """One kind of source, and what it keeps open between looks for all releases."""

    def serves(self, analysis: Analysis, settings: Settings) -> bool:
        """Return whether a release's metrics are to be read here."""

    async def source_of(
        self, kube: Kube, namespace: str, analysis: Analysis, settings: Settings
    ) -> MetricSource:
        """Return a release's source, made at first use; one that cannot be had says why."""

    async def close(self) -> None:
        """Close every source."""
