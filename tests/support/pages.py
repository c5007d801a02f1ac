"""A source of metrics that is no Prometheus: one module, and one entry of the registry."""

from collections.abc import Collection

from modelrelease_operator.api.prometheus import Source
from modelrelease_operator.api.spec import Analysis, Gate
from modelrelease_operator.api.status import Verdict
from modelrelease_operator.core.measurement.queries import QueryScope
from modelrelease_operator.core.observed import Counter, Metrics, PairCounters
from modelrelease_operator.core.query_results import NotMeasured, QueryResult
from modelrelease_operator.runtime.kube import Kube
from modelrelease_operator.runtime.metric_sources.source import Bins, MetricSource, Revisions
from modelrelease_operator.settings import Settings


class PageSource:
    """Reads the pages of pods, of which it makes up one for each revision."""

    source = Source.PODS
    reads_anew = True
    seconds = 1.0
    patience_seconds = 1.0

    async def read_counters(self, of: Revisions, *, predictions: bool, probes: bool) -> Metrics:
        return tuple(
            Counter(
                revision=revision, pod=f"{revision}-a", code="200", value=7, at=100.0, started=40.0
            )
            for revision in of.metrics
        )

    async def answer(self, gate: Gate, query_scope: QueryScope) -> QueryResult:
        message = f"gate {gate.name}: pages have no query language"
        return NotMeasured(verdict=Verdict.UNAVAILABLE, message=message)

    async def read_pairs(self, of: Revisions, *, canary: str, stable: str) -> PairCounters:
        return ()

    async def read_bins(self, of: Revisions) -> Bins:
        return ()

    async def explain_missing(
        self, of: Revisions, *, revision: str, pods: Collection[str]
    ) -> str | None:
        return f"{', '.join(sorted(pods))} shows no page"

    async def close(self) -> None:
        """Hold nothing open."""


class Pages:
    """Serves releases that name an address of pages."""

    def serves(self, analysis: Analysis, settings: Settings) -> bool:
        return analysis.prometheus is not None and "//pages." in analysis.prometheus.url

    async def source_of(
        self, kube: Kube, namespace: str, analysis: Analysis, settings: Settings
    ) -> MetricSource:
        return PageSource()

    async def close(self) -> None:
        """Hold nothing open."""
