"""Time that counts: pauses, outages and clocks that jump decide nothing;
the cluster's faults are its own.
"""

from datetime import timedelta
from typing import Any

import pytest

from modelrelease_operator.api.status import Phase, Reason
from modelrelease_operator.core.steps import bake_of, last_alike, next_weight
from modelrelease_operator.errors import Invalid
from testbed.builders import a_spec, a_target, seconds
from testbed.world import Behaviour, World, a_serving_world, a_world_in

POLICIES = ("Pause", "Promote", "RollBack")


def an_undecided_world(policy: str) -> World:
    analysis = {"interval": "5s", "onInsufficientEvidence": policy}
    world = a_serving_world(rps=0.5, analysis=analysis).release(a_target("2"))
    return world.run(until=Phase.PROGRESSING).steps(4)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_pause_longer_than_the_deadline_decides_nothing(policy: str):
    world = an_undecided_world(policy).ask(paused=True).run(until=Phase.PAUSED).steps(720)
    world.ask(paused=False).steps(2)
    assert (world.status.phase, world.status.weight) == (Phase.PROGRESSING, 25)
    assert world.canary.judged_seconds < 60


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("hours", [7, 24 * 365, -7])
def test_one_look_with_a_wrong_clock_decides_nothing(policy: str, hours: int):
    world = an_undecided_world(policy)
    world.now += timedelta(hours=hours)
    world.step()
    world.now -= timedelta(hours=hours)
    world.steps(5)
    assert (world.status.phase, world.stable.version) == (Phase.PROGRESSING, "1")
    assert world.canary.judged_seconds < 120


@pytest.mark.parametrize("policy", POLICIES)
def test_an_operator_that_was_away_for_a_day_decides_nothing_at_its_first_look(policy: str):
    world = an_undecided_world(policy)
    world.now += timedelta(days=1)
    world.steps(3)
    assert (world.status.phase, world.stable.version) == (Phase.PROGRESSING, "1")


def test_a_clock_that_jumps_does_not_end_the_warmth_of_the_predecessor():
    world = (
        a_world_in(Phase.PROMOTING, canary={"keepPrevious": "10m"}).run(until=Phase.STABLE).steps(2)
    )
    world.now += timedelta(hours=7)
    world.step()
    world.now -= timedelta(hours=7)
    world.step()
    assert world.status.previous is not None


def test_a_clock_that_jumps_ends_no_bake():
    world = a_world_in(Phase.PROGRESSING, canary={"steps": [{"weight": 25, "bake": "10m"}]}).steps(
        5
    )
    world.now += timedelta(hours=7)
    world.steps(3)
    assert world.status.phase is Phase.PROGRESSING


def test_bakes_that_do_not_fit_are_refused_and_say_what_to_change():
    bakes = ((25, "3h30m"), (33, "3h30m"), (50, "10m"))
    steps = [{"weight": weight, "bake": bake} for weight, bake in bakes]
    with pytest.raises(
        Invalid, match="bake for 7h together, which does not fit into progressDeadline 6h"
    ):
        a_spec(canary={"steps": steps})
    a_spec(canary={"steps": steps, "progressDeadline": "7h"})


def test_the_last_bake_may_outlast_the_deadline_because_a_canary_that_passes_is_not_late():
    steps = [{"weight": 25, "bake": "20m"}, {"weight": 50, "bake": "20m"}]
    world = a_world_in(Phase.PROGRESSING, canary={"steps": steps, "progressDeadline": "25m"})
    assert world.run().stable.version == "2"
    assert Reason.INCONCLUSIVE not in world.reasons


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.PROMOTING])
def test_what_the_cluster_lacks_is_never_held_against_a_version(phase: Phase):
    world = a_world_in(phase, canary={"steps": [{"weight": 25, "bake": "1s"}]}, start_seconds=20)
    world.behaviours["rev2"] = Behaviour(
        blocked="a pod cannot be scheduled: 0/3 nodes: Insufficient cpu"
    )
    world.steps(500)
    assert (world.status.phase, world.status.rejected) == (phase, None)
    assert "0/3 nodes: Insufficient cpu" in world.status.message
    assert world.reasons.count(Reason.WAITING_FOR_CLUSTER) == 1
    found = {it.type: (it.status, it.reason) for it in world.status.conditions}
    assert found["Reconciling"] == ("True", "WaitingForCluster")
    world.behaviours["rev2"] = Behaviour()
    assert world.run().stable.version == "2"


def test_only_the_time_of_its_own_fault_counts_against_a_version():
    world = a_world_in(Phase.STARTING, start_seconds=5)
    world.behaviours["rev2"] = Behaviour(blocked="exceeded quota")
    world.steps(200)
    world.behaviours["rev2"] = Behaviour(starts=False)
    began = world.now
    world.run(until=Phase.ROLLING_BACK)
    assert seconds(50) < world.now - began < seconds(75)


def test_a_canary_that_is_unready_again_and_again_is_rejected_by_the_sum():
    world = a_world_in(Phase.PROGRESSING, canary={"steps": [{"weight": 25, "bake": "20m"}]})
    for _ in range(60):
        world.behaviour("rev2").starts = False
        world.lose_pods("rev2")
        world.steps(3)
        world.behaviour("rev2").starts = True
        world.steps(2)
        if world.status.rejected:
            break
    assert world.status.rejected is not None
    assert world.status.rejected.reason is Reason.CANARY_NOT_READY


def test_steps_that_come_out_as_the_same_pods_are_one_step_and_said_so():
    world = a_serving_world(canary={"steps": None, "progressDeadline": "6h"}).release(a_target("2"))
    world.run(until=Phase.PROGRESSING)
    assert (world.canary.step, world.canary.requested_weight) == (2, 25)
    assert world.canary.note == "5 %, 10 %, 25 % are the same 1 canary replicas, and one step"
    world.run(until=Phase.STABLE)
    assert {decision.status.weight for decision in world.trail} == {0, 25, 50}


@pytest.mark.parametrize(
    ("replicas", "asked", "following"),
    [(3, 25, 50), (1, 50, 100), (10, 10, 24), (19, 5, 10)],
)
def test_the_margin_s_share_is_that_of_the_pods(replicas: int, asked: int, following: int):
    spec = a_spec(serving={"replicas": replicas})
    assert spec.canary.plan[last_alike(spec, 0)].weight == asked
    assert next_weight(spec, 0) == following


def test_a_step_bakes_as_long_as_the_longest_of_those_that_are_the_same_pods():
    bakes = ((5, "1h"), (10, "1m"), (50, "5m"))
    steps: list[Any] = [{"weight": weight, "bake": bake} for weight, bake in bakes]
    spec = a_spec(canary={"steps": steps})
    assert [bake_of(spec, index) for index in range(3)] == [
        seconds(3600),
        seconds(3600),
        seconds(300),
    ]


def test_a_clock_that_was_set_back_leaves_latency_counted():
    world = a_world_in(Phase.PROGRESSING, canary={"steps": [{"weight": 25, "bake": "10m"}]}).steps(
        6
    )
    world.now -= timedelta(hours=1)
    world.behaviours["rev2"] = Behaviour(latency=0.5)
    began = world.now
    world.run(until=Phase.ROLLING_BACK)
    assert world.now - began < timedelta(minutes=2)


def test_a_canary_that_passes_is_not_inconclusive_because_the_clock_was_set_back():
    world = a_world_in(Phase.PROGRESSING).steps(3)
    world.now -= timedelta(hours=1)
    assert world.run().stable.version == "2"
    assert Reason.INCONCLUSIVE not in world.reasons
