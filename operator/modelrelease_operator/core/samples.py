"""What one look shows of each process, and whether that closes the open interval of evidence.

Prometheus scrapes every pod at a moment of its own, by default once a minute, and a look comes every few
seconds. So a look is no interval: it may show no new sample at all, or one of some pods. An interval is
closed when every process that is judged has a sample newer than *any* process had when the interval
began. Then stable's next interval reaches beyond the canary's last one, which is what `Confirmed` needs,
whatever the scrape interval is, and whoever asks for a look (docs/explanation/decisions.md).

All times here are those of the samples: no clock of ours is compared with them.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from statistics import median

from modelrelease_operator.api.status import Evidence
from modelrelease_operator.core.counters import is_another_process
from modelrelease_operator.core.observed import Counter
from modelrelease_operator.core.streams import process_of

SLOWEST_SCRAPE = 120.0
"""Seconds: the scrape interval that is reckoned with until one was measured."""
LAGS_AFTER = 2.5
"""Scrape intervals after which a process that shows no new sample is not waited for any more."""
MAY_MISS = 0.1
"""Share of a canary's ready pods that Prometheus may not show yet while it is judged and goes on."""
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
    """Names of the ready pods, where Prometheus names pods so; else nothing is known of whose they are."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a look shows of both arms."""

    canary: Arm
    stable: Arm
    shown: Mapping[str, Shown]
    """By process: everything, also of pods that are not ready and of probers."""

    @property
    def both(self) -> bool:
        """Whether there is a process to judge in each arm."""
        return bool(self.canary.judged and self.stable.judged)

    @property
    def newest(self) -> float | None:
        """When the newest sample of any judged process was taken."""
        return max(_times(self._judged), default=None)

    @property
    def oldest(self) -> float | None:
        """When the oldest of the judged processes' newest samples was taken."""
        return min(_times(self._judged), default=None)

    @property
    def stable_is_later(self) -> bool:
        """Whether no sample of stable's is older than the canary's newest, as if scraped at one moment."""
        canary, stable = self.canary.newest, self.stable.oldest
        return canary is None or stable is None or stable >= canary

    @property
    def _judged(self) -> list[Shown]:
        return [*self.canary.judged.values(), *self.stable.judged.values()]

    def strangers(self, evidence: Evidence) -> frozenset[str]:
        """Return the processes that count as a release's and are none of its pods that were ever ready.

        Any pod of the namespace may export such series. One that is not ready any more is still ours.
        """
        arms = {
            each.revision: arm
            for arm in (self.canary, self.stable)
            for each in arm.judged.values()
            if arm.names
        }
        return frozenset(
            process
            for process, each in self.shown.items()
            if not each.probe
            and (arm := arms.get(each.revision)) is not None
            and each.pod not in arm.names
            and not any(series.startswith(f"{process}|") for series in evidence.counters)
        )

    def reaches_beyond(self, horizon: float | None) -> bool:
        """Return whether every judged process has a sample newer than a time.

        A source that tells no times is taken to bring a new sample with every look.
        """
        return self.both and (horizon is None or all(at > horizon for at in _times(self._judged)))


def _times(processes: Iterable[Shown]) -> list[float]:
    return [each.at for each in processes if each.at is not None]


def shown_of(counters: Mapping[str, Counter]) -> dict[str, Shown]:
    """Return every process of these series with its newest sample's time."""
    found: dict[str, Shown] = {}
    for series, counter in counters.items():
        if counter.layout is not None:
            continue
        process = process_of(series)
        known = found.get(process)
        if known is None or (counter.at or 0.0) > (known.at or 0.0):
            found[process] = Shown(
                revision=counter.revision, pod=counter.pod, probe=counter.probe,
                at=counter.at, started=counter.started,
            )  # fmt: skip
    return found


def sight_of(
    evidence: Evidence,
    counters: Mapping[str, Counter],
    arms: tuple[str, str],
    pods: Mapping[str, Collection[str]],
) -> Sight:
    """Return what a look shows of canary and stable; `pods` are the ready pods of each revision."""
    shown = shown_of(counters)
    newest = max(_times(shown.values()), default=None)
    patience = LAGS_AFTER * (evidence.scrape_seconds or SLOWEST_SCRAPE)
    canary, stable = (
        _arm(name, shown, frozenset(pods.get(name, ())), since=newest and newest - patience) for name in arms
    )
    return Sight(canary=canary, stable=stable, shown=shown)


def _arm(revision: str, shown: Mapping[str, Shown], ready: frozenset[str], *, since: float | None) -> Arm:
    mine = {process: each for process, each in shown.items() if each.revision == revision and not each.probe}
    names = {each.pod for each in mine.values()}
    if not ready & names:
        # Prometheus names pods by another label, such as the address: then all that it shows count.
        missing = () if names else tuple(sorted(ready))
        return Arm(ready=len(ready or names), judged=mine, missing=missing, lagging=())
    mine = {process: each for process, each in mine.items() if each.pod in ready}
    old = {process for process, each in mine.items() if _is_older(each, since)}
    # An arm that lags as a whole is not to be left out: it is waited for.
    old = old if len(old) < len(mine) else set()
    return Arm(
        ready=len(ready),
        judged={process: each for process, each in mine.items() if process not in old},
        missing=tuple(sorted(ready - names)),
        lagging=tuple(sorted(mine[process].pod for process in old)),
        names=ready,
    )


def _is_older(process: Shown, since: float | None) -> bool:
    return process.at is not None and since is not None and process.at < since


def is_new(evidence: Evidence, process: str, shown: Shown) -> bool:
    """Return whether a process shows a sample that was not counted yet.

    One that is not newer tells nothing, however it differs: it is another Prometheus' view of the past.
    """
    counted = evidence.scraped.get(process)
    return shown.at is None or counted is None or shown.at > counted


def began_anew(evidence: Evidence, process: str, shown: Shown) -> bool | None:
    """Return whether a process is another one than before; None where nothing tells."""
    return is_another_process(evidence.born.get(process), shown.started)


def blind_limit(asked: timedelta, evidence: Evidence) -> timedelta:
    """Return how long a canary may go unseen: never less than it takes to see it twice.

    With a shorter limit than its scrape interval it would go and come, meet users and never be counted.
    """
    return max(asked, timedelta(seconds=few_scrapes(evidence)))


def few_scrapes(evidence: Evidence) -> float:
    """Return the seconds in which a process that is scraped shows two new samples; 0 until measured."""
    return LAGS_AFTER * min(evidence.scrape_seconds or 0.0, SLOWEST_SCRAPE)


def measured_gap(evidence: Evidence, shown: Mapping[str, Shown]) -> float | None:
    """Return the time between the two newest samples of most processes, in seconds; None without two."""
    gaps = [
        each.at - evidence.scraped[process]
        for process, each in shown.items()
        if each.at is not None and evidence.scraped.get(process, each.at) < each.at
    ]
    return round(median(gaps), 1) if gaps else evidence.scrape_seconds
