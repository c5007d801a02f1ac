"""What one look shows of each process, and whether that closes the open interval of evidence.

Prometheus scrapes every pod at a moment of its own, by default once a minute, and a look comes
every few seconds. So a look is no interval: it may show no new sample at all, or one of some pods.
An interval is closed when every process that is judged has a sample newer than *any* process had
when the interval began. Then stable's next interval reaches beyond the canary's last one, which is
what `Confirmed` needs, whatever the scrape interval is, and whoever asks for a look
(docs/explanation/decisions.md).

All times here are those of the samples: no clock of ours is compared with them.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from itertools import chain
from statistics import median

from modelrelease_operator.api.status import Evidence
from modelrelease_operator.core.immutable import immutable
from modelrelease_operator.core.measurement.counters import is_another_process
from modelrelease_operator.core.measurement.indicators import Shapes
from modelrelease_operator.core.measurement.series import (
    BOUND,
    INFINITY,
    PREDICTOR,
    PROBE,
    series_of,
    texts_of,
)
from modelrelease_operator.core.observed import Counter

SLOWEST_SCRAPE = 120.0
"""Seconds: the scrape interval that is reckoned with until one was measured."""
LAGS_AFTER = 2.5
"""Scrape intervals after which a process that shows no new sample is not waited for any more."""
MAY_MISS = 0.1
"""Share of a canary's ready pods that Prometheus may not show yet while it is judged and goes
on.
"""
STABLE_MAY_MISS = 0.5
"""The same of stable's pods, where it matters who is left out."""

MOST_PAIRS = 2.0**53
"""Up to which a page's numbers are whole."""

Shown = Counter
"""A process at its newest sample: the one of its counters that was scraped last."""


@immutable
class Process:
    """One process with its series at a look;
    what the prober counts of a revision is a process of its own.
    """

    name: str
    """As `SeriesKey.process`."""
    shown: Shown | None
    """None where it counts nothing that is judged."""
    series: Mapping[str, Counter]
    """By text of the key: one counter each."""
    bounds: Mapping[str, frozenset[str]]
    """By what a histogram measures (`Counter.metric`): its buckets, as far as they are read."""
    plausible: bool
    """Whether every value is a number of requests."""


@immutable
class Newest:
    """The newest sample of each series that is read, by process: what one look brought."""

    processes: tuple[Process, ...] = ()
    plausible: bool = True
    """Whether every value is a number of requests, and every bound a number."""

    @property
    def counters(self) -> tuple[Counter, ...]:
        """All of them."""
        return tuple(chain.from_iterable([process.series.values() for process in self.processes]))

    def shapes(self, *, probe: bool, metric: str = "") -> Shapes:
        """Return the histograms of one metric that are shown, of predictors or of probers."""
        shapes: dict[tuple[str, frozenset[str]], str] = {}
        for process in self.processes:
            shown = process.shown
            bounds = process.bounds.get(metric)
            if bounds and shown is not None and shown.probe is probe:
                shapes.setdefault((shown.revision, bounds), shown.pod)
        return shapes


NOTHING = Newest()
"""A look that is not used."""


@immutable
class Arm:
    """One revision's processes at a look."""

    ready: int
    """Pods that are ready."""
    judged: Mapping[str, Shown]
    """By process: those whose samples are waited for."""
    missing: tuple[str, ...]
    """Ready pods that the source does not show."""
    lagging: tuple[str, ...] = ()
    """Ready pods of which there has been no new sample for long."""
    unready: tuple[str, ...] = ()
    """Processes of pods that are not ready, where the source names pods as the cluster does;
    else nothing is known of whose they are.
    """
    newest: float | None
    """When the newest sample was taken, in unix seconds."""
    oldest: float | None
    """When the oldest of the newest samples was taken, in unix seconds."""

    @property
    def left_out(self) -> tuple[str, ...]:
        """Ready pods that are not judged."""
        return tuple(sorted((*self.missing, *self.lagging)))

    @property
    def all_seen(self) -> bool:
        """Whether every ready pod is judged."""
        return not (self.missing or self.lagging)

    @property
    def may_go_on(self) -> bool:
        """Whether enough of the pods are seen to speak for all of them."""
        left_out = len(self.missing) + len(self.lagging)
        return bool(self.judged) and left_out <= MAY_MISS * self.ready


