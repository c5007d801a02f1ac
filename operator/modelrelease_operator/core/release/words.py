"""Sentences about a canary that more than one part of the state machine says."""

from datetime import timedelta

from modelrelease_operator.api.durations import format_duration
from modelrelease_operator.api.status import CanaryStatus
from modelrelease_operator.core.observed import Workload
from modelrelease_operator.core.scope import Scope
from modelrelease_operator.core.sticky import clients_words


def probed_steps(canary: CanaryStatus) -> str | None:
    """Say which steps were passed without users, or return None."""
    if not canary.probed_steps:
        return None
    which = ", ".join(map(str, canary.probed_steps))
    plural = "s" if len(canary.probed_steps) > 1 else ""
    return f"probes and not users proved step{plural} {which} of {canary.steps}"


def in_the_dark(scope: Scope, why: str) -> tuple[str, str]:
    """Say how a canary that left the Service waits, and why it cannot be seen:
    without pods nothing can.
    """
    ready, wanted = scope.ready_pods(scope.canary.revision), scope.canary_pods_wanted
    if ready >= wanted:
        return "waits warm", why
    workload = scope.canary_workload
    trouble = workload and (workload.blocked or workload.problem)
    if not trouble:
        trouble = why if ready else "no pod of it is ready"
    return f"waits with {ready} of {wanted} pods ready", trouble


def not_ready(scope: Scope, replicas: int, waited: timedelta) -> str:
    """Say how many pods of the canary were ready after how long, and what the pods say."""
    workload: Workload | None = scope.canary_workload
    ready = workload.ready if workload else 0
    after = format_duration(waited)
    text = f"canary {scope.canary.version}: {ready} of {replicas} pods were ready after {after}"
    trouble = workload and (workload.refused or workload.problem)
    return f"{text}; {trouble}" if trouble else text


def passed(canary: CanaryStatus) -> str:
    """Say what a canary goes to promotion on."""
    how = "passed"
    if canary.by_hand:
        how = f"is promoted by hand without a verdict, {canary.by_hand}"
    elif canary.unproven and canary.unproven.startswith("the deadline"):
        how = "is promoted by the deadline"
    elif canary.unproven:
        how = f"is promoted: {canary.unproven}"
    if probes := probed_steps(canary):
        how = f"{how} ({probes})"
    return f"canary {canary.version} {how}"


def sticky_note(scope: Scope) -> str | None:
    """Say what clients who stay with one version mean for the evidence, where nobody has said it.

    The requests of one client are alike, and all of them are one arm's: there are fewer chances
    than requests.
    """
    if words := clients_words(scope.spec):
        return words
    sticky = scope.observed.route_sticky
    if sticky is None or scope.spec.analysis.dispersion > 1:
        return None
    return (
        f"{sticky} keeps each client with one version, so requests of one client fail together: "
        "set spec.analysis.dispersion to the most requests that one client sends in a step"
    )
