"""How fast a core is right now: a fixed piece of work, timed again and again beside a measurement.

On a shared machine the speed of a core moves by half and more, and only figures with the same probe
compare.
"""

import os
import threading
import time
from statistics import median
from types import TracebackType
from typing import Final, Self

_EVERY_SECONDS: Final = 0.25
_STEPS: Final = 200_000


class SpeedProbe:
    """Times the work on `core`, in a thread of its own, while the block lasts.
    Costs 1 % of the core.
    """

    def __init__(self, core: int) -> None:
        self._core = core
        self._samples: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""
        self._over.set()
        self._thread.join()

    @property
    def milliseconds(self) -> float:
        """The median time of the work. Lower is a faster core."""
        return median(self._samples) if self._samples else 0.0

    def _sample(self) -> None:
        # Of this thread only: 0 means whoever calls.
        os.sched_setaffinity(0, {self._core})
        while not self._over.wait(_EVERY_SECONDS):
            began = time.thread_time()
            total = 0
            for step in range(_STEPS):
                total += step
            self._samples.append(1000 * (time.thread_time() - began))
