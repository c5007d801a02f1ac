"""The Lease of the process that acts, and the times in which that process is frozen: another one
begins to act when the Lease has run out, and nothing that the woken one had in mind may be written.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

from modelrelease_operator.runtime.kube import Kube
from modelrelease_operator.runtime.lease import DURATION_SECONDS, RENEW_SECONDS, Lease
from testbed.simulation.story import Tell
from testbed.simulation.virtual_time import Timeline

FREEZES = 0.03
"""Share of the requests before which the process is frozen."""
SECONDS = (2.0, 5.0, 9.0, 11.0, 40.0)


@dataclass
class Leader:
    """What the acting process holds."""

    timeline: Timeline
    random: Random
    tell: Tell
    until: float
    """From when on nothing is frozen."""
    meanwhile: Callable[[float], Awaitable[None]]
    """What happens until the process wakes."""
    woken: bool = False
    """Whether it was frozen in this pass."""
    late: int = 0
    """Writes that came when another might act."""
    lease: Lease = field(init=False)

    def __post_init__(self) -> None:
        self.lease = Lease(Kube(None), "ml", "the one that acts")

    async def asks(self) -> None:
        """Take in that a request is about to be made: the Lease is as new as renewals are."""
        now = self.timeline.now
        if self.woken:
            return
        self.lease._renewed = now - self.random.uniform(0.0, RENEW_SECONDS)
        if now < self.until and self.random.random() < FREEZES:
            seconds = self.random.choice(SECONDS)
            self.tell("  the operator is frozen for {:g} s", seconds)
            self.woken = True
            await self.meanwhile(now + seconds)

    @property
    def runs_out(self) -> float:
        """From when on another may act, unless it is renewed."""
        return (self.lease._renewed or 0.0) + DURATION_SECONDS

    def writes(self) -> None:
        """Count a write that reaches the API server when the Lease may be another's."""
        if self.timeline.now > self.runs_out:
            self.late += 1

    def has_ended(self) -> bool:
        """Return, after a pass, whether the process ends because its Lease is lost."""
        lost = self.woken and not self.lease.is_held()
        self.woken = False
        return lost


async def frozen_until(done: asyncio.Task[None]) -> None:
    """Wait as one does who is frozen: what would have broken the waiting off comes afterwards."""
    broken_off: BaseException | None = None
    while not done.done():
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError as problem:
            broken_off = problem
    done.result()
    if broken_off is not None:
        raise broken_off
