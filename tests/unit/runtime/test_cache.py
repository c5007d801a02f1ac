"""What watches tell is what passes read:
complete, in order, and not believed when nothing is heard.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from modelrelease_operator.api import names
from modelrelease_operator.errors import Unavailable
from modelrelease_operator.runtime import cache as module
from modelrelease_operator.runtime.cache import Cached, Store, release_of
from modelrelease_operator.runtime.kube import Kube
from modelrelease_operator.runtime.observe import what_signs, workload_of
from testbed.api_server import ApiServer, Object
from testbed.operating import Operating, connected, operating

QNA, QNA_A = ("ml", "qna"), ("ml", "a")


@pytest.fixture
async def world() -> AsyncIterator[Operating]:
    async with operating() as found:
        yield found


async def until(what: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not what():  # noqa: ASYNC110 - a predicate over two programs
            await asyncio.sleep(0.01)


def a_pod(name: str = "a", *, uid: str = "u1", version: int = 1, **parts: Any) -> Object:
    meta = {
        "name": name, "namespace": "ml", "uid": uid, "resourceVersion": str(version),
        "labels": {names.LABEL_RELEASE: "qna"}, "managedFields": [{"manager": "x"}],
    }  # fmt: skip
    return {
        "kind": "Pod",
        "metadata": meta,
        "spec": {"containers": [{}], "nodeName": "n1"},
        **parts,
    }


def a_store() -> Store:
    return Store("Pod", frozenset({None}))


def test_older_news_does_not_undo_newer():
    store = a_store()
    assert store.put(a_pod(version=10, status={"phase": "Running"}))
    assert not store.put(a_pod(version=9, status={"phase": "Pending"}))
    assert store.get(("ml", "a"))["status"] == {"phase": "Running"}  # type: ignore[index]


def test_our_own_write_is_no_news_when_the_watch_tells_it():
    store = a_store()
    written = a_pod(version=2)
    store.put(written)
    kept = store.get(QNA_A)
    assert not store.put(a_pod(version=2))
    assert store.get(QNA_A) is kept


def a_release(*, version: int, **parts: Any) -> Object:
    meta = {"namespace": "ml", "name": "qna", "uid": "r1", "resourceVersion": str(version)}
    return {"kind": names.KIND, "metadata": meta, "spec": {}, **parts}


async def test_a_status_that_we_wrote_is_not_read_again_when_the_watch_tells_it():
    cached = Cached(Kube(None))
    cached.release_told(a_release(version=2, status={"phase": "Stable"}))
    known = (await cached.get(names.KIND, *QNA))["status"]
    cached.release_told(a_release(version=2, status={"phase": "Stable"}))
    assert (await cached.get(names.KIND, *QNA))["status"] is known
    cached.release_told(a_release(version=3, status={"phase": "Pending"}))
    assert (await cached.get(names.KIND, *QNA))["status"] == {"phase": "Pending"}


def standing(cached: Cached) -> Object:
    """Have a Service that was found to be as it is asked to be; return what is asked."""
    asked: Object = {**a_service(version=1), "spec": {"selector": {"x": "y"}}}
    cached.stores["Service"].heard[None] = time.monotonic()
    cached.stores["Service"].put(a_service(version=1))
    cached.found_standing(asked)
    return asked


def a_service(*, version: int, uid: str = "u1") -> Object:
    return {**a_pod(version=version, uid=uid), "kind": "Service"}


def test_what_was_found_applied_stands_until_it_is_another():
    cached = Cached(Kube(None))
    asked = standing(cached)
    assert cached.stands(asked)
    assert not cached.stands({**asked}), "something else that is asked for is compared"
    cached.stores["Service"].put(a_service(version=2))
    assert not cached.stands(asked)


def test_what_was_deleted_or_is_a_namesakes_does_not_stand():
    cached = Cached(Kube(None))
    asked = standing(cached)
    cached.stores["Service"].drop(a_service(version=2))
    assert not cached.stands(asked)
    cached.stores["Service"].put(a_service(version=3, uid="u2"))
    assert not cached.stands(asked)


def test_nothing_stands_while_nothing_is_heard():
    cached = Cached(Kube(None))
    asked = standing(cached)
    cached.stores["Service"].heard.clear()
    with pytest.raises(Unavailable, match="nothing was heard of Services"):
        cached.stands(asked)


def test_what_changes_nothing_that_anybody_reads_is_no_news():
    store = a_store()
    store.put(a_pod(version=1))
    assert not store.put(a_pod(version=2))
    assert store.put(a_pod(version=3, status={"phase": "Running"}))


def a_deployment(*, version: int, **status: Any) -> Object:
    pod = a_pod("d", uid="d1", version=version)
    meta = {**pod["metadata"], "generation": 2}
    return {"kind": "Deployment", "metadata": meta, "spec": {"replicas": 1}, "status": status}


def test_a_controllers_notes_are_no_news_and_what_a_pass_reads_of_a_deployment_is():
    store = Store("Deployment", frozenset({None}))
    store.put(a_deployment(version=1))
    assert store.put(a_deployment(version=2, observedGeneration=2))
    progress = [{"type": "Progressing", "status": "True", "lastUpdateTime": "t1"}]
    assert not store.put(
        a_deployment(version=3, observedGeneration=2, conditions=progress, replicas=1)
    )
    failure = [{"type": "ReplicaFailure", "status": "True", "message": "quota"}]
    assert store.put(a_deployment(version=4, observedGeneration=2, conditions=failure))
    kept = store.get(("ml", "d"))
    assert kept is not None
    assert kept["metadata"]["resourceVersion"] == "4"


def test_what_was_no_news_is_kept_all_the_same():
    store = Store("Deployment", frozenset({None}))
    store.put(a_deployment(version=1, observedGeneration=2))
    assert not store.put(a_deployment(version=2, observedGeneration=2, availableReplicas=1))
    kept = store.get(("ml", "d"))
    assert kept is not None
    assert (kept["metadata"]["resourceVersion"], kept["status"]["availableReplicas"]) == ("2", 1)


@pytest.mark.parametrize(
    "change",
    [
        {"conditions": [{"type": "Ready", "status": "True"}]},
        {"conditions": [{"type": "PodScheduled", "status": "False", "message": "no node fits"}]},
        {"conditions": [{"type": "PodReadyToStartContainers", "status": "False"}]},
        {"containerStatuses": [{"name": "predictor",
        "state": {"waiting": {"reason": "ErrImagePull"}}}]},
        {"containerStatuses": [{"name": "retrain", "state": {"terminated": {"exitCode": 0}}}]},
        {"containerStatuses": [{"name": "predictor", "restartCount": 1,
                                "lastState": {"terminated": {"exitCode": 1}}}]},
        {"containerStatuses": None},
    ],
)  # fmt: skip
def test_whatever_a_pass_reads_of_a_pod_is_news(change: dict[str, Any]):
    store = a_store()
    store.put(a_pod(version=1, status={"phase": "Pending"}))
    assert store.put(a_pod(version=2, status={"phase": "Pending", **change}))


def test_a_pod_that_found_its_node_is_no_news_and_one_that_ends_is():
    store = a_store()
    store.put(a_pod(version=1, status={"phase": "Pending"}))
    scheduled = {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]}
    assert not store.put(a_pod(version=2, status=scheduled))
    ends = a_pod(version=3, status=scheduled)
    ends["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert store.put(ends)


def test_a_template_that_somebody_took_away_is_news():
    store = Store("Deployment", frozenset({None}))
    noted, bare = a_deployment(version=1), a_deployment(version=2)
    noted["metadata"]["annotations"] = {
        names.ANNOTATION_TEMPLATE: "{}",
        "deployment.kubernetes.io/revision": "1",
    }
    store.put(noted)
    assert store.put(bare)


def test_what_we_deleted_does_not_come_back_by_late_news():
    store = a_store()
    store.put(a_pod(version=1))
    store.deleted(("ml", "a"), "u1")
    assert store.get(("ml", "a")) is None
    assert not store.put(a_pod(version=2))
    assert store.put(a_pod(uid="u2", version=3)), "but its namesake does"


def test_a_namesakes_end_is_not_the_end_of_what_is_there():
    store = a_store()
    store.put(a_pod(uid="new", version=5))
    assert not store.drop(a_pod(uid="old", version=6))
    assert store.get(("ml", "a")) is not None


def test_a_list_also_tells_what_is_gone():
    store = a_store()
    store.put(a_pod("a", version=1))
    news = store.replace(None, [a_pod("b", uid="u2", version=2)])
    assert {release_of(obj) for obj in news} == {QNA}
    assert [it["metadata"]["name"] for it in store.of_release(QNA)] == ["b"]


def test_a_list_of_one_namespace_says_nothing_of_another():
    store = Store("Pod", frozenset({"ml", "other"}))
    store.put(a_pod("a", version=1))
    assert store.replace("other", []) == []
    assert len(store) == 1


def test_a_label_that_is_taken_away_takes_the_object_away():
    store = a_store()
    store.put(a_pod(version=1))
    without = a_pod(version=2)
    without["metadata"]["labels"] = {}
    assert store.put(without)
    assert store.of_release(QNA) == []


def test_of_a_pod_only_what_is_read_is_kept():
    store = a_store()
    store.put(a_pod(version=1))
    kept = store.get(("ml", "a"))
    assert kept is not None
    assert kept["spec"] == {"containers": [{}], "initContainers": []}
    assert "managedFields" not in kept["metadata"]


def test_why_a_container_ended_can_be_told_of_a_pod_that_is_kept():
    """A sidecar lasts by its restart policy, and a limit of memory is in the pod's spec."""
    limit = {"limits": {"memory": "512Mi", "cpu": "2"}, "requests": {"memory": "1Mi"}}
    ended = {"exitCode": 137, "reason": "OOMKilled"}
    states = [
        {"name": name, "restartCount": 2, "lastState": {"terminated": ended}} for name in "ab"
    ]
    pod = a_pod(status={"containerStatuses": states[:1], "initContainerStatuses": states[1:]})
    pod["spec"] = {
        "containers": [{"name": "a", "image": "big:1", "resources": limit}],
        "initContainers": [{"name": "b", "restartPolicy": "Always", "env": [{"name": "X"}]}],
    }
    store = a_store()
    store.put(pod)
    kept = store.get(("ml", "a"))
    assert kept is not None
    assert workload_of("rev1", None, [kept]) == workload_of("rev1", None, [pod])
    assert workload_of("rev1", None, [kept]).crashes == {"a": 4}
    assert "limit 512Mi" in str(workload_of("rev1", None, [kept]).crash)
    assert "image" not in kept["spec"]["containers"][0]


