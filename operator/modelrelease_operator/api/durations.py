"""Durations as people write them in manifests: `30s`, `5m`, `1h30m`."""

import re
from datetime import timedelta
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, GetCoreSchemaHandler, ValidationInfo, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

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
    seconds = sum(
        int(number) * _SECONDS[unit] for number, unit in re.findall(r"([0-9]+)([smhd])", text)
    )
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


class Duration(str):
    """A duration as a person wrote it, which is how it is shown and stored;
    `span` is what it means.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> "Duration":
        """Raise ValueError with the rule when the text is not a duration."""
        parse_duration(text)
        return super().__new__(cls, text)

    @property
    def span(self) -> timedelta:
        """The time that it says."""
        return parse_duration(self)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read it from a string; written it is a string again."""
        text = core_schema.str_schema(pattern=DURATION_PATTERN, max_length=20)
        return core_schema.no_info_after_validator_function(cls, text)


def _at_least(least: timedelta, *, for_people: bool = False) -> AfterValidator:
    def check(text: Duration, info: ValidationInfo) -> Duration:
        if text.span < least and (is_strict(info) or not for_people):
            msg = f"duration {text!r} must be at least {least.total_seconds():.0f}s"
            raise ValueError(msg)
        return text

    return AfterValidator(check)


def _as_in_the_schema(least: timedelta) -> WithJsonSchema:
    """Return what the schema says of a duration, so that a test can hold the two together."""
    rules = [_rule("<=", LONGEST, f"must be a duration of at most {LONGEST.days}d")]
    if least:
        rules.append(
            _rule(">=", least, f"must be a duration of at least {least.total_seconds():.0f}s")
        )
    return WithJsonSchema(
        {"type": "string", "pattern": DURATION_PATTERN, "maxLength": 20, SCHEMA_RULES: rules}
    )


def _rule(sign: str, bound: timedelta, message: str) -> dict[str, str]:
    return {"rule": f"{SECONDS_IN_CEL} {sign} {bound.total_seconds():.0f}", "message": message}


_NONE, _SECOND, _WINDOW = timedelta(0), timedelta(seconds=1), timedelta(seconds=10)

DurationText = Annotated[Duration, _as_in_the_schema(_NONE)]
PositiveDuration = Annotated[Duration, _at_least(_SECOND), _as_in_the_schema(_SECOND)]
WindowDuration = Annotated[
    Duration, _at_least(_SECOND), _at_least(_WINDOW, for_people=True), _as_in_the_schema(_WINDOW)
]
"""Over which something is counted: a shorter one is asked about more often than anything is
scraped.
"""
