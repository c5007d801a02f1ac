"""Queries for servers' counters and bins, and what the series of the answers mean.

Raw series, never rate() or increase(): those extrapolate, and lose the first error of a new pod.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from modelrelease_contract import metrics as words
from modelrelease_contract import shadow
from modelrelease_operator.api import names
from modelrelease_operator.core.drift.windows import PREDICTIONS, STARTED, BinSample
from modelrelease_operator.core.measurement.queries import KIND
from modelrelease_operator.core.measurement.samples import is_number_of_pairs
from modelrelease_operator.core.observed import Counter, PairCounter
from modelrelease_operator.runtime.metric_sources.prometheus import by_pod
from modelrelease_operator.runtime.metric_sources.prometheus.by_pod import PodRows, PodsOfOthers
from modelrelease_operator.runtime.metric_sources.prometheus.samples import (
    SAMPLE_TIME,
    TargetLabels,
    moment_of,
    sampled_at,
    short_name,
)
from modelrelease_operator.runtime.metric_sources.source import Revisions
from modelrelease_operator.runtime.web import Trouble
from modelrelease_operator.serving_runtimes import ServerMetrics
from modelrelease_operator.serving_runtimes.metrics import PROCESS_START

PREDICTION_METRICS = (words.PREDICTION_BIN_TOTAL, words.PREDICTION_BINS_INFO)
PROBE_BUCKETS = f"{words.PROBE_DURATION_SECONDS}_bucket"
PROBE_METRICS = (words.PROBE_ANSWERS_TOTAL, PROBE_BUCKETS)
STARTED_AT = "process_start"
"""Value of the label KIND on the rows that tell when a pod's process began."""
TARGETS = f"{words.NAMESPACE}, {words.POD}, instance, job"
"""Labels by which series of one target are joined."""


OWN_LABELS = (words.RELEASE, words.REVISION, words.MODEL_VERSION, words.CODE, words.RESULT)
"""The labels that a counter of ours brings itself; all others are its target's."""
DURATION_BUCKETS = f"{words.PREDICTION_DURATION_SECONDS}_bucket"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Series of ours that are asked for, of predictors or of probers."""

    names: tuple[str, ...]
    timed: tuple[str, ...]
    """Those that tell when a target was scraped and when its process began: each has one."""
    matchers: str
    by_release: bool = False
    """Whether the times of scrapes tell the release, too: it is one of many that are asked for."""

    def query(self, namespaces: str) -> str:
        """Return the query for counters, when each target was scraped, and when its process began.

        One query, so that one server answers all of it from one state: of two replicas that are
        asked one after the other, each would tell the times of its own scrapes. `timestamp()` gives
        a sample's own time only around a plain selector; around anything else it gives the time of
        the query. `namespaces` is the matcher of where processes are.
        """
        timed = _named(self.timed, self.matchers)
        dropped = OWN_LABELS[1:] if self.by_release else OWN_LABELS
        times = f"max without ({', '.join(dropped)}) (timestamp({timed}))"
        return "\nor\n".join(
            (
                _named(self.names, self.matchers),
                f"({PROCESS_START}{{{namespaces}}} and on ({TARGETS}) {timed})",
                f'label_replace({times}, "{KIND}", "{SAMPLE_TIME}", "", "")',
            )
        )


def counters_query(of: Revisions, *, predictions: bool = False, probes: bool = False) -> str:
    """Return the query for every counter of these revisions that a decision reads."""
    parts = []
    ours = [revision for revision, metrics in of.metrics.items() if metrics.labelled]
    if ours:
        matchers = matchers_of(of.namespace, of.release, ours)
        parts.append(
            selection(matchers, predictions=predictions, probes=probes).query(_in(of.namespace))
        )
    others = [revision for revision in of.metrics if revision not in ours]
    for revision in others:
        pods = names.pods_pattern(of.release, revision)
        parts.append(by_pod.query(of.namespace, pods, of.metrics[revision]))
    if probes and others:
        parts.append(_probes_of(of, others).query(_in(of.namespace)))
    return "\nor\n".join(parts)


def counters_query_of_many(asked: Sequence[Revisions], *, predictions: bool, probes: bool) -> str:
    """Return the one query for the counters of many releases that our own predictor serves.

    It may select a revision of one release that only another was asked for: labels tell them apart.
    """
    chosen = selection(matchers_of_many(asked), predictions=predictions, probes=probes)
    return replace(chosen, by_release=True).query(_in(*(of.namespace for of in asked)))


def _probes_of(of: Revisions, revisions: Sequence[str]) -> Selection:
    """Return the prober's counters of revisions whose server is not ours."""
    matchers = matchers_of(of.namespace, of.release, revisions)
    return Selection(names=PROBE_METRICS, timed=(words.PROBE_ANSWERS_TOTAL,), matchers=matchers)


