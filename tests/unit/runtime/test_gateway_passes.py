"""Passes over a release with a route:
on a cluster that has no Gateway API, and on one that gets it.
"""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from modelrelease_operator.api import names
from modelrelease_operator.api.routing import CountingGateway
from modelrelease_operator.runtime import cache
from modelrelease_operator.traffic.gateway_counters import COUNTING
from testbed.api_server import ApiServer
from testbed.operating import FAST, Operating, operating
from tests.unit.runtime.test_cache import until

PARENT = {"name": "public", "namespace": "infra"}
BY_GATEWAY: dict[str, Any] = {
    "canary": {**FAST["canary"], "routing": {"gatewayAPI": {"parentRefs": [PARENT]}}}
}


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Operating]:
    monkeypatch.setattr(cache, "OPTIONAL_PAUSE_SECONDS", 0.02)
    async with operating() as running:
        yield running


def gateway_takes(server: ApiServer, answer: str = "True") -> None:
    """Answer every route, as a controller does."""
    for route in server.of("HTTPRoute"):
        generation = route["metadata"].get("generation", 1)
        told = [
            {
                "type": kind,
                "status": answer,
                "reason": "NotAllowed",
                "message": "m",
                "observedGeneration": generation,
            }
            for kind in ("Accepted", "ResolvedRefs")
        ]
        meta = route["metadata"]
        status = {"parents": [{"parentRef": PARENT, "conditions": told}]}
        server.put("HTTPRoute", meta["name"], metadata=meta, spec=route["spec"], status=status)


async def served(world: Operating) -> None:
    """Install the Gateway API, and wait until the operator has found it."""
    world.server.absent.clear()
    await until(lambda: "HTTPRoute" in world.kube.stores)


async def seen(world: Operating) -> None:
    """Wait until the watch has told what the server has of routes."""
    versions = {each["metadata"]["resourceVersion"] for each in world.server.of("HTTPRoute")}

    def known() -> bool:
        routes = world.kube.stores["HTTPRoute"].of_release(("ml", "qna"))
        return {each["metadata"]["resourceVersion"] for each in routes} == versions

    await until(known)


async def pass_until(
    world: Operating, what: Callable[[dict[str, Any]], bool], *, answer: str | None = "True"
) -> dict[str, Any]:
    """Make passes, with a gateway that answers each, until a status is as wanted."""
    for _ in range(100):
        await world.once()
        if answer:
            gateway_takes(world.server, answer)
        await seen(world)
        if what(world.status()):
            return world.status()
    raise AssertionError(f"not seen; last: {world.status()}")


def is_stable(status: dict[str, Any]) -> bool:
    return status.get("phase") == "Stable"


async def test_releases_without_a_route_never_ask_for_one(world: Operating):
    await world.serves("1")
    world.server.requests.clear()
    for _ in range(5):
        await world.once()
    assert {what for what in world.server.requests if "httproutes" in what} <= {"LIST httproutes"}


async def test_without_the_gateway_api_the_release_says_so(world: Operating):
    world.release("1", **BY_GATEWAY)
    status = await world.until(lambda it: "Gateway API" in it.get("message", ""))
    assert "HTTPRoute ml/qna cannot be made: this cluster does not serve" in status["message"]
    assert world.server.condition("Stalled")["reason"] == "ApplyRefused"


async def test_once_it_is_installed_the_release_goes_on(world: Operating):
    world.release("1", **BY_GATEWAY)
    await world.until(lambda it: "Gateway API" in it.get("message", ""))
    await served(world)
    await pass_until(world, is_stable)
    assert world.server.condition("Stalled")["status"] == "False"


async def test_a_route_that_is_refused_stalls_the_release_after_half_a_minute_and_no_sooner(
    world: Operating,
):
    await served(world)
    world.release("1", **BY_GATEWAY)
    began = world.clock.now
    await pass_until(
        world,
        lambda _: world.server.condition("Stalled").get("reason") == "RouteNotTaken",
        answer="False",
    )
    assert (world.clock.now - began).total_seconds() >= 30
    assert (
        "Gateway infra/public refuses it: Accepted is False, NotAllowed"
        in world.status()["message"]
    )
    assert "RouteNotTaken" in world.server.reasons()
    await pass_until(world, is_stable)


