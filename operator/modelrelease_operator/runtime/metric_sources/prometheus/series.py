"""Queries for servers' counters and bins, and what the series of the answers mean.

Raw series, never rate() or increase(): those extrapolate, and lose the first error of a new pod.
"""

import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from modelrelease_contract import metrics as words
from modelrelease_contract import shadow
from modelrelease_operator.core.drift.windows import PREDICTIONS, STARTED, BinSample
from modelrelease_operator.core.measurement.queries import KIND
from modelrelease_operator.core.observed import Counter, PairCounter
from modelrelease_operator.runtime.metric_sources.source import Revisions
from modelrelease_operator.serving_runtimes import ServerMetrics
from modelrelease_operator.serving_runtimes.predictor import PREDICTOR

PREDICTION_METRICS = (words.PREDICTION_BIN_TOTAL, words.PREDICTION_BINS_INFO)
PROBE_BUCKETS = f"{words.PROBE_DURATION_SECONDS}_bucket"
PROBE_METRICS = (words.PROBE_ANSWERS_TOTAL, PROBE_BUCKETS)
PROCESS_START = "process_start_time_seconds"
STARTED_AT = "process_start"
"""Value of the label KIND on the rows that tell when a pod's process began."""
SAMPLE_TIME = "sample_time"
"""Value of the label KIND on the rows that tell when a target was scraped."""
TARGETS = f"{words.NAMESPACE}, {words.POD}, instance, job"
"""Labels by which series of one target are joined."""
_Target = frozenset[tuple[str, str]]
"""The labels that a target has given to all of its series."""


