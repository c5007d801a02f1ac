"""From the predictor's counters to counts of bad requests, by arm and by stream.

A stream is one way for a request to be bad: answered with 5xx, or slower than a bucket's bound.
"""

import math
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from modelrelease_contract import metrics as words
from modelrelease_operator.api.spec import Latency
from modelrelease_operator.core.answers import Tallied
from modelrelease_operator.core.evidence import ArmCounts, Interval
from modelrelease_operator.core.observed import Counter

INFINITY = "+Inf"
OWN = "counts/"
"""Begins the key of a stream that a gate's own queries count."""
PREDICTOR = ""
"""The source of every other counter."""
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
    probe: bool = False
    """Counted by the prober: its probes instead of users' requests."""

    @property
    def source(self) -> str:
        """Whose counters it reads: the predictor's, the prober's, or a gate's own."""
        if self.own:
            return self.key
        return PROBE if self.probe else PREDICTOR

    @property
    def of_probes(self) -> "Stream":
        """The same stream of the prober's counts."""
        return replace(self, key=f"{PROBE}{self.key}", probe=True)

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
        if self.probe:
            return _probed(kinds, bound)
        return _arm(kinds, bound, self.bin)


PROBE = "probe/"
"""Begins the key of everything that is counted of probes: streams, gates, kinds of series."""

Growth = Mapping[str, Mapping[str, int]]
"""By revision and kind of series: how much it grew, over all pods."""

ERRORS = Stream(key="errors")


def slow_stream(canary_bound: str, stable_bound: str) -> Stream:
    """Return the stream of canary requests above one bound beside stable requests above another."""
    return Stream(
        key=f"slow/{canary_bound}/{stable_bound}", canary_bound=canary_bound, stable_bound=stable_bound
    )


Shapes = Mapping[tuple[str, str], frozenset[str]]
"""By revision and pod: the bounds of the histogram that a process shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundPair:
    """Where stable's latency is cut, and the bound that the canary is held to there."""

    stable: str
    canary: str


def choose_bounds(
    counters: Sequence[Counter], stable: str, *, ratio: float, seconds: float
) -> tuple[BoundPair, ...]:
    """Cut latency at stable's own quantiles, as the bounds that both arms have allow; fixed for the release.

    The canary is held to the first bound that is at least `ratio` times and `seconds` above stable's:
    "the canary's latency is at most so much larger than stable's" needs no estimate of a quantile
    (reference: statistics, A2 latency). Empty while stable has answered too little to be cut.
    """
    common = common_bounds(counters)
    sums: dict[str, float] = {}
    for counter in counters:
        if counter.revision == stable and counter.bound is not None:
            sums[counter.bound] = sums.get(counter.bound, 0.0) + counter.value
    total = sums.pop(INFINITY, 0.0)
    if total < 100 or not sums:
        return ()
    ordered = sorted(common & sums.keys(), key=float)
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
    """Return the smallest common bound that is not below `seconds`, or None when there is none."""
    bounds = (bound for bound in common_bounds(counters) if float(bound) >= seconds)
    return min(bounds, key=float, default=None)


def common_bounds(counters: Iterable[Counter]) -> frozenset[str]:
    """Return the bounds that every process with a histogram has, without the last one."""
    return _common(bounds_shown(counters))


def _common(shown: Shapes) -> frozenset[str]:
    return frozenset.intersection(*shown.values()) - {INFINITY} if shown else frozenset()


def bounds_shown(counters: Iterable[Counter]) -> Shapes:
    """Return the bounds of each process that shows a histogram, by revision and pod."""
    found: dict[tuple[str, str], set[str]] = {}
    for counter in counters:
        if counter.bound is not None:
            found.setdefault((counter.revision, counter.pod), set()).add(counter.bound)
    return {process: frozenset(bounds) for process, bounds in found.items()}


