"""What ends a release that has no verdict when its time is over,
and that it never passes for evidence.
"""

from typing import Any

import pytest

from modelrelease_operator.api.status import Phase, Reason, Verdict
from testbed.builders import a_target
from testbed.world import Behaviour, World, a_serving_world

SOON_OVER = {"steps": [{"weight": 25, "bake": "5s"}, {"weight": 50}], "progressDeadline": "40s"}


def an_undecided_world(policy: str | None, **canary: Any) -> World:
    """Build a world whose canary gets too few requests for any verdict."""
    policies = {"onInsufficientEvidence": policy} if policy else {}
    world = a_serving_world(
        rps=2.0, analysis={"interval": "5s", **policies}, canary={**SOON_OVER, **canary}
    )
    return world.release(a_target("2")).run(until=Phase.PROGRESSING)


@pytest.mark.parametrize("policy", [None, "Pause"])
def test_a_person_is_asked_unless_the_spec_says_otherwise(policy: str | None):
    world = an_undecided_world(policy).run(until=Phase.PAUSED)
    assert world.canary.inconclusive
    assert world.reasons[-1] is Reason.INCONCLUSIVE


def test_the_deadline_rolls_back_where_it_was_told_to_and_says_that_it_was_no_evidence():
    world = an_undecided_world("RollBack").run()
    assert world.stable.version == "1"
    assert world.status.rejected is not None
    assert world.status.rejected.reason is Reason.INCONCLUSIVE
    assert Reason.REGRESSION not in world.reasons
    told = world.status.history[0].message
    assert told.startswith("the deadline of 40s decided and not the evidence (")
    assert "onInsufficientEvidence is RollBack): canary 2 fails" in told


def test_the_deadline_promotes_where_it_was_told_to_and_says_that_it_was_no_evidence():
    world = an_undecided_world("Promote").run(until=Phase.PROMOTING)
    assert world.canary.step == 0, "the steps that were left are not taken"
    assert "promoted: the deadline of 40s decided and not the evidence" in world.status.message
    world.run()
    assert world.stable.version == "2"
    promoted = world.status.history[0]
    assert promoted.outcome is Reason.PROMOTED
    assert "the deadline of 40s decided and not the evidence" in promoted.message


@pytest.mark.parametrize("policy", ["Promote", "RollBack"])
def test_the_deadline_moves_nothing_while_metrics_are_unavailable(policy: str):
    """Nor does the time of the outage count once it is over."""
    world = an_undecided_world(policy)
    world.prometheus_up = False
    world.run(until=Phase.PAUSED).steps(100)
    assert world.status.verdict is Verdict.UNAVAILABLE
    assert world.canary.judged_seconds == 0
    world.prometheus_up = True
    world.steps(4)
    assert (world.status.phase, world.canary.inconclusive) == (Phase.PROGRESSING, False)
    assert world.canary.judged_seconds < 40


@pytest.mark.parametrize("policy", ["Promote", "RollBack"])
def test_the_deadline_moves_nothing_while_a_person_holds_the_release(policy: str):
    world = an_undecided_world(policy).ask(paused=True).steps(30)
    assert world.status.phase is Phase.PAUSED
    assert not world.canary.inconclusive


def test_the_deadline_asks_for_the_approval_that_a_promotion_needs():
    world = an_undecided_world("Promote", approval="Manual").run(until=Phase.PAUSED)
    assert world.reasons[-1] is Reason.WAITING_FOR_APPROVAL


@pytest.mark.parametrize("policy", ["Pause", "Promote"])
def test_a_regression_that_is_proven_is_rolled_back_whatever_the_deadline_would_do(policy: str):
    world = an_undecided_world(policy)
    world.behaviours["rev2"] = Behaviour(error_rate=0.9)
    world.rps = 200.0
    world.run()
    assert world.status.rejected is not None
    assert world.status.rejected.reason is Reason.REGRESSION


def test_a_canary_that_passes_has_all_the_time_that_its_steps_take():
    world = an_undecided_world("RollBack")
    world.rps = 5_000.0
    assert world.run().stable.version == "2"
    assert not any("deadline" in entry.message for entry in world.status.history)
