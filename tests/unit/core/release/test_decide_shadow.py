"""In the shadow: what pairs of answers say decides whether the first user meets a canary."""

from typing import Any

import pytest

from modelrelease_operator.api.status import Phase, Reason, Verdict
from modelrelease_operator.core.observed import Commands
from testbed.builders import a_problem, a_target
from testbed.world import Behaviour, World, a_world, a_world_in


def a_shadowed_world(*, shadow: dict[str, Any] | None = None, **changes: Any) -> World:
    """Build a world in which version 1 serves, and version 2 is asked for and compared first."""
    canary = {"shadow": shadow or {}, **changes.pop("canary", {})}
    return a_world(canary=canary, **changes).run().release(a_target("2"))


def in_shadow(**changes: Any) -> World:
    return a_shadowed_world(**changes).run(until=Phase.SHADOWING)


def test_a_good_canary_is_compared_before_its_first_user_and_promoted():
    world = a_shadowed_world()
    world.run(until=Phase.SHADOWING)
    while world.status.phase is Phase.SHADOWING:
        assert world.routed == frozenset({"rev1"})
        assert world.served.get("rev2", 0) == 0
        world.step()
    assert Reason.SHADOW_PASSED in world.reasons
    assert world.canary.shadow
    assert world.canary.shadow.pairs >= 1000
    assert "it passed in the shadow on" in world.trail[-1].notices[-1].message
    assert world.run().stable.version == "2"


@pytest.mark.parametrize(
    ("shadow", "behaviour", "why"),
    [
        ({}, Behaviour(error_rate=0.1), "canary 2 fails"),
        ({}, Behaviour(latency=0.1), "was the slower one on"),
        ({"maxDisagreementPercent": 0.5}, Behaviour(disagrees=0.05), "otherwise than stable"),
    ],
    ids=["fails", "slow", "answers otherwise"],
)
def test_a_bad_canary_is_taken_back_before_any_user_has_met_it(
    shadow: dict[str, Any], behaviour: Behaviour, why: str
):
    world = a_shadowed_world(shadow=shadow)
    world.behaviours["rev2"] = behaviour
    world.run()
    assert world.status.rejected
    assert world.status.rejected.reason is Reason.REGRESSION
    assert "in the shadow" in world.status.rejected.message
    assert why in world.status.rejected.message
    assert world.served.get("rev2", 0) == 0
    assert world.stable.version == "1"


def test_answers_that_differ_decide_nothing_where_no_limit_is_set():
    world = a_shadowed_world()
    world.behaviours["rev2"] = Behaviour(disagrees=0.3)
    assert world.run().stable.version == "2"


def test_a_canary_as_sick_as_stable_goes_on():
    world = a_shadowed_world()
    world.behaviours |= {"rev1": Behaviour(error_rate=0.05), "rev2": Behaviour(error_rate=0.05)}
    world.run(until=Phase.PROGRESSING)
    assert not world.status.rejected


def test_pods_that_copy_nothing_are_said_and_a_person_is_asked_at_the_deadline():
    world = a_shadowed_world(shadow={"deadline": "2m"})
    world.behaviours["rev1"] = Behaviour(copies=False)
    world.run(until=Phase.SHADOWING).steps(5)
    assert "no pair is shown yet" in world.status.message
    world.steps(15)
    assert "nobody shows pairs counted by stable's pods" in world.status.message
    world.steps(40)
    assert world.status.phase is Phase.SHADOWING
    assert "no verdict in the shadow within 2m" in world.status.message
    assert "annotate approve=rev2" in world.status.message
    waiting = next(c for c in world.status.conditions if c.type == "WaitingForPerson")
    assert (waiting.status, waiting.reason) == ("True", Reason.INCONCLUSIVE)
    assert world.reasons.count(Reason.INCONCLUSIVE) == 1


def test_an_approval_lets_the_first_users_meet_it():
    world = a_shadowed_world(shadow={"deadline": "30s"})
    world.behaviours["rev1"] = Behaviour(copies=False)
    world.run(until=Phase.SHADOWING).steps(30)
    world.commands = Commands(approve="rev2")
    world.step()
    assert world.status.phase is Phase.PROGRESSING
    assert "a person let it pass in the shadow without a verdict" in world.status.message
    assert world.run().stable.version == "2"


def test_a_person_who_was_asked_is_not_needed_once_the_pairs_decide():
    world = a_shadowed_world(shadow={"deadline": "30s"})
    world.behaviours["rev1"] = Behaviour(copies=False)
    world.run(until=Phase.SHADOWING).steps(30)
    assert world.canary.question is Reason.INCONCLUSIVE
    world.behaviours["rev1"] = Behaviour()
    assert world.run().stable.version == "2"


@pytest.mark.parametrize(
    ("policy", "ends"), [("Promote", Phase.PROGRESSING), ("RollBack", Phase.ROLLING_BACK)]
)
def test_the_deadline_decides_where_the_release_says_so(policy: str, ends: Phase):
    world = a_shadowed_world(
        shadow={"deadline": "1m"}, analysis={"interval": "5s", "onInsufficientEvidence": policy}
    )
    world.behaviours["rev1"] = Behaviour(copies=False)
    world.run(until=Phase.SHADOWING).run(until=ends)
    assert any("decided and not the evidence" in n.message for n in world.trail[-1].notices)


def test_a_canary_that_cannot_be_reached_is_not_held_against_it():
    world = a_shadowed_world()
    world.behaviours["rev2"] = Behaviour(unreachable=True)
    world.run(until=Phase.SHADOWING).steps(25)
    assert world.status.phase is Phase.SHADOWING
    assert "network policy" in world.status.message