async def test_a_gateway_that_counts_is_asked_about_a_canary_and_not_after_its_promotion(
    world: Operating,
):
    """By then the new version is behind the Service that its predecessor was behind."""
    steps = [{"weight": 50, "bake": "10s"}]
    canary = {**BY_GATEWAY["canary"], "steps": steps, "keepPrevious": "10m"}
    parts: dict[str, Any] = {"canary": canary, "analysis": {"countedBy": "Traefik"}}
    await served(world)
    world.release("1", **parts)
    await pass_until(world, is_stable)
    world.release("2", **parts)
    status = await pass_until(world, lambda it: it.get("stable", {}).get("version") == "2")
    assert {of.gateway for of in world.measured.asked} == {COUNTING[CountingGateway.TRAEFIK]}
    assert status["previous"]["version"] == "1"
    looks = world.measured.looks
    for _ in range(10):
        await world.once()
        gateway_takes(world.server)
    assert world.measured.looks == looks
    assert is_stable(world.status())


async def test_taking_the_routing_out_removes_the_route_once_the_service_leads(world: Operating):
    await served(world)
    world.release("1", **BY_GATEWAY)
    await pass_until(world, is_stable)
    world.release("1")
    for _ in range(5):
        await world.once()
    assert not world.server.has("HTTPRoute", "qna")
    assert world.status()["phase"] == "Stable"


async def test_a_foreign_route_of_the_name_is_refused_and_left_alone(world: Operating):
    await served(world)
    world.server.put(
        "HTTPRoute",
        "qna",
        metadata={"labels": {"modelrelease.dev/release": "qna"}},
        spec={"rules": []},
    )
    world.release("1", **BY_GATEWAY)
    await world.until(lambda it: "belongs to somebody else" in it.get("message", ""))
    assert world.server.get("HTTPRoute", "qna")["spec"] == {"rules": []}


async def test_a_gateway_api_that_is_removed_stops_no_release_that_does_without(
    world: Operating, monkeypatch: pytest.MonkeyPatch
):
    await served(world)
    await world.serves("1")
    world.server.absent.add("httproutes")
    world.server.end_watches("httproutes")
    await until(lambda: "HTTPRoute" in world.kube.absent)
    await world.once()
    assert world.status()["phase"] == "Stable"
    await served(world)


async def test_routes_that_may_not_be_watched_any_more_stop_no_release_that_does_without(
    world: Operating,
):
    await served(world)
    await world.serves("1")
    world.kube.stores["HTTPRoute"].heard.clear()
    await world.once()
    assert world.status()["phase"] == "Stable"


async def test_a_release_says_when_its_route_may_be_written_and_not_listed(world: Operating):
    def refuse(verb: str, what: str, _: dict[str, Any]) -> tuple[int, str] | None:
        return (403, "cannot list httproutes") if (verb, what) == ("LIST", "httproutes") else None

    world.server.refuse = refuse
    world.server.absent.clear()
    await until(lambda: world.server.requests["LIST httproutes"] > 1)
    world.release("1", **BY_GATEWAY)
    await world.until(lambda it: "cannot list httproutes" in it.get("message", ""))
    assert world.server.condition("Stalled")["reason"] == "ApplyRefused"


def asked(world: Operating, name: str, born: int, **routing: Any) -> None:
    """Apply a release that asks for requests of the Gateway, as one born at an hour."""
    created = f"2026-11-01T{born:02d}:00:00Z"
    gateway_api = {"parentRefs": [PARENT], "hostnames": ["qna.io"], **routing}
    world.release("1", name, canary={**FAST["canary"], "routing": {"gatewayAPI": gateway_api}})
    release = world.server.get("ModelRelease", name)
    meta = {**release["metadata"], "creationTimestamp": created}
    world.server.put("ModelRelease", name, metadata=meta, spec=release["spec"])


async def passes(world: Operating, name: str, count: int = 6) -> dict[str, Any]:
    """Make some passes over a release, with a gateway that takes what it is given."""
    for _ in range(count):
        await world.once(name)
        gateway_takes(world.server)
        await known(world)
    return world.status(name)


