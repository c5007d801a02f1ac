"""From the predictor's counters to counts of bad requests, by arm and by indicator.

An indicator is one way for a request to be bad: answered with 5xx, or slower than a bucket's bound.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from modelrelease_contract import metrics as words
from modelrelease_operator.api.spec import LatencyGate
from modelrelease_operator.core.immutable import immutable
from modelrelease_operator.core.measurement.series import (
    INFINITY,
    OWN,
    PREDICTOR,
    PROBE,
    REASON,
    BoundPair,
    bucket_name,
    own_series_of,
    pair_of,
    parse,
    source_of_name,
)
from modelrelease_operator.core.observed import Counter
from modelrelease_operator.core.query_results import CounterSample
from modelrelease_operator.core.statistics.eprocess import ArmCounts, Interval

QUANTILES = (0.5, 0.9, 0.95, 0.99)
"""Of stable's own latency: where the canary's is compared with it."""


@immutable
class Indicator:
    """What counts as bad in each arm. Bounds (`le`,
    as Prometheus spells them) make it a latency indicator.
    """

    key: str
    canary_bound: str | None = None
    stable_bound: str | None = None
    metric: str = ""
    """What the histogram measures that the bounds are of, where it is not the time to answer."""
    reasons: frozenset[str] = frozenset()
    """Makes it an indicator of finished answers: those that ended for one of these are bad."""
    bin: str | None = None
    """Makes it an indicator of predictions: those in this bin count as bad."""
    own: bool = False
    """Counted by a gate's own queries, under its key."""
    delay: float = 0.0
    """Seconds by which a gateway's counters are older than the servers' beside them: makes it one
    of losses (`losses`). 0: no gateway's.
    """
    probe: bool = False
    """Counted by the prober: its probes instead of users' requests."""

    @property
    def source(self) -> str:
        """Whose counters it reads: the predictor's, the prober's, or a gate's own."""
        if self.own:
            return self.key
        return PROBE if self.probe else PREDICTOR

    @property
    def buckets(self) -> frozenset[str]:
        """The names of the buckets that it reads: none, unless it is one of latency."""
        bounds = filter(None, (self.canary_bound, self.stable_bound))
        return frozenset(bucket_name(self.metric, bound) for bound in bounds)

    @property
    def of_probes(self) -> "Indicator":
        """The same indicator of the prober's counts."""
        return replace(self, key=f"{PROBE}{self.key}", probe=True)

    def interval(self, increments: "Increments", *, canary: str, stable: str) -> Interval:
        """Return both arms' counts of one interval."""
        return Interval(
            canary=self._arm(increments.get(canary, {}), self.canary_bound),
            stable=self._arm(increments.get(stable, {}), self.stable_bound),
        )

    def _arm(self, names: Mapping[str, int], bound: str | None) -> ArmCounts:
        if self.own:
            total = names.get(f"total={self.key}", 0)
            # Both queries are of one instant, but nothing makes a person's bad ones a part of all.
            return ArmCounts(total=total, bad=min(total, names.get(f"bad={self.key}", 0)))
        if self.probe:
            return _probed(names, bound)
        if bound is not None:
            return _above(names, self.metric, bound)
        if self.reasons:
            return _ended(names, self.reasons)
        return _in_bin(names, self.bin) if self.bin is not None else _failed(names)


ANSWER_TOKENS = "answerTokens"
"""What the histogram of the answers' tokens measures (`Counter.metric`)."""
SLOW = "slow"
"""Begins the keys of the indicators of the time to answer."""
Increments = Mapping[str, Mapping[str, int]]
"""By revision and name of series (`SeriesKey.name`): how much it grew, over all pods."""

ERRORS = Indicator(key="errors")


def slow_indicator(canary_bound: str, stable_bound: str, metric: str = "") -> Indicator:
    """Return the indicator of canary requests above one bound beside stable requests above
    another.
    """
    return Indicator(
        key=f"{metric or SLOW}/{canary_bound}/{stable_bound}",
        canary_bound=canary_bound,
        stable_bound=stable_bound,
        metric=metric,
    )


def ended_indicator(reasons: Iterable[str]) -> Indicator:
    """Return the indicator of answers that ended for one of some reasons."""
    bad = frozenset(reasons)
    return Indicator(key=f"ended/{'+'.join(sorted(bad))}", reasons=bad)


Shapes = Mapping[tuple[str, frozenset[str]], str]
"""By revision and the bounds of a histogram: the first pod that shows it."""


