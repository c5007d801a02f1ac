"""Progress for people who wait: nothing long stays silent for more than a few seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HEARTBEAT_SECONDS = 5.0
_started = time.monotonic()


def say(text: str) -> None:
    """Print one line with the time since the command began (stderr: stdout is for answers)."""
    print(f"[{time.monotonic() - _started:6.1f}s] {text}", file=sys.stderr, flush=True)


def nothing() -> str:
    """Say nothing: the detail of a step that has none."""
    return ""


@contextmanager
def step(text: str, detail: Callable[[], str] = nothing) -> Iterator[None]:
    """Announce `text`, repeat it with `detail()` every few seconds, and say how long it took."""
    begin = time.monotonic()
    ended = threading.Event()

    def heartbeat() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            say(f"  … {text}: {time.monotonic() - begin:.0f} s {detail()}".rstrip())

    say(text)
    beat = threading.Thread(target=heartbeat, daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
    took = time.monotonic() - begin
    if took >= 1:
        say(f"  {text}: done in {took:.1f} s")
