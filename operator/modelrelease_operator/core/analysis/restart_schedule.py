"""When further copies of the tests for a regression start.

A copy that starts late need not climb out of the healthy hours before it. The number of copies is
fixed at a canary's first look and never exceeded, whatever the spec becomes: the bound on false
rollbacks rests on it. When a planned copy starts may depend on anything
(docs/explanation/decisions.md).
"""

from datetime import datetime, timedelta

from modelrelease_operator.api.spec import Canary
from modelrelease_operator.api.status import CanaryStatus, Evidence

EVERY = timedelta(hours=1)
MOST_HOURLY = 6
"""More would find a regression of the tenth hour sooner, and every other one later."""


def planned_copies(canary: Canary) -> int:
    """Return how many copies a fresh canary's tests get:
    one a step, and one an hour until the deadline.
    """
    hours = canary.progress_deadline.span // EVERY
    return len(canary.plan) + min(MOST_HOURLY, hours)


def with_due_copies(
    evidence: Evidence, spec: Canary, canary: CanaryStatus, now: datetime
) -> Evidence:
    """Fix the number of copies at the first look; start one more when an hour has gone by.

    One copy is left for each step to come: a regression that only load brings is the likelier one.
    """
    if not evidence.planned:
        # Evidence without a plan is of an operator that knew of one copy: more would cost the
        # bound.
        planned = 1 if evidence.processes else planned_copies(spec)
        return evidence.but(planned=planned, copies=1, copy_since=now)
    if evidence.copy_since is None or now < evidence.copy_since:
        return evidence.but(copy_since=now)
    left = evidence.planned - evidence.copies - max(0, canary.steps - 1 - canary.step)
    if left <= 0 or now - evidence.copy_since < EVERY:
        return evidence
    return evidence.but(copies=evidence.copies + 1, copy_since=now)
