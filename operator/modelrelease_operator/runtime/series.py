"""Questions for the predictor's counters and bins, and what the series of the answers mean.

Raw series, never rate() or increase(): those extrapolate, and lose the first error of a new pod.
"""

import math
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from modelrelease_contract import metrics as words
from modelrelease_operator.core.drift_windows import PREDICTIONS, STARTED, BinSample
from modelrelease_operator.core.observed import Counter
from modelrelease_operator.core.queries import KIND

PREDICTION_METRICS = (words.PREDICTION_BIN_TOTAL, words.PREDICTION_BINS_INFO)
PROBE_BUCKETS = f"{words.PROBE_DURATION_SECONDS}_bucket"
PROBE_METRICS = (words.PROBE_ANSWERS_TOTAL, PROBE_BUCKETS)
TOLD_BY = {
    words.PREDICTIONS_TOTAL: words.CODE,
    words.PROBE_ANSWERS_TOTAL: words.RESULT,
    words.PREDICTION_BIN_TOTAL: words.BIN,
    words.PREDICTION_BINS_INFO: words.LAYOUT,
}
"""The label that tells a metric's series of one pod apart; of histograms it is `le`."""
TIMED_METRICS = (words.PREDICTIONS_TOTAL, words.PROBE_ANSWERS_TOTAL)
"""Series by which it is told when a target was scraped and when its process began: each has one of them."""
PROCESS_START = "process_start_time_seconds"
STARTED_AT = "process_start"
"""Value of the label KIND on the rows that tell when a pod's process began."""
SAMPLE_TIME = "sample_time"
"""Value of the label KIND on the rows that tell when a target was scraped."""
OWN_LABELS = (words.RELEASE, words.REVISION, words.MODEL_VERSION, words.CODE, words.RESULT)
"""Labels that a counter brings by itself; the others are its target's, the same on all of its series."""
NOT_OF_TARGET = frozenset((*OWN_LABELS, words.BIN, words.LAYOUT, "le", "__name__", KIND))
_Target = frozenset[tuple[str, str]]
"""The labels that a target has given to all of its series."""


def counter_names(*, predictions: bool, probes: bool = False) -> tuple[str, ...]:
    """Return the metrics that a decision reads."""
    more = (*(PREDICTION_METRICS if predictions else ()), *(PROBE_METRICS if probes else ()))
    return (words.PREDICTIONS_TOTAL, f"{words.PREDICTION_DURATION_SECONDS}_bucket", *more)


def counters_query(names: Sequence[str], *, namespace: str, labels: str) -> str:
    """Return the question for counters, when each target was scraped, and when its process began.

    One question, so that one server answers all of it from one state: of two replicas that are asked one
    after the other, each would tell the times of its own scrapes. `timestamp()` gives a sample's own time
    only around a plain selector; around anything else it gives the time of the question.
    """
    told = _named([name for name in TIMED_METRICS if name in names], labels)
    targets = f"{words.NAMESPACE}, {words.POD}, instance, job"
    times = f"max without ({', '.join(OWN_LABELS)}) (timestamp({told}))"
    return "\nor\n".join(
        (
            _named(names, labels),
            f'({PROCESS_START}{{{words.NAMESPACE}="{namespace}"}} and on ({targets}) {told})',
            f'label_replace({times}, "{KIND}", "{SAMPLE_TIME}", "", "")',
        )
    )


def _named(names: Iterable[str], labels: str) -> str:
    return f'{{__name__=~"{"|".join(names)}",{labels}}}'


def bins_query(namespace: str, release: str, revisions: Iterable[str]) -> str:
    """Every pod says the same baseline, so one copy of it is enough; the counts are wanted from each."""
    labels = labels_of(namespace, release, revisions)
    counts = f'{{__name__=~"{words.FEATURE_BIN_TOTAL}|{words.PREDICTION_BIN_TOTAL}",{labels}}}'
    baselines = f'{{__name__=~"{words.FEATURE_BASELINE_ROWS}|{words.PREDICTION_BASELINE_ROWS}",{labels}}}'
    by = f"__name__, {words.REVISION}, {words.FEATURE}, {words.BIN}"
    targets = f"{words.NAMESPACE}, {words.POD}, instance, job"
    each = f"max by ({targets}, {words.REVISION}) ({_named([words.PREDICTIONS_TOTAL], labels)})"
    start = f'{PROCESS_START}{{{words.NAMESPACE}="{namespace}"}}'
    starts = f"{each} * 0 + on ({targets}) group_left () {start}"
    return " or ".join(
        (
            counts,
            f"max by ({by}) ({baselines})",
            f'label_replace({starts}, "{KIND}", "{STARTED_AT}", "", "")',
        )
    )


