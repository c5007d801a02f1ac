"""Gates that a person writes in PromQL: their queries, and what a query may say.

A query is a template: `{{revision}}` and its like are filled in before it is asked.
"""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from modelrelease_operator.api.gate_settings import GateSettings

PLACEHOLDERS = ("release", "namespace", "revision", "version", "interval")
QUERY_PATTERN = f"^([^{{]|[{{][^{{]|[{{][{{]({'|'.join(PLACEHOLDERS)})[}}][}}])*$"
"""Two opening braces begin one of the placeholders; the schema has the same pattern."""
EXTRAPOLATES = "(^|[^a-zA-Z0-9_:])(rate|irate|increase|delta|idelta|deriv) *[(]"
"""Functions whose results are no counts; the schema has the same pattern."""


def _known_placeholders(query: str) -> str:
    if not re.fullmatch(QUERY_PATTERN, query):
        known = ", ".join(f"{{{{{name}}}}}" for name in PLACEHOLDERS)
        msg = f"a query may hold only the placeholders {known}, got {query!r}"
        raise ValueError(msg)
    return query


def _raw_counters(query: str) -> str:
    if re.search(EXTRAPOLATES, query):
        msg = f"must return raw counters, so no rate() and no increase(), got {query!r}"
        raise ValueError(msg)
    if "{{revision}}" not in query and "{{version}}" not in query:
        msg = (
            f"must hold {{{{revision}}}} or {{{{version}}}}, because it is asked for each arm, got "
            f"{query!r}"
        )
        raise ValueError(msg)
    return query


Query = Annotated[
    str, StringConstraints(min_length=1, max_length=4096), AfterValidator(_known_placeholders)
]
CountQuery = Annotated[Query, AfterValidator(_raw_counters)]


class ThresholdGate(GateSettings):
    """A number that the canary must keep within limits, for several looks in a row."""

    kind = "threshold"
    query: Query
    max: float | None = None
    min: float | None = None
    consecutive: int = Field(default=3, ge=1, le=100)

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.max is None and self.min is None:
            msg = "threshold bounds nothing: set max or min"
            raise ValueError(msg)
        if self.max is not None and self.min is not None and self.max < self.min:
            msg = (
                f"threshold.max must not be below threshold.min, got {self.max:g} and {self.min:g}"
            )
            raise ValueError(msg)
        return self

    def keeps(self, value: float) -> bool:
        """Return whether a value is within the limits, which belong to them."""
        return (self.max is None or value <= self.max) and (self.min is None or value >= self.min)

    @property
    def words(self) -> str:
        """The limits for people."""
        most = f"at most {self.max:g}" if self.max is not None else ""
        least = f"at least {self.min:g}" if self.min is not None else ""
        return " and ".join(filter(None, (least, most)))
