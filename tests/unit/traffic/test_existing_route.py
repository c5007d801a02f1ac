"""A route that others write: two of its numbers are the release's, and nothing else is."""

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from modelrelease_operator.api import names
from modelrelease_operator.api.routing import ExistingRoute
from modelrelease_operator.api.spec import Canary, ReleaseSpec
from modelrelease_operator.api.status import Phase, Reason
from modelrelease_operator.core.desired import Desired
from modelrelease_operator.core.observed import Observed
from modelrelease_operator.manifests import render, route_for
from modelrelease_operator.traffic.existing_route import (
    EXISTING_ROUTES,
    weights_given_back,
    weights_set,
)
from modelrelease_operator.traffic.gateway_api import HTTP_ROUTE
from modelrelease_operator.traffic.provider import Asked, Effect, Route
from modelrelease_operator.traffic.registry import made_by_others, provider_of
from modelrelease_operator.traffic.replicas import SERVICE
from testbed.builders import a_spec, a_target
from testbed.world import QUICK, Behaviour, World
from tests.unit.traffic.test_gateway_api import GATEWAY, OWNER, GatewayWorld

Object = dict[str, Any]
STABLE, CANARY = "qna-stable", "qna-canary"
PREDICT = ExistingRoute(name="front", rule="predict")
ANY_RULE = ExistingRoute(name="front")


def canary_with(**existing: Any) -> Canary:
    routing = {"gatewayAPI": {"existingRoute": {"name": "front", **existing}}}
    return Canary.model_validate({"routing": routing})


def backend(name: str, weight: int, **more: Any) -> Object:
    return {"group": "", "kind": "Service", "name": name, "port": 80, "weight": weight, **more}


def a_route(*backends: Object, name: str | None = "predict", taken: bool = True) -> Object:
    """Build a route with a rule of somebody's before the one that the release has a part in."""
    parent = {"name": "public", "namespace": "infra"}
    ours: Object = {"backendRefs": list(backends or (backend(STABLE, 100), backend(CANARY, 0)))}
    ours |= {"name": name} if name else {}
    ours |= {"filters": [{"type": "RequestHeaderModifier"}], "timeouts": {"request": "5s"}}
    theirs = {"matches": [{"path": {"value": "/docs"}}], "backendRefs": [backend("docs", 1)]}
    told = [
        {"type": kind, "status": "True", "observedGeneration": 3 if taken else 2}
        for kind in ("Accepted", "ResolvedRefs")
    ]
    return {
        "kind": HTTP_ROUTE,
        "metadata": {"name": "front", "namespace": "ml", "uid": "u9", "generation": 3},
        "spec": {"parentRefs": [parent], "rules": [theirs, ours]},
        "status": {"parents": [{"parentRef": parent, "conditions": told}]},
    }


def edited(route: Object, edits: Any) -> Object:
    """Apply a JSON patch as the API server does."""
    result = deepcopy(route)
    for edit in edits:
        *parents, last = edit["path"].strip("/").split("/")
        place: Any = result
        for part in parents:
            place = place[int(part) if isinstance(place, list) else part]
        if edit["op"] == "add":
            place[last] = edit["value"]
        assert place[last] == edit["value"], f"the test of {edit['path']} failed"
    return result


def weights(route: Object) -> dict[str, int]:
    found: dict[str, int] = {}
    for rule in route["spec"]["rules"]:
        found |= {each["name"]: each["weight"] for each in rule["backendRefs"]}
    return found


def dealt(live: Object, weight: int, canary: Canary | None = None) -> Object:
    """Return a route as the release makes it for a weight."""
    route = Route(
        release="qna",
        revisions=frozenset({"a", "b"}),
        weight=weight,
        stable="a",
        beside="b",
        canary=canary or canary_with(rule="predict"),
        port=8080,
    )
    return edited(live, EXISTING_ROUTES.edits(route, live))


def seen(live: Object | None, canary: Canary | None = None) -> Effect:
    selectors = {"qna": "a", STABLE: "a", CANARY: "b"}
    objects: dict[tuple[str, str], Object] = {
        (SERVICE, name): {"spec": {"selector": {names.LABEL_REVISION: revision}}}
        for name, revision in selectors.items()
    }
    if live is not None:
        objects[HTTP_ROUTE, "front"] = live
    asked = Asked(namespace="ml", release="qna", canary=canary or canary_with(rule="predict"))
    return EXISTING_ROUTES.in_effect(objects, ["a", "b", "stranger"], asked)


