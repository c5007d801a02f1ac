"""A canary that cannot be seen keeps no users, and comes back by itself when it can."""

from datetime import timedelta
from typing import Any

import pytest

from modelrelease_operator.api.status import Phase, Reason
from modelrelease_operator.core.observed import Commands
from testbed.builders import a_spec, a_target
from testbed.world import QUICK, Behaviour, World, a_world_in
from tests.support.scraping import ScrapedWorld

STABLE_ONLY = frozenset({"rev1"})
LONG = {"steps": [{"weight": 25, "bake": "10m"}, {"weight": 50, "bake": "10m"}]}


def an_unseen_world(phase: Phase = Phase.PROGRESSING, **changes: object) -> World:
    world = a_world_in(phase, **{"canary": LONG, **changes}).steps(2)
    world.behaviour("rev2").scraped = False
    return world.run(until=Phase.PAUSED)


@pytest.mark.parametrize("policy", ["Pause", "Promote", "RollBack"])
def test_a_canary_that_cannot_be_seen_leaves_the_service_and_waits_warm(policy: str):
    world = a_world_in(
        Phase.PROGRESSING,
        canary=LONG,
        analysis={"interval": "5s", "onInsufficientEvidence": policy},
    )
    world.behaviours["rev2"] = Behaviour(error_rate=1.0, scraped=False)
    began, before = world.now, world.stable
    world.run(until=Phase.PAUSED)
    assert timedelta(minutes=5) <= world.now - began < timedelta(minutes=6)
    assert (world.routed, world.status.weight, world.ready("rev2")) == (STABLE_ONLY, 0, 1)
    assert world.reasons[-1] is Reason.CANARY_UNSEEN
    assert "waiting for the metrics of 1 of 4 ready pods (rev2-1)" in world.status.message
    served = world.served["rev2"]
    world.steps(1_500)
    assert world.served["rev2"] == served, "two hours later: no user more"
    assert (world.status.phase, world.stable, world.status.rejected) == (Phase.PAUSED, before, None)
    assert world.unanswered == 0


def test_a_canary_that_can_be_seen_again_begins_its_step_anew_and_is_promoted():
    world = an_unseen_world()
    evidence = world.status.evidence.release
    world.behaviour("rev2").scraped = True
    world.run(until=Phase.PROGRESSING)
    assert Reason.CANARY_SEEN in world.reasons
    assert (world.status.weight, world.canary.step) == (25, 0)
    assert world.status.evidence.step == {}, "what promotes starts anew"
    assert world.status.evidence.release.keys() >= evidence.keys(), "what rolls back is kept"
    assert world.run().stable.version == "2"


def test_a_canary_that_failed_in_the_dark_is_rejected_as_soon_as_it_is_seen():
    world = a_world_in(Phase.PROGRESSING, canary=LONG).steps(3)
    world.behaviours["rev2"] = Behaviour(error_rate=1.0, scraped=False)
    world.run(until=Phase.PAUSED)
    world.behaviour("rev2").scraped = True
    world.run()
    assert world.status.rejected is not None
    assert world.status.rejected.reason is Reason.REGRESSION


def test_a_canary_that_waits_grows_with_its_release_and_is_not_rejected_for_it():
    world = an_unseen_world(serving={"replicas": 1})
    world.spec = a_spec(**{**QUICK, "serving": {"replicas": 8}, "canary": LONG})
    world.steps(200)
    # One of one had half of the requests, and still asks for that.
    assert (world.status.phase, world.ready("rev2")) == (Phase.PAUSED, 8)
    world.behaviour("rev2").scraped = True
    assert world.run().stable.version == "2"


def test_a_look_now_and_then_is_enough_to_keep_its_users():
    world = a_world_in(Phase.PROGRESSING, canary=LONG)
    for look in range(100):
        world.behaviour("rev2").scraped = look % 24 == 0
        world.step()
    assert not world.canary.unseen


def test_a_shorter_limit_is_heeded():
    world = a_world_in(
        Phase.PROGRESSING, canary=LONG, analysis={"interval": "5s", "maxBlind": "1m"}
    )
    world.prometheus_up = False
    began = world.now
    world.run(until=Phase.PAUSED)
    assert world.now - began < timedelta(seconds=80)


def test_a_canary_that_cannot_be_seen_while_it_grows_leaves_the_service_too():
    world = a_world_in(Phase.PROMOTING, canary={"steps": [{"weight": 25}], "startDeadline": "1h"},
                       start_seconds=2_000)  # fmt: skip
    world.behaviour("rev2").scraped = False
    world.run(until=Phase.PAUSED)
    assert (world.canary.unseen, world.routed) == (True, STABLE_ONLY)


def test_a_canary_that_waits_for_a_person_leaves_the_service_too_and_asks_again_afterwards():
    world = a_world_in(Phase.PROGRESSING, canary={"approval": "Manual"}).run(until=Phase.PAUSED)
    world.prometheus_up = False
    world.steps(70)
    assert (world.canary.unseen, world.routed) == (True, STABLE_ONLY)
    world.prometheus_up = True
    world.run(until=Phase.PROGRESSING).run(until=Phase.PAUSED)
    assert world.reasons.count(Reason.WAITING_FOR_APPROVAL) == 2


@pytest.mark.parametrize(("command", "serves"), [("abort", "1"), ("promote", "2")])
def test_a_person_may_end_the_wait(command: str, serves: str):
    world = an_unseen_world()
    named: dict[str, Any] = {command: "rev2"}
    world.commands = Commands(**named)
    assert world.run().stable.version == serves
    assert world.unanswered == 0


