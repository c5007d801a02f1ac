"""A release writes and deletes its own things only; whose a thing is, its owner's uid says."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from modelrelease_operator.api import names
from modelrelease_operator.errors import Conflict, Gone
from testbed.operating import Operating, operating


@pytest.fixture
async def world() -> AsyncIterator[Operating]:
    async with operating() as found:
        yield found


def an_owner(name: str, uid: str) -> dict[str, Any]:
    return {
        "apiVersion": names.API_VERSION, "kind": names.KIND, "name": name, "uid": uid,
        "controller": True,
    }  # fmt: skip


@pytest.mark.parametrize("tail", ["", "-stable", "-canary"])
async def test_a_service_of_another_application_is_left_alone_and_named(
    world: Operating, tail: str
):
    foreign = world.server.put("Service", f"qna{tail}", spec={"selector": {"app": "billing"}})
    world.release("1")
    await world.once()
    assert world.server.get("Service", f"qna{tail}") == foreign
    told = world.server.get("ModelRelease", "qna")["status"]["message"]
    assert f"Service ml/qna{tail} exists and belongs to somebody else" in told
    assert f"{names.KIND} qna" in told
    assert world.server.condition("Stalled")["status"] == "True"
    assert not world.server.of("Deployment"), "nothing is made of a release that cannot be whole"
    assert "ApplyRefused" in world.server.reasons()
    world.server.remove("Service", f"qna{tail}")
    await world.until(lambda status: status.get("phase") == "Stable")


async def test_two_releases_that_need_one_name_are_refused_naming_both(world: Operating):
    await world.serves("1", "qna-canary")
    before = world.server.get("Service", "qna-canary")
    world.release("1", "qna")
    await world.once("qna")
    assert world.server.get("Service", "qna-canary") == before
    told = world.status("qna")["message"]
    assert "belongs to ModelRelease qna-canary" in told
    assert "ModelRelease qna would need the same name" in told
    assert (await world.until(lambda _: True, "qna-canary"))["phase"] == "Stable"


async def test_a_deployment_of_the_computed_name_that_is_foreign_is_not_touched(world: Operating):
    await world.serves("1")
    world.release("2")
    await world.once()
    canary = world.status()["canary"]["revision"]
    world.server.remove("Deployment", f"qna-{canary}")
    foreign = world.server.put(
        "Deployment",
        f"qna-{canary}",
        spec={"replicas": 1, "template": {"metadata": {"labels": {}}}},
    )
    await world.once()
    assert world.server.get("Deployment", f"qna-{canary}")["spec"] == foreign["spec"]
    assert (
        f"Deployment ml/qna-{canary} exists and belongs to somebody else"
        in world.status()["message"]
    )
    world.release("1")
    await world.until(lambda status: status["phase"] == "Stable")
    assert world.server.has("Deployment", f"qna-{canary}"), "and it is not deleted either"


async def test_a_deployment_that_only_carries_our_labels_is_not_deleted(world: Operating):
    status = await world.serves("1")
    labels = {names.LABEL_RELEASE: "qna", names.LABEL_REVISION: "feedbeef00"}
    template = {"metadata": {"labels": {"app": "other"}}}
    world.server.put(
        "Deployment",
        "other",
        metadata={"labels": labels},
        spec={"replicas": 0, "template": template},
    )
    await world.until(lambda _: True)
    assert world.server.has("Deployment", "other")
    assert world.routed() == status["stable"]["revision"]


async def test_a_deployment_of_the_release_that_lost_its_owner_is_removed_once_nothing_needs_it(
    world: Operating,
):
    """Left there, its pods would keep every later canary from its clients."""
    await world.serves("1")
    labels = {
        names.LABEL_RELEASE: "qna",
        names.LABEL_REVISION: "feedbeef00",
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
    }
    template = {"metadata": {"labels": labels}}
    spec = {"replicas": 1, "template": template}
    world.server.put("Deployment", "qna-feedbeef00", metadata={"labels": labels}, spec=spec)
    await world.until(lambda _: True)
    assert not world.server.has("Deployment", "qna-feedbeef00")


async def test_a_deletion_that_is_refused_for_now_is_tried_again(world: Operating):
    """A 409 says that it is another object, or only that somebody wrote at the same moment."""
    status = await world.with_canary()
    name = f"qna-{status['canary']['revision']}"
    refused: list[str] = []

    def once(method: str, plural: str, obj: Any) -> tuple[int, str] | None:
        if (method, plural) != ("DELETE", "deployments") or refused:
            return None
        refused.append(name)
        return 409, "the object has been modified"

    world.server.refuse = once
    world.release("1")
    await world.until(lambda status: status["phase"] == "Stable")
    for _ in range(3):
        await world.once()
    assert refused
    assert not world.server.has("Deployment", name)


async def test_what_became_another_object_meanwhile_is_neither_deleted_nor_changed(
    world: Operating,
):
    await world.serves("1")
    old = world.server.of("Deployment")[0]
    name, uid = old["metadata"]["name"], old["metadata"]["uid"]
    world.server.remove("Deployment", name)
    new = world.server.put("Deployment", name, spec={**old["spec"], "replicas": 0})
    await world.kube.delete("Deployment", "ml", name, uid=uid)
    assert world.server.has("Deployment", name)
    with pytest.raises(Conflict):
        await world.kube.apply(
            {**old, "metadata": {**old["metadata"], "uid": uid}, "spec": {"replicas": 5}}
        )
    assert world.server.get("Deployment", name)["spec"] == new["spec"]


async def test_a_status_never_lands_on_a_namesake(world: Operating):
    release = world.release("1")
    world.server.remove("ModelRelease", "qna")
    world.release("7")
    with pytest.raises(Conflict):
        await world.kube.apply_status(release, {"phase": "Stable"})
    assert "status" not in world.server.get("ModelRelease", "qna")


async def test_a_release_that_is_made_anew_during_a_pass_gets_no_status_of_the_old_one(
    world: Operating,
):
    await world.with_canary()
    old = world.server.get("ModelRelease", "qna")["metadata"]["uid"]

    def made_anew(method: str, plural: str, obj: Any) -> None:
        if (
            plural == "modelreleases/status"
            and world.server.get("ModelRelease", "qna")["metadata"]["uid"] == old
        ):
            world.server.remove("ModelRelease", "qna")
            world.release("7")

    world.server.refuse = made_anew
    with pytest.raises(Conflict):
        await world.once()
    assert world.server.get("ModelRelease", "qna")["metadata"]["uid"] != old
    assert "status" not in world.server.get("ModelRelease", "qna")
    status = await world.until(lambda it: "stable" in it or it.get("phase") == "Pending")
    assert status.get("canary") is None


async def test_a_release_made_anew_begins_anew(world: Operating):
    await world.serves("1")
    world.server.remove("ModelRelease", "qna")
    with pytest.raises(Gone):
        await world.once()
    for obj in [*world.server.of("Deployment"), *world.server.of("Service")]:
        world.server.remove(obj["kind"], obj["metadata"]["name"])
    world.release("2")
    status = await world.until(lambda it: it.get("phase") == "Stable")
    assert status["stable"]["version"] == "2"


async def test_what_a_restored_backup_brings_is_adopted_and_goes_on_serving(world: Operating):
    before = await world.serves("1")
    old = world.server.get("ModelRelease", "qna")["metadata"]["uid"]
    world.server.remove("ModelRelease", "qna")
    world.kube.release_gone(("ml", "qna"), None)
    world.release("1")
    new = world.server.get("ModelRelease", "qna")["metadata"]["uid"]
    assert new != old
    status = await world.until(lambda it: it.get("phase") == "Stable")
    assert status["stable"]["revision"] == before["stable"]["revision"] == world.routed()
    for obj in [*world.server.of("Service"), *world.server.of("Deployment")]:
        assert [each["uid"] for each in obj["metadata"]["ownerReferences"]] == [new], obj[
            "metadata"
        ]["name"]


async def test_a_status_wiped_while_a_canary_has_users_leaves_stable_what_it_was(world: Operating):
    before = await world.with_canary()
    templates = {
        it["metadata"]["name"]: it["spec"]["template"] for it in world.server.of("Deployment")
    }
    release = world.server.get("ModelRelease", "qna")
    world.server.put(
        "ModelRelease", "qna", metadata=release["metadata"], spec=release["spec"], status={}
    )
    await world.once()
    status = world.status()
    assert status["stable"]["revision"] == before["stable"]["revision"] == world.routed()
    assert status["canary"]["revision"] == before["canary"]["revision"]
    assert [status["stable"][part] for part in ("version", "uri", "sha256")] == [
        "1",
        "pvc://models/1",
        "0" * 63 + "1",
    ]
    await world.until(lambda it: it.get("phase") == "Progressing")
    after = {it["metadata"]["name"]: it["spec"]["template"] for it in world.server.of("Deployment")}
    assert after == templates, "no pod is replaced"


async def test_what_is_read_back_makes_the_same_pods_again_where_its_deployment_was_deleted(
    world: Operating,
):
    before = await world.with_canary()
    name = f"qna-{before['stable']['revision']}"
    template = world.server.get("Deployment", name)["spec"]["template"]
    release = world.server.get("ModelRelease", "qna")
    world.server.put(
        "ModelRelease", "qna", metadata=release["metadata"], spec=release["spec"], status={}
    )
    await world.once()
    world.server.remove("Deployment", name)
    await world.once()
    assert world.server.get("Deployment", name)["spec"]["template"] == template


async def test_a_deployment_of_an_earlier_release_of_the_name_says_nothing_of_who_is_stable(
    world: Operating,
):
    await world.with_canary()
    world.server.remove("ModelRelease", "qna")
    world.kube.release_gone(("ml", "qna"), None)
    world.release("2")
    await world.once()
    assert world.status()["phase"] == "Pending"
    assert world.status().get("stable") is None


async def test_a_lost_owner_reference_is_put_back(world: Operating):
    await world.with_canary()
    service = world.server.get("Service", "qna")
    meta = {key: value for key, value in service["metadata"].items() if key != "ownerReferences"}
    world.server.put("Service", "qna", metadata=meta, spec=service["spec"])
    await world.once()
    (owner,) = world.server.get("Service", "qna")["metadata"]["ownerReferences"]
    assert owner["uid"] == world.server.get("ModelRelease", "qna")["metadata"]["uid"]


def handed_over(server: Any) -> None:
    """Put a Service of nobody's with both of our labels, as a person hands it over."""
    labels = {names.LABEL_RELEASE: "qna", names.LABEL_MANAGED_BY: names.MANAGED_BY}
    spec = {"selector": {"app": "qna"}, "ports": [{"port": 80, "targetPort": 8080}]}
    server.put("Service", "qna", metadata={"labels": labels}, spec=spec)