def test_of_who_wrote_a_release_only_what_signs_commands_is_kept():
    ours, others = f"f:{names.ANNOTATION_APPROVE}", "f:other/note"
    fields = {"f:metadata": {"f:annotations": {ours: {}, others: {}}}, "f:spec": {"f:model": {}}}
    wrote = {"manager": "kubectl", "time": "2026-11-01T12:00:00Z", "fieldsV1": fields}
    status = {**wrote, "subresource": "status"}
    spec = {"manager": "argocd", "fieldsV1": {"f:spec": {"f:model": {}}}}
    kept = what_signs({"managedFields": [wrote, status, spec]})
    signs: Object = {"f:metadata": {"f:annotations": {ours: {}}}}
    assert kept == [{"manager": "kubectl", "time": "2026-11-01T12:00:00Z", "fieldsV1": signs}]


async def test_an_idle_pass_asks_nothing_of_the_api_server(world: Operating):
    await world.serves("1")
    await world.once()
    world.server.requests.clear()
    for _ in range(20):
        await world.once()
    assert not world.server.requests


async def test_nothing_is_kept_of_what_was_made_for_a_release_at_rest(world: Operating):
    await world.with_canary()
    assert len(world.kube._hashes)
    await world.serves("1")
    await world.once()
    assert not len(world.kube._hashes)
    assert not len(world.kube._standing)
    assert not len(world.reconciler._rendered)
    assert not len(world.reconciler._workloads)


