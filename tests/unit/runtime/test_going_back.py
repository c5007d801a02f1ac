"""The way back is always open: whatever is refused, does not answer, or cannot be read."""

import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from modelrelease_operator.errors import Unavailable
from testbed.api_server import Object
from testbed.operating import FAST, Operating, operating


@pytest.fixture
async def world() -> AsyncIterator[Operating]:
    async with operating(prometheus_timeout_seconds=0.2) as found:
        yield found


def refusing(code: int, message: str, *, method: str = "PATCH", plural: str, name: str = "") -> Any:
    """Return a server's refusal of one kind of write."""

    def refuse(asked: str, kind: str, obj: Object) -> tuple[int, str] | None:
        mine = obj.get("metadata", {}).get("name", "")
        hit = asked == method and kind == plural and mine.endswith(name)
        return (code, message) if hit else None

    return refuse


WEBHOOK = (
    'Internal error occurred: failed calling webhook "policy": no endpoints available for service'
)


@pytest.mark.parametrize(
    ("code", "message"), [(403, "denied by policy"), (500, WEBHOOK), (429, "too many requests")]
)
@pytest.mark.parametrize("arm", ["stable", "canary", "both"])
async def test_clients_leave_a_failing_canary_while_deployments_cannot_be_applied(
    world: Operating, code: int, message: str, arm: str
):
    status = await world.with_canary()
    name = "" if arm == "both" else status[arm]["revision"]
    for deployment in world.server.of("Deployment"):
        # A person's change, so that the Deployments differ from what is asked for.
        spec = {**deployment["spec"], "revisionHistoryLimit": 7}
        world.server.put(
            "Deployment", deployment["metadata"]["name"], metadata=deployment["metadata"], spec=spec
        )
    world.server.refuse = refusing(code, message, plural="deployments", name=name)
    world.measured.errors = 1.0
    await world.until(lambda it: it.get("rejected") is not None)
    assert world.routed() == status["stable"]["revision"]
    assert "Regression" in world.server.reasons(), (
        "the Event of the pass that was refused is not lost"
    )
    for _ in range(4):
        await world.once()
    assert world.routed() == status["stable"]["revision"]
    if arm != "canary":
        assert message in world.status()["message"], (
            "and it is shown that stable cannot be repaired"
        )


async def test_the_service_moves_before_everything_else_on_the_way_back(world: Operating):
    await world.with_canary()
    order: list[str] = []

    def note(method: str, plural: str, obj: Object) -> None:
        if method in ("PATCH", "DELETE", "POST"):
            order.append(plural)

    world.server.refuse = note
    world.release("1")
    await world.once()
    assert order[0] == "services"


@pytest.mark.parametrize("how", ["revert", "abort"])
async def test_what_a_person_asks_does_not_wait_for_prometheus(world: Operating, how: str):
    status = await world.with_canary()
    looks = world.measured.looks
    world.measured.wait = 60
    if how == "revert":
        world.release("1")
    else:
        world.annotate(abort=status["canary"]["revision"])
    await world.once()
    assert world.routed() == status["stable"]["revision"]
    assert world.measured.looks == looks, "nothing was asked"


async def test_a_prometheus_that_drips_ends_a_look_in_time(world: Operating):
    await world.with_canary()
    world.measured.wait = 60
    before = time.monotonic()
    await world.once()
    assert time.monotonic() - before < 30
    assert world.status()["verdict"] == "Unavailable"
    assert "not all metrics were read within 0.4 s" in world.status()["message"]


def interval_0(world: Operating) -> None:
    world.release("2", analysis={"interval": "0s"})


def kept_too_long(world: Operating) -> None:
    world.release("2", canary={**FAST["canary"], "keepPrevious": "400d"})


def unreadable(world: Operating) -> None:
    world.release("2", serving={"replicas": "many"})