async def known(world: Operating) -> None:
    """Wait until the watch has told of every route as the server has it."""

    def is_known() -> bool:
        store = world.kube.stores["HTTPRoute"]
        of = world.server.of("HTTPRoute")
        there = {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in of}
        seen = {
            name: obj["metadata"]["resourceVersion"]
            for name in ("qna", "rag")
            if (obj := store.get(("ml", name)))
        }
        return there == seen

    await until(is_known)


async def test_of_two_releases_that_ask_for_the_same_the_older_is_routed_and_both_are_named(
    world: Operating,
):
    await served(world)
    asked(world, "rag", born=2)
    asked(world, "qna", born=1)
    assert (await passes(world, "qna"))["phase"] == "Stable"
    status = await passes(world, "rag")
    stalled = world.server.condition("Stalled", "rag")
    assert (stalled["status"], stalled["reason"]) == ("True", "RouteConflict")
    assert "ModelRelease ml/rag is not routed: ModelRelease ml/qna, which is" in status["message"]
    assert not world.server.has("HTTPRoute", "rag")
    assert "RouteConflict" in world.server.reasons("rag")
    assert world.server.condition("Stalled", "qna")["status"] == "False"


async def test_when_the_older_one_goes_the_other_is_woken_and_routed(world: Operating):
    await served(world)
    asked(world, "qna", born=1)
    asked(world, "rag", born=2)
    await passes(world, "qna")
    await passes(world, "rag")
    gone = world.server.get("ModelRelease", "qna")
    world.woken.clear()
    for kind, name in (("ModelRelease", "qna"), ("HTTPRoute", "qna")):
        world.server.remove(kind, name)
    world.kube.release_gone(("ml", "qna"), gone["metadata"]["uid"])
    assert ("ml", "rag") in world.woken
    assert (await passes(world, "rag"))["phase"] == "Stable"
    assert world.server.has("HTTPRoute", "rag")
    assert world.server.condition("Stalled", "rag")["status"] == "False"


async def test_a_release_that_gives_its_host_away_lets_the_other_have_it(world: Operating):
    await served(world)
    asked(world, "qna", born=1)
    asked(world, "rag", born=2)
    await passes(world, "qna")
    await passes(world, "rag")
    asked(world, "qna", born=1, hostnames=["elsewhere.io"])
    await passes(world, "qna")
    assert (await passes(world, "rag"))["phase"] == "Stable"


async def test_a_routed_release_loses_its_route_to_an_older_one_that_asks_for_the_same(
    world: Operating,
):
    await served(world)
    asked(world, "qna", born=1, hostnames=["elsewhere.io"])
    asked(world, "rag", born=2)
    await passes(world, "qna")
    await passes(world, "rag")
    assert world.server.has("HTTPRoute", "rag")
    asked(world, "qna", born=1)
    await passes(world, "qna")
    await passes(world, "rag")
    assert not world.server.has("HTTPRoute", "rag")
    assert world.server.condition("Stalled", "rag")["reason"] == "RouteConflict"
    assert world.routed("rag"), "callers in the cluster still reach its stable version"


async def test_nobody_is_routed_before_all_releases_are_known(world: Operating):
    await served(world)
    asked(world, "qna", born=1)
    asked(world, "rag", born=2)
    await world.once("rag")
    assert world.server.requests["LIST modelreleases"] == 1, "asked once, before the first route"
    await passes(world, "rag")
    assert not world.server.has("HTTPRoute", "rag")
    assert world.server.requests["LIST modelreleases"] == 1


RULE = {"existingRoute": {"name": "front", "rule": "predict"}}
INTO_A_ROUTE: dict[str, Any] = {"canary": {**FAST["canary"], "routing": {"gatewayAPI": RULE}}}


def somebodys_route(world: Operating, *shares: int, **rule: Any) -> None:
    """Write the route of somebody else, as Git would."""
    before = world.server.objects.get(("httproutes", "ml", "front"), {}).get("metadata", {})
    backends = [
        {"name": name, "port": 80, "weight": share}
        for name, share in zip(("qna-stable", "qna-canary"), shares, strict=False)
    ]
    filters = [{"type": "RequestHeaderModifier"}]
    predict = {"name": "predict", "filters": filters, "backendRefs": backends, **rule}
    world.server.put(
        "HTTPRoute",
        "front",
        metadata=before,
        spec={"parentRefs": [PARENT], "rules": [{"backendRefs": [{"name": "docs"}]}, predict]},
    )


