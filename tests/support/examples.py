"""How many examples a property is tried with: more of them in a search (`make fuzz`)."""

from typing import Any

from hypothesis import settings

USUAL = 100
"""Hypothesis' own number, for a test that asks for none."""


def examples(count: int, **others: Any) -> settings:
    """Return settings for so many examples, and for as many times more as the profile in force has.

    `others` are more of Hypothesis' settings.
    """
    more = max(1, settings().max_examples // USUAL)
    return settings(max_examples=count * more, **others)
