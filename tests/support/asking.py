"""A Prometheus, asked as the operator asks it, and closed afterwards."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from modelrelease_operator.runtime.prometheus import MetricSource


@asynccontextmanager
async def asking(url: str, *, timeout_seconds: float = 5.0, **parts: Any) -> AsyncIterator[MetricSource]:
    """Yield a source of metrics at an address."""
    source = MetricSource(url, timeout_seconds=timeout_seconds, **parts)
    try:
        yield source
    finally:
        await source.close()
