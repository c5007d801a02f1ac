"""Exact weights by a Gateway: an HTTPRoute of the release's own, and a Service for each arm.

The weights do not depend on the numbers of pods, so a canary has as many as its share of the
requests needs. What counts is what every Gateway has taken (`Accepted` and `ResolvedRefs` about the
newest generation), not what the route asks for:
https://gateway-api.sigs.k8s.io/reference/spec/#routeparentstatus.

The release's main Service stays for callers inside the cluster, and leads to stable alone.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from math import ceil
from typing import Any, NamedTuple

from typing_extensions import override

from modelrelease_operator.api import names
from modelrelease_operator.api.routing import GatewayAPI, ParentRef
from modelrelease_operator.api.spec import Canary
from modelrelease_operator.traffic.provider import (
    Effect,
    Object,
    ObjectKey,
    Route,
    Split,
    TrafficProvider,
)
from modelrelease_operator.traffic.replicas import SERVICE, routed_by, selector_for, service

API_VERSION = "gateway.networking.k8s.io/v1"
HTTP_ROUTE = "HTTPRoute"
TAKEN = ("Accepted", "ResolvedRefs")
"""Conditions of a route that a Gateway follows."""
PORT = 80
"""Of the arms' Services."""
ALL = 100


class GatewayApi(TrafficProvider):
    """A release that names Gateways in `spec.canary.routing.gatewayAPI`."""

    leads_to_arms = True
    # Seen: where the weight came as the pods got ready, Traefik answered it with 503 for the two
    # seconds in which it takes up no second change; what it reads of pods is written a bit later.
    endpoints_delay = timedelta(seconds=5)

    @override
    def takes(self, canary: Canary) -> bool:
        """Take the releases that name Gateways."""
        return canary.routing.gateway_api is not None

    @override
    def split(self, *, weight: int, replicas: int) -> Split:
        """Return the pods that a share of the requests needs, where all of them need `replicas`."""
        return Split(stable=replicas, canary=max(1, ceil(replicas * weight / 100)), weight=weight)

    @override
    def note(self, *, weight: int, replicas: int) -> str | None:
        """Return None: every weight is had exactly."""
        return None

    @override
    def objects(self, route: Route) -> list[dict[str, Any]]:
        """Return the main Service, which leads to stable while there is a canary, and the route."""
        settings = route.canary.routing.gateway_api
        if settings is None:
            msg = f"release {route.release} names no Gateway in spec.canary.routing.gatewayAPI"
            raise ValueError(msg)
        main = names.service_names(route.release)[0]
        behind = route.revisions
        if route.beside and route.stable in behind and route.weight < ALL:
            behind = frozenset({route.stable})
        return [
            service(main, selector_for(route.release, behind), route.port),
            _http_route(route, settings),
        ]

    @override
    def sources(self, release: str) -> tuple[ObjectKey, ...]:
        """Return the route, and the Services behind it."""
        main, *arms = names.service_names(release)
        return ((HTTP_ROUTE, main), *((SERVICE, name) for name in arms))

    @override
    def made(self, release: str) -> tuple[ObjectKey, ...]:
        """Return the route."""
        return ((HTTP_ROUTE, names.service_names(release)[0]),)

    @override
    def in_effect(self, objects: Mapping[ObjectKey, Object], revisions: Iterable[str]) -> Effect:
        """Return who is behind the weights that every Gateway took; until then, anybody may be."""
        route = next((item for (kind, _), item in objects.items() if kind == HTTP_ROUTE), None)
        if route is None:
            return Effect()
        if not_taken := _not_taken(route):
            problem, refused = not_taken
            return Effect(revisions=frozenset(revisions), problem=problem, refused=refused)
        selected = {
            name: routed_by(item["spec"].get("selector") or {}, revisions)
            for (kind, name), item in objects.items()
            if kind == SERVICE
        }
        shares = {backend["name"]: backend.get("weight", 1) for backend in _backends(route)}
        reached = frozenset[str]().union(
            *(behind for name, behind in selected.items() if shares.get(name, 0) > 0)
        )
        _, _, canary = names.service_names(route["metadata"]["name"])
        return Effect(revisions=reached - {names.NO_REVISION}, weight=shares.get(canary, 0))


GATEWAY_API = GatewayApi()


