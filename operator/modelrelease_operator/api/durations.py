"""Durations as people write them in manifests: `30s`, `5m`, `1h30m`."""

import re
from datetime import timedelta
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

DURATION_PATTERN = r"^([0-9]+(s|m|h|d))+$"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

LONGEST = timedelta(days=365)


@lru_cache(maxsize=1024)
def parse_duration(text: str) -> timedelta:
    """Read a duration such as `1h30m`; raise ValueError with the rule when it is not one."""
    if not re.fullmatch(DURATION_PATTERN, text):
        msg = f"duration {text!r} must be numbers with units s, m, h or d, such as 90s or 1h30m"
        raise ValueError(msg)
    seconds = sum(int(number) * _SECONDS[unit] for number, unit in re.findall(r"([0-9]+)([smhd])", text))
    if seconds > LONGEST.total_seconds():
        msg = f"duration {text!r} must be at most {LONGEST.days}d"
        raise ValueError(msg)
    return timedelta(seconds=seconds)


def format_duration(span: timedelta) -> str:
    """Write a duration for people, in its two largest units, such as `1h 5m`."""
    seconds = max(0, round(span.total_seconds()))
    parts = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def _readable(text: str) -> str:
    parse_duration(text)
    return text


def _at_least_a_second(text: str) -> str:
    if parse_duration(text) < timedelta(seconds=1):
        msg = f"duration {text!r} must be at least 1s"
        raise ValueError(msg)
    return text


DurationText = Annotated[
    str, StringConstraints(pattern=DURATION_PATTERN, max_length=20), AfterValidator(_readable)
]
PositiveDuration = Annotated[DurationText, AfterValidator(_at_least_a_second)]
