"""Time that nobody waits for: the event loop's, the operator's modules' and the world's are one."""

import asyncio
import heapq
import selectors
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from typing_extensions import override

from modelrelease_operator.runtime import cache, kube, lease, neighbours, workers

CLOCKED = (cache, kube, lease, neighbours, workers)
"""Modules that look at a clock that counts seconds from anywhere."""
BEGINNING = 1_793_534_400.0
"""2026-11-01 12:00 UTC, in unix seconds."""


class Timeline:
    """What will happen and when, in the order of time."""

    def __init__(self) -> None:
        self.now = BEGINNING
        self._coming: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = count()

    def after(self, seconds: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self._coming, (self.now + seconds, next(self._serial), happens))

    def run_until(self, when: float) -> None:
        """Let everything happen that is due by then."""
        coming = self._coming
        while coming and coming[0][0] <= when:
            at, _, happens = heapq.heappop(coming)
            self.now = max(self.now, at)
            happens()
        self.now = max(self.now, when)

    def pass_until(self, when: Callable[[], float]) -> None:
        """The same until a time that what happens may bring nearer."""
        coming = self._coming
        while coming and coming[0][0] <= when():
            at, _, happens = heapq.heappop(coming)
            self.now = max(self.now, at)
            happens()
        self.now = max(self.now, when())


class Loop(asyncio.SelectorEventLoop):
    """An event loop that never waits: with nothing to do, it is the time of the next timer."""

    def __init__(self) -> None:
        super().__init__(_Impatient(self))
        self.timeline = Timeline()

    @override
    def time(self) -> float:
        return self.timeline.now


class _Impatient(selectors.DefaultSelector):
    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self._loop = loop

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout:
            # Unix seconds have a resolution of a quarter of a microsecond.
            self._loop.timeline.run_until(self._loop.timeline.now + timeout + 1e-6)
        elif timeout is None:
            msg = "the simulation waits for something that never comes"
            raise RuntimeError(msg)
        return super().select(0)


@contextmanager
def simulated_clocks(loop: Loop) -> Iterator[None]:
    """Have the operator's modules read the simulated time."""
    clock: Any = SimpleNamespace(monotonic=loop.time, clock_gettime=lambda _: loop.time())
    with ExitStack() as stack:
        for module in CLOCKED:
            stack.enter_context(patch.object(module, "time", clock))
        yield
