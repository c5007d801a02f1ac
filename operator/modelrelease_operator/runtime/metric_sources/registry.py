"""Every kind of metric source, in the order in which they are offered a release."""

from collections.abc import Callable

from modelrelease_operator.api.spec import Analysis
from modelrelease_operator.runtime.kube import Kube
from modelrelease_operator.runtime.metric_sources.pods.source import Pods
from modelrelease_operator.runtime.metric_sources.prometheus.servers import PrometheusServers
from modelrelease_operator.runtime.metric_sources.source import MetricSource, MetricSourceKind
from modelrelease_operator.settings import Settings

KINDS: tuple[Callable[[], MetricSourceKind], ...] = (Pods, PrometheusServers)
"""Prometheus serves every release that no other kind has taken, so it stays the last."""


class MetricSources:
    """The sources of all releases."""

    def __init__(self) -> None:
        self._kinds = tuple(make() for make in KINDS)

    async def source_of(
        self, kube: Kube, namespace: str, analysis: Analysis, settings: Settings
    ) -> MetricSource:
        """Return a release's source, of the first kind that serves it."""
        kind = next(kind for kind in self._kinds if kind.serves(analysis, settings))
        return await kind.source_of(kube, namespace, analysis, settings)

    async def close(self) -> None:
        """Close every source of every kind."""
        for kind in self._kinds:
            await kind.close()
