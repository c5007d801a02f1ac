"""Blue/green: a canary is tried at full strength in the dark, then every request moves at once."""

from dataclasses import replace
from typing import Any

import pytest

from modelrelease_operator.api.status import Phase, Reason, Verdict
from modelrelease_operator.core.observed import Commands
from testbed.builders import a_target
from testbed.world import Behaviour, World, a_world

PROBED = {"interval": "5s", "probe": {"rate": 20}}


def a_switching_world(*, bake: str = "30s", **changes: Any) -> World:
    """Build a world in which version 2 is asked for and shall have every request at once."""
    steps = [{"weight": 100, "bake": bake}]
    canary = {"steps": steps, "keepPrevious": "2m", **changes.pop("canary", {"shadow": {}})}
    return a_world(canary=canary, **changes).run().release(a_target("2"))


def previewed(**changes: Any) -> World:
    return a_switching_world(**changes).run(until=Phase.PROGRESSING)


def test_no_user_meets_it_before_every_request_moves_and_its_pods_are_all_ready_then():
    world = previewed()
    replicas = world.spec.serving.replicas
    while world.status.phase is Phase.PROGRESSING:
        assert world.routed == frozenset({"rev1"})
        assert world.served.get("rev2", 0) == 0
        assert len(world.pods["rev2"]) == replicas
        assert world.status.weight == 0
        world.step()
    assert world.routed == frozenset({"rev2"})
    assert world.ready("rev2") == replicas
    assert len(world.pods["rev1"]) == replicas, "the way back is open"
    assert world.unanswered == 0
    assert world.run().stable.version == "2"
    assert list(world.pods) == ["rev2"]


def test_it_stays_in_the_dark_for_as_long_as_the_step_bakes():
    world = previewed(bake="2m")
    since = world.now
    world.run(until=Phase.STABLE)
    assert (world.now - since).total_seconds() >= 120


@pytest.mark.parametrize(
    "behaviour", [Behaviour(error_rate=0.1), Behaviour(latency=0.2)], ids=["fails", "slow"]
)
def test_a_version_that_is_worse_than_the_old_one_was_is_taken_back_at_once(behaviour: Behaviour):
    world = previewed()
    for pod in world.pods["rev2"]:
        # As a predictor does before its first request.
        pod.counters |= {("le", str(bound)): 0 for bound in (*world.bounds, "+Inf")}
    world.run(until=Phase.STABLE)
    assert world.stable.version == "2"
    world.behaviours["rev2"] = behaviour
    world.run()
    assert world.stable.version == "1"
    assert world.status.rejected
    assert world.status.rejected.reason is Reason.REGRESSION
    assert "beside what version 1 did before the promotion: it " in world.status.rejected.message
    assert Reason.REOPENED not in world.reasons
    assert world.unanswered == 0
    assert list(world.pods) == ["rev1"]


def test_a_rejected_one_is_not_tried_again_by_itself():
    world = previewed().run(until=Phase.STABLE)
    world.behaviours["rev2"] = Behaviour(error_rate=0.3)
    world.run().steps(20)
    assert world.status.phase is Phase.STABLE
    assert "version 2 was rejected" in world.status.message


def test_once_the_old_version_is_gone_nobody_goes_back_to_it():
    world = previewed().run()
    world.behaviours["rev2"] = Behaviour(error_rate=0.3)
    world.steps(30)
    assert world.stable.version == "2"


def test_a_person_is_asked_while_nobody_meets_it():
    world = previewed(canary={"approval": "Manual"}).run(until=Phase.PAUSED)
    assert world.canary.question is Reason.WAITING_FOR_APPROVAL
    assert "canary 2 is at full strength in the dark; annotate approve=rev2" in world.status.message
    assert world.served.get("rev2", 0) == 0
    world.commands = Commands(approve="rev2")
    assert world.run().stable.version == "2"


def test_gates_that_probes_answer_must_pass_in_the_dark():
    world = previewed(canary={}, analysis=PROBED)
    world.steps(3)
    assert world.status.verdict is Verdict.INSUFFICIENT
    assert {gate.name for gate in world.status.gates} == {"probe/errors", "probe/latency"}
    world.run(until=Phase.STABLE)
    assert world.stable.version == "2"


def test_a_canary_that_fails_its_probes_is_taken_back_unmet():
    world = a_switching_world(canary={}, analysis=PROBED)
    world.behaviours["rev2"] = Behaviour(probe_error_rate=0.5)
    world.run()
    assert world.status.rejected
    assert world.status.rejected.reason is Reason.REGRESSION
    assert world.served.get("rev2", 0) == 0


