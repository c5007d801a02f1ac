"""Several operators: a namespace is exactly one's, and two numbers of them never act at once."""

import asyncio

import pytest

from modelrelease_operator.core.own_rights import OwnRights
from modelrelease_operator.runtime import lease as module
from modelrelease_operator.runtime.cache import Cached
from modelrelease_operator.runtime.checkup.cluster import check_cluster
from modelrelease_operator.runtime.handlers import OperatorContext, leases_of
from modelrelease_operator.runtime.kube import Kube
from modelrelease_operator.runtime.lease import Lease
from modelrelease_operator.runtime.metrics import LEADER, SHARDS
from modelrelease_operator.runtime.shard import Shard, shards_of
from modelrelease_operator.settings import Settings
from testbed.api_server import ApiServer
from testbed.operating import FAST, connected, model

SPACE = "kube-system"
HELD_BY_THE_FIRST_OF_TWO = [0, 1, 3, 7, 8, 9, 10, 11]
NAMESPACES = [f"team-{number}" for number in range(1000)]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_each_namespace_is_exactly_one_shards(count: int):
    shards = [Shard(index, count) for index in range(count)]
    for namespace in NAMESPACES:
        assert sum(shard.holds(namespace) for shard in shards) == 1


def test_shards_have_about_the_same_number_of_namespaces():
    held = [sum(map(Shard(index, 4).holds, NAMESPACES)) for index in range(4)]
    assert held == [pytest.approx(250, abs=50)] * 4


def test_where_a_namespace_belongs_does_not_depend_on_the_process():
    """Another hash in another version would have two operators act in one namespace."""
    held = [number for number in range(12) if Shard(0, 2).holds(NAMESPACES[number])]
    assert held == HELD_BY_THE_FIRST_OF_TWO


@pytest.mark.parametrize("text", ["3/3", "1", "/2", "a/b", "-1/2", "0/0", "1/2/3"])
def test_what_is_no_shard_is_refused(text: str):
    with pytest.raises(ValueError, match="shard"):
        Settings(shard=text)
    with pytest.raises(ValueError, match="is no shard"):
        Shard.parse(text)


def test_without_a_setting_there_is_one_with_the_lease_that_it_always_had():
    shard = Shard.parse(Settings().shard)
    assert shard.holds("anything")
    assert (shard.lease_name, shard.common_holder) == ("modelrelease-operator", None)


def holder(server: ApiServer, name: str = "modelrelease-operator") -> str:
    found: str = server.get("Lease", name, SPACE)["spec"]["holderIdentity"]
    return found


async def acquired(leases: tuple[Lease, ...]) -> tuple[Lease, ...]:
    for lease in leases:
        await lease.acquire()
    return leases


async def waits(leases: tuple[Lease, ...]) -> bool:
    try:
        async with asyncio.timeout(0.5):
            await acquired(leases)
    except TimeoutError:
        return True
    return False


async def test_shards_act_side_by_side_and_one_of_each_number(server: ApiServer, kube: Kube):
    first = await acquired(leases_of(kube, SPACE, Shard(0, 2)))
    second = await acquired(leases_of(kube, SPACE, Shard(1, 2)))
    assert all(lease.is_held() for lease in (*first, *second))
    assert holder(server) == "2 shards"
    assert await waits(leases_of(kube, SPACE, Shard(0, 2))), "a second one of the same number"


async def test_another_number_of_shards_waits_and_so_does_an_operator_without(
    server: ApiServer, kube: Kube
):
    await acquired(leases_of(kube, SPACE, Shard(0, 2)))
    assert await waits(leases_of(kube, SPACE, Shard(2, 3)))
    assert await waits(leases_of(kube, SPACE, Shard()))
    assert holder(server) == "2 shards"


async def test_shards_wait_for_an_operator_without(server: ApiServer, kube: Kube):
    (alone,) = await acquired(leases_of(kube, SPACE, Shard()))
    shard = leases_of(kube, SPACE, Shard(0, 2))
    assert await waits(shard)
    await alone.give_back()
    await acquired(shard)
    assert holder(server) == "2 shards"


