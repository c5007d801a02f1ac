"""A version that gets worse after its promotion by what one gate alone sees: the whole way back.

It is promoted, its predecessor is kept warm, and only then it changes. Errors and latency stay as
they were. Everything goes through `decide`, pass by pass, with random counts: so each is told for
several seeds.
"""

from dataclasses import dataclass
from typing import Any

import pytest

from modelrelease_operator.api.status import Phase, Reason, Verdict
from testbed.builders import a_target
from testbed.world import Behaviour, World, a_serving_world

SEEDS = range(5)
REFUNDS = {"bad": "refunds{revision='{{revision}}'}", "total": "orders{revision='{{revision}}'}"}
EVEN = (0.25, 0.25, 0.25, 0.25)
LEANS = (0.7, 0.1, 0.1, 0.1)


@dataclass(frozen=True)
class Story:
    """A gate, how both versions behave until the promotion, and how the new one does after it."""

    gate: dict[str, Any]
    before: Behaviour
    worse: Behaviour
    suspicion: str
    """What the reopening says."""
    reason: str
    """What the rollback says: in the words of the gate and of no other."""


STORIES = {
    "counts": Story(
        gate={"name": "refunds", "counts": REFUNDS},
        before=Behaviour(gone_bad=0.01),
        worse=Behaviour(gone_bad=0.2),
        suspicion="it is bad by gate refunds for ",
        reason="canary 2 is bad by gate refunds for ",
    ),
    "predictions": Story(
        gate={"name": "shift", "predictions": {}},
        before=Behaviour(bins=EVEN),
        worse=Behaviour(bins=LEANS),
        suspicion="it predicts ",
        reason="canary 2 predicts in bin ",
    ),
}
each_story = pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
each_seed = pytest.mark.parametrize("seed", SEEDS)


def promoted(story: Story, seed: int) -> World:
    """Release version 2, which behaves as version 1 does, until it serves alone and 1 is warm."""
    analysis = {"interval": "5s", "gates": [{"name": "errors", "errorRate": {}}, story.gate]}
    world = a_serving_world(analysis=analysis, canary={"keepPrevious": "2m"}, seed=seed)
    world.behaviours = {"rev1": story.before, "rev2": story.before}
    world.release(a_target("2")).run(until=Phase.PROMOTING).run(until=Phase.STABLE).steps(2)
    assert (world.stable.version, world.routed) == ("2", frozenset({"rev2"}))
    assert world.status.previous
    assert world.status.previous.version == "1"
    return world


@each_story
@each_seed
def test_a_version_that_gets_worse_by_one_gate_alone_is_compared_again_and_taken_back(
    story: Story, seed: int
):
    world = promoted(story, seed)
    began = world.now
    world.behaviours["rev2"] = story.worse

    world.run(until=Phase.PROGRESSING)
    assert world.routed == frozenset({"rev1", "rev2"}), "both serve again, side by side"
    assert (world.stable.version, world.canary.version) == ("1", "2")
    assert story.suspicion in world.status.history[0].message

    world.run(until=Phase.ROLLING_BACK)
    [errors, gate] = world.status.gates
    assert (gate.name, gate.verdict) == (story.gate["name"], Verdict.FAIL)
    assert errors.verdict is not Verdict.FAIL, "no other gate saw anything"

    world.run()
    assert (world.now - began).total_seconds() < 300
    assert (world.stable.version, world.routed, set(world.pods)) == (
        "1",
        frozenset({"rev1"}),
        {"rev1"},
    )
    assert world.unanswered == 0
    rejected = world.status.rejected
    assert rejected is not None
    assert (rejected.revision, rejected.reason) == ("rev2", Reason.REGRESSION)
    assert story.reason in rejected.message
    outcomes = [entry.outcome for entry in world.status.history[:3]]
    assert outcomes == [Reason.REGRESSION, Reason.REOPENED, Reason.PROMOTED]


@each_story
@each_seed
def test_its_healthy_twin_is_left_alone_until_its_predecessor_goes(story: Story, seed: int):
    world = promoted(story, seed).run()
    assert (world.stable.version, set(world.pods)) == ("2", {"rev2"})
    assert world.status.rejected is None
    assert Reason.REOPENED not in world.reasons
    assert world.reasons.count(Reason.PROMOTED) == 1


@each_story
@each_seed
def test_what_both_would_share_reopens_the_comparison_and_takes_nothing_back(
    story: Story, seed: int
):
    world = promoted(story, seed)
    world.behaviours = {"rev1": story.worse, "rev2": story.worse}
    world.run(until=Phase.PROGRESSING).run()
    assert (world.stable.version, world.status.rejected) == ("2", None)
    assert Reason.REGRESSION not in world.reasons
