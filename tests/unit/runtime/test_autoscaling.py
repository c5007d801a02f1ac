"""The release's own autoscaler, and other owners': one of them sets the number of pods."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from modelrelease_operator.runtime.neighbours import Neighbours
from testbed.api_server import Object
from testbed.operating import Operating, operating
from tests.unit.runtime.test_cache import until

HPA = "HorizontalPodAutoscaler"
SCALED: dict[str, Any] = {"serving": {"replicas": 2, "autoscaling": {}}}
PLAIN: dict[str, Any] = {"serving": {"replicas": 2}}
RELEASE = {"apiVersion": "modelrelease.dev/v1alpha1", "kind": "ModelRelease", "name": "qna"}


@pytest.fixture
async def world() -> AsyncIterator[Operating]:
    async with operating() as running:
        running.reconciler.neighbours.believed_seconds = 0
        yield running


def of_a_person(world: Operating, name: str = "theirs", deployment: str = "") -> Object:
    aim = {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment}
    spec = {"scaleTargetRef": aim if deployment else RELEASE, "maxReplicas": 5}
    return world.server.put(HPA, name, spec=spec)


def names_of(world: Operating) -> list[str]:
    return sorted(each["metadata"]["name"] for each in world.server.of(HPA))


def replicas(world: Operating) -> dict[str, int]:
    return {
        each["metadata"]["labels"]["modelrelease.dev/version"]: each["spec"]["replicas"]
        for each in world.server.of("Deployment")
    }


def autoscaled(world: Operating) -> tuple[str, str, str]:
    condition = world.server.condition("Autoscaled")
    return condition.get("status", ""), condition.get("reason", ""), condition.get("message", "")


async def says(world: Operating, *conditions: tuple[str, str, str]) -> None:
    """Write an autoscaler's status as its controller does, and wait until a watch told it."""
    own = world.server.get(HPA, "qna")
    keys = ("type", "status", "reason", "message")
    told = [dict(zip(keys, (*each[:2], "Why", each[2]), strict=True)) for each in conditions]
    status = {"conditions": told}
    stored = world.server.put(HPA, "qna", metadata=own["metadata"], spec=own["spec"], status=status)
    version = stored["metadata"]["resourceVersion"]

    def known() -> bool:
        store = world.kube.stores.get(HPA)
        seen = store.get(("ml", "qna")) if store else None
        return seen is not None and seen["metadata"]["resourceVersion"] == version

    await until(known)


async def test_the_autoscaler_aims_at_the_release_and_knows_of_no_revision(world: Operating):
    await world.serves("1", **SCALED)
    (own,) = world.server.of(HPA)
    assert own["spec"]["scaleTargetRef"] == RELEASE
    assert (own["spec"]["minReplicas"], own["spec"]["maxReplicas"]) == (3, 10)
    (metric,) = own["spec"]["metrics"]
    assert metric["containerResource"] == {
        "name": "cpu",
        "container": "predictor",
        "target": {"type": "Utilization", "averageUtilization": 70},
    }
    assert own["metadata"]["ownerReferences"][0]["name"] == "qna"
    before = own["spec"]
    world.release("2", **SCALED)
    status = await world.until(lambda status: status["phase"] == "Progressing")
    world.annotate(promote=status["canary"]["revision"])
    await world.until(lambda status: status["stable"]["version"] == "2")
    assert world.server.get(HPA, "qna")["spec"] == before


async def test_its_condition_says_what_it_keeps(world: Operating):
    await world.serves("1", **SCALED)
    await says(world, ("ScalingActive", "True", ""))
    await world.once()
    assert autoscaled(world) == (
        "True", "Autoscaled",
        "HorizontalPodAutoscaler qna scales from 3 to 10 pods, to 70 % of the CPU that predictors "
        "request",
    )  # fmt: skip


async def test_an_autoscaler_that_does_not_work_says_so_in_its_own_words(world: Operating):
    await world.serves("1", **SCALED)
    await says(world, ("ScalingActive", "False", "no metrics returned"))
    requeue = await world.once()
    assert requeue is not None
    assert requeue <= timedelta(minutes=1)
    status, reason, message = autoscaled(world)
    assert (status, reason) == ("False", "AutoscalerInactive")
    assert message == "HorizontalPodAutoscaler qna does not scale: Why: no metrics returned"
    assert world.server.condition("Ready")["status"] == "True"


async def test_where_no_cpu_is_requested_it_says_what_to_do(world: Operating):
    serving = {"replicas": 2, "autoscaling": {}, "resources": {"limits": {"memory": "1Gi"}}}
    await world.serves("1", serving=serving)
    await says(world, ("ScalingActive", "False", "missing request for cpu"))
    await world.once()
    assert "set spec.serving.resources.requests.cpu" in autoscaled(world)[2]


async def test_our_own_comes_back_in_the_middle_of_a_release(world: Operating):
    await world.with_canary(**SCALED)
    world.server.remove(HPA, "qna")
    await world.once()
    assert names_of(world) == ["qna"]
    assert world.status()["phase"] == "Progressing"


