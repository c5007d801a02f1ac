"""What people say while a release goes on: pause, approve, abort, another plan. And silence."""

from typing import Any

import pytest

from modelrelease_operator.api.status import Phase, Reason, Status, Verdict
from modelrelease_operator.core.observed import Commands
from testbed.builders import a_target, seconds
from testbed.world import Behaviour, a_serving_world, a_world_in

UNDERWAY = (Phase.STARTING, Phase.PROGRESSING, Phase.PAUSED, Phase.PROMOTING)
LONG = {
    "steps": [{"weight": 25, "bake": "1h"}, {"weight": 50, "bake": "1h"}],
    "progressDeadline": "9h",
}


def awaited(status: Status) -> tuple[str, str, str]:
    """Return what the condition WaitingForPerson says."""
    (found,) = (each for each in status.conditions if each.type == "WaitingForPerson")
    return found.status, found.reason, found.message


@pytest.mark.parametrize("phase", UNDERWAY)
@pytest.mark.parametrize("named", ["rev2", "2", "rev2/wrong answers for Belgium"])
def test_an_abort_rolls_back_and_is_remembered(phase: Phase, named: str):
    world = a_world_in(phase)
    world.commands = Commands(abort=named)
    decision = world.step()
    assert decision.desired.routed == frozenset({"rev1"})
    world.run().steps(10)
    assert world.status.rejected is not None
    assert world.status.rejected.reason is Reason.ABORTED
    assert world.stable.version == "1"
    assert world.reasons.count(Reason.CANARY_STARTED) == 1


@pytest.mark.parametrize("stale", ["rev1", "rev3", "22", "", "rev2-and-more"])
def test_a_stale_abort_does_nothing(stale: str):
    world = a_world_in(Phase.PROGRESSING)
    world.commands = Commands(abort=stale)
    assert world.run().stable.version == "2"


def test_a_paused_release_starts_its_canary_but_shows_it_to_nobody():
    world = a_serving_world(paused=True).release(a_target("2")).steps(30)
    assert world.status.phase is Phase.STARTING
    assert world.status.message == "canary 2 is ready; spec.paused holds it back"
    assert awaited(world.status) == ("True", "Suspended", world.status.message)
    assert "rev2" not in world.served


def test_a_release_that_is_paused_in_the_shadow_waits_for_a_person_until_it_goes_on():
    world = a_world_in(Phase.SHADOWING).ask(paused=True).steps(3)
    assert awaited(world.status) == ("True", "Suspended", world.status.message)
    assert world.status.message.startswith("spec.paused holds canary 2 in the shadow")
    world.ask(paused=False).step()
    assert awaited(world.status)[0] == "False"


def test_while_pods_of_a_paused_release_start_nobody_is_awaited():
    world = a_serving_world(paused=True).release(a_target("2")).run(until=Phase.STARTING)
    assert awaited(world.status)[:2] == ("False", "NobodyAwaited")


def test_a_pause_holds_the_weight_and_lets_go_where_it_stood():
    world = a_world_in(Phase.PROGRESSING).ask(paused=True)
    world.steps(60)
    assert (world.status.phase, world.status.weight) == (Phase.PAUSED, 25)
    assert world.status.message == "spec.paused holds canary 2 at 25 %"
    assert world.reasons.count(Reason.SUSPENDED) == 1, "one Event, not one a look"
    world.ask(paused=False).step()
    assert (world.status.phase, world.status.weight) == (Phase.PROGRESSING, 50)


def test_a_pause_in_promotion_goes_back_to_where_the_canary_is_judged():
    world = a_world_in(Phase.PROMOTING, canary={"steps": [{"weight": 25}]}).ask(paused=True)
    world.pass_time(30)
    world.steps(10)
    assert (world.status.phase, world.status.weight) == (Phase.PAUSED, 25)
    assert len(world.pods["rev2"]) == 1
    world.behaviours["rev2"] = Behaviour(error_rate=0.3)
    world.run(until=Phase.ROLLING_BACK)
    assert world.ask(paused=False).run().stable.version == "1"


