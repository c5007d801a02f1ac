"""However a release ends, `why` says in words what happened, why, and what to do next."""

from collections.abc import Callable
from typing import Any

import pytest

from modelrelease_operator.api.status import Phase, Reason
from modelrelease_operator.cli.why import _as_text
from modelrelease_operator.core.explain import explain
from modelrelease_operator.core.observed import Commands
from testbed.builders import a_problem, a_target
from testbed.world import Behaviour, World, a_serving_world, a_world, a_world_in


def taken_back(**behaviour: Any) -> World:
    world = a_serving_world(behaviours={"rev2": Behaviour(**behaviour)}).release(a_target("2"))
    return world.run(until=Phase.ROLLING_BACK).run()


def commanded(commands: Commands) -> World:
    world = a_world_in(Phase.PROGRESSING).steps(2)
    world.commands = commands
    return world.run(until=Phase.STABLE).run()


def undecided(at_deadline: str) -> World:
    world = a_serving_world(rps=40.0)
    world.behaviours |= {"rev1": Behaviour(error_rate=0.01), "rev2": Behaviour(error_rate=0.014)}
    canary = {"weight": 50, "progressDeadline": "3m"}
    world.ask(canary=canary, analysis={"onInsufficientEvidence": at_deadline})
    return world.release(a_target("2"))


def promoted() -> World:
    return a_serving_world().release(a_target("2")).run(until=Phase.PROMOTING).run()


def unseen() -> World:
    world = a_world_in(Phase.PROGRESSING)
    world.prometheus_up = False
    return world.run(until=Phase.PAUSED)


def unmeasured() -> World:
    world = a_world_in(Phase.PROGRESSING).steps(2)
    world.prometheus_up = False
    return world.steps(3)


def quota() -> World:
    full = Behaviour(blocked="quota pods: 10 of 10 are used")
    world = a_serving_world(behaviours={"rev2": full}).release(a_target("2"))
    return world.run(until=Phase.STARTING).steps(20)


def unasked() -> World:
    return a_serving_world(rps=0).release(a_target("2")).run(until=Phase.PAUSED)


def reverted() -> World:
    return a_world_in(Phase.PROGRESSING).steps(2).release(a_target("1")).run()


def back_again() -> World:
    world = a_serving_world().release(a_target("2")).run(until=Phase.PROMOTING)
    return world.run(until=Phase.STABLE).release(a_target("1")).run()


def approval_asked() -> World:
    world = a_serving_world(canary={"approval": "Manual"}).release(a_target("2"))
    return world.run(until=Phase.PAUSED)


def without_a_model() -> World:
    world = a_serving_world(problem=a_problem())
    world.target = None
    return world.steps(2)


def with_a_bad_spec() -> World:
    slip = a_problem(reason=Reason.SPEC_INVALID, message="spec.canary.steps[1].weight: 5 is less")
    world = a_serving_world(problem=slip)
    world.target = None
    return world.steps(2)


def without_pods() -> World:
    world = a_serving_world()
    world.behaviours["rev1"] = Behaviour(starts=False)
    world.lose_pods("rev1")
    return world.steps(2)


def first_refused() -> World:
    wrong = "manifest.json: sha256 of model.joblib is not as recorded"
    return a_world(behaviours={"rev1": Behaviour(refuses=wrong)}).steps(10)


