"""The way back: what is rolled back, when, and what is remembered of it."""

from typing import Any

import pytest

from modelrelease_operator.api.status import REJECTIONS_LIMIT, Phase, Reason
from modelrelease_operator.core.observed import Commands
from testbed.builders import a_problem, a_target, seconds
from testbed.world import Behaviour, World, a_serving_world, a_world_in

STABLE_ONLY = frozenset({"rev1"})
UNDERWAY = (Phase.STARTING, Phase.PROGRESSING, Phase.PAUSED, Phase.PROMOTING)


def a_rejected_world(**changes: Any) -> World:
    world = a_serving_world(behaviours={"rev2": Behaviour(error_rate=0.3)}, **changes)
    return world.release(a_target("2")).run()


def test_a_regression_gives_every_client_back_to_stable_in_the_same_pass():
    world = a_world_in(Phase.PROGRESSING, behaviours={"rev2": Behaviour(error_rate=0.3)})
    while (decision := world.step()).status.phase is Phase.PROGRESSING:
        pass
    assert decision.status.phase is Phase.ROLLING_BACK
    assert decision.desired.routed == STABLE_ONLY
    assert world.reasons[-1] is Reason.REGRESSION
    assert decision.notices[0].warning
    assert world.run().unanswered == 0


def test_a_regression_is_remembered_with_its_reason_and_its_figures():
    world = a_rejected_world()
    rejected = world.status.rejected
    assert rejected is not None
    assert (rejected.revision, rejected.reason) == ("rev2", Reason.REGRESSION)
    assert (
        "worse than 1.1 times stable's plus 0.05 points, with 99 % confidence" in rejected.message
    )
    assert world.status.history[0].outcome is Reason.REGRESSION
    assert world.stable.version == "1"
    assert (world.status.weight, world.status.canary) == (0, None)


def test_slow_answers_are_a_regression_too():
    world = (
        a_serving_world(behaviours={"rev2": Behaviour(latency=0.5)}).release(a_target("2")).run()
    )
    assert world.status.rejected is not None
    assert "canary 2 takes over" in world.status.rejected.message


def test_the_canary_keeps_its_pods_until_the_router_is_seen_sending_it_nothing():
    world = a_world_in(Phase.ROLLING_BACK)
    pods = len(world.pods["rev2"])
    world.selector = {"modelrelease.dev/release": "qna"}
    decision = world.step()
    assert decision.status.phase is Phase.ROLLING_BACK
    assert len(world.pods["rev2"]) == pods
    assert decision.desired.routed == STABLE_ONLY
    world.step()
    assert world.status.phase is Phase.STABLE
    assert list(world.pods) == ["rev1"]


def test_a_rejected_revision_is_not_tried_again_by_itself():
    world = a_rejected_world().steps(50)
    assert world.status.phase is Phase.STABLE
    assert world.reasons.count(Reason.CANARY_STARTED) == 1
    assert world.status.message.startswith(
        "version 1 serves; version 2 was rejected: canary 2 fails"
    )


def test_a_rejected_revision_is_retried_once_for_one_annotation():
    world = a_rejected_world()
    world.commands = Commands(retry="rev2")
    world.run().steps(20)
    assert world.reasons.count(Reason.CANARY_STARTED) == 2
    assert world.reasons.count(Reason.REGRESSION) == 2


def test_an_annotation_that_stood_before_the_rejection_asks_for_nothing():
    world = a_rejected_world(commands=Commands(retry="rev2")).steps(20)
    assert world.reasons.count(Reason.CANARY_STARTED) == 1


@pytest.mark.parametrize("again", ["rev2", "2", "rev2/second-try"])
def test_a_retry_that_was_removed_and_set_again_counts(again: str):
    world = a_rejected_world(commands=Commands(retry="rev2"))
    world.commands = Commands()
    world.steps(1)
    world.commands = Commands(retry=again)
    world.run()
    assert world.reasons.count(Reason.CANARY_STARTED) == 2


def test_a_retry_with_another_note_counts_without_being_removed():
    world = a_rejected_world(commands=Commands(retry="rev2"))
    world.commands = Commands(retry="rev2/now with more memory")
    world.run()
    assert world.reasons.count(Reason.CANARY_STARTED) == 2


def test_a_retry_of_another_revision_asks_for_nothing():
    world = a_rejected_world()
    world.commands = Commands(retry="rev7")
    assert world.steps(5).reasons.count(Reason.CANARY_STARTED) == 1