def test_a_canary_that_is_always_busy_is_told_and_does_not_go_on():
    world = a_shadowed_world()
    world.behaviours["rev2"] = Behaviour(busy=True)
    world.run(until=Phase.SHADOWING).steps(20)
    assert world.status.phase is Phase.SHADOWING
    assert "copies met a canary that was busy (503)" in world.status.message


def test_an_outage_of_prometheus_moves_nothing_and_counts_no_time():
    world = in_shadow(shadow={"deadline": "2m"})
    world.prometheus_up = False
    world.steps(60)
    assert world.status.phase is Phase.SHADOWING
    assert world.canary.question is None
    assert world.status.verdict is Verdict.UNAVAILABLE
    assert "Prometheus does not answer" in world.status.message
    world.prometheus_up = True
    assert world.run().stable.version == "2"


def test_paused_holds_it_in_the_shadow():
    world = in_shadow().ask(paused=True).steps(60)
    assert world.status.phase is Phase.SHADOWING
    assert world.status.message.startswith("spec.paused holds canary 2 in the shadow")
    assert world.ask(paused=False).run().stable.version == "2"


def test_a_canary_that_breaks_is_taken_back_while_paused():
    world = in_shadow().ask(paused=True)
    world.behaviours["rev2"] = Behaviour(error_rate=0.5)
    world.run(until=Phase.ROLLING_BACK)
    assert world.served.get("rev2", 0) == 0


def test_an_abort_and_a_spec_that_goes_back_end_it_at_once():
    world = in_shadow()
    world.commands = Commands(abort="rev2")
    world.step()
    assert world.status.phase is Phase.ROLLING_BACK
    world = in_shadow().release(a_target("1"))
    world.step()
    assert world.status.phase is Phase.ROLLING_BACK


def test_a_promotion_by_hand_needs_no_verdict():
    world = in_shadow()
    world.commands = Commands(promote="rev2")
    assert world.run().stable.version == "2"
    assert Reason.PROMOTED_BY_HAND in [entry.outcome for entry in world.status.history]


def test_users_without_stable_are_given_the_canary():
    world = in_shadow()
    world.behaviours["rev1"] = Behaviour(starts=False)
    world.lose_pods("rev1")
    world.step()
    assert world.status.phase is Phase.PROGRESSING
    assert "no pod of stable 1 is ready" in world.status.message
    world.steps(5)
    assert world.served["rev2"] > 0


def test_a_blip_of_stable_does_not_end_the_comparison():
    world = in_shadow().steps(6)
    before = world.canary.shadow
    assert before
    world.lose_pods("rev1")
    assert world.step().status.phase is Phase.PROGRESSING
    world.run(until=Phase.SHADOWING)
    assert world.routed == frozenset({"rev1"})
    assert world.canary.shadow
    assert world.canary.shadow.pairs >= before.pairs
    met = world.served.get("rev2", 0)
    while world.status.phase is Phase.SHADOWING:
        assert world.served.get("rev2", 0) == met
        world.step()
    assert world.run().stable.version == "2"


def test_a_pass_that_is_held_back_is_one_event():
    world = in_shadow()
    world.problem = a_problem()
    world.steps(80)
    world.problem = None
    world.run()
    assert world.reasons.count(Reason.SHADOW_PASSED) == 1


def test_taking_the_shadow_out_of_the_spec_goes_on_with_users():
    world = in_shadow()
    raw = world.spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
    raw["canary"].pop("shadow")
    world.ask(canary=raw["canary"]).step()
    assert world.status.phase is Phase.PROGRESSING


def test_a_problem_with_the_model_keeps_users_from_it():
    world = in_shadow()
    world.problem = a_problem()
    world.steps(60)
    assert world.status.phase is Phase.SHADOWING
    assert "404" in world.status.message
    world.problem = None
    assert world.run().stable.version == "2"


def test_a_restart_of_stable_s_pods_loses_no_pair_and_counts_none_twice():
    world = in_shadow(shadow={"pairs": 5000}).steps(8)
    before = world.canary.shadow
    assert before
    world.lose_pods("rev1")
    world.pass_time(4)
    world.steps(3)
    after = world.canary.shadow
    assert after
    copied = sum(pod.pairs.get("same", 0) for pod in world.pods["rev1"])
    assert before.pairs <= after.pairs <= before.pairs + copied


def test_the_shadow_is_left_with_a_summary_and_without_its_counters():
    world = a_shadowed_world().run(until=Phase.SHADOWING).run(until=Phase.PROGRESSING)
    assert world.canary.shadow
    assert world.canary.shadow.passed
    assert world.canary.shadow.processes == {}


def test_a_release_without_a_shadow_begins_with_users():
    world = a_world_in(Phase.PROGRESSING)
    assert world.canary.shadow is None
    assert Reason.SHADOW_STARTED not in world.reasons


def test_what_the_shadow_said_counts_on_when_a_promoted_version_is_compared_again():
    """Its part of the release's evidence is not handed to users' gates by a promotion."""
    world = a_shadowed_world(canary={"keepPrevious": "5m"}).run(until=Phase.PROGRESSING)
    before = world.canary.shadow
    assert before
    world.run(until=Phase.STABLE)
    world.behaviours["rev2"] = Behaviour(error_rate=0.2)
    world.run(until=Phase.PROGRESSING)
    assert Reason.REOPENED in world.reasons
    assert world.canary.shadow
    assert world.canary.shadow.rollback_log == before.rollback_log
    assert world.canary.shadow.pairs == before.pairs
    assert world.status.phase is not Phase.SHADOWING
    world.run()
    assert world.stable.version == "1"
