"""A spec that was refused in the middle:
the canary is judged by the last good one, and goes nowhere.
"""

from dataclasses import replace

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Phase, Reason, Status
from modelrelease_operator.core.observed import Commands, Problem
from modelrelease_operator.core.release.decide import decide
from modelrelease_operator.core.scope import judged_pair
from modelrelease_operator.errors import Invalid
from modelrelease_operator.runtime.followed_spec import followed_spec
from testbed.world import Behaviour, World, a_serving_world, a_world_in

REFUSAL = Invalid("spec.analysis.interval: duration '0s' must be at least 1s")


def followed(world: World) -> ReleaseSpec:
    """Return the spec that is followed while the one that a person wrote last cannot be read."""
    refused = {"model": {"uri": world.canary.uri}, "analysis": {"interval": "0s"}}
    found = followed_spec({"spec": refused}, world.status, None)
    assert str(found.problem) == str(REFUSAL)
    assert found.spec is not None
    return found.spec


def under_refusal(world: World, passes: int) -> World:
    """Make passes as the runtime does while the spec that a person wrote last cannot be read."""
    problem = Problem(reason=Reason.SPEC_INVALID, message=str(REFUSAL))
    for _ in range(passes):
        seen = replace(world.observed, target=world.canary.target, problem=problem)
        decision = decide(spec=followed(world), status=world.status, observed=seen, now=world.now)
        world._apply(decision.desired)
        world.status = Status.parse(decision.status.to_dict())
        world.pass_time(5)
        if not world.status.canary:
            break
    return world


def test_a_canary_goes_on_being_judged_and_is_rolled_back_when_it_fails():
    world = a_world_in(Phase.PROGRESSING, canary={"steps": [{"weight": 25, "bake": "1h"}]}).steps(3)
    world.behaviours["rev2"] = Behaviour(error_rate=0.5)
    under_refusal(world, 60)
    assert world.status.rejected is not None
    assert world.status.rejected.reason is Reason.REGRESSION
    assert world.routed == frozenset({"rev1"})


def test_a_healthy_canary_waits_and_says_why():
    world = under_refusal(a_world_in(Phase.PROGRESSING).steps(3), 60)
    assert (world.status.phase, world.stable.version) == (Phase.PROGRESSING, "1")
    assert world.status.message == f"holding: {REFUSAL}"


def test_an_abort_is_heard():
    world = a_world_in(Phase.PROGRESSING).steps(3)
    world.commands = Commands(abort="rev2")
    under_refusal(world, 5)
    assert world.status.rejected is not None
    assert world.status.rejected.reason is Reason.ABORTED


def test_what_judges_is_the_last_good_spec_s_and_survives_its_trip():
    gates = [{"name": "errors", "errorRate": {"maxPercent": 7}}]
    world = a_world_in(
        Phase.PROGRESSING, analysis={"interval": "5s", "gates": gates}, serving={"replicas": 4}
    )
    spec = followed(world)
    assert (spec.analysis, spec.canary, spec.serving.replicas) == (
        world.spec.analysis,
        world.spec.canary,
        4,
    )


def test_nothing_is_remembered_where_nothing_is_judged():
    world = a_serving_world()
    assert world.status.judged_by is None
    assert followed_spec({"spec": {"model": {"uri": 7}}}, world.status, None).spec is None


def test_measured_is_the_canary_beside_stable_and_then_the_new_version_beside_the_old():
    world = a_world_in(Phase.PROMOTING)
    pair = judged_pair(world.status)
    assert pair is not None
    assert (pair[0].revision, pair[1].revision) == ("rev2", "rev1")
    world.run(until=Phase.STABLE)
    pair = judged_pair(world.status)
    assert pair is not None
    assert (pair[0].revision, pair[1].revision) == ("rev2", "rev1")
    world.run()
    assert judged_pair(world.status) is None