ENDINGS: dict[str, tuple[Callable[[], World], str, str]] = {
    "promoted on evidence": (
        promoted,
        "version 2 serves; version 2 was promoted because it passed every gate",
        "nothing has to be done",
    ),
    "too many errors": (
        lambda: taken_back(error_rate=0.05),
        "version 1 serves; version 2 was rejected: canary 2 fails 5.3 % of 2,508 requests, stable "
        "0.0 % of 7,492 requests: worse than 1.1 times stable's plus 0.05 points, with 99 % "
        "confidence",
        "find out what is wrong with version 2 and release a mended one; if the cause lay "
        "elsewhere, try version 2 again",
    ),
    "too slow": (
        lambda: taken_back(latency=0.4),
        "version 1 serves; version 2 was rejected: canary 2 takes over 50 ms for 100.0 % of",
        "find out what is wrong with version 2 and release a mended one",
    ),
    "crashes": (
        lambda: taken_back(crashes_after=20.0),
        "version 1 serves; version 2 was rejected: containers of canary 2 ended abnormally",
        "find out what is wrong with version 2 and release a mended one",
    ),
    "never ready": (
        lambda: taken_back(starts=False),
        "version 1 serves; version 2 was rejected: canary 2: 0 of 1 pods were ready after 1m",
        "see what its pods say, or allow more time by spec.canary.startDeadline; then try version "
        "2 again, or release another one",
    ),
    "a wrong artifact": (
        lambda: taken_back(refuses="example 3 came out as 0.7, not 0.3 as recorded"),
        "version 1 serves; version 2 was rejected: example 3 came out as 0.7, not 0.3 as recorded",
        "make the artifact anew and release it as another version; version 2 is refused again as "
        "long as its files are the same",
    ),
    "aborted": (
        lambda: commanded(Commands(abort="rev2")),
        "version 1 serves; version 2 was rejected: version 2 was aborted by annotation",
        "release another version, or try version 2 again",
    ),
    "promoted by hand": (
        lambda: commanded(Commands(promote="rev2")),
        "version 2 serves; version 2 was promoted by hand without a verdict, by annotation",
        "nothing has to be done",
    ),
    "no verdict, and a person is asked": (
        lambda: undecided("Pause").run(until=Phase.PAUSED),
        "no verdict within 3m: canary 2 fails 1.2 % of 3,632 requests, stable 1.1 % of 3,568",
        "approve it on your own judgement, or abort it; a proven regression still ends it",
    ),
    "no verdict, and taken back": (
        lambda: undecided("RollBack").run(until=Phase.ROLLING_BACK).run(),
        "version 1 serves; version 2 was rejected: the deadline of 3m decided and not the evidence",
        "give it more requests, a longer spec.canary.progressDeadline or a wider tolerance "
        "(`modelrelease plan` tells what it needs); then try version 2 again",
    ),
    "no verdict, and promoted": (
        lambda: undecided("Promote").run(until=Phase.PROMOTING).run(),
        "version 2 serves; version 2 was promoted: the deadline of 3m decided and not the evidence",
        "nothing has to be done",
    ),
    "no requests": (
        unasked,
        "no verdict within 30m: no request of canary 2 was counted yet: 0 of the 100 canary",
        "approve it on your own judgement, or abort it",
    ),
    "nobody can see it": (
        unseen,
        "canary 2 left the Service and waits warm",
        "mend what hides the canary, and it gets clients again by itself; or abort it, or promote "
        "it unseen",
    ),
    "nothing can be measured": (
        unmeasured,
        "metrics are unavailable, so nothing moves: Prometheus does not answer",
        "mend what is said; the release goes on by itself then",
    ),
    "no room": (
        quota,
        "canary 2 starts unseen by clients: 0 of 1 pods are ready; quota pods: 10 of 10 are used",
        "give the cluster what it lacks, and it goes on by itself",
    ),
    "the spec went back": (
        reverted,
        "version 1 serves; the spec went back to version 1",
        "nothing has to be done",
    ),
    "back to the version before": (
        back_again,
        "version 1 serves; back to version 1, still warm; version 2 is out",
        "nothing has to be done",
    ),
    "an approval is asked for": (
        approval_asked,
        "every gate passes; annotate approve=rev2 to promote 2",
        "approve canary 2 to let it go on, or abort it",
    ),
    "paused": (
        lambda: a_world_in(Phase.PAUSED),
        "spec.paused holds canary 2 at 25 %",
        "set spec.paused to false to let it go on, or abort canary 2",
    ),
    "no such model": (
        without_a_model,
        "version 1 serves; http://store/qna/9 answered 404",
        "correct spec.model, or what lies at its address, which is looked at again by itself",
    ),
    "a slip in the spec": (
        with_a_bad_spec,
        "version 1 serves; spec.canary.steps[1].weight: 5 is less",
        "correct the spec and apply it; what serves goes on serving",
    ),
    "all pods of stable are away": (
        without_pods,
        "no pod of version 1 is ready",
        "see what its pods say (`kubectl describe pods`), and mend that",
    ),
    "the first version is refused": (
        first_refused,
        "version 1 starts: 0 of 3 pods ready; manifest.json: sha256 of model.joblib is not as "
        "recorded",
        "make the artifact anew and name it in spec.model as another version",
    ),
}


def release_of(world: World) -> dict[str, Any]:
    spec = world.spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
    metadata = {"name": "qna", "namespace": "ml", "generation": 1}
    return {
        "kind": "ModelRelease",
        "metadata": metadata,
        "spec": spec,
        "status": world.status.to_dict(),
    }


@pytest.mark.parametrize(
    ("make", "happened", "advice"),
    ENDINGS.values(),
    ids=[name.replace(" ", "-") for name in ENDINGS],
)
def test_an_ending_is_told_with_its_cause_and_with_what_to_do(
    make: Callable[[], World], happened: str, advice: str
):
    world = make()
    told = explain(release_of(world), world.now)
    assert told.happened.startswith(happened)
    assert told.advice.startswith(advice)
    words = " ".join(_as_text(told, world.now).split())
    assert f"What happened {' '.join(told.happened.split())}" in words
    assert f"What to do {told.advice}" in words