def why_not_cut(shown: Shapes, pairs: Sequence[str], *, canary: str, stable: str) -> tuple[bool, str] | None:
    """Say why latencies do not compare, and whether that may pass by itself; None where they do.

    `shown` are the bounds of each process (`bounds_shown`), `pairs` those that were chosen (`bounds_of`),
    empty before. Two versions of a server may have different buckets: one that a process lacks would
    count as if no request had been within it.
    """
    if not any(revision == canary for revision, _ in shown):
        return True, "latency is not compared: the canary shows no latency histogram yet"
    if not pairs:
        if _common(shown):
            return None
        return False, "latency cannot be compared: the two versions' histograms have no bucket in common"
    held = frozenset(pair.split(">")[1] for pair in pairs)
    cut = frozenset(part for pair in pairs for part in pair.split(">")[:1]) - {"limit"}
    limits = frozenset(pair.split(">")[1] for pair in pairs if pair.startswith("limit>"))
    wanted = {canary: held, stable: cut | limits}
    for (revision, pod), bounds in shown.items():
        if lacking := sorted(wanted.get(revision, frozenset()) - bounds, key=float):
            return False, f"latency cannot be compared: pod {pod} has no bucket le={lacking[0]}"
    return None


def bounds_of(latency: Latency, counters: Sequence[Counter], *, canary: str, stable: str) -> list[str]:
    """Return pairs of bounds as `stable>canary` and a limit as `limit>bound`; nothing while unknown."""
    if not any(revision == canary for revision, _ in bounds_shown(counters)):
        return []
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


def newest(
    counters: Iterable[Counter], revisions: Collection[str], bounds: Collection[str] | None
) -> dict[str, Counter]:
    """Return one counter for each series: of two jobs that scrape the same pod, the one that saw it last.

    `bounds` are the buckets that are read, None for all: a histogram has ten times as many as are used, and
    those are left out unless they are nonsense.
    """
    found: dict[str, Counter] = {}
    for counter in map(_spelled, counters):
        if counter.revision not in revisions:
            continue
        bound, value = counter.bound, counter.value
        unread = bound is not None and bounds is not None and bound not in bounds
        # Asked here and not of `nonsense`: a call for each of a thousand buckets adds up.
        if unread and value >= 0 and float(value).is_integer() and _is_number(bound or ""):
            continue
        series = _series(counter)
        known = found.get(series)
        if known is None or _age_and_value(counter) > _age_and_value(known):
            found[series] = counter
    return found


def _spelled(counter: Counter) -> Counter:
    if counter.bound is None or (bound := canonical(counter.bound)) == counter.bound:
        return counter
    return replace(counter, bound=bound)


def _age_and_value(counter: Counter) -> tuple[float, float]:
    return counter.at or 0.0, counter.value


def nonsense(counters: Iterable[Counter]) -> str | None:
    """Say which counter cannot be one of ours, or None: a look with such an answer is not used."""
    for counter in counters:
        value, bound = counter.value, counter.bound
        if not (value >= 0 and float(value).is_integer()):
            return f"a counter of {_place(counter)} is {value}, which is no number of requests"
        if bound is not None and not _is_number(bound):
            return f"a histogram of {_place(counter)} has a bucket le={bound!r}, which is no number"
    return None


def _place(counter: Counter) -> str:
    return f"pod {counter.pod} of revision {counter.revision}"


@lru_cache(maxsize=1024)
def canonical(bound: str) -> str:
    """Return a bound as Prometheus 3 spells it: `1` and `1.0` are the same bucket."""
    try:
        number = float(bound)
    except ValueError:
        return bound
    return bound if math.isnan(number) else INFINITY if number == math.inf else repr(number)


@lru_cache(maxsize=1024)
def _is_number(text: str) -> bool:
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False


def values_of(counters: Mapping[str, Counter], bounds: frozenset[str]) -> dict[str, int]:
    """Return the values that count, of counters that are no nonsense: buckets only where they are read."""
    wanted = (*bounds, INFINITY) if bounds else ()
    return {
        series: int(counter.value)
        for series, counter in counters.items()
        if counter.layout is None and (counter.bound is None or counter.bound in wanted)
    }


