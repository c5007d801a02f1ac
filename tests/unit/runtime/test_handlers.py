"""What kopf tells becomes a wake, and what the kubelet asks is answered by how late looks are."""

import asyncio
import logging
from typing import Any

import kopf
import pytest

from modelrelease_operator.api import names
from modelrelease_operator.core.own_rights import OwnRights
from modelrelease_operator.errors import Gone
from modelrelease_operator.runtime.handlers import (
    Handlers,
    NothingKept,
    registry_for,
    tell_of_trouble,
)
from modelrelease_operator.runtime.workers import OVERDUE_SECONDS
from modelrelease_operator.settings import Settings
from testbed.operating import Operating, operating

KEY = ("ml", "qna")
EVERYTHING = OwnRights(namespaces=(), scans=True, without=())


class Told:
    """Stands where the workers do: keeps what they are told."""

    def __init__(self) -> None:
        self.fingerprints: list[object] = []
        self.late: dict[tuple[str, str], float] = {}

    def changed(self, key: tuple[str, str], fingerprint: object) -> None:
        assert key == KEY
        self.fingerprints.append(fingerprint)

    def overdue(self) -> dict[tuple[str, str], float]:
        return self.late


class Here:
    def __init__(self, world: Operating) -> None:
        self.cache, self.workers = world.kube, Told()


def handlers_of(here: Here) -> Handlers:
    handlers = Handlers(Settings(), EVERYTHING)
    handlers._connected = here  # type: ignore[assignment]
    return handlers


def an_event(kind: str | None, release: dict[str, Any]) -> dict[str, Any]:
    return {"event": {"type": kind, "object": release}}


async def test_a_deletion_is_told_although_nothing_else_of_the_release_changed():
    async with operating() as world:
        here = Here(world)
        handlers, release = handlers_of(here), world.release("1")
        await handlers.release_changed(**an_event(None, release))
        assert (await world.kube.get(names.KIND, *KEY))["metadata"]["uid"] == release["metadata"][
            "uid"
        ]
        await handlers.release_changed(**an_event("MODIFIED", release))
        world.server.remove("ModelRelease", "qna")
        await handlers.release_changed(**an_event("DELETED", release))
        first, same, deleted = here.workers.fingerprints
        assert first == same != deleted
        with pytest.raises(Gone):
            await world.kube.get(names.KIND, *KEY)


async def test_a_namesakes_end_does_not_make_the_new_release_forgotten():
    async with operating() as world:
        here = Here(world)
        handlers, old = handlers_of(here), world.release("1")
        world.server.remove("ModelRelease", "qna")
        new = world.release("2")
        await handlers.release_changed(**an_event("ADDED", new))
        await handlers.release_changed(**an_event("DELETED", old))
        found = world.kube._releases[KEY]
        assert found["metadata"]["uid"] == new["metadata"]["uid"]


async def test_a_look_that_does_not_come_fails_the_liveness_probe():
    async with operating() as world:
        here = Here(world)
        handlers = handlers_of(here)
        here.workers.late = {KEY: OVERDUE_SECONDS - 1}
        assert handlers.trouble() is None
        here.workers.late = {KEY: OVERDUE_SECONDS + 1}
        assert "ml/qna" in (handlers.trouble() or "")


def test_kopf_is_asked_to_watch_releases_alone():
    (handler,) = registry_for(Handlers(Settings(), EVERYTHING))._watching.get_all_handlers()
    assert handler.selector is not None
    assert (handler.selector.group, handler.selector.plural or handler.selector.any_name) == (
        names.GROUP,
        names.PLURAL,
    )


def test_kopf_is_left_nothing_of_a_release_to_copy_and_to_compare():
    body = kopf.Body({"metadata": {"annotations": {"a": "b"}}, "spec": {"model": {}}})
    kept = NothingKept()
    assert kept.build(body=body) == {}
    assert kept.fetch(body=body) is None
    patch = kopf.Patch()
    kept.store(body=body, patch=patch, essence=kept.build(body=body))
    assert not patch


def logged(caplog: pytest.LogCaptureFixture, **context: Any) -> list[int]:
    """Return the levels at which trouble that nobody catches is logged."""
    caplog.set_level("DEBUG")
    loop = asyncio.new_event_loop()
    try:
        tell_of_trouble(loop, context)
    finally:
        loop.close()
    return [record.levelno for record in caplog.records if record.name != "asyncio.selector"]


def test_a_closed_connection_whose_peer_still_speaks_is_no_error(caplog: pytest.LogCaptureFixture):
    closed = RuntimeError("unable to perform operation on <TCPTransport>; the handler is closed")
    levels = logged(caplog, message="Fatal error on SSL protocol", exception=closed)
    assert logging.DEBUG in levels
    assert logging.ERROR not in levels


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ("Fatal error on SSL protocol", ValueError("the handler is closed")),
        ("Fatal error on SSL protocol", RuntimeError("deque index out of range")),
        ("Task exception was never retrieved", RuntimeError("the handler is closed")),
    ],
)
def test_whatever_else_nobody_catches_is_one(
    caplog: pytest.LogCaptureFixture, message: str, problem: Exception
):
    assert logging.ERROR in logged(caplog, message=message, exception=problem)
