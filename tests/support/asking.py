"""A Prometheus, asked as the operator asks it, and closed afterwards."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from modelrelease_operator.runtime.metric_sources.prometheus.source import PrometheusSource
from modelrelease_operator.runtime.metric_sources.source import Revisions
from modelrelease_operator.serving_runtimes.predictor import PREDICTOR


def revisions(*names: str) -> Revisions:
    """Return revisions of the release ml/qna, which the predictor serves."""
    return Revisions(namespace="ml", release="qna", metrics=dict.fromkeys(names, PREDICTOR.metrics))


@asynccontextmanager
async def asking(
    url: str, *, timeout_seconds: float = 5.0, **parts: Any
) -> AsyncIterator[PrometheusSource]:
    """Yield a source of metrics at an address."""
    source = PrometheusSource(url, timeout_seconds=timeout_seconds, **parts)
    try:
        yield source
    finally:
        await source.close()
