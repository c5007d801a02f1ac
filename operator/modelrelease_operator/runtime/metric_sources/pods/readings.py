"""What the series of a pod's page mean, and which of them are a revision's.

A page is believed about counts only. Whose they are is known by the pod; a page that names another
release or revision is somebody else's, who has the address by now.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelrelease_contract import metrics as words
from modelrelease_contract import shadow
from modelrelease_operator.core.drift.windows import PREDICTIONS, STARTED, BinSample
from modelrelease_operator.core.measurement.samples import is_number_of_pairs
from modelrelease_operator.core.observed import Counter, PairCounter
from modelrelease_operator.runtime.metric_sources.pods.addresses import PodAddress
from modelrelease_operator.runtime.metric_sources.pods.page import Series
from modelrelease_operator.runtime.web import Trouble
from modelrelease_operator.serving_runtimes import ServerMetrics
from modelrelease_operator.serving_runtimes.metrics import PROCESS_START

PROBE_BUCKETS = f"{words.PROBE_DURATION_SECONDS}_bucket"
PROBE_NAMES = (words.PROBE_ANSWERS_TOTAL, PROBE_BUCKETS, PROCESS_START)
PAIR_NAMES = (shadow.SHADOW_PAIRS_TOTAL, PROCESS_START)
BIN_NAMES = (
    words.FEATURE_BIN_TOTAL,
    words.PREDICTION_BIN_TOTAL,
    words.FEATURE_BASELINE_ROWS,
    words.PREDICTION_BASELINE_ROWS,
    PROCESS_START,
)
PREDICTION_NAMES = (words.PREDICTION_BIN_TOTAL, words.PREDICTION_BINS_INFO)
STARTS_WITHIN = 60.0
"""Seconds after its container in which the process of a pod has begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What one pod has shown."""

    pod: PodAddress
    at: float
    """When it was asked, in unix seconds of the reader's clock: its counts are not older."""
    series: tuple[Series, ...]
    started: float | None
    """When its process began, in unix seconds of its node."""


def page_of(pod: PodAddress, series: Iterable[Series], at: float) -> Page:
    """Return a page; raises Trouble where it cannot be of this pod."""
    shown = tuple(series)
    starts = [each.value for each in shown if each.name == PROCESS_START]
    started = max(starts, default=None)
    if started is not None and not math.isfinite(started):
        msg = f"shows {PROCESS_START} {started}, which is no time"
        raise Trouble(msg)
    if pod.leaving and started and pod.since and started > pod.since + STARTS_WITHIN:
        msg = "is on its way out, and a younger process answers at its address"
        raise Trouble(msg)
    return Page(pod=pod, at=at, series=shown, started=started)


def names_of(metrics: ServerMetrics, *, predictions: bool) -> tuple[str, ...]:
    """Return the names of the series that a decision reads of a server."""
    own = (*metrics.names, PROCESS_START)
    return (*own, *PREDICTION_NAMES) if predictions and metrics.counts_bins else own


def counters_of(page: Page, release: str, metrics: ServerMetrics) -> tuple[Counter, ...]:
    """Return a server's counters; raises Trouble for a page of ours that has none of this
    revision.
    """
    revision = page.pod.revision
    shown = tuple(_of_this(page, labels_of(metrics, release, revision)))
    if metrics.labelled and not _counts_requests(metrics, shown):
        msg = f"shows no {metrics.names[0]} of revision {revision}"
        raise Trouble(msg)
    counters = [
        _counter(page, revision, reading._asdict(), value)
        for reading, value in metrics.totals(shown).items()
    ]
    if metrics.counts_bins:
        counters += _predictions(page, shown)
    return tuple(counters)


def _counts_requests(metrics: ServerMetrics, shown: Iterable[Series]) -> bool:
    readings = (metrics.reading_of(series.name, series.labels) for series in shown)
    return any(reading is not None and reading.code is not None for reading in readings)