async def test_a_release_that_is_told_again_is_the_object_that_is_known(world: Operating):
    await world.serves("1")
    known = await world.kube.get(names.KIND, "ml", "qna")
    world.kube.release_told(world.server.get("ModelRelease", "qna"))
    assert await world.kube.get(names.KIND, "ml", "qna") is known


async def test_a_canary_that_is_judged_costs_one_write_a_look(world: Operating):
    await world.with_canary()
    await world.once()
    world.server.requests.clear()
    for _ in range(10):
        await world.once()
    assert world.server.requests == {"PATCH modelreleases/status": 10}


async def test_what_a_person_changes_is_repaired(world: Operating):
    await world.serves("1")
    (deployment,) = world.server.of("Deployment")
    changed = {**deployment, "spec": {**deployment["spec"], "replicas": 0}}
    world.server.put(
        "Deployment",
        deployment["metadata"]["name"],
        metadata=changed["metadata"],
        spec=changed["spec"],
    )
    world.server.remove("Service", "qna-stable")
    await world.once()
    (deployment,) = world.server.of("Deployment")
    assert deployment["spec"]["replicas"] == 2
    assert world.server.has("Service", "qna-stable")


async def test_a_release_that_waits_looks_ever_less_often_and_wakes_at_once(world: Operating):
    world.server.pods_start = False
    woken = world.woken
    world.release("1")
    waits = [await world.once() for _ in range(12)]
    seconds = [wait.total_seconds() for wait in waits if wait]
    assert seconds[0] <= 2
    assert seconds[-1] == 30
    assert seconds == sorted(seconds)
    world.server.requests.clear()
    for _ in range(20):
        await world.once()
    assert not world.server.requests
    woken.clear()
    pod = world.server.of("Pod")[0]
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    world.server.put("Pod", pod["metadata"]["name"], metadata=pod["metadata"], status=ready)
    await until(lambda: QNA in woken)


