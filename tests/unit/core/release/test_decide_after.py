"""From the first user to the last: a canary that grows is judged,
and so is a version just promoted.
"""

from datetime import timedelta
from typing import Any

from modelrelease_operator.api.status import Phase, Reason
from modelrelease_operator.traffic.replicas import selector_for
from testbed.builders import a_target, seconds
from testbed.world import QUICK, RELEASE, Behaviour, World, a_serving_world, a_world_in

KEPT = {"keepPrevious": "10m"}
SICK = Behaviour(error_rate=0.5)


def a_promoted_world(**changes: Any) -> World:
    world = a_world_in(Phase.PROMOTING, canary=KEPT, **changes)
    return world.run(until=Phase.STABLE).steps(2)


def test_a_canary_that_fails_while_it_grows_is_rolled_back():
    plan = {"steps": [{"weight": 10, "bake": "10s"}], "startDeadline": "10m"}
    world = a_serving_world(serving={"replicas": 10}, canary=plan)
    world.start_seconds = 300
    world.release(a_target("2")).run(until=Phase.PROMOTING)
    began = world.now
    world.behaviours["rev2"] = Behaviour(error_rate=1.0)
    world.run(until=Phase.ROLLING_BACK)
    assert world.now - began < seconds(30)
    assert world.run().stable.version == "1"
    assert world.status.rejected is not None


def test_a_version_that_turns_out_sick_after_its_promotion_is_taken_back():
    world = a_promoted_world()
    world.behaviours["rev2"] = SICK
    began = world.now
    world.run(until=Phase.ROLLING_BACK)
    assert world.now - began < seconds(90)
    world.run()
    assert (world.stable.version, world.unanswered) == ("1", 0)
    assert world.status.rejected is not None
    assert (world.status.rejected.revision, world.status.rejected.reason) == (
        "rev2",
        Reason.REGRESSION,
    )
    outcomes = [entry.outcome for entry in world.status.history[:3]]
    assert outcomes == [Reason.REGRESSION, Reason.REOPENED, Reason.PROMOTED]
    assert Reason.REOPENED in world.reasons
    assert world.steps(20).reasons.count(Reason.CANARY_STARTED) == 1, (
        "and it is not tried again by itself"
    )


def test_an_outage_that_both_share_takes_nothing_back():
    world = a_promoted_world()
    world.behaviours["rev1"] = world.behaviours["rev2"] = SICK
    world.run(until=Phase.PROGRESSING).steps(120)
    assert world.status.rejected is None
    world.behaviours["rev1"] = world.behaviours["rev2"] = Behaviour()
    assert world.run().stable.version == "2"
    assert Reason.REGRESSION not in world.reasons


def test_a_healthy_version_is_left_alone():
    world = a_promoted_world().run()
    assert world.stable.version == "2"
    assert Reason.REOPENED not in world.reasons
    assert list(world.pods) == ["rev2"]


def test_after_the_predecessor_is_gone_nothing_is_watched():
    world = a_promoted_world().run()
    world.behaviours["rev2"] = SICK
    world.steps(50)
    assert (world.stable.version, world.status.phase) == ("2", Phase.STABLE)


def test_a_predecessor_that_is_not_whole_is_not_gone_back_to():
    world = a_promoted_world()
    world.pods["rev1"][0].ready, world.pods["rev1"][0].ready_at = False, None
    world.behaviours["rev2"] = SICK
    world.steps(10)
    assert (world.status.phase, world.stable.version) == (Phase.STABLE, "2")


def test_processes_that_die_after_the_promotion_bring_the_comparison_back():
    world = a_promoted_world()
    world.pods["rev2"][0].ends = 1
    world.steps(2)
    assert world.status.phase is Phase.STABLE, "one may be chance"
    world.pods["rev2"][1].ends = 1
    world.run(until=Phase.PROGRESSING)
    assert "2 of its containers ended abnormally" in world.status.history[0].message


def test_a_version_that_was_gone_back_to_is_not_watched():
    world = a_promoted_world().release(a_target("1")).steps(2)
    world.behaviours["rev1"] = SICK
    world.steps(20)
    assert (world.status.phase, world.stable.version) == (Phase.STABLE, "1")


def test_a_canary_that_has_clients_before_its_weight_is_in_effect_is_judged_already():
    world = a_serving_world(
        canary={"steps": [{"weight": 25, "bake": "5s"}, {"weight": 50, "bake": "1h"}]}
    )
    world.release(a_target("2")).run(until=Phase.PROGRESSING)
    world.start_seconds = 10_000
    while world.canary.step == 0:
        world.step()
    world.behaviours["rev2"] = Behaviour(error_rate=1.0, blocked="exceeded quota")
    began = world.now
    world.run(until=Phase.ROLLING_BACK)
    assert world.now - began < seconds(60)
    assert world.canary.step_since is None, "two of its three pods were never there"
    assert world.status.rejected is not None
    assert world.status.rejected.reason is Reason.REGRESSION


def test_a_healthy_canary_does_not_go_on_before_its_weight_is_in_effect():
    world = a_serving_world(
        canary={"steps": [{"weight": 25, "bake": "5s"}, {"weight": 50, "bake": "5s"}]}
    )
    world.release(a_target("2")).run(until=Phase.PROGRESSING)
    world.start_seconds = 10_000
    while world.canary.step == 0:
        world.step()
    world.behaviours["rev2"] = Behaviour(blocked="exceeded quota")
    world.steps(300)
    assert (world.canary.step, world.stable.version, world.status.rejected) == (1, "1", None)
    assert world.canary.judged_seconds < 60


def test_a_predecessor_that_is_not_kept_is_not_said_to_stay_warm():
    world = a_world_in(Phase.PROMOTING, canary={"keepPrevious": "0s"}).run(until=Phase.STABLE)
    assert world.status.message == "version 2 serves; version 1 is removed"
    assert world.run().pods.keys() == {"rev2"}


def a_world_whose_service_was_not_moved(**changes: Any) -> World:
    """Status says that version 2 serves, and what leads clients there was refused."""
    world = a_promoted_world(**changes)
    world.selector = selector_for(RELEASE, {"rev1"})
    return world


def test_the_predecessor_stays_after_its_time_while_clients_are_led_to_it():
    world = a_world_whose_service_was_not_moved()
    world.ask(canary={**QUICK["canary"], "keepPrevious": "0s"})
    for _ in range(50):
        world.now += timedelta(minutes=1)
        decision = world.decide()
        world.status = decision.status
        assert "rev1" in {running.target.revision for running in decision.desired.running}
        assert decision.requeue, "it is looked at again, and not without a pause"
    end = world.run()
    assert (set(end.pods), end.unanswered) == ({"rev2"}, 0)


def test_clients_stay_with_the_predecessor_too_while_no_pod_of_the_new_version_is_ready():
    world = a_world_whose_service_was_not_moved()
    world.lose_pods("rev2")
    assert world.decide().desired.routed == frozenset({"rev1", "rev2"})
    end = world.run()
    assert (end.routed, end.unanswered) == (frozenset({"rev2"}), 0)
