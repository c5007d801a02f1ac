"""Passes over a release with a route:
on a cluster that has no Gateway API, and on one that gets it.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from modelrelease_operator.runtime import cache
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
