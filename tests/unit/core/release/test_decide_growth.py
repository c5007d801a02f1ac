"""An autoscaler asks for more pods in the middle: growing is not held against a version."""

from modelrelease_operator.api.status import Phase, Reason
from testbed.world import World, a_world_in

SLOW = 200.0
"""Seconds that a pod takes to load its model."""
PLAN = {"steps": [{"weight": 50, "bake": "2h"}], "startDeadline": "5m", "progressDeadline": "9d"}


def a_canary_of_slow_pods() -> World:
    world = a_world_in(Phase.PROGRESSING, canary=PLAN, serving={"replicas": 2}).steps(3)
    world.start_seconds = SLOW
    return world


def scaled(world: World, replicas: int) -> World:
    return world.ask(serving={"replicas": replicas})


def passes_for(world: World, seconds: float) -> World:
    until = world.now.timestamp() + seconds
    while world.now.timestamp() < until:
        world.step()
    return world


def test_a_canary_that_is_scaled_up_again_and_again_is_not_rejected_for_it():
    """Added up, its pods were not all ready for longer than startDeadline."""
    world = a_canary_of_slow_pods()
    for replicas in range(3, 9):
        passes_for(scaled(world, replicas), 150)
    assert world.status.phase is Phase.PROGRESSING, world.status.message
    assert world.canary.unready_since is not None
    passes_for(world, 2 * SLOW)
    assert world.canary.unready_since is None
    assert (world.ready("rev1"), world.ready("rev2")) == (8, 8)


def test_while_it_grows_it_does_not_go_on():
    world = a_canary_of_slow_pods()
    scaled(world, 4).steps(2)
    assert "not all pods of canary 2 are ready" in world.status.message


def test_a_canary_whose_further_pods_never_start_is_rejected_after_the_deadline():
    world = a_canary_of_slow_pods()
    world.behaviour("rev2").starts = False
    began = world.now
    passes_for(scaled(world, 4), 500)
    assert world.status.rejected is not None
    assert world.status.rejected.reason is Reason.CANARY_NOT_READY
    waited = (world.status.rejected.at - began).total_seconds()
    assert 300 <= waited < 330


def test_pods_that_were_ready_and_went_are_held_against_it_also_while_it_grows():
    world = a_canary_of_slow_pods()
    scaled(world, 3).steps(1)
    world.behaviour("rev2").starts = False
    world.lose_pods("rev2")
    for replicas in (4, 5, 6, 5, 6, 5, 6):
        passes_for(scaled(world, replicas), 60)
    assert world.status.rejected is not None
    assert world.status.rejected.reason is Reason.CANARY_NOT_READY


def test_on_the_way_to_full_strength_each_pod_that_gets_ready_begins_the_deadline_anew():
    world = a_canary_of_slow_pods()
    world.ask(canary={**PLAN, "steps": [{"weight": 50, "bake": "1s"}]}, serving={"replicas": 2})
    world.start_seconds = SLOW
    scaled(world, 4)
    passes_for(world, 100)
    scaled(world, 6)
    for replicas in (7, 8, 9, 10):
        if world.status.phase is Phase.STABLE:
            break
        passes_for(scaled(world, replicas), 150)
    end = world.run()
    assert end.status.rejected is None, end.status.message
    assert end.stable.version == "2"
