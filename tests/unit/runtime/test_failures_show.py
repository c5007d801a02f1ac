"""Every failure that lasts leaves a trace: a sentence in status, an Event, a metric."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from modelrelease_operator.errors import Conflict, Gone, Invalid, Unavailable
from modelrelease_operator.runtime import workers as workers_module
from modelrelease_operator.runtime.metrics import CONDITION, FAILING
from modelrelease_operator.runtime.workers import Workers
from testbed.api_server import Object
from testbed.operating import Operating, operating


@pytest.fixture
async def world() -> AsyncIterator[Operating]:
    async with operating() as found:
        yield found


def metric(gauge: Any, **labels: str) -> float | None:
    mine = {"release_namespace": "ml", "release": "qna", **labels}
    (found,) = gauge.collect()
    return next((it.value for it in found.samples if mine.items() <= it.labels.items()), None)


TYPED = (
    "failed to create typed patch object (ml/qna-1; apps/v1, Kind=Deployment): "
    ".spec.template.spec.containers[0].resources.limit: field not declared in schema"
)


@pytest.mark.parametrize(
    ("code", "message", "error"),
    [
        (400, "bad", Invalid),
        (403, "denied", Invalid),
        (413, "too large", Invalid),
        (422, "replicas: Invalid value", Invalid),
        (500, TYPED, Invalid),
        (
            500,
            "failed to convert new object (ml/qna; apps/v1, Kind=Deployment) to proper version: x",
            Invalid,
        ),
        (500, "etcdserver: request is too large", Invalid),
        (500, "etcd leader changed", Unavailable),
        (429, "too many requests", Unavailable),
        (503, "shutting down", Unavailable),
        (401, "Unauthorized", Unavailable),
        (409, "the object has been modified", Conflict),
        (404, "not found", Gone),
    ],
)
async def test_the_api_servers_sentence_is_told_without_its_json(
    world: Operating, code: int, message: str, error: type[Exception]
):
    world.server.refuse = lambda *_: (code, message)
    obj = {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "qna", "namespace": "ml"}}
    with pytest.raises(error) as caught:
        await world.kube.apply(obj)
    assert type(caught.value) is error
    said = str(caught.value)
    assert "Service ml/qna" in said
    assert "{" not in said
    if error is not Gone:
        assert message in said


async def test_a_typo_that_the_api_server_answers_with_500_is_a_condition_at_once(world: Operating):
    world.server.refuse = lambda method, plural, _: (
        (500, TYPED) if (method, plural) == ("PATCH", "deployments") else None
    )
    world.release("1")
    await world.once()
    assert "resources.limit: field not declared in schema" in world.status()["message"]
    stalled = world.server.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "ApplyRefused")
    assert world.server.reasons() == ["ApplyRefused"]
    assert metric(CONDITION, type="Stalled", reason="ApplyRefused") == 1
    assert not world.server.of("Service"), "nothing is made of what cannot be whole"


async def test_a_new_version_that_is_refused_is_not_begun(world: Operating):
    before = await world.serves("1")
    world.server.refuse = lambda method, plural, _: (
        (500, TYPED) if (method, plural) == ("PATCH", "deployments") else None
    )
    world.release("2")
    for _ in range(5):
        await world.once()
    assert world.status()["phase"] == "Stable"
    assert "canary" not in world.status()
    assert world.status()["stable"] == before["stable"]
    assert "CanaryStarted" not in world.server.reasons()
    assert world.server.reasons().count("ApplyRefused") == 1
    world.server.refuse = lambda *_: None
    await world.until(lambda it: it["phase"] == "Progressing")


@pytest.mark.parametrize(
    ("code", "message"), [(500, TYPED), (403, "denied"), (503, "down"), (409, "x")]
)
async def test_a_retraining_that_is_refused_stops_nothing_else(
    world: Operating, code: int, message: str
):
    retrain = {"image": "train:1", "env": [{"name": "PORT", "value": "1"}], "cooldown": "1h"}
    await world.serves("1", retrain=retrain)
    world.server.refuse = lambda method, plural, _: (
        (code, message) if (method, plural) == ("PATCH", "jobs") else None
    )
    world.annotate(retrain="1")
    for _ in range(5):
        await world.once()
    found = world.status()
    assert found["retrain"]["request"]
    if code in (500, 403):
        assert found["retrain"]["outcome"] == "Failed"
        assert message in found["retrain"]["message"]
    else:
        assert message in found["message"], "shown after some tries, and tried again"
        assert "Failing" in world.server.reasons()
    world.release("2", retrain=retrain)
    await world.until(lambda it: it["phase"] == "Progressing")


async def test_a_failure_that_lasts_is_shown_and_one_that_passes_is_not(world: Operating):
    await world.serves("1")
    world.server.refuse = lambda method, plural, _: (
        (503, "shutting down") if (method, plural) == ("PATCH", "services") else None
    )
    service = world.server.get("Service", "qna")
    world.server.put(
        "Service", "qna", metadata=service["metadata"], spec={**service["spec"], "selector": {}}
    )
    for _ in range(2):
        await world.once()
        assert "Failing" not in world.server.reasons()
    await world.once()
    assert "shutting down" in world.status()["message"]
    assert world.server.condition("Ready")["status"] == "Unknown"
    reconciling = world.server.condition("Reconciling")
    assert (reconciling["status"], reconciling["reason"]) == ("True", "Failing")
    assert world.server.reasons().count("Failing") == 1
    for _ in range(3):
        await world.once()
    assert world.server.reasons().count("Failing") == 1
    world.server.refuse = lambda *_: None
    await world.once()
    assert world.server.condition("Ready")["status"] == "True"
    assert "shutting down" not in world.status()["message"]


async def working(world: Operating) -> Workers:
    workers = Workers(world.reconciler)
    world.kube.release_told(world.server.get("ModelRelease", "qna"))
    workers.wake(("ml", "qna"))
    return workers


async def until(what: Any) -> None:
    async with asyncio.timeout(60):
        while not what():  # noqa: ASYNC110 - a predicate over two programs
            await asyncio.sleep(0.01)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "_pause", lambda failures: 0.01)
    monkeypatch.setattr(workers_module, "QUIET_SECONDS", 0.01)


@pytest.mark.usefixtures("hasty")
async def test_passes_that_fail_are_told_by_event_metric_and_status(world: Operating):
    """Whatever the reason: here an error that nobody foresaw."""
    await world.serves("1")
    fault: list[bool] = [True]
    listed = world.kube.list

    async def failing(*args: Any) -> list[Object]:
        if fault:
            raise ZeroDivisionError("a fault of ours")
        return await listed(*args)

    world.kube.list = failing  # type: ignore[method-assign,assignment]
    workers = await working(world)
    await until(lambda: "Failing" in world.server.reasons())
    await until(lambda: "a fault of ours" in world.status()["message"])
    assert metric(FAILING) == 1
    assert world.server.condition("Reconciling")["reason"] == "Failing"
    fault.clear()
    await until(lambda: metric(FAILING) == 0)
    await until(lambda: world.server.condition("Ready")["status"] == "True")
    assert world.server.reasons().count("Failing") == 1
    await workers.stop()


@pytest.mark.usefixtures("hasty")
async def test_a_status_that_cannot_be_read_is_kept_and_told(world: Operating):
    await world.serves("1")
    release = world.server.get("ModelRelease", "qna")
    status = {**release["status"], "weight": "heavy"}
    world.server.put(
        "ModelRelease", "qna", metadata=release["metadata"], spec=release["spec"], status=status
    )
    workers = await working(world)
    await until(lambda: "Failing" in world.server.reasons())
    (event,) = [it for it in world.server.of("Event") if it["reason"] == "Failing"]
    assert "status.weight cannot be read" in event["message"]
    assert world.status()["weight"] == "heavy"
    assert metric(FAILING) == 1
    await workers.stop()


async def test_a_release_that_was_refused_is_in_the_metrics(world: Operating):
    world.release("1", analysis={"interval": "0s"})
    await world.once()
    assert world.server.reasons() == ["SpecInvalid"]
    assert metric(CONDITION, type="Stalled", reason="SpecInvalid") == 1
    world.release("1")
    await world.until(lambda it: it.get("phase") == "Stable")
    assert metric(CONDITION, type="Stalled", reason="SpecInvalid") is None
    assert metric(CONDITION, type="Ready", reason="Reconciled") == 1


async def test_nothing_is_removed_that_a_status_names_which_cannot_be_written(world: Operating):
    """A process that begins anew would know stable as it was, and find no Deployment of it."""
    status = await world.with_canary(canary={"steps": [{"weight": 50}], "keepPrevious": "0s"})
    before = f"qna-{status['stable']['revision']}"
    world.server.refuse = lambda method, plural, obj: (
        (403, "denied") if plural == "modelreleases/status" else None
    )
    for _ in range(20):
        world.clock.now += timedelta(seconds=20)
        with pytest.raises(Invalid):
            await world.once()
    assert world.routed() == status["canary"]["revision"], "it was promoted, but for status"
    assert world.server.has("Deployment", before)
    world.server.refuse = lambda method, plural, obj: None
    await world.until(lambda status: not world.server.has("Deployment", before))
    assert world.status()["stable"]["version"] == "2"


async def test_no_version_is_removed_that_clients_are_led_to_because_a_service_cannot_be_moved(
    world: Operating,
):
    """Neither after its time nor because the spec has moved on meanwhile."""
    parts: dict[str, Any] = {"canary": {"steps": [{"weight": 50}], "keepPrevious": "0s"}}
    status = await world.with_canary(**parts)
    before = f"qna-{status['stable']['revision']}"
    world.server.refuse = lambda method, plural, obj: (
        (422, "denied by an admission webhook")
        if (method, plural) == ("PATCH", "services")
        else None
    )
    await world.until(lambda status: status["stable"]["version"] == "2")
    world.release("3", **parts)
    for _ in range(5):
        await world.once()
    assert world.server.has("Deployment", before)
    assert world.routed() is None, "the Service is as it was when it was moved last"
    world.server.refuse = lambda method, plural, obj: None
    await world.until(lambda status: not world.server.has("Deployment", before))
