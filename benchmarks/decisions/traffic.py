"""The traffic that every rule is shown: counts of both arms, poll by poll.

Requests arrive as a Poisson process and fail independently. So an arm's good and bad requests of a
poll are two independent Poisson numbers, which is exact and quick to draw.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

POLL = 10
"""Seconds between two looks at the counters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One situation: how much traffic, how often stable fails, how much worse the canary is."""

    rps: int
    base: float
    """Share of stable's requests that go bad."""
    ratio: float
    weight: float
    """The canary's share of the requests."""
    seconds: int = 3600

    @property
    def canary_rate(self) -> float:
        """Share of the canary's requests that go bad."""
        return min(1.0, self.base * self.ratio)

    @property
    def polls(self) -> int:
        """Looks in the whole time."""
        return self.seconds // POLL

    @property
    def canary_requests(self) -> float:
        """Canary requests that are expected in the whole time."""
        return self.rps * self.weight * self.seconds

    @property
    def name(self) -> str:
        """Return the cell in one short line."""
        return f"{self.rps:>3} rps {100 * self.base:g} % w={100 * self.weight:g} % x{self.ratio:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Requests and bad requests of both arms: one row a run, one column a poll."""

    n_c: Ints
    x: Ints
    n_s: Ints
    y: Ints

    @property
    def runs(self) -> int:
        """How many runs there are."""
        return len(self.n_c)

    @property
    def polls(self) -> int:
        """How many polls each run has."""
        return len(self.n_c[0])

    def part(self, rows: slice) -> "Counts":
        """Return some of the runs."""
        return Counts(n_c=self.n_c[rows], x=self.x[rows], n_s=self.n_s[rows], y=self.y[rows])

    def where(self, mask: NDArray[np.bool_]) -> "Counts":
        """Return the polls of which this is true, one after the other."""
        return Counts(n_c=self.n_c[mask], x=self.x[mask], n_s=self.n_s[mask], y=self.y[mask])

    def every(self, polls: int) -> "Counts":
        """Return the same counts added up over so many polls each; a remainder is left out."""
        whole = self.polls // polls

        def added(counts: Ints) -> Ints:
            return np.asarray(
                counts[:, : whole * polls].reshape(self.runs, whole, polls).sum(axis=2)
            )

        return Counts(n_c=added(self.n_c), x=added(self.x), n_s=added(self.n_s), y=added(self.y))


def generator(seed: int, *names: object) -> np.random.Generator:
    """Return a generator of its own for each name, so that a part repeats as in the whole."""
    digest = hashlib.sha256(repr(names).encode()).digest()
    return np.random.default_rng([seed, *digest[:16]])


def draw(cell: Cell, runs: int, seed: int) -> Counts:
    """Draw both arms' counts."""
    polls = np.ones(cell.polls)
    return draw_with(cell, runs, generator(seed, cell), polls * cell.canary_rate, polls * cell.base)


def draw_with(
    cell: Cell,
    runs: int,
    random: np.random.Generator,
    p_c: Floats,
    p_s: Floats,
    weight: Floats | float | None = None,
) -> Counts:
    """Draw both arms' counts with bad rates, and perhaps a weight, of their own for each poll."""
    shape = (runs, p_c.shape[-1])
    arrivals = cell.rps * POLL
    share_c = np.asarray(cell.weight if weight is None else weight)

    def arm(share: Floats, rate: Floats) -> tuple[Ints, Ints]:
        failures = random.poisson(arrivals * share * rate, shape)
        return failures + random.poisson(arrivals * share * (1 - rate), shape), failures

    n_c, x = arm(share_c, p_c)
    n_s, y = arm(1 - share_c, p_s)
    return Counts(n_c=n_c, x=x, n_s=n_s, y=y)