async def test_a_watch_that_ends_quietly_is_opened_again_and_loses_nothing(world: Operating):
    await world.serves("1")
    world.server.silent.add("pods")
    world.server.end_watches("pods")
    await until(lambda: world.server.requests["LIST pods"] >= 2)
    gone = world.server.of("Pod")[0]
    world.server.remove("Pod", gone["metadata"]["name"], to_watches=False)
    await until(lambda: world.kube.stores["Pod"].get(("ml", gone["metadata"]["name"])) is None)
    lists = world.server.requests["LIST pods"]
    await asyncio.sleep(0.5)
    assert world.server.requests["LIST pods"] - lists <= 2, "it does not ask as fast as it can"


async def test_foreign_objects_are_neither_sent_nor_kept(world: Operating):
    for number in range(50):
        world.server.put("Service", f"foreign-{number}", "elsewhere", spec={})
    await world.serves("1")
    assert len(world.kube.stores["Service"]) == 3


async def test_while_nothing_is_heard_a_store_is_not_believed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "BELIEVED_SECONDS", 5.0)
    server = await ApiServer().start()
    kube = Cached(await connected(server))
    server.refuse = lambda verb, plural, _: (403, "forbidden") if plural == "pods" else None
    kube.start()
    await kube.filled(0.2)
    with pytest.raises(
        Unavailable, match="nothing was heard of Pods in ml yet: the watch cannot be opened"
    ):
        await kube.list("Pod", "ml", {names.LABEL_RELEASE: "qna"})
    server.refuse = lambda *_: None
    await until(lambda: None in kube.stores["Pod"].heard)
    assert await kube.list("Pod", "ml", {names.LABEL_RELEASE: "qna"}) == []
    await kube.stop()
    await kube.close()
    await server.stop()


async def test_a_kind_that_was_not_asked_for_yet_is_not_said_to_be_absent():
    server = await ApiServer().start()
    kube = Cached(await connected(server))
    with pytest.raises(Unavailable, match="PodDisruptionBudgets are not listed"):
        await kube.borrowed("PodDisruptionBudget", "ml", "theirs")
    kube.start()
    await kube.filled(60)
    assert await kube.borrowed("PodDisruptionBudget", "ml", "theirs") is None
    await kube.stop()
    await kube.close()
    await server.stop()


async def test_only_the_namespaces_that_are_given_are_watched():
    server = await ApiServer().start()
    kube = Cached(await connected(server), ["ml", "other"])
    asked: set[str] = set()
    kube.start()
    await kube.filled(60)
    labels = {names.LABEL_RELEASE: "qna"}
    for space in ("ml", "other", "third"):
        server.put("Service", "qna", space, metadata={"labels": labels}, spec={})
    await until(lambda: len(kube.stores["Service"]) == 2)
    asked = {space for space, _ in kube.stores["Service"]._entries}
    assert asked == {"ml", "other"}
    assert server.requests["LIST services"] == 2
    await kube.stop()
    await kube.close()
    await server.stop()


async def test_the_slow_list_finds_what_no_watch_told(world: Operating):
    world.release("1", "told")
    world.kube.release_told(world.server.get("ModelRelease", "told"))
    world.server.remove("ModelRelease", "told", to_watches=False)
    world.release("1", "silent")
    found = await world.kube.releases()
    assert [it["metadata"]["name"] for it in found] == ["silent"]
    assert (await world.kube.get(names.KIND, "ml", "silent"))["metadata"]["name"] == "silent"
    assert ("ml", "told") not in world.kube._releases