def test_after_a_pause_in_promotion_the_release_can_still_end():
    world = a_world_in(Phase.PROMOTING).ask(paused=True)
    assert world.steps(10).ask(paused=False).run().stable.version == "2"


def test_a_proven_regression_is_rolled_back_while_paused():
    world = a_world_in(Phase.PAUSED)
    world.behaviours["rev2"] = Behaviour(error_rate=0.3)
    world.run(until=Phase.ROLLING_BACK)
    assert world.reasons[-1] is Reason.REGRESSION


def test_a_rollback_goes_on_while_paused():
    world = a_world_in(Phase.ROLLING_BACK).ask(paused=True).run()
    assert world.status.canary is None


def test_what_serves_is_repaired_while_paused():
    world = a_serving_world().ask(paused=True)
    world.pods.clear()
    world.selector = None
    world.steps(3)
    assert (world.ready("rev1"), world.routed) == (3, frozenset({"rev1"}))


def test_manual_approval_is_asked_for_after_the_last_step_and_only_there():
    world = a_world_in(Phase.PROGRESSING, canary={"approval": "Manual"}).run(until=Phase.PAUSED)
    assert world.status.weight == 50
    assert world.status.message == "every gate passes; annotate approve=rev2 to promote 2"
    assert world.status.verdict is Verdict.PASS
    world.commands = Commands(approve="rev2")
    assert world.run().stable.version == "2"


@pytest.mark.parametrize("stale", ["rev1", "rev3", "1"])
def test_a_stale_approval_lets_nothing_pass(stale: str):
    world = a_world_in(
        Phase.PROGRESSING, canary={"approval": "Manual"}, commands=Commands(approve=stale)
    )
    world.steps(80)
    assert world.status.phase is Phase.PAUSED


def test_waiting_for_a_person_for_long_does_not_make_a_passing_canary_inconclusive():
    world = a_world_in(Phase.PROGRESSING, canary={"approval": "Manual", "progressDeadline": "5m"})
    world.run(until=Phase.PAUSED).steps(200)
    assert world.now - world.canary.since > seconds(600)
    assert not world.canary.inconclusive
    assert world.reasons[-1] is Reason.WAITING_FOR_APPROVAL


def test_a_regression_ends_the_wait_for_approval():
    world = a_world_in(Phase.PROGRESSING, canary={"approval": "Manual"}).run(until=Phase.PAUSED)
    world.behaviours["rev2"] = Behaviour(error_rate=0.3)
    assert world.run().status.rejected is not None


def test_no_verdict_by_the_deadline_pauses_and_never_promotes():
    world = a_world_in(Phase.PROGRESSING, rps=1, canary={"progressDeadline": "5m"})
    world.run(until=Phase.PAUSED)
    assert seconds(300) < world.now - world.canary.since < seconds(320)
    assert world.canary.inconclusive
    assert world.status.message.startswith("no verdict within 5m: canary 2 fails")
    assert world.status.message.endswith("annotate approve or abort with rev2")
    world.rps = 5000
    world.steps(100)
    assert world.status.phase is Phase.PAUSED, "evidence that comes too late is for a person"
    assert world.reasons.count(Reason.INCONCLUSIVE) == 1


@pytest.mark.parametrize(("command", "serves"), [("approve", "2"), ("abort", "1")])
def test_an_inconclusive_release_ends_as_a_person_says(command: str, serves: str):
    plan = {"steps": [{"weight": 50, "bake": "10s"}], "progressDeadline": "5m"}
    world = a_world_in(Phase.PROGRESSING, rps=0.5, canary=plan).run(until=Phase.PAUSED)
    named: dict[str, Any] = {command: "rev2"}
    world.commands = Commands(**named)
    assert world.run().stable.version == serves
    assert world.unanswered == 0


def test_an_inconclusive_release_is_still_rolled_back_by_a_proven_regression():
    world = a_world_in(Phase.PROGRESSING, rps=1, canary={"progressDeadline": "5m"})
    world.run(until=Phase.PAUSED)
    world.rps, world.behaviours["rev2"] = 1000, Behaviour(error_rate=0.3)
    assert world.run().status.rejected is not None


