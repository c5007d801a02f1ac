"""What a person's own queries gave at one look.

Whatever Prometheus answers becomes one of three: counters, a number, or a sentence why there is
none. A sentence is never a pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from modelrelease_operator.api.status import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class NotMeasured:
    """Why a gate could not be asked at this look."""

    verdict: Verdict
    """`Insufficient` where there is nothing to count yet,
    `Unavailable` where something is wrong.
    """
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterSample:
    """One of a person's own counters."""

    revision: str
    bad: bool
    """Of the query for the bad requests; otherwise of that for all."""
    by_server: bool = False
    """Counted by the arm's own server, to be held against what the gateway counts."""
    pod: str
    labels: str
    """What tells it from the other counters of its pod."""
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalarResult:
    """What the query of a threshold gave."""

    value: float


QueryResult = tuple[CounterSample, ...] | ScalarResult | NotMeasured
QueryResults = Mapping[str, QueryResult]
"""By the gate's name."""

NOT_QUERIED = NotMeasured(verdict=Verdict.UNAVAILABLE, message="its query was not asked")
