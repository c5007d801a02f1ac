"""A pass shows what its gates hold the canary against, beside what they counted."""

from collections.abc import AsyncIterator

import pytest
from prometheus_client import REGISTRY

from testbed.operating import Operating, operating

RELEASE = {"release_namespace": "ml", "release": "qna"}
GATES = {
    "gates": [
        {
            "name": "errors",
            "errorRate": {
                "tolerated": {"ratio": 1.1, "points": 1}, "margin": {"ratio": 1.25, "points": 2},
            },
        },
        {"name": "allowed", "errorRate": {"maxPercent": 3, "compareWithStable": False}},
    ]
}  # fmt: skip
"""Stable never fails here, so the points are all that there is."""


@pytest.fixture
async def world() -> AsyncIterator[Operating]:
    async with operating() as found:
        yield found


def value(metric: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"modelrelease_gate_{metric}", RELEASE | labels)


async def test_a_canary_is_shown_beside_what_it_is_held_against(world: Operating):
    await world.with_canary(analysis=GATES)
    await world.until(lambda status: any("stablePercent" in gate for gate in status["gates"]))
    assert value("bound_points", gate="errors", bound="tolerated") == pytest.approx(1)
    assert value("bound_points", gate="errors", bound="margin") == pytest.approx(2)
    assert value("bad_percent", gate="errors", track="stable") == 0
    assert value("limit_percent", gate="allowed") == pytest.approx(3)
    assert value("bound_points", gate="allowed", bound="margin") is None


async def test_once_it_has_gone_back_nothing_is_shown(world: Operating):
    await world.with_canary(analysis=GATES)
    world.measured.errors = 0.5
    await world.until(lambda status: status["phase"] == "Stable")
    assert value("bound_points", gate="errors", bound="margin") is None
    assert value("limit_percent", gate="allowed") is None