def test_a_weight_that_never_comes_into_effect_ends_at_the_deadline_too():
    world = a_world_in(Phase.PROGRESSING, canary={"progressDeadline": "2m"})
    world.strangers["revX"] = 1
    world.run(until=Phase.PAUSED)
    assert world.status.message == (
        "no verdict within 2m: step 1 of 2: waiting until the weight is seen in effect; "
        "pods of revision revX must go first"
    )
    assert world.reasons.count(Reason.INCONCLUSIVE) == 1
    world.commands = Commands(abort="rev2")
    assert world.run().stable.version == "1"


@pytest.mark.parametrize(
    ("weights", "pods"), [((10, 50), 1), ((40, 50), 2)], ids=["lower", "higher"]
)
def test_a_changed_weight_of_the_present_step_is_asked_for_anew(
    weights: tuple[int, int], pods: int
):
    world = a_world_in(Phase.PROGRESSING, canary=LONG).steps(5)
    assert world.canary.step_since is not None
    world.ask(canary={"steps": [{"weight": weight, "bake": "1h"} for weight in weights]})
    decision = world.step()
    assert decision.status.canary
    assert decision.status.weight == decision.status.canary.requested_weight == weights[0]
    assert decision.status.canary.step_since is None, "the bake starts when the new weight is seen"
    assert decision.status.evidence.step == {}, "one count never spans two weights"
    assert decision.status.evidence.release, "what was learnt about the canary stays"
    assert len(world.pods["rev2"]) == pods


def test_a_pause_lets_a_changed_plan_lower_the_weight_but_not_raise_it():
    world = a_world_in(Phase.PAUSED)
    higher = world.ask(canary={"steps": [{"weight": 45}]}).decide()
    assert (higher.status.weight, higher.status.phase) == (25, Phase.PAUSED)
    assert {it.target.revision: it.replicas for it in higher.desired.running} == {
        "rev1": 3,
        "rev2": 1,
    }
    assert world.ask(canary={"steps": [{"weight": 10}]}).decide().status.weight == 10


def test_a_plan_that_lost_its_later_steps_ends_with_the_last_that_is_left():
    world = a_world_in(Phase.PROGRESSING).run(until=Phase.PROMOTING)
    world = a_world_in(Phase.PROGRESSING)
    while world.canary.step == 0:
        world.step()
    world.ask(canary={"steps": [{"weight": 30, "bake": "1s"}]}).step()
    assert (world.canary.step, world.canary.steps, world.status.weight) == (0, 1, 30)
    assert world.run().stable.version == "2"


def test_a_plan_that_got_longer_shows_it():
    world = a_world_in(Phase.PROGRESSING, canary=LONG).steps(3)
    world.ask(
        canary={"steps": [{"weight": weight, "bake": "1h"} for weight in (25, 30, 50)]}
    ).step()
    assert (world.canary.step, world.canary.steps) == (0, 3)


def test_without_traffic_nothing_is_promoted_and_nothing_is_blamed():
    world = a_world_in(Phase.PROGRESSING, rps=0, canary={"progressDeadline": "9h"}).steps(300)
    assert (world.status.phase, world.status.weight) == (Phase.PROGRESSING, 25)
    assert world.status.verdict is Verdict.INSUFFICIENT
    assert "0 of the 100 canary requests needed" in world.status.message


def test_replicas_are_followed_without_a_canary():
    world = a_serving_world().ask(serving={"replicas": 5}).run()
    world.steps(2)
    assert world.ready("rev1") == 5
    assert Reason.CANARY_STARTED not in world.reasons


def test_a_canary_that_passes_after_a_person_was_asked_is_not_said_to_have_no_verdict():
    world = a_world_in(Phase.PROGRESSING, rps=1, canary={"progressDeadline": "5m"}).run(
        until=Phase.PAUSED
    )
    world.rps = 1000.0
    world.steps(60)
    said = "no verdict within 5m; by now every gate passes; annotate approve or abort with rev2"
    assert (world.status.phase, world.status.message) == (Phase.PAUSED, said)
