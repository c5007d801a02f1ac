"""Exact weights by a route that others write: two numbers of one of its rules are the release's.

Whoever writes the route keeps its filters, its matches, its other rules, and the other backends of
the same rule. A rule's list is replaced as a whole by server-side apply (it is atomic in the
HTTPRoute's schema), so the two numbers are patched one by one, each only if it is still beside the
Service that it was read beside.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from typing_extensions import override

from modelrelease_operator.api import names
from modelrelease_operator.api.routing import ExistingRoute
from modelrelease_operator.api.spec import Canary
from modelrelease_operator.api.status import Reason
from modelrelease_operator.errors import Invalid
from modelrelease_operator.traffic.gateway_api import (
    ALL,
    GATEWAY_API,
    HTTP_ROUTE,
    PORT,
    SESSION_PERSISTENCE,
    controllers_of,
    is_service,
    main_service,
    not_taken,
    reached_by,
    weight_of,
)
from modelrelease_operator.traffic.inference_pools import GROUP as POOL_GROUP
from modelrelease_operator.traffic.inference_pools import (
    INFERENCE_POOL,
    is_pool,
    kept_on,
    keys_of,
    trouble_of,
)
from modelrelease_operator.traffic.provider import (
    Asked,
    Edit,
    Effect,
    Object,
    ObjectKey,
    Route,
    Split,
    TrafficProvider,
)
from modelrelease_operator.traffic.replicas import SERVICE, routed_by


class Weighted(NamedTuple):
    """A backend whose weight is the release's."""

    rule: int
    backend: int
    name: str
    weight: int

    @property
    def path(self) -> str:
        """Where it stands in the route, as a JSON pointer."""
        return f"/spec/rules/{self.rule}/backendRefs/{self.backend}"


class Wanted(NamedTuple):
    """What a rule must lead to."""

    stable: str
    canary: str
    by_pools: bool

    @classmethod
    def of(cls, release: str, settings: ExistingRoute) -> "Wanted":
        """Return the two pools that a release names, or its two Services."""
        if settings.pools:
            return cls(settings.pools.stable, settings.pools.canary, by_pools=True)
        _, stable, canary = names.service_names(release)
        return cls(stable, canary, by_pools=False)

    @property
    def plural(self) -> str:
        """What both are."""
        return f"{INFERENCE_POOL}s" if self.by_pools else f"{SERVICE}s"

    def takes(self, backend: Object) -> bool:
        """Return whether a backend is of the right kind."""
        return is_pool(backend) if self.by_pools else is_service(backend)

    @property
    def to_write(self) -> str:
        """What a rule needs, as it is written."""
        kind = f"group: {POOL_GROUP}, kind: {INFERENCE_POOL}, " if self.by_pools else ""
        port = "" if self.by_pools else f"port: {PORT}, "
        stable, canary = (f"{kind}name: {name}, {port}" for name in (self.stable, self.canary))
        backends = f"[{{{stable}weight: {ALL}}}, {{{canary}weight: 0}}]"
        return f"Write into the rule: backendRefs: {backends}"


class Arms(NamedTuple):
    """The backends of one rule that lead to both arms."""

    stable: Weighted
    canary: Weighted


