"""A gateway that does not deal out what the weight says: nothing goes on, and it is said."""

from datetime import timedelta
from typing import Any

import pytest

from modelrelease_operator.api.status import Phase, Reason
from modelrelease_operator.core.observed import Commands
from testbed.builders import a_target
from testbed.world import Behaviour, World, a_world

GATEWAY = {"gatewayAPI": {"parentRefs": [{"name": "public"}]}}
STEPS = [{"weight": 25, "bake": "1m"}, {"weight": 50, "bake": "1m"}]


def a_routed_world(*, share_ratio: float = 1.0, **changes: Any) -> World:
    """Build a world whose gateway gives the canary so much of its weight."""
    canary = {"routing": GATEWAY, **changes.pop("canary", {})}
    world = a_world(canary=canary, share_ratio=share_ratio, **changes).run()
    return world.release(a_target("2"))


def mismatched(**changes: Any) -> World:
    canary = {"steps": STEPS, **changes.pop("canary", {})}
    world = a_routed_world(share_ratio=0.5, canary=canary, **changes)
    world.run(until=Phase.PROGRESSING)
    for _ in range(100):
        world.step()
        if world.canary.share and world.canary.share.mismatch:
            return world
    raise AssertionError(world.status.message)


def test_a_canary_that_has_its_weight_is_promoted_and_its_share_is_shown():
    world = a_routed_world(canary={"steps": [{"weight": 25, "bake": "2m"}]})
    world.run(until=Phase.PROGRESSING).steps(20)
    assert world.canary.share
    assert abs(world.canary.share.percent - 25) < 2
    assert not world.canary.share.mismatch
    assert world.run().stable.version == "2"
    assert Reason.SHARE_MISMATCH not in world.reasons


def test_half_of_the_weight_holds_the_canary_and_names_both_shares():
    world = mismatched().steps(30)
    assert world.status.phase is Phase.PROGRESSING
    assert world.canary.step == 0
    assert "canary 2 answered 12." in world.status.message
    assert "at a weight of 25 %" in world.status.message
    assert world.reasons.count(Reason.SHARE_MISMATCH) == 1


def test_a_regression_is_rolled_back_although_the_share_is_wrong():
    """An imbalance must never hide what is proven."""
    world = mismatched()
    world.behaviours["rev2"] = Behaviour(error_rate=0.2)
    world.run()
    assert world.status.rejected
    assert world.status.rejected.reason is Reason.REGRESSION
    assert "canary 2 fails" in world.status.rejected.message


@pytest.mark.parametrize("policy", ["Pause", "Promote", "RollBack"])
def test_at_the_deadline_a_person_is_asked_whatever_the_release_says_of_thin_evidence(policy: str):
    analysis = {"interval": "5s", "onInsufficientEvidence": policy}
    world = mismatched(analysis=analysis, canary={"progressDeadline": "3m"})
    world.run(until=Phase.PAUSED)
    assert world.canary.question is Reason.INCONCLUSIVE
    assert "at a weight of 25 %" in world.status.message


def test_a_person_may_let_it_pass():
    world = mismatched(canary={"progressDeadline": "3m"}).run(until=Phase.PAUSED)
    world.commands = Commands(approve="rev2")
    world.step()
    assert world.canary.step == 1


def test_once_the_gateway_is_mended_the_release_goes_on_by_itself():
    world = mismatched()
    world.share_ratio = 1.0
    assert world.run().stable.version == "2"


def test_a_release_that_is_told_not_to_check_goes_on():
    world = a_routed_world(share_ratio=0.5, canary={"shareCheck": False})
    assert world.run().stable.version == "2"
    assert Reason.SHARE_MISMATCH not in world.reasons


@pytest.mark.parametrize("prometheus_up", [True, False])
def test_a_share_that_was_not_checked_for_a_while_is_counted_anew(prometheus_up: bool):
    world = mismatched(canary={"progressDeadline": "30m"})
    tries = world.status.evidence.share.tries if world.status.evidence.share else 0
    steps = [{"weight": 25, "bake": "10m"}]
    world.prometheus_up = prometheus_up
    world.ask(canary={"routing": GATEWAY, "steps": steps, "shareCheck": False}).steps(3)
    assert world.canary.share is None
    world.share_ratio, world.prometheus_up = 1.0, True
    world.ask(canary={"routing": GATEWAY, "steps": steps, "shareCheck": True}).steps(2)
    assert world.canary.share is None or not world.canary.share.mismatch
    assert world.status.evidence.share
    assert world.status.evidence.share.tries >= tries, "a false alarm is no likelier for it"


def test_pods_that_prometheus_does_not_show_are_no_mismatch():
    world = a_routed_world(canary={"steps": [{"weight": 50, "bake": "10m"}]})
    world.run(until=Phase.PROGRESSING)
    while world.canary.share is None:
        world.step()
    world.unscraped = {pod.name for pod in world.pods["rev1"][:2]}
    world.steps(60)
    assert Reason.SHARE_MISMATCH not in world.reasons
    assert world.status.samples
    assert world.status.samples.left_out


def test_the_share_counts_once_the_data_plane_has_followed_the_weight():
    world = a_routed_world(share_ratio=0.1)
    world.run(until=Phase.PROGRESSING)
    while world.canary.step_since is None:
        world.step()
    began = world.canary.step_since
    while world.now - began < timedelta(seconds=10):
        assert world.canary.share is None
        world.step()


def test_an_outage_of_prometheus_keeps_what_was_proven():
    world = mismatched()
    world.prometheus_up = False
    world.steps(3)
    assert world.canary.share
    assert world.canary.share.mismatch
    world.prometheus_up = True
    world.steps(3)
    assert world.reasons.count(Reason.SHARE_MISMATCH) == 1


def test_nothing_is_promoted_before_a_share_that_is_far_off_could_be_proven():
    """The world tells no time of its samples, so only the data plane's delay is waited for."""
    canary = {"steps": [{"weight": 25, "bake": "0s"}]}
    analysis = {"interval": "1s", "gates": [{"name": "errors", "errorRate": {}}]}
    world = a_routed_world(canary=canary, analysis=analysis, rps=50_000.0)
    world.run(until=Phase.PROGRESSING)
    messages = set()
    while world.status.phase is Phase.PROGRESSING:
        messages.add(world.status.message.partition(" for another")[0])
        seconds = world.canary.step_seconds
        world.step()
    assert "every gate passes; the canary's share of the requests is counted" in messages
    assert seconds >= 9, "and the pass that promotes counts one more"


def test_a_look_that_sees_nothing_of_the_canary_says_that_and_forgets_no_mismatch():
    world = mismatched()
    world.unscraped = {pod.name for pod in world.pods["rev2"]}
    world.steps(3)
    assert "waiting for the metrics of" in world.status.message
    assert world.canary.share
    assert world.canary.share.mismatch
