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
from modelrelease_operator.api.routing import GatewayAPI, ParentRef, SessionPersistence
from modelrelease_operator.api.spec import Canary
from modelrelease_operator.traffic.cohort import caveat_of, cohort_of, matches_of
from modelrelease_operator.traffic.inference_pools import INFERENCE_POOL, is_pool, selector_of
from modelrelease_operator.traffic.provider import (
    Asked,
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
PARTLY = "PartiallyInvalid"
"""The condition of a route of which a Gateway has dropped a rule, or kept an older one."""
SESSION_PERSISTENCE = "sessionPersistence"
"""Of a rule: keeps a client with the backend that it met first. Of the experimental channel."""
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
        settings = canary.routing.gateway_api
        return settings is not None and settings.existing_route is None

    @override
    def deals_by_request(self, canary: Canary) -> bool:
        """Return whether a route's weights, which are of requests, are all that deals them out."""
        settings = canary.routing.gateway_api
        keeps = settings is not None and settings.session_persistence is not None
        return cohort_of(canary) is None and not keeps

    @override
    def split(self, *, weight: int, replicas: int) -> Split:
        """Return the pods that a share of the requests needs, where all of them need `replicas`."""
        return Split(stable=replicas, canary=max(1, ceil(replicas * weight / 100)), weight=weight)

    @override
    def note(self, *, weight: int, replicas: int) -> str | None:
        """Return None: every weight is had exactly."""
        return None

    @override
    def caveat(self, canary: Canary) -> str | None:
        """Say that a cohort is no random sample."""
        cohort = cohort_of(canary)
        return caveat_of(cohort) if cohort else None

    @override
    def objects(self, route: Route) -> list[dict[str, Any]]:
        """Return the main Service, which leads to stable while there is a canary, and the route."""
        settings = route.canary.routing.gateway_api
        if settings is None:
            msg = f"release {route.release} names no Gateway in spec.canary.routing.gatewayAPI"
            raise ValueError(msg)
        return [main_service(route), _http_route(route, settings)]

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
    def in_effect(
        self,
        objects: Mapping[ObjectKey, Object],
        revisions: Iterable[str],
        asked: Asked | None = None,
    ) -> Effect:
        """Return who is behind the weights that every Gateway took; until then, anybody may be."""
        route = next((item for (kind, _), item in objects.items() if kind == HTTP_ROUTE), None)
        if route is None:
            return Effect()
        controllers = controllers_of(route)
        if late := not_taken(route):
            return Effect(
                revisions=frozenset(revisions), problem=late.problem, refused=late.refused,
                controllers=controllers,
            )  # fmt: skip
        _, _, canary = names.service_names(route["metadata"]["name"])
        # The last rule is the one with the weights; a cohort's stands before it.
        dealt = (route["spec"].get("rules") or [{}])[-1].get("backendRefs") or ()
        shares = {backend["name"]: backend.get("weight", 1) for backend in dealt}
        reached = reached_by(route, objects, revisions)
        weight = shares.get(canary, 0)
        return Effect(revisions=reached, weight=weight, controllers=controllers)


GATEWAY_API = GatewayApi()


def main_service(route: Route) -> dict[str, Any]:
    """Return the Service for callers inside the cluster, which leads to stable while there is a
    canary.
    """
    main = names.service_names(route.release)[0]
    behind = route.revisions
    if route.beside and route.stable in behind and route.weight < ALL:
        behind = frozenset({route.stable})
    return service(main, selector_for(route.release, behind), route.port)


def reached_by(
    route: Object, objects: Mapping[ObjectKey, Object], revisions: Iterable[str]
) -> frozenset[str]:
    """Return the revisions behind whatever any rule of a route sends clients to."""
    here = (None, route["metadata"].get("namespace"))
    leads_to = {
        (INFERENCE_POOL if is_pool(backend) else SERVICE, backend["name"])
        for backend in backends_of(route)
        if backend.get("weight", 1) > 0
        and (is_service(backend) or is_pool(backend))
        and backend.get("namespace") in here
    }
    selectors = [
        selector_of(item) if key[0] == INFERENCE_POOL else item["spec"].get("selector") or {}
        for key, item in objects.items()
        if key in leads_to
    ]
    behind = (routed_by(selector, revisions) for selector in selectors)
    return frozenset[str]().union(*behind) - {names.NO_REVISION}


def is_service(backend: Object) -> bool:
    """Return whether a backend is a Service, and no other API's kind of that name."""
    return backend.get("kind", SERVICE) == SERVICE and not backend.get("group")


def _http_route(route: Route, settings: GatewayAPI) -> dict[str, Any]:
    main, stable, canary = names.service_names(route.release)
    weight = weight_of(route)
    backends = [
        {"group": "", "kind": SERVICE, "name": name, "port": PORT, "weight": share}
        for name, share in ((stable, ALL - weight), (canary, weight))
    ]
    path = {"type": "PathPrefix", "value": settings.path}
    weighted: dict[str, Any] = {"matches": [{"path": path}], "backendRefs": backends}
    if settings.session_persistence:
        weighted[SESSION_PERSISTENCE] = _by_cookie(settings.session_persistence)
    rules = [weighted]
    if settings.cohort and _are_compared(route):
        alone = [{**backends[1], "weight": 1}]
        rules.insert(0, {"matches": matches_of(settings.cohort, path), "backendRefs": alone})
    spec: dict[str, Any] = {
        "parentRefs": [_parent(ref) for ref in settings.parent_refs],
        "rules": rules,
    }
    if settings.hostnames:
        spec["hostnames"] = list(settings.hostnames)
    return {"apiVersion": API_VERSION, "kind": HTTP_ROUTE, "metadata": {"name": main}, "spec": spec}


def _by_cookie(asked: SessionPersistence) -> dict[str, str]:
    named = {"sessionName": asked.cookie_name} if asked.cookie_name else {}
    return {"type": "Cookie", **named}


def _are_compared(route: Route) -> bool:
    """Return whether clients reach the canary beside stable."""
    return route.beside is not None and len(route.revisions) > 1


def weight_of(route: Route) -> int:
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


class NotTaken(NamedTuple):
    """Why a route is not followed as it is."""

    problem: str
    refused: bool
    """True: a Gateway refuses it, or none answers; False: it is only late."""


def not_taken(route: Object) -> NotTaken | None:
    """Return why a Gateway does not follow the route as it is; None if all do."""
    meta, statuses = route["metadata"], route.get("status", {}).get("parents") or []
    name = f"{HTTP_ROUTE} {meta['name']}"
    for ref in route["spec"].get("parentRefs") or []:
        gateway = f"Gateway {ref.get('namespace') or meta['namespace']}/{ref['name']}"
        of_gateway = _about(ref, statuses, meta["namespace"])
        if not of_gateway:
            silence = "has not answered; is it there, and does its listener let it in?"
            return NotTaken(f"{name}: {gateway} {silence}", refused=True)
        if late := _not_taken_by(of_gateway, meta.get("generation")):
            return late._replace(problem=f"{name}: {gateway} {late.problem}")
    return None


def controllers_of(route: Object) -> tuple[str, ...]:
    """Return the `controllerName` of each gateway that lets a route in.

    What is about a Gateway that the route names no more may stay for ever (seen of Traefik and of
    Contour), and so may what an earlier controller of one wrote: only the newest answers to each
    reference count.
    """
    space, statuses = route["metadata"]["namespace"], route.get("status", {}).get("parents") or []
    names: set[str] = set()
    for ref in route["spec"].get("parentRefs") or []:
        of_gateway = [
            (condition.get("observedGeneration", 0), status.get("controllerName", ""))
            for status in _about(ref, statuses, space)
            for condition in status.get("conditions") or ()
            if condition["type"] == "Accepted" and condition["status"] == "True"
        ]
        newest = max((generation for generation, _ in of_gateway), default=0)
        names |= {name for generation, name in of_gateway if generation == newest}
    return tuple(sorted(names - {""}))


def _about(ref: Object, statuses: Iterable[Object], namespace: str) -> list[Object]:
    """Return the statuses that are about a reference."""
    return [each for each in statuses if _same(each.get("parentRef") or {}, ref, namespace)]


def _not_taken_by(statuses: Iterable[Object], generation: int | None) -> NotTaken | None:
    """Return why no controller follows the route; None if one does.

    A Gateway has one controller, but what another one wrote while it had it may stay for ever.
    """
    answers: dict[str, list[NotTaken | None]] = {}
    for status in statuses:
        answer = next(_problems(status, generation), None)
        answers.setdefault(status.get("controllerName", ""), []).append(answer)
    by_controller = [_of_one_controller(of_one) for of_one in answers.values()]
    problems = [not_taken for not_taken in by_controller if not_taken]
    if len(problems) < len(by_controller):
        return None
    return max(problems, key=lambda not_taken: not_taken.refused)


def _of_one_controller(answers: list[NotTaken | None]) -> NotTaken | None:
    """Sum up a controller's answers: one for a reference, or one for each listener that the
    reference leaves open, of which one has to let the route in.
    """
    late = next((answer for answer in answers if answer and not answer.refused), None)
    if late:
        return late
    return None if None in answers else answers[0]


def _problems(status: Object, generation: int | None) -> Iterator[NotTaken]:
    conditions = {condition["type"]: condition for condition in status.get("conditions") or []}
    for kind in TAKEN:
        condition = conditions.get(kind)
        if condition is None or condition.get("observedGeneration", generation) != generation:
            yield NotTaken(f"has not taken its newest weights yet ({kind})", refused=False)
        elif condition["status"] != "True":
            words = " ".join((condition.get("message") or "").split())
            reason = f"{kind} is {condition['status']}, {condition.get('reason')}"
            yield NotTaken(f"refuses it: {reason}: {words}"[:500], refused=True)
    partly = conditions.get(PARTLY)
    if partly and partly["status"] == "True":
        words = " ".join((partly.get("message") or "").split())
        problem = f"refuses a part of it: {PARTLY}, {partly.get('reason')}: {words}"
        yield NotTaken(problem[:500], refused=True)


def _same(parent: Object, ref: Object, namespace: str) -> bool:
    """Return whether a status is about a reference: both may leave the route's own namespace out,
    and a status may name a listener that the reference leaves open.
    """
    return (
        parent.get("name") == ref["name"]
        and (parent.get("namespace") or namespace) == (ref.get("namespace") or namespace)
        and all(ref.get(key) in (None, parent.get(key)) for key in ("sectionName", "port"))
    )


def backends_of(route: Object) -> Iterator[Object]:
    """Yield whatever a route's rules lead to."""
    for rule in route["spec"].get("rules") or []:
        yield from rule.get("backendRefs") or []
