"""Weights from replica counts, for clusters without a gateway.

kube-proxy spreads connections evenly over the ready pods of a Service, so the canary's share is
its part of the pods. Stable keeps all its replicas while a canary is under test: going back must
never meet too few pods. So the share is at most one half.
"""

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How many pods each revision has, and what share that gives."""

    stable: int
    canary: int

    @property
    def weight(self) -> float:
        """The canary's share that these pods give, in percent."""
        return 100 * self.canary / (self.stable + self.canary)


@lru_cache(maxsize=4096)
def split(*, weight: int, replicas: int) -> Split:
    """Return the pods whose share comes closest to `weight` percent (1 to 99), never 0 and never above half.

    `replicas` is what stable runs, and goes on running. Of two equally close counts the smaller
    wins: fewer users meet an unproven version.
    """
    counts = range(1, replicas + 1)
    best = min(counts, key=lambda canary: (abs(100 * canary / (replicas + canary) - weight), canary))
    return Split(stable=replicas, canary=best)


def rounding_note(*, weight: int, chosen: Split) -> str | None:
    """Say why the share is not the one asked for, or None when it is (within half a percent)."""
    if abs(chosen.weight - weight) <= 0.5:
        return None
    wanted = f"{weight} % cannot be had with {chosen.stable} stable replicas"
    if weight > 50 and chosen.canary == chosen.stable:
        return f"{wanted}, which all stay while a canary is tested: {chosen.weight:.0f} % is the most"
    return f"{wanted}: {chosen.canary} canary replicas give {chosen.weight:.0f} %"
