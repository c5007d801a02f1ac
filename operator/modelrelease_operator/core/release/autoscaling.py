"""Who sets the number of pods: the release's own autoscaler, another owner's, or only a person.

Two that aim at one release scale nothing at all (Kubernetes: AmbiguousSelector). So another owner's
is followed, and the release's own is not made beside it.
"""

from collections.abc import Sequence
from datetime import timedelta

from modelrelease_operator.api.autoscaling import Autoscaling
from modelrelease_operator.api.pods import requests_cpu
from modelrelease_operator.api.status import Reason, Status
from modelrelease_operator.core.observed import OtherAutoscaler
from modelrelease_operator.core.scope import Scope

AUTOSCALED = "Autoscaled"
LOOK_AGAIN = timedelta(minutes=1)
"""While an autoscaler does not work: no watch tells of other owners'."""

State = tuple[str, Reason, str]
"""Status, reason and message of a condition."""


def autoscaling_of(scope: Scope) -> Autoscaling | None:
    """Return what the release's own autoscaler is to do, or None where there is to be none: beside
    another owner's, and beside what could not be seen.
    """
    alone = scope.observed.autoscalers.others == ()
    return scope.spec.serving.autoscaling if alone else None


def autoscaled(scope: Scope) -> State | None:
    """Autoscaled: who sets the number of pods, and whether that works; None where nobody does, or
    where that cannot be seen.
    """
    settings, autoscalers = scope.spec.serving.autoscaling, scope.observed.autoscalers
    if autoscalers.others:
        return by_another(autoscalers.own_name, autoscalers.others, asked_for=settings is not None)
    if not autoscalers.seen:
        return None
    own = f"HorizontalPodAutoscaler {autoscalers.own_name}"
    if not autoscalers.own_exists:
        return ("Unknown", Reason.STARTING, f"{own} is to be made") if settings else None
    if autoscalers.own_problem:
        message = f"{own} does not scale: {autoscalers.own_problem}{_remedy(scope)}"
        return "False", Reason.AUTOSCALER_INACTIVE, message
    if settings is None:
        return "True", Reason.AUTOSCALED, f"{own} is to be removed, and scales until then"
    bounds = f"from {settings.min_replicas} to {settings.max_replicas} pods"
    target = f"{settings.target_cpu_utilization_percent} % of the CPU that predictors request"
    return "True", Reason.AUTOSCALED, f"{own} scales {bounds}, to {target}"


def by_another(own_name: str, others: Sequence[OtherAutoscaler], *, asked_for: bool) -> State:
    """Say whom the release follows, and what another owner's autoscaler cannot do."""
    other = others[0]
    if asked_for:
        message = (
            f"{other.words} aims at {other.target} already, so HorizontalPodAutoscaler "
            f"{own_name} of spec.serving.autoscaling is not made: delete "
            f"{other.name}, or take spec.serving.autoscaling out"
        )
        return "False", Reason.AUTOSCALER_CONFLICT, message
    if len(others) > 1:
        names = " and ".join(each.words for each in others)
        return "False", Reason.AUTOSCALER_CONFLICT, f"{names} aim at the same pods: keep one"
    if not other.aims_at_release:
        message = (
            f"{other.words} aims at {other.target}, whose replicas the release sets: aim it at "
            f"ModelRelease {own_name}"
        )
        return "False", Reason.AUTOSCALER_CONFLICT, message
    return "True", Reason.AUTOSCALED_BY_OTHER, f"{other.words} sets spec.serving.replicas"


def _remedy(scope: Scope) -> str:
    """Say what is missing where the release requests no CPU, which utilization is a share of."""
    serving = scope.spec.serving
    if requests_cpu(serving.resources, serving.pod_template):
        return ""
    return "; the release requests no CPU: set spec.serving.resources.requests.cpu"


def with_news(scope: Scope, before: Status, state: State | None) -> Scope:
    """Return the scope with an Event where an autoscaler went, or works against another."""
    if not scope.observed.autoscalers.seen:
        return scope
    known = before.condition(AUTOSCALED)
    scaled = known is not None and known.reason not in (Reason.STARTING, Reason.APPLY_REFUSED)
    if state is None and scaled and scope.spec.serving.autoscaling is None:
        message = (
            "no autoscaler aims at the release any more: spec.serving.replicas stays "
            f"{scope.replicas} until somebody sets it"
        )
        return scope.noticing(Reason.AUTOSCALER_GONE, message)
    if state is None or state[1] is not Reason.AUTOSCALER_CONFLICT:
        return scope
    if known and (known.reason, known.message) == state[1:]:
        return scope
    return scope.noticing(Reason.AUTOSCALER_CONFLICT, state[2], warning=True)