def choose_bounds(
    counters: Sequence[Counter],
    stable: str,
    *,
    ratio: float,
    more: float,
    shorter: bool = False,
) -> tuple[BoundPair, ...]:
    """Cut what one histogram measures at stable's own quantiles, as the bounds that both arms have
    allow; fixed for the release.

    The canary is held to the first bound that is at least `ratio` times and `more` above stable's:
    "the canary's latency is at most so much larger than stable's" needs no estimate of a quantile
    (docs/explanation/decisions.md, "Latency is not independent from request to request").
    `shorter` cuts at the bounds below the lowest quantiles instead, and holds the canary to the
    last bound that is as far below. Empty while stable has answered too little to be cut.
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
        share = 1 - quantile if shorter else quantile
        cut = _cut(ordered, sums, share * total, below=shorter)
        held = cut and _held(ordered, float(cut), ratio=ratio, more=more, shorter=shorter)
        if cut and held:
            pairs[cut] = BoundPair(stable=cut, canary=held)
    return tuple(pairs.values())


def _cut(
    ordered: Sequence[str], sums: Mapping[str, float], count: float, *, below: bool
) -> str | None:
    """Return the first bound that so many requests are within, or the last that no more are."""
    if below:
        return next((bound for bound in reversed(ordered) if sums[bound] <= count), None)
    return next((bound for bound in ordered if sums[bound] >= count), None)


def _held(
    ordered: Sequence[str], cut: float, *, ratio: float, more: float, shorter: bool
) -> str | None:
    """Return the bound that the canary is held to where stable is cut, or None without one."""
    if shorter:
        least = min(cut / ratio, cut - more)
        return next((bound for bound in reversed(ordered) if float(bound) <= least), None)
    most = max(cut * ratio, cut + more)
    return next((bound for bound in ordered if float(bound) >= most), None)


def first_bound_from(counters: Iterable[Counter], seconds: float) -> str | None:
    """Return the smallest common bound that is not below `seconds`, or None when there is none."""
    bounds = (bound for bound in common_bounds(counters) if float(bound) >= seconds)
    return min(bounds, key=float, default=None)


def common_bounds(counters: Iterable[Counter]) -> frozenset[str]:
    """Return the bounds that every process with a histogram has, without the last one."""
    return _common(bounds_shown(counters))


def _common(shown: Shapes) -> frozenset[str]:
    bounds = [bounds for _, bounds in shown]
    return frozenset.intersection(*bounds) - {INFINITY} if bounds else frozenset()


def bounds_shown(counters: Iterable[Counter]) -> Shapes:
    """Return the histograms that processes show."""
    bounds_by_process: dict[tuple[str, str], set[str]] = {}
    for counter in counters:
        if counter.bound is not None:
            bounds_by_process.setdefault((counter.revision, counter.pod), set()).add(counter.bound)
    shapes: dict[tuple[str, frozenset[str]], str] = {}
    for (revision, pod), bounds in bounds_by_process.items():
        shapes.setdefault((revision, frozenset(bounds)), pod)
    return shapes


def why_not_cut(
    shown: Shapes, pairs: Sequence[str], *, canary: str, stable: str, what: str = "latency"
) -> tuple[bool, str] | None:
    """Say why latencies (or `what`) do not compare, and whether that may pass by itself; None where
    they do.

    `shown` are the histograms (`bounds_shown`), `pairs` the bounds that were chosen
    (`bounds_of`), empty before. Two versions of a server may have different buckets: one that a
    process lacks would count as if no request had been within it.
    """
    if not any(revision == canary for revision, _ in shown):
        return True, f"{what} is not compared: the canary shows no {what} histogram yet"
    if not pairs:
        if _common(shown):
            return None
        return (
            False,
            f"{what} cannot be compared: the two versions' histograms have no bucket in common",
        )
    chosen = [pair_of(pair) for pair in pairs]
    held = frozenset(pair.canary for pair in chosen)
    cut = frozenset(pair.stable or pair.canary for pair in chosen)
    wanted = {canary: held, stable: cut}
    for (revision, bounds), pod in shown.items():
        needed = wanted.get(revision, frozenset())
        if not needed <= bounds:
            lacking = min(needed - bounds, key=float)
            return False, f"{what} cannot be compared: pod {pod} has no bucket le={lacking}"
    return None


def bounds_of(
    latency: LatencyGate, counters: Sequence[Counter], *, canary: str, stable: str
) -> list[str]:
    """Return pairs of bounds as `stable>canary` and a limit as `limit>bound`;
    nothing while unknown.
    """
    counters = of_metric(counters, latency.metric or "")
    if not any(revision == canary for revision, _ in bounds_shown(counters)):
        return []
    chosen = []
    if latency.compare_with_stable:
        pairs = choose_bounds(
            counters,
            stable,
            ratio=latency.tolerated.ratio,
            more=latency.tolerated.milliseconds / 1000,
        )
        if not pairs:
            return []
        chosen += [pair.text for pair in pairs]
    if latency.max_seconds is not None:
        bound = first_bound_from(counters, latency.max_seconds)
        if bound is None:
            return []
        chosen.append(BoundPair(stable=None, canary=bound).text)
    return chosen


def of_metric(counters: Iterable[Counter], metric: str) -> list[Counter]:
    """Return the buckets of one of the servers' histograms."""
    return [each for each in counters if each.bound is not None and each.metric == metric]


