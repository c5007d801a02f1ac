"""Pools of others behind a rule: a label of each selector is the release's, as its weights are."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
from typing_extensions import override

from modelrelease_operator.api import names
from modelrelease_operator.api.routing import ExistingRoute
from modelrelease_operator.api.spec import Canary
from modelrelease_operator.api.status import Phase, Reason
from modelrelease_operator.core.desired import Desired
from modelrelease_operator.errors import Invalid
from modelrelease_operator.manifests import render, route_for
from modelrelease_operator.traffic.claims import named_by
from modelrelease_operator.traffic.existing_route import EXISTING_ROUTES
from modelrelease_operator.traffic.gateway_api import HTTP_ROUTE
from modelrelease_operator.traffic.inference_pools import INFERENCE_POOL, let_go
from modelrelease_operator.traffic.provider import Asked, Effect, Route
from testbed.builders import a_spec, a_target
from testbed.world import QUICK, Behaviour, World
from tests.unit.traffic.test_existing_route import BorrowingWorld, a_route, backend, weights
from tests.unit.traffic.test_gateway_api import GATEWAY, OWNER

Object = dict[str, Any]
POOLS = {"stable": "picked", "canary": "picked-next"}
INTO = {"gatewayAPI": {"existingRoute": {"name": "front", "pools": POOLS}}}
GROUP = "inference.networking.k8s.io"
BY_POOLS = Canary.model_validate({"routing": INTO})
PICKER = {"name": "picker", "port": {"number": 9002}}


def a_pool(name: str, **labels: str) -> Object:
    """Build somebody's pool with its endpoint picker."""
    selector = {"matchLabels": {names.LABEL_RELEASE: "qna", **labels}}
    spec = {"selector": selector, "targetPorts": [{"number": 8080}], "endpointPickerRef": PICKER}
    meta = {"name": name, "namespace": "ml", "uid": f"uid-{name}"}
    return {"kind": INFERENCE_POOL, "metadata": meta, "spec": spec}


def pool_backend(name: str, weight: int) -> Object:
    return {"group": GROUP, "kind": INFERENCE_POOL, "name": name, "weight": weight}


def a_pooled_route(stable: int = 100, canary: int = 0) -> Object:
    return a_route(pool_backend("picked", stable), pool_backend("picked-next", canary))


def patched(live: Object, edits: Any) -> Object:
    """Apply a JSON patch as the API server does."""
    result = deepcopy(live)
    for edit in edits:
        parts = [part.replace("~1", "/") for part in edit["path"].strip("/").split("/")]
        place: Any = result
        for part in parts[:-1]:
            place = place[int(part) if isinstance(place, list) else part]
        if edit["op"] == "remove":
            del place[parts[-1]]
            continue
        if edit["op"] == "add":
            place[parts[-1]] = edit["value"]
        assert place[parts[-1]] == edit["value"], f"the test of {edit['path']} failed"
    return result


def dealt(live: Object, weight: int = 20, arms: tuple[str, str] = ("a", "b")) -> Object:
    route = Route(
        release="qna", revisions=frozenset("ab"), weight=weight, stable="a", beside="b",
        arms=arms, canary=BY_POOLS, port=8080,
    )  # fmt: skip
    return patched(live, EXISTING_ROUTES.edits(route, live))


def seen(route: Object, *pools: Object) -> Effect:
    objects = {(INFERENCE_POOL, each["metadata"]["name"]): each for each in pools}
    objects[HTTP_ROUTE, "front"] = route
    asked = Asked(namespace="ml", release="qna", canary=BY_POOLS)
    return EXISTING_ROUTES.in_effect(objects, ["a", "b", "stranger"], asked)


@pytest.mark.parametrize(("name", "revision"), [("picked", "a"), ("picked-next", "b")])
def test_each_pool_is_kept_on_its_arm_and_all_else_of_it_is_left(name: str, revision: str):
    before = a_pool(name, tier="gpu")
    after = dealt(before)
    labels = after["spec"]["selector"]["matchLabels"]
    assert labels.pop(names.LABEL_REVISION) == revision
    assert after == before
    assert dealt(a_pool(name, **{names.LABEL_REVISION: revision})) == a_pool(
        name, **{names.LABEL_REVISION: revision}
    )