class ExistingRoutes(TrafficProvider):
    """A release that names a rule in `spec.canary.routing.gatewayAPI.existingRoute`."""

    leads_to_arms = True
    endpoints_delay = GATEWAY_API.endpoints_delay

    @override
    def takes(self, canary: Canary) -> bool:
        """Take the releases that name a route of others."""
        return existing_route_of(canary) is not None

    @override
    def deals_by_request(self, canary: Canary) -> bool:
        """Return False: other rules and routes of its writer may lead to either arm, too."""
        return False

    @override
    def split(self, *, weight: int, replicas: int) -> Split:
        """Return the pods that a share of the requests needs."""
        return GATEWAY_API.split(weight=weight, replicas=replicas)

    @override
    def note(self, *, weight: int, replicas: int) -> str | None:
        """Return None: every weight is had exactly."""
        return None

    @override
    def objects(self, route: Route) -> list[dict[str, Any]]:
        """Return the main Service; the route is somebody else's."""
        return [main_service(route)]

    @override
    def sources(self, release: str) -> tuple[ObjectKey, ...]:
        """Return the Services that the route may lead to."""
        return tuple((SERVICE, name) for name in names.service_names(release))

    @override
    def made(self, release: str) -> tuple[ObjectKey, ...]:
        """Return nothing: the Services stay whoever deals."""
        return ()

    @override
    def borrowed(self, canary: Canary) -> tuple[ObjectKey, ...]:
        """Return the route."""
        settings = existing_route_of(canary)
        # Pools first: the route may lead to them.
        return (*keys_of(settings.pools), (HTTP_ROUTE, settings.name)) if settings else ()

    @override
    def edits(self, route: Route, live: Object) -> tuple[Edit, ...]:
        """Return the two weights where they are others, or a pool's revision; nothing where the
        rule has no place.
        """
        settings = existing_route_of(route.canary)
        if settings is None:
            return ()
        if settings.pools and live["kind"] == INFERENCE_POOL:
            return tuple(kept_on(live, route.release, settings.pools, route.arms))
        return weights_set(live, route.release, settings, weight_of(route))

    @override
    def in_effect(
        self, objects: Mapping[ObjectKey, Object], revisions: Iterable[str], asked: Asked
    ) -> Effect:
        """Return who is behind the weights that every Gateway took."""
        settings = existing_route_of(asked.canary)
        if settings is None:
            return Effect()
        live = objects.get((HTTP_ROUTE, settings.name))
        if live is None:
            return _without_route(objects, revisions, asked, settings)
        effect = _effect_of(live, objects, revisions, asked, settings)
        effect = replace(effect, controllers=controllers_of(live))
        if not _is_own(live, asked.release):
            return effect
        return replace(effect, problem=_to_part(live), refused=True, reason=Reason.ROUTE_INCOMPLETE)


EXISTING_ROUTES = ExistingRoutes()


def _effect_of(
    live: Object,
    objects: Mapping[ObjectKey, Object],
    revisions: Iterable[str],
    asked: Asked,
    settings: ExistingRoute,
) -> Effect:
    """Return who is behind the weights of a route that is there."""
    everybody = frozenset(revisions)
    if trouble := trouble_of(asked.namespace, asked.release, settings, objects):
        reached, reason = reached_by(live, objects, everybody), Reason.ROUTE_INCOMPLETE
        return Effect(revisions=reached, problem=trouble, refused=True, reason=reason)
    try:
        arms = arms_of(live, asked.release, settings)
    except Invalid as problem:
        reached, reason = reached_by(live, objects, everybody), Reason.ROUTE_INCOMPLETE
        return Effect(revisions=reached, problem=str(problem), refused=True, reason=reason)
    if late := not_taken(live):
        return Effect(revisions=everybody, problem=late.problem, refused=late.refused)
    reached = reached_by(live, objects, everybody)
    if arms.stable.weight + arms.canary.weight != ALL:
        given = f"{arms.stable.weight} and {arms.canary.weight}"
        where = f"{HTTP_ROUTE} {asked.namespace}/{settings.name}"
        return Effect(revisions=reached, problem=f"{where} has the weights {given} by now")
    sticky = _sticky(live, asked.namespace, arms)
    return Effect(revisions=reached, weight=arms.canary.weight, sticky=sticky)


def _is_own(live: Object, release: str) -> bool:
    """Return whether a route was made by the release: it is deleted with it, whoever wrote into it
    since. Its uid need not be known: no other release has that name.
    """
    owners = live["metadata"].get("ownerReferences") or ()
    return any((owner.get("kind"), owner.get("name")) == (names.KIND, release) for owner in owners)


