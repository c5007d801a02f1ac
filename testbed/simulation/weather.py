"""What goes wrong, and when: drawn from the seed, and over by the time that a release must end."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from testbed.simulation.cluster import Request


class Fault(StrEnum):
    """What becomes of one request."""

    DIES_BEFORE = "the operator dies before it is sent"
    DIES_AFTER = "the operator dies before it hears the answer"
    LOST = "times out, and was never done"
    LATE = "times out, and was done all the same"
    CONFLICT = "409: the object has been modified"
    BUSY = "429: too many requests"
    BROKEN = "500: etcdserver: leader changed"
    FORBIDDEN = "403: forbidden"
    REFUSED = "422: denied by an admission webhook"


class Spell(StrEnum):
    """What goes wrong for a while."""

    API_DOWN = "the API server does not answer"
    FORBIDDEN = "the operator may not touch"
    REFUSED = "an admission webhook denies"
    WATCH_LATE = "the watch is late of"
    WATCH_BROKEN = "the watch is broken of"
    METRICS_DOWN = "the source of metrics does not answer"
    METRICS_SLOW = "the source of metrics is slow"
    NOT_SCRAPED = "a pod is not scraped of"
    QUOTA = "a quota leaves no room for pods"


READ_FAULTS = (Fault.LOST, Fault.BUSY, Fault.BROKEN)
WRITE_FAULTS = (
    Fault.DIES_BEFORE, Fault.DIES_AFTER, Fault.LOST, Fault.LATE, Fault.CONFLICT, Fault.BUSY,
    Fault.BROKEN, Fault.FORBIDDEN, Fault.REFUSED,
)  # fmt: skip
WRITTEN = ("Deployment", "Service", "ModelRelease", "PodDisruptionBudget", "Event")
WATCHED = ("Deployment", "Service", "Pod", "ModelRelease")
ABOUT = {
    Spell.FORBIDDEN: WRITTEN,
    Spell.REFUSED: ("Deployment", "Service", "PodDisruptionBudget"),
    Spell.WATCH_LATE: WATCHED,
    Spell.WATCH_BROKEN: WATCHED[:3],
    Spell.NOT_SCRAPED: ("the canary", "stable"),
}
"""What a spell is about, where it is about one thing."""
LONGEST = {Spell.METRICS_DOWN: 400.0, Spell.NOT_SCRAPED: 400.0}
CODES = {
    Fault.CONFLICT: 409,
    Fault.BUSY: 429,
    Fault.BROKEN: 500,
    Fault.FORBIDDEN: 403,
    Fault.REFUSED: 422,
}


@dataclass(slots=True)
class Weather:
    """Faults of a seed."""

    random: Random
    calm_after: float
    """Nothing goes wrong from this time on."""
    rate: float = 0.0
    """Share of the requests of which something becomes other than what was asked."""
    spells: list[tuple[Spell, str, float, float]] = field(default_factory=list)
    """Each with what it is about, its beginning and its end."""

    @classmethod
    def of(cls, random: Random, now: float, calm_after: float) -> "Weather":
        """Draw what goes wrong: from nothing to much."""
        rate = random.choice((0.0, 0.01, 0.03, 0.08, 0.2))
        weather = cls(random=random, calm_after=calm_after, rate=rate)
        for _ in range(random.choice((0, 0, 1, 2, 4))):
            spell = random.choice(tuple(Spell))
            about = random.choice(ABOUT.get(spell, ("",)))
            begins = random.uniform(now, calm_after)
            ends = begins + random.uniform(1.0, LONGEST.get(spell, 90.0))
            weather.spells.append((spell, about, begins, min(ends, calm_after)))
        return weather

    def stormy(self, now: float) -> bool:
        return now < self.calm_after

    def has(self, spell: Spell, now: float, about: str = "") -> bool:
        for kind, what, begins, ends in self.spells:
            if kind is spell and what == about and begins <= now < ends:
                return True
        return False

    def of_request(self, request: Request, now: float) -> Fault | None:
        """Return what becomes of a request, None for what is asked."""
        if now >= self.calm_after:
            return None
        if self.spells and (fault := self._of_spells(request, now)):
            return fault
        if self.rate and self.random.random() < self.rate:
            return self.random.choice(WRITE_FAULTS if request.writes else READ_FAULTS)
        return None

    def _of_spells(self, request: Request, now: float) -> Fault | None:
        if self.has(Spell.API_DOWN, now):
            return Fault.LOST
        if request.writes and self.has(Spell.FORBIDDEN, now, request.kind):
            return Fault.FORBIDDEN
        if request.writes and self.has(Spell.REFUSED, now, request.kind):
            return Fault.REFUSED
        return None

    def told(self) -> Iterator[tuple[float, str]]:
        """Yield each spell's beginning and end, for the story."""
        for spell, about, begins, ends in self.spells:
            yield begins, f"{spell} {about}".strip()
            yield ends, f"no more: {spell} {about}".strip()