def shares(world: Operating) -> tuple[int, ...]:
    rule = world.server.get("HTTPRoute", "front")["spec"]["rules"][1]
    return tuple(each["weight"] for each in rule["backendRefs"])


async def front_seen(world: Operating) -> None:
    """Wait until the watch has told of the route as the server has it."""
    await seen_by_name(world, "front")


async def seen_by_name(world: Operating, name: str) -> None:
    """Wait until the watch has told of one route as the server has it."""

    def is_seen() -> bool:
        stored = world.kube.stores["HTTPRoute"].get(("ml", name))
        there = world.server.objects.get(("httproutes", "ml", name))
        versions = [each and each["metadata"]["resourceVersion"] for each in (stored, there)]
        return versions[0] == versions[1]

    await until(is_seen)


async def go_until(
    world: Operating, what: Callable[[dict[str, Any]], bool], *, answer: bool = True
) -> dict[str, Any]:
    """Make passes, with a gateway that follows somebody's route, until a status is as wanted."""
    for _ in range(100):
        if answer:
            gateway_takes(world.server)
        await front_seen(world)
        await world.once()
        if what(world.status()):
            return world.status()
    raise AssertionError(f"not seen; last: {world.status()}")


async def with_a_canary(world: Operating) -> None:
    """Have version 1 serve by somebody's route, beside the canary 2 with half of the requests."""
    await served(world)
    somebodys_route(world, 100, 0)
    world.release("1", **INTO_A_ROUTE)
    await go_until(world, is_stable)
    world.release("2", **INTO_A_ROUTE)
    await go_until(world, lambda it: it.get("canary", {}).get("stepSince") is not None)


async def test_the_weights_of_a_route_of_others_follow_the_release_and_nothing_else_does(
    world: Operating,
):
    await with_a_canary(world)
    assert shares(world) == (50, 50)
    spec = world.server.get("HTTPRoute", "front")["spec"]
    assert spec["rules"][0] == {"backendRefs": [{"name": "docs"}]}
    assert spec["rules"][1]["filters"] == [{"type": "RequestHeaderModifier"}]
    assert not world.server.has("HTTPRoute", "qna"), "it needs none of its own"
    meta = world.server.get("HTTPRoute", "front")["metadata"]
    assert not meta.get("ownerReferences"), "it is not taken over"
    assert world.status()["route"] == {"name": "front", "rule": "predict"}


async def test_a_rejected_canary_loses_its_weight_in_the_same_pass(world: Operating):
    await with_a_canary(world)
    world.measured.errors = 0.5
    await go_until(world, lambda it: it["phase"] == "RollingBack")
    assert shares(world) == (100, 0)
    await go_until(world, is_stable)


async def test_weights_that_git_writes_again_wake_the_release_and_are_set_right(world: Operating):
    await with_a_canary(world)
    world.woken.clear()
    somebodys_route(world, 100, 0)
    await until(lambda: ("ml", "qna") in world.woken)
    await world.once()
    assert shares(world) == (50, 50)


async def test_a_route_that_changes_while_it_is_written_is_read_again_at_once(world: Operating):
    await with_a_canary(world)
    await front_seen(world)
    edits = 0

    def refuse(verb: str, what: str, _: Any) -> tuple[int, str] | None:
        nonlocal edits
        if (verb, what) != ("PATCH", "httproutes"):
            return None
        edits += 1
        if edits > 1:
            return None
        route = world.server.get("HTTPRoute", "front")
        rules = [{"name": "first", "backendRefs": []}, *route["spec"]["rules"]]
        spec = {**route["spec"], "rules": rules}
        world.server.put("HTTPRoute", "front", metadata=route["metadata"], spec=spec)
        return None

    world.server.refuse = refuse
    world.measured.errors = 0.5
    for _ in range(20):
        await world.once()
        if edits:
            break
    rule = world.server.get("HTTPRoute", "front")["spec"]["rules"][2]
    assert [each["weight"] for each in rule["backendRefs"]] == [100, 0]
    assert edits == 2, "the first found another rule in its place"


