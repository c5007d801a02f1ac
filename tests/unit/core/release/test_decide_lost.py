"""A status that was wiped while a release went on: what was stable stays stable."""

import pytest

from modelrelease_operator.api.status import Phase, Reason, Status
from testbed.builders import a_target
from testbed.world import Behaviour, World, a_serving_world, a_world_in

STABLE_ONLY = frozenset({"rev1"})
UNDERWAY = (Phase.STARTING, Phase.PROGRESSING, Phase.PAUSED, Phase.PROMOTING, Phase.ROLLING_BACK)


def a_wiped_world(phase: Phase, **changes: object) -> World:
    world = a_world_in(phase, **changes)
    world.status = Status()
    return world


@pytest.mark.parametrize("phase", UNDERWAY)
def test_a_status_wiped_while_a_canary_is_tried_leaves_stable_what_it_was(phase: Phase):
    world = a_wiped_world(phase, start_seconds=20)
    decision = world.step()
    assert (world.stable.version, world.canary.version) == ("1", "2")
    assert decision.desired.routed == STABLE_ONLY
    assert world.status.phase is Phase.STARTING
    assert world.status.evidence.release == {}
    assert Reason.FIRST_VERSION_SERVES not in world.reasons[-2:]
    assert "version 1 (rev1) is stable, as its Deployment says" in world.status.history[-1].message
    world.ask(paused=False).run(until=Phase.PROGRESSING)
    assert world.canary.step == 0
    assert world.run().unanswered == 0


def test_a_sick_canary_whose_status_is_wiped_again_and_again_never_gets_everybody():
    world = a_world_in(Phase.PROGRESSING)
    world.behaviours["rev2"] = Behaviour(error_rate=1.0)
    for _ in range(10):
        world.steps(4).status = Status()
        assert "rev1" in (world.routed or ())
    assert world.run().stable.version == "1"
    assert world.unanswered == 0


def test_a_status_wiped_while_the_predecessor_is_warm_leaves_the_promoted_version_stable():
    world = (
        a_world_in(Phase.PROMOTING, canary={"keepPrevious": "10m"}).run(until=Phase.STABLE).steps(2)
    )
    world.status = Status()
    assert world.run().stable.version == "2"
    assert world.unanswered == 0


def test_a_status_wiped_after_the_pointer_moved_but_not_the_old_label_is_told_by_the_service():
    world = a_world_in(Phase.PROMOTING, canary={"keepPrevious": "10m"}).run(until=Phase.STABLE)
    world.tracks["rev1"] = "stable"
    world.status = Status()
    world.release(a_target("1")).step()
    assert (world.stable.version, world.canary.version) == ("2", "1")


def test_a_status_wiped_where_nothing_is_labelled_is_told_by_the_service():
    world = a_wiped_world(Phase.STARTING, start_seconds=20)
    world.tracks.clear()
    world.step()
    assert (world.stable.version, world.canary.version) == ("1", "2")


def test_a_status_wiped_while_the_store_is_away_is_taken_up_before_the_spec_is_understood():
    world = a_wiped_world(Phase.PROGRESSING)
    world.target = None
    world.steps(3)
    assert (world.stable.version, world.routed, world.status.phase) == (
        "1",
        STABLE_ONLY,
        Phase.STABLE,
    )
    assert world.release(a_target("2")).run().stable.version == "2"


def test_a_status_wiped_with_labels_and_selector_moves_nothing_and_says_what_would_help():
    world = a_wiped_world(Phase.PROGRESSING)
    world.tracks.clear()
    selector = world.selector
    world.steps(20)
    assert (world.status.phase, world.status.stable, world.selector) == (
        Phase.PENDING,
        None,
        selector,
    )
    assert sorted(world.pods) == ["rev1", "rev2"]
    assert "nothing tells which of the revisions rev1, rev2 was stable; what serves goes on" in (
        world.status.message
    )
    stalled = next(each for each in world.status.conditions if each.type == "Stalled")
    assert (stalled.status, stalled.reason) == ("True", Reason.STATUS_LOST)
    world.tracks["rev1"] = "stable"
    assert world.run().stable.version == "2"
    assert Reason.CANARY_STARTED in world.reasons
    assert world.unanswered == 0


def test_a_status_wiped_while_no_pod_of_stable_is_ready_keeps_the_canary_that_answers():
    world = a_world_in(Phase.PROGRESSING)
    world.behaviour("rev1").starts = False
    world.lose_pods("rev1")
    world.steps(3)
    world.status = Status()
    world.steps(10)
    assert "rev2" in (world.routed or ())
    assert world.status.stable is None
    world.behaviour("rev1").starts = True
    world.run(until=Phase.STARTING)
    assert world.stable.version == "1"


def test_a_status_wiped_while_one_version_serves_and_is_asked_for_comes_back_as_it_was():
    world = a_serving_world()
    world.status = Status()
    assert world.run().stable.version == "1"
    assert world.reasons[-1] is Reason.FIRST_VERSION_SERVES
    assert world.unanswered == 0
