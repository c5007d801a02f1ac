"""What windows say together: raised, sustained, ended, held, and in which words."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from modelrelease_contract.drift import DriftVerdict, FeatureDrift
from modelrelease_operator.api.drift import WORST_FEATURES, Drift, DriftStatus, Sustained
from modelrelease_operator.api.status import Phase, Reason, Status
from modelrelease_operator.core.desired import Decision
from modelrelease_operator.core.drift.sustained import condition, is_news, with_windows
from modelrelease_operator.core.drift.windows import PREDICTIONS
from modelrelease_operator.core.observed import Commands, Window
from modelrelease_operator.core.release.decide import decide
from testbed.builders import START, a_target
from testbed.world import World, a_serving_world, a_world, a_world_in

TEN = timedelta(minutes=10)
LETTERS = {"D": DriftVerdict.DRIFTED, "S": DriftVerdict.STABLE, "I": DriftVerdict.INSUFFICIENT}


def a_feature(name: str = "age", letter: str = "D", **figures: Any) -> FeatureDrift:
    known = {"D": (0.31, 6012), "S": (0.02, 6012), "I": (0.2, 312)}[letter]
    found: dict[str, Any] = {
        "psi": known[0],
        "threshold": 0.1,
        "n": known[1],
        "verdict": LETTERS[letter],
    }
    return FeatureDrift(name=name, **(found | figures))


def windows(letters: str, *, after: int = 0) -> tuple[Window, ...]:
    return tuple(
        Window(ended=START + (after + index) * TEN, features=(a_feature(letter=letter),))
        for index, letter in enumerate(letters, 1)
    )


def after(letters: str, asked: Drift | None = None) -> DriftStatus:
    """Return what is known after windows that were seen one after the other."""
    found = with_windows(DriftStatus(revision="rev1"), (), asked or Drift(), "7")
    for window in windows(letters):
        found = with_windows(found, (window,), asked or Drift(), "7")
    return found


@pytest.mark.parametrize(
    ("letters", "drifted"),
    [
        ("", False),
        ("D", False),
        ("SD", False),
        ("DD", True),
        ("DSSSD", True),
        ("DSSSSD", False),
        ("DID", True),
        ("DDS", True),
        ("DDI", True),
        ("DDSI", True),
        ("DDSS", False),
        ("DDSIS", False),
        ("DDSDS", True),
        ("DDSSD", True),
        ("IIIII", False),
    ],
)
def test_drift_is_raised_by_two_of_five_windows_and_ended_by_two_calm_ones(
    letters: str, drifted: bool
):
    assert after(letters).drifted is drifted


def test_a_person_may_ask_for_more_windows_or_for_one():
    assert after("D", Drift(sustained=Sustained(windows=1, at_least=1))).drifted
    strict = Drift(sustained=Sustained(windows=3, at_least=3))
    assert not after("DDSD", strict).drifted
    assert after("SDDD", strict).drifted


def test_a_window_is_taken_in_once_however_often_it_is_shown():
    once = after("SD")
    assert with_windows(once, windows("SD"), Drift(), "7") is once
    assert with_windows(once, windows("SDD"), Drift(), "7").windows == "SDD"


def test_while_nothing_changes_nothing_has_to_be_written():
    calm = after("SSSSS")
    assert not is_news(calm, with_windows(calm, windows("SS", after=5), Drift(), "7"))
    assert is_news(calm, with_windows(calm, windows("D", after=5), Drift(), "7"))
    assert is_news(after("SSS"), after("SSSS"))


def test_windows_that_were_not_written_may_be_shown_again():
    calm = after("SSSSS")
    again = with_windows(calm, windows("SSSSSSSD"), Drift(), "7")
    assert again.windows == "SSSSD"


def test_drift_that_is_over_when_several_windows_are_shown_at_once_is_not_raised():
    found = with_windows(DriftStatus(revision="rev2"), windows("DDS"), Drift(), "7")
    assert (found.drifted, found.windows) == (False, "DDS")
    assert with_windows(DriftStatus(revision="rev2"), windows("SDD"), Drift(), "7").drifted


def told(found: DriftStatus) -> tuple[str, str]:
    status, reason, message = condition(Status(drift=found)) or pytest.fail("there is no condition")
    return f"{status} {reason}", message


@pytest.mark.parametrize(
    ("letters", "status", "message"),
    [
        (
            "DD",
            "True Drifted",
            "data moved away from what version 7 was trained on: "
            "age with PSI 0.31 (limit 0.10, 6,012 values); "
            "2 of the last 2 windows of 10m drifted",
        ),
        (
            "SD",
            "False NotDrifted",
            "data moved away from what version 7 was trained on: "
            "age with PSI 0.31 (limit 0.10, 6,012 values); "
            "1 of the last 2 windows of 10m drifted, 2 are needed to say so",
        ),
        (
            "S",
            "False NotDrifted",
            "version 7 meets data like its training data: most moved is age with PSI 0.02 "
            "(limit 0.10, 6,012 values)",
        ),
        (
            "SI",
            "Unknown InsufficientData",
            "312 of the 500 values needed came in 10m; a longer spec.drift.window gathers more",
        ),
        ("", "Unknown InsufficientData", "no window of 10m of version 7 is complete yet"),
    ],
)
def test_the_condition_says_what_was_found_in_one_sentence(letters: str, status: str, message: str):
    assert told(after(letters)) == (status, message)


def test_a_version_without_a_baseline_is_told_apart_from_one_without_traffic():
    empty = (Window(ended=START + TEN, features=()),)
    status, message = told(with_windows(DriftStatus(revision="rev1"), empty, Drift(), "7"))
    assert status == "Unknown NoBaseline"
    assert message.startswith("no baseline is shown for version 7: ")


def test_a_baseline_that_cannot_be_read_is_said_and_is_no_absence_of_one():
    broken = "feature age, bin 3 of the baseline has the value inf"
    window = Window(ended=START + TEN, features=(), problem=broken)
    found = with_windows(DriftStatus(revision="rev1"), (window,), Drift(), "7")
    assert found.message == f"drift of version 7 is unavailable; {broken}"
    other = Window(ended=START + TEN, features=(a_feature(letter="S"),), problem=broken)
    assert with_windows(DriftStatus(revision="rev1"), (other,), Drift(), "7").message.endswith(
        f"; {broken}"
    )


def test_only_the_worst_features_are_stored_and_named():
    many = tuple(a_feature(f"feature_{index}") for index in range(9))
    shown = (Window(ended=START, features=many), Window(ended=START + TEN, features=many))
    found = with_windows(DriftStatus(revision="rev1"), shown, Drift(), "7")
    assert [each.name for each in found.features] == [
        f"feature_{index}" for index in range(WORST_FEATURES)
    ]
    assert "feature_2 with PSI 0.31" in found.message
    assert "and 6 more" in found.message
    assert len(found.model_dump_json()) < 1500


def test_predictions_are_called_so():
    shown = tuple(replace(each, features=(a_feature(PREDICTIONS),)) for each in windows("DD"))
    assert (
        "the predictions with PSI 0.31"
        in with_windows(DriftStatus(revision="r"), shown, Drift(), "7").message
    )


# Through decide(): the same, in a world.


def see(world: World, **by_revision: str) -> Decision:
    """Decide with these windows seen and remember the outcome."""
    seen = replace(
        world.observed, drift={name: windows(letters) for name, letters in by_revision.items()}
    )
    decision = decide(spec=world.spec, status=world.status, observed=seen, now=world.now)
    world.status = Status.parse(decision.status.to_dict())
    return decision


def drifted(world: World) -> str | None:
    return next((each.status for each in world.status.conditions if each.type == "Drifted"), None)


def test_an_event_is_recorded_when_drift_begins_and_when_it_ends_and_not_in_between():
    world = a_serving_world()
    assert [notice.reason for notice in see(world, rev1="DD").notices] == [Reason.DRIFTED]
    assert drifted(world) == "True"
    assert see(world, rev1="DDD").notices == ()
    (notice,) = see(world, rev1="DDDSS").notices
    assert (notice.reason, notice.warning) == (Reason.DRIFT_ENDED, False)
    assert drifted(world) == "False"


def test_a_release_that_does_not_ask_has_no_condition():
    world = a_serving_world()
    see(world, rev1="DD")
    world.ask(drift={"enabled": False})
    see(world, rev1="DD")
    assert drifted(world) is None
    assert world.status.drift is None


def test_a_release_has_no_condition_before_its_first_version_serves_and_then_at_once():
    world = a_world().steps(1)
    assert drifted(world) is None
    world.run()
    assert drifted(world) == "Unknown"


def test_a_new_stable_version_is_judged_anew():
    world = a_serving_world()
    see(world, rev1="DD")
    world.release(a_target("2")).run(until=Phase.PROGRESSING)
    world.ask(drift={"holdPromotion": False}).run()
    assert world.stable.version == "2"
    assert drifted(world) == "Unknown"
    assert world.status.drift == DriftStatus(
        revision="rev2", message="no window of 10m of version 2 is complete yet"
    )


@pytest.fixture
def at_the_end() -> World:
    """Return a world in which stable's data has drifted and the canary passes at its last step."""
    world = a_world_in(Phase.PROGRESSING)
    see(world, rev1="DD")
    for _ in range(300):
        world.step()
        if "without blame" in world.status.message:
            break
    return world