async def test_our_own_goes_when_it_is_no_longer_asked_for_and_the_pods_stay(world: Operating):
    await world.serves("1", serving={"replicas": 5, "autoscaling": {}})
    await world.once()
    world.release("1", serving={"replicas": 5})
    await world.once()
    assert not names_of(world)
    await world.caught_up()
    await world.once()
    assert replicas(world) == {"1": 5}
    assert not world.server.condition("Autoscaled")


async def test_a_person_who_has_one_is_followed_and_no_other_is_made(world: Operating):
    of_a_person(world)
    await world.serves("1", **PLAIN)
    assert autoscaled(world) == (
        "True", "AutoscaledByOther",
        "HorizontalPodAutoscaler theirs sets spec.serving.replicas",
    )  # fmt: skip
    world.release("1", serving={"replicas": 4})
    await world.until(lambda status: status["replicas"] == 4)
    assert names_of(world) == ["theirs"]


async def test_two_for_one_release_are_refused_naming_both(world: Operating):
    theirs = of_a_person(world)
    await world.serves("1", **SCALED)
    status, reason, message = autoscaled(world)
    assert (status, reason) == ("False", "AutoscalerConflict")
    assert "HorizontalPodAutoscaler theirs aims at ModelRelease qna already" in message
    assert "HorizontalPodAutoscaler qna of spec.serving.autoscaling is not made" in message
    assert names_of(world) == ["theirs"]
    assert world.server.get(HPA, "theirs") == theirs
    await world.once()
    assert world.server.reasons().count("AutoscalerConflict") == 1
    world.server.remove(HPA, "theirs")
    await world.once()
    assert names_of(world) == ["qna"]


async def test_our_own_gives_way_to_one_that_comes_later(world: Operating):
    """Two that aim at the same pods scale nothing at all."""
    await world.serves("1", **SCALED)
    await world.once()
    of_a_person(world)
    await world.once()
    assert names_of(world) == ["theirs"]
    assert autoscaled(world)[1] == "AutoscalerConflict"


async def test_one_that_keda_made_is_named_by_what_made_it(world: Operating):
    keda = {"kind": "ScaledObject", "name": "qna-queue", "uid": "u", "controller": True}
    spec = {"scaleTargetRef": RELEASE, "maxReplicas": 5}
    world.server.put(HPA, "keda-hpa-qna", metadata={"ownerReferences": [keda]}, spec=spec)
    await world.serves("1", **SCALED)
    assert "keda-hpa-qna (of ScaledObject qna-queue)" in autoscaled(world)[2]


async def test_one_that_aims_at_a_revision_is_told_where_to_aim(world: Operating):
    status = await world.serves("1", **PLAIN)
    revision = status["stable"]["revision"]
    of_a_person(world, deployment=f"qna-{revision}")
    await world.once()
    assert autoscaled(world)[1] == "AutoscalerConflict"
    assert "aim it at ModelRelease qna" in autoscaled(world)[2]


async def test_when_a_persons_is_deleted_the_pods_stay_and_an_event_says_so(world: Operating):
    of_a_person(world)
    await world.with_canary(**PLAIN)
    world.release("2", serving={"replicas": 5})
    await world.until(lambda _: replicas(world)["1"] == 5)
    world.server.remove(HPA, "theirs")
    await world.once()
    await world.once()
    assert replicas(world)["1"] == 5
    assert not world.server.condition("Autoscaled")
    assert world.server.reasons().count("AutoscalerGone") == 1


async def test_a_foreign_one_of_our_name_that_scales_something_else_is_left_alone(
    world: Operating,
):
    foreign = of_a_person(world, "qna", "billing")
    await world.serves("1", **SCALED)
    assert world.server.get(HPA, "qna") == foreign
    stalled = world.server.condition("Stalled")
    assert stalled["status"] == "True"
    assert (
        "HorizontalPodAutoscaler ml/qna exists and belongs to somebody else" in (stalled["message"])
    )
    assert world.status()["phase"] == "Stable", "what serves goes on"


async def test_without_the_right_to_autoscalers_only_who_asks_for_one_is_stalled():
    def refuse(verb: str, plural: str, _: Object) -> tuple[int, str] | None:
        asked = plural == "horizontalpodautoscalers"
        return (403, "forbidden: autoscaling") if asked else None

    async with operating() as world:
        world.server.refuse = refuse
        await world.serves("1", **PLAIN)
        assert world.server.condition("Stalled")["status"] == "False"
        world.release("1", **SCALED)
        await world.once()
        assert "forbidden: autoscaling" in world.server.condition("Stalled")["message"]
        world.release("2", **SCALED)
        await world.until(lambda status: status["phase"] == "Progressing")


def unlisted(verb: str, plural: str, _: Object) -> tuple[int, str] | None:
    asked = (verb, plural) == ("LIST", "horizontalpodautoscalers")
    return (503, "try later") if asked else None


