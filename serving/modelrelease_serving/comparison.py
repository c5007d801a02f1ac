"""How an answer is compared with the recorded one, when a model starts and for every probe."""

import math
from collections.abc import Sequence

Scalar = float | str
Answer = Scalar | Sequence[Scalar]
"""A number or class, or several of them."""


def difference(one: Scalar, another: Scalar) -> float:
    """Return how far two values are apart; infinitely where one is a text and they differ."""
    if isinstance(one, str) or isinstance(another, str):
        return 0.0 if one == another else math.inf
    return abs(one - another)


def repeats(answer: Answer, recorded: Answer, tolerance: float) -> bool:
    """Say whether an answer is the recorded one: each value up to `tolerance`, beyond 1 a share of
    it.

    32-bit arithmetic, which many estimators use inside, is exact to seven digits whatever the size.
    """
    values, expected = values_of(answer), values_of(recorded)
    return len(values) == len(expected) and all(
        difference(value, wanted) <= tolerance * _size(wanted)
        for value, wanted in zip(values, expected, strict=True)
    )


def values_of(answer: Answer) -> Sequence[Scalar]:
    """Return the values of an answer, of which most have one."""
    return [answer] if isinstance(answer, str | float | int) else answer


def _size(recorded: Scalar) -> float:
    return 1.0 if isinstance(recorded, str) else max(1.0, abs(recorded))
