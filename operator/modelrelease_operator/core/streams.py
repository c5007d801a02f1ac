"""From the predictor's counters to counts of bad requests, by arm and by stream.

A stream is one way for a request to be bad: answered with 5xx, or slower than a bucket's bound.
"""

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from modelrelease_operator.api.spec import Latency
from modelrelease_operator.core.answers import Tallied
from modelrelease_operator.core.counters import Sample, advance
from modelrelease_operator.core.evidence import ArmCounts, Interval
from modelrelease_operator.core.state import Counter

INFINITY = "+Inf"
QUANTILES = (0.5, 0.9, 0.95, 0.99)
"""Of stable's own latency: where the canary's is compared with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """What counts as bad in each arm. Bounds (`le`, as Prometheus spells them) make it a latency stream."""

    key: str
    canary_bound: str | None = None
    stable_bound: str | None = None
    bin: str | None = None
    """Makes it a stream of predictions: those in this bin count as bad."""
    own: bool = False
    """Counted by a gate's own queries, under its key."""

    def interval(self, growth: "Growth", *, canary: str, stable: str) -> Interval:
        """Return both arms' counts of one interval."""
        return Interval(
            canary=self._arm(growth.get(canary, {}), self.canary_bound),
            stable=self._arm(growth.get(stable, {}), self.stable_bound),
        )

    def _arm(self, kinds: Mapping[str, int], bound: str | None) -> ArmCounts:
        if self.own:
            total = kinds.get(f"total={self.key}", 0)
            # Both queries are of one instant, but nothing makes a person's bad ones a part of all.
            return ArmCounts(total=total, bad=min(total, kinds.get(f"bad={self.key}", 0)))
        return _arm(kinds, bound, self.bin)


Growth = Mapping[str, Mapping[str, int]]
"""By revision and kind of series: how much it grew, over all pods."""

ERRORS = Stream(key="errors")