async def test_one_shard_that_ends_does_not_give_away_what_the_others_hold(
    server: ApiServer, kube: Kube
):
    first = await acquired(leases_of(kube, SPACE, Shard(0, 2)))
    await acquired(leases_of(kube, SPACE, Shard(1, 2)))
    for lease in first:
        await lease.give_back()
    assert holder(server) == "2 shards"
    assert holder(server, "modelrelease-operator-0-of-2") == ""
    assert await waits(leases_of(kube, SPACE, Shard(0, 3)))


async def test_when_the_last_shard_has_ended_another_number_of_them_begins(
    server: ApiServer, kube: Kube, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "DURATION_SECONDS", 1)
    monkeypatch.setattr(module, "TRUSTED_SECONDS", 0.7)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.1)
    last = await acquired(leases_of(kube, SPACE, Shard(0, 2)))
    async with asyncio.timeout(30):
        await acquired(leases_of(kube, SPACE, Shard(0, 3)))
    assert not any(lease.is_held() for lease in last), "it stopped before the others began"
    assert holder(server) == "3 shards"


async def test_the_doctor_tells_of_the_lease_of_each_shard(server: ApiServer, kube: Kube):
    await acquired(leases_of(kube, SPACE, Shard(0, 2)))
    findings = await check_cluster(kube, None, SPACE)
    told = {each.says for each in findings if "modelrelease-operator-" in each.says}
    assert len(told) == 2
    assert any("renewed Lease kube-system/modelrelease-operator-0-of-2" in each for each in told)
    assert any("modelrelease-operator-1-of-2 does not exist" in each for each in told)


def test_who_holds_the_common_lease_tells_the_shards():
    assert shards_of("3 shards") == [Shard(0, 3), Shard(1, 3), Shard(2, 3)]
    assert shards_of("modelrelease-operator-6c9d_1a2b") == []


async def test_of_other_shards_nothing_is_kept_but_which_requests_they_claim(server: ApiServer):
    one, two = (next(filter(Shard(index, 2).holds, NAMESPACES)) for index in range(2))
    gateway = {"name": "public", "namespace": "gateways"}
    routing = {"gatewayAPI": {"parentRefs": [gateway], "hostnames": ["qna.example"]}}
    for number, space in enumerate((one, two)):
        spec = {"model": model("1"), **FAST, "canary": {"routing": routing}}
        created = {"creationTimestamp": f"2026-11-0{2 - number}T12:00:00Z"}
        server.put("ModelRelease", "qna", space, metadata=created, spec=spec)
        labels = {"modelrelease.dev/release": "qna"}
        server.put("Service", "qna", space, metadata={"labels": labels}, spec={"selector": {}})
    cache = Cached(await connected(server), shard=Shard(0, 2))
    cache.start()
    try:
        await cache.filled(30)
        listed = await cache.releases()
        assert [release["metadata"]["namespace"] for release in listed] == [one]
        assert len(cache.stores["Service"]) == 1
        assert cache.stores["Service"].get((one, "qna"))
        assert await cache.routing_conflict((one, "qna")), "the older one, of the other shard, has"
        cache.release_gone((two, "qna"), None)
        assert await cache.routing_conflict((one, "qna")) is None
    finally:
        await cache.stop()
        await cache.close()


@pytest.mark.parametrize(
    ("settings", "shards", "acts"),
    [({"shard": "1/3", "lease_namespace": SPACE}, 3, 0), ({"lease_namespace": SPACE}, 1, 0),
     ({}, 1, 1)],
)  # fmt: skip
async def test_an_operator_tells_how_many_must_act_and_that_it_does_not_yet(
    kube: Kube, settings: dict[str, str], shards: int, acts: int
):
    """What the alert ModelReleaseOperatorNotActing goes by."""
    everything = OwnRights((), scans=True, without=())
    OperatorContext(kube, Settings(**settings), everything, asyncio.Event())  # type: ignore[arg-type]
    assert (SHARDS._value.get(), LEADER._value.get()) == (shards, acts)
