"""How many pods serve, whatever an autoscaler asks for: never too few for what they are sent."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Phase, Reason
from modelrelease_operator.core.desired import Decision
from modelrelease_operator.core.steps import bake_of, last_alike, next_weight
from modelrelease_operator.traffic.registry import split_of
from modelrelease_operator.traffic.replicas import share
from testbed.builders import a_spec, a_target
from testbed.world import World, a_serving_world
from tests.support.examples import examples

GATEWAY = {"gatewayAPI": {"parentRefs": [{"name": "public"}]}}
WEIGHTS = st.lists(st.integers(1, 99), min_size=1, max_size=8, unique=True).map(sorted)
SIZES = st.one_of(st.integers(1, 12), st.integers(1, 1000))
BAKES = st.integers(0, 9)


@st.composite
def specs(draw: st.DrawFn, routing: dict[str, Any] | None = None) -> ReleaseSpec:
    steps = [{"weight": weight, "bake": f"{draw(BAKES)}s"} for weight in draw(WEIGHTS)]
    canary = {"steps": steps, **({"routing": routing} if routing else {})}
    return a_spec(canary=canary, serving={"replicas": draw(SIZES)})


def taken(spec: ReleaseSpec) -> list[int]:
    """Return the steps that a canary takes."""
    index, path = last_alike(spec, 0), []
    while index < len(spec.canary.plan):
        path.append(index)
        index = last_alike(spec, index + 1) if index + 1 < len(spec.canary.plan) else index + 1
    return path


@given(spec=specs())
def test_by_pods_the_share_goes_up_with_each_step_that_is_taken(spec: ReleaseSpec):
    splits = [split_of(spec, spec.canary.plan[index].weight) for index in taken(spec)]
    assert all(low.weight < high.weight for low, high in pairwise(splits))
    assert all(low.canary < high.canary for low, high in pairwise(splits))
    assert splits[-1].weight <= 50


@given(spec=specs())
def test_by_pods_a_share_is_over_its_weight_by_no_more_than_rounding(spec: ReleaseSpec):
    """One pod fewer would miss the weight by as much or more, and none is no canary."""
    replicas = spec.serving.replicas
    for step in spec.canary.plan:
        split = split_of(spec, step.weight)
        assert split.stable + split.canary >= replicas
        if split.weight > step.weight and split.canary > 1:
            below = step.weight - share(split.canary - 1, replicas)
            assert split.weight - step.weight < below
        if split.weight > step.weight and split.canary == 1:
            assert split.weight == share(1, replicas)


@given(spec=specs())
def test_steps_with_the_same_pods_are_waited_for_once_and_as_long_as_the_longest(
    spec: ReleaseSpec,
):
    path, plan = taken(spec), spec.canary.plan
    for index, step in enumerate(plan):
        last = last_alike(spec, index)
        assert last in path
        assert split_of(spec, plan[last].weight) == split_of(spec, step.weight)
        assert bake_of(spec, last) >= step.bake.span
    for index, following in pairwise(path):
        assert next_weight(spec, index) >= split_of(spec, plan[following].weight).weight
    assert next_weight(spec, path[-1]) == 100


@given(spec=specs(GATEWAY))
def test_by_a_gateway_weights_are_exact_and_the_pods_can_carry_them(spec: ReleaseSpec):
    for step in spec.canary.plan:
        split = split_of(spec, step.weight)
        assert split.weight == step.weight
        assert split.canary * 100 >= step.weight * spec.serving.replicas
        assert split.stable == spec.serving.replicas
    assert taken(spec) == list(range(len(spec.canary.plan)))


@dataclass
class Scaled:
    """Passes over a world in which an autoscaler changes the number of pods."""

    world: World
    changes: dict[int, int]
    """By pass: the number of pods that is asked for from then on."""
    asked: list[tuple[float, int]] = field(default_factory=list)
    passes: int = 0

    def until_promoted(self) -> World:
        for _ in range(600):
            if count := self.changes.get(self.passes):
                self.world.ask(serving={"replicas": count})
            before = {name: self.world.ready(name) for name in self.world.pods}
            decision = self.world.step()
            self._check(decision, before)
            self.passes += 1
            done = self.world.stable.version == "2" and self.world.status.phase is Phase.STABLE
            if done and self.passes > max(self.changes, default=0):
                return self.world
        raise AssertionError(self.world.status.message)

    def _check(self, decision: Decision, ready_before: dict[str, int]) -> None:
        world, desired = self.world, decision.desired
        replicas = world.spec.serving.replicas
        now = world.now.timestamp()
        self.asked.append((now, replicas))
        size = {running.target.revision: running.replicas for running in desired.running}
        assert desired.stable is not None
        assert size[desired.stable] == replicas, "stable has what is asked for"
        if Reason.PROMOTED in [notice.reason for notice in decision.notices]:
            assert ready_before[desired.stable] >= replicas, "full size before traffic moves"
        opened = desired.canary in desired.routed and len(desired.routed) == 2
        if opened and desired.canary and decision.status.canary:
            asked = decision.status.canary.requested_weight
            assert size[desired.canary] >= split_of(world.spec, asked).canary
            self._check_weight(decision, ready_before)
        settled = [count for at, count in self.asked if at >= now - world.start_seconds - 30]
        ready = sum(world.ready(revision) for revision in desired.routed)
        assert ready >= min(settled), "as many pods answer as were asked for"
        assert world.unanswered == 0

    def _check_weight(self, decision: Decision, ready: dict[str, int]) -> None:
        """By a gateway, no pod of the canary is sent more than stable's own are when alone."""
        canary, stable = decision.desired.canary, decision.desired.stable
        assert canary
        assert stable
        assert decision.status.canary
        weight, pods = decision.desired.weight, ready.get(canary, 0)
        if decision.status.canary.step_since is None:
            strength = min(self.world.spec.serving.replicas, ready[stable])
            assert weight * strength <= 100 * pods
        assert pods or not weight, "nobody is sent to pods that are not ready"


@st.composite
def scaled_worlds(draw: st.DrawFn, routing: dict[str, Any] | None) -> Scaled:
    steps = [{"weight": weight, "bake": "5s"} for weight in draw(WEIGHTS)[:4]]
    canary: dict[str, Any] = {"steps": steps, "startDeadline": "20m", "progressDeadline": "9d"}
    if routing:
        canary["routing"] = routing
    world = a_serving_world(
        canary=canary,
        serving={"replicas": draw(st.integers(1, 8))},
        start_seconds=draw(st.sampled_from([0.0, 2.0, 15.0, 60.0])),
        seed=draw(st.integers(0, 9)),
        rps=3_000.0,
    )
    changes = draw(st.dictionaries(st.integers(1, 60), st.integers(1, 10), max_size=8))
    return Scaled(world.release(a_target("2")), changes)


@pytest.mark.parametrize("routing", [None, GATEWAY], ids=["by pods", "by a gateway"])
@examples(60)
@given(data=st.data())
def test_whatever_an_autoscaler_asks_for_there_are_never_too_few(
    data: st.DataObject, routing: dict[str, Any] | None
):
    scaled = data.draw(scaled_worlds(routing))
    end = scaled.until_promoted()
    assert Reason.REGRESSION not in end.reasons
    assert end.status.rejected is None