def labels_of(namespace: str, release: str, revisions: Iterable[str]) -> str:
    """Return matchers for a release's revisions."""
    which = "|".join(sorted(revisions))
    return f'{words.NAMESPACE}="{namespace}",{words.RELEASE}="{release}",{words.REVISION}=~"{which}"'


class _Counted(NamedTuple):
    """A counter before the times of its target are known."""

    target: _Target
    name: str
    revision: str
    pod: str
    told: str | None
    """What tells it from the others of its pod and metric."""
    value: float


class CounterRows:
    """Takes the series of an answer one by one, in any order, and keeps only what is needed of each."""

    def __init__(self) -> None:
        self._counted: list[_Counted] = []
        self._times: dict[_Target, float] = {}
        self._starts: dict[_Target, float] = {}
        self._same: dict[Any, Any] = {}
        """One copy of each text and each target: a thousand series of a pod have the same."""

    def __len__(self) -> int:
        return len(self._counted)

    def take(self, row: Any) -> None:
        """Take one; raises LookupError, ValueError or TypeError for what is none of the predictor's."""
        labels = row["metric"]
        target = self._once(frozenset(item for item in labels.items() if item[0] not in NOT_OF_TARGET))
        if labels.get(KIND) == SAMPLE_TIME:
            self._times[target] = _moment(row)
        elif labels["__name__"] == PROCESS_START:
            self._starts[target] = _moment(row)
        else:
            self._counted.append(self._of(row, labels, target))

    def counters(self) -> tuple[Counter, ...]:
        """Return the counters, each with the times that the answer tells of its target."""
        sources = {target: _short_name(target) for target in {one.target for one in self._counted}}
        return tuple(self._counter(one, sources[one.target]) for one in self._counted)

    def _once(self, value: Any) -> Any:
        return self._same.setdefault(value, value)

    def _of(self, row: Any, labels: dict[str, str], target: _Target) -> _Counted:
        name = labels["__name__"]
        which = _which(name)
        return _Counted(
            target=target,
            name=self._once(name),
            revision=self._once(labels[words.REVISION]),
            pod=self._once(labels.get(words.POD) or labels["instance"]),
            told=self._once(labels[which]) if which else None,
            value=float(row["value"][1]),
        )

    def _counter(self, one: _Counted, source: str) -> Counter:
        which = _which(one.name)
        return Counter(
            revision=one.revision,
            pod=one.pod,
            code=one.told if which in (words.CODE, words.RESULT) else None,
            bound=one.told if which == "le" else None,
            bin=one.told if which == words.BIN else None,
            layout=one.told if which == words.LAYOUT else None,
            probe=one.name in PROBE_METRICS,
            source=source,
            at=self._times.get(one.target),
            started=self._starts.get(one.target),
            value=one.value,
        )


def _which(name: str) -> str | None:
    """Return the label that tells a metric's series of one pod apart."""
    return "le" if name.endswith("_bucket") else TOLD_BY.get(name)


def counters_of(rows: Iterable[dict[str, Any]]) -> tuple[Counter, ...]:
    """Return the counters of a whole answer."""
    found = CounterRows()
    for row in rows:
        found.take(row)
    return found.counters()


def _moment(row: dict[str, Any]) -> float:
    moment = float(row["value"][1])
    if not math.isfinite(moment):
        msg = f"{moment} is no time"
        raise ValueError(msg)
    return moment


def _short_name(target: _Target) -> str:
    """Return what tells a target from others of its pod, in eight characters; nothing where nothing does."""
    told = sorted(item for item in target if item[0] not in (words.NAMESPACE, words.POD))
    return f"{zlib.crc32(repr(told).encode()):08x}" if told else ""


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
