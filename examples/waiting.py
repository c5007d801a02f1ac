"""Waiting for something to be seen, never for time to pass."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class NotSeenError(AssertionError):
    """What was waited for did not come; the text holds the last thing that was seen."""


def wait_until(
    what: str, look: Callable[[], T], done: Callable[[T], bool], *, within: float, every: float = 0.5
) -> T:
    """Return the first look that is `done`; raise with the last one when the time is over."""
    end = time.monotonic() + within
    while True:
        seen = look()
        if done(seen):
            return seen
        if time.monotonic() > end:
            msg = f"waited {within:.0f} s for {what}; last seen: {seen}"
            raise NotSeenError(msg)
        time.sleep(every)