@immutable
class Sight:
    """What a look shows of both arms."""

    canary: Arm
    stable: Arm
    shown: Mapping[str, Shown]
    """By process: everything, also of pods that are not ready and of probers."""

    @property
    def newest(self) -> float | None:
        """When the newest sample of any judged process was taken, in unix seconds."""
        return max(_told(self.canary.newest, self.stable.newest), default=None)

    @property
    def oldest(self) -> float | None:
        """When the oldest of the judged processes' newest samples was taken, in unix seconds."""
        return min(_told(self.canary.oldest, self.stable.oldest), default=None)

    @property
    def both(self) -> bool:
        """Whether there is a process to judge in each arm."""
        return bool(self.canary.judged and self.stable.judged)

    @property
    def stable_is_later(self) -> bool:
        """Whether no sample of stable's is older than the canary's newest,
        as if scraped at one moment.
        """
        canary, stable = self.canary.newest, self.stable.oldest
        return canary is None or stable is None or stable >= canary

    def strangers(self, evidence: Evidence) -> frozenset[str]:
        """Return the processes that count as a release's and are none of its pods that were ever
        ready.

        Any pod of the namespace may export such series. One that is not ready any more is still
        ours.
        """
        unready = (*self.canary.unready, *self.stable.unready)
        return frozenset(process for process in unready if not _was_counted(process, evidence))

    def reaches_beyond(self, horizon: float | None) -> bool:
        """Return whether every judged process has a sample newer than a time.

        A source that tells no times is taken to bring a new sample with every look.
        """
        oldest = self.oldest
        return self.both and (horizon is None or oldest is None or oldest > horizon)


def _was_counted(process: str, evidence: Evidence) -> bool:
    prefix = f"{process}|"
    return any(series.startswith(prefix) for series in evidence.counters)


def _told(*times: float | None) -> list[float]:
    return [time for time in times if time is not None]


def _first_and_last(processes: Iterable[Shown]) -> tuple[float | None, float | None]:
    """Return when the oldest and the newest of some samples were taken, as far as it is told."""
    times = _times(processes)
    return (min(times), max(times)) if times else (None, None)


def _times(processes: Iterable[Shown]) -> list[float]:
    return [process.at for process in processes if process.at is not None]


def newest(
    counters: Iterable[Counter], revisions: Collection[str], bounds: Collection[str] | None
) -> Newest:
    """Return one counter for each series: of two jobs that scrape the same pod, the one that saw it
    last.

    `bounds` are the buckets that are read, None for all: a histogram has ten times as many as are
    used, and those are left out unless they are nonsense.
    """
    by_process: dict[tuple[str, str, bool], list[Counter]] = {}
    buckets = _Buckets(bounds)
    revision = pod = probe = None
    # Without a call for each bucket, and mostly without a key: a look has a thousand counters,
    # those of a process one after the other.
    for counter in counters:
        if not buckets[counter.bound] and counter.value >= 0 and counter.value % 1 == 0:
            continue
        if counter.pod != pod or counter.revision != revision or counter.probe is not probe:
            revision, pod, probe = counter.revision, counter.pod, counter.probe
            mine = by_process.setdefault((revision, pod, probe), [])
        mine.append(counter)
    processes = [
        _process(revision, pod, probe, buckets.canonical(mine) if buckets.spellings else mine)
        for (revision, pod, probe), mine in by_process.items()
        if revision in revisions
    ]
    plausible = buckets.plausible and all(process.plausible for process in processes)
    return Newest(processes=tuple(processes), plausible=plausible)


class _Buckets(dict[str | None, bool]):
    """By bound that a look shows: whether its bucket is read. Worked out once for each.

    What is no number is read, so that it is told; so is what is no bucket (None).
    """

    def __init__(self, read: Collection[str] | None) -> None:
        super().__init__({None: True})
        self.read = read
        """Those that are read, None for all."""
        self.spellings: dict[str | None, str] = {}
        """Of those that Prometheus 3 spells otherwise."""
        self.plausible = True
        """Whether every bound is a number."""

    def __missing__(self, bound: str) -> bool:
        """Take in a bound that was not shown before."""
        spelled = canonical(bound)
        if spelled != bound:
            self.spellings[bound] = spelled
        is_a_number = is_number(spelled)
        self.plausible = self.plausible and is_a_number
        is_read = not is_a_number or self.read is None or spelled in self.read
        self[bound] = is_read
        return is_read

    def canonical(self, counters: list[Counter]) -> list[Counter]:
        """Return counters with bounds as Prometheus 3 spells them."""
        return [
            replace(counter, bound=self.spellings.get(counter.bound, counter.bound))
            for counter in counters
        ]