def _to_part(live: Object) -> str:
    """Say why the release's own route cannot be the one of somebody else, and what to do."""
    where = f"{HTTP_ROUTE} {live['metadata']['namespace']}/{live['metadata']['name']}"
    return (
        f"{where}, which spec.canary.routing.gatewayAPI.existingRoute names, is the release's own "
        "and is deleted with it: write the route under another name and name that one, or take "
        "metadata.ownerReferences out of this one to make it yours"
    )


def existing_route_of(canary: Canary) -> ExistingRoute | None:
    """Return the route of others that a release names."""
    settings = canary.routing.gateway_api
    return settings.existing_route if settings else None


def weights_set(
    live: Object, release: str, settings: ExistingRoute, weight: int
) -> tuple[Edit, ...]:
    """Return what makes a weight of a route, in percent, the canary's.

    Each number is changed only if its Service still stands beside it in the route that was read.
    """
    try:
        arms = arms_of(live, release, settings)
    except Invalid:
        return ()
    wanted = {arms.stable: ALL - weight, arms.canary: weight}
    different = [(backend, share) for backend, share in wanted.items() if backend.weight != share]
    if not different:
        return ()
    rule = live["spec"]["rules"][arms.stable.rule]
    tests: list[Edit] = [
        {"op": "test", "path": "/metadata/uid", "value": live["metadata"]["uid"]},
        *({"op": "test", "path": f"{each.path}/name", "value": each.name} for each in arms),
    ]
    if "name" in rule:
        path = f"/spec/rules/{arms.stable.rule}/name"
        tests.append({"op": "test", "path": path, "value": rule["name"]})
    changes = [
        {"op": "add", "path": f"{backend.path}/weight", "value": share}
        for backend, share in different
    ]
    return (*tests, *changes)


def weights_given_back(
    live: Object, release: str, settings: ExistingRoute, successor: ExistingRoute | None
) -> tuple[Edit, ...]:
    """Return what leads a route that the release has left to stable alone: its canary's Service
    may lead to nobody from now on. Nothing where the release names the same rule in other words.
    """
    if _place_left(live, release, settings, successor) is None:
        return ()
    return weights_set(live, release, settings, 0)


def still_leads(
    live: Object, release: str, settings: ExistingRoute, successor: ExistingRoute | None
) -> str | None:
    """Say why clients may still come to a canary by a route that the release has left, or None.

    By a route that every Gateway refuses nobody comes.
    """
    place = _place_left(live, release, settings, successor)
    if place is None:
        return None
    if place.canary.weight > 0:
        where = f"{HTTP_ROUTE} {live['metadata']['namespace']}/{live['metadata']['name']}"
        weight = place.canary.weight
        return f"{where}, which the release has left, gives the canary's Service weight {weight}"
    late = not_taken(live)
    return late.problem if late and not late.refused else None


def _place_left(
    live: Object, release: str, settings: ExistingRoute, successor: ExistingRoute | None
) -> Arms | None:
    """Return the two backends that the release has left, None where it has a part in none."""
    try:
        place = arms_of(live, release, settings)
        same = successor is not None and successor.name == settings.name
        if successor and same and arms_of(live, release, successor) == place:
            return None
    except Invalid:
        return None
    return place


def arms_of(live: Object, release: str, settings: ExistingRoute) -> Arms:
    """Return where a route leads to both arms of a release.

    Raises Invalid, with what to write, where the rule does not, or where it cannot be told which.
    """
    where = f"{HTTP_ROUTE} {live['metadata']['namespace']}/{live['metadata']['name']}"
    wanted = Wanted.of(release, settings)
    rules = list(enumerate(live["spec"].get("rules") or ()))
    if settings.rule is not None:
        rules = [(place, rule) for place, rule in rules if rule.get("name") == settings.rule]
        where = f"{where}, rule {settings.rule},"
        if not rules:
            msg = f"{where} is not there: no rule of the route has that name. {wanted.to_write}"
            raise Invalid(msg)
    namespace = live["metadata"]["namespace"]
    of_rules = [
        arms for place, rule in rules if (arms := _arms(where, namespace, wanted, place, rule))
    ]
    if len(of_rules) > 1:
        msg = (
            f"{where} leads to both {wanted.plural} of release {release} by {len(of_rules)} rules: "
            "give one of them a name, and name it in "
            "spec.canary.routing.gatewayAPI.existingRoute.rule"
        )
        raise Invalid(msg)
    if not of_rules:
        msg = f"{where} does not lead to both {wanted.plural} of {release}. {wanted.to_write}"
        raise Invalid(msg)
    return of_rules[0]


