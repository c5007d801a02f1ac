"""What a simulated world gives the gates that look at more than errors and latency.

Nobody knows beforehand what a person's own queries will give, so it is assumed, and said: by
default that own counts go bad as often as requests fail, that both versions answer alike, and that
a number stays at its limit, which is inside. Whoever knows better says so for each gate.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Self

from modelrelease_operator.core.statistics.random_variates import binomial

BINS = 10
"""Bins of the predictions: stable answers equally often in each,
as a baseline of quantiles has it.
"""
LAYOUT = "simulated"


@dataclass(frozen=True, slots=True, kw_only=True)
class BadShares:
    """A gate with `counts` or `loss`: the shares of each arm's requests that it counts as bad."""

    stable: float
    canary: float

    @classmethod
    def read(cls, text: str, share: Callable[[str], float]) -> Self:
        """Return them as they are given, `STABLE:CANARY`; `share` reads one."""
        stable, _, canary = text.partition(":")
        return cls(stable=share(stable), canary=share(canary))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """A gate with `predictions`: the share of the canary's answers that move to the first bin."""

    share: float = 0.0

    @property
    def bins(self) -> tuple[float, ...]:
        """How often the canary answers in each bin."""
        kept = (1 - self.share) / BINS
        return (kept + self.share, *[kept] * (BINS - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """A gate with a `threshold`: what its query gives, look by look; the last value stays."""

    values: tuple[float, ...]

    def at(self, look: int) -> float:
        """Return the value of a look; those before the first see the first."""
        return self.values[min(max(0, look), len(self.values) - 1)]


Assumption = BadShares | Shift | Values
Assumptions = Mapping[str, Assumption]
"""By the gate's name."""


def shift_of(assumptions: Assumptions) -> Shift | None:
    """Return the shift of the predictions, which every gate that looks at them sees;
    None without one.
    """
    shifts = [assumption for assumption in assumptions.values() if isinstance(assumption, Shift)]
    return max(shifts, key=lambda assumption: assumption.share, default=None)


def grown(
    random: Random, assumptions: Assumptions, requests: int, *, canary: bool
) -> dict[tuple[str, str], int]:
    """Return by how much the gates' own counters and the bins grow with so many requests of an
    arm.
    """
    rows = {}
    for name, assumption in assumptions.items():
        if isinstance(assumption, BadShares):
            share = assumption.canary if canary else assumption.stable
            rows["total", name], rows["bad", name] = requests, binomial(random, requests, share)
    if shift := shift_of(assumptions):
        counts = _dealt(random, requests, (shift if canary else Shift()).bins)
        rows.update({("bin", str(place)): count for place, count in enumerate(counts)})
    return rows


def _dealt(random: Random, requests: int, shares: Sequence[float]) -> list[int]:
    """Deal requests to bins: one binomial draw after the other is a multinomial one."""
    counts: list[int] = []
    left = 1.0
    for share in shares[:-1]:
        counts.append(
            binomial(random, requests - sum(counts), min(1.0, share / left) if left > 0 else 0.0)
        )
        left -= share
    return [*counts, requests - sum(counts)]
