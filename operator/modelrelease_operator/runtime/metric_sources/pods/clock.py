"""The one clock by which pods' pages get their times.

Times of samples are compared with each other and with nothing else: which pod was read before
which, and whether a page is newer than the last one. Pods' clocks may be hours apart, so it is the
reader's, and one that only goes forward: docs/decisions/0050-pods-are-read-by-one-clock.md.
"""

import time
from collections import OrderedDict
from collections.abc import Callable

from modelrelease_operator.core.measurement.intervals import FAR_AHEAD
from modelrelease_operator.runtime.namespaced_name import NamespacedName

LEAST_STEP = 0.001
"""Seconds between a time that is known and the next one."""


MOST_RELEASES = 1000
"""Of which it is remembered by how much their time is ahead; status knows it of the others."""


class Clock:
    """Unix time that nobody sets back or forward while the process lives.

    Times in a release's status may be ahead of it, and then the release's own time is: others are
    not moved by what one status says.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._offset = wall() - monotonic()
        self._ahead: OrderedDict[NamespacedName, float] = OrderedDict()
        """By release: seconds."""

    def now(self, release: NamespacedName) -> float:
        """Return a release's time, in unix seconds."""
        return self._offset + self._monotonic() + self._ahead.get(release, 0.0)

    def go_on_after(self, release: NamespacedName, known: float | None) -> None:
        """Have every time of a release from now on be later than one that was given out for it.

        One that is far ahead is no time that was ever right, and counting begins anew without it.
        """
        now = self.now(release)
        if known is None or not now <= known <= now + FAR_AHEAD:
            return
        self._ahead[release] = self._ahead.get(release, 0.0) + known + LEAST_STEP - now
        self._ahead.move_to_end(release)
        while len(self._ahead) > MOST_RELEASES:
            self._ahead.popitem(last=False)