def test_drift_holds_the_promotion_of_a_canary_and_does_not_blame_it(at_the_end: World):
    world = at_the_end.steps(20)
    assert world.status.phase is Phase.PROGRESSING
    assert world.canary.step + 1 == world.canary.steps, "it only holds the last step"
    assert (
        "is held, without blame: data moved away from what version 1 was trained on"
        in world.status.message
    )
    assert world.status.rejected is None


def test_a_canary_that_is_at_home_in_todays_data_is_the_remedy_and_is_promoted(at_the_end: World):
    see(at_the_end, rev1="DD", rev2="S")
    assert at_the_end.status.phase is Phase.PROMOTING


@pytest.mark.parametrize("letters", ["D", "I", "SD"])
def test_a_canary_that_has_not_shown_to_be_at_home_is_held(at_the_end: World, letters: str):
    see(at_the_end, rev1="DD", rev2=letters)
    assert at_the_end.status.phase is Phase.PROGRESSING


def test_a_person_may_promote_it_all_the_same(at_the_end: World):
    at_the_end.commands = Commands(approve="2")
    assert at_the_end.run().stable.version == "2"


def test_a_spec_may_say_that_drift_holds_nothing(at_the_end: World):
    at_the_end.ask(drift={"holdPromotion": False})
    assert at_the_end.run().stable.version == "2"


def test_drift_that_outlasts_the_deadline_asks_for_a_person_and_goes_on_when_it_ends(
    at_the_end: World,
):
    world = at_the_end
    world.steps(400)
    assert world.status.phase is Phase.PAUSED
    see(world, rev1="DDSS")
    assert world.run().stable.version == "2"


def test_drift_never_stops_a_rollback(at_the_end: World):
    world = at_the_end
    world.behaviour("rev2").error_rate = 0.5
    world.run()
    assert world.status.rejected is not None
    assert world.status.rejected.reason is Reason.REGRESSION