def test_a_canary_that_crashes_in_the_dark_is_taken_back_unmet():
    world = a_switching_world(canary={"approval": "Manual"})
    world.behaviours["rev2"] = Behaviour(crashes_after=8)
    world.run()
    assert world.status.rejected
    assert world.served.get("rev2", 0) == 0


def test_nothing_switches_while_nothing_can_be_measured():
    """What has every client must be seen."""
    world = previewed()
    world.prometheus_up = False
    world.steps(60)
    assert world.status.phase is Phase.PROGRESSING
    assert "metrics are unavailable" in world.status.message
    world.prometheus_up = True
    assert world.run().stable.version == "2"


def test_a_pause_holds_it_in_the_dark():
    world = previewed().ask(paused=True)
    world.steps(30)
    assert world.routed == frozenset({"rev1"})
    assert world.status.phase is Phase.PAUSED
    world.ask(paused=False)
    assert world.run().stable.version == "2"


def test_a_spec_that_goes_back_leaves_nothing_behind():
    world = previewed().release(a_target("1"))
    world.run()
    assert list(world.pods) == ["rev1"]
    assert world.served.get("rev2", 0) == 0


def test_a_promotion_by_hand_moves_every_request_at_once_too():
    world = previewed(bake="1h")
    world.commands = Commands(promote="rev2")
    seen = set()
    while world.status.phase is not Phase.STABLE:
        world.step()
        seen.add(world.routed)
    assert seen <= {frozenset({"rev1"}), frozenset({"rev2"})}
    assert world.run().stable.version == "2"


def test_where_stable_is_down_the_canary_answers_and_goes_back_to_the_dark():
    world = previewed(bake="5m")
    world.behaviours["rev1"] = Behaviour(starts=False)
    world.lose_pods("rev1")
    world.steps(3)
    assert world.routed == frozenset({"rev1", "rev2"})
    assert "answers alone" in world.status.message
    world.behaviours["rev1"] = Behaviour()
    for pod in world.pods["rev1"]:
        pod.ready_at = world.now
    world.steps(10)
    assert world.routed == frozenset({"rev1"})


def test_weights_that_become_a_switch_in_the_middle_take_the_users_away_first():
    world = a_world(canary={"shadow": None}).run().release(a_target("2"))
    world.run(until=Phase.PROGRESSING).steps(2)
    world.ask(canary={"weight": 100, "approval": "Manual"})
    world.steps(2)
    assert world.routed == frozenset({"rev1"})
    assert "in the dark" in world.status.message


def test_a_switch_that_becomes_weights_in_the_middle_goes_on_with_them():
    world = previewed(bake="1h")
    world.ask(canary={"weight": 50})
    world.steps(3)
    assert world.routed == frozenset({"rev1", "rev2"})
    assert world.canary.requested_weight == 50


@pytest.mark.parametrize("lost", [0, 1])
def test_promoted_by_hand_while_stable_is_down_it_goes_on_answering(lost: int):
    world = previewed(bake="1h")
    world.behaviours["rev1"] = Behaviour(blocked="no room")
    world.lose_pods("rev1")
    world.steps(3)
    world.behaviours["rev2"] = Behaviour(blocked="no room")
    world.pods["rev2"][:lost] = [world._new_pod("rev2") for _ in range(lost)]
    world.steps(2)
    unanswered = world.unanswered
    world.commands = Commands(promote="rev2")
    world.steps(5)
    assert world.ready("rev2") == world.spec.serving.replicas - lost
    assert world.unanswered == unanswered
    assert world.status.phase is (Phase.PROMOTING if lost else Phase.STABLE)


def test_stable_that_goes_down_while_the_canary_grows_leaves_the_canary_to_answer():
    world = previewed(bake="1h")
    world.behaviours["rev2"] = Behaviour(blocked="no room")
    world.pods["rev2"][0] = world._new_pod("rev2")
    world.commands = Commands(promote="rev2")
    world.steps(3)
    assert world.routed == frozenset({"rev1"})
    world.behaviours["rev1"] = Behaviour(blocked="no room")
    world.lose_pods("rev1")
    world.step()
    unanswered = world.unanswered
    world.steps(5)
    assert world.routed == frozenset({"rev1", "rev2"})
    assert world.unanswered == unanswered