async def test_a_route_that_is_deleted_midway_is_told_and_made_again_has_its_weights(
    world: Operating,
):
    await with_a_canary(world)
    world.server.remove("HTTPRoute", "front")
    status = await go_until(
        world, lambda _: world.server.condition("Stalled").get("reason") == "RouteNotTaken"
    )
    assert "HTTPRoute ml/front, which" in status["message"]
    assert "does not exist" in status["message"]
    somebodys_route(world, 100, 0)
    await go_until(world, lambda _: world.server.condition("Stalled")["status"] == "False")
    assert shares(world) == (50, 50)


async def test_a_rule_without_the_services_says_what_to_write_and_goes_on_once_it_is_there(
    world: Operating,
):
    await served(world)
    somebodys_route(world)
    world.release("1", **INTO_A_ROUTE)
    await go_until(
        world, lambda _: world.server.condition("Stalled").get("reason") == "RouteIncomplete"
    )
    assert "Write into the rule: backendRefs: [{name: qna-stable" in world.status()["message"]
    somebodys_route(world, 1, 1)
    await go_until(world, is_stable)
    assert shares(world) == (100, 0)


async def test_taking_the_route_out_of_the_spec_leads_it_to_stable_alone(world: Operating):
    await with_a_canary(world)
    world.release("2")
    await world.once()
    assert shares(world) == (100, 0)
    assert world.status()["route"]["name"] == "front", "its Gateway has not taken that yet"
    await go_until(world, lambda it: "route" not in it)


async def test_a_route_that_is_left_leads_nobody_to_pods_that_are_gone(world: Operating):
    await with_a_canary(world)
    world.release("1")
    for _ in range(4):
        await front_seen(world)
        await world.once()
    assert world.status()["phase"] == "RollingBack"
    assert "has not taken its newest weights yet" in world.status()["message"]
    stable = world.status()["stable"]["revision"]
    for name in ("qna-stable", "qna-canary"):
        selector = world.server.get("Service", name)["spec"]["selector"]
        assert selector["modelrelease.dev/revision"] == stable, "a late Gateway finds stable's pods"
    canary = world.status()["canary"]["revision"]
    of_canary = {"modelrelease.dev/revision": canary}
    pods = [each["metadata"]["labels"] for each in world.server.of("Pod")]
    assert any(of_canary.items() <= labels.items() for labels in pods)
    await go_until(world, is_stable)
    assert "route" not in world.status()


async def test_a_release_at_rest_looks_again_until_the_route_that_it_left_is_given_back(
    world: Operating,
):
    await served(world)
    somebodys_route(world, 100, 0)
    world.release("1", **INTO_A_ROUTE)
    await go_until(world, is_stable)
    await world.once()
    somebodys_route(world, 90, 10)
    await front_seen(world)
    world.release("1")
    requeue = await world.once()
    assert world.status()["route"]["name"] == "front"
    assert requeue is not None
    assert requeue <= timedelta(seconds=15)
    await go_until(world, lambda it: "route" not in it)


async def test_a_gateway_that_refuses_the_route_that_is_left_holds_nothing(world: Operating):
    await with_a_canary(world)
    world.release("1")
    await world.once()
    gateway_takes(world.server, "False")
    for _ in range(3):
        await front_seen(world)
        await world.once()
    assert (world.status()["phase"], "route" in world.status()) == ("Stable", False)


async def test_no_second_route_has_weights_while_the_first_one_is_owed_its_own(world: Operating):
    await with_a_canary(world)
    front = world.server.get("HTTPRoute", "front")["spec"]
    rules = [
        {
            "backendRefs": [
                {"name": "qna-stable", "port": 80, "weight": 100},
                {"name": "qna-canary", "port": 80, "weight": 0},
            ]
        }
    ]
    world.server.put("HTTPRoute", "other", metadata={}, spec={**front, "rules": rules})
    await seen_by_name(world, "other")
    uid = world.server.get("HTTPRoute", "front")["metadata"]["uid"]

    def refuse(verb: str, what: str, sent: Any) -> tuple[int, str] | None:
        is_front = (verb, what) == ("PATCH", "httproutes") and uid in str(sent)
        return (403, "cannot patch httproutes") if is_front else None

    world.server.refuse = refuse
    other = {"gatewayAPI": {"existingRoute": {"name": "other"}}}
    world.release("2", canary={**FAST["canary"], "routing": other})
    await world.once()
    assert world.status()["route"]["name"] == "front"
    assert world.server.get("HTTPRoute", "other")["spec"]["rules"] == rules
    world.server.refuse = lambda *_: None
    world.release("2")
    await world.once()
    assert shares(world) == (100, 0), "the first is remembered over the second"
    await go_until(world, lambda it: "route" not in it)
    assert world.server.get("HTTPRoute", "other")["spec"]["rules"] == rules