def test_a_changed_spec_is_a_new_candidate_and_forgets_the_rejection():
    world = a_rejected_world().release(a_target("3")).run()
    assert world.stable.version == "3"
    assert world.status.rejected is None


def test_a_spec_that_goes_back_to_stable_shows_no_rejection_and_still_remembers_it():
    world = a_rejected_world().release(a_target("1")).run()
    assert world.status.rejected is None
    world.release(a_target("2")).run().steps(5)
    assert world.status.message.startswith(
        "version 1 serves; version 2 was rejected: canary 2 fails"
    )
    assert world.reasons.count(Reason.CANARY_STARTED) == 1
    world.commands = Commands(retry="rev2")
    assert world.run().reasons.count(Reason.CANARY_STARTED) == 2


def test_an_alias_that_moves_to_and_fro_does_not_try_a_rejected_version_again():
    world = a_rejected_world()
    for version in ("3", "2", "1", "2", "3", "2"):
        world.release(a_target(version)).run()
    assert world.stable.version == "3"
    assert world.status.rejected is not None
    assert world.status.rejected.revision == "rev2"
    started = [each.message for decision in world.trail for each in decision.notices
               if each.reason is Reason.CANARY_STARTED]  # fmt: skip
    assert sum("canary 2 " in message for message in started) == 1


def test_the_memory_of_rejections_is_bounded_and_drops_the_oldest():
    world = a_serving_world()
    versions = [str(number) for number in range(2, 2 + REJECTIONS_LIMIT + 2)]
    for version in versions:
        world.behaviours[f"rev{version}"] = Behaviour(error_rate=0.3)
        world.release(a_target(version)).run()
    assert [each.version for each in world.status.rejections] == versions[:1:-1]
    assert world.release(a_target("4")).decide().status.phase is Phase.STABLE
    assert world.release(a_target("2")).decide().status.phase is Phase.STARTING, "forgotten"


def test_a_refused_artifact_is_rejected_at_once_in_its_own_words():
    words = "the predictions differ from those recorded at training"
    world = (
        a_serving_world(behaviours={"rev2": Behaviour(refuses=words)}).release(a_target("2")).run()
    )
    assert world.status.rejected is not None
    assert (world.status.rejected.reason, world.status.rejected.message) == (
        Reason.ARTIFACT_REFUSED,
        words,
    )
    assert "rev2" not in world.served
    assert world.now - world.status.rejected.at < seconds(20)


def test_a_canary_that_never_gets_ready_is_rejected_after_its_start_deadline():
    world = (
        a_serving_world(behaviours={"rev2": Behaviour(starts=False)}).release(a_target("2")).run()
    )
    assert world.status.rejected is not None
    assert world.status.rejected.reason is Reason.CANARY_NOT_READY
    assert world.status.rejected.message.startswith("canary 2: 0 of 1 pods were ready after 1m")
    assert "rev2" not in world.served


def test_a_canary_that_is_ready_is_not_rejected_for_having_waited_for_the_router():
    world = a_serving_world(strangers={"revX": 1}).release(a_target("2"))
    while world.now < world.stable.since + seconds(300):
        world.step()
    assert world.status.phase is Phase.STARTING


def test_a_canary_that_loses_its_pods_holds_and_goes_on_when_they_are_back():
    world = a_world_in(Phase.PROGRESSING).steps(1)
    world.lose_pods("rev2")
    world.step()
    assert world.canary.unready_since is not None
    assert world.run().stable.version == "2"


def test_a_canary_whose_pods_stay_away_is_rejected_and_clients_notice_nothing():
    world = a_world_in(Phase.PROGRESSING).steps(1)
    world.behaviour("rev2").starts = False
    world.lose_pods("rev2")
    world.run()
    assert world.status.rejected is not None
    assert world.status.rejected.reason is Reason.CANARY_NOT_READY
    assert world.unanswered == 0


def test_a_pod_that_refuses_in_the_middle_is_quoted_when_the_deadline_ends_it():
    world = a_world_in(Phase.PROGRESSING).steps(1)
    world.behaviour("rev2").refuses = "the digest of model.joblib differs"
    world.lose_pods("rev2")
    world.run()
    assert world.status.rejected is not None
    assert world.status.rejected.message.endswith("; the digest of model.joblib differs")


