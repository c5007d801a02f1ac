"""What arrives from outside when something is wrong there: damaged documents, and odd values."""

import copy
import json
import math
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

ODD_NUMBERS = (0, -1, 0.5, 2**31, 2**63, 10**30, 1e308, math.inf, -math.inf, math.nan)
ODD_TEXTS = (
    "", " ", "NaN", "+Inf", "-Inf", "-1", "1e400", "0x10", "\u0661", "1_000", "a" * 5000, "\x00",
    "\ud800", "{{", "../..", "100\n200", "2026-02-30T25:00:00Z",
)  # fmt: skip
DEEP = "[" * 300 + "]" * 300
ODD_PARTS: tuple[Any, ...] = (
    None,
    True,
    False,
    [],
    {},
    [[]],
    [{}],
    {"": ""},
    {"a": [1, "b"]},
    json.loads(DEEP),
)

odd_texts = st.sampled_from(ODD_TEXTS) | st.text(max_size=20)
odd_numbers = st.sampled_from(ODD_NUMBERS) | st.floats() | st.integers()
odd_values = st.sampled_from(ODD_PARTS) | odd_numbers | odd_texts
"""What some JSON parser takes where something else was meant."""


def is_kept(value: Any) -> bool:
    """Return whether the API server can hold a value: it has no infinity, and texts are UTF-8."""
    if isinstance(value, str):
        return "\ud800" not in value
    return not isinstance(value, float) or math.isfinite(value)


kept_values = odd_values.filter(is_kept)
kept_texts = odd_texts.filter(is_kept)


@st.composite
def damaged(
    draw: st.DrawFn,
    document: Any,
    *,
    values: st.SearchStrategy[Any] = odd_values,
    texts: st.SearchStrategy[str] = odd_texts,
    most: int = 3,
) -> Any:
    """Draw a document with some of its values replaced, taken away, renamed, or said twice.

    Each level is as likely to be damaged as the next, however much there is below it.
    """
    broken = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, most))):
        holder, key = _place_in(draw, broken)
        match draw(st.integers(0, 5)):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            case 1:
                holder[draw(texts)] = holder.pop(key)
            case _:
                holder[key] = copy.deepcopy(draw(values))
        if not broken:
            break
    return broken


def _place_in(draw: st.DrawFn, document: Any) -> tuple[Any, Any]:
    """Draw a list or mapping of a document, and a key of it."""
    holder = document
    while True:
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        key = keys[draw(st.integers(0, 2**16)) % len(keys)]
        inner = holder[key]
        if not (isinstance(inner, dict | list) and inner) or draw(st.integers(0, 3)) == 0:
            return holder, key
        holder = inner


unhurried = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""However slow the machine is."""