def restarted(world: Operating) -> None:
    """Forget what others have, as a new process does."""
    world.reconciler = replace(world.reconciler, neighbours=Neighbours(believed_seconds=0))


async def test_a_list_that_fails_after_a_restart_is_no_news_of_a_persons(world: Operating):
    of_a_person(world)
    await world.serves("1", **PLAIN)
    before = world.server.condition("Autoscaled")
    restarted(world)
    world.server.refuse = unlisted
    requeue = await world.once()
    assert requeue is not None
    assert requeue <= timedelta(minutes=1)
    assert world.server.condition("Autoscaled") == before
    assert "AutoscalerGone" not in world.server.reasons()


async def test_none_is_made_before_it_is_known_what_others_have(world: Operating):
    of_a_person(world)
    await world.serves("1", **PLAIN)
    restarted(world)
    world.server.refuse = unlisted
    world.release("1", **SCALED)
    await world.once()
    await world.once()
    assert names_of(world) == ["theirs"]
    world.server.refuse = lambda *_: None
    world.server.remove(HPA, "theirs")
    await world.until(lambda _: names_of(world) == ["qna"])


async def test_our_own_stays_while_others_cannot_be_listed(world: Operating):
    await world.serves("1", **SCALED)
    await world.once()
    before = world.server.condition("Autoscaled")
    restarted(world)
    world.server.refuse = unlisted
    await world.once()
    assert names_of(world) == ["qna"]
    assert world.server.condition("Autoscaled") == before


async def orphaned(world: Operating) -> None:
    """Take the owner reference from the release's autoscaler."""
    own = world.server.get(HPA, "qna")
    metadata = {**own["metadata"], "ownerReferences": []}
    world.server.put(HPA, "qna", metadata=metadata, spec=own["spec"])
    await world.caught_up()


async def test_our_own_that_lost_its_owner_goes_when_it_is_no_longer_asked_for(world: Operating):
    await world.serves("1", **SCALED)
    await world.once()
    await orphaned(world)
    world.release("1", **PLAIN)
    await world.once()
    assert not names_of(world)


async def test_our_own_that_lost_its_owner_gives_way_to_a_persons(world: Operating):
    await world.serves("1", **SCALED)
    await world.once()
    await orphaned(world)
    of_a_person(world)
    await world.once()
    assert names_of(world) == ["theirs"]


def refusing(verb: str) -> Callable[[str, str, Object], tuple[int, str] | None]:
    """Return an API server that refuses one verb of autoscalers."""

    def refuse(asked: str, plural: str, _: Object) -> tuple[int, str] | None:
        refused = (asked, plural) == (verb, "horizontalpodautoscalers")
        return (403, "exceeded quota: objects") if refused else None

    return refuse


async def test_one_whose_removal_is_refused_is_not_said_to_be_gone(world: Operating):
    await world.serves("1", **SCALED)
    await world.once()
    world.server.refuse = refusing("DELETE")
    world.release("1", **PLAIN)
    for _ in range(3):
        await world.once()
    assert names_of(world) == ["qna"]
    assert autoscaled(world)[0] == "True"
    assert "is to be removed" in autoscaled(world)[2]
    assert "AutoscalerGone" not in world.server.reasons()
    world.server.refuse = lambda *_: None
    await world.once()
    await world.caught_up()
    await world.once()
    assert not world.server.condition("Autoscaled")
    assert world.server.reasons().count("AutoscalerGone") == 1


async def test_a_refused_one_says_so_in_the_api_servers_words(world: Operating):
    world.server.refuse = refusing("PATCH")
    await world.serves("1", **SCALED)
    condition = world.server.condition("Autoscaled")
    assert (condition["status"], condition["reason"]) == ("False", "ApplyRefused")
    assert "exceeded quota: objects" in condition["message"]
    world.clock.now += timedelta(minutes=1)
    await world.once()
    assert world.server.condition("Autoscaled") == condition
    world.release("1", **PLAIN)
    await world.once()
    assert not world.server.condition("Autoscaled")
    assert "AutoscalerGone" not in world.server.reasons(), "there was none"


async def test_what_is_not_heard_of_is_not_said_to_be_made(world: Operating):
    await world.serves("1", **SCALED)
    await world.once()
    before = world.server.condition("Autoscaled")
    heard = world.kube.stores[HPA].heard
    heard.update({space: at - 500 for space, at in heard.items()})
    await world.once()
    assert world.server.condition("Autoscaled") == before


async def test_another_cause_of_a_conflict_is_an_event_of_its_own(world: Operating):
    of_a_person(world)
    await world.serves("1", **SCALED)
    of_a_person(world, "theirs-too")
    world.release("1", **PLAIN)
    await world.once()
    await world.once()
    assert "theirs and HorizontalPodAutoscaler theirs-too" in autoscaled(world)[2]
    assert world.server.reasons().count("AutoscalerConflict") == 2