def test_stable_without_a_ready_pod_is_not_blamed_on_the_canary_that_serves():
    world = a_world_in(Phase.PROGRESSING, canary={"steps": [{"weight": 50}]}).steps(1)
    world.behaviour("rev1").starts = False
    world.lose_pods("rev1")
    world.steps(30)
    assert world.now > world.canary.since + seconds(100), "the start deadline has passed"
    assert world.status.phase is Phase.PROGRESSING
    assert world.status.message == (
        "no pod of stable 1 is ready; canary 2 (rev2) answers alone on 3 of 3 pods; "
        "annotate promote=rev2 to have it take over"
    )
    assert world.unanswered == 0


def test_a_canary_that_cannot_grow_to_full_strength_is_rejected():
    world = a_world_in(Phase.PROMOTING, canary={"steps": [{"weight": 25}]})
    for pod in world.pods["rev2"][1:]:
        pod.ready_at = None
    world.run(until=Phase.ROLLING_BACK)
    assert world.status.rejected is not None
    assert world.status.rejected.message.startswith("canary 2: 1 of 3 pods were ready after 1m")


@pytest.mark.parametrize("phase", UNDERWAY)
def test_a_spec_that_goes_back_to_stable_rolls_back_without_a_rejection(phase: Phase):
    world = a_world_in(phase).release(a_target("1"))
    decision = world.step()
    assert decision.desired.routed == STABLE_ONLY
    assert decision.status.phase is Phase.ROLLING_BACK
    assert world.reasons[-1] is Reason.SPEC_REVERTED
    assert not decision.notices[0].warning, "a person asked for it"
    world.ask(paused=False).run()
    assert (world.stable.version, world.status.rejected, list(world.pods)) == ("1", None, ["rev1"])
    assert world.unanswered == 0


@pytest.mark.parametrize("phase", UNDERWAY)
def test_a_spec_that_moves_on_rolls_the_old_candidate_back_before_the_new_one_starts(phase: Phase):
    world = a_world_in(phase).release(a_target("3"))
    assert world.step().status.phase is Phase.ROLLING_BACK
    assert world.reasons[-1] is Reason.SUPERSEDED
    assert "rev3" not in world.pods
    world.ask(paused=False).run()
    assert (world.stable.version, world.status.rejected) == ("3", None)
    assert world.unanswered == 0


def test_a_spec_that_changes_while_rolling_back_is_followed_afterwards():
    world = a_world_in(Phase.ROLLING_BACK).release(a_target("3"))
    world.run()
    assert world.stable.version == "3"


def test_a_spec_that_cannot_be_resolved_moves_nothing_forward_and_nothing_back():
    world = a_world_in(Phase.PROGRESSING, canary={"steps": [{"weight": 25, "bake": "1s"}]}).steps(1)
    world.target, world.problem = None, a_problem()
    world.steps(30)
    assert world.status.phase is Phase.PROGRESSING
    assert world.status.message == "holding: http://store/qna/9 answered 404"


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.PROMOTING])
def test_a_candidate_that_the_spec_no_longer_names_is_not_given_more_clients(phase: Phase):
    world = a_world_in(phase)
    world.pass_time(20)
    world.target, world.problem = None, a_problem()
    weight = world.status.weight
    world.steps(20)
    assert world.status.weight == weight
    assert world.stable.version == "1"
    assert "http://store/qna/9 answered 404" in world.status.message


def test_a_spec_that_cannot_be_resolved_leaves_what_serves_alone():
    world = a_serving_world()
    world.target, world.problem = None, a_problem()
    world.steps(5)
    assert (world.stable.version, world.ready("rev1"), world.unanswered) == ("1", 3, 0)


@pytest.mark.parametrize("command", ["back", "abort"])
def test_a_canary_that_answers_alone_keeps_its_clients_until_stable_can_answer(command: str):
    world = a_world_in(Phase.PROGRESSING).steps(3)
    world.lose_pods("rev1")
    if command == "abort":
        world.commands = Commands(abort="2")
    else:
        world.release(a_target("1"))
    decision = world.step()
    assert decision.status.phase is Phase.ROLLING_BACK
    assert decision.desired.routed == frozenset({"rev1", "rev2"})
    assert "answers alone" in world.step().status.message
    end = world.run()
    assert (end.routed, end.unanswered) == (STABLE_ONLY, 0)
