"""The way of a version that is well: from the first pod to the only one."""

import pytest

from modelrelease_operator.api.status import Phase, Reason, Status
from testbed.builders import a_spec, a_target, seconds
from testbed.world import Behaviour, a_serving_world, a_world, a_world_in

STABLE_ONLY, BOTH = frozenset({"rev1"}), frozenset({"rev1", "rev2"})


def test_the_first_version_has_nothing_to_be_compared_with_and_serves_when_its_pods_are_ready():
    world = a_world().run()
    assert world.status.phase is Phase.STABLE
    assert world.stable.version == "1"
    assert world.reasons == [Reason.FIRST_VERSION_SERVES]


def test_the_first_version_is_not_said_to_serve_before_every_pod_is_ready():
    world = a_world(start_seconds=60)
    world.steps(3)
    assert world.status.phase is Phase.PENDING
    assert world.status.message == "version 1 starts: 0 of 3 pods ready"


def test_the_first_version_says_what_keeps_its_pods_from_starting():
    world = a_world(behaviours={"rev1": Behaviour(refuses="digest differs")}).steps(2)
    assert world.status.phase is Phase.PENDING
    assert world.status.message.endswith("; digest differs")


def test_before_anything_serves_the_spec_may_change_freely():
    world = a_world().steps(1).release(a_target("2")).run()
    assert world.stable.version == "2"
    assert list(world.pods) == ["rev2"]


def test_a_new_version_starts_beside_stable_and_unseen_by_clients():
    world = a_serving_world().release(a_target("2"))
    decision = world.decide()
    assert decision.status.phase is Phase.STARTING
    assert [(it.target.revision, it.replicas, it.track) for it in decision.desired.running] == [
        ("rev1", 3, "stable"),
        ("rev2", 1, "canary"),
    ]
    assert decision.desired.routed == STABLE_ONLY
    assert decision.desired.canary == "rev2", "the canary's own Service reaches it in the dark"
    assert decision.status.weight == 0


def test_the_router_stays_on_stable_until_the_canary_is_ready():
    world = a_serving_world(start_seconds=30).release(a_target("2"))
    while not world.ready("rev2"):
        assert world.step().desired.routed == STABLE_ONLY
    assert world.step().desired.routed == BOTH


def test_one_ready_pod_of_two_does_not_open_the_router():
    world = a_serving_world(canary={"steps": [{"weight": 40}]}).release(a_target("2")).steps(1)
    world.pods["rev2"][0].ready_at = world.now
    world.pods["rev2"][1].ready_at = world.now + seconds(50)
    world.pass_time(1)
    assert world.ready("rev2") == 1
    assert world.decide().desired.routed == STABLE_ONLY


def test_pods_of_a_third_revision_keep_the_router_shut_and_are_named():
    world = a_serving_world(strangers={"revX": 1}).release(a_target("2")).steps(6)
    assert world.ready("rev2") == 1
    assert world.status.phase is Phase.STARTING
    assert world.routed == STABLE_ONLY
    assert world.status.message == "canary 2 is ready; pods of revision revX must go first"
    world.strangers.clear()
    assert world.step().desired.routed == BOTH


def test_a_router_that_points_elsewhere_is_first_pinned_to_stable():
    world = a_world_in(Phase.STARTING)
    world.pass_time(10)
    world.selector = {"modelrelease.dev/release": "qna", "modelrelease.dev/revision": "rev2"}
    assert world.step().desired.routed == STABLE_ONLY
    assert world.step().desired.routed == BOTH


def test_a_weight_counts_from_when_it_is_seen_in_effect():
    world = a_world_in(Phase.PROGRESSING)
    assert world.canary.step_since is None
    world.selector = {"modelrelease.dev/release": "qna", "modelrelease.dev/revision": "rev1"}
    waiting = world.decide()
    assert waiting.status.canary
    assert waiting.status.canary.step_since is None
    assert "waiting until the weight is seen in effect" in waiting.status.message
    assert waiting.desired.routed == BOTH
    world.step()
    world.step()
    assert world.canary.step_since is not None
    assert world.canary.step_since > world.canary.asked_since


def test_the_canary_takes_its_steps_with_the_pods_that_each_needs():
    world = a_world_in(Phase.STARTING)
    seen = []
    while world.status.phase is not Phase.STABLE:
        world.step()
        if world.status.weight and (world.status.weight, len(world.pods["rev2"])) not in seen:
            seen.append((world.status.weight, len(world.pods["rev2"])))
    assert seen == [(25, 1), (50, 3)]


def test_a_step_lasts_at_least_its_bake_however_good_the_evidence():
    world = a_world_in(
        Phase.PROGRESSING, rps=20_000, canary={"steps": [{"weight": 25, "bake": "10m"}]}
    )
    world.steps(10)
    assert world.status.message.startswith("every gate passes; the step bakes for another 9m")
    since = world.canary.step_since
    assert since
    world.run(until=Phase.PROMOTING)
    assert world.now - since >= seconds(600)


def test_a_bake_longer_than_the_deadline_is_not_inconclusive_while_every_gate_passes():
    plan = {"steps": [{"weight": 25, "bake": "10m"}], "progressDeadline": "1m"}
    world = a_world_in(Phase.PROGRESSING, rps=20_000, canary=plan).run(until=Phase.STABLE)
    assert world.stable.version == "2"
    assert Reason.INCONCLUSIVE not in world.reasons


