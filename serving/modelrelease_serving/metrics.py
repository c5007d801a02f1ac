"""Counts what the predictor does. Names and labels are the contract's; judging them is the
operator's.

Counted in plain integers and turned into Prometheus' samples only when they are asked for: a locked
counter a request would cost more than a small model. One registry for each app, none global, so
that a process may hold many. Written from the event loop's thread only, so nothing here has a lock.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from typing_extensions import override

from modelrelease_contract import ArtifactManifest, Baseline
from modelrelease_contract import Histogram as Bins
from modelrelease_contract import metrics as names
from modelrelease_contract.shadow import SHADOW_PREDICTIONS_TOTAL
from modelrelease_serving.bins import BinCounts, counted_features
from modelrelease_serving.estimator import Answer, Row

MAX_SERIES: Final = 2000


class Metrics:
    """The counters of one app. `registry` is what `/metrics` shows."""

    def __init__(
        self,
        manifest: ArtifactManifest,
        *,
        release: str,
        revision: str,
        max_series: int = MAX_SERIES,
    ) -> None:
        self.registry = CollectorRegistry()
        who = {names.RELEASE: release, names.REVISION: revision}
        version = {**who, names.MODEL_VERSION: manifest.version}
        self._requests = _Requests(version)
        self.registry.register(self._requests)
        info = Gauge(
            names.MODEL_VERSION_INFO,
            "Always 1; the labels say what serves.",
            [*version],
            registry=self.registry,
        )
        info.labels(**version).set(1)
        self.probes = SeparateCounts(
            names.PROBE_PREDICTIONS_TOTAL,
            "Answered probes by status code; they are in no other count.",
            registry=self.registry,
            version=version,
        )
        self.shadow = SeparateCounts(
            SHADOW_PREDICTIONS_TOTAL,
            "Answered copies of requests by status code; they are in no other count.",
            registry=self.registry,
            version=version,
        )
        ProcessCollector(registry=self.registry)
        self._bins = BinCounts(manifest, max_series=max_series)
        self.registry.register(_Bins(self._bins, who))
        self.count_response = self._requests.count_response
        """Count one answer by its code; with seconds for a request that reached the model."""
        self.count_rows = self._bins.add
        """Count the values of answered rows, and their answers, in the bins of the baseline."""
        if manifest.baseline:
            counted = {
                feature.name for feature in counted_features(manifest, max_series=max_series)
            }
            _show_baseline(manifest.baseline, counted, who, self.registry)

    @property
    def answered(self) -> int:
        """How many requests of users were answered, whatever the answer."""
        return self._requests.answered

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)


class SeparateCounts:
    """Takes the place of `Metrics` for requests that are no users': no user's count and no bin
    learns of them.
    """

    def __init__(
        self, name: str, documentation: str, *, registry: CollectorRegistry, version: dict[str, str]
    ) -> None:
        self._answered = Counter(name, documentation, [*version, names.CODE], registry=registry)
        self._version = version
        self._answered.labels(**version, code="200")

    def count_response(self, code: int, seconds: float | None = None) -> None:  # noqa: ARG002 - as of Metrics
        """Count one answer; who asked has its time."""
        self._answered.labels(**self._version, code=str(code)).inc()

    def count_rows(self, rows: Sequence[Row], answers: Sequence[Answer]) -> None:
        """Count nothing: reference rows are not the data of today, and copies are in its counts
        already.
        """


class _Requests(Collector):
    """Answers by code, and how long they took."""

    def __init__(self, version: dict[str, str]) -> None:
        self._version = version
        # A rate needs a value before the first event: without it the first error would be lost.
        self._codes = {200: 0, 500: 0}
        self._bounds = names.duration_buckets()
        self._buckets = [0] * (len(self._bounds) + 1)
        self._seconds = 0.0

    def count_response(self, code: int, seconds: float | None = None) -> None:
        self._codes[code] = self._codes.get(code, 0) + 1
        if seconds is not None:
            self._buckets[bisect_left(self._bounds, seconds)] += 1
            self._seconds += seconds

    @property
    def answered(self) -> int:
        return sum(self._codes.values())

    @override
    def collect(self) -> Iterator[Metric]:
        version = tuple(self._version.values())
        requests = CounterMetricFamily(
            names.PREDICTIONS_TOTAL,
            "Answered prediction requests by status code.",
            labels=[*self._version, names.CODE],
        )
        for code, count in self._codes.items():
            requests.add_metric([*version, str(code)], count)
        yield requests
        durations = HistogramMetricFamily(
            names.PREDICTION_DURATION_SECONDS,
            "Time from the request's last byte to the answer, of requests that reached the model.",
            labels=[*self._version],
        )
        durations.add_metric(version, self._cumulated(), self._seconds)
        yield durations

    def _cumulated(self) -> list[tuple[str, float]]:
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*self._bounds, float("inf")), self._buckets, strict=True):
            total += count
            buckets.append((floatToGoString(bound), total))  # type: ignore[no-untyped-call]
        return buckets


class _Bins(Collector):
    """Shows what was counted in the bins."""

    def __init__(self, bins: BinCounts, who: dict[str, str]) -> None:
        self._bins = bins
        self._who = who

    @override
    def collect(self) -> Iterator[Metric]:
        who = tuple(self._who.values())
        features = CounterMetricFamily(
            names.FEATURE_BIN_TOTAL,
            "Feature values by bin of the baseline.",
            labels=[*self._who, names.FEATURE, names.BIN],
        )
        for name, label, count in self._bins.features():
            features.add_metric([*who, name, label], count)
        yield features
        outside = CounterMetricFamily(
            names.FEATURE_OUTSIDE_TOTAL,
            "Values below or above the range of training, and categories that it did not have.",
            labels=[*self._who, names.FEATURE, names.KIND],
        )
        for name, kind, count in self._bins.outside():
            outside.add_metric([*who, name, kind], count)
        yield outside
        predictions = CounterMetricFamily(
            names.PREDICTION_BIN_TOTAL,
            "Predictions by bin of the baseline.",
            labels=[*self._who, names.BIN],
        )
        for _, label, count in self._bins.answers():
            predictions.add_metric([*who, label], count)
        yield predictions


def _show_baseline(
    baseline: Baseline, counted: set[str], who: dict[str, str], registry: CollectorRegistry
) -> None:
    """Export what the bins are compared with: constants, so that PromQL alone can measure drift."""
    features = Gauge(
        names.FEATURE_BASELINE_ROWS,
        "Held-out rows in each bin of the baseline.",
        [*who, names.FEATURE, names.BIN],
        registry=registry,
    )
    for name, bins in baseline.features.items():
        for label, count in _labelled(bins) if name in counted else ():
            features.labels(**who, feature=name, bin=label).set(count)
    if baseline.prediction is None:
        return
    answers = Gauge(
        names.PREDICTION_BASELINE_ROWS,
        "Held-out predictions in each bin of the baseline.",
        [*who, names.BIN],
        registry=registry,
    )
    for label, count in _labelled(baseline.prediction):
        answers.labels(**who, bin=label).set(count)
    layout = Gauge(
        names.PREDICTION_BINS_INFO,
        (
            "Always 1; predictions of two revisions compare only where the layout of their bins is "
            "the same."
        ),
        [*who, names.LAYOUT],
        registry=registry,
    )
    layout.labels(**who, layout=baseline.prediction.layout).set(1)


def _labelled(bins: Bins) -> Iterator[tuple[str, int]]:
    yield from ((str(index), count) for index, count in enumerate(bins.counts))
    yield names.BIN_MISSING, bins.missing
