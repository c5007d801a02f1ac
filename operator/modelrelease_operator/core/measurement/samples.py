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
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property, lru_cache
from itertools import chain
from statistics import median

from modelrelease_operator.api.status import Evidence
from modelrelease_operator.core.measurement.counters import is_another_process
from modelrelease_operator.core.measurement.indicators import Shapes
from modelrelease_operator.core.measurement.series import INFINITY, process_name, series_of
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One process at its newest sample."""

    revision: str
    pod: str
    probe: bool
    at: float | None
    """When it was scraped, in unix seconds; None where the source does not tell."""
    started: float | None
    """When it began, in unix seconds; None where the source does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
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
    bounds: frozenset[str]
    """Of its histogram's buckets, as far as they are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest:
    """The newest sample of each series that is read, by process: what one look brought."""

    processes: tuple[Process, ...] = ()

    @property
    def counters(self) -> tuple[Counter, ...]:
        """All of them."""
        return tuple(chain.from_iterable([process.series.values() for process in self.processes]))

    def shapes(self, *, probe: bool) -> Shapes:
        """Return the bounds of each process that shows a histogram, of predictors or of probers."""
        return {
            (process.shown.revision, process.shown.pod): process.bounds
            for process in self.processes
            if process.bounds and process.shown is not None and process.shown.probe is probe
        }


NOTHING = Newest()
"""A look that is not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One revision's processes at a look."""

    ready: int
    """Pods that are ready."""
    judged: Mapping[str, Shown]
    """By process: those whose samples are waited for."""
    missing: tuple[str, ...]
    """Ready pods that Prometheus does not show."""
    lagging: tuple[str, ...]
    """Ready pods of which there has been no new sample for long."""
    names: frozenset[str] = frozenset()
    """Names of the ready pods, where Prometheus names pods so;
    else nothing is known of whose they are.
    """

    @property
    def left_out(self) -> tuple[str, ...]:
        """Ready pods that are not judged."""
        return tuple(sorted((*self.missing, *self.lagging)))

    @property
    def may_go_on(self) -> bool:
        """Whether enough of the pods are seen to speak for all of them."""
        return bool(self.judged) and len(self.left_out) <= MAY_MISS * self.ready

    @property
    def newest(self) -> float | None:
        """When the newest sample was taken."""
        return max(_times(self.judged.values()), default=None)

    @property
    def oldest(self) -> float | None:
        """When the oldest of the newest samples was taken."""
        return min(_times(self.judged.values()), default=None)


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What a look shows of both arms."""

    canary: Arm
    stable: Arm
    shown: Mapping[str, Shown]
    """By process: everything, also of pods that are not ready and of probers."""

    @cached_property
    def both(self) -> bool:
        """Whether there is a process to judge in each arm."""
        return bool(self.canary.judged and self.stable.judged)

    @cached_property
    def newest(self) -> float | None:
        """When the newest sample of any judged process was taken."""
        return max(_times(self._judged), default=None)

    @cached_property
    def oldest(self) -> float | None:
        """When the oldest of the judged processes' newest samples was taken."""
        return min(_times(self._judged), default=None)

    @cached_property
    def stable_is_later(self) -> bool:
        """Whether no sample of stable's is older than the canary's newest,
        as if scraped at one moment.
        """
        canary, stable = self.canary.newest, self.stable.oldest
        return canary is None or stable is None or stable >= canary

    @cached_property
    def _judged(self) -> list[Shown]:
        return [*self.canary.judged.values(), *self.stable.judged.values()]

    def strangers(self, evidence: Evidence) -> frozenset[str]:
        """Return the processes that count as a release's and are none of its pods that were ever
        ready.

        Any pod of the namespace may export such series. One that is not ready any more is still
        ours.
        """
        arms: dict[str, Arm] = {}
        for arm in (self.canary, self.stable):
            if arm.names:
                arms |= {shown.revision: arm for shown in arm.judged.values()}
        unready = (
            process
            for process, shown in self.shown.items()
            if not shown.probe
            and (arm_of_pod := arms.get(shown.revision)) is not None
            and shown.pod not in arm_of_pod.names
        )
        return frozenset(process for process in unready if not _was_counted(process, evidence))

    def reaches_beyond(self, horizon: float | None) -> bool:
        """Return whether every judged process has a sample newer than a time.

        A source that tells no times is taken to bring a new sample with every look.
        """
        return self.both and (horizon is None or all(at > horizon for at in _times(self._judged)))