def _series(counter: Counter) -> str:
    probe = PROBE if counter.probe else ""
    if counter.bound is not None:
        return f"{counter.revision}|{counter.pod}|{probe}le={counter.bound}"
    if counter.bin is not None:
        return f"{counter.revision}|{counter.pod}|bin={counter.bin}"
    if counter.layout is not None:
        return f"{counter.revision}|{counter.pod}|layout={counter.layout}"
    return f"{counter.revision}|{counter.pod}|{probe}code={counter.code}"


def kinds_of(source: str, counted: Growth) -> dict[str, dict[str, int]]:
    """Return the part of what was counted that comes from one source (`Stream.source`)."""
    return {
        revision: {kind: grown for kind, grown in kinds.items() if source_of_kind(kind) == source}
        for revision, kinds in counted.items()
    }


def source_of_kind(kind: str) -> str:
    """Return whose counter a kind of series is (`Stream.source`)."""
    return PROBE if kind.startswith(PROBE) else source_of(kind)


def own_stream(gate: str, bad: str, total: str) -> Stream:
    """Return the stream of a gate's own queries: a gate that is edited counts anew."""
    return Stream(key=f"{OWN}{gate}-{zlib.crc32(f'{bad} / {total}'.encode()):08x}", own=True)


def own_values_of(tallies: Iterable[Tallied], stream: Stream) -> dict[str, int]:
    """Return the values of the counters of a gate's own queries, as `values_of` does the predictor's."""
    return {
        f"{one.revision}|{one.pod}~{one.labels}|{'bad' if one.bad else 'total'}={stream.key}": int(one.value)
        for one in tallies
    }


@lru_cache(maxsize=32_768)
def process_of(series: str) -> str:
    """Return whose counter a series is: all of a process restart together.

    Of one pod there are several: the predictor, and what each gate's own queries count of it. Kept, because
    a look asks this of every series several times.
    """
    pod, _, kind = series.rpartition("|")
    source = source_of(kind)
    return pod if source == PREDICTOR else f"{pod.rpartition('~')[0]}|{source}"


def source_of(name: str) -> str:
    """Return the stream whose queries give a series or a process; nothing for the predictor's own."""
    at = name.find(OWN)
    return name[at:] if at >= 0 else PREDICTOR


def growth_of(deltas: Mapping[str, int]) -> Growth:
    """Sum each revision's growth over its pods, by kind of series."""
    found: dict[str, dict[str, int]] = {}
    for series, grown in deltas.items():
        if grown:
            revision, _, kind = series.split("|", 2)
            kinds = found.setdefault(revision, {})
            kinds[kind] = kinds.get(kind, 0) + grown
    return found


def refused_probes(growth: Growth, *, canary: str, stable: str) -> Interval:
    """Count the probes of each arm, and as bad those that were refused."""

    def arm(revision: str) -> ArmCounts:
        kinds = growth.get(revision, {})
        results = [kinds.get(f"{PROBE}code={result}", 0) for result in words.PROBE_RESULTS]
        return ArmCounts(total=sum(results), bad=kinds.get(f"{PROBE}code={words.PROBE_REFUSED}", 0))

    return Interval(canary=arm(canary), stable=arm(stable))


def _probed(kinds: Mapping[str, int], bound: str | None) -> ArmCounts:
    """Count probes: bad is an error, and another answer than recorded; a refused one is no evidence."""
    mine = {kind.removeprefix(PROBE): grown for kind, grown in kinds.items() if kind.startswith(PROBE)}
    if bound is not None:
        return _arm(mine, bound, None)
    bad = sum(mine.get(f"code={result}", 0) for result in (words.PROBE_DIFFERENT, words.PROBE_ERROR))
    good = sum(mine.get(f"code={result}", 0) for result in (words.PROBE_SAME, words.PROBE_ANSWERED))
    return ArmCounts(total=good + bad, bad=bad)


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
