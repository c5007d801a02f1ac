"""A person's word: it answers what is asked, for the revision that is shown, once."""

from datetime import timedelta
from typing import Any

import pytest

from modelrelease_operator.api.status import Phase, Reason, Status
from modelrelease_operator.core.observed import Commands, Signature
from testbed.builders import START, a_target
from testbed.world import Behaviour, World, a_serving_world, a_world_in

FOUR = {
    "steps": [{"weight": weight, "bake": "10s"} for weight in (5, 10, 25, 50)],
    "progressDeadline": "5m",
}


def echo(world: World, command: str = "approve") -> Any:
    return next(each for each in world.status.commands or () if each.command == command)


@pytest.mark.parametrize("down", [True, False], ids=["Prometheus is down", "next to no users"])
def test_an_approval_that_comes_with_the_spec_promotes_nothing(down: bool):
    world = a_serving_world(canary={"approval": "Manual"}, rps=100.0 if down else 0.05)
    world.commands, world.prometheus_up = Commands(approve="2"), not down
    world.behaviours["rev2"] = Behaviour(error_rate=1.0)
    world.release(a_target("2")).run(until=Phase.PAUSED).steps(500)
    assert world.stable.version == "1"
    assert (echo(world).taken, echo(world).message) == (False, "there is no canary")


def test_an_approval_by_version_is_for_the_revision_that_was_shown():
    world = a_world_in(Phase.PROGRESSING, canary={"approval": "Manual"}).run(until=Phase.PAUSED)
    world.commands = Commands(approve="2")
    assert world.run().stable.revision == "rev2"
    world.release(a_target("2", revision="rev2-other-image")).run(until=Phase.PAUSED).steps(50)
    assert world.stable.revision == "rev2"


def test_an_abort_left_behind_does_not_reject_the_mended_revision_of_the_version():
    world = a_world_in(Phase.PROGRESSING)
    world.commands = Commands(abort="2")
    world.run().release(a_target("1")).run()
    assert world.release(a_target("2", revision="rev2-fixed")).run().stable.revision == "rev2-fixed"


def test_an_abort_while_the_canary_grows_counts():
    world = a_world_in(Phase.PROMOTING, canary={"steps": [{"weight": 25}]}, start_seconds=20)
    world.commands = Commands(abort="rev2")
    assert world.run().stable.version == "1"


def test_an_approval_lets_one_step_pass_and_its_bake_holds():
    world = a_serving_world(canary=FOUR, serving={"replicas": 19}, rps=0.2)
    world.release(a_target("2")).run(until=Phase.PAUSED, passes=4000)
    assert world.canary.step == 0
    world.commands = Commands(approve="rev2")
    world.steps(3)
    assert world.canary.step == 1
    asked = world.now
    world.run(until=Phase.PAUSED, passes=4000)
    assert world.now - asked > timedelta(minutes=4), "the next step has its own time for a verdict"
    assert (world.canary.step, world.stable.version) == (1, "1")
    assert "annotate approve=rev2/again or abort=rev2" in world.status.message
    world.commands = Commands(approve="rev2/again")
    world.steps(3)
    assert world.canary.step == 2


def test_an_approval_while_metrics_are_unavailable_needs_a_further_word():
    plan = {"steps": [{"weight": 50, "bake": "1s"}], "progressDeadline": "5m"}
    world = a_world_in(Phase.PROGRESSING, canary=plan, rps=0.2).run(until=Phase.PAUSED)
    world.prometheus_up = False
    world.steps(2)
    assert "annotate approve=rev2/anyway" in world.status.message
    world.commands = Commands(approve="rev2")
    world.steps(10)
    assert world.stable.version == "1"
    assert "approve=rev2/anyway would let it pass all the same" in echo(world).message
    world.commands = Commands(approve="rev2/anyway")
    assert world.run(until=Phase.PROMOTING).canary.unproven is not None


def test_an_approval_while_pods_are_missing_needs_a_further_word():
    world = a_world_in(Phase.PROGRESSING, canary={"approval": "Manual", "startDeadline": "10m"})
    world.run(until=Phase.PAUSED)
    world.behaviour("rev2").starts = False
    world.lose_pods("rev2")
    world.steps(1)
    world.commands = Commands(approve="rev2")
    world.steps(5)
    assert (world.stable.version, echo(world).taken) == ("1", False)


def test_an_approval_while_paused_is_not_taken_and_may_be_given_again():
    world = a_world_in(Phase.PROGRESSING, canary={"approval": "Manual"}).run(until=Phase.PAUSED)
    world.ask(paused=True).steps(2)
    world.commands = Commands(approve="rev2")
    world.steps(2)
    assert echo(world).message == "spec.paused holds the release"
    world.ask(paused=False).steps(3)
    assert world.status.message == "every gate passes; annotate approve=rev2/again to promote 2"
    world.commands = Commands(approve="rev2/again")
    assert world.run().stable.version == "2"