def _http_route(route: Route, settings: GatewayAPI) -> dict[str, Any]:
    main, stable, canary = names.service_names(route.release)
    weight = _weight_of(route)
    backends = [
        {"group": "", "kind": SERVICE, "name": name, "port": PORT, "weight": share}
        for name, share in ((stable, ALL - weight), (canary, weight))
    ]
    match = {"path": {"type": "PathPrefix", "value": settings.path}}
    spec: dict[str, Any] = {
        "parentRefs": [_parent(ref) for ref in settings.parent_refs],
        "rules": [{"matches": [match], "backendRefs": backends}],
    }
    if settings.hostnames:
        spec["hostnames"] = list(settings.hostnames)
    return {"apiVersion": API_VERSION, "kind": HTTP_ROUTE, "metadata": {"name": main}, "spec": spec}


def _weight_of(route: Route) -> int:
    """Return the canary's share beside stable; all or nothing where one is alone."""
    if route.beside is None:
        return 0
    if len(route.revisions) > 1:
        return route.weight
    return 0 if route.stable in route.revisions else ALL


def _parent(ref: ParentRef) -> dict[str, Any]:
    fields = {"namespace": ref.namespace, "sectionName": ref.section_name, "port": ref.port}
    return {
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "name": ref.name,
        **{key: value for key, value in fields.items() if value is not None},
    }


class _NotTaken(NamedTuple):
    """Why a route is not followed as it is."""

    problem: str
    refused: bool
    """True: a Gateway refuses it, or none answers; False: it is only late."""


def _not_taken(route: Object) -> _NotTaken | None:
    """Return why a Gateway does not follow the route as it is; None if all do."""
    meta, statuses = route["metadata"], route.get("status", {}).get("parents") or []
    name = f"{HTTP_ROUTE} {meta['name']}"
    for ref in route["spec"].get("parentRefs") or []:
        gateway = f"Gateway {ref.get('namespace') or meta['namespace']}/{ref['name']}"
        of_gateway = [
            status
            for status in statuses
            if _same(status.get("parentRef") or {}, ref, meta["namespace"])
        ]
        if not of_gateway:
            silence = "has not answered; is it there, and does its listener let it in?"
            return _NotTaken(f"{name}: {gateway} {silence}", refused=True)
        if not_taken := _not_taken_by(of_gateway, meta.get("generation")):
            return not_taken._replace(problem=f"{name}: {gateway} {not_taken.problem}")
    return None


def _not_taken_by(statuses: Iterable[Object], generation: int | None) -> _NotTaken | None:
    """Return why no controller follows the route; None if one does.

    A Gateway has one controller, but what another one wrote while it had it may stay for ever.
    """
    answers: dict[str, list[_NotTaken | None]] = {}
    for status in statuses:
        answer = next(_problems(status, generation), None)
        answers.setdefault(status.get("controllerName", ""), []).append(answer)
    by_controller = [_of_one_controller(of_one) for of_one in answers.values()]
    problems = [not_taken for not_taken in by_controller if not_taken]
    if len(problems) < len(by_controller):
        return None
    return max(problems, key=lambda not_taken: not_taken.refused)


def _of_one_controller(answers: list[_NotTaken | None]) -> _NotTaken | None:
    """Sum up a controller's answers: one for a reference, or one for each listener that the
    reference leaves open, of which one has to let the route in.
    """
    late = next((answer for answer in answers if answer and not answer.refused), None)
    if late:
        return late
    return None if None in answers else answers[0]


def _problems(status: Object, generation: int | None) -> Iterator[_NotTaken]:
    conditions = {condition["type"]: condition for condition in status.get("conditions") or []}
    for kind in TAKEN:
        condition = conditions.get(kind)
        if condition is None or condition.get("observedGeneration", generation) != generation:
            yield _NotTaken(f"has not taken its newest weights yet ({kind})", refused=False)
        elif condition["status"] != "True":
            words = " ".join((condition.get("message") or "").split())
            reason = f"{kind} is {condition['status']}, {condition.get('reason')}"
            yield _NotTaken(f"refuses it: {reason}: {words}"[:500], refused=True)


def _same(parent: Object, ref: Object, namespace: str) -> bool:
    """Return whether a status is about a reference: both may leave the route's own namespace out,
    and a status may name a listener that the reference leaves open.
    """
    return (
        parent.get("name") == ref["name"]
        and (parent.get("namespace") or namespace) == (ref.get("namespace") or namespace)
        and all(ref.get(key) in (None, parent.get(key)) for key in ("sectionName", "port"))
    )


def _backends(route: Object) -> Iterator[Object]:
    for rule in route["spec"].get("rules") or []:
        yield from rule.get("backendRefs") or []
