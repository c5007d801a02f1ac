"""The scale subresource: an autoscaler aims at the release,
and each revision is as strong as it must be.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from testbed.operating import Operating, operating


@pytest.fixture
async def world() -> AsyncIterator[Operating]:
    async with operating() as running:
        yield running


def replicas(world: Operating) -> dict[str, int]:
    """Return by version how many pods its Deployment asks for."""
    return {
        each["metadata"]["labels"]["modelrelease.dev/version"]: each["spec"]["replicas"]
        for each in world.server.of("Deployment")
    }


def scaled(count: int, **parts: Any) -> dict[str, Any]:
    """Return what an autoscaler leaves of a spec: it writes one field."""
    return {"serving": {"replicas": count}, **parts}


async def test_status_says_which_pods_an_autoscaler_counts(world: Operating):
    await world.with_canary()
    status = world.status()
    assert status["selector"] == "modelrelease.dev/release=qna"
    assert status["replicas"] == len(world.server.of("Pod"))


async def test_what_serves_follows_the_autoscaler(world: Operating):
    await world.serves("1")
    world.release("1", **scaled(5))
    await world.until(lambda status: status["replicas"] == 5)
    assert replicas(world) == {"1": 5}
    assert world.status()["phase"] == "Stable"


async def test_in_the_middle_of_a_canary_both_arms_follow_and_nothing_begins_anew(world: Operating):
    before = await world.with_canary()
    world.release("2", **scaled(4))
    status = await world.until(lambda status: status["replicas"] == 8)
    assert replicas(world) == {"1": 4, "2": 4}
    assert status["canary"]["revision"] == before["canary"]["revision"]
    assert status["canary"]["stepSince"] == before["canary"]["stepSince"]


async def test_a_promotion_brings_the_canary_to_the_size_of_the_moment_first(world: Operating):
    await world.with_canary()
    world.release("2", **scaled(6))
    world.annotate(promote=world.status()["canary"]["revision"])
    while world.status()["stable"]["version"] == "1":
        await world.once()
        if world.status()["stable"]["version"] == "2":
            break
    assert replicas(world)["2"] == 6
    ready = [
        pod
        for pod in world.server.of("Pod")
        if pod["metadata"]["labels"]["modelrelease.dev/version"] == "2"
    ]
    assert len(ready) == 6