async def test_another_route_in_the_spec_gives_the_first_one_back(world: Operating):
    await with_a_canary(world)
    other = {"gatewayAPI": {"existingRoute": {"name": "other"}}}
    world.release("2", canary={**FAST["canary"], "routing": other})
    await world.once()
    assert shares(world) == (100, 0)
    assert world.status()["route"]["name"] == "front", "its Gateway has not taken that yet"
    await go_until(world, lambda it: it["route"] == {"name": "other"})


async def test_a_route_that_may_not_be_written_is_remembered_until_it_is_given_back(
    world: Operating,
):
    await with_a_canary(world)

    def refuse(verb: str, what: str, _: Any) -> tuple[int, str] | None:
        return (403, "cannot patch httproutes") if (verb, what) == ("PATCH", "httproutes") else None

    world.server.refuse = refuse
    world.release("2")
    await world.once()
    assert world.server.condition("Stalled")["reason"] == "ApplyRefused"
    assert world.status()["route"]["name"] == "front"
    world.server.refuse = lambda *_: None
    await world.once()
    assert shares(world) == (100, 0)


async def test_a_route_of_the_releases_own_that_is_named_as_somebodys_is_kept_and_refused(
    world: Operating,
):
    await served(world)
    world.release("1", **BY_GATEWAY)
    await pass_until(world, is_stable)
    own = {"gatewayAPI": {"existingRoute": {"name": "qna"}}}
    world.release("1", canary={**FAST["canary"], "routing": own})
    for _ in range(4):
        await world.once()
        gateway_takes(world.server)
        await seen(world)
    stalled = world.server.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "RouteIncomplete")
    assert "HTTPRoute ml/qna, which spec.canary.routing.gatewayAPI" in stalled["message"]
    assert "take metadata.ownerReferences out of this one" in stalled["message"]
    route = world.server.get("HTTPRoute", "qna")
    meta = {key: value for key, value in route["metadata"].items() if key != "ownerReferences"}
    world.server.put("HTTPRoute", "qna", metadata=meta, spec=route["spec"])
    for _ in range(4):
        gateway_takes(world.server)
        await seen_by_name(world, "qna")
        await world.once()
    assert world.server.condition("Stalled")["status"] == "False"
    assert world.server.has("HTTPRoute", "qna")


async def test_without_the_gateway_api_a_named_route_is_missed_by_name(world: Operating):
    world.release("1", **INTO_A_ROUTE)
    await world.until(lambda _: world.server.condition("Stalled").get("reason") == "RouteNotTaken")
    assert "HTTPRoute ml/front: this cluster does not serve its kind" in world.status()["message"]


async def test_routes_that_nobody_names_wake_nobody(world: Operating):
    await served(world)
    await world.serves("1")
    world.woken.clear()
    somebodys_route(world, 100, 0)
    await front_seen(world)
    assert world.woken == []


BY_QUERY: dict[str, Any] = {
    "canary": {
        **FAST["canary"],
        "routing": {
            "gatewayAPI": {
                "parentRefs": [PARENT],
                "cohort": {"queryParams": [{"name": "beta", "value": "1"}]},
            }
        },
    }
}


def gateway_of_a_class(world: Operating, *features: str) -> None:
    """Write the Gateway and its class, with the features that it lists."""
    world.server.put("Gateway", "public", "infra", spec={"gatewayClassName": "simple"})
    listed = [{"name": name} for name in features]
    world.server.put("GatewayClass", "simple", "", status={"supportedFeatures": listed})