async def test_a_service_that_is_handed_over_leads_where_it_led_until_there_are_pods(
    world: Operating,
):
    world.server.pods_start = False
    handed_over(world.server)
    world.release("1")
    for _ in range(3):
        await world.once()
    assert world.server.of("Deployment"), "the first version starts meanwhile"
    assert world.server.get("Service", "qna")["spec"]["selector"] == {"app": "qna"}
    assert "leads to others until then" in world.status()["message"]
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    for pod in world.server.of("Pod"):
        world.server.put("Pod", pod["metadata"]["name"], metadata=pod["metadata"], status=ready)
    status = await world.until(lambda status: status.get("phase") == "Stable")
    assert world.routed() == status["stable"]["revision"]
    (owner,) = world.server.get("Service", "qna")["metadata"]["ownerReferences"]
    assert owner["uid"] == world.server.get("ModelRelease", "qna")["metadata"]["uid"]


async def test_a_foreign_service_of_an_arm_is_found_before_one_that_is_handed_over_is_used(
    world: Operating,
):
    handed_over(world.server)
    world.server.put("Service", "qna-canary", spec={"selector": {"app": "billing"}})
    world.release("1")
    await world.once()
    assert "Service ml/qna-canary exists and belongs to somebody else" in world.status()["message"]
    assert not world.server.of("Deployment")
    assert world.server.get("Service", "qna")["spec"]["selector"] == {"app": "qna"}


async def test_a_service_of_another_release_of_that_uid_is_not_adopted(world: Operating):
    owners = {"ownerReferences": [an_owner("other", "uid-of-other")]}
    world.server.put("Service", "qna", metadata=owners, spec={"selector": {}})
    world.release("1")
    await world.once()
    assert "belongs to ModelRelease other" in world.status()["message"]