def history_query(
    namespace: str, release: str, metrics: ServerMetrics, *, predictions: bool
) -> str:
    """Return the query for the counters of every revision that there was."""
    if not metrics.labelled:
        return by_pod.query(namespace, names.pods_pattern(release, by_pod.ANY_REVISION), metrics)
    ours = f'{words.NAMESPACE}="{namespace}",{words.RELEASE}="{release}",{words.REVISION}!=""'
    return selection(ours, predictions=predictions, probes=False).query(_in(namespace))


def selection(matchers: str, *, predictions: bool, probes: bool) -> Selection:
    """Return the counters of our predictor."""
    bins = PREDICTION_METRICS if predictions else ()
    probed = PROBE_METRICS if probes else ()
    timed = (words.PREDICTIONS_TOTAL, *((words.PROBE_ANSWERS_TOTAL,) if probes else ()))
    counted = (words.PREDICTIONS_TOTAL, DURATION_BUCKETS, *bins, *probed)
    return Selection(names=counted, timed=timed, matchers=matchers)


def _named(names: Iterable[str], matchers: str) -> str:
    return f'{{__name__=~"{"|".join(names)}",{matchers}}}'


def pairs_query(of: Revisions, *, canary: str, stable: str) -> str:
    """Return the query for the pairs that stable's pods counted in the shadow, or a prober in
    their name.
    """
    matchers = matchers_of(of.namespace, of.release, [stable])
    return f'{shadow.SHADOW_PAIRS_TOTAL}{{{matchers},{shadow.CANARY}="{canary}"}}'


def pair_counter(row: dict[str, Any]) -> PairCounter:
    """Return one counter of pairs; raises Trouble for what is none.

    Two targets that show one process show one counter.
    """
    labels, value = row["metric"], float(row["value"][1])
    if not is_number_of_pairs(value):
        pod = labels.get(words.POD, "?")
        msg = f"shows {value} for {shadow.SHADOW_PAIRS_TOTAL} of pod {pod}: no number of pairs"
        raise Trouble(msg)
    return PairCounter(
        process=labels[shadow.PROCESS],
        result=labels[words.RESULT],
        value=round(value),
    )


def bins_query(of: Revisions) -> str | None:
    """Return the query for bins, or None where no server counts them.

    Every pod says the same baseline, so one copy of it is enough; the counts are wanted from each.
    """
    counting = [revision for revision, metrics in of.metrics.items() if metrics.counts_bins]
    return _bins_of(of, counting) if counting else None


def bins_query_of_many(asked: Sequence[Revisions]) -> str:
    """Return the one query for the bins of many releases that our own predictor serves."""
    namespaces = _in(*(of.namespace for of in asked))
    return _bins_query(matchers_of_many(asked), namespaces, f"{words.NAMESPACE}, {words.RELEASE}, ")


def _bins_of(of: Revisions, revisions: Sequence[str]) -> str:
    return _bins_query(matchers_of(of.namespace, of.release, revisions), _in(of.namespace), "")


def _bins_query(matchers: str, namespaces: str, by_release: str) -> str:
    counts = f'{{__name__=~"{words.FEATURE_BIN_TOTAL}|{words.PREDICTION_BIN_TOTAL}",{matchers}}}'
    baselines = (
        f'{{__name__=~"{words.FEATURE_BASELINE_ROWS}|{words.PREDICTION_BASELINE_ROWS}",{matchers}}}'
    )
    by = f"{by_release}__name__, {words.REVISION}, {words.FEATURE}, {words.BIN}"
    of_target = f"{words.RELEASE}, {TARGETS}" if by_release else TARGETS
    pods = f"max by ({of_target}, {words.REVISION}) ({_named([words.PREDICTIONS_TOTAL], matchers)})"
    # Of whatever else is in these namespaces too, which may show several of a target: a match of
    # one with many fails then as a whole.
    start = f"max by ({TARGETS}) ({PROCESS_START}{{{namespaces}}})"
    starts = f"{pods} * 0 + on ({TARGETS}) group_left () {start}"
    return " or ".join(
        (
            counts,
            f"max by ({by}) ({baselines})",
            f'label_replace({starts}, "{KIND}", "{STARTED_AT}", "", "")',
        )
    )


def matchers_of(namespace: str, release: str, revisions: Iterable[str]) -> str:
    """Return matchers for a release's revisions, by the labels of our own series."""
    pattern = "|".join(sorted(revisions))
    ours = f'{words.NAMESPACE}="{namespace}",{words.RELEASE}="{release}"'
    return f'{ours},{words.REVISION}=~"{pattern}"'


