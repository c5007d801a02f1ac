"""Waiting for something to be seen, never for time to pass."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


LONGEST_SENTENCE = 600
PATIENCE_SECONDS = 900.0
"""A limit costs nothing until it is reached: this is several times what anything takes on a busy
machine. Who waits for less says why.
"""


class NotSeenError(AssertionError):
    """What was waited for did not come; the text holds the last thing that was seen, whole."""

    def __init__(self, text: str, sentence: str | None = None) -> None:
        super().__init__(text)
        self.sentence = sentence or text[:LONGEST_SENTENCE]
        """What a person is told: no dump."""


def _in_words(latest: Any) -> str:
    """Return what a person wants to hear of the last thing that was seen."""
    if isinstance(latest, dict) and "phase" in latest:
        return f"it is {latest['phase']}: {latest.get('message') or 'the operator says nothing'}"
    return f"last seen: {str(latest)[:200] or 'nothing'}"


def wait_until(
    condition: str,
    look: Callable[[], T],
    is_done: Callable[[T], bool],
    *,
    within: float = PATIENCE_SECONDS,
    every: float = 0.5,
) -> T:
    """Return the first look that is `done`; raise with the last one when the time is over."""
    end = time.monotonic() + within
    while True:
        latest = look()
        if is_done(latest):
            return latest
        if time.monotonic() > end:
            msg = f"waited {within:.0f} s for {condition}; last seen: {latest}"
            raise NotSeenError(msg, f"waited {within:.0f} s for {condition}; {_in_words(latest)}")
        time.sleep(every)