def slow_stream(canary_bound: str, stable_bound: str) -> Stream:
    """Return the stream of canary requests above one bound beside stable requests above another."""
    return Stream(
        key=f"slow/{canary_bound}/{stable_bound}", canary_bound=canary_bound, stable_bound=stable_bound
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundPair:
    """Where stable's latency is cut, and the bound that the canary is held to there."""

    stable: str
    canary: str


def choose_bounds(
    counters: Iterable[Counter], stable: str, *, ratio: float, seconds: float
) -> tuple[BoundPair, ...]:
    """Cut latency at stable's own quantiles, as the histogram's bounds allow; fixed for the whole release.

    The canary is held to the first bound that is at least `ratio` times and `seconds` above stable's:
    "the canary's latency is at most so much larger than stable's" needs no estimate of a quantile
    (reference: statistics, A2 latency). Empty while stable has answered too little to be cut.
    """
    sums: dict[str, float] = {}
    for counter in counters:
        if counter.revision == stable and counter.bound is not None:
            sums[counter.bound] = sums.get(counter.bound, 0.0) + counter.value
    total = sums.pop(INFINITY, 0.0)
    if total < 100 or not sums:
        return ()
    ordered = sorted(sums, key=float)
    pairs = {}
    for quantile in QUANTILES:
        cut = next((bound for bound in ordered if sums[bound] >= quantile * total), None)
        held = cut and next(
            (bound for bound in ordered if float(bound) >= max(float(cut) * ratio, float(cut) + seconds)),
            None,
        )
        if cut and held:
            pairs[cut] = BoundPair(stable=cut, canary=held)
    return tuple(pairs.values())


def first_bound_from(counters: Iterable[Counter], seconds: float) -> str | None:
    """Return the smallest bound that is not below `seconds`, or None when the histogram ends before."""
    bounds = {counter.bound for counter in counters if counter.bound not in (None, INFINITY)}
    return min((bound for bound in bounds if bound and float(bound) >= seconds), key=float, default=None)


def bounds_of(latency: Latency, counters: Sequence[Counter], stable: str) -> list[str]:
    """Return pairs of bounds as `stable>canary` and a limit as `limit>bound`; nothing while unknown."""
    found = []
    if latency.compare_with_stable:
        pairs = choose_bounds(
            counters, stable, ratio=latency.tolerated.ratio, seconds=latency.tolerated.milliseconds / 1000
        )
        if not pairs:
            return []
        found += [f"{pair.stable}>{pair.canary}" for pair in pairs]
    if latency.max_seconds is not None:
        bound = first_bound_from(counters, latency.max_seconds)
        if bound is None:
            return []
        found.append(f"limit>{bound}")
    return found


def newest(counters: Iterable[Counter]) -> tuple[Counter, ...]:
    """Return one counter for each series: of two jobs that scrape the same pod, the one that saw more."""
    found: dict[str, Counter] = {}
    for counter in counters:
        series = _series(counter)
        known = found.get(series)
        if known is None or counter.value > known.value:
            found[series] = counter
    return tuple(found.values())


def nonsense(counters: Iterable[Counter]) -> str | None:
    """Say which counter cannot be one of ours, or None: a look with such an answer is not used."""
    for counter in counters:
        where = f"pod {counter.pod} of revision {counter.revision}"
        if not (counter.value >= 0 and float(counter.value).is_integer()):
            return f"a counter of {where} is {counter.value}, which is no number of requests"
        if counter.bound is not None and not _is_number(counter.bound):
            return f"a histogram of {where} has a bucket le={counter.bound!r}, which is no number"
    return None


@lru_cache(maxsize=1024)
def _is_number(text: str) -> bool:
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False


def count(
    state: Mapping[str, int], counters: Sequence[Counter], bounds: frozenset[str], *, started: bool
) -> tuple[dict[str, int], dict[str, int]]:
    """Advance the raw counters; return the new state and each series' growth (empty at a first look)."""
    wanted = (*bounds, INFINITY) if bounds else ()
    samples = [
        Sample(series=_series(counter), value=counter.value)
        for counter in counters
        if counter.layout is None and (counter.bound is None or counter.bound in wanted)
    ]
    return advance(state, samples, known_start=started, process_of=_pod_of)


def _series(counter: Counter) -> str:
    if counter.bin is not None or counter.layout is not None:
        kind = f"bin={counter.bin}" if counter.bin is not None else f"layout={counter.layout}"
    else:
        kind = f"code={counter.code}" if counter.bound is None else f"le={counter.bound}"
    return f"{counter.revision}|{counter.pod}|{kind}"


def _pod_of(series: str) -> str:
    return series.rpartition("|")[0]


def own_stream(gate: str, bad: str, total: str) -> Stream:
    """Return the stream of a gate's own queries: a gate that is edited counts anew."""
    return Stream(key=f"counts/{gate}-{zlib.crc32(f'{bad} / {total}'.encode()):08x}", own=True)


def count_own(
    state: Mapping[str, int], stream: Stream, tallies: Iterable[Tallied], *, started: bool
) -> tuple[dict[str, int], dict[str, int]]:
    """Advance the counters of a gate's own queries, as `count` does the predictor's."""
    samples = [
        Sample(
            series=f"{one.revision}|{one.pod}~{one.labels}|{'bad' if one.bad else 'total'}={stream.key}",
            value=one.value,
        )
        for one in tallies
    ]
    return advance(state, samples, known_start=started, process_of=_own_process)


def _own_process(series: str) -> str:
    """All counters of a pod that one gate asks for restart together."""
    return series.rpartition("~")[0] + series.rpartition("=")[2]


def growth_of(deltas: Mapping[str, int]) -> Growth:
    """Sum each revision's growth over its pods, by kind of series."""
    found: dict[str, dict[str, int]] = {}
    for series, grown in deltas.items():
        revision, _, kind = series.split("|", 2)
        kinds = found.setdefault(revision, {})
        kinds[kind] = kinds.get(kind, 0) + grown
    return found


def _arm(kinds: Mapping[str, int], bound: str | None, place: str | None) -> ArmCounts:
    if place is not None:
        total = sum(grown for kind, grown in kinds.items() if kind.startswith("bin="))
        bad = kinds.get(f"bin={place}", 0)
    elif bound is None:
        codes = {kind: grown for kind, grown in kinds.items() if kind.startswith("code=")}
        total = sum(codes.values())
        bad = sum(grown for kind, grown in codes.items() if kind.startswith("code=5"))
    else:
        total = kinds.get(f"le={INFINITY}", 0)
        bad = max(0, total - kinds.get(f"le={bound}", 0))
    return ArmCounts(total=total, bad=min(bad, total))