def own_labels(metrics: ServerMetrics) -> tuple[str, ...]:
    """Return the labels that a counter brings itself; all others are its target's."""
    return (metrics.release, metrics.revision, metrics.model_version, metrics.code, words.RESULT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Series that are asked for under one set of names."""

    metrics: ServerMetrics
    names: tuple[str, ...]
    timed: tuple[str, ...]
    """Those that tell when a target was scraped and when its process began: each has one."""
    matchers: str

    def query(self, namespace: str) -> str:
        """Return the query for counters, when each target was scraped, and when its process began.

        One query, so that one server answers all of it from one state: of two replicas that are
        asked one after the other, each would tell the times of its own scrapes. `timestamp()` gives
        a sample's own time only around a plain selector; around anything else it gives the time of
        the query.
        """
        timed = _named(self.timed, self.matchers)
        times = f"max without ({', '.join(own_labels(self.metrics))}) (timestamp({timed}))"
        return "\nor\n".join(
            (
                _named(self.names, self.matchers),
                f'({PROCESS_START}{{{words.NAMESPACE}="{namespace}"}} and on ({TARGETS}) {timed})',
                f'label_replace({times}, "{KIND}", "{SAMPLE_TIME}", "", "")',
            )
        )


def counters_query(of: Revisions, *, predictions: bool = False, probes: bool = False) -> str:
    """Return the query for every counter of these revisions that a decision reads."""
    parts = []
    for metrics, revisions in _by_metrics(of):
        matchers = matchers_of(of.namespace, of.release, revisions, metrics)
        alike = metrics == PREDICTOR.metrics
        parts.append(selection(metrics, matchers, predictions=predictions, probes=probes and alike))
        if probes and not alike:
            parts.append(_probes_of(of, revisions))
    return "\nor\n".join(part.query(of.namespace) for part in parts)


def _probes_of(of: Revisions, revisions: Sequence[str]) -> Selection:
    """Return the prober's counters of revisions whose server counts under other names than ours."""
    ours = PREDICTOR.metrics
    matchers = matchers_of(of.namespace, of.release, revisions, ours)
    return Selection(
        metrics=ours, names=PROBE_METRICS, timed=(words.PROBE_ANSWERS_TOTAL,), matchers=matchers
    )


def history_query(
    namespace: str, release: str, metrics: ServerMetrics, *, predictions: bool
) -> str:
    """Return the query for the counters of every revision that there was."""
    matchers = (
        f'{words.NAMESPACE}="{namespace}",{metrics.release}="{release}",{metrics.revision}!=""'
    )
    return selection(metrics, matchers, predictions=predictions, probes=False).query(namespace)


def selection(
    metrics: ServerMetrics, matchers: str, *, predictions: bool, probes: bool
) -> Selection:
    """Return the counters of one kind of server; bins of predictions only where it counts them."""
    bins = PREDICTION_METRICS if predictions and metrics.counts_bins else ()
    probed = PROBE_METRICS if probes else ()
    timed = (metrics.requests_total, *((words.PROBE_ANSWERS_TOTAL,) if probes else ()))
    names = (metrics.requests_total, f"{metrics.duration_seconds}_bucket", *bins, *probed)
    return Selection(metrics=metrics, names=names, timed=timed, matchers=matchers)


def _by_metrics(of: Revisions) -> Iterator[tuple[ServerMetrics, list[str]]]:
    """Yield each set of names with the revisions that count under it."""
    for metrics in dict.fromkeys(of.metrics.values()):
        yield metrics, [revision for revision, names in of.metrics.items() if names == metrics]


def _named(names: Iterable[str], matchers: str) -> str:
    return f'{{__name__=~"{"|".join(names)}",{matchers}}}'


def pairs_query(of: Revisions, *, canary: str, stable: str) -> str:
    """Return the query for the pairs that stable's pods counted in the shadow."""
    matchers = matchers_of(of.namespace, of.release, [stable], PREDICTOR.metrics)
    return f'{shadow.SHADOW_PAIRS_TOTAL}{{{matchers},{shadow.CANARY}="{canary}"}}'


def pair_counter(row: dict[str, Any]) -> PairCounter:
    """Return one counter of pairs. Two targets that show one process show one counter."""
    labels = row["metric"]
    return PairCounter(
        process=labels[shadow.PROCESS],
        result=labels[words.RESULT],
        value=round(_moment(row)),
    )


def bins_query(of: Revisions) -> str | None:
    """Return the query for bins, or None where no server counts them.

    Every pod says the same baseline, so one copy of it is enough; the counts are wanted from each.
    """
    counting = (
        (metrics, revisions) for metrics, revisions in _by_metrics(of) if metrics.counts_bins
    )
    return " or ".join(_bins_of(of, metrics, revisions) for metrics, revisions in counting) or None


def _bins_of(of: Revisions, metrics: ServerMetrics, revisions: Sequence[str]) -> str:
    matchers = matchers_of(of.namespace, of.release, revisions, metrics)
    counts = f'{{__name__=~"{words.FEATURE_BIN_TOTAL}|{words.PREDICTION_BIN_TOTAL}",{matchers}}}'
    baselines = (
        f'{{__name__=~"{words.FEATURE_BASELINE_ROWS}|{words.PREDICTION_BASELINE_ROWS}",{matchers}}}'
    )
    by = f"__name__, {words.REVISION}, {words.FEATURE}, {words.BIN}"
    pods = f"max by ({TARGETS}, {words.REVISION}) ({_named([metrics.requests_total], matchers)})"
    start = f'{PROCESS_START}{{{words.NAMESPACE}="{of.namespace}"}}'
    starts = f"{pods} * 0 + on ({TARGETS}) group_left () {start}"
    return " or ".join(
        (
            counts,
            f"max by ({by}) ({baselines})",
            f'label_replace({starts}, "{KIND}", "{STARTED_AT}", "", "")',
        )
    )


def matchers_of(
    namespace: str, release: str, revisions: Iterable[str], metrics: ServerMetrics
) -> str:
    """Return matchers for a release's revisions."""
    pattern = "|".join(sorted(revisions))
    ours = f'{words.NAMESPACE}="{namespace}",{metrics.release}="{release}"'
    return f'{ours},{metrics.revision}=~"{pattern}"'


class _Reading(NamedTuple):
    """How series of one metric are read."""

    revision: str
    """The label that names the revision."""
    told_by: str
    """The label that tells the series of one pod apart."""
    field: str
    """What of a Counter that label's value is."""


def _readings(metrics: Iterable[ServerMetrics]) -> dict[str, _Reading]:
    """Return by metric how its series are read."""
    contract = words.REVISION
    readings = {
        words.PROBE_ANSWERS_TOTAL: _Reading(contract, words.RESULT, "code"),
        PROBE_BUCKETS: _Reading(contract, "le", "bound"),
        words.PREDICTION_BIN_TOTAL: _Reading(contract, words.BIN, "bin"),
        words.PREDICTION_BINS_INFO: _Reading(contract, words.LAYOUT, "layout"),
    }
    for names in metrics:
        readings[names.requests_total] = _Reading(names.revision, names.code, "code")
        readings[f"{names.duration_seconds}_bucket"] = _Reading(names.revision, "le", "bound")
    return readings


class _Counted(NamedTuple):
    """A counter before the times of its target are known."""

    target: _Target
    name: str
    revision: str
    pod: str
    detail: str
    """What tells it from the others of its pod and metric."""
    value: float


class CounterRows:
    """Takes an answer's series one by one, in any order, and keeps what is needed of each."""

    def __init__(self, metrics: Iterable[ServerMetrics]) -> None:
        servers = tuple(dict.fromkeys(metrics))
        self._readings = _readings(servers)
        own = set(chain.from_iterable(map(own_labels, servers)))
        self._not_of_target = own | {
            words.RELEASE,
            words.REVISION,
            words.BIN,
            words.LAYOUT,
            "le",
            "__name__",
            KIND,
        }
        self._counted: list[_Counted] = []
        self._times: dict[_Target, float] = {}
        self._starts: dict[_Target, float] = {}
        self._same: dict[Any, Any] = {}
        """One copy of each text and each target: a thousand series of a pod have the same."""

    def __len__(self) -> int:
        return len(self._counted)

    def take(self, row: Any) -> None:
        """Take one; raises LookupError, ValueError or TypeError for what is none of a server's."""
        labels = row["metric"]
        others = (item for item in labels.items() if item[0] not in self._not_of_target)
        target = self._once(frozenset(others))
        if labels.get(KIND) == SAMPLE_TIME:
            self._times[target] = _moment(row)
        elif labels["__name__"] == PROCESS_START:
            self._starts[target] = _moment(row)
        else:
            self._counted.append(self._of(row, labels, target))

    def counters(self) -> tuple[Counter, ...]:
        """Return the counters, each with the times that the answer tells of its target."""
        targets = {counted.target for counted in self._counted}
        sources = {target: _short_name(target) for target in targets}
        return tuple(self._counter(counted, sources[counted.target]) for counted in self._counted)

    def _once(self, value: Any) -> Any:
        return self._same.setdefault(value, value)

    def _of(self, row: Any, labels: dict[str, str], target: _Target) -> _Counted:
        name = labels["__name__"]
        reading = self._readings[name]
        return _Counted(
            target=target,
            name=self._once(name),
            revision=self._once(labels[reading.revision]),
            pod=self._once(labels.get(words.POD) or labels["instance"]),
            detail=self._once(labels[reading.told_by]),
            value=float(row["value"][1]),
        )

    def _counter(self, counted: _Counted, source: str) -> Counter:
        field = self._readings[counted.name].field
        return Counter(
            revision=counted.revision,
            pod=counted.pod,
            code=counted.detail if field == "code" else None,
            bound=counted.detail if field == "bound" else None,
            bin=counted.detail if field == "bin" else None,
            layout=counted.detail if field == "layout" else None,
            probe=counted.name in PROBE_METRICS,
            source=source,
            at=self._times.get(counted.target),
            started=self._starts.get(counted.target),
            value=counted.value,
        )


def counters_of(rows: Iterable[dict[str, Any]], metrics: ServerMetrics) -> tuple[Counter, ...]:
    """Return the counters of a whole answer."""
    counters = CounterRows([metrics])
    for row in rows:
        counters.take(row)
    return counters.counters()


def _moment(row: dict[str, Any]) -> float:
    moment = float(row["value"][1])
    if not math.isfinite(moment):
        msg = f"{moment} is no time"
        raise ValueError(msg)
    return moment


def _short_name(target: _Target) -> str:
    """Return what tells a target from others of its pod, in eight characters, if anything does."""
    labels = sorted(item for item in target if item[0] not in (words.NAMESPACE, words.POD))
    return f"{zlib.crc32(repr(labels).encode()):08x}" if labels else ""


def bin_sample(row: dict[str, Any]) -> BinSample:
    """Return the count of a bin, of its baseline, or when a pod's process began."""
    labels = row["metric"]
    if labels.get(KIND) == STARTED_AT:
        return BinSample(
            revision=labels[words.REVISION], pod=labels.get(words.POD) or labels["instance"],
            feature=STARTED, bin="", value=_moment(row),
        )  # fmt: skip
    counted = labels["__name__"] in (words.FEATURE_BIN_TOTAL, words.PREDICTION_BIN_TOTAL)
    of_feature = labels["__name__"] in (words.FEATURE_BIN_TOTAL, words.FEATURE_BASELINE_ROWS)
    return BinSample(
        revision=labels[words.REVISION],
        pod=(labels.get(words.POD) or labels["instance"]) if counted else None,
        feature=labels[words.FEATURE] if of_feature else PREDICTIONS,
        bin=labels[words.BIN],
        value=float(row["value"][1]),
    )
