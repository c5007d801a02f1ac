"""A route that goes out of effect in the middle of a step: the step waits, and a way back stays."""

from dataclasses import replace
from datetime import timedelta

import pytest
from typing_extensions import override

from modelrelease_operator.api.status import Phase, Reason
from modelrelease_operator.core.observed import Observed
from testbed.builders import a_spec, a_target
from testbed.world import QUICK, Behaviour, World

GATEWAY = {"gatewayAPI": {"parentRefs": [{"name": "public"}]}}
LOST = "ModelRelease ml/qna is not routed: ModelRelease ml/rag, which is older, has the requests"
LATE = "HTTPRoute qna: Gateway infra/public has not taken its newest weights yet (Accepted)"


class RoutedWorld(World):
    """A world whose route can be lost to an older release, and whose gateway can be late."""

    trouble: str | None = None
    sticky: str | None = None
    keeps_clients: bool = False
    """Whether clients still may reach both while there is trouble."""

    @property
    @override
    def observed(self) -> Observed:
        seen: Observed = World.observed.fget(self)  # type: ignore[attr-defined]
        seen = replace(seen, route_sticky=self.sticky)
        if self.trouble is None:
            return seen
        routed = seen.routed if self.keeps_clients else frozenset({self.stable.revision})
        return replace(seen, routed=routed, routed_weight=None, route_problem=self.trouble)

    @override
    def _serve(self, requests: int) -> None:
        if self.trouble is None or self.keeps_clients:
            return super()._serve(requests)
        pods = [("rev1", pod) for pod in self.pods["rev1"] if pod.ready]
        return self._spread(requests, pods)


def in_a_step(bake: str = "2m", **canary: object) -> RoutedWorld:
    """Build a world whose canary is in its only step, which bakes for a while."""
    steps = [{"weight": 20, "bake": bake}]
    settings = {**QUICK["canary"], "routing": GATEWAY, "steps": steps, **canary}
    world = RoutedWorld(
        spec=a_spec(**(QUICK | {"canary": settings})), target=a_target("1"), rps=1000.0
    )
    world.run()
    world.release(a_target("2")).run(until=Phase.PROGRESSING)
    while world.canary.step_since is None:
        world.step()
    world.steps(4)
    return world


def test_a_step_that_lost_its_route_does_not_bake_and_is_not_promoted():
    world = in_a_step()
    counted = world.canary.step_seconds
    world.trouble = LOST
    world.steps(60)
    assert world.status.phase is Phase.PROGRESSING
    assert world.canary.step_seconds == counted
    assert world.status.message == f"holding until its weight is in effect again: {LOST}"
    assert world.canary.question is None, "no deadline runs out while nothing can be decided"


def test_once_the_route_is_back_the_step_goes_on_from_where_it_was():
    world = in_a_step()
    counted, began = world.canary.step_seconds, world.canary.step_since
    world.trouble = LOST
    world.steps(20)
    world.trouble = None
    world.step()
    assert world.canary.step_since == began
    assert world.canary.step_seconds >= counted
    assert world.run().stable.version == "2"


def test_one_late_pass_of_a_gateway_loses_no_more_than_that_pass():
    world = in_a_step()
    counted = world.canary.step_seconds
    world.trouble, world.keeps_clients = LATE, True
    world.step()
    world.trouble = None
    world.steps(2)
    assert world.canary.step_seconds > counted
    assert world.run().stable.version == "2"


def test_what_is_proven_against_a_canary_takes_it_back_although_the_route_is_not_in_effect():
    world = in_a_step(bake="1h")
    world.trouble, world.keeps_clients = LATE, True
    world.behaviours["rev2"] = Behaviour(error_rate=0.5)
    world.run(until=Phase.ROLLING_BACK)
    assert world.status.rejected or world.status.rejections
    assert Reason.PROMOTED not in world.reasons


def test_a_canary_that_grows_to_full_strength_is_not_promoted_without_its_route():
    world = in_a_step().run(until=Phase.PROMOTING)
    assert isinstance(world, RoutedWorld)
    world.trouble = LOST
    world.steps(20)
    assert world.status.phase is Phase.PROMOTING
    assert f"holding: {LOST}" in world.status.message
    world.trouble = None
    assert world.run().stable.version == "2"


def test_a_switch_waits_for_the_route_too():
    switch = {"weight": 100, "approval": "Manual", "routing": GATEWAY}
    world = RoutedWorld(
        spec=a_spec(**(QUICK | {"canary": switch})), target=a_target("1"), rps=1000.0
    )
    world.run()
    world.release(a_target("2")).run(until=Phase.PAUSED)
    world.trouble = LOST
    world.status = world.status.but(canary=world.canary.but(approved=True))
    world.steps(10)
    assert world.stable.version == "1"
    assert LOST in world.status.message


@pytest.mark.parametrize("steps", [1, 3])
def test_where_pods_make_the_weight_a_step_counts_as_before(steps: int):
    world = in_a_step(routing={})
    counted = world.canary.step_seconds
    before = world.now
    world.steps(steps)
    assert timedelta(seconds=world.canary.step_seconds - counted) >= (world.now - before) / 2


COHORT = {"headers": [{"name": "x-beta", "value": "1"}]}


def test_a_cohort_that_comes_or_goes_in_a_step_changes_what_is_said_of_the_comparison():
    world = in_a_step(bake="1h")
    assert world.canary.note is None
    began = world.canary.step_since
    for cohort, note in ((COHORT, "the cohort (by headers) meets the canary"), ({}, "")):
        routing = {
            "gatewayAPI": {**GATEWAY["gatewayAPI"], **({"cohort": cohort} if cohort else {})}
        }
        canary = world.spec.model_dump(mode="json", by_alias=True, exclude_unset=True)["canary"]
        world.ask(canary={**canary, "routing": routing})
        world.step()
        said = str(world.status.to_dict()["canary"].get("note", ""))
        assert said.startswith(note)
        assert bool(said) == bool(cohort)
    assert world.canary.step_since == began, "the step goes on"


def test_stickiness_that_is_written_into_the_route_in_a_step_is_said_at_once():
    world = in_a_step(bake="1h")
    world.sticky = "sessionPersistence of HTTPRoute ml/front"
    world.step()
    assert str(world.canary.note).startswith(world.sticky)
    world.sticky = None
    world.step()
    assert world.canary.note is None
