"""From raw counters of bins to windows, and what each window says about every feature.

A window starts where the last one ended. Its counts and the raw counters that they come from live
in the operator's memory only (docs/decisions/0007): a restart loses the window that is open, and
nothing else, because what the closed ones said is in status.
"""

import math
import sys
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain

from modelrelease_contract.drift import Calibration, FeatureDrift, assess
from modelrelease_contract.metrics import BIN_MISSING
from modelrelease_operator.api.drift import Drift
from modelrelease_operator.core.measurement.counters import is_another_process
from modelrelease_operator.core.observed import Window

PREDICTIONS = "(predictions)"
"""Name of the model's own answers among the features: no feature is spelled like this."""

STARTED = "(process)"
"""Stands for a feature where a sample tells when a pod's process began, in unix seconds."""

KEPT_WINDOWS = 20
"""Closed windows that are remembered: as many as `sustained.windows` may ask for."""

_DAY = timedelta(days=1)

_MOST_ROWS = 2**53
"""Beyond it Prometheus, whose values are doubles, cannot count."""
_MOST_GROWN = 2**63 - 1
"""What eight bytes hold."""

Bin = tuple[str, str]
"""Feature and bin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BinSample:
    """One series of the predictor's bins: a count of a pod, or (without a pod) the baseline's."""

    revision: str
    pod: str | None
    feature: str
    bin: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is remembered of one revision between two looks."""

    opened: datetime
    """When the open window began."""
    bins: tuple[Bin, ...] = ()
    """What the counters of each pod are of, in order: it only grows."""
    counters: Mapping[str, "array[int]"] = field(default_factory=dict)
    """Raw counts of each pod, 8 bytes each: an operator remembers a thousand idle releases."""
    started: bool = False
    """Whether a look has set the start of the counters: the first one only records."""
    begun: Mapping[str, float] = field(default_factory=dict)
    """By pod: when the process began whose counts these are, in unix seconds,
    where that is told.
    """
    pods: frozenset[str] = frozenset()
    """Pods seen in the open window."""
    grown: "array[int]" = field(default_factory=lambda: array("q"))
    """What each of the bins grew by in the open window; nothing while nothing was added."""
    baselines: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Rows of the baseline by feature and bin:
    constant for a revision, so kept when Prometheus is away.
    """
    problem: str = ""
    """What could not be read in the open window."""
    windows: tuple[Window, ...] = ()
    """Closed ones, the newest last."""

    @property
    def sums(self) -> dict[Bin, int]:
        """Counts of the open window."""
        return dict(zip(self.bins, self.grown, strict=False))


def look(memory: Memory, samples: Iterable[BinSample], *, settings: Drift, now: datetime) -> Memory:
    """Add what one revision's bins grew by; close the window when its time is over.

    No samples (Prometheus does not answer) add nothing, and the window closes in its time all the
    same. A value that is no number of rows leaves out its pod, or its feature's baseline, and is
    said.
    """
    counted: dict[str, list[BinSample]] = {}
    rows: dict[str, list[BinSample]] = {}
    begun: dict[str, float] = {}
    for sample in samples:
        if sample.feature == STARTED and sample.pod is not None:
            begun[sample.pod] = max(sample.value, begun.get(sample.pod, 0.0))
            continue
        where, name = (rows, sample.feature) if sample.pod is None else (counted, sample.pod)
        where.setdefault(name, []).append(sample)
    readable = {pod: bins for pod, bins in counted.items() if not _nonsense(bins)}
    memory = _added(memory, readable, begun)
    known = {feature: _rows(bins) for feature, bins in rows.items() if not _nonsense(bins)}
    if rows:
        # A baseline that cannot be read is still known from before.
        kept = {feature: known.get(feature) or memory.baselines.get(feature) for feature in rows}
        memory = replace(
            memory, baselines={feature: bins for feature, bins in kept.items() if bins}
        )
    problem = next(
        (fault for bins in (*counted.values(), *rows.values()) if (fault := _nonsense(bins))), ""
    )
    memory = replace(memory, problem=problem or memory.problem)
    return _closed(memory, settings, now) if now - memory.opened >= settings.span else memory


def _closed(memory: Memory, settings: Drift, now: datetime) -> Memory:
    features = _judged(memory.sums, memory.baselines, settings)
    window = Window(ended=now, features=features, problem=memory.problem)
    return replace(
        memory,
        opened=now,
        # A pod that was not seen for a whole window is gone, and its name does not come back.
        counters={pod: counts for pod, counts in memory.counters.items() if pod in memory.pods},
        begun={pod: at for pod, at in memory.begun.items() if pod in memory.pods},
        pods=frozenset(),
        grown=array("q"),
        problem="",
        windows=(*memory.windows, window)[-KEPT_WINDOWS:],
    )


def _added(
    memory: Memory, samples: Mapping[str, list[BinSample]], begun: Mapping[str, float]
) -> Memory:
    """Count what each pod's counters grew by, and remember them.

    As core/measurement/counters.advance_to: a pod that appears counts from 0, except in the first
    look; another start of its process, or a value that fell where none is told, means that all of
    its counters count from 0; one that is missing keeps its value. Values that fell in one and the
    same process are an older view of it, by another server: they tell nothing.
    """
    if not samples:
        return memory
    bins = _known_bins(memory.bins, samples)
    place = {bin_key: at for at, bin_key in enumerate(bins)}
    counters = dict(memory.counters)
    grown = _padded(memory.grown, len(bins)) if memory.started else memory.grown
    for pod, mine in samples.items():
        values = _newest(mine)
        before = _padded(memory.counters.get(pod), len(bins))
        fell = any(value < before[place[key]] for key, value in values.items())
        anew = is_another_process(memory.begun.get(pod), begun.get(pod))
        if fell and anew is False:
            continue
        if anew or fell:
            before = _padded(None, len(bins))
        after = before[:]
        for key, value in values.items():
            at = place[key]
            after[at] = value
            if memory.started:
                grown[at] = min(_MOST_GROWN, grown[at] + value - before[at])
        counters[pod] = after
    pods = memory.pods | samples.keys()
    known = {**memory.begun, **begun}
    return replace(
        memory, bins=bins, counters=counters, started=True, begun=known, pods=pods, grown=grown
    )


def _known_bins(bins: tuple[Bin, ...], samples: Mapping[str, list[BinSample]]) -> tuple[Bin, ...]:
    known = set(bins)
    new = {
        (sys.intern(sample.feature), sys.intern(sample.bin))
        for sample in chain.from_iterable(samples.values())
        if (sample.feature, sample.bin) not in known
    }
    return (*bins, *sorted(new)) if new else bins


def _padded(counts: "array[int] | None", length: int) -> "array[int]":
    known = array("q") if counts is None else counts
    return known + array("q", bytes(8 * (length - len(known))))


def _nonsense(samples: Iterable[BinSample]) -> str:
    """Return a sentence about the first value that is no number of rows, or nothing."""
    for sample in samples:
        value = sample.value
        if not (0 <= value <= _MOST_ROWS and float(value).is_integer()):
            whose = f"pod {sample.pod}" if sample.pod else "the baseline"
            fault = (
                f"feature {sample.feature:.80}, bin {sample.bin:.20} of {whose} has the value "
                f"{value}"
            )
            return f"{fault}, and a whole number of rows from 0 up is needed: it was left out"
    return ""


def calibration(settings: Drift) -> Calibration:
    """Return the calibration for one day of windows: the false alarms of a day share the
    probability.

    Windows share one baseline, so an unlucky baseline makes them fail together: a bound over all of
    them holds whatever their dependence, and the rule of sustained windows comes on top of it.
    """
    return Calibration(
        alpha=settings.false_alarm_probability,
        windows=max(1, math.ceil(_DAY / settings.span)),
        practical=settings.threshold,
        minimum_sample=settings.min_samples,
        repeats=settings.repeats,
    )


def _judged(
    sums: Mapping[tuple[str, str], int], baselines: Mapping[str, Mapping[str, int]], settings: Drift
) -> tuple[FeatureDrift, ...]:
    window_counts: dict[str, list[int]] = {}
    baseline_counts: dict[str, list[int]] = {}
    for feature, baseline in baselines.items():
        labels = sorted(baseline, key=_place)
        window_counts[feature] = [sums.get((feature, label), 0) for label in labels]
        baseline_counts[feature] = [baseline[label] for label in labels]
    features = assess(window_counts, baseline_counts, calibration(settings))
    return tuple(sorted(features, key=lambda feature: (-_excess(feature), feature.name)))


def _excess(feature: FeatureDrift) -> float:
    """How far a feature is on the way to its limit: what is comparable between features."""
    return feature.psi / feature.threshold if math.isfinite(feature.threshold) else 0.0


def _rows(samples: Iterable[BinSample]) -> dict[str, int]:
    """Return the rows of one feature's baseline by bin."""
    return {sys.intern(sample.bin): int(sample.value) for sample in samples}


def _newest(samples: Iterable[BinSample]) -> dict[Bin, int]:
    """Return one pod's counts: of two jobs that scrape it, from the one that saw more."""
    counts: dict[Bin, int] = {}
    for sample in samples:
        key = sample.feature, sample.bin
        counts[key] = max(counts.get(key, 0), int(sample.value))
    return counts


def _place(label: str) -> tuple[bool, int, str]:
    """Put bins in order of value, with the missing values last."""
    return label == BIN_MISSING, int(label) if label.isdecimal() else 0, label