def matchers_of_many(asked: Iterable[Revisions]) -> str:
    """Return matchers for all revisions of many releases, and perhaps for more."""
    asked = list(asked)
    releases = _any_of(words.RELEASE, (of.release for of in asked))
    revisions = _any_of(words.REVISION, (name for of in asked for name in of.metrics))
    return f"{_in(*(of.namespace for of in asked))},{releases},{revisions}"


def _in(*namespaces: str) -> str:
    return _any_of(words.NAMESPACE, namespaces)


def _any_of(label: str, values: Iterable[str]) -> str:
    """Return the matcher of names of Kubernetes, in which a pattern takes nothing but a dot."""
    first, *others = sorted(set(values))
    pattern = "|".join((first, *others)).replace(".", "[.]")
    return f'{label}=~"{pattern}"' if others else f'{label}="{first}"'


class _Reading(NamedTuple):
    """How series of one metric of ours are read."""

    told_by: str
    """The label that tells the series of one pod apart."""
    field: str
    """What of a Counter that label's value is."""


READINGS: Mapping[str, _Reading] = {
    words.PREDICTIONS_TOTAL: _Reading(words.CODE, "code"),
    DURATION_BUCKETS: _Reading("le", "bound"),
    words.PROBE_ANSWERS_TOTAL: _Reading(words.RESULT, "code"),
    PROBE_BUCKETS: _Reading("le", "bound"),
    words.PREDICTION_BIN_TOTAL: _Reading(words.BIN, "bin"),
    words.PREDICTION_BINS_INFO: _Reading(words.LAYOUT, "layout"),
}
NOT_OF_TARGET = frozenset((*OWN_LABELS, words.BIN, words.LAYOUT, "le", "__name__", KIND))


class _Counted(NamedTuple):
    """A counter before the times of its target are known."""

    target: TargetLabels
    name: str
    revision: str
    pod: str
    detail: str
    """What tells it from the others of its pod and metric."""
    value: float


class CounterRows:
    """Takes an answer's series one by one, in any order, and keeps what is needed of each."""

    def __init__(
        self,
        pods: PodsOfOthers | None = None,
        *,
        starts: dict[TargetLabels, float] | None = None,
        same: dict[Any, Any] | None = None,
    ) -> None:
        """`starts` and `same` are given where several share an answer."""
        self._others = PodRows(pods) if pods else None
        """Those of servers that are not ours."""
        self._counted: list[_Counted] = []
        self._times: dict[TargetLabels, float] = {}
        self._starts = starts if starts is not None else {}
        self._same = same if same is not None else {}
        """One copy of each text and each target: a thousand series of a pod have the same."""

    def __len__(self) -> int:
        return len(self._counted) + len(self._others or ())

    def take(self, row: Any) -> None:
        """Take one; raises LookupError, ValueError or TypeError for what is none of a server's."""
        if self._others is not None and self._others.take(row):
            return
        labels = row["metric"]
        others = (item for item in labels.items() if item[0] not in NOT_OF_TARGET)
        target = self._once(frozenset(others))
        if labels.get(KIND) == SAMPLE_TIME:
            self._times[target] = sampled_at(row)
        elif labels["__name__"] == PROCESS_START:
            self._starts[target] = moment_of(row)
        else:
            self._counted.append(self._of(row, labels, target))

    def counters(self) -> tuple[Counter, ...]:
        """Return the counters, each with the times that the answer tells of its target."""
        targets = {counted.target for counted in self._counted}
        sources = {target: short_name(target) for target in targets}
        ours = (self._counter(counted, sources[counted.target]) for counted in self._counted)
        return (*ours, *(self._others.counters() if self._others is not None else ()))

    def _once(self, value: Any) -> Any:
        return self._same.setdefault(value, value)

    def _of(self, row: Any, labels: dict[str, str], target: TargetLabels) -> _Counted:
        name = labels["__name__"]
        reading = READINGS[name]
        return _Counted(
            target=target,
            name=self._once(name),
            revision=self._once(labels[words.REVISION]),
            pod=self._once(labels.get(words.POD) or labels["instance"]),
            detail=self._once(labels[reading.told_by]),
            value=float(row["value"][1]),
        )

    def _counter(self, counted: _Counted, source: str) -> Counter:
        field = READINGS[counted.name].field
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


def counters_of(
    rows: Iterable[dict[str, Any]], pods: PodsOfOthers | None = None
) -> tuple[Counter, ...]:
    """Return the counters of a whole answer."""
    counters = CounterRows(pods)
    for row in rows:
        counters.take(row)
    return counters.counters()


def bin_sample(row: dict[str, Any]) -> BinSample:
    """Return the count of a bin, of its baseline, or when a pod's process began."""
    labels = row["metric"]
    if labels.get(KIND) == STARTED_AT:
        return BinSample(
            revision=labels[words.REVISION], pod=labels.get(words.POD) or labels["instance"],
            feature=STARTED, bin="", value=moment_of(row),
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
