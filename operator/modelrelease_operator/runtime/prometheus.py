"""One question to Prometheus: the newest raw counters of a release's two revisions.

Raw series, never rate() or increase(): those extrapolate, and lose the first error of a new pod.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util import Retry

from modelrelease_contract import metrics as words
from modelrelease_operator.core.state import Counter, Metrics, MetricsUnavailable


class MetricSource:
    """A Prometheus server."""

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        self._url = url
        # No retries inside a look: the next look is the retry, and a look must not outlast its interval.
        self._client = PrometheusConnect(
            url=url.rstrip("/"), timeout=timeout_seconds, retry=Retry(total=0, raise_on_status=False)
        )

    async def read(self, *, namespace: str, release: str, revisions: Iterable[str]) -> Metrics:
        """Return every counter of these revisions, or why there is none to be had."""
        query = _query(namespace, release, revisions)
        try:
            rows = await asyncio.to_thread(self._client.custom_query, query)
            return tuple(_counter(row) for row in rows)
        except PrometheusApiClientException as problem:
            return MetricsUnavailable(message=f"Prometheus at {self._url} answered with an error: {problem}")
        except requests.RequestException as problem:
            kind = type(problem).__name__
            return MetricsUnavailable(message=f"Prometheus at {self._url} does not answer ({kind})")
        except (LookupError, ValueError, TypeError) as problem:
            return MetricsUnavailable(message=f"Prometheus at {self._url} answered nonsense: {problem!r}")


def _query(namespace: str, release: str, revisions: Iterable[str]) -> str:
    which = "|".join(sorted(revisions))
    labels = f'{words.NAMESPACE}="{namespace}",{words.RELEASE}="{release}",{words.REVISION}=~"{which}"'
    return f'{{__name__=~"{words.PREDICTIONS_TOTAL}|{words.PREDICTION_DURATION_SECONDS}_bucket",{labels}}}'


def _counter(row: dict[str, Any]) -> Counter:
    labels = row["metric"]
    bucket = labels["__name__"] != words.PREDICTIONS_TOTAL
    return Counter(
        revision=labels[words.REVISION],
        pod=labels.get(words.POD) or labels["instance"],
        code=None if bucket else labels[words.CODE],
        bound=labels["le"] if bucket else None,
        value=float(row["value"][1]),
    )
