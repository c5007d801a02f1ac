"""A canary that left the Service because it could not be seen, and how it comes back."""

from datetime import datetime, timedelta

from modelrelease_operator.api.durations import format_duration
from modelrelease_operator.api.status import Phase, Reason
from modelrelease_operator.core.analysis.judge import Judgement
from modelrelease_operator.core.desired import Decision, Desired
from modelrelease_operator.core.measurement.samples import few_scrapes
from modelrelease_operator.core.release.commands import value_for
from modelrelease_operator.core.release.desired_state import leads_away
from modelrelease_operator.core.release.transitions import enter_step, step_message
from modelrelease_operator.core.release.words import in_the_dark
from modelrelease_operator.core.scope import Scope

BACK = "the canary can be seen again"
LATELY = timedelta(hours=2)
"""How long a return into the Service is remembered."""
SECOND_RETURN = 240.0
"""Seconds that a canary has to be seen before it comes back a second time;
doubled for each further.
"""
LONGEST_WAIT = 1920.0
"""Most seconds of that."""


def act_unseen(scope: Scope, judgement: Judgement, desired: Desired) -> Decision:
    """Bring a canary that can be seen again back into the Service, where its step begins anew."""
    returns = _lately(scope)
    waits = _why_not_back(scope, judgement, len(returns))
    if waits is None:
        index = min(scope.canary.step, len(scope.spec.canary.plan) - 1)
        scope = scope.with_canary(returned=(*returns, scope.now))
        scope = scope.noticing(Reason.CANARY_SEEN, step_message(scope, index, BACK))
        return enter_step(scope, index, why=BACK)
    if problem := scope.observed.route_problem:
        late = "clients may still reach it"
        if leads_away(scope):
            late = f"its Service leads to version {scope.stable.version} while the route is late"
        waits = f"{waits}; {late}: {problem}"
    scope = scope.with_status(phase=Phase.PAUSED, weight=0, message=waits)
    return scope.decision(desired, requeue=scope.spec.analysis.period)


def _lately(scope: Scope) -> tuple[datetime, ...]:
    """Return the moments at which it came back, lately; a clock that was set back forgets them."""
    moments = scope.canary.returned
    return tuple(moment for moment in moments if timedelta(0) <= scope.now - moment < LATELY)


def _why_not_back(scope: Scope, judgement: Judgement, returns: int) -> str | None:
    """Say why it stays out of the Service, or None where it may come back."""
    canary = scope.canary
    # Seen twice, so that what it does once it has clients can be counted.
    awaited = max(few_scrapes(judgement.evidence), _damped(returns))
    often = _often(returns, awaited)
    if not judgement.sighted and not canary.visible_seconds:
        waits, why = in_the_dark(scope, judgement.message)
        by_hand = value_for(scope.status, "promote", canary.revision)
        return (
            f"canary {canary.version} left the Service and {waits}, because it cannot be seen: "
            f"{why}{often}; annotate abort, or promote={by_hand} to promote it unseen"
        )
    seen_again = f"canary {canary.version} can be seen again"
    if scope.spec.paused:
        return f"{seen_again}; spec.paused keeps it out of the Service"
    left = awaited - canary.visible_seconds
    if left > 0 or not judgement.sighted:
        span = format_duration(timedelta(seconds=max(1.0, left)))
        return f"{seen_again}; it comes back if that holds for another {span}{often}"
    if canary.unready_since:
        return f"{seen_again}; not all of its pods are ready"
    return None


def _damped(returns: int) -> float:
    """Return the seconds that a canary has to be seen after so many returns:
    none before the first.
    """
    return min(LONGEST_WAIT, SECOND_RETURN * 2 ** (returns - 1)) if returns else 0.0


def _often(returns: int, awaited: float) -> str:
    """Say why a canary waits longer than the first time, if it does."""
    if not returns:
        return ""
    times = "once" if returns == 1 else f"{returns} times"
    span = format_duration(timedelta(seconds=awaited))
    return f"; it came back {times} lately, so it has to be seen for {span}"