def test_an_approval_does_not_promote_a_canary_that_is_not_seen():
    world = an_unseen_world()
    world.commands = Commands(approve="rev2")
    world.steps(50)
    assert (world.status.phase, world.stable.version) == (Phase.PAUSED, "1")
    assert world.reasons.count(Reason.COMMAND_IGNORED) == 1


def test_a_spec_that_goes_back_ends_the_wait():
    assert an_unseen_world().release(a_target("1")).run().stable.version == "1"


def test_a_pause_keeps_a_canary_that_can_be_seen_again_out_of_the_service():
    world = an_unseen_world().ask(paused=True)
    world.behaviour("rev2").scraped = True
    world.steps(20)
    assert world.routed == STABLE_ONLY
    world.ask(paused=False).steps(3)
    assert world.routed == frozenset({"rev1", "rev2"})


def test_stable_that_dies_meanwhile_is_helped_by_the_canary_that_is_warm():
    world = an_unseen_world()
    world.behaviour("rev1").starts = False
    world.lose_pods("rev1")
    world.steps(3)
    assert "rev2" in (world.routed or ())
    assert world.status.message.startswith(
        "no pod of stable 1 is ready; canary 2 (rev2) answers alone"
    )


def test_an_unseen_canary_says_so_in_its_conditions():
    found = {it.type: (it.status, it.reason) for it in an_unseen_world().status.conditions}
    assert found["Reconciling"] == ("True", "CanaryUnseen")
    assert found["Stalled"] == ("False", "Reconciled")


def test_a_canary_whose_pods_cannot_be_made_anew_is_not_said_to_be_warm():
    world = a_world_in(Phase.PROGRESSING, canary=LONG).steps(2)
    world.behaviours["rev2"] = Behaviour(blocked="exceeded quota: pods")
    world.lose_pods("rev2")
    world.run(until=Phase.PAUSED)
    waits = "waits with 0 of 1 pods ready"
    assert world.status.message.startswith(
        f"canary 2 left the Service and {waits}, not seen for 5m"
    )
    world.step()
    assert (
        f"{waits}, because it cannot be seen: exceeded quota: pods; annotate"
        in world.status.message
    )


def test_an_approval_of_a_canary_that_is_not_seen_is_told_what_would_help():
    world = an_unseen_world()
    world.commands = Commands(approve="rev2/anyway")
    world.step()
    echo = next(each for each in world.status.commands or () if each.command == "approve")
    assert echo.message == (
        "canary 2 cannot be seen, and its step begins anew once it can be; promote=rev2 promotes "
        "it unseen"
    )


def test_a_limit_shorter_than_the_scrape_interval_does_not_keep_a_failing_canary_going_and_coming():
    spec = a_spec(analysis={"maxBlind": "30s"}, canary={"steps": [{"weight": 50, "bake": "1m"}]})
    world = ScrapedWorld(spec=spec, target=a_target("1"), scrape=60.0, rps=50.0)
    world.run().pass_time(240)
    world.behaviours["rev2"] = Behaviour(error_rate=1.0)
    began = world.release(a_target("2")).now
    world.run(until=Phase.ROLLING_BACK)
    assert world.now - began < timedelta(minutes=10)
    assert world.status.rejected is not None
    assert world.status.rejected.reason is Reason.REGRESSION
    assert world.reasons.count(Reason.CANARY_UNSEEN) <= 1


def test_a_canary_that_is_seen_for_a_minute_now_and_then_does_not_come_back_to_fail_its_users():
    spec = a_spec(canary={"steps": [{"weight": 50, "bake": "1m"}]})
    world = ScrapedWorld(spec=spec, target=a_target("1"), scrape=60.0, rps=50.0)
    world.run().pass_time(240)
    world.behaviours["rev2"] = Behaviour(error_rate=1.0)
    began = world.release(a_target("2")).now
    while world.now - began < timedelta(hours=1) and world.status.rejected is None:
        world.prometheus_up = (world.now - began).total_seconds() % 420 >= 360
        world.step()
    assert world.reasons.count(Reason.CANARY_UNSEEN) <= 2, (
        "once before scrapes were measured, and once after"
    )
    assert world.served["rev2"] < 50 * 420
    assert world.stable.version == "1"


def test_a_prometheus_that_comes_and_goes_does_not_take_a_healthy_canary_in_and_out():
    spec = a_spec(canary={"steps": [{"weight": 50, "bake": "3h"}], "progressDeadline": "9h"})
    world = ScrapedWorld(spec=spec, target=a_target("1"), scrape=15.0, rps=50.0)
    world.run().pass_time(60)
    began = world.release(a_target("2")).run(until=Phase.PROGRESSING).now
    before = len(world.reasons)
    messages = set()
    while world.now - began < timedelta(hours=2):
        world.prometheus_up = (world.now - began).total_seconds() % 420 >= 360
        world.step()
        messages.add(world.status.message)
    assert len(world.reasons) - before <= 6
    assert world.reasons.count(Reason.CANARY_SEEN) == 1, "the first return is prompt"
    assert any("it came back once lately, so it has to be seen for 4m" in it for it in messages)
    world.prometheus_up = True
    back = world.now
    world.run(until=Phase.PROGRESSING)
    assert world.now - back < timedelta(minutes=5)
    assert world.status.rejected is None
