"""Releases whose looks read the pods themselves: every look has samples of its own."""

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from modelrelease_operator.api.prometheus import Source
from modelrelease_operator.api.status import Phase, Verdict
from modelrelease_operator.core.observed import Counter, MetricsUnavailable, Observed
from testbed.builders import a_spec, a_target
from testbed.world import Behaviour, World

FIRST = 100
"""Requests of the canary, from which on it is to be taken back soon."""
SOON = timedelta(seconds=10)


@dataclass
class PodsWorld(World):
    """A world whose pods are read at every look, until a Prometheus is named."""

    source: Source = Source.PODS
    ahead: timedelta = timedelta(0)
    """Of the clock by which pods are read; that of Prometheus is right."""
    silent: frozenset[str] = frozenset()
    """Revisions of which no ready pod answers, and one that is not ready does."""

    @property
    def observed(self) -> Observed:
        anew = self.source is Source.PODS
        return replace(super().observed, source=self.source, reads_anew=anew)

    def _metrics(self) -> tuple[Counter, ...] | MetricsUnavailable:
        shown = super()._metrics()
        if isinstance(shown, MetricsUnavailable):
            return shown
        at = self.now.timestamp()
        if self.source is Source.PODS:
            at += self.ahead.total_seconds()
        read = [replace(each, at=at) for each in shown if each.revision not in self.silent]
        others = [
            Counter(revision=each, pod=f"{each}-unready", code="200", value=at // 1, at=at)
            for each in self.silent
        ]
        return (*read, *others)


def a_world(seed: int = 1, *, interval: str = "10s", rps: float = 100.0) -> PodsWorld:
    spec = a_spec(analysis={"interval": interval}, serving={"replicas": 3})
    world = PodsWorld(spec=spec, target=a_target("1"), seed=seed, rps=rps)
    world.run()
    world.behaviours["rev1"] = Behaviour(error_rate=0.001)
    world.behaviours["rev2"] = Behaviour(error_rate=0.001)
    world.release(a_target("2"))
    return world


def waits(world: PodsWorld, phase: Phase) -> list[timedelta]:
    """Return the times between passes until a phase is reached."""
    found = []
    while world.status.phase is not phase:
        began = world.now
        world.step()
        found.append(world.now - began)
    return found


def time_after_the_first_hundred(seed: int, failing: float) -> timedelta:
    """Return how long a canary that fails keeps users after its first hundred requests."""
    world = a_world(seed)
    world.behaviours["rev2"] = Behaviour(error_rate=failing)
    met = None
    while world.status.phase is not Phase.ROLLING_BACK:
        assert world.status.phase is not Phase.PROMOTING
        world.step()
        if met is None and world.served.get("rev2", 0) >= FIRST:
            met = world.now
    return world.now - (met or world.now)


@pytest.mark.parametrize("failing", [0.5, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_failing_canary_is_taken_back_within_ten_seconds_of_its_first_hundred_requests(
    failing: float, seed: int
):
    assert time_after_the_first_hundred(seed, failing) <= SOON


def test_of_canaries_that_fail_one_request_in_ten_nine_in_ten_are_taken_back_as_soon():
    times = sorted(time_after_the_first_hundred(seed, 0.1) for seed in range(10))
    assert times[-2] <= SOON


def test_a_good_canary_is_promoted_and_status_says_who_was_asked():
    world = a_world()
    world.run(until=Phase.PROMOTING)
    assert world.status.samples
    assert world.status.samples.source is Source.PODS


@pytest.mark.parametrize("seed", range(3))
def test_a_canary_that_begins_to_fail_later_is_looked_at_every_five_seconds(seed: int):
    world = a_world(seed, interval="1m")
    world.ask(canary={"steps": [{"weight": 50, "bake": "30m"}], "progressDeadline": "1h"})
    world.run(until=Phase.PROGRESSING)
    world.steps(200)
    world.behaviours["rev2"] = Behaviour(error_rate=0.5)
    began = world.now
    assert max(waits(world, Phase.ROLLING_BACK)) <= timedelta(seconds=5)
    assert world.now - began <= 2 * SOON


def test_pods_that_do_not_answer_are_not_asked_every_two_seconds():
    world = a_world()
    world.run(until=Phase.PROGRESSING)
    world.prometheus_up = False
    world.steps(3)
    assert world.status.verdict is Verdict.UNAVAILABLE
    began = world.now
    world.step()
    assert world.now - began >= timedelta(seconds=4)


def test_a_pod_that_dies_is_waited_for_no_longer_than_two_and_a_half_looks():
    world = a_world()
    world.run(until=Phase.PROGRESSING)
    world.steps(5)
    world.lose_pods("rev1")
    world.run(until=Phase.PROMOTING)


@pytest.mark.parametrize("arm", ["rev1", "rev2"])
def test_a_pod_that_is_not_ready_does_not_answer_for_those_that_are(arm: str):
    world = a_world()
    world.ask(analysis={"interval": "10s", "maxBlind": "1m"})
    world.run(until=Phase.PROGRESSING)
    world.steps(5)
    world.silent = frozenset([arm])
    world.step()
    assert world.status.samples
    judged = {"rev2": world.status.samples.canary_pods, "rev1": world.status.samples.stable_pods}
    assert judged[arm] == 0
    assert world.status.samples.left_out
    assert "waiting for the metrics of" in world.status.message
    began = world.now
    while world.status.canary and not world.status.canary.unseen:
        assert world.status.phase is Phase.PROGRESSING
        world.step()
        assert world.now - began <= timedelta(minutes=3), "nobody sees the canary"


@pytest.mark.parametrize("ahead", [0, 3, 1000], ids=lambda hours: f"{hours} h ahead")
@pytest.mark.parametrize("first", list(Source))
def test_another_source_in_the_middle_of_a_step_has_counting_begin_anew(first: Source, ahead: int):
    """Both tell times of their own, and the first one's may be of a clock that was ahead."""
    world = a_world()
    world.source = first
    world.ask(canary={"steps": [{"weight": 50, "bake": "15m"}], "progressDeadline": "1h"})
    world.run(until=Phase.PROGRESSING)
    world.steps(8)
    counted = sum(world.status.evidence.release["errors"])
    assert world.status.evidence.started
    world.source = next(each for each in Source if each is not first)
    world.ahead = timedelta(hours=ahead if first is Source.PODS else -ahead)
    world.step()
    assert not world.status.evidence.started
    assert "so counting begins anew at this weight" in world.status.message
    assert sum(world.status.evidence.release["errors"]) == counted, "what was counted stays"
    world.step()
    assert "counting begins anew" not in world.status.message, "it is said once"
    world.steps(20)
    assert world.status.evidence.started
    assert world.status.canary
    assert not world.status.canary.unseen
    assert sum(world.status.evidence.release["errors"]) > counted


def test_a_canary_that_fails_after_another_source_is_named_is_taken_back():
    world = a_world()
    world.ahead = timedelta(hours=3)
    world.ask(canary={"steps": [{"weight": 50, "bake": "15m"}], "progressDeadline": "1h"})
    world.run(until=Phase.PROGRESSING)
    world.steps(8)
    world.source = Source.PROMETHEUS
    world.behaviours["rev2"] = Behaviour(error_rate=0.5)
    began = world.now
    world.run(until=Phase.ROLLING_BACK)
    assert world.now - began <= timedelta(minutes=1)


def test_times_of_a_clock_that_was_days_ahead_are_forgotten():
    world = a_world()
    world.ahead = timedelta(days=2)
    world.ask(canary={"steps": [{"weight": 50, "bake": "15m"}], "progressDeadline": "1h"})
    world.run(until=Phase.PROGRESSING)
    world.steps(8)
    world.ahead = timedelta(0)
    counted = sum(world.status.evidence.release["errors"])
    world.steps(8)
    assert sum(world.status.evidence.release["errors"]) > counted