def _was_counted(process: str, evidence: Evidence) -> bool:
    prefix = f"{process}|"
    return any(series.startswith(prefix) for series in evidence.counters)


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
    series_by_process: dict[tuple[str, str, bool], dict[str, Counter]] = {}
    unread: set[str] = set()
    for given in counters:
        counter, bound = given, given.bound
        if bound is not None:
            # Without a call for each bucket: a look has a thousand.
            if bound in unread and given.value >= 0 and given.value % 1 == 0:
                continue
            spelled = canonical(bound)
            if bounds is not None and spelled not in bounds and is_number(spelled):
                unread.add(bound)
                if given.value >= 0 and given.value % 1 == 0:
                    continue
            if spelled != bound:
                counter = replace(given, bound=spelled)
        process = (counter.revision, counter.pod, counter.probe)
        mine = series_by_process.get(process)
        if mine is None:
            if counter.revision not in revisions:
                continue
            mine = series_by_process[process] = {}
        series = series_of(counter)
        known = mine.get(series)
        if known is None or _age_and_value(counter) > _age_and_value(known):
            mine[series] = counter
    return Newest(processes=tuple([_process(series) for series in series_by_process.values()]))


def _age_and_value(counter: Counter) -> tuple[float, float]:
    return counter.at or 0.0, counter.value


def _age(counter: Counter) -> float:
    return counter.at or 0.0


def _process(series: Mapping[str, Counter]) -> Process:
    """Return the process of these series, which are all of one."""
    any_counter = next(iter(series.values()))
    bounds = [counter.bound for counter in series.values() if counter.bound is not None]
    judged = [counter for counter in series.values() if counter.layout is None]
    last = max(judged, key=_age, default=None)
    shown = None
    if last:
        shown = Shown(
            revision=any_counter.revision,
            pod=any_counter.pod,
            probe=any_counter.probe,
            at=last.at,
            started=last.started,
        )
    name = process_name(any_counter.revision, any_counter.pod)
    return Process(name=name, shown=shown, series=series, bounds=frozenset(bounds))


def nonsense(newest_samples: Newest) -> str | None:
    """Say which counter cannot be one of ours, or None: a look with such an answer is not used."""
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


def values_of(processes: Iterable[Process], bounds: frozenset[str]) -> dict[str, int]:
    """Return the values that count, of counters that are no nonsense:
    buckets only where they are read.
    """
    wanted = {None, *bounds, INFINITY} if bounds else {None}
    return {
        series: int(counter.value)
        for process in processes
        for series, counter in process.series.items()
        if counter.bound in wanted and counter.layout is None
    }


def _shown_of(newest_samples: Newest) -> dict[str, Shown]:
    """Return every process with its newest sample's time."""
    shown: dict[str, Shown] = {}
    for process in newest_samples.processes:
        known, mine = shown.get(process.name), process.shown
        if mine and (known is None or (mine.at or 0.0) > (known.at or 0.0)):
            shown[process.name] = mine
    return shown


def sight_of(
    evidence: Evidence,
    newest_samples: Newest,
    arms: tuple[str, str],
    pods: Mapping[str, Collection[str]],
) -> Sight:
    """Return what a look shows of canary and stable; `pods` are the ready pods of each revision."""
    shown = _shown_of(newest_samples)
    latest = max(_times(shown.values()), default=None)
    patience = LAGS_AFTER * (evidence.scrape_seconds or SLOWEST_SCRAPE)
    canary, stable = (
        _arm(name, shown, frozenset(pods.get(name, ())), since=latest and latest - patience)
        for name in arms
    )
    return Sight(canary=canary, stable=stable, shown=shown)


def _arm(
    revision: str, shown: Mapping[str, Shown], ready: frozenset[str], *, since: float | None
) -> Arm:
    mine = {
        process: process_shown
        for process, process_shown in shown.items()
        if process_shown.revision == revision and not process_shown.probe
    }
    names = {process_shown.pod for process_shown in mine.values()}
    if not ready & names:
        # Prometheus names pods by another label, such as the address: then all that it shows count.
        missing = () if names else tuple(sorted(ready))
        return Arm(ready=len(ready or names), judged=mine, missing=missing, lagging=())
    mine = {
        process: process_shown
        for process, process_shown in mine.items()
        if process_shown.pod in ready
    }
    old = {process for process, process_shown in mine.items() if _is_older(process_shown, since)}
    # An arm that lags as a whole is not to be left out: it is waited for.
    old = old if len(old) < len(mine) else set()
    return Arm(
        ready=len(ready),
        judged={
            process: process_shown for process, process_shown in mine.items() if process not in old
        },
        missing=tuple(sorted(ready - names)),
        lagging=tuple(sorted(mine[process].pod for process in old)),
        names=ready,
    )


def _is_older(process: Shown, since: float | None) -> bool:
    return process.at is not None and since is not None and process.at < since


def is_new(evidence: Evidence, process: str, shown: Shown) -> bool:
    """Return whether a process shows a sample that was not counted yet.

    One that is not newer tells nothing, however it differs: it is another Prometheus' view of the
    past.
    """
    counted = evidence.scraped.get(process)
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
    gaps = [
        sample.at - evidence.scraped[process]
        for process, sample in shown.items()
        if sample.at is not None and evidence.scraped.get(process, sample.at) < sample.at
    ]
    return round(median(gaps), 1) if gaps else evidence.scrape_seconds