def _process(revision: str, pod: str, probe: bool, counters: Collection[Counter]) -> Process:
    """Return the process of these counters, which are all of one."""
    name, buckets, codes = texts_of(revision, pod, PROBE if probe else PREDICTOR)
    series: dict[str, Counter] = {}
    bounds: dict[str, list[str]] = {}
    plausible = True
    shown, newest_at = None, -math.inf
    for counter in counters:
        bound, value, at = counter.bound, counter.value, counter.at or 0.0
        if bound is not None:
            text = series_of(counter) if counter.metric else buckets[bound]
            bounds.setdefault(counter.metric, []).append(bound)
        elif counter.code is not None:
            text = codes[counter.code]
        else:
            text = series_of(counter)
        known = series.setdefault(text, counter)
        if known is not counter and (at, value) > (known.at or 0.0, known.value):
            series[text] = counter
        if at > newest_at and counter.layout is None:
            shown, newest_at = counter, at
        # What is no number at all, or infinite, leaves a remainder that is no number.
        if value < 0 or value % 1:
            plausible = False
    if len(series) < len(counters):
        shown = max(filter(_is_judged, series.values()), key=_age, default=None)
    return Process(
        name=name, shown=shown, series=series, plausible=plausible,
        bounds={metric: _histogram(*mine) for metric, mine in bounds.items()},
    )  # fmt: skip


@lru_cache(maxsize=1024)
def _histogram(*bounds: str) -> frozenset[str]:
    """Return a histogram's bounds. Kept, because those of all pods are mostly the same."""
    return frozenset(bounds)


def _is_judged(counter: Counter) -> bool:
    return counter.layout is None


def _age(counter: Counter) -> float:
    return counter.at or 0.0


def nonsense(newest_samples: Newest) -> str | None:
    """Say which counter cannot be one of ours, or None: a look with such an answer is not used."""
    if newest_samples.plausible:
        return None
    for process in newest_samples.processes:
        for counter in process.series.values():
            value, bound = counter.value, counter.bound
            if not (value >= 0 and value % 1 == 0):
                return f"a counter of {_place(counter)} is {value}, which is no number of requests"
            if bound is not None and not is_number(bound):
                return (
                    f"a histogram of {_place(counter)} has a bucket le={bound!r}, which is no "
                    "number"
                )
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
    if math.isnan(number):
        return bound
    return INFINITY if number == math.inf else repr(number)


@lru_cache(maxsize=1024)
def is_number(text: str) -> bool:
    """Return whether a bound can be compared with others."""
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False


def is_number_of_pairs(value: float) -> bool:
    """Return whether a counter of pairs can be one: pods are not believed."""
    return 0 <= value <= MOST_PAIRS


def values_of(processes: Iterable[Process], buckets: frozenset[str]) -> dict[str, int]:
    """Return the values that count, of counters that are no nonsense: of buckets those of these
    names (`bucket_name`), and the last one of their histograms.
    """
    wanted = _with_last(buckets)
    return {
        series: int(counter.value)
        for process in processes
        for series, counter in process.series.items()
        if counter.layout is None and (counter.bound is None or _is_read(counter, wanted))
    }


@lru_cache(maxsize=1024)
def _with_last(buckets: frozenset[str]) -> frozenset[tuple[str, str]]:
    """Return what tells these buckets and the last one of each of their histograms."""
    split = [bucket.rpartition(f"{BOUND}=") for bucket in buckets]
    read = {(metric.removesuffix("/"), bound) for metric, _, bound in split}
    return frozenset(read | {(metric, INFINITY) for metric, _ in read})


def _is_read(counter: Counter, wanted: frozenset[tuple[str, str]]) -> bool:
    return (counter.metric, counter.bound) in wanted


def _shown_of(newest_samples: Newest) -> dict[str, Shown]:
    """Return every process with its newest sample's time."""
    shown: dict[str, Shown] = {}
    for process in newest_samples.processes:
        mine = process.shown
        if mine is None:
            continue
        known = shown.setdefault(process.name, mine)
        if known is not mine and (mine.at or 0.0) > (known.at or 0.0):
            shown[process.name] = mine
    return shown


