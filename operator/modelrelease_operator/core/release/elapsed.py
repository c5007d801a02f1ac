"""Time that counts: added up from pass to pass, so that an outage or a clock that jumps adds next
to nothing.

Two moments of a wall clock say how far apart they are only while the clock is right and somebody
looked in between. So every deadline is a sum of spans between passes, each at least 0 and at most
`longest`.
"""

from datetime import datetime, timedelta

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Previous

SLACK = timedelta(seconds=30)
"""A pass may be late by this much and its whole span still counts."""


def longest(spec: ReleaseSpec) -> timedelta:
    """Return the most that one pass may add."""
    return 2 * spec.analysis.period + SLACK


def span(spec: ReleaseSpec, last: datetime | None, now: datetime) -> float:
    """Return the seconds since the last pass that count."""
    if last is None:
        return 0.0
    return min(max(timedelta(0), now - last), longest(spec)).total_seconds()


def kept(spec: ReleaseSpec, previous: Previous | None, now: datetime) -> Previous | None:
    """Return the previous version with the time that it is still kept,
    or None when that is over.
    """
    if previous is None:
        return None
    known = previous.left_seconds
    left = (previous.until - now).total_seconds() if known is None else known
    left -= span(spec, previous.clock_at, now)
    if left <= 0:
        return None
    until = now + timedelta(seconds=left)
    return previous.but(left_seconds=left, clock_at=now, until=until)
