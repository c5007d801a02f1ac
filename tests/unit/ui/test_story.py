"""What the page and the report tell of a release: what its status has, and no more."""

import json
from datetime import timedelta
from typing import Any

import pytest

from modelrelease_operator.api.status import Phase
from modelrelease_operator.core.explain import explain, spec_of
from modelrelease_operator.ui.moments import Past
from modelrelease_operator.ui.story import actions, row, story, value_of
from testbed.builders import a_target
from testbed.world import Behaviour, World, a_serving_world, a_world_in


def the_object(world: World, **status: Any) -> dict[str, Any]:
    spec = world.spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
    meta = {"name": "qna", "namespace": "ml", "generation": 1, "uid": "u1"}
    told = {**world.status.to_dict(), **status}
    return {"kind": "ModelRelease", "metadata": meta, "spec": spec, "status": told}


def told_of(world: World, **status: Any) -> dict[str, Any]:
    return story(the_object(world, **status), world.now, Past())


def stages(world: World) -> dict[str, str]:
    return {stage["name"]: stage["state"] for stage in told_of(world)["steps"]}


@pytest.mark.parametrize("phase", list(Phase))
def test_a_release_in_every_phase_is_told_as_json(phase: Phase):
    told = told_of(a_world_in(phase))
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["phase"] == phase
    assert told["message"]


@pytest.mark.parametrize("phase", list(Phase))
def test_the_line_of_the_list_says_of_a_phase_what_the_story_says(phase: Phase):
    release = the_object(a_world_in(phase))
    line, told = row(release), told_of(a_world_in(phase))
    assert line == {key: told[key] for key in line}


def test_a_release_that_no_operator_has_seen_says_so():
    world = a_world_in(Phase.STABLE)
    release = {key: part for key, part in the_object(world).items() if key != "status"}
    assert row(release)["phase"] == "Unseen"
    assert row(release)["message"] == "not seen by the operator yet"


@pytest.mark.parametrize("generation", [-1, None])
def test_what_the_schema_fills_in_is_no_operators_word(generation: int | None):
    """The first is the schema's default of today; a null is what an apply may leave behind."""
    release = the_object(a_world_in(Phase.STABLE)) | {"status": {"observedGeneration": generation}}
    assert row(release)["phase"] == ("Unseen" if generation else "Pending")
    assert story(release, a_world_in(Phase.STABLE).now, Past())["stable"] is None


def test_a_status_that_cannot_be_read_hides_no_other_release():
    line = row(the_object(a_world_in(Phase.STABLE), phase="Dancing"))
    assert line["phase"] == "Unreadable"
    assert line["person"]
    assert "status.phase cannot be read" in line["message"]


def test_stages_tell_what_is_done_what_goes_on_and_what_is_to_come():
    assert stages(a_world_in(Phase.STARTING)) == {
        "start": "now", "25 %": "ahead", "50 %": "ahead", "promoted": "ahead",
    }  # fmt: skip
    assert stages(a_world_in(Phase.PROGRESSING)) == {
        "start": "done", "25 %": "now", "50 %": "ahead", "promoted": "ahead",
    }  # fmt: skip
    assert stages(a_world_in(Phase.SHADOWING))["shadow"] == "now"
    assert stages(a_world_in(Phase.PROMOTING))["promoted"] == "now"


def test_a_canary_that_is_taken_back_ends_at_the_step_where_it_was():
    assert stages(a_world_in(Phase.ROLLING_BACK))["25 %"] == "back"


def test_nothing_is_at_a_stage_while_nothing_goes_on():
    assert set(stages(a_world_in(Phase.STABLE)).values()) == {"ahead"}


def test_a_gate_has_its_lines_at_the_rate_that_stable_has():
    world = a_serving_world(rps=500.0)
    world.behaviours |= {"rev1": Behaviour(error_rate=0.1), "rev2": Behaviour(error_rate=0.1)}
    world.release(a_target("2")).run(until=Phase.PROGRESSING).steps(12)
    gate = next(gate for gate in told_of(world)["gates"] if gate["name"] == "errors")
    # By default 1.1 times stable's and 0.05 points are tolerated (api/spec.py).
    stable = gate["stable"]["percent"]
    assert gate["tolerated"] == pytest.approx(0.1 * stable + 0.05, abs=1e-5)
    assert gate["margin"] > gate["tolerated"]


def test_what_goes_on_can_be_paused_and_what_is_paused_resumed():
    world = a_world_in(Phase.PROGRESSING)
    assert [action["verb"] for action in told_of(world)["actions"]][-1] == "pause"
    paused = a_world_in(Phase.PAUSED)
    assert [action["verb"] for action in told_of(paused)["actions"]] == ["resume", "abort"]


def test_nothing_can_be_paused_where_nothing_goes_on():
    assert told_of(a_world_in(Phase.STABLE))["actions"] == []
    assert told_of(a_world_in(Phase.ROLLING_BACK))["actions"] == []


def test_a_command_is_of_the_canary_that_was_looked_at():
    release = the_object(a_world_in(Phase.PROGRESSING))
    told = explain(release, a_world_in(Phase.PROGRESSING).now)
    values = {way.verb: value_of(way) for way in actions(told, spec_of(release)[0])}
    assert values == {"promote": "rev2", "abort": "rev2", "pause": ""}


def test_deadlines_are_moments_that_a_page_can_count_down_to():
    world = a_world_in(Phase.STARTING)
    (awaited,) = told_of(world)["awaited"]
    assert awaited["until"] == (world.canary.since + timedelta(seconds=60)).timestamp()