def test_an_approval_that_was_taken_counts_although_it_is_gone_in_the_next_pass():
    plan = {
        "steps": [{"weight": 25, "bake": "1s"}, {"weight": 50, "bake": "1s"}],
        "approval": "Manual",
    }
    world = a_world_in(Phase.PROGRESSING, canary=plan).run(until=Phase.PAUSED)
    world.commands = Commands(
        approve="rev2", signed={"approve": Signature(by="kubectl-annotate", at=START)}
    )
    world.step()
    world.commands = Commands()
    assert world.run().stable.version == "2"
    found = echo(world)
    assert (found.taken, found.stands, found.by, found.given) == (
        True,
        False,
        "kubectl-annotate",
        START,
    )
    assert world.reasons.count(Reason.COMMAND_TAKEN) == 1


def test_an_approval_of_one_revision_does_nothing_for_the_one_that_the_spec_moved_to():
    world = a_world_in(Phase.PROGRESSING, canary={"approval": "Manual"}).run(until=Phase.PAUSED)
    world.commands = Commands(approve="rev2")
    world.release(a_target("3")).run(until=Phase.PAUSED).steps(20)
    assert (world.stable.version, world.canary.version) == ("1", "3")


def test_a_person_is_asked_once_for_each_wait():
    world = a_serving_world(
        canary={"steps": [{"weight": 50}], "approval": "Manual", "progressDeadline": "2h"},
        behaviours={"rev1": Behaviour(error_rate=0.01), "rev2": Behaviour(error_rate=0.0118)},
        analysis={"interval": "10s", "onInsufficientEvidence": "RollBack"}, rps=20.0,
    ).release(a_target("2"))  # fmt: skip
    world.run(until=Phase.PAUSED, passes=4000).steps(1200)
    assert world.status.phase is Phase.PAUSED
    assert world.reasons.count(Reason.WAITING_FOR_APPROVAL) == 1


def test_a_promotion_by_hand_skips_the_steps_and_says_so():
    world = a_world_in(Phase.PROGRESSING, canary=FOUR, rps=0.1).steps(3)
    signed = {"promote": Signature(by="kubectl-annotate")}
    world.commands = Commands(promote="rev2", signed=signed)
    world.run()
    assert world.stable.version == "2"
    told = "promoted by hand without a verdict, by kubectl-annotate"
    assert [(it.outcome, told in it.message) for it in world.status.history[:2]] == [
        (Reason.PROMOTED, True), (Reason.PROMOTED_BY_HAND, True),
    ]  # fmt: skip


@pytest.mark.parametrize("value", ["2", "rev1", "rev3", "rev3/again"])
def test_a_promotion_by_hand_of_anything_but_the_canary_s_revision_does_nothing(value: str):
    world = a_world_in(Phase.PROGRESSING, canary=FOUR, rps=0.1)
    world.commands = Commands(promote=value)
    world.steps(20)
    assert (world.stable.version, echo(world, "promote").taken) == ("1", False)


def test_a_promotion_by_hand_that_stands_before_the_canary_does_nothing():
    world = a_serving_world(canary=FOUR, rps=0.1)
    world.commands = Commands(promote="rev2")
    world.release(a_target("2")).run(until=Phase.PROGRESSING).steps(20)
    assert world.stable.version == "1"


def test_a_promotion_by_hand_of_a_canary_that_starts_waits_for_its_pods():
    world = a_world_in(Phase.STARTING, start_seconds=30)
    world.commands = Commands(promote="rev2")
    world.step()
    world.commands = Commands()
    assert world.run().stable.version == "2"
    assert world.unanswered == 0


def test_commands_that_an_older_operator_left_standing_do_not_count():
    world = a_world_in(Phase.PROGRESSING, canary={"approval": "Manual"}).run(until=Phase.PAUSED)
    world.status = Status.parse(
        {k: v for k, v in world.status.to_dict().items() if k != "commands"}
    )
    world.commands = Commands(approve="rev2")
    world.steps(10)
    assert (world.status.phase, world.stable.version) == (Phase.PAUSED, "1")


def test_a_version_that_a_person_took_back_is_a_canary_again_and_never_all_at_once():
    world = a_world_in(Phase.PROMOTING, canary={"keepPrevious": "10m"}).run(until=Phase.STABLE)
    world.release(a_target("1")).steps(2)
    assert world.routed == frozenset({"rev1"})
    world.release(a_target("2")).steps(1)
    assert (world.status.phase, world.routed) == (Phase.STARTING, frozenset({"rev1"}))
    assert world.run().stable.version == "2"


def test_the_way_back_is_taken_when_as_many_pods_are_ready_as_serve():
    world = a_world_in(Phase.PROMOTING, serving={"replicas": 10}, canary={"keepPrevious": "10m"})
    world.run(until=Phase.STABLE).steps(2)
    for pod in world.pods["rev1"][1:]:
        pod.ready, pod.ready_at = False, None
    world.release(a_target("1")).steps(2)
    assert world.routed == frozenset({"rev1", "rev2"})
    assert world.status.message.startswith("back to version 1: 1 of its 10 pods are ready")
    for pod in world.pods["rev1"]:
        pod.ready_at = world.now
    world.pass_time(1)
    world.steps(2)
    assert (world.stable.version, world.routed) == ("1", frozenset({"rev1"}))
    assert world.unanswered == 0