@given(weight=st.integers(1, 99))
def test_only_the_two_weights_change(weight: int):
    before = a_route(backend("other", 7), backend(STABLE, 100), backend(CANARY, 0))
    after = dealt(before, weight)
    assert weights(after) == {"docs": 1, "other": 7, STABLE: 100 - weight, CANARY: weight}
    for route in (before, after):
        for each in route["spec"]["rules"][1]["backendRefs"][1:]:
            del each["weight"]
    assert after == before
    assert seen(dealt(a_route(), weight)).weight == weight


def test_nothing_is_written_where_the_weights_are_right():
    route = a_route(backend(STABLE, 95), backend(CANARY, 5))
    assert weights_set(route, "qna", PREDICT, 5) == ()


def test_a_rule_that_moved_since_it_was_read_is_not_written_into():
    edits = weights_set(a_route(), "qna", PREDICT, 5)
    moved = a_route()
    moved["spec"]["rules"].reverse()
    with pytest.raises(AssertionError, match="the test of /spec/rules/1/backendRefs/0/name failed"):
        edited(moved, edits)
    another = a_route()
    another["metadata"]["uid"] = "u10"
    with pytest.raises(AssertionError, match="the test of /metadata/uid failed"):
        edited(another, edits)


def test_without_a_name_the_only_rule_that_leads_to_both_is_meant():
    after = dealt(a_route(name=None), 20, canary_with())
    assert weights(after)[CANARY] == 20


def test_a_weight_that_is_not_written_is_one_as_the_gateway_api_has_it():
    first, second = backend(STABLE, 1), backend(CANARY, 1)
    del first["weight"], second["weight"]
    assert "has the weights 1 and 1" in str(seen(a_route(first, second)).problem)


@pytest.mark.parametrize(
    ("route", "canary", "sentence"),
    [
        pytest.param(
            a_route(backend(STABLE, 100)),
            canary_with(rule="predict"),
            "HTTPRoute ml/front, rule predict, does not lead to both Services of qna. Write into "
            "the rule: backendRefs: [{name: qna-stable, port: 80, weight: 100}, "
            "{name: qna-canary, port: 80, weight: 0}]",
            id="a rule without the canary",
        ),
        pytest.param(
            a_route(),
            canary_with(rule="other"),
            "HTTPRoute ml/front, rule other, is not there: no rule of the route has that name. "
            "Write into the rule: backendRefs:",
            id="no such rule",
        ),
        pytest.param(
            a_route(backend("x", 1)),
            canary_with(),
            "HTTPRoute ml/front does not lead to both Services of qna. Write",
            id="no rule at all",
        ),
        pytest.param(
            a_route(backend(STABLE, 1), backend(STABLE, 1), backend(CANARY, 0)),
            canary_with(rule="predict"),
            "leads to qna-stable twice in one rule: leave one backendRef of it",
            id="twice",
        ),
        pytest.param(
            a_route(backend(STABLE, 1, kind="InferencePool"), backend(CANARY, 0)),
            canary_with(rule="predict"),
            "leads to InferencePool qna-stable, and the release's weights are between its "
            "Services: write kind Service",
            id="another kind of backend",
        ),
        pytest.param(
            a_route(backend(STABLE, 100, group="net.gke.io"), backend(CANARY, 0)),
            canary_with(rule="predict"),
            "leads to Service.net.gke.io qna-stable, and the release's weights are between",
            id="a kind of another API group",
        ),
        pytest.param(
            a_route(backend(STABLE, 100, namespace="web"), backend(CANARY, 0, namespace="web")),
            canary_with(rule="predict"),
            "HTTPRoute ml/front, rule predict, does not lead to both Services of qna. Write into",
            id="namesakes in another namespace",
        ),
    ],
)
def test_a_rule_that_has_no_place_for_the_weights_is_told_with_what_to_write(
    route: Object, canary: Canary, sentence: str
):
    effect = seen(route, canary)
    assert sentence in str(effect.problem)
    assert (effect.refused, effect.reason) == (True, Reason.ROUTE_INCOMPLETE)
    assert weights(dealt(route, 5, canary)) == weights(route), "and nothing is written"


