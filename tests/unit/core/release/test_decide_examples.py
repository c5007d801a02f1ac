"""In the shadow where servers copy nothing: a prober asks both example rows, and pairs decide."""

from typing import Any

import pytest

from modelrelease_operator.api.status import Phase, Reason, Recipe, Target
from modelrelease_operator.core.explain import explain
from testbed.builders import a_target
from testbed.world import Behaviour, World, a_world
from tests.support.foreign_server import FETCH_IMAGE, FOREIGN_IMAGE, RUNTIME

ASKED = {**RUNTIME, "exampleRequests": {"path": "/score", "body": '{"row": $(ROW)}'}}
OURS = Recipe(image="serving:test")


def recipe(runtime: dict[str, Any]) -> Recipe:
    return Recipe(image=FOREIGN_IMAGE, runtime=runtime, fetch_image=FETCH_IMAGE)


def theirs(version: str, runtime: dict[str, Any] = ASKED) -> Target:
    return a_target(version, recipe=recipe(runtime))


def compared(
    stable: Target | None = None,
    canary: Target | None = None,
    shadow: dict[str, Any] | None = None,
    **changes: Any,
) -> World:
    """Build a world in which a server that is not ours serves, and another version is asked for."""
    world = a_world(
        target=stable or theirs("1"), canary={"shadow": shadow or {}}, rps=10.0, **changes
    )
    return world.run().release(canary or theirs("2"))


def in_shadow(**changes: Any) -> World:
    return compared(**changes).run(until=Phase.SHADOWING)


def test_a_good_canary_passes_on_example_requests_and_the_prober_goes_before_the_first_user():
    world = in_shadow()
    while world.status.phase is Phase.SHADOWING:
        assert world.served.get("rev2", 0) == 0
        asked = world.comparing
        world.step()
    assert asked is None, "it would count as a user"
    assert world.comparing is None
    assert world.reasons.count(Reason.SHADOW_PASSED) == 1
    assert "pairs of answers to example requests: canary 2 fails 0.0 % of" in next(
        notice.message
        for decision in world.trail
        for notice in decision.notices
        if notice.reason is Reason.SHADOW_PASSED
    )
    assert world.run().stable.version == "2"


@pytest.mark.parametrize(
    ("shadow", "behaviour", "why"),
    [
        ({}, Behaviour(error_rate=0.1), "canary 2 fails"),
        ({}, Behaviour(latency=0.1), "example requests that both were asked"),
        ({"maxDisagreementPercent": 0.5}, Behaviour(disagrees=0.05), "otherwise than stable"),
    ],
    ids=["fails", "slow", "answers otherwise"],
)
def test_a_bad_canary_is_taken_back_before_any_user_has_met_it(
    shadow: dict[str, Any], behaviour: Behaviour, why: str
):
    world = compared(shadow=shadow)
    world.behaviours["rev2"] = behaviour
    world.run()
    assert world.status.rejected
    assert world.status.rejected.reason is Reason.REGRESSION
    assert why in world.status.rejected.message
    assert " example requests" in world.status.rejected.message
    assert "copied" not in world.status.rejected.message
    assert world.served.get("rev2", 0) == 0
    assert world.comparing is None


def test_the_pairs_need_no_users():
    world = in_shadow()
    world.rps = 0.0
    world.run(until=Phase.PROGRESSING)
    assert world.canary.shadow
    assert world.canary.shadow.passed


def test_what_is_awaited_names_example_requests():
    world = in_shadow().steps(3)
    spec = world.spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
    said = {"kind": "ModelRelease", "metadata": {"name": "qna"}, "spec": spec,
            "status": world.status.to_dict()}  # fmt: skip
    (awaited, *_) = [each.what for each in explain(said, world.now).awaited if "pairs" in each.what]
    assert "pairs of answers to example requests" in awaited


def test_examples_that_stable_refuses_prove_nothing_and_it_is_said_what_to_do():
    world = compared(shadow={"deadline": "2m"})
    world.behaviours["rev1"] = Behaviour(answers_examples=False)
    world.behaviours["rev2"] = Behaviour(answers_examples=False)
    world.run(until=Phase.SHADOWING).steps(200)
    assert world.status.phase is Phase.SHADOWING
    assert "stable answers no example request" in world.status.message
    assert "spec.serving.runtime.exampleRequests" in world.status.message
    assert "annotate approve=" in world.status.message


def test_a_prober_that_does_not_run_is_told_with_its_last_words():
    world = in_shadow()
    world.prober_trouble = "http://store/qna/2/manifest.json does not exist"
    world.steps(20)
    assert "does not run: http://store/qna/2/manifest.json does not exist" in world.status.message


@pytest.mark.parametrize(
    ("stable", "canary", "why"),
    [
        pytest.param(a_target("1"), theirs("2"), "(predictor) with the canary's (of its own)",
                     id="from our predictor"),
        pytest.param(theirs("1"), a_target("2"), "(of its own) with the canary's (predictor)",
                     id="to our predictor"),
        pytest.param(theirs("1"), theirs("2", RUNTIME), "how serving runtime of its own is asked",
                     id="without a request"),
    ],
)  # fmt: skip
def test_servers_that_nobody_can_compare_are_named(stable: Target, canary: Target, why: str):
    world = in_shadow(stable=stable, canary=canary, shadow={"deadline": "2m"}).steps(200)
    assert world.comparing is None
    assert why in world.status.message
    assert "annotate approve=" in world.status.message


def test_a_stable_of_which_nobody_said_it_is_asked_as_the_canary_is():
    decision = in_shadow(stable=theirs("1", RUNTIME)).step()
    assert decision.desired.comparing


def test_a_canary_that_a_person_lets_pass_waits_only_for_the_prober_to_go():
    world = in_shadow(shadow={"deadline": "2m"})
    world.behaviours["rev1"] = Behaviour(answers_examples=False)
    world.steps(200)
    world.commands = world.commands.__class__(approve="rev2")
    world.run(until=Phase.PROGRESSING)
    assert world.comparing is None


def test_a_canary_that_the_deadline_lets_pass_waits_for_the_prober_to_go():
    world = in_shadow(shadow={"deadline": "2m"}, analysis={"onInsufficientEvidence": "Promote"})
    world.behaviours["rev1"] = Behaviour(answers_examples=False)
    while world.status.phase is Phase.SHADOWING:
        asked = world.comparing
        assert world.served.get("rev2", 0) == 0
        world.step()
    assert asked is None, "it would count as a user"
    assert world.canary.unproven
    assert world.canary.unproven.startswith("the deadline of 2m in the shadow decided")
