"""RollingBack: traffic has gone back to stable, and the canary is removed once that is seen."""

from modelrelease_operator.api.status import Crashes, Evidence, Phase, Reason
from modelrelease_operator.core.desired import REQUEUE_SOON, Decision
from modelrelease_operator.core.release.desired_state import answers_alone, steady, taken_back
from modelrelease_operator.core.scope import Scope


def rolling_back(scope: Scope) -> Decision:
    """Keep the canary's pods until the router is seen sending them nothing; then they drain."""
    if scope.observed.routed != frozenset({scope.stable.revision}):
        if problem := scope.observed.route_problem:
            message = (
                f"canary {scope.canary.version} is taken back: its Services lead to version "
                f"{scope.stable.version}, and its pods stay until the route does; {problem}"
            )
            scope = scope.with_status(message=message)
        elif answers_alone(scope, scope.canary.revision):
            message = (
                f"canary {scope.canary.version} is taken back as soon as a pod of version "
                f"{scope.stable.version} is ready; until then it answers alone"
            )
            scope = scope.with_status(message=message)
        return scope.decision(taken_back(scope), requeue=REQUEUE_SOON)
    message = (
        f"version {scope.stable.version} serves alone; canary {scope.canary.version} is removed"
    )
    scope = scope.with_status(
        phase=Phase.STABLE,
        canary=None,
        weight=0,
        evidence=Evidence(),
        crashes=Crashes(),
        message=message,
    ).noticing(Reason.ROLLED_BACK, message)
    return scope.decision(steady(scope), requeue=REQUEUE_SOON)