def test_a_namesake_in_another_namespace_is_somebody_elses_and_its_weight_stays():
    theirs = backend(CANARY, 7, namespace="web")
    route = a_route(theirs, backend(STABLE, 100, namespace="ml"), backend(CANARY, 0))
    given = dealt(route, 25)["spec"]["rules"][1]["backendRefs"]
    assert [each["weight"] for each in given] == [7, 75, 25]
    assert seen(route).revisions == frozenset({"a"}), "nobody is led to the release's canary"


def test_two_rules_that_lead_to_both_have_to_be_told_apart():
    route = a_route()
    route["spec"]["rules"].append(deepcopy(route["spec"]["rules"][1]))
    assert "by 2 rules: give one of them a name" in str(seen(route, canary_with()).problem)


def test_what_the_gateway_has_not_taken_may_lead_anywhere():
    effect = seen(a_route(taken=False))
    assert effect.revisions == frozenset({"a", "b", "stranger"})
    assert "has not taken its newest weights yet" in str(effect.problem)


def test_another_rule_that_leads_to_the_canary_is_seen_to_have_clients():
    route = a_route()
    route["spec"]["rules"][0]["backendRefs"] = [backend(CANARY, 1)]
    effect = seen(route)
    assert (effect.revisions, effect.weight) == (frozenset({"a", "b"}), 0)


def test_weights_that_somebody_wrote_are_not_in_effect_until_they_are_set():
    effect = seen(a_route(backend(STABLE, 7), backend(CANARY, 3)))
    assert (effect.weight, effect.refused) == (None, False)
    assert "HTTPRoute ml/front has the weights 7 and 3 by now" in str(effect.problem)


def test_a_route_that_is_gone_leads_nobody_and_is_named():
    effect = seen(None)
    assert effect.revisions == frozenset({"a"}), "callers inside the cluster"
    assert (effect.refused, effect.reason) == (True, None)
    assert "HTTPRoute ml/front, which" in str(effect.problem)


def test_a_route_that_is_left_leads_to_stable_alone():
    live = a_route(backend(STABLE, 80), backend(CANARY, 20))
    after = edited(live, weights_given_back(live, "qna", PREDICT, None))
    assert (weights(after)[STABLE], weights(after)[CANARY]) == (100, 0)


def test_the_same_rule_in_other_words_is_not_left():
    live = a_route(backend(STABLE, 80), backend(CANARY, 20))
    assert weights_given_back(live, "qna", PREDICT, ANY_RULE) == ()
    elsewhere = ExistingRoute(name="elsewhere", rule="predict")
    assert weights_given_back(live, "qna", PREDICT, elsewhere)


def test_who_deals_is_told_by_the_spec_and_a_route_of_its_own_would_go():
    raw = {"routing": {"gatewayAPI": {"existingRoute": {"name": "front"}}}}
    spec = a_spec(canary=raw)
    assert provider_of(spec) is EXISTING_ROUTES
    assert made_by_others(spec, "qna") == ((HTTP_ROUTE, "qna"),)


@pytest.mark.parametrize(
    ("gateway_api", "sentence"),
    [
        ({}, "set either parentRefs or existingRoute"),
        (
            {"parentRefs": [{"name": "g"}], "existingRoute": {"name": "front"}},
            "set either parentRefs or existingRoute",
        ),
        (
            {"existingRoute": {"name": "front"}, "hostnames": ["a.io"]},
            "hostnames, path, cohort and sessionPersistence belong to the existingRoute",
        ),
        (
            {
                "existingRoute": {"name": "front"},
                "cohort": {"headers": [{"name": "x", "value": "1"}]},
            },
            "hostnames, path, cohort and sessionPersistence belong to the existingRoute",
        ),
        (
            {"existingRoute": {"name": "front"}, "path": "/v1"},
            "hostnames, path, cohort and sessionPersistence belong to the existingRoute",
        ),
    ],
)
def test_a_route_of_others_and_one_of_its_own_exclude_each_other(
    gateway_api: Object, sentence: str
):
    raw = {"model": {"uri": "http://s/1"}, "canary": {"routing": {"gatewayAPI": gateway_api}}}
    with pytest.raises(Exception, match=sentence):
        ReleaseSpec.parse(raw)


INTO = {"gatewayAPI": {"existingRoute": {"name": "qna"}}}


