"""The names of series and of latency bounds: the only place that writes them as text and reads them
back.

Status keeps texts, such as `rev2|pod-a|probe/code=same`: what an operator stored is read by the
next one, so no text here may change.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from modelrelease_operator.core.immutable import immutable
from modelrelease_operator.core.observed import Counter
from modelrelease_operator.core.query_results import CounterSample
from modelrelease_operator.errors import Invalid

PREDICTOR: Final = ""
"""The source of the predictor's own counters."""
PROBE: Final = "probe/"
"""The source of the prober's. Begins everything that is counted of probes:
indicators, gates, series.
"""
OWN: Final = "counts/"
"""Begins the source of counters that a gate's own queries give: the key of their indicator."""

CODE: Final = "code"
BOUND: Final = "le"
BIN: Final = "bin"
REASON: Final = "reason"
LAYOUT: Final = "layout"
TOTAL: Final = "total"
BAD: Final = "bad"
SERVED: Final = "served"
FAILED: Final = "failed"
LARGEST: Final = "largest"
OWN_KINDS: Final = (TOTAL, BAD, SERVED, FAILED, LARGEST)
"""What the counters of a gate's own queries tell: of all requests and of the bad ones, by whoever
the gate asks, and by the arm's own server beside a gateway; and the largest interval of the latter.
"""

INFINITY: Final = "+Inf"
MOST_BUCKETS: Final = 256
"""Of one process whose names are kept: one that shows other bounds each time fills no memory."""
LIMIT: Final = "limit"
"""Stands for stable's bound in a pair that holds the canary to an absolute limit."""


@immutable
class SeriesKey:
    """Names one counter of one pod."""

    revision: str
    pod: str
    """For a gate's own counters with the mark of their labels, as `pod~labels`."""
    kind: str
    """What its value tells: CODE, BOUND, BIN, REASON, LAYOUT, or of a gate's own queries OWN_KINDS.
    """
    value: str
    """The code, the bound, the bin; for a gate's own queries the key of their indicator."""
    source: str
    """Who counts: PREDICTOR, PROBE, or the key of the indicator of a gate's own queries."""
    name: str
    """What is counted, of whichever pod:
    the key under which the growth of all pods is summed.
    """
    process: str
    """Whose counter it is: all of a process restart together.

    Of one pod there are several: the predictor, and what each gate's own queries count of it.
    """

    @property
    def text(self) -> str:
        """The key as it is stored."""
        return f"{process_name(self.revision, self.pod)}|{self.name}"

    @classmethod
    def of(cls, counter: Counter) -> "SeriesKey":
        """Return the key of a counter of the predictor's or the prober's."""
        return parse(series_of(counter))


def process_name(revision: str, pod: str) -> str:
    """Return a pod's process of the predictor or the prober, as it is stored."""
    return f"{revision}|{pod}"


def series_of(counter: Counter) -> str:
    """Return the text of a counter's key."""
    process = process_name(counter.revision, counter.pod)
    source = PROBE if counter.probe else ""
    if counter.bound is not None:
        return f"{process}|{source}{bucket_name(counter.metric, counter.bound)}"
    if counter.reason is not None:
        return f"{process}|{REASON}={counter.reason}"
    if counter.bin is not None:
        return f"{process}|{BIN}={counter.bin}"
    if counter.layout is not None:
        return f"{process}|{LAYOUT}={counter.layout}"
    return f"{process}|{source}{CODE}={counter.code}"


def bucket_name(metric: str, bound: str) -> str:
    """Return the name of a histogram's bucket; the time to answer has no name of its own."""
    return f"{metric}/{BOUND}={bound}" if metric else f"{BOUND}={bound}"


class _Texts(dict[str, str]):
    """By value of a label: the text of the key of a process' counter that has it."""

    def __init__(self, begin: str) -> None:
        super().__init__()
        self.begin = begin

    def __missing__(self, value: str) -> str:
        if len(self) >= MOST_BUCKETS:
            self.clear()
        self[value] = self.begin + value
        return self[value]


@lru_cache(maxsize=1024)
def texts_of(
    revision: str, pod: str, source: str
) -> tuple[str, Mapping[str, str], Mapping[str, str]]:
    """Return the name of a process, and the texts of the keys of its counters (`series_of`): of
    buckets by bound, of requests by code. Kept, because every look asks for the same: fifty of a
    pod.
    """
    process = process_name(revision, pod)
    begin = f"{process}|{source}"
    return process, _Texts(f"{begin}{BOUND}="), _Texts(f"{begin}{CODE}=")


def own_series_of(sample: CounterSample, indicator: str) -> str:
    """Return the text of the key of a counter of a gate's own queries;
    `indicator` is their indicator's key.
    """
    kinds = (SERVED, FAILED) if sample.by_server else (TOTAL, BAD)
    return f"{sample.revision}|{sample.pod}~{sample.labels}|{kinds[sample.bad]}={indicator}"


@lru_cache(maxsize=32_768)
def parse(series: str) -> SeriesKey:
    """Return the key of a series, of its text.
    Kept, because every look asks it of the same series.
    """
    revision, _, rest = series.partition("|")
    pod, _, name = rest.partition("|")
    source = source_of_name(name)
    kind, _, value = name.removeprefix(PROBE).partition("=")
    kind = kind.rpartition("/")[2]
    process = process_name(revision, pod)
    if source not in (PREDICTOR, PROBE):
        process = f"{process_name(revision, pod.rpartition('~')[0])}|{source}"
    return SeriesKey(
        revision=revision,
        pod=pod,
        kind=kind,
        value=value,
        source=source,
        name=name,
        process=process,
    )


def process_of(series: str) -> str:
    """Return whose counter a series is (`SeriesKey.process`)."""
    return parse(series).process


@lru_cache(maxsize=1024)
def source_of_name(name: str) -> str:
    """Return who counts what has this name (`SeriesKey.name`)."""
    if name.startswith(PROBE):
        return PROBE
    kind, _, value = name.partition("=")
    return value if kind in OWN_KINDS and value.startswith(OWN) else PREDICTOR


def source_of_process(process: str) -> str:
    """Return the indicator whose queries give a process;
    nothing for a predictor's or a prober's.
    """
    _, _, source = process.partition(f"|{OWN}")
    return f"{OWN}{source}" if source else PREDICTOR


@immutable
class BoundPair:
    """Where stable's latency is cut, and the bound that the canary is held to there."""

    stable: str | None
    """None for an absolute limit, to which both arms are held."""
    canary: str

    @property
    def text(self) -> str:
        """The pair as it is stored: `stable>canary`, or `limit>bound`."""
        return f"{LIMIT if self.stable is None else self.stable}>{self.canary}"

    @property
    def bounds(self) -> tuple[str, ...]:
        """The buckets that are read."""
        return (self.canary,) if self.stable is None else (self.stable, self.canary)


@lru_cache(maxsize=1024)
def pair_of(text: str) -> BoundPair:
    """Return a pair as it was stored. Raises Invalid for what is none."""
    stable, sign, canary = text.partition(">")
    if not sign:
        msg = (
            f"status.evidence.bounds has {text[:80]!r}, which is no pair of bounds: remove the "
            "status to start over"
        )
        raise Invalid(msg)
    return BoundPair(stable=None if stable == LIMIT else stable, canary=canary)