def _arms(where: str, namespace: str, wanted: Wanted, place: int, rule: Object) -> Arms | None:
    """Return the two backends of a rule, None where it lacks one."""
    backends = [
        (index, backend)
        for index, backend in enumerate(rule.get("backendRefs") or ())
        if backend.get("namespace") in (None, namespace)
    ]
    by_name = {
        name: list(_leading_to(where, name, wanted, place, backends))
        for name in (wanted.stable, wanted.canary)
    }
    twice = [name for name, leading in by_name.items() if len(leading) > 1]
    if twice:
        msg = f"{where} leads to {twice[0]} twice in one rule: leave one backendRef of it"
        raise Invalid(msg)
    if not all(by_name.values()):
        return None
    return Arms(stable=by_name[wanted.stable][0], canary=by_name[wanted.canary][0])


def _leading_to(
    where: str, name: str, wanted: Wanted, place: int, backends: Sequence[tuple[int, Object]]
) -> Iterator[Weighted]:
    for index, backend in backends:
        if backend.get("name") != name:
            continue
        if not wanted.takes(backend):
            kind = ".".join(filter(None, (backend.get("kind", SERVICE), backend.get("group"))))
            msg = (
                f"{where} leads to {kind} {name}, and the release's weights are between its "
                f"{wanted.plural}: {_other_kind(backend)}"
            )
            raise Invalid(msg)
        yield Weighted(rule=place, backend=index, name=name, weight=backend.get("weight", 1))


def _other_kind(backend: Object) -> str:
    """Say what to do about a backend of another kind than the release's."""
    if is_pool(backend):
        return "name the pools in spec.canary.routing.gatewayAPI.existingRoute.pools"
    if is_service(backend):
        return "take spec.canary.routing.gatewayAPI.existingRoute.pools out"
    return f"write kind {SERVICE}, or name the route of another rule"


def _sticky(live: Object, namespace: str, arms: Arms) -> str | None:
    """Return what of the rule keeps a client with one version."""
    if SESSION_PERSISTENCE not in live["spec"]["rules"][arms.stable.rule]:
        return None
    return f"sessionPersistence of {HTTP_ROUTE} {namespace}/{live['metadata']['name']}"


def contested(namespace: str, settings: ExistingRoute, writer: str) -> str:
    """Say that somebody goes on writing the weights, and what to do."""
    rule = f"rule {settings.rule}" if settings.rule else "its rule"
    return (
        f"{HTTP_ROUTE} {namespace}/{settings.name} is written by {writer} with other weights, "
        "again and again, and clients go by those in between. The release sets them right each "
        f"time; have {writer} leave the weights of {rule} alone (docs: route by a gateway)"
    )


def _without_route(
    objects: Mapping[ObjectKey, Object],
    revisions: Iterable[str],
    asked: Asked,
    settings: ExistingRoute,
) -> Effect:
    """Return whom callers inside the cluster reach, and that nobody comes by the route."""
    main = objects.get((SERVICE, names.service_names(asked.release)[0]))
    reached = routed_by(main["spec"].get("selector") or {}, revisions) if main else None
    problem = (
        f"{HTTP_ROUTE} {asked.namespace}/{settings.name}, which "
        "spec.canary.routing.gatewayAPI.existingRoute names, does not exist"
    )
    return Effect(revisions=reached, problem=problem, refused=True)
