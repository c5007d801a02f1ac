"""What is counted of a release, from what its clients saw. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import sqrt
from typing import Any, Final

Counts = Mapping[tuple[str, str], int]
"""Answers by the version that gave them and by what they were: `("2", "200")`. A request that
nobody answered has the version `none`."""

GOOD: Final = "200"
NOBODY: Final = "none"
PROMOTED: Final = "promoted"
ROLLED_BACK: Final = "rolled back"
UNDECIDED: Final = "undecided"
HEALTHY: Final = "healthy"
FAILING: Final = "failing"
STANDARD_ERRORS: Final = 3.0
"""A share further than this from its weight is not chance: 1 in 370 is, of correct ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the clients had seen at one moment."""

    at: float
    """Seconds since the new version was applied."""
    counts: Counts


def total(counts: Counts, *, version: str | None = None) -> int:
    """Return how many answers there are, of one version or of all."""
    return sum(n for (by, _), n in counts.items() if version in (None, by))


def answered(counts: Counts) -> int:
    """Return how many requests a version answered: those that nobody did had no share of it."""
    return total(counts) - total(counts, version=NOBODY)


def failures(before: Counts, after: Counts, *, except_by: str | None = None) -> dict[str, int]:
    """Return what went wrong in between, by words; `except_by` is a version that is faulty."""
    lost: dict[str, int] = {}
    for (by, outcome), count in after.items():
        new = count - before.get((by, outcome), 0)
        if new and outcome != GOOD and by != except_by:
            words = f"version {by}: {outcome}"
            lost[words] = lost.get(words, 0) + new
    return lost


def bad_answers(before: Counts, after: Counts, *, version: str) -> int:
    """Return how many bad answers users had of a version in between."""
    return sum(
        count - before.get((by, outcome), 0)
        for (by, outcome), count in after.items()
        if by == version and outcome != GOOD
    )


def last_answer_of(samples: Sequence[Sample], is_leaving: Callable[[str], bool]) -> float | None:
    """Return when a version that leaves was last seen to have answered; None: never.

    The moment is that of the look that showed it, so it is late by up to one look.
    """
    latest, seen = None, None
    for sample in samples:
        answers = sum(n for (by, _), n in sample.counts.items() if is_leaving(by))
        if seen is not None and answers > seen:
            latest = sample.at
        seen = answers
    return latest


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One release of one contender, from the moment when it was applied."""

    contender: str
    kind: str
    """`healthy` or `failing`: what was released."""
    end: str
    """`promoted`, `rolled back` or `undecided` when the patience ended."""
    seconds: float | None
    """Until the last answer of the version that left: the old one, or the faulty one."""
    requests: int
    failed: Mapping[str, int] = field(default_factory=dict)
    """Requests that failed by another's fault than the faulty version's, by words."""
    bad_answers: int = 0
    """Answers of the faulty version that were errors."""
    pods_started: int = 0
    cpu_seconds: float | None = None
    """Of the controller, until the release had ended."""
    watched_seconds: float = 0.0
    """The time that `cpu_seconds` are of."""
    gateway_probes_failed: int | None = None
    """Meanwhile; None without one. One that is not ready loses requests, whoever releases."""

    @property
    def as_expected(self) -> bool:
        """Whether it ended as it must, without a failed request."""
        must = PROMOTED if self.kind == HEALTHY else ROLLED_BACK
        return self.end == must and not self.failed

    @property
    def millicores(self) -> float | None:
        """The controller's processor time of a second."""
        if self.cpu_seconds is None or not self.watched_seconds:
            return None
        return 1000 * self.cpu_seconds / self.watched_seconds

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {**asdict(self), "failed": dict(self.failed)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How many of so many requests a canary had at one weight."""

    weight: int
    requests: int
    canary: int

    @property
    def percent(self) -> float:
        """The share that was counted."""
        return 100 * self.canary / self.requests

    @property
    def standard_errors(self) -> float:
        """How far it is from the weight, in standard errors of a fair lottery."""
        chance = self.weight / 100
        return (self.canary - self.requests * chance) / sqrt(self.requests * chance * (1 - chance))

    @property
    def as_expected(self) -> bool:
        """Whether the difference is what chance alone makes."""
        return abs(self.standard_errors) <= STANDARD_ERRORS


@dataclass(frozen=True, slots=True, kw_only=True)
class Streak:
    """Promotions and rollbacks in a row by one provider."""

    provider: str
    promotions: int
    rollbacks: int
    requests: int
    lost: Mapping[str, int] = field(default_factory=dict)
    """Requests that failed, without the faulty versions' own errors."""
    seconds: float = 0.0
    gateway_probes_failed: int | None = None
    """Meanwhile, as of a `Course`."""

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {**asdict(self), "lost": dict(self.lost)}


def lost_in(streaks: Iterable[Streak]) -> int:
    """Return how many requests were lost in all of them."""
    return sum(sum(streak.lost.values()) for streak in streaks)
