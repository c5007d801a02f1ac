"""Containers that end abnormally: a canary whose processes die is never promoted for good."""

from typing import Any

import pytest

from modelrelease_operator.api.status import Crashes, Phase, Reason
from modelrelease_operator.core.analysis.crashes import convicts, counted, unquiet
from modelrelease_operator.core.observed import Workload
from testbed.builders import a_spec, a_target
from testbed.world import Behaviour, World, a_world, a_world_in

NONE = dict.fromkeys(("steps", "startDeadline", "progressDeadline", "keepPrevious"))
DEFAULT: dict[str, Any] = {"canary": NONE, "analysis": {}}


def a_crashing_world(mean: float, seed: int) -> World:
    """Build a world with the default spec whose canary's processes die so often."""
    world = a_world(**DEFAULT, rps=200.0, seed=seed).run()
    world.behaviours["rev2"] = Behaviour(crashes_after=mean)
    return world.release(a_target("2"))


def a_workload(name: str, ready: int, ends: int) -> Workload:
    crashes = {f"{name}-1": ends} if ends else {}
    return Workload(revision=name, wanted=ready, ready=ready, pods=ready, crashes=crashes)


@pytest.mark.parametrize("mean", [30.0, 60.0, 120.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_canary_whose_processes_die_does_not_serve_in_the_end(mean: float, seed: int):
    world = a_crashing_world(mean, seed)
    began = world.now
    while (world.now - began).total_seconds() < 2 * 3600 and not world.status.rejected:
        world.step()
    assert world.stable.version == "1", world.status.message
    assert world.unanswered == 0


def test_an_end_of_a_container_holds_the_step_until_it_is_quiet():
    world = a_world_in(Phase.PROGRESSING).steps(1)
    world.pods["rev2"][0].ends = 1
    ended = world.now
    world.steps(5)
    assert world.status.phase is Phase.PROGRESSING
    assert "holding: containers of canary 2 ended abnormally 1 time in" in world.status.message
    assert (
        "(container predictor ended with exit code 139); it goes on after 9m"
        in world.status.message
    )
    assert world.run().stable.version == "2"
    assert (world.stable.since - ended).total_seconds() > 600


def test_ends_that_both_arms_have_alike_take_nothing_back():
    spec, known = a_spec(), Crashes()
    for look in range(400):
        known = counted(
            known, a_workload("c", 3, look // 4), a_workload("s", 3, look // 4), span=10
        )
        assert not convicts(known, spec)
    assert known.canary == known.stable > 90


def test_ends_of_the_canary_alone_are_proven_after_about_six_at_a_quarter_of_the_pods():
    spec, known = a_spec(), Crashes()
    for ends in range(20):
        known = counted(known, a_workload("c", 1, ends), a_workload("s", 3, 0), span=60)
        if convicts(known, spec):
            break
    assert 5 <= known.canary <= 9


def test_what_stable_s_pods_did_before_the_release_is_not_counted():
    known = counted(Crashes(), a_workload("c", 1, 0), a_workload("s", 3, 7), span=10)
    known = counted(known, a_workload("c", 1, 0), a_workload("s", 3, 8), span=10)
    assert (known.canary, known.stable) == (0, 1)


def test_a_pod_that_is_new_and_has_ended_before_it_was_seen_counts_whole():
    known = counted(Crashes(), a_workload("c", 1, 0), a_workload("s", 3, 0), span=10)
    known = counted(known, a_workload("other", 1, 3), a_workload("s", 3, 0), span=10)
    assert known.canary == 3
    known = counted(known, None, a_workload("s", 3, 0), span=10)
    assert (known.canary, known.seen) == (3, {}), (
        "pods that are gone are forgotten, their ends are not"
    )


def test_without_an_end_nothing_is_held():
    assert unquiet(Crashes(), "2") is None


def test_a_canary_that_dies_while_it_grows_does_not_become_stable_before_it_is_quiet():
    world = a_world_in(Phase.PROMOTING, canary={"steps": [{"weight": 25}]}, start_seconds=60)
    world.pods["rev2"][0].ends = 1
    world.pass_time(60)
    world.steps(3)
    assert world.stable.version == "1"
    assert "holding: containers of canary 2 ended abnormally" in world.status.message


def test_a_regression_by_ends_is_told_with_its_figures():
    world = a_world_in(Phase.PROGRESSING).steps(1)
    for ends in range(1, 20):
        world.pods["rev2"][0].ends = ends
        world.step()
        if world.status.phase is Phase.ROLLING_BACK:
            break
    assert world.status.rejected is not None
    assert world.status.rejected.reason is Reason.REGRESSION
    assert "more often than stable's, with 99.9 % confidence" in world.status.rejected.message


def test_ends_are_told_and_proven_also_while_a_weight_is_not_in_effect():
    """Each time that a pod is back, another one has ended:
    the step never begins, and no look is taken.
    """
    world = a_world_in(
        Phase.PROGRESSING, canary={"steps": [{"weight": 25}, {"weight": 50}]}, rps=400
    )
    while world.canary.step == 0:
        world.step()
    told = []
    for ends in range(1, 30):
        for pod in world.pods["rev2"]:
            pod.ends, pod.ready = ends, False
        world.step()
        if world.status.phase is Phase.ROLLING_BACK:
            break
        told.append(world.status.message)
    assert all("waiting until the weight is seen in effect" in message for message in told)
    assert "containers of canary 2 ended abnormally" in told[2]
    assert "(container predictor ended with exit code 139)" in told[2]
    assert world.status.rejected is not None
    assert world.status.rejected.reason is Reason.REGRESSION