def _predictions(page: Page, shown: Iterable[Series]) -> Iterator[Counter]:
    """Yield the counters of predictions by bin, and where the bins are."""
    fields = {
        words.PREDICTION_BIN_TOTAL: (words.BIN, "bin"),
        words.PREDICTION_BINS_INFO: (words.LAYOUT, "layout"),
    }
    for series in shown:
        if field := fields.get(series.name):
            detail = {field[1]: series.labels[field[0]]}
            yield _counter(page, page.pod.revision, detail, series.value)


def labels_of(metrics: ServerMetrics, release: str, revision: str) -> dict[str, str]:
    """Return the labels by which a server's page says whose it is; none where it does not."""
    return {words.RELEASE: release, words.REVISION: revision} if metrics.labelled else {}


def probes_of(page: Page, release: str, revisions: Iterable[str]) -> tuple[Counter, ...]:
    """Return what a prober counted of these revisions, which its labels tell apart."""
    fields = {words.PROBE_ANSWERS_TOTAL: (words.RESULT, "code"), PROBE_BUCKETS: ("le", "bound")}
    known, counters = frozenset(revisions), []
    for series in _of_this(page, {words.RELEASE: release}):
        field, revision = fields.get(series.name), series.labels.get(words.REVISION, "")
        if field and revision in known:
            detail = {field[1]: series.labels[field[0]]}
            counters.append(_counter(page, revision, detail, series.value, probe=True))
    return tuple(counters)


def _counter(
    page: Page,
    revision: str,
    detail: Mapping[str, Any],
    value: float,
    *,
    probe: bool = False,
) -> Counter:
    return Counter(
        revision=revision,
        pod=page.pod.name,
        probe=probe,
        at=page.at,
        started=page.started,
        value=value,
        **detail,
    )


def pairs_of(page: Page, release: str, *, canary: str, stable: str) -> tuple[PairCounter, ...]:
    """Return what one of stable's pods, or a prober, counted of the answers that it compared."""
    whose = {words.RELEASE: release, words.REVISION: stable, shadow.CANARY: canary}
    shown = [each for each in _of_this(page, whose) if each.name == shadow.SHADOW_PAIRS_TOTAL]
    for series in shown:
        if not is_number_of_pairs(series.value):
            msg = f"shows {series.value} for {series.name}, which is no number of pairs"
            raise Trouble(msg)
    return tuple(
        PairCounter(
            process=series.labels[shadow.PROCESS],
            result=series.labels[words.RESULT],
            value=round(series.value),
        )
        for series in shown
    )


def bins_of(page: Page, release: str) -> tuple[BinSample, ...]:
    """Return a pod's counts by bin, the rows of its baseline, and when its process began."""
    return tuple(_bins_of(page, release))


def _bins_of(page: Page, release: str) -> Iterator[BinSample]:
    pod, revision = page.pod.name, page.pod.revision
    of_features = (words.FEATURE_BIN_TOTAL, words.FEATURE_BASELINE_ROWS)
    counted = (words.FEATURE_BIN_TOTAL, words.PREDICTION_BIN_TOTAL)
    if page.started is not None:
        yield BinSample(revision=revision, pod=pod, feature=STARTED, bin="", value=page.started)
    for series in _of_this(page, {words.RELEASE: release, words.REVISION: revision}):
        if series.name not in BIN_NAMES or series.name == PROCESS_START:
            continue
        yield BinSample(
            revision=revision,
            pod=pod if series.name in counted else None,
            feature=series.labels[words.FEATURE] if series.name in of_features else PREDICTIONS,
            bin=series.labels[words.BIN],
            value=series.value,
        )


def _of_this(page: Page, whose: Mapping[str, str]) -> Iterator[Series]:
    """Yield the series that name nobody else."""
    for series in page.series:
        if all(series.labels.get(label, value) == value for label, value in whose.items()):
            yield series


def check_whose(page: Page, whose: Mapping[str, str]) -> None:
    """Raise Trouble where a page says that it is of another release or revision."""
    if not whose:
        return
    named = [series for series in page.series if whose.keys() <= series.labels.keys()]
    if named and not any(whose.items() <= series.labels.items() for series in named):
        msg = "shows counters of another release or revision: another pod answers at its address"
        raise Trouble(msg)
