"""When stable is the sick one: who answers is said, and the fix gets in."""

from typing import Any

import pytest

from modelrelease_operator.api.status import Phase, Reason
from modelrelease_operator.core.observed import Commands
from testbed.builders import a_target, seconds
from testbed.world import World, a_serving_world, a_world_in

PLAN = {"steps": [{"weight": 25, "bake": "10m"}]}


def kill_stable(world: World) -> World:
    world.behaviour("rev1").starts = False
    world.lose_pods("rev1")
    return world


def a_world_with_a_fix() -> World:
    world = kill_stable(a_serving_world(canary=PLAN))
    return world.release(a_target("2")).run(until=Phase.PROGRESSING).steps(3)


def test_a_canary_that_carries_everything_has_full_strength_and_says_how_to_let_it_take_over():
    world = a_world_with_a_fix()
    assert world.ready("rev2") == 3
    assert world.status.message == (
        "no pod of stable 1 is ready; canary 2 (rev2) answers alone on 3 of 3 pods; "
        "annotate promote=rev2 to have it take over"
    )
    assert world.reasons.count(Reason.STABLE_NOT_READY) == 1
    found = {it.type: (it.status, it.reason) for it in world.status.conditions}
    assert found["WaitingForPerson"] == ("True", "StableNotReady")


@pytest.mark.parametrize("command", ["promote", "approve"])
def test_the_fix_takes_over_within_a_minute(command: str):
    world = a_world_with_a_fix()
    asked = world.now
    named: dict[str, Any] = {command: "rev2"}
    world.commands = Commands(**named)
    world.run(until=Phase.STABLE)
    assert world.stable.version == "2"
    assert world.now - asked < seconds(60)


def test_nobody_is_promoted_without_a_word():
    world = a_world_with_a_fix().steps(1_000)
    assert (world.stable.version, world.status.phase) == ("1", Phase.PROGRESSING)


def test_a_canary_is_not_taken_back_to_nobody():
    world = kill_stable(a_world_in(Phase.PROGRESSING, canary=PLAN).steps(2))
    world.behaviour("rev2").error_rate = 0.5
    world.steps(50)
    assert world.status.phase is Phase.PROGRESSING
    assert world.unanswered == 0


def test_a_stable_that_comes_back_whole_begins_the_step_anew():
    world = a_world_with_a_fix()
    world.behaviour("rev1").starts = True
    world.pods["rev1"][0].ready_at = world.now
    for pod in world.pods["rev1"][1:]:
        pod.ready_at = world.now + seconds(30)
    world.pass_time(1)
    world.step()
    assert world.status.message == (
        "1 of 3 pods of stable 1 are ready again; canary 2 stays at full strength until all are"
    )
    assert len(world.pods["rev2"]) == 3
    world.pass_time(40)
    world.steps(2)
    assert (len(world.pods["rev2"]), world.status.phase) == (1, Phase.PROGRESSING)
    assert world.run().stable.version == "2"


def test_both_dead_ends_in_a_rejection_after_the_start_deadline():
    world = kill_stable(a_world_in(Phase.PROGRESSING, canary=PLAN).steps(1))
    world.behaviour("rev2").starts = False
    world.lose_pods("rev2")
    world.run(until=Phase.ROLLING_BACK)
    assert world.status.rejected is not None
    assert world.status.rejected.reason is Reason.CANARY_NOT_READY


def test_stable_that_dies_while_the_canary_grows_does_not_stop_it():
    world = kill_stable(
        a_world_in(Phase.PROMOTING, canary={"steps": [{"weight": 25}]}, start_seconds=20)
    )
    assert world.run().stable.version == "2"
