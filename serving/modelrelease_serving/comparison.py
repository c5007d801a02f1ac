"""How an answer is compared with the recorded one, when a model starts and for every probe."""

import math


def difference(one: float | str, another: float | str) -> float:
    """Return how far two answers are apart; infinitely where one is a text and they differ."""
    if isinstance(one, str) or isinstance(another, str):
        return 0.0 if one == another else math.inf
    return abs(one - another)


def repeats(answer: float | str, recorded: float | str, tolerance: float) -> bool:
    """Say whether an answer is the recorded one, up to `tolerance`, beyond 1 a share of it.

    32-bit arithmetic, which many estimators use inside, is exact to seven digits whatever the size.
    """
    size = 0.0 if isinstance(recorded, str) else abs(recorded)
    return difference(answer, recorded) <= tolerance * max(1.0, size)
