"""How an answer is compared with the one recorded at training:
when a model starts, and of every probe.
"""

import math


def difference(one: float | str, other: float | str) -> float:
    """Return how far two answers are apart;
    infinitely where one of them is a text and they differ.
    """
    if isinstance(one, str) or isinstance(other, str):
        return 0.0 if one == other else math.inf
    return abs(one - other)


def repeats(answer: float | str, recorded: float | str, tolerance: float) -> bool:
    """Say whether an answer is the recorded one, up to `tolerance`: of a number beyond 1, a share
    of it.

    32-bit arithmetic, which many estimators use inside, is exact to seven digits whatever the size.
    """
    size = 0.0 if isinstance(recorded, str) else abs(recorded)
    return difference(answer, recorded) <= tolerance * max(1.0, size)