def sight_of(
    evidence: Evidence,
    newest_samples: Newest,
    arms: tuple[str, str],
    pods: Mapping[str, Collection[str]],
    *,
    names_pods: bool = False,
) -> Sight:
    """Return what a look shows of canary and stable; `pods` are the ready pods of each revision.

    `names_pods`: the source names pods as the cluster does, so one of another name is another pod.
    """
    shown = _shown_of(newest_samples)
    predictors: dict[str, dict[str, Shown]] = {arm: {} for arm in arms}
    for process, process_shown in shown.items():
        if not process_shown.probe:
            predictors[process_shown.revision][process] = process_shown
    latest = max(_times(shown.values()), default=None)
    patience = LAGS_AFTER * (evidence.scrape_seconds or SLOWEST_SCRAPE)
    since = latest and latest - patience
    canary, stable = (
        _arm(predictors[arm], frozenset(pods.get(arm, ())), since=since, names_pods=names_pods)
        for arm in arms
    )
    return Sight(canary=canary, stable=stable, shown=shown)


def _arm(
    shown: Mapping[str, Shown], ready: frozenset[str], *, since: float | None, names_pods: bool
) -> Arm:
    """Return the arm of a revision of which these processes are shown and these pods are ready."""
    pods = {process_shown.pod for process_shown in shown.values()}
    if not (names_pods or ready & pods):
        # Prometheus names pods by another label, such as the address: then all that it shows count.
        missing = () if pods else tuple(sorted(ready))
        oldest, last = _first_and_last(shown.values())
        return Arm(
            ready=len(ready or pods), judged=shown, missing=missing, oldest=oldest, newest=last
        )
    ours = {
        process: process_shown
        for process, process_shown in shown.items()
        if process_shown.pod in ready
    }
    old = _older(ours, since)
    # An arm that lags as a whole is not to be left out: it is waited for.
    old = old if len(old) < len(ours) else {}
    judged = {process: ours[process] for process in ours if process not in old} if old else ours
    oldest, last = _first_and_last(judged.values())
    return Arm(
        ready=len(ready),
        judged=judged,
        missing=tuple(sorted(ready - pods)),
        lagging=tuple(sorted([process_shown.pod for process_shown in old.values()])),
        unready=tuple([process for process in shown if process not in ours]),
        oldest=oldest,
        newest=last,
    )


def _older(shown: Mapping[str, Shown], since: float | None) -> dict[str, Shown]:
    """Return the processes whose newest sample is older than a time."""
    if since is None:
        return {}
    return {
        process: process_shown
        for process, process_shown in shown.items()
        if process_shown.at is not None and process_shown.at < since
    }


def is_new(counted: float | None, shown: Shown) -> bool:
    """Return whether a process shows a sample that was not counted yet,
    of one whose last sample that was counted is of a time, if any was.

    One that is not newer tells nothing, however it differs: it is another Prometheus' view of the
    past.
    """
    return shown.at is None or counted is None or shown.at > counted


def began_anew(evidence: Evidence, process: str, shown: Shown) -> bool | None:
    """Return whether a process is another one than before; None where nothing tells."""
    return is_another_process(evidence.born.get(process), shown.started)


def blind_limit(wanted: timedelta, evidence: Evidence) -> timedelta:
    """Return how long a canary may go unseen: never less than it takes to see it twice.

    With a shorter limit than its scrape interval it would go and come, meet users and never be
    counted.
    """
    return max(wanted, timedelta(seconds=few_scrapes(evidence)))


def few_scrapes(evidence: Evidence) -> float:
    """Return the seconds in which a process that is scraped shows two new samples;
    0 until measured.
    """
    return LAGS_AFTER * min(evidence.scrape_seconds or 0.0, SLOWEST_SCRAPE)


def measured_gap(evidence: Evidence, shown: Mapping[str, Shown]) -> float | None:
    """Return the time between the two newest samples of most processes, in seconds;
    None without two.
    """
    scraped = evidence.scraped
    gaps = [
        sample.at - scraped[process]
        for process, sample in shown.items()
        if sample.at is not None and scraped.get(process, sample.at) < sample.at
    ]
    return round(median(gaps), 1) if gaps else evidence.scrape_seconds
