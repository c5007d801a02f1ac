"""Durations as people write them in manifests: `30s`, `5m`, `1h30m`."""

import re
from datetime import timedelta
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, StringConstraints, ValidationInfo, WithJsonSchema

from modelrelease_operator.api.strictness import is_strict

DURATION_PATTERN = r"^([0-9]+(s|m|h|d))+$"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

LONGEST = timedelta(days=365)
SCHEMA_RULES = "x-kubernetes-validations"


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


SECONDS_IN_CEL = " + ".join(
    f"{size} * self.findAll('[0-9]+{unit}').map(part, int(part.replace('{unit}', ''))).sum()"
    for unit, size in _SECONDS.items()
)
"""The length of a duration for the schema, which has no unit of days."""


def _readable(text: str) -> str:
    parse_duration(text)
    return text


def _at_least(least: timedelta, *, for_people: bool = False) -> AfterValidator:
    def check(text: str, info: ValidationInfo) -> str:
        if parse_duration(text) < least and (is_strict(info) or not for_people):
            msg = f"duration {text!r} must be at least {least.total_seconds():.0f}s"
            raise ValueError(msg)
        return text

    return AfterValidator(check)


def _as_in_the_schema(least: timedelta) -> WithJsonSchema:
    """Return what the schema says of a duration, so that a test can hold the two together."""
    rules = [_rule("<=", LONGEST, f"must be a duration of at most {LONGEST.days}d")]
    if least:
        rules.append(_rule(">=", least, f"must be a duration of at least {least.total_seconds():.0f}s"))
    return WithJsonSchema(
        {"type": "string", "pattern": DURATION_PATTERN, "maxLength": 20, SCHEMA_RULES: rules}
    )


def _rule(sign: str, bound: timedelta, message: str) -> dict[str, str]:
    return {"rule": f"{SECONDS_IN_CEL} {sign} {bound.total_seconds():.0f}", "message": message}


_Text = Annotated[str, StringConstraints(pattern=DURATION_PATTERN, max_length=20), AfterValidator(_readable)]
_NONE, _SECOND, _WINDOW = timedelta(0), timedelta(seconds=1), timedelta(seconds=10)

DurationText = Annotated[_Text, _as_in_the_schema(_NONE)]
PositiveDuration = Annotated[_Text, _at_least(_SECOND), _as_in_the_schema(_SECOND)]
WindowDuration = Annotated[
    _Text, _at_least(_SECOND), _at_least(_WINDOW, for_people=True), _as_in_the_schema(_WINDOW)
]
"""Over which something is counted: a shorter one is asked about more often than anything is scraped."""
