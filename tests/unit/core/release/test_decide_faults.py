"""What goes wrong around the operator, and inside of it:
nothing moves that must not, and all ends well.
"""

from dataclasses import replace

import pytest

from modelrelease_operator.api.status import Phase, Reason, Status, Verdict
from modelrelease_operator.core.release.decide import decide
from modelrelease_operator.errors import Invalid
from testbed.builders import START, a_spec, a_target
from testbed.world import Behaviour, World, a_serving_world, a_world, a_world_in

SICK = {"rev2": Behaviour(error_rate=0.3)}


@pytest.mark.parametrize("phase", Phase)
def test_the_same_input_gives_the_same_decision(phase: Phase):
    world = a_world_in(phase)
    before = world.status.model_dump()
    assert world.decide() == world.decide()
    assert world.status.model_dump() == before, "nothing that was given is changed"


@pytest.mark.parametrize("phase", Phase)
def test_a_decision_that_is_applied_twice_asks_for_the_same_world(phase: Phase):
    world = a_world_in(phase)
    first = world.decide()
    world._apply(first.desired)
    second = world.decide()
    assert second.desired == first.desired or second.status.phase is not first.status.phase


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.PAUSED])
@pytest.mark.parametrize("crashes", [1, 3])
def test_an_operator_that_dies_before_it_remembers_comes_to_the_same_end(
    phase: Phase, crashes: int
):
    world = a_world_in(phase)
    end = a_world_in(phase).run().stable.version
    world.dies_before_status = True
    world.steps(crashes)
    world.dies_before_status = False
    assert world.run().stable.version == end
    assert world.unanswered == 0


@pytest.mark.parametrize("behaviours", [{}, SICK], ids=["healthy", "sick"])
@pytest.mark.parametrize("every", [2, 3, 5])
def test_an_operator_that_dies_again_and_again_comes_to_the_same_end(
    behaviours: dict[str, Behaviour], every: int
):
    world = a_serving_world(behaviours=dict(behaviours)).release(a_target("2"))
    for count in range(1000):
        world.dies_before_status = count % every == 0
        world.step()
        if count > 5 and world.status.phase is Phase.STABLE and not world.status.previous:
            break
    assert world.stable.version == ("1" if behaviours else "2")
    assert world.unanswered == 0


def test_a_crash_between_promotion_and_its_record_leaves_one_router_and_no_restart():
    world = a_world_in(Phase.PROMOTING)
    world.pass_time(30)
    world.dies_before_status = True
    world.step()
    assert (world.status.phase, world.routed) == (Phase.PROMOTING, frozenset({"rev2"}))
    world.dies_before_status = False
    world.step()
    assert (world.stable.version, world.routed) == ("2", frozenset({"rev2"}))
    assert world.started == {"rev1": 3, "rev2": 3}


def test_a_crash_between_rollback_and_its_record_does_not_let_clients_back_to_the_canary():
    world = a_world_in(Phase.PROGRESSING, behaviours=SICK)
    while (decision := world.decide()).status.phase is Phase.PROGRESSING:
        world.step()
    assert decision.status.phase is Phase.ROLLING_BACK
    world.dies_before_status = True
    world.steps(1)
    served = world.served["rev2"]
    world.dies_before_status = False
    world.run()
    assert world.served["rev2"] == served


def test_prometheus_away_for_minutes_changes_nothing_and_says_so():
    world = a_world_in(Phase.PROGRESSING).steps(2)
    evidence = world.status.evidence
    world.prometheus_up = False
    world.steps(60)
    assert (world.status.phase, world.status.weight) == (Phase.PROGRESSING, 25)
    assert world.status.verdict is Verdict.UNAVAILABLE
    assert (
        world.status.message
        == "metrics are unavailable, so nothing moves: Prometheus does not answer"
    )
    assert world.status.evidence == evidence
    world.prometheus_up = True
    assert world.run().stable.version == "2"


def test_prometheus_away_for_ever_leaves_users_to_stable_alone():
    world = a_world_in(Phase.PROGRESSING).steps(1)
    world.prometheus_up = False
    world.run(until=Phase.PAUSED).steps(1)
    served = world.served["rev2"]
    world.steps(1000)
    assert (world.status.phase, world.canary.unseen, world.canary.inconclusive) == (
        Phase.PAUSED,
        True,
        False,
    )
    assert world.served["rev2"] == served
    assert Reason.REGRESSION not in world.reasons


def test_prometheus_away_does_not_stop_a_person_or_a_changed_spec():
    world = a_world_in(Phase.PROGRESSING, prometheus_up=False).release(a_target("1")).run()
    assert world.stable.version == "1"


def test_prometheus_away_before_the_first_look_is_not_needed_to_serve():
    assert a_world(prometheus_up=False).run().stable.version == "1"


def test_a_stable_pod_that_is_not_shown_is_left_out_and_said_so():
    world = a_world_in(Phase.PROGRESSING).steps(2)
    unseen = world.pods["rev1"][0].name
    world.unscraped = {unseen}
    before = world.status.evidence.release["errors"]
    world.step()
    assert world.status.evidence.release["errors"][2] > before[2], "the other pods are judged"
    assert world.status.samples
    assert world.status.samples.left_out == (unseen,)
    assert world.run().stable.version == "2"


def test_a_canary_with_a_pod_that_is_not_shown_does_not_go_on():
    world = a_world_in(Phase.PROGRESSING).steps(2)
    world.unscraped = {world.pods["rev2"][0].name}
    world.steps(40)
    assert world.status.phase is Phase.PROGRESSING
    assert world.canary.step == 0
    assert "waiting for the metrics of 1 of 4 ready pods (rev2-1)" in world.status.message
    world.unscraped.clear()
    assert world.run().stable.version == "2"


def test_objects_that_somebody_deletes_are_asked_for_again():
    world = a_world_in(Phase.PROGRESSING).steps(1)
    world.selector = None
    del world.pods["rev2"]
    decision = world.decide()
    assert decision.desired.routed == frozenset({"rev1", "rev2"})
    assert {it.target.revision for it in decision.desired.running} == {"rev1", "rev2"}


def test_a_router_that_somebody_opened_is_shut_again_while_one_version_serves():
    world = a_serving_world()
    world.selector = {"modelrelease.dev/release": "qna"}
    world.step()
    assert world.selector["modelrelease.dev/revision"] == "rev1"


def test_a_deployment_whose_newest_spec_was_not_seen_yet_is_not_ready():
    world = a_world_in(Phase.STARTING)
    world.pass_time(20)
    seen = world.observed
    stale = replace(seen.workloads["rev2"], current=False)
    seen = replace(seen, workloads={**seen.workloads, "rev2": stale})
    decision = decide(spec=world.spec, status=world.status, observed=seen, now=world.now)
    assert decision.status.phase is Phase.STARTING


@pytest.mark.parametrize(
    ("phase", "field", "remedy"),
    [
        (Phase.STABLE, "status.stable", "set status.phase to Pending"),
        (Phase.PROGRESSING, "status.canary", "set status.phase to Stable"),
    ],
)
def test_a_status_that_somebody_broke_says_how_to_mend_it(phase: Phase, field: str, remedy: str):
    world: World = a_serving_world()
    status = Status(phase=phase, stable=None if phase is Phase.STABLE else world.status.stable)
    with pytest.raises(
        Invalid, match=rf"{field} is missing in phase {phase}: {remedy} to start over"
    ):
        decide(spec=a_spec(), status=status, observed=world.observed, now=START)