def test_the_weights_of_the_rule_are_set_as_between_services():
    assert weights(dealt(a_pooled_route())) == {"docs": 1, "picked": 80, "picked-next": 20}


def test_who_is_behind_the_weights_is_read_from_the_pools_selectors():
    both = (
        a_pool("picked", **{names.LABEL_REVISION: "a"}),
        a_pool("picked-next", **{names.LABEL_REVISION: "b"}),
    )
    assert seen(a_pooled_route(80, 20), *both).revisions == frozenset({"a", "b"})
    assert seen(a_pooled_route(80, 20), *both).weight == 20
    assert seen(a_pooled_route(100, 0), *both).revisions == frozenset({"a"})


def test_a_pool_without_a_revision_leads_to_whoever_there_is():
    pools = (a_pool("picked"), a_pool("picked-next", **{names.LABEL_REVISION: "b"}))
    assert seen(a_pooled_route(100, 0), *pools).revisions == frozenset({"a", "b", "stranger"})


@pytest.mark.parametrize(
    ("route", "pools", "sentence"),
    [
        pytest.param(
            a_pooled_route(), (a_pool("picked"),),
            "InferencePool ml/picked-next, which "
            "spec.canary.routing.gatewayAPI.existingRoute.pools names, does not exist",
            id="a pool that is not there",
        ),
        pytest.param(
            a_pooled_route(),
            (a_pool("picked"), a_pool("picked-next", **{names.LABEL_RELEASE: "other"})),
            "InferencePool ml/picked-next may select pods of others. Write into its "
            "spec.selector.matchLabels: modelrelease.dev/release: qna",
            id="a pool of somebody else's pods",
        ),
        pytest.param(
            a_route(backend("picked", 100), pool_backend("picked-next", 0)),
            (a_pool("picked"), a_pool("picked-next")),
            "leads to Service picked, and the release's weights are between its InferencePools: "
            "take spec.canary.routing.gatewayAPI.existingRoute.pools out",
            id="a Service in the place of a pool",
        ),
        pytest.param(
            a_route(),
            (a_pool("picked"), a_pool("picked-next")),
            "does not lead to both InferencePools of qna. Write into the rule: backendRefs: "
            f"[{{group: {GROUP}, kind: InferencePool, name: picked, weight: 100}}",
            id="a rule without them",
        ),
    ],
)  # fmt: skip
def test_pools_that_are_no_arms_are_told_with_what_to_write(
    route: Object, pools: tuple[Object, ...], sentence: str
):
    effect = seen(route, *pools)
    assert sentence in str(effect.problem)
    assert (effect.refused, effect.reason) == (True, Reason.ROUTE_INCOMPLETE)


def test_a_pool_of_somebody_elses_pods_is_not_written_into():
    theirs = a_pool("picked", **{names.LABEL_RELEASE: "other"})
    assert dealt(theirs) == theirs


def test_a_pool_that_changed_hands_since_it_was_read_is_not_written_into():
    route = Route(
        release="qna", revisions=frozenset("a"), weight=0, stable="a", arms=("a", "a"),
        canary=BY_POOLS, port=8080,
    )  # fmt: skip
    edits = EXISTING_ROUTES.edits(route, a_pool("picked"))
    another = a_pool("picked", **{names.LABEL_RELEASE: "other"})
    with pytest.raises(AssertionError, match="the test of /spec/selector/matchLabels"):
        patched(another, edits)


def test_a_pool_that_is_left_selects_all_of_the_releases_pods_again():
    pinned = a_pool("picked", **{names.LABEL_REVISION: "a"})
    assert patched(pinned, let_go(pinned, "qna")) == a_pool("picked")
    assert let_go(a_pool("picked"), "qna") == []


def test_a_change_of_a_pool_wakes_the_release_that_names_it():
    release = {"spec": {"canary": {"routing": INTO}}}
    assert named_by(release) == {"front", "picked", "picked-next"}


def test_one_pool_for_both_arms_is_refused():
    with pytest.raises(ValueError, match=r"must differ, got 'x' twice"):
        ExistingRoute.model_validate({"name": "front", "pools": {"stable": "x", "canary": "x"}})


