"""How an answer is compared with the one recorded at training: when a model starts, and of every probe."""

import math


def difference(one: float | str, other: float | str) -> float:
    """Return how far two answers are apart; infinitely where one of them is a text and they differ."""
    if isinstance(one, str) or isinstance(other, str):
        return 0.0 if one == other else math.inf
    return abs(one - other)
