"""What a server counts, and how one sample of its metrics page is read.

Pure: every source of metrics reads a server's samples here, wherever it has them from.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final, NamedTuple

Labels = Mapping[str, str]
Sample = tuple[str, Labels, float]
"""Name, labels and value of one line of a metrics page."""

NOTHING_YET: Final = "none"
"""Code of the counter, always 0, of a server that has not answered a request yet: most servers show
no series before the first, and a pod that shows nothing is taken not to be seen."""
FINISH_REASONS: Final = "finishReasons"
"""What a gate asks of a server that counts why answers end."""
PROCESS_START: Final = "process_start_time_seconds"
"""When its process began, as client libraries count it."""
INFINITY: Final = "+Inf"


class Reading(NamedTuple):
    """What one sample tells: `code`, `bound` or `reason` is set."""

    code: str | None = None
    """HTTP status code of the answers that it counts."""
    bound: str | None = None
    """Upper bound `le` of the bucket that it counts: in seconds, or in tokens."""
    metric: str = ""
    """What that histogram measures, where it is not the time to answer."""
    reason: str | None = None
    """Why the answers ended that it counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSeries:
    """A counter of answered requests, by a label with the outcome or of one outcome."""

    name: str
    """As it is exposed, `_total` included where the server writes it."""
    code: str | None = None
    """The HTTP status code of all that it counts, where no label tells."""
    code_label: str | None = None
    """Its label with the outcome."""
    codes: tuple[tuple[str, str], ...] = ()
    """The status code that each of the label's values means, where they are words."""
    other_code: str | None = None
    """What a value means that `codes` does not name; None: the value is the code."""
    where: tuple[tuple[str, str], ...] = ()
    """Labels, each with what its value must be: `*` stands for anything, `|` separates several, and
    `!` before them means none of them. What differs is no prediction, such as a health check. No
    regular expressions: one that takes for ever would stop us all."""

    def code_of(self, labels: Labels) -> str | None:
        """Return the status code that a series counts, or None where it is no prediction's."""
        if not _matches(self.where, labels):
            return None
        if self.code_label is None:
            return self.code
        value = labels.get(self.code_label)
        if value is None:
            return None
        return dict(self.codes).get(value, self.other_code or value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonSeries:
    """A counter of answers by a label with why they ended."""

    name: str
    label: str
    where: tuple[tuple[str, str], ...] = ()
    """As of `RequestSeries`."""

    def reason_of(self, labels: Labels) -> str | None:
        """Return the reason of the answers that a series counts, or None where it tells none."""
        return labels.get(self.label) if _matches(self.where, labels) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class DurationHistogram:
    """A histogram of durations, by default of the time to answer; or of tokens."""

    name: str
    """Without the `_bucket` that its series end in."""
    per_second: int = 1
    """How many of the server's units make a second: 1, 1000 or 1000000. Of tokens 1."""
    where: tuple[tuple[str, str], ...] = ()
    """As of `RequestSeries`."""

    def bound_of(self, labels: Labels) -> str | None:
        """Return a bucket's upper bound in seconds, or None where it is no prediction's."""
        bound = labels.get("le")
        if bound is None or not _matches(self.where, labels):
            return None
        return bound if self.per_second == 1 else _in_seconds(bound, self.per_second)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerMetrics:
    """Under which names a server counts. All of its counters must be raw: they only grow."""

    path: str
    port: int
    """Where they are shown, over HTTP: most servers have one port for everything."""
    requests: tuple[RequestSeries, ...]
    """Each prediction request is counted by one of them, once."""
    duration: DurationHistogram | None = None
    """None where the server has none: then there is no latency to compare."""
    histograms: tuple[tuple[str, DurationHistogram], ...] = ()
    """By what else it measures, under the words of the gates: `timeToFirstToken` and its like."""
    finish_reasons: ReasonSeries | None = None
    """Of servers that count why answers end."""
    labelled: bool = False
    """Whether every series names release, revision and version itself, under the contract's labels.
    Other servers' series are a revision's because a pod of it shows them."""
    counts_bins: bool = False
    """Whether features and predictions are counted in the bins of the artifact's baseline, under
    the names of the contract. Without them there is no drift and no gate on predictions."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all series that are read."""
        counters = [series.name for series in self.requests]
        if self.finish_reasons:
            counters.append(self.finish_reasons.name)
        buckets = (f"{histogram.name}_bucket" for _, histogram in self._histograms)
        return tuple(dict.fromkeys((*counters, *buckets)))

    @property
    def _histograms(self) -> tuple[tuple[str, DurationHistogram], ...]:
        answer = (("", self.duration),) if self.duration else ()
        return (*answer, *self.histograms)

    def asked_by(self, asks: Collection[str]) -> "ServerMetrics":
        """Return these without what no gate asks for (`GateSettings.asks`): a histogram has fifty
        series of a pod.
        """
        kept = tuple(each for each in self.histograms if each[0] in asks)
        reasons = self.finish_reasons if FINISH_REASONS in asks else None
        return replace(self, histograms=kept, finish_reasons=reasons)

    def reading_of(self, name: str, labels: Labels) -> Reading | None:
        """Return what a sample tells, or None where it tells nothing of predictions.

        The first that a name stands for reads it.
        """
        for metric, histogram in self._histograms:
            if name == f"{histogram.name}_bucket":
                bound = histogram.bound_of(labels)
                return None if bound is None else Reading(bound=bound, metric=metric)
        for series in self.requests:
            if series.name == name and (code := series.code_of(labels)) is not None:
                return Reading(code=code)
        reasons = self.finish_reasons
        if reasons is not None and reasons.name == name:
            reason = reasons.reason_of(labels)
            return None if reason is None else Reading(reason=reason)
        return None

    def totals(self, samples: Iterable[Sample]) -> dict[Reading, float]:
        """Return what one process counted, from its page: series that tell the same are summed.

        Of a page that counts no request yet, a counter of NOTHING_YET.
        """
        totals: dict[Reading, float] = {}
        for name, labels, value in samples:
            reading = self.reading_of(name, labels)
            if reading is not None:
                totals[reading] = totals.get(reading, 0.0) + value
        if not any(reading.code is not None for reading in totals):
            totals[Reading(code=NOTHING_YET)] = 0.0
        return totals


def _matches(where: tuple[tuple[str, str], ...], labels: Labels) -> bool:
    return all(_fits(labels.get(label, ""), pattern) for label, pattern in where)


def _fits(value: str, pattern: str) -> bool:
    if pattern.startswith("!"):
        return not _fits(value, pattern[1:])
    return any(fnmatchcase(value, part) for part in pattern.split("|"))


@lru_cache(maxsize=1024)
def _in_seconds(bound: str, per_second: int) -> str:
    """Return a bound in seconds; what is no number stays as it is, for whoever reads it to refuse.

    Rounded to a part of a microsecond: 0.3 ms is 0.0003 s, whatever its last binary digit is.
    """
    try:
        number = float(bound)
    except ValueError:
        return bound
    if math.isinf(number):
        return INFINITY
    return repr(round(number / per_second, 12))
