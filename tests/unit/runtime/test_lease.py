"""Of all operators that watch the same, one acts; and it stops before another begins."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from typing_extensions import override

from modelrelease_operator.api import names
from modelrelease_operator.errors import Conflict, Unavailable
from modelrelease_operator.runtime import lease as module
from modelrelease_operator.runtime.kube import Kube, Object
from modelrelease_operator.runtime.lease import Lease
from testbed.api_server import ApiServer
from testbed.operating import connected

SPACE = "kube-system"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quicker than in earnest; a machine that stands still for two seconds loses no Lease."""
    monkeypatch.setattr(module, "DURATION_SECONDS", 4)
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.6)
    monkeypatch.setattr(module, "TRUSTED_SECONDS", 2.8)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.3)


@pytest.fixture
async def kubes(server: ApiServer) -> AsyncIterator[list[Kube]]:
    found = [await connected(server), await connected(server)]
    yield found
    for kube in found:
        await kube.close()


def holder(server: ApiServer) -> str:
    spec = server.get("Lease", "modelrelease-operator", SPACE)["spec"]
    found: str = spec["holderIdentity"]
    return found


async def test_one_of_two_holds_it_and_the_other_waits(
    server: ApiServer, kubes: list[Kube], caplog: pytest.LogCaptureFixture
):
    one, two = (Lease(kube, SPACE, name) for kube, name in zip(kubes, ("one", "two"), strict=True))
    await one.acquire()
    kept = asyncio.create_task(one.keep(lambda: None))
    waiting = asyncio.create_task(two.acquire())
    await asyncio.sleep(5)  # Longer than a Lease lasts by itself.
    assert not waiting.done()
    assert (one.is_held(), two.is_held(), holder(server)) == (True, False, "one")
    assert (
        "this operator waits: Lease kube-system/modelrelease-operator is held by one" in caplog.text
    )
    kept.cancel()
    await one.give_back()
    async with asyncio.timeout(60):
        await waiting
    assert (one.is_held(), two.is_held(), holder(server)) == (False, True, "two")


async def test_after_a_kill_another_takes_it_in_time(server: ApiServer, kubes: list[Kube]):
    one, two = (Lease(kube, SPACE, name) for kube, name in zip(kubes, ("one", "two"), strict=True))
    await one.acquire()
    async with asyncio.timeout(60):
        await two.acquire()
    assert not one.is_held(), "it stopped to believe itself before the other began"
    assert server.get("Lease", "modelrelease-operator", SPACE)["spec"]["leaseTransitions"] == 2


async def test_of_two_that_try_in_the_same_moment_one_succeeds(
    server: ApiServer, kubes: list[Kube]
):
    leases = [Lease(kube, SPACE, name) for kube, name in zip(kubes, ("one", "two"), strict=True)]
    tasks = [asyncio.create_task(lease.acquire()) for lease in leases]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert [lease.is_held() for lease in leases].count(True) == 1
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_holder_that_cannot_renew_ends_before_another_may_begin(
    server: ApiServer, kubes: list[Kube]
):
    one = Lease(kubes[0], SPACE, "one")
    await one.acquire()
    server.refuse = lambda verb, plural, _: (503, "down") if plural == "leases" else None
    lost = asyncio.Event()
    async with asyncio.timeout(60):
        await one.keep(lost.set)
    assert lost.is_set()


async def test_it_tells_what_its_holder_may_not_do_and_nothing_of_the_holder_before(
    server: ApiServer, kubes: list[Kube]
):
    one = Lease(kubes[0], SPACE, "one", without=["it may not read", "it may not watch"])
    await one.acquire()
    told = server.get("Lease", "modelrelease-operator", SPACE)["metadata"]["annotations"]
    assert told == {names.ANNOTATION_WITHOUT: "it may not read\nit may not watch"}
    await one.give_back()
    await Lease(kubes[1], SPACE, "two").acquire()
    told = server.get("Lease", "modelrelease-operator", SPACE)["metadata"]["annotations"]
    assert told == {}


async def test_who_does_not_hold_it_writes_nothing(server: ApiServer, kubes: list[Kube]):
    kube = kubes[1]
    kube.write_seconds = Lease(kubes[0], SPACE, "one").write_seconds
    with pytest.raises(Unavailable, match="another operator may act by now"):
        await kube.delete("Service", "ml", "qna", uid="u")
    assert await kube.known("Service", "ml", "qna") is None, "but it reads"
    assert server.requests == {"GET services": 1}


async def test_a_write_that_waited_for_its_turn_until_the_lease_was_lost_is_not_made(
    server: ApiServer, kubes: list[Kube]
):
    kube = kubes[0]
    held = [5.0]
    kube.write_seconds = lambda: held[-1]
    kube._turn = asyncio.Semaphore(0)
    write = asyncio.create_task(kube.delete("Service", "ml", "qna", uid="u"))
    await asyncio.sleep(0)
    held.append(0.0)
    kube._turn.release()
    with pytest.raises(Unavailable, match="another operator may act by now"):
        await write
    assert not server.requests


async def test_no_write_goes_on_for_longer_than_the_lease_is_good(kubes: list[Kube]):
    kube = kubes[0]
    kube.write_seconds = lambda: 0.2
    # It takes connections and says nothing.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        kube.api.configuration.host = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with asyncio.timeout(60):
            with pytest.raises(Unavailable, match="does not answer"):
                await kube.delete("Service", "ml", "qna", uid="u")


class OthersAreQuicker(Kube):
    """An API server at which another writes the Lease between every read and write of ours."""

    def __init__(self, holder: str) -> None:
        self.version, self.holder = 1, holder

    @override
    async def get(self, kind: str, namespace: str, name: str) -> Object:
        meta = {"namespace": namespace, "name": name, "resourceVersion": str(self.version)}
        return {"metadata": meta, "spec": {"holderIdentity": self.holder}}

    @override
    async def replace(self, obj: Object) -> Object:
        self.version += 1
        self.holder = self.holder or "an operator without shards"
        raise Conflict("the Lease has changed")


async def test_of_many_shards_each_has_what_another_renews_for_all_of_them():
    shared = Lease(OthersAreQuicker("9 shards"), SPACE, "9 shards", shared=True)
    assert (await shared._try(), shared.is_held()) == (True, True)


async def test_a_shard_has_nothing_where_the_quicker_one_was_no_shard():
    shared = Lease(OthersAreQuicker(""), SPACE, "9 shards", shared=True)
    assert (await shared._try(), shared.is_held()) == (False, False)
