"""What clients reach: the traffic provider's objects, and one Service for each arm."""

from collections.abc import Iterable
from typing import Any

from modelrelease_operator.api import names
from modelrelease_operator.api.spec import Canary
from modelrelease_operator.core.desired import Desired
from modelrelease_operator.manifests.workload import PORT_NAME, Owner, metadata
from modelrelease_operator.serving_runtimes import runtime_of
from modelrelease_operator.traffic.provider import Route, TrafficProvider
from modelrelease_operator.traffic.replicas import SERVICE, selector_for, service


def services(
    owner: Owner, desired: Desired, provider: TrafficProvider, canary: Canary
) -> list[dict[str, Any]]:
    """Return what clients call, and a Service for each arm; None without a revision to serve."""
    if not desired.routed:
        return []
    route = Route(
        release=owner.name,
        revisions=desired.routed,
        weight=desired.weight,
        stable=desired.stable,
        beside=desired.canary,
        canary=canary,
        port=_port_of(desired, desired.routed),
    )
    _, *arms = names.service_names(owner.name)
    objects = provider.objects(route)
    objects += [
        service(name, selector_for(owner.name, behind), _port_of(desired, behind))
        for name, behind in zip(arms, _behind_arms(desired, provider), strict=True)
    ]
    # Services first: a route may lead to them.
    return [_owned(owner, obj) for obj in sorted(objects, key=lambda obj: obj["kind"] != SERVICE)]


def _behind_arms(
    desired: Desired, provider: TrafficProvider
) -> tuple[frozenset[str], frozenset[str]]:
    """Return the revisions behind stable's Service and behind the canary's."""
    nobody = frozenset({names.NO_REVISION})
    stable = frozenset({desired.stable}) if desired.stable else nobody
    if desired.canary:
        return stable, frozenset({desired.canary})
    # Whoever shall have clients has them, whichever of the two a gateway follows.
    return (desired.routed, desired.routed) if provider.leads_to_arms else (stable, nobody)


def _owned(owner: Owner, obj: dict[str, Any]) -> dict[str, Any]:
    return {**obj, "metadata": {**obj["metadata"], **metadata(owner, obj["metadata"]["name"])}}


def _port_of(desired: Desired, revisions: Iterable[str]) -> int | str:
    """Return the port of these revisions' servers, or its name where their numbers differ.

    A number also for a Service that selects nothing: it is the one that the release's servers have.
    """
    ports = {
        run.target.revision: runtime_of(run.target.recipe.image).port for run in desired.running
    }
    selected = {ports[revision] for revision in revisions if revision in ports}
    numbers = selected or set(ports.values()) or {runtime_of("").port}
    return numbers.pop() if len(numbers) == 1 else PORT_NAME