async def test_a_cohort_that_the_gateways_class_cannot_find_is_refused_by_name(world: Operating):
    await served(world)
    gateway_of_a_class(world, "HTTPRoute", "Gateway")
    world.release("1", **BY_QUERY)
    status = await pass_until(
        world, lambda _: world.server.condition("Stalled").get("reason") == "RouteUnsupported"
    )
    assert "cohort.queryParams needs the feature HTTPRouteQueryParamMatching" in status["message"]
    assert "GatewayClass simple of Gateway infra/public does not list" in status["message"]
    assert len(world.server.get("HTTPRoute", "qna")["spec"]["rules"]) == 1, "stable is routed"


@pytest.mark.parametrize("features", [(), ("HTTPRoute", "HTTPRouteQueryParamMatching")])
async def test_a_cohort_goes_where_the_class_lists_it_or_lists_nothing(
    world: Operating, features: tuple[str, ...]
):
    await served(world)
    gateway_of_a_class(world, *features)
    world.release("1", **BY_QUERY)
    await pass_until(world, is_stable)
    asked_for = world.server.requests["GET gatewayclasses"]
    await world.once()
    assert world.server.requests["GET gatewayclasses"] == asked_for, "remembered for a minute"


async def test_classes_that_may_not_be_read_stop_no_cohort(world: Operating):
    def refuse(verb: str, what: str, _: dict[str, Any]) -> tuple[int, str] | None:
        return (403, "cannot get gateways") if what == "gateways" else None

    world.server.refuse = refuse
    await served(world)
    world.release("1", **BY_QUERY)
    await pass_until(world, is_stable)


def by_git(world: Operating) -> None:
    """Write somebody's route with its own weights, as a controller that corrects drift does."""
    somebodys_route(world, 100, 0)
    route = world.server.get("HTTPRoute", "front")
    entry = {"manager": "argocd-controller", "time": "t", "fieldsV1": {"f:spec": {"f:rules": {}}}}
    meta = {**route["metadata"], "managedFields": [entry]}
    world.server.put("HTTPRoute", "front", metadata=meta, spec=route["spec"])


async def test_whoever_goes_on_writing_the_weights_is_named_and_they_are_still_set_right(
    world: Operating,
):
    await with_a_canary(world)
    for times in range(5):
        assert world.server.condition("Stalled")["status"] == "False", f"after {times}"
        by_git(world)
        await front_seen(world)
        await world.once()
        assert shares(world) == (50, 50)
    stalled = world.server.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "RouteContested")
    assert "HTTPRoute ml/front is written by argocd-controller" in stalled["message"]
    assert world.server.reasons().count("RouteContested") == 1
    world.clock.now += timedelta(minutes=11)
    await go_until(world, lambda _: world.server.condition("Stalled")["status"] == "False")


async def test_a_contest_about_one_route_says_nothing_of_the_next_that_is_named(world: Operating):
    await with_a_canary(world)
    for _ in range(5):
        by_git(world)
        await front_seen(world)
        await world.once()
    assert world.server.condition("Stalled")["reason"] == "RouteContested"
    front = world.server.get("HTTPRoute", "front")
    world.server.put("HTTPRoute", "other", metadata={}, spec=front["spec"])
    await seen_by_name(world, "other")
    other = {"gatewayAPI": {"existingRoute": {"name": "other", "rule": "predict"}}}
    world.release("2", canary={**FAST["canary"], "routing": other})
    for _ in range(3):
        gateway_takes(world.server)
        await seen_by_name(world, "other")
        await world.once()
    assert world.server.condition("Stalled")["status"] == "False"


async def test_the_releases_own_changes_of_a_weight_are_no_contest(world: Operating):
    await with_a_canary(world)
    for version in ("1", "2", "1", "2", "1", "2"):
        world.release(version, **INTO_A_ROUTE)
        for _ in range(3):
            gateway_takes(world.server)
            await front_seen(world)
            await world.once()
    assert world.server.condition("Stalled").get("reason") != "RouteContested"


async def test_a_route_of_others_by_the_releases_name_stops_no_pass_and_is_left_alone(
    world: Operating,
):
    await served(world)
    await world.serves("1")
    world.server.put("HTTPRoute", "qna", spec={"rules": []})
    await seen_by_name(world, "qna")
    world.release("1", **BY_GATEWAY)
    await world.until(lambda it: "belongs to somebody else" in it.get("message", ""))
    assert world.server.condition("Stalled")["reason"] == "ApplyRefused"
    assert world.server.get("HTTPRoute", "qna")["spec"] == {"rules": []}
    world.release("1")
    await world.until(lambda _: world.server.condition("Stalled")["status"] == "False")
    assert world.server.has("HTTPRoute", "qna"), "it is not the release's to remove"