def test_clients_stay_with_a_promoting_canary_when_the_spec_becomes_a_switch():
    world = a_world(canary={"steps": [{"weight": 25, "bake": "10s"}]}).run().release(a_target("2"))
    world.run(until=Phase.PROGRESSING)
    world.start_seconds = 60
    world.run(until=Phase.PROMOTING)
    world.ask(canary={"weight": 100, "approval": "Manual"})
    world.steps(3)
    assert world.status.phase is Phase.PROMOTING
    assert world.routed == frozenset({"rev1", "rev2"})


def test_an_approval_anyway_moves_nobody_to_pods_that_are_not_ready():
    world = previewed(canary={"approval": "Manual"}).run(until=Phase.PAUSED)
    world.behaviours["rev2"] = Behaviour(blocked="no room")
    world.lose_pods("rev2")
    world.steps(3)
    world.commands = Commands(approve="rev2/anyway")
    world.steps(5)
    assert world.routed == frozenset({"rev1"})
    assert world.status.message == (
        "canary 2 may have every request once all of its pods are ready: 0 of 3 are; no room"
    )
    assert world.unanswered == 0
    world.behaviours["rev2"] = Behaviour()
    world.lose_pods("rev2")
    assert world.run().stable.version == "2"
    assert world.unanswered == 0


@pytest.mark.parametrize(
    "weights",
    [{"weight": 50}, {"steps": [{"weight": 25}, {"weight": 50}]}],
    ids=["one weight", "steps"],
)
def test_weights_asked_for_beside_a_pause_leave_it_in_the_dark(weights: dict[str, Any]):
    world = previewed(canary={"approval": "Manual"}).run(until=Phase.PAUSED)
    world.ask(paused=True, canary={**weights, "approval": "Manual"})
    for _ in range(10):
        world.step()
        assert world.routed == frozenset({"rev1"})
    assert world.served.get("rev2", 0) == 0
    assert world.status.message == "spec.paused holds canary 2 in the dark"
    world.ask(paused=False)
    world.steps(3)
    assert world.routed == frozenset({"rev1", "rev2"})


def test_stable_that_is_back_has_every_client_again_while_a_pause_holds_weights_back():
    world = previewed(canary={"approval": "Manual"}).run(until=Phase.PAUSED)
    world.behaviours["rev1"] = Behaviour(blocked="no room")
    world.lose_pods("rev1")
    world.steps(3)
    assert world.routed == frozenset({"rev1", "rev2"})
    world.ask(paused=True, canary={"weight": 50, "approval": "Manual"})
    world.behaviours["rev1"] = Behaviour()
    world.lose_pods("rev1")
    world.steps(10)
    assert world.routed == frozenset({"rev1"})


def test_a_pause_beside_weights_takes_a_promotion_by_hand_back_to_the_dark():
    world = previewed(canary={"approval": "Manual"}).run(until=Phase.PAUSED)
    world.behaviours["rev2"] = Behaviour(blocked="no room")
    world.pods["rev2"][0] = world._new_pod("rev2")
    world.commands = Commands(promote="rev2")
    world.steps(3)
    assert world.status.phase is Phase.PROMOTING
    world.ask(paused=True, canary={"weight": 50, "approval": "Manual"})
    world.steps(5)
    assert world.routed == frozenset({"rev1"})
    assert world.canary.requested_weight == 0


def test_a_switch_that_is_asked_for_amid_weights_is_compared_in_the_shadow_first():
    world = a_world(canary={"shadow": None}).run().release(a_target("2"))
    world.run(until=Phase.PROGRESSING).steps(3)
    world.behaviours["rev2"] = Behaviour(disagrees=0.9)
    world.ask(canary={"weight": 100, "shadow": {"maxDisagreementPercent": 0.5}})
    world.steps(2)
    assert world.routed == frozenset({"rev1"})
    world.run(until=Phase.SHADOWING).run()
    assert world.stable.version == "1"
    assert world.status.rejected
    assert world.status.rejected.message.startswith("in the shadow, ")


def test_a_canary_that_came_while_stable_was_down_is_compared_in_the_shadow_first():
    world = a_switching_world(canary={"shadow": {"maxDisagreementPercent": 0.5}})
    world.behaviours["rev2"] = Behaviour(disagrees=0.9)
    world.run(until=Phase.STARTING)
    world.behaviours["rev1"] = Behaviour(blocked="no room")
    world.lose_pods("rev1")
    world.steps(6)
    assert "answers alone" in world.status.message
    world.behaviours["rev1"] = Behaviour()
    world.lose_pods("rev1")
    world.run(until=Phase.SHADOWING).run()
    assert world.stable.version == "1"