def test_losses_are_not_counted_by_pools():
    with pytest.raises(Invalid, match=r"existingRoute.pools leads to none: take the gate out"):
        a_spec(canary={"routing": INTO}, analysis={"gates": [{"name": "loss", "loss": {}}]})


@dataclass
class PooledWorld(BorrowingWorld):
    """A world whose clients come by two pools of somebody's."""

    @override
    def git_writes(self) -> None:
        before = self.objects.get((HTTP_ROUTE, "front"))
        generation = before["metadata"]["generation"] + 1 if before else 1
        meta = {"name": "front", "namespace": "ml", "uid": "u9", "generation": generation}
        rule = {"backendRefs": [pool_backend("picked", 100), pool_backend("picked-next", 0)]}
        spec = {"parentRefs": [dict(GATEWAY)], "rules": [rule]}
        status = before.get("status", {}) if before else {}
        route = {"kind": HTTP_ROUTE, "metadata": meta, "spec": spec, "status": status}
        self.objects[HTTP_ROUTE, "front"] = self.objects[HTTP_ROUTE, "qna"] = route
        for name in ("picked", "picked-next"):
            self.objects.setdefault((INFERENCE_POOL, name), a_pool(name))

    @override
    def _apply(self, desired: Desired) -> None:
        World._apply(self, desired)
        canary = self.spec.canary
        for item in render(OWNER, desired, provider=EXISTING_ROUTES, canary=canary):
            self.objects[item["kind"], item["metadata"]["name"]] = item
        for key in EXISTING_ROUTES.borrowed(canary):
            live = self.objects[key]
            if edits := EXISTING_ROUTES.edits(route_for(OWNER, desired, canary), live):
                self.objects[key] = patched(live, edits)
                meta = self.objects[key]["metadata"]
                meta["generation"] = meta.get("generation", 0) + 1
        # The gateway of these worlds knows the route by the release's name.
        self.objects[HTTP_ROUTE, "qna"] = self.objects[HTTP_ROUTE, "front"]
        self.gateway_looks()

    @override
    def gateway_looks(self) -> None:
        super().gateway_looks()
        self.objects[HTTP_ROUTE, "front"] = self.objects[HTTP_ROUTE, "qna"]

    @property
    @override
    def shares(self) -> dict[str, int]:
        if self.followed is None:
            return {}
        shares: dict[str, int] = {}
        for each in self.followed["spec"]["rules"][0]["backendRefs"]:
            pool = self.objects[INFERENCE_POOL, each["name"]]
            revision = pool["spec"]["selector"]["matchLabels"].get(names.LABEL_REVISION, "any")
            shares[revision] = shares.get(revision, 0) + each["weight"]
        return {revision: weight for revision, weight in shares.items() if weight}


def a_pooled_world(**canary: Any) -> PooledWorld:
    spec = a_spec(**(QUICK | {"canary": {**QUICK["canary"], "routing": INTO, **canary}}))
    world = PooledWorld(spec=spec, target=a_target("1"), rps=1000.0)
    world.git_writes()
    world.run()
    return world


def test_a_release_goes_through_its_weights_by_pools():
    world = a_pooled_world(steps=[{"weight": 1, "bake": "10s"}, {"weight": 80, "bake": "10s"}])
    world.release(a_target("2"))
    weights_seen = set()
    while world.stable.version == "1":
        world.step()
        if world.status.phase is Phase.PROGRESSING and world.canary.step_since:
            weights_seen.add(world.shares["rev2"])
    assert weights_seen == {1, 80}
    assert world.run().stable.version == "2"
    assert world.shares == {"rev2": 100}
    assert world.unanswered == 0


def test_a_rejected_canary_has_nobody_whichever_weights_the_gateway_follows():
    world = a_pooled_world(steps=[{"weight": 50, "bake": "10s"}])
    world.behaviours["rev2"] = Behaviour(error_rate=0.5)
    world.release(a_target("2")).run(until=Phase.PROGRESSING)
    while not world.status.rejected:
        world.step()
    world.answers = False
    world.step()
    assert set(world.shares) == {"rev1"}
    world.answers = True
    world.gateway_looks()
    assert world.run().status.phase is Phase.STABLE
    assert world.unanswered == 0
