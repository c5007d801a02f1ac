"""From raw counters of bins to windows, and what each window says about every feature.

A window starts where the last one ended. Its counts and the raw counters that they come from live in
the operator's memory only (docs/decisions/0007): a restart loses the window that is open, and nothing
else, because what the closed ones said is in status.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from modelrelease_contract.drift import Calibration, DriftVerdict, FeatureDrift, assess
from modelrelease_contract.metrics import BIN_MISSING
from modelrelease_operator.api.drift import Drift
from modelrelease_operator.core.counters import Sample, advance, forget

PREDICTIONS = "(predictions)"
"""Name of the model's own answers among the features: no feature is spelled like this."""

KEPT_WINDOWS = 20
"""Closed windows that are remembered: as many as `sustained.windows` may ask for."""

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BinSample:
    """One series of the predictor's bins: a count of a pod, or (without a pod) the baseline's."""

    revision: str
    pod: str | None
    feature: str
    bin: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One closed window of one revision."""

    ended: datetime
    features: tuple[FeatureDrift, ...]
    """Every feature with a baseline, the worst first; empty where there is no baseline."""

    @property
    def verdict(self) -> DriftVerdict:
        """Drifted if any feature has, Insufficient if none could be judged."""
        verdicts = {feature.verdict for feature in self.features}
        for verdict in (DriftVerdict.DRIFTED, DriftVerdict.STABLE):
            if verdict in verdicts:
                return verdict
        return DriftVerdict.INSUFFICIENT

    @property
    def drifted(self) -> tuple[FeatureDrift, ...]:
        """The features that drifted, the worst first."""
        return tuple(each for each in self.features if each.verdict is DriftVerdict.DRIFTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is remembered of one revision between two looks."""

    opened: datetime
    """When the open window began."""
    counters: Mapping[str, int] = field(default_factory=dict)
    started: bool = False
    """Whether a look has set the start of the counters: the first one only records."""
    pods: frozenset[str] = frozenset()
    """Pods seen in the open window."""
    sums: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Counts of the open window by feature and bin."""
    baselines: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Rows of the baseline by feature and bin: constant for a revision, so kept when Prometheus is away."""
    windows: tuple[Window, ...] = ()
    """Closed ones, the newest last."""


def look(memory: Memory, samples: Iterable[BinSample], *, asked: Drift, now: datetime) -> Memory:
    """Add what one revision's bins grew by; close the window when its time is over.

    No samples (Prometheus does not answer) add nothing, and the window closes in its time all the same.
    Raises ValueError for a value that is no whole number of rows.
    """
    mine = tuple(samples)
    counts = _newest(sample for sample in mine if sample.pod is not None)
    memory = _added(memory, counts) if counts else memory
    if found := _baselines(sample for sample in mine if sample.pod is None):
        memory = replace(memory, baselines=found)
    if now - memory.opened < asked.span:
        return memory
    window = Window(ended=now, features=_judged(memory.sums, memory.baselines, asked))
    return replace(
        memory,
        opened=now,
        # A pod that was not seen for a whole window is gone, and its name does not come back.
        counters=forget(memory.counters, lambda series: _pod_of(series) in memory.pods),
        pods=frozenset(),
        sums={},
        windows=(*memory.windows, window)[-KEPT_WINDOWS:],
    )


def _added(memory: Memory, counts: Mapping[str, BinSample]) -> Memory:
    samples = [Sample(series=series, value=sample.value) for series, sample in counts.items()]
    state, grown = advance(memory.counters, samples, known_start=memory.started, process_of=_pod_of)
    sums = dict(memory.sums)
    for series, delta in grown.items():
        key = counts[series].feature, counts[series].bin
        sums[key] = sums.get(key, 0) + delta
    pods = memory.pods | {_pod_of(series) for series in counts}
    return replace(memory, counters=state, started=True, pods=pods, sums=sums)


def calibration(asked: Drift) -> Calibration:
    """Return the calibration for one day of windows: the false alarms of a day share the probability.

    Windows share one baseline, so an unlucky baseline makes them fail together: a bound over all of
    them holds whatever their dependence, and the rule of sustained windows comes on top of it.
    """
    return Calibration(
        alpha=asked.false_alarm_probability,
        windows=max(1, math.ceil(_DAY / asked.span)),
        practical=asked.threshold,
        minimum_sample=asked.min_samples,
        repeats=asked.repeats,
    )


def _judged(
    sums: Mapping[tuple[str, str], int], baselines: Mapping[str, Mapping[str, int]], asked: Drift
) -> tuple[FeatureDrift, ...]:
    bins = {feature: sorted(known, key=_place) for feature, known in baselines.items()}
    found = assess(
        {feature: [sums.get((feature, each), 0) for each in order] for feature, order in bins.items()},
        {feature: [baselines[feature][each] for each in order] for feature, order in bins.items()},
        calibration(asked),
    )
    return tuple(sorted(found, key=lambda each: (-_excess(each), each.name)))


def _excess(feature: FeatureDrift) -> float:
    """How far a feature is on the way to its limit: what is comparable between features."""
    return feature.psi / feature.threshold if math.isfinite(feature.threshold) else 0.0


def _baselines(samples: Iterable[BinSample]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for sample in samples:
        found.setdefault(sample.feature, {})[sample.bin] = int(sample.value)
    return found


def _newest(samples: Iterable[BinSample]) -> dict[str, BinSample]:
    """Return one sample for each series: of two jobs that scrape the same pod, the one that saw more."""
    found: dict[str, BinSample] = {}
    for sample in samples:
        series = f"{sample.pod}|{sample.feature}|{sample.bin}"
        known = found.setdefault(series, sample)
        if sample.value > known.value:
            found[series] = sample
    return found


def _pod_of(series: str) -> str:
    return series.partition("|")[0]


def _place(label: str) -> tuple[bool, int, str]:
    """Put bins in order of value, with the missing values last."""
    return label == BIN_MISSING, int(label) if label.isdigit() else 0, label