POOL = "inference.networking.k8s.io"
TO_POOLS = {"existingRoute": {**RULE["existingRoute"], "pools": {"stable": "one", "canary": "two"}}}
BY_POOLS: dict[str, Any] = {"canary": {**FAST["canary"], "routing": {"gatewayAPI": TO_POOLS}}}


def somebodys_pools(world: Operating) -> None:
    """Write the pools of somebody else, and a route to them."""
    ours = {names.LABEL_RELEASE: "qna"}
    for name in ("one", "two"):
        spec = {"selector": {"matchLabels": dict(ours)}, "targetPorts": [{"number": 8080}]}
        world.server.put("InferencePool", name, metadata={}, spec=spec)
    backends = [
        {"group": POOL, "kind": "InferencePool", "name": name, "weight": weight}
        for name, weight in (("one", 100), ("two", 0))
    ]
    somebodys_route(world, backendRefs=backends)


def revisions_of_pools(world: Operating) -> tuple[str | None, ...]:
    pools = [world.server.get("InferencePool", name) for name in ("one", "two")]
    labels = [pool["spec"]["selector"]["matchLabels"] for pool in pools]
    return tuple(each.get(names.LABEL_REVISION) for each in labels)


async def test_pools_of_others_follow_the_arms_and_are_let_go_when_the_release_leaves_them(
    world: Operating,
):
    await served(world)
    somebodys_pools(world)
    await until(lambda: "InferencePool" in world.kube.stores)
    world.release("1", **BY_POOLS)
    await go_until(world, is_stable)
    stable = world.status()["stable"]["revision"]
    assert revisions_of_pools(world) == (stable, stable)
    world.release("2", **BY_POOLS)
    status = await go_until(world, lambda it: it.get("canary", {}).get("stepSince") is not None)
    assert revisions_of_pools(world) == (stable, status["canary"]["revision"])
    assert shares(world) == (50, 50)
    world.release("1", canary=FAST["canary"])
    await go_until(world, lambda it: it["phase"] == "Stable" and "route" not in it)
    assert revisions_of_pools(world) == (None, None)
    assert shares(world) == (100, 0)


STICKY: dict[str, Any] = {
    "canary": {
        **FAST["canary"],
        "routing": {"gatewayAPI": {"parentRefs": [PARENT], "sessionPersistence": {}}},
    }
}


def routes_with(world: Operating, *fields: str) -> None:
    """Have the cluster serve HTTPRoutes whose rules have these fields."""
    rules: dict[str, Any] = {"items": {"properties": {field: {} for field in fields}}}
    spec = {"properties": {"rules": rules}}
    schema = {"openAPIV3Schema": {"properties": {"spec": spec}}}
    versions = [{"name": "v1", "schema": schema}, {"name": "v1beta1", "schema": {}}]
    name = "httproutes.gateway.networking.k8s.io"
    world.server.put("CustomResourceDefinition", name, "", spec={"versions": versions})


async def test_sessions_are_refused_where_routes_have_no_field_for_them_and_stable_is_routed(
    world: Operating,
):
    await served(world)
    routes_with(world, "matches", "backendRefs")
    world.release("1", **STICKY)
    status = await pass_until(
        world, lambda _: world.server.condition("Stalled").get("reason") == "RouteUnsupported"
    )
    assert "needs the Gateway API's experimental channel" in status["message"]
    (rule,) = world.server.get("HTTPRoute", "qna")["spec"]["rules"]
    assert "sessionPersistence" not in rule


async def test_sessions_go_where_routes_have_the_field(world: Operating):
    await served(world)
    routes_with(world, "matches", "sessionPersistence")
    world.release("1", **STICKY)
    await pass_until(world, is_stable)
    (rule,) = world.server.get("HTTPRoute", "qna")["spec"]["rules"]
    assert rule["sessionPersistence"] == {"type": "Cookie"}
