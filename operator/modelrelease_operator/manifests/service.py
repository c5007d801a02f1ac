"""What clients reach: the traffic provider's objects, and one Service for each arm."""

from collections.abc import Iterable
from typing import Any

from modelrelease_operator.api import names
from modelrelease_operator.api.spec import Canary
from modelrelease_operator.core.desired import Desired
from modelrelease_operator.manifests.workload import PORT_NAME, Owner, metadata
from modelrelease_operator.serving_runtimes import runtime_of
from modelrelease_operator.serving_runtimes.predictor import PREDICTOR
from modelrelease_operator.traffic.provider import Route, TrafficProvider
from modelrelease_operator.traffic.replicas import SERVICE, selector_for, service


def services(
    owner: Owner, desired: Desired, provider: TrafficProvider, canary: Canary
) -> list[dict[str, Any]]:
    """Return what clients call, and a Service for each arm; None without a revision to serve."""
    if not desired.routed:
        return []
    _, *arms = names.service_names(owner.name)
    objects = provider.objects(route_for(owner, desired, canary))
    objects += [
        service(name, selector_for(owner.name, behind), _port_of(desired, behind))
        for name, behind in zip(
            arms, _behind_arms(desired, leads_to_arms=provider.leads_to_arms), strict=True
        )
    ]
    # Services first: a route may lead to them.
    return [_owned(owner, obj) for obj in sorted(objects, key=lambda obj: obj["kind"] != SERVICE)]


def route_for(owner: Owner, desired: Desired, canary: Canary) -> Route:
    """Return who shall answer clients, as a traffic provider reads it."""
    return Route(
        release=owner.name,
        revisions=desired.routed,
        weight=desired.weight,
        stable=desired.stable,
        beside=desired.canary,
        arms=_one_behind_each(desired),
        canary=canary,
        port=_port_of(desired, desired.routed),
    )


def _one_behind_each(desired: Desired) -> tuple[str, str]:
    """Return the revision behind each arm, for what can select one alone."""
    stable, canary = (
        min(behind, default=names.NO_REVISION)
        for behind in _behind_arms(desired, leads_to_arms=True)
    )
    return stable, canary


def _behind_arms(desired: Desired, *, leads_to_arms: bool) -> tuple[frozenset[str], frozenset[str]]:
    """Return the revisions behind stable's Service and behind the canary's."""
    nobody = frozenset({names.NO_REVISION})
    stable = frozenset({desired.stable}) if desired.stable else nobody
    if desired.canary:
        return stable, frozenset({desired.canary})
    # Whoever shall have clients has them, whichever of the two a gateway follows.
    return (desired.routed, desired.routed) if leads_to_arms else (stable, nobody)


def _owned(owner: Owner, obj: dict[str, Any]) -> dict[str, Any]:
    return {**obj, "metadata": {**obj["metadata"], **metadata(owner, obj["metadata"]["name"])}}


def _port_of(desired: Desired, revisions: Iterable[str]) -> int | str:
    """Return the port of these revisions' servers, or its name where their numbers differ.

    A number also for a Service that selects nothing: it is the one that the release's servers have.
    """
    ports = {run.target.revision: runtime_of(run.target.recipe).port for run in desired.running}
    selected = {ports[revision] for revision in revisions if revision in ports}
    numbers = selected or set(ports.values()) or {PREDICTOR.port}
    return numbers.pop() if len(numbers) == 1 else PORT_NAME
