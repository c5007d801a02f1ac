"""Questions to Prometheus: the newest raw counters of a release's two revisions, or of their bins.

Raw series, never rate() or increase(): those extrapolate, and lose the first error of a new pod.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util import Retry

from modelrelease_contract import metrics as words
from modelrelease_operator.core.drift_windows import PREDICTIONS, BinSample
from modelrelease_operator.core.state import Counter, Metrics, MetricsUnavailable

PREDICTION_METRICS = (words.PREDICTION_BIN_TOTAL, words.PREDICTION_BINS_INFO)
Row = TypeVar("Row")
Bins = tuple[BinSample, ...] | MetricsUnavailable


class MetricSource:
    """A Prometheus server."""

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        self._url = url
        # No retries inside a look: the next look is the retry, and a look must not outlast its interval.
        self._client = PrometheusConnect(
            url=url.rstrip("/"), timeout=timeout_seconds, retry=Retry(total=0, raise_on_status=False)
        )

    async def read(
        self, *, namespace: str, release: str, revisions: Iterable[str], predictions: bool = False
    ) -> Metrics:
        """Return every counter of these revisions, or why there is none to be had.

        Bins of predictions only where a gate asks for them: they are a fifth more series.
        """
        query = _query(namespace, release, revisions, PREDICTION_METRICS if predictions else ())
        return await self._ask(query, _counter)

    async def read_bins(self, *, namespace: str, release: str, revisions: Iterable[str]) -> Bins:
        """Return every count of a bin of these revisions, and their baselines, or why there is none."""
        return await self._ask(_bins_query(namespace, release, revisions), _bin_sample)

    async def _ask(
        self, query: str, read: Callable[[dict[str, Any]], Row]
    ) -> tuple[Row, ...] | MetricsUnavailable:
        try:
            rows = await asyncio.to_thread(self._client.custom_query, query)
            return tuple(read(row) for row in rows)
        except PrometheusApiClientException as problem:
            return MetricsUnavailable(message=f"Prometheus at {self._url} answered with an error: {problem}")
        except requests.RequestException as problem:
            kind = type(problem).__name__
            return MetricsUnavailable(message=f"Prometheus at {self._url} does not answer ({kind})")
        except (LookupError, ValueError, TypeError) as problem:
            return MetricsUnavailable(message=f"Prometheus at {self._url} answered nonsense: {problem!r}")


def _query(namespace: str, release: str, revisions: Iterable[str], more: Sequence[str] = ()) -> str:
    names = "|".join((words.PREDICTIONS_TOTAL, f"{words.PREDICTION_DURATION_SECONDS}_bucket", *more))
    return f'{{__name__=~"{names}",{_labels(namespace, release, revisions)}}}'


def _bins_query(namespace: str, release: str, revisions: Iterable[str]) -> str:
    """Every pod says the same baseline, so one copy of it is enough; the counts are wanted from each."""
    labels = _labels(namespace, release, revisions)
    counts = f'{{__name__=~"{words.FEATURE_BIN_TOTAL}|{words.PREDICTION_BIN_TOTAL}",{labels}}}'
    baselines = f'{{__name__=~"{words.FEATURE_BASELINE_ROWS}|{words.PREDICTION_BASELINE_ROWS}",{labels}}}'
    by = f"__name__, {words.REVISION}, {words.FEATURE}, {words.BIN}"
    return f"{counts} or max by ({by}) ({baselines})"


def _labels(namespace: str, release: str, revisions: Iterable[str]) -> str:
    which = "|".join(sorted(revisions))
    return f'{words.NAMESPACE}="{namespace}",{words.RELEASE}="{release}",{words.REVISION}=~"{which}"'


def _counter(row: dict[str, Any]) -> Counter:
    labels = row["metric"]
    name = labels["__name__"]
    return Counter(
        revision=labels[words.REVISION],
        pod=labels.get(words.POD) or labels["instance"],
        code=labels[words.CODE] if name == words.PREDICTIONS_TOTAL else None,
        bound=labels["le"] if name == f"{words.PREDICTION_DURATION_SECONDS}_bucket" else None,
        bin=labels[words.BIN] if name == words.PREDICTION_BIN_TOTAL else None,
        layout=labels[words.LAYOUT] if name == words.PREDICTION_BINS_INFO else None,
        value=float(row["value"][1]),
    )


def _bin_sample(row: dict[str, Any]) -> BinSample:
    labels = row["metric"]
    counted = labels["__name__"] in (words.FEATURE_BIN_TOTAL, words.PREDICTION_BIN_TOTAL)
    of_feature = labels["__name__"] in (words.FEATURE_BIN_TOTAL, words.FEATURE_BASELINE_ROWS)
    return BinSample(
        revision=labels[words.REVISION],
        pod=(labels.get(words.POD) or labels["instance"]) if counted else None,
        feature=labels[words.FEATURE] if of_feature else PREDICTIONS,
        bin=labels[words.BIN],
        value=float(row["value"][1]),
    )