@pytest.mark.parametrize("edit", [interval_0, kept_too_long, unreadable])
@pytest.mark.parametrize("restarted", [False, True], ids=["", "after a restart of the operator"])
async def test_a_refused_spec_leaves_the_canary_judged_by_the_last_good_one(
    world: Operating, edit: Callable[[Operating], None], restarted: bool
):
    status = await world.with_canary()
    edit(world)
    if restarted:
        world.reconciler.forget("ml", "qna")
    await world.once()
    assert world.server.condition("Stalled")["reason"] == "SpecInvalid"
    assert world.server.reasons().count("SpecInvalid") == 1
    world.measured.errors = 1.0
    await world.until(lambda it: it.get("rejected") is not None)
    await world.until(lambda it: it["phase"] == "Stable")
    assert world.routed() == status["stable"]["revision"]
    assert world.status()["rejected"]["reason"] == "Regression"
    assert world.server.condition("Stalled")["reason"] == "SpecInvalid"
    assert world.server.reasons().count("SpecInvalid") == 1, "told once"


async def test_a_version_taken_back_with_a_slip_in_another_line_is_taken_back(world: Operating):
    status = await world.with_canary()
    world.release("1", canary={**FAST["canary"], "startDeadline": "0s"})
    await world.once()
    assert world.routed() == status["stable"]["revision"]
    assert "SpecReverted" in world.server.reasons()


async def test_a_refused_spec_begins_nothing(world: Operating):
    await world.serves("1")
    world.release("2", analysis={"interval": "0s"})
    for _ in range(3):
        await world.once()
    assert world.status()["phase"] == "Stable"
    assert len(world.server.of("Deployment")) == 1
    assert world.server.condition("Stalled")["reason"] == "SpecInvalid"
    assert world.server.reasons().count("SpecInvalid") == 1


async def test_going_back_needs_no_artifact_store(world: Operating):
    """The store of version 1 is gone: what serves is meant by its address and its digest all the
    same.
    """
    await world.with_canary()
    stable = world.status()["stable"]
    world.server.put(
        "ModelRelease", "qna", metadata=world.server.get("ModelRelease", "qna")["metadata"],
        spec={**FAST, "model": {"uri": "pvc://models/1", "version": "1",
        "sha256": stable["sha256"]}},
    )  # fmt: skip
    await world.once()
    assert world.routed() == stable["revision"]


@pytest.mark.parametrize("plural", ["services", "modelreleases/status", "events"])
async def test_a_refusal_of_one_write_stops_no_other(world: Operating, plural: str):
    status = await world.with_canary()
    method = "POST" if plural == "events" else "PATCH"
    world.server.refuse = refusing(403, "forbidden here", method=method, plural=plural)
    world.measured.errors = 1.0
    for _ in range(12):
        try:
            await world.once()
        except Exception as problem:
            assert "forbidden here" in str(problem)  # noqa: PT017 - a pass whose status cannot be written fails
            world.clock.now += timedelta(seconds=10)
    if plural == "services":
        assert world.status()["phase"] == "RollingBack", (
            "it is not told that it went back before it did"
        )
        assert "Regression" in world.server.reasons()
        assert world.server.condition("Stalled")["reason"] == "ApplyRefused"
    else:
        assert world.routed() == status["stable"]["revision"]
    world.server.refuse = lambda *_: None
    await world.until(lambda it: it["phase"] == "Stable")
    assert world.routed() == status["stable"]["revision"]
    if plural == "modelreleases/status":
        assert world.server.reasons().count("Regression") == 1, (
            "told once, although it was decided again and again"
        )


async def test_an_event_that_the_api_server_does_not_take_is_recorded_later(world: Operating):
    await world.serves("1")
    world.server.refuse = refusing(500, "etcd leader changed", method="POST", plural="events")
    world.release("2")
    await world.once()
    assert "CanaryStarted" not in world.server.reasons()
    world.server.refuse = lambda *_: None
    await world.once()
    assert world.server.reasons().count("CanaryStarted") == 1


async def test_while_nothing_is_heard_of_pods_no_pass_decides(world: Operating):
    await world.with_canary()
    world.kube.stores["Pod"].heard.clear()
    with pytest.raises(Unavailable, match="nothing was heard of Pods in ml"):
        await world.once()
