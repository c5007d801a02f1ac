"""Evidence that requests are not dealt out as they should be, valid however often it is looked at.

A sample ratio mismatch: where each request goes to the canary with the probability that its weight
says, counts of both arms that say otherwise are of another experiment than the one that is judged.
The sequential test of it is a mean of likelihood ratios (Lindon and Malek 2020, arXiv 2011.03567,
take a Dirichlet's mean; Robbins 1970 any); here over the designs of the other tests, against a
*band* of shares around the weight, so that a small bias proves nothing however long it lasts.

For a share p of at least `low`, each design q < low has the expected factor
p q/low + (1 - p)(1 - q)/(1 - low), which is 1 at p = low and falls with p: at most 1, so its
product is a supermartingale, and so is a mean of such (Ville 1939 bounds it at every look). The
same holds above `high`. Requests that are dealt in turn and not by chance spread less than this
supposes: then alarms are rarer than their bound.

Nothing here knows a clock, a metric's name or a policy. Logarithms are natural.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from modelrelease_operator.core.statistics.eprocess import (
    NON_INFERIORITY_GRID,
    ArmCounts,
    log_mean_exp,
)
from modelrelease_operator.core.statistics.pairs import above, below

HALF = 0.5
LARGE = 10**9
"""Requests of which the evidence grows as fast as it is expected to."""
SIDES = 2
"""Questions that an alarm is asked by: too few requests, and too many."""


class Dealt(NamedTuple):
    """Requests that each arm has answered."""

    canary: int
    stable: int

    @property
    def total(self) -> int:
        """Both arms' together."""
        return self.canary + self.stable

    def plus(self, other: "Dealt") -> "Dealt":
        """Return both together."""
        return Dealt(self.canary + other.canary, self.stable + other.stable)


@dataclass(frozen=True, slots=True)
class Band:
    """Shares of the canary that are near enough to its weight; both ends in (0, 1)."""

    low: float
    high: float

    @classmethod
    def around(cls, weight: float, room: float) -> "Band":
        """Return the shares around a weight that are off by at most `room` of the smaller arm's.

        Raises ValueError for a weight at which an arm has nothing, or a room that is no band.
        """
        if not (0 < weight < 1 and 0 < room < 1):
            msg = f"weight and room must be in (0, 1), got {weight} and {room}"
            raise ValueError(msg)
        off = room * min(weight, 1 - weight)
        return cls(weight - off, weight + off)


def too_few(dealt: Dealt, band: Band, *, dispersion: float = 1) -> float:
    """Return log evidence that the canary's share is below the band."""
    return _below(dealt, band.low, dispersion)


def too_many(dealt: Dealt, band: Band, *, dispersion: float = 1) -> float:
    """Return log evidence that the canary's share is above the band."""
    return _above(dealt, band.high, dispersion)


def enough(dealt: Dealt, band: Band, *, dispersion: float = 1) -> float:
    """Return log evidence that the canary's share is not below the band."""
    return _above(dealt, band.low, dispersion)


def no_excess(dealt: Dealt, band: Band, *, dispersion: float = 1) -> float:
    """Return log evidence that the canary's share is not above the band."""
    return _below(dealt, band.high, dispersion)


def either(few: float, many: float) -> float:
    """Return the log evidence of both sides of an alarm, which share its probability."""
    return log_mean_exp([few, many])


def to_prove_outside(share: float, band: Band, needed: float, *, dispersion: float = 1) -> float:
    """Return the requests of both arms after which a share outside is expected to be proven;
    infinity for one inside.
    """
    if band.low <= share <= band.high:
        return math.inf
    counts = Dealt(round(share * LARGE), round((1 - share) * LARGE))
    proof = too_few if share < band.low else too_many
    speed = proof(counts, band, dispersion=dispersion) / LARGE
    price = needed + math.log(SIDES) + math.log(len(NON_INFERIORITY_GRID)) / dispersion
    return price / speed if speed > 0 else math.inf


def _below(dealt: Dealt, share: float, dispersion: float) -> float:
    """Ask of the smaller arm: the designs are multiples of its share."""
    if share <= HALF:
        return below(_canary(dealt), share, dispersion=dispersion)
    return above(_stable(dealt), 1 - share, dispersion=dispersion)


def _above(dealt: Dealt, share: float, dispersion: float) -> float:
    if share <= HALF:
        return above(_canary(dealt), share, dispersion=dispersion)
    return below(_stable(dealt), 1 - share, dispersion=dispersion)


def _canary(dealt: Dealt) -> ArmCounts:
    return ArmCounts(total=dealt.total, bad=dealt.canary)


def _stable(dealt: Dealt) -> ArmCounts:
    return ArmCounts(total=dealt.total, bad=dealt.stable)