@dataclass
class BorrowingWorld(GatewayWorld):
    """A world whose clients come by a route that Git writes, and that a gateway takes, or not."""

    def git_writes(self) -> None:
        """Write the route with Git's own weights, whatever the release has set."""
        before = self.objects.get((HTTP_ROUTE, "qna"))
        generation = before["metadata"]["generation"] + 1 if before else 1
        status = before.get("status", {}) if before else {}
        meta = {"name": "qna", "namespace": "ml", "uid": "u9", "generation": generation}
        rule = {"backendRefs": [backend(STABLE, 100), backend(CANARY, 0)]}
        spec = {"parentRefs": [dict(GATEWAY)], "rules": [rule]}
        self.objects[HTTP_ROUTE, "qna"] = {"metadata": meta, "spec": spec, "status": status}

    @property
    @override
    def observed(self) -> Observed:
        asked = Asked(namespace="ml", release="qna", canary=self.spec.canary)
        effect = EXISTING_ROUTES.in_effect(self.objects, self._revisions(), asked)
        seen: Observed = World.observed.fget(self)  # type: ignore[attr-defined]
        return replace(
            seen,
            routed=effect.revisions,
            routed_weight=effect.weight,
            route_problem=effect.problem,
            route_refused=effect.refused,
            route_sticky=effect.sticky,
        )

    @override
    def _apply(self, desired: Desired) -> None:
        World._apply(self, desired)
        canary = self.spec.canary
        for item in render(OWNER, desired, provider=EXISTING_ROUTES, canary=canary):
            self.objects[item["kind"], item["metadata"]["name"]] = item
        live = self.objects[HTTP_ROUTE, "qna"]
        if edits := EXISTING_ROUTES.edits(route_for(OWNER, desired, canary), live):
            after = edited(live, edits)
            after["metadata"]["generation"] += 1
            self.objects[HTTP_ROUTE, "qna"] = after
        self.gateway_looks()


def a_borrowing_world(**canary: Any) -> BorrowingWorld:
    spec = a_spec(**(QUICK | {"canary": {**QUICK["canary"], "routing": INTO, **canary}}))
    world = BorrowingWorld(spec=spec, target=a_target("1"), rps=1000.0)
    world.git_writes()
    world.run()
    return world


def test_a_release_goes_through_its_weights_by_a_route_of_others():
    world = a_borrowing_world(steps=[{"weight": 1, "bake": "10s"}, {"weight": 80, "bake": "10s"}])
    world.release(a_target("2"))
    weights_seen = set()
    while world.stable.version == "1":
        world.step()
        if world.status.phase is Phase.PROGRESSING and world.canary.step_since:
            weights_seen.add(world.shares["rev2"])
    assert weights_seen == {1, 80}
    assert world.run().stable.version == "2"
    assert world.unanswered == 0


@pytest.mark.parametrize("seed", range(12))
def test_whatever_git_and_the_gateway_do_nobody_is_sent_to_pods_that_are_gone(seed: int):
    world = a_borrowing_world()
    world.random.seed(seed)
    world.behaviours["rev2"] = Behaviour(error_rate=world.random.choice([0.0, 0.5]))
    world.release(a_target("2"))
    for _ in range(400):
        world.answers = world.random.random() < 0.7
        world.refuses = world.random.random() < 0.2
        if world.random.random() < 0.1:
            world.git_writes()
        world.gateway_looks()
        world.step()
        assert world.pods[world.stable.revision]
        assert all(world.pods.get(name) for name in world.shares), "a share without pods"
    world.answers, world.refuses = True, False
    world.gateway_looks()
    assert world.run().status.phase is Phase.STABLE
    assert world.unanswered == 0


@pytest.mark.parametrize("dispersion", [1, 20])
def test_sticky_clients_are_seen_in_the_rule_and_a_dispersion_is_asked_for(dispersion: int):
    world = a_borrowing_world(steps=[{"weight": 20, "bake": "10s"}])
    analysis = world.spec.analysis.but(dispersion=dispersion)
    world.spec = world.spec.but(analysis=analysis)
    rule = world.objects[HTTP_ROUTE, "qna"]["spec"]["rules"][0]
    rule["sessionPersistence"] = {"type": "Cookie"}
    world.release(a_target("2")).run(until=Phase.PROGRESSING)
    asked_for = "sessionPersistence of HTTPRoute ml/qna keeps each client with one version"
    assert (asked_for in str(world.canary.note)) == (dispersion == 1)
