"""Simulated pods that Prometheus scrapes, each at moments of its own, by one server or several.

What a pod counted is drawn when somebody asks: at a scrape, or when its traffic changes. That has
the same law as drawing it second by second, and costs no more than there are scrapes. Pods that
start together are scraped in at most `MAX_ALONE` groups, each as if it were one large pod, so that
a thousand pods take no longer than a few.

All times are seconds since the simulation began.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

DISCOVERY = 5.0
"""Seconds until Prometheus knows a new pod: it hears of changes that often."""
MAX_ALONE = 4
"""Groups that pods which start together are scraped in."""

Increments = dict[tuple[str, str], int]
"""By kind of counter (`code`, `le`, `bin`,
or a gate's own `total` and `bad`) and its value: how much.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrapes:
    """How Prometheus scrapes."""

    interval: float = 15.0
    servers: int = 1
    """Servers behind one Service: any look is answered by one of them."""
    jitter: float = 0.0
    """Most seconds by which a scrape comes late."""
    missed: float = 0.0
    """Share of scrapes that fail."""

    def __post_init__(self) -> None:
        if not (self.interval > 0 and self.servers > 0):
            msg = (
                f"the scrape interval and the servers must be above 0, got {self.interval} s, "
                f"{self.servers}"
            )
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class Course:
    """A share of bad requests that changes with time: straight lines between points of (seconds,
    share).

    Two points of one time are a jump. Outside of the points the share is that of the nearest.
    """

    points: tuple[tuple[float, float], ...]

    def mean(self, start: float, end: float) -> float:
        """Return the mean share in a span of time."""
        return (
            (self._area(end) - self._area(start)) / (end - start) if end > start else self.at(start)
        )

    def at(self, time: float) -> float:
        """Return the share at one moment."""
        index = bisect_right(self.points, time, key=lambda point: point[0])
        if index in (0, len(self.points)):
            return self.points[min(index, len(self.points) - 1)][1]
        (since, before), (until, after) = self.points[index - 1], self.points[index]
        return before + (after - before) * (time - since) / (until - since)

    def _area(self, time: float) -> float:
        """Return the integral from the first point on."""
        first, share = self.points[0]
        if time <= first:
            return (time - first) * share
        known = [point for point in self.points if point[0] <= time]
        known.append((time, self.at(time)))
        return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(known))


@dataclass(slots=True, kw_only=True)
class Group:
    """Some pods of one revision that are scraped as one; or the prober."""

    name: str
    size: int
    ready_at: float
    born: float
    until: float
    """Until when its counters were drawn."""
    rate: float = 0.0
    """Requests a second, from then on."""
    counters: Increments = field(default_factory=dict)
    due: list[float] = field(default_factory=list)
    """By server: its next scrape."""
    offsets: list[float] = field(default_factory=list)
    shown: dict[int, tuple[float, float, Increments]] = field(default_factory=dict)
    """By server: when its newest sample was taken, when the process began, and the counters."""

    def count(self, increments: Increments) -> None:
        """Let the counters grow."""
        for key, grown in increments.items():
            self.counters[key] = self.counters.get(key, 0) + grown

    def begin_scrapes(self, scrapes: Scrapes, random: Random, known: float) -> None:
        """Give every server a moment of its own in each interval."""
        self.offsets = [random.uniform(0, scrapes.interval) for _ in range(scrapes.servers)]
        first = known + DISCOVERY
        self.due = [first + (offset - first) % scrapes.interval for offset in self.offsets]

    def scrape_before(
        self, now: float, draw: Callable[["Group", float], None], by: "Chance"
    ) -> None:
        """Let every server take the samples that are due, with the counters of that moment."""
        while (at := min(self.due, default=math.inf)) <= now:
            server = self.due.index(at)
            self.due[server] = by.next_due(at, self.offsets[server])
            if by.happens():
                draw(self, at)
                self.shown[server] = (at, self.born, dict(self.counters))

    def restart(self, now: float) -> None:
        """Begin anew under the same name: what was counted since the last sample is lost."""
        self.born = now
        self.counters = dict.fromkeys(self.counters, 0)


@dataclass(frozen=True, slots=True)
class Chance:
    """When scrapes come, and whether they succeed."""

    scrapes: Scrapes
    random: Random

    def next_due(self, at: float, offset: float) -> float:
        """Return a server's next moment: intervals from its own first one, late by the jitter."""
        interval, jitter = self.scrapes.interval, self.scrapes.jitter
        planned = offset + interval * (math.floor((at - offset) / interval + 1e-6) + 1)
        return planned + (self.random.uniform(0, min(jitter, 0.9 * interval)) if jitter else 0.0)

    def happens(self) -> bool:
        """Return whether a scrape succeeds."""
        return not self.scrapes.missed or self.random.random() >= self.scrapes.missed


def groups_of(pods: int) -> Sequence[int]:
    """Return the sizes of the groups that so many new pods are scraped in."""
    groups = min(pods, MAX_ALONE)
    return [pods // groups + (index < pods % groups) for index in range(groups)]