def test_an_approval_for_what_the_spec_no_longer_asks_for_is_not_called_taken():
    world = a_world_in(Phase.PROGRESSING, canary={"approval": "Manual"}).run(until=Phase.PAUSED)
    world.release(a_target("2", revision="rev2b")).commands = Commands(approve="rev2")
    world.step()
    assert (echo(world).taken, echo(world).message) == (
        False,
        "the spec asks for version 2 (rev2b) by now",
    )


@pytest.mark.parametrize("command", ["approve", "promote"])
def test_an_abort_goes_before_what_is_asked_with_it(command: str):
    world = a_world_in(Phase.PROGRESSING, canary={"approval": "Manual"}).run(until=Phase.PAUSED)
    named: dict[str, Any] = {command: "rev2"}
    world.commands = Commands(abort="rev2", **named)
    world.step()
    assert echo(world, "abort").taken
    assert (echo(world, command).taken, echo(world, command).message) == (
        False,
        "an abort was given with it, which goes first",
    )
    assert world.run().stable.version == "1"


@pytest.mark.parametrize("value", ["2", "rev2", "rev2/anyway"])
def test_an_approval_that_stood_before_the_canary_does_not_count_when_git_puts_it_back(value: str):
    world = a_serving_world(canary={"approval": "Manual"})
    world.commands = Commands(approve=value)
    world.steps(2).release(a_target("2")).run(until=Phase.PROGRESSING)
    world.commands = Commands()
    world.run(until=Phase.PAUSED)
    world.commands = Commands(approve=value)
    world.steps(20)
    assert (world.status.phase, world.stable.version) == (Phase.PAUSED, "1")
    assert echo(world).message.startswith(
        "it was given before this was asked, and counts once; approve=rev2"
    )
    world.commands = Commands(approve=echo(world).message.split("approve=")[1].split()[0])
    assert world.run().stable.version == "2"


def test_an_approval_that_let_a_step_pass_does_not_let_the_next_one_pass_when_git_puts_it_back():
    world = a_serving_world(canary=FOUR, serving={"replicas": 19}, rps=0.2)
    world.release(a_target("2")).run(until=Phase.PAUSED, passes=4000)
    world.commands = Commands(approve="rev2")
    world.steps(2).commands = Commands()
    world.run(until=Phase.PAUSED, passes=4000)
    assert "annotate approve=rev2/again or abort=rev2" in world.status.message
    for turn in range(6):
        world.commands = Commands(approve="rev2" if turn % 2 else None)
        world.steps(3)
    assert (world.status.phase, world.canary.step) == (Phase.PAUSED, 1)
    world.commands = Commands(approve="rev2/again")
    world.steps(3)
    assert world.canary.step == 2
    world.commands = Commands(approve="rev2")
    world.run(until=Phase.PAUSED, passes=4000)
    assert "annotate approve=rev2/again-2 or abort=rev2" in world.status.message
    world.commands = Commands(approve="rev2/again")
    world.steps(20)
    assert (world.status.phase, world.canary.step) == (Phase.PAUSED, 2)


def test_an_approval_of_an_earlier_trial_does_not_count_for_another_revision_nor_against_it():
    world = a_world_in(Phase.PROGRESSING, canary={"approval": "Manual"}).run(until=Phase.PAUSED)
    world.commands = Commands(approve="2")
    assert world.run().stable.revision == "rev2"
    world.commands = Commands()
    world.release(a_target("2", revision="rev2-other-image")).run(until=Phase.PAUSED)
    world.commands = Commands(approve="2")
    assert world.run().stable.revision == "rev2-other-image"


def test_a_promotion_by_hand_that_was_ignored_counts_when_it_is_given_again():
    world = a_world_in(Phase.PROGRESSING, canary=FOUR, rps=0.1).ask(paused=True)
    world.commands = Commands(promote="rev2")
    world.steps(2).commands = Commands()
    world.ask(paused=False).steps(2)
    world.commands = Commands(promote="rev2")
    assert world.run().stable.version == "2"


def test_however_many_approvals_were_given_none_of_them_counts_again():
    world = a_world_in(Phase.PROGRESSING, canary={"approval": "Manual"})
    for turn in range(60):
        world.commands = Commands(approve=f"rev2/{turn}")
        world.status = world.decide().status
    world.commands = Commands()
    world.run(until=Phase.PAUSED)
    for turn in range(60):
        world.commands = Commands(approve=f"rev2/{turn}")
        world.steps(2)
    assert (world.status.phase, world.stable.version) == (Phase.PAUSED, "1")
    assert "promote=rev2 ends it" in echo(world).message