def test_promotion_moves_a_pointer_and_restarts_no_pod():
    world = a_world_in(Phase.PROMOTING)
    world.pass_time(30)
    before = {name: [pod.name for pod in pods] for name, pods in world.pods.items()}
    decision = world.step()
    assert decision.status.phase is Phase.STABLE
    assert decision.desired.routed == frozenset({"rev2"})
    assert decision.desired.stable == "rev2"
    assert {it.target.revision: it.replicas for it in decision.desired.running} == {
        "rev1": 3,
        "rev2": 3,
    }
    assert {name: [pod.name for pod in pods] for name, pods in world.pods.items()} == before
    assert world.started == {"rev1": 3, "rev2": 3}


def test_the_canary_becomes_stable_only_at_full_strength():
    world = a_world_in(Phase.PROMOTING, canary={"steps": [{"weight": 25}]}, start_seconds=20)
    assert world.ready("rev2") == 1
    decision = world.step()
    assert decision.status.phase is Phase.PROMOTING
    assert decision.desired.routed == BOTH
    assert decision.status.message == "canary 2 passed; it grows to 3 pods before it becomes stable"


def test_the_previous_version_is_kept_warm_and_then_removed():
    world = a_world_in(Phase.PROMOTING).run(until=Phase.STABLE)
    promoted = world.now
    while world.status.previous:
        assert world.ready("rev1") == 3
        world.step()
    assert world.now - promoted >= seconds(29)
    assert list(world.pods) == ["rev2"]
    assert world.run().status.message == "version 2 serves"


def test_the_way_back_to_a_warm_version_is_one_pass():
    world = a_world_in(Phase.PROMOTING).run(until=Phase.STABLE).release(a_target("1"))
    decision = world.step()
    assert decision.desired.routed == STABLE_ONLY
    assert decision.status.phase is Phase.STABLE
    assert world.reasons[-1] is Reason.SPEC_REVERTED
    assert world.status.previous is not None
    assert world.status.previous.version == "2", "and the way forth again is as short"
    assert world.run().unanswered == 0


def test_a_previous_version_with_no_ready_pod_is_a_canary_like_any_other():
    world = a_world_in(Phase.PROMOTING).run(until=Phase.STABLE).release(a_target("1"))
    world.lose_pods("rev1")
    assert world.decide().status.phase is Phase.STARTING


def test_a_new_canary_does_not_share_the_router_with_the_version_that_was_kept_warm():
    world = a_world_in(Phase.PROMOTING).run(until=Phase.STABLE).release(a_target("3"))
    world.step()
    assert set(world.pods) == {"rev2", "rev3"}
    world.release(a_target("2")).steps(4)
    assert set(world.pods) == {"rev2"}, "and it does not come back when the canary goes"


def test_with_keep_previous_zero_the_old_pods_stay_until_the_router_moved():
    world = a_world_in(Phase.PROMOTING, canary={"keepPrevious": "0s"})
    world.pass_time(30)
    decision = world.step()
    assert {it.target.revision for it in decision.desired.running} == BOTH
    world.run()
    assert world.unanswered == 0


@pytest.mark.parametrize("replicas", [1, 2, 3, 10])
def test_stable_keeps_every_replica_all_the_way(replicas: int):
    world = a_serving_world(serving={"replicas": replicas}).release(a_target("2"))
    while world.step().status.phase is not Phase.STABLE:
        assert len(world.pods["rev1"]) == replicas
    assert world.stable.version == "2"
    assert len(world.pods["rev2"]) == replicas
    assert world.unanswered == 0


def test_a_weight_that_the_pods_cannot_express_says_so():
    world = a_world_in(Phase.PROGRESSING, canary={"weight": 5, "steps": None})
    assert (
        world.canary.note == "5 % cannot be had with 3 stable replicas: 1 canary replicas give 25 %"
    )


def test_the_counted_share_is_shown_beside_the_one_asked_for():
    world = a_world_in(Phase.PROGRESSING, canary={"steps": [{"weight": 25, "bake": "10m"}]}).steps(
        3
    )
    assert world.canary.requested_weight == 25
    assert world.canary.effective_weight == pytest.approx(25, abs=2)


def test_a_restored_release_leaves_what_serves_alone_until_its_version_can_take_over():
    world = a_serving_world()
    world.status = Status()
    world.recorded_targets.clear()  # its Deployments name another uid
    world.release(a_target("2")).steps(1)
    decision = world.decide()
    assert decision.desired.routed == STABLE_ONLY
    assert decision.desired.retained == STABLE_ONLY
    world.run()
    assert (world.stable.version, world.unanswered) == ("2", 0)
    assert list(world.pods) == ["rev2"]


def test_a_restored_release_touches_nothing_while_the_store_is_away():
    world = a_serving_world()
    world.status = Status()
    world.recorded_targets.clear()
    world.target = None
    decision = world.decide()
    assert decision.desired.running == ()
    assert decision.desired.retained == STABLE_ONLY


def test_a_canary_whose_step_was_taken_away_goes_on_from_the_last_that_is_left():
    """Its weight may be the same there, so that no step begins anew."""
    first, last = {"weight": 33, "bake": "10s"}, {"weight": 50, "bake": "1m"}
    world = a_serving_world(serving={"replicas": 2}, canary={"steps": [first, last]})
    world.release(a_target("2")).run(until=Phase.PROGRESSING)
    while world.canary.step == 0:
        world.step()
    world.spec = a_spec(serving={"replicas": 2}, canary={"steps": [last]})
    world.step()
    assert (world.canary.step, world.canary.steps) == (0, 1)
    assert world.run().stable.version == "2"