def names_of(source: str, counted: Increments) -> dict[str, dict[str, int]]:
    """Return the part of what was counted that comes from one source (`Indicator.source`)."""
    counted_from = {}
    for revision, names in counted.items():
        counted_from[revision] = {
            name: grown for name, grown in names.items() if source_of_name(name) == source
        }
    return counted_from


def own_indicator(gate: str, bad: str, total: str) -> Indicator:
    """Return the indicator of a gate's own queries: a gate that is edited counts anew."""
    return Indicator(key=f"{OWN}{gate}-{zlib.crc32(f'{bad} / {total}'.encode()):08x}", own=True)


def gateway_indicator(gate: str, gateway: str, delay: float) -> Indicator:
    """Return the indicator of what is lost between a gateway, read `delay` seconds late, and the
    servers.
    """
    mark = zlib.crc32(f"{gateway} / {delay:g}".encode())
    return Indicator(key=f"{OWN}{gate}-{mark:08x}", own=True, delay=delay)


def own_values_of(tallies: Iterable[CounterSample], indicator: Indicator) -> dict[str, int]:
    """Return the values of the counters of a gate's own queries,
    as `values_of` does the predictor's.
    """
    return {own_series_of(tally, indicator.key): int(tally.value) for tally in tallies}


def increments_of(deltas: Mapping[str, int]) -> Increments:
    """Sum each revision's growth over its pods, by name of series."""
    increments: dict[str, dict[str, int]] = {}
    revision = None
    for series, grown in deltas.items():
        if not grown:
            continue
        key = parse(series)
        if key.revision != revision:
            revision = key.revision
            names = increments.setdefault(revision, {})
        name = key.name
        names[name] = names.get(name, 0) + grown
    return increments


def refused_probes(increments: Increments, *, canary: str, stable: str) -> Interval:
    """Count the probes of each arm, and as bad those that were refused."""

    def arm(revision: str) -> ArmCounts:
        names = increments.get(revision, {})
        results = [names.get(f"{PROBE}code={result}", 0) for result in words.PROBE_RESULTS]
        return ArmCounts(total=sum(results), bad=names.get(f"{PROBE}code={words.PROBE_REFUSED}", 0))

    return Interval(canary=arm(canary), stable=arm(stable))


def _probed(names: Mapping[str, int], bound: str | None) -> ArmCounts:
    """Count probes: bad is an error, and another answer than recorded;
    a refused one is no evidence.
    """
    mine = {
        name.removeprefix(PROBE): grown for name, grown in names.items() if name.startswith(PROBE)
    }
    if bound is not None:
        return _above(mine, "", bound)
    bad = sum(
        mine.get(f"code={result}", 0) for result in (words.PROBE_DIFFERENT, words.PROBE_ERROR)
    )
    good = sum(mine.get(f"code={result}", 0) for result in (words.PROBE_SAME, words.PROBE_ANSWERED))
    return ArmCounts(total=good + bad, bad=bad)


def _failed(names: Mapping[str, int]) -> ArmCounts:
    """Count answers, and as bad those with 5xx."""
    total = bad = 0
    for name, grown in names.items():
        if name[:5] == "code=":
            total += grown
            bad += grown if name[5:6] == "5" else 0
    return ArmCounts(total=total, bad=bad)


def _above(names: Mapping[str, int], metric: str, bound: str) -> ArmCounts:
    """Count what a histogram measured, and as bad what is above a bound."""
    total = names.get(bucket_name(metric, INFINITY), 0)
    bad = max(0, total - names.get(bucket_name(metric, bound), 0))
    return ArmCounts(total=total, bad=min(bad, total))


def _in_bin(names: Mapping[str, int], place: str) -> ArmCounts:
    """Count predictions, and as bad those in a bin."""
    return _labelled(names, "bin=", frozenset({place}))


def _ended(names: Mapping[str, int], reasons: frozenset[str]) -> ArmCounts:
    """Count answers, and as bad those that ended for one of some reasons."""
    return _labelled(names, f"{REASON}=", reasons)


def _labelled(names: Mapping[str, int], begin: str, bad: frozenset[str]) -> ArmCounts:
    mine = {name: grown for name, grown in names.items() if name.startswith(begin)}
    counted = [grown for name, grown in mine.items() if name.removeprefix(begin) in bad]
    return ArmCounts(total=sum(mine.values()), bad=sum(counted))
