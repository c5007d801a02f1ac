"""The state machine of a release: one module for each phase.

Level-triggered: nothing here asks what changed, only what is. A pass that is repeated, or that
died between acting and writing its status, comes to the same end. Order is kept by conditions on
what was *observed* ("the canary goes only when the router is seen sending it nothing"), never by
remembering that something was asked for.
"""

from datetime import datetime
from typing import assert_never

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Phase, Status
from modelrelease_operator.core.desired import Decision
from modelrelease_operator.core.drift.retraining import update_retraining
from modelrelease_operator.core.drift.sustained import update_drift
from modelrelease_operator.core.observed import Observed
from modelrelease_operator.core.release.autoscaling import (
    LOOK_AGAIN,
    autoscaled,
    autoscaling_of,
    with_news,
)
from modelrelease_operator.core.release.commands import take
from modelrelease_operator.core.release.conditions import with_conditions
from modelrelease_operator.core.release.desired_state import (
    budgets_of,
    comparison_of,
    prober_of,
    shadow_of,
)
from modelrelease_operator.core.release.last_good import with_last_good
from modelrelease_operator.core.release.pending import pending
from modelrelease_operator.core.release.progressing import progressing
from modelrelease_operator.core.release.promoting import promoting
from modelrelease_operator.core.release.registry_outcomes import collect_outcomes
from modelrelease_operator.core.release.rolling_back import rolling_back
from modelrelease_operator.core.release.shadowing import shadowing
from modelrelease_operator.core.release.stable import stable
from modelrelease_operator.core.release.starting import starting
from modelrelease_operator.core.scope import Scope


def decide(*, spec: ReleaseSpec, status: Status, observed: Observed, now: datetime) -> Decision:
    """Return what should be, given what is asked for, remembered and observed."""
    scope = Scope(spec=spec, status=status, observed=observed, now=now)
    scope = take(update_drift(_within_plan(scope)))
    decision = _of_phase(scope)
    after = scope.but(status=decision.status, notices=decision.notices)
    if after.status.stable is not scope.status.stable:
        # Drift again, because a version that became stable just now is judged by its own windows.
        after = update_drift(after)
    retrained = update_retraining(after)
    after = collect_outcomes(retrained.scope, before=scope.status)
    scaled = autoscaled(scope)
    after = with_news(after, before=scope.status, state=scaled)
    desired = decision.desired.but(
        retraining=retrained.retraining,
        probing=prober_of(after),
        comparing=comparison_of(after),
        shadow=shadow_of(spec),
        budgets=budgets_of(scope, decision.desired),
        autoscaling=autoscaling_of(scope),
    )
    status = with_conditions(
        with_last_good(after.status, spec), after.observed, now, scaled, paused=spec.paused
    )
    look_again = LOOK_AGAIN if scaled and scaled[0] == "False" else None
    waits = [wait for wait in (decision.requeue, retrained.requeue, look_again) if wait is not None]
    requeue = min(waits, default=None)
    return Decision(desired=desired, status=status, requeue=requeue, notices=after.notices)


def _within_plan(scope: Scope) -> Scope:
    """Have a canary stand at the last step, where a person took away the one that it was at."""
    canary, steps = scope.status.canary, len(scope.spec.canary.plan)
    if canary is None or canary.step < steps:
        return scope
    return scope.with_canary(step=steps - 1, steps=steps)


def _of_phase(scope: Scope) -> Decision:
    match scope.status.phase:
        case Phase.PENDING:
            return pending(scope)
        case Phase.STABLE:
            return stable(scope)
        case Phase.STARTING:
            return starting(scope)
        case Phase.SHADOWING:
            return shadowing(scope)
        case Phase.PROGRESSING | Phase.PAUSED:
            return progressing(scope)
        case Phase.PROMOTING:
            return promoting(scope)
        case Phase.ROLLING_BACK:
            return rolling_back(scope)
        case _:
            assert_never(scope.status.phase)
