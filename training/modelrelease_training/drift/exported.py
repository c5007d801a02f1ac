"""What the drift service shows Prometheus. The contract spells the names that others read.

Beside scores, texts are counted in the bins of their baseline under the names that the predictor
uses for its features. So the operator judges texts as any other feature, and needs to know nothing
of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from modelrelease_contract import metrics as names
from modelrelease_contract.artifact import Histogram
from modelrelease_training.drift.text import TextDrift
from modelrelease_training.drift.windows import Key

REVISION_LABELS: Final = (names.RELEASE, names.REVISION)
EVENTS: Final = "text_drift_events_total"
TEXTS: Final = "text_drift_texts_total"
WINDOWS: Final = "text_drift_windows_total"
OPEN: Final = "text_drift_window_texts"
CLOSED: Final = "text_drift_window_timestamp_seconds"

GAUGES: Final = {
    names.TEXT_DRIFT_SCORE: "Cosine distance of the newest window's centroid from the baseline's.",
    names.TEXT_DRIFT_LIMIT: (
        "Distance from which on the permutation test speaks, for that window's size."
    ),
    names.TEXT_DRIFT_P_VALUE: "How often chance gives the newest window's distance or more.",
    names.TEXT_DRIFTED: "1 while the newest window drifted by a calibrated test, otherwise 0.",
    OPEN: "Texts in the window that is open.",
    CLOSED: "When the newest window was completed, as Unix time.",
}


class Exported:
    """The metrics of one drift service."""

    def __init__(self, histograms: Mapping[str, Histogram]) -> None:
        self.registry = CollectorRegistry()
        self.bins = BinCounts(histograms)
        self.registry.register(self.bins)
        self._events = Counter(
            EVENTS, (
                "Events by what became of them: accepted, dropped because the queue was full, "
                "refused."
            ),
            [names.OUTCOME], registry=self.registry,
        )  # fmt: skip
        for outcome in ("accepted", "dropped", "refused"):
            self._events.labels(outcome=outcome)
        self._texts = Counter(
            TEXTS, "Texts that were encoded and counted.", REVISION_LABELS, registry=self.registry
        )
        verdict = [*REVISION_LABELS, "verdict"]
        self._windows = Counter(
            WINDOWS, "Complete windows, by verdict.", verdict, registry=self.registry
        )
        self._gauges = {
            name: Gauge(name, text, REVISION_LABELS, registry=self.registry)
            for name, text in GAUGES.items()
        }

    def event(self, outcome: str) -> None:
        """Count one event."""
        self._events.labels(outcome=outcome).inc()

    def counted(
        self, key: Key, counts: Mapping[str, Sequence[int]], texts: int, waiting: int
    ) -> None:
        """Count texts of one revision, whose open window now holds `waiting`."""
        self.bins.add(key, counts)
        self._texts.labels(*key).inc(texts)
        self._gauges[OPEN].labels(*key).set(waiting)

    def judged(self, key: Key, drift: TextDrift, *, now: float) -> None:
        """Show what a complete window says. `now` is a Unix time."""
        self._windows.labels(*key, "drifted" if drift.calibrated else "stable").inc()
        values = {
            names.TEXT_DRIFT_SCORE: drift.centroid.distance,
            names.TEXT_DRIFT_LIMIT: drift.centroid.limit,
            names.TEXT_DRIFT_P_VALUE: drift.centroid.p_value,
            names.TEXT_DRIFTED: float(drift.calibrated),
            OPEN: 0.0,
            CLOSED: now,
        }
        for name, value in values.items():
            self._gauges[name].labels(*key).set(value)

    def forget(self, key: Key) -> None:
        """Show nothing of a revision any more."""
        self.bins.forget(key)
        for metric in (self._texts, *self._gauges.values()):
            metric.remove_by_labels(dict(zip(REVISION_LABELS, key, strict=True)))
        self._windows.remove_by_labels(dict(zip(REVISION_LABELS, key, strict=True)))

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)


class BinCounts(Collector):
    """Texts by bin of their baseline, and the baseline's own rows."""

    def __init__(self, histograms: Mapping[str, Histogram]) -> None:
        self._histograms = dict(histograms)
        self._counts: dict[Key, dict[str, list[int]]] = {}
        self._lock = Lock()

    def add(self, key: Key, counts: Mapping[str, Sequence[int]]) -> None:
        """Add counts of every histogram."""
        with self._lock:
            totals = self._counts.setdefault(
                key, {name: [0] * len(bins.counts) for name, bins in self._histograms.items()}
            )
            for name, grown in counts.items():
                totals[name] = [old + new for old, new in zip(totals[name], grown, strict=True)]

    def forget(self, key: Key) -> None:
        """Drop the counts of one revision."""
        with self._lock:
            self._counts.pop(key, None)

    @override
    def collect(self) -> Iterator[Metric]:
        labels = [*REVISION_LABELS, names.FEATURE, names.BIN]
        counter = CounterMetricFamily(
            names.FEATURE_BIN_TOTAL, "Feature values by bin of the baseline.", labels=labels
        )
        baseline = GaugeMetricFamily(
            names.FEATURE_BASELINE_ROWS, "Held-out rows in each bin of the baseline.", labels=labels
        )
        with self._lock:
            for key, features in self._counts.items():
                for name, counts in features.items():
                    for index, count in enumerate(counts):
                        counter.add_metric([*key, name, str(index)], count)
                    for index, rows in enumerate(self._histograms[name].counts):
                        baseline.add_metric([*key, name, str(index)], rows)
        yield counter
        yield baseline