def test_a_shadow_that_is_put_in_again_is_asked_again():
    world = a_switching_world(canary={"shadow": {}}).run(until=Phase.SHADOWING)
    phases = []
    ways: list[dict[str, Any]] = [{"approval": "Manual"}, {"shadow": {}}]
    for how in ways:
        world.ask(canary={"weight": 100, **how}).steps(4)
        phases.append(world.status.phase)
    assert phases == [Phase.PROGRESSING, Phase.SHADOWING]


def uncompared(**analysis: Any) -> World:
    shadow = {"shadow": {"deadline": "2m"}}
    world = a_switching_world(canary=shadow, analysis={"interval": "5s", **analysis})
    world.behaviours["rev1"] = Behaviour(copies=False)
    return world.run(until=Phase.SHADOWING)


def test_a_switch_that_the_deadline_in_the_shadow_decided_says_so_for_the_record():
    world = uncompared(onInsufficientEvidence="Promote").run(until=Phase.PROGRESSING)
    world.steps(6)
    assert world.status.message.startswith("nothing proved it (the deadline of 2m in the shadow")
    assert "; no user meets canary 2; the step bakes" in world.status.message
    world.run(until=Phase.STABLE)
    assert "; the deadline of 2m in the shadow decided" in world.status.history[0].message


def test_a_switch_after_a_person_let_it_pass_in_the_shadow_says_so_for_the_record():
    world = uncompared()
    while world.canary.question is None:
        world.step()
    world.commands = Commands(approve="rev2")
    world.run(until=Phase.STABLE)
    assert world.status.history[0].message.endswith(
        "; a person let it pass in the shadow without a verdict"
    )


def test_a_switch_whose_shadow_was_taken_out_says_so_for_the_record():
    world = a_switching_world().run(until=Phase.SHADOWING)
    world.ask(canary={"weight": 100, "approval": "Manual", "keepPrevious": "2m"})
    world.run(until=Phase.PAUSED)
    world.commands = Commands(approve="rev2")
    world.run(until=Phase.STABLE)
    assert world.status.history[0].message.endswith("; canary.shadow was taken out of the spec")


def test_what_the_shadow_passed_is_no_caveat():
    world = previewed().run(until=Phase.STABLE)
    assert world.status.history[0].message == "version 2 serves; version 1 stays warm for 2m"


def test_what_was_promoted_by_steps_is_not_told_to_have_been_switched():
    world = a_world(canary={"keepPrevious": "10m"}).run().release(a_target("2"))
    world.run(until=Phase.PROGRESSING).run(until=Phase.STABLE)
    world.behaviours["rev2"] = Behaviour(error_rate=0.3)
    world.ask(canary={"weight": 100, "approval": "Manual", "keepPrevious": "10m"})
    world.run()
    assert world.status.rejected
    assert "switch" not in world.status.rejected.message
    assert "did before the promotion: it fails" in world.status.rejected.message


def lose_one_pod(world: World, revision: str) -> None:
    """Have one pod of a revision replaced by one that finds no room."""
    behaviour = world.behaviours.get(revision, Behaviour())
    world.behaviours[revision] = replace(behaviour, blocked="no room")
    _, *others = world.pods[revision]
    world.lose_pods(revision)
    world.pods[revision] = [world.pods[revision][0], *others]


def test_a_way_back_that_is_not_whole_is_said_and_taken_as_soon_as_it_is():
    world = previewed().run(until=Phase.STABLE)
    lose_one_pod(world, "rev1")
    world.behaviours["rev2"] = Behaviour(error_rate=0.5)
    for _ in range(40):
        world.step()
        if "looks worse" in world.status.message:
            break
    assert "version 1 cannot take over yet, 2 of its 3 pods are ready" in world.status.message
    assert world.routed == frozenset({"rev2"})
    world.behaviours["rev1"] = Behaviour()
    world.lose_pods("rev1")
    world.steps(30)
    assert world.stable.version == "1"
    assert world.status.rejected
    assert world.status.rejected.reason is Reason.REGRESSION


def test_a_way_back_needs_no_more_pods_than_what_serves_has():
    world = previewed().run(until=Phase.STABLE)
    lose_one_pod(world, "rev1")
    lose_one_pod(world, "rev2")
    world.behaviours["rev2"] = replace(world.behaviours["rev2"], error_rate=0.5)
    world.steps(40)
    assert world.stable.version == "1"
