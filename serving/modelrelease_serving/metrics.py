"""Counts what the predictor does. Names and labels are the contract's; judging them is the operator's.

One registry for each app, none global, so that a process may hold many. Written from the event
loop's thread only, which is why the bins need no lock.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from typing_extensions import override

from modelrelease_contract import ArtifactManifest, Baseline
from modelrelease_contract import Histogram as Bins
from modelrelease_contract import metrics as names
from modelrelease_serving.model import Answer, Value


class Metrics:
    """The counters of one app. `registry` is what `/metrics` shows."""

    def __init__(self, manifest: ArtifactManifest, *, release: str, revision: str) -> None:
        self.registry = CollectorRegistry()
        who = {names.RELEASE: release, names.REVISION: revision}
        version = {**who, names.MODEL_VERSION: manifest.version}
        requests = Counter(
            names.PREDICTIONS_TOTAL,
            "Answered prediction requests by status code.",
            [*version, names.CODE],
            registry=self.registry,
        )
        # A rate needs a value before the first event: without it the first error would be lost.
        self._answered = {code: requests.labels(**version, code=str(code)) for code in (200, 500)}
        self._requests, self._version = requests, version
        self._seconds = Histogram(
            names.PREDICTION_DURATION_SECONDS,
            "Time from the request's last byte to the answer, of requests that reached the model.",
            [*version],
            buckets=names.duration_buckets(),
            registry=self.registry,
        ).labels(**version)
        info = Gauge(
            names.MODEL_VERSION_INFO,
            "Always 1; the labels say what serves.",
            [*version],
            registry=self.registry,
        )
        info.labels(**version).set(1)
        ProcessCollector(registry=self.registry)
        self._bins = _BinCounts(manifest, who)
        self.registry.register(self._bins)
        if manifest.baseline:
            _show_baseline(manifest.baseline, who, self.registry)

    def answered(self, code: int, seconds: float | None = None) -> None:
        """Count one answer. `seconds` only for a request that reached the model."""
        counter = self._answered.get(code)
        if counter is None:
            counter = self._answered[code] = self._requests.labels(**self._version, code=str(code))
        counter.inc()
        if seconds is not None:
            self._seconds.observe(seconds)

    def saw(self, rows: Sequence[Sequence[Value]], answers: Sequence[Answer]) -> None:
        """Count the values of answered rows, and their answers, in the bins of the baseline."""
        self._bins.add(rows, answers)

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)


def _show_baseline(baseline: Baseline, who: dict[str, str], registry: CollectorRegistry) -> None:
    """Export what the bins are compared with: constants, so that PromQL alone can measure drift."""
    features = Gauge(
        names.FEATURE_BASELINE_ROWS,
        "Held-out rows in each bin of the baseline.",
        [*who, names.FEATURE, names.BIN],
        registry=registry,
    )
    for name, bins in baseline.features.items():
        for label, count in _labelled(bins):
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
        "Always 1; predictions of two revisions compare only where the layout of their bins is the same.",
        [*who, names.LAYOUT],
        registry=registry,
    )
    layout.labels(**who, layout=baseline.prediction.layout).set(1)


def _labelled(bins: Bins) -> Iterator[tuple[str, int]]:
    yield from ((str(index), count) for index, count in enumerate(bins.counts))
    yield names.BIN_MISSING, bins.missing


class _Cells:
    """One count for each bin of a baseline histogram, and one for missing values."""

    __slots__ = ("bins", "counts", "missing")

    def __init__(self, bins: Bins) -> None:
        self.bins = bins
        self.counts = [0] * len(bins.counts)
        self.missing = 0

    def add(self, value: Value) -> None:
        if value is None:
            self.missing += 1
        elif self.bins.labels:
            labels = self.bins.labels
            self.counts[labels.index(str(value)) if str(value) in labels else -1] += 1
        else:
            self.counts[bisect_right(self.bins.edges, float(value))] += 1

    def items(self) -> Iterator[tuple[str, int]]:
        yield from ((str(index), count) for index, count in enumerate(self.counts))
        yield names.BIN_MISSING, self.missing


class _BinCounts(Collector):
    """Plain integers, turned into samples only when asked: 17 locked counters a row would be dear."""

    def __init__(self, manifest: ArtifactManifest, who: dict[str, str]) -> None:
        baseline = manifest.baseline
        known = baseline.features if baseline else {}
        self._who = who
        self._features = [
            (index, feature.name, _Cells(known[feature.name]))
            for index, feature in enumerate(manifest.features)
            if feature.name in known
        ]
        self._answers = _Cells(baseline.prediction) if baseline and baseline.prediction else None

    def add(self, rows: Sequence[Sequence[Value]], answers: Sequence[Answer]) -> None:
        for row in rows:
            for index, _, cells in self._features:
                cells.add(row[index])
        if self._answers is not None:
            for answer in answers:
                self._answers.add(answer)

    @override
    def collect(self) -> Iterator[Metric]:
        who = tuple(self._who.values())
        features = CounterMetricFamily(
            names.FEATURE_BIN_TOTAL,
            "Feature values by bin of the baseline.",
            labels=[*self._who, names.FEATURE, names.BIN],
        )
        for _, name, cells in self._features:
            for label, count in cells.items():
                features.add_metric([*who, name, label], count)
        yield features
        predictions = CounterMetricFamily(
            names.PREDICTION_BIN_TOTAL, "Predictions by bin of the baseline.", labels=[*self._who, names.BIN]
        )
        for label, count in self._answers.items() if self._answers else ():
            predictions.add_metric([*who, label], count)
        yield predictions
