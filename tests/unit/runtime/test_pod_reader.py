"""An artifact that only pods can read: a Job of the release finds out what it is, whole passes.

The API server is a fake one that runs no Jobs: what a Job's pod says is put there by the tests.
"""

import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from modelrelease_operator.api import names
from modelrelease_operator.manifests import Owner, reader_job
from testbed.api_server import Object
from testbed.builders import a_target
from testbed.operating import Operating, operating
from testbed.servers import serving

S3 = {"uri": "s3://models/qna"}
FOUND = {"version": "7", "sha256": "a" * 64}


@pytest.fixture
async def world() -> AsyncIterator[Operating]:
    async with operating() as found:
        yield found


def job(world: Operating) -> Object:
    (found,) = world.server.of("Job")
    return found


def pod(world: Operating) -> Object:
    found: Object = job(world)["spec"]["template"]["spec"]
    return found


def pod_is(world: Operating, state: Object) -> None:
    name = job(world)["metadata"]["name"]
    meta = {"labels": {"batch.kubernetes.io/job-name": name}, "of": name}
    status = {"containerStatuses": [{"name": "fetch", "state": state}]}
    world.server.put("Pod", "reader", metadata=meta, status=status)


def says(world: Operating, message: str, code: int = 0) -> None:
    """Let the Job's pod end with these words."""
    pod_is(world, {"terminated": {"exitCode": code, "message": message}})
    # The controller writes the end into the Job, which wakes the release.
    now = job(world)
    world.server.put(
        "Job", now["metadata"]["name"], metadata=now["metadata"], spec=now["spec"],
        status={"conditions": [{"type": "Complete" if code == 0 else "Failed", "status": "True"}]},
    )  # fmt: skip


async def test_an_object_that_nobody_pinned_is_read_by_a_job_and_released(world: Operating):
    world.release("1", model=S3)
    await world.once()
    assert "Job ml/qna-read-" in world.status()["message"]
    assert not world.server.of("Deployment")
    says(world, json.dumps(FOUND))
    status = await world.until(lambda status: status.get("phase") == "Stable")
    assert {key: status["stable"][key] for key in ("uri", *FOUND)} == S3 | FOUND
    assert not world.server.of("Job"), "it has answered"


async def test_what_was_read_once_is_not_read_again(world: Operating):
    world.release("1", model=S3)
    await world.once()
    says(world, json.dumps(FOUND))
    await world.until(lambda status: status.get("phase") == "Stable")
    await world.once()
    assert not world.server.of("Job")


async def test_the_job_has_what_the_pods_of_the_revision_have_and_no_more(world: Operating):
    own = {
        "serviceAccountName": "models",
        "image": "own:1",
        "env": [{"name": "AWS_REGION", "value": "eu"}],
        "initContainers": [{"name": "login", "image": "l:1"}],
        "volumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "volumeMounts": [{"name": "ca", "mountPath": "/ca"}],
        "podTemplate": {"metadata": {"labels": {"app": "shop"}}},
    }
    world.release("1", model=S3 | {"credentialsSecretRef": {"name": "store"}}, serving=own)
    await world.once()
    spec = pod(world)
    assert spec["serviceAccountName"] == "models"
    assert spec["automountServiceAccountToken"] is False
    assert [each["name"] for each in spec["initContainers"]] == ["login"]
    (reader,) = spec["containers"]
    assert (reader["name"], reader["image"], reader["args"]) == ("fetch", "own:1", ["describe"])
    env = {item["name"]: item.get("value") for item in reader["env"]}
    assert env["MODEL_URI"] == "s3://models/qna"
    assert env["AWS_REGION"] == "eu"
    assert {"MODEL_SHA256", "MODEL_VERSION"}.isdisjoint(env)
    assert {"HTTP_TOKEN", "HTTP_USERNAME", "HTTP_PASSWORD"} <= set(env)
    assert {"name": "ca", "mountPath": "/ca"} in reader["volumeMounts"]
    assert "resources" in reader
    assert reader["securityContext"]["readOnlyRootFilesystem"] is True


async def test_no_service_can_select_the_pod_of_the_job(world: Operating):
    template = {"metadata": {"labels": {"app": "shop"}}}
    world.release("1", model=S3, serving={"podTemplate": template})
    await world.once()
    assert list(job(world)["spec"]["template"]["metadata"]["labels"]) == [names.LABEL_READER]


async def test_what_meshes_and_identities_are_told_by_is_told_of_the_job_too(world: Operating):
    """Azure's webhook gives a pod its token by a label, Istio's leaves one alone by another."""
    identity = {"azure.workload.identity/use": "true"}
    mesh = {"sidecar.istio.io/inject": "false"}
    scraped = {"prometheus.io/port": "9000"}
    ours = {names.LABEL_RELEASE: "qna", "app.kubernetes.io/name": "qna"}
    told = {"labels": identity | ours | {"app": "shop"}, "annotations": mesh | scraped}
    world.release("1", model=S3, serving={"podTemplate": {"metadata": told}})
    await world.once()
    meta = job(world)["spec"]["template"]["metadata"]
    assert meta["annotations"] == mesh
    assert meta["labels"].keys() == identity.keys() | {names.LABEL_READER}


async def test_a_template_that_may_not_be_set_makes_no_job_either(world: Operating):
    world.release("1", model=S3, serving={"podTemplate": {"spec": {"hostPID": True}}})
    await world.once()
    assert not world.server.of("Job")
    assert "spec.serving.podTemplate.spec.hostPID may not be set" in world.status()["message"]


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"analysis": {"countedBy": "Traefik"}}, "countedBy needs canary.routing.gatewayAPI"),
        (
            {"serving": {"image": "s:1", "runtime": {"profile": "mlserver", "fetch": False}},
             "model": S3 | {"signature": {"key": {"configMapKeyRef": {"name": "k", "key": "k"}}}}},
            "wants a signature to be checked",
        ),
    ],
)  # fmt: skip
async def test_what_is_refused_however_its_artifact_turns_out_makes_no_job(
    world: Operating, parts: Object, why: str
):
    world.release("1", **{"model": S3, **parts})
    await world.once()
    assert not world.server.of("Job")
    assert why in world.status()["message"]


async def test_a_claim_is_mounted_for_the_job_as_for_the_pods(world: Operating):
    world.release("1", model={"uri": "pvc://models/qna"})
    await world.once()
    volumes = {volume["name"]: volume for volume in pod(world)["volumes"]}
    assert volumes["source"]["persistentVolumeClaim"]["claimName"] == "models"


async def test_an_artifact_that_can_never_work_says_so(world: Operating):
    world.release("1", model=S3)
    await world.once()
    says(world, "s3://models/qna/manifest.json does not exist: check MODEL_URI", code=65)
    await world.once()
    assert "does not exist: check MODEL_URI" in world.status()["message"]
    assert world.server.condition("Stalled")["reason"] == "ModelInvalid"


async def test_a_store_that_is_down_is_tried_again_when_the_job_is_gone(world: Operating):
    """The cluster removes it five minutes after its end; what was wrong is told till then."""
    world.release("1", model=S3)
    await world.once()
    says(world, "gave up after 9 tries: s3://models does not answer", code=1)
    await world.once()
    assert "gave up after 9 tries" in world.status()["message"]
    world.server.remove("Job", job(world)["metadata"]["name"])
    world.server.remove("Pod", "reader")
    events = len(world.server.reasons())
    for _ in range(3):
        await world.once()
        assert "gave up after 9 tries" in world.status()["message"]
    assert job(world)["spec"]["ttlSecondsAfterFinished"] == 300
    assert len(world.server.reasons()) == events
    says(world, json.dumps(FOUND))
    await world.until(lambda status: status.get("phase") == "Stable")


@pytest.mark.parametrize(("message", "code"), [("", 2), ("usage: …", 0), ('{"version": "/"}', 0)])
async def test_an_image_that_does_not_know_the_question_is_named(
    message: str, code: int, world: Operating
):
    world.release("1", model=S3, serving={"image": "old:1"})
    await world.once()
    says(world, message, code)
    await world.once()
    assert "image old:1 must know the command `describe`" in world.status()["message"]


async def test_a_pod_that_cannot_start_says_why(world: Operating):
    world.release("1", model=S3)
    await world.once()
    words = 'secret "s" not found'
    pod_is(world, {"waiting": {"reason": "CreateContainerConfigError", "message": words}})
    await world.once()
    assert words in world.status()["message"]


async def test_a_job_that_gets_no_pod_is_not_said_to_read(world: Operating):
    """A quota or a policy refuses its pod: the cluster tells that in the Job's Events alone."""
    world.release("1", model=S3)
    await world.once()
    await world.once()
    told = world.status()["message"]
    assert "once it has a pod" in told
    assert f"`kubectl -n ml describe job {job(world)['metadata']['name']}` says why" in told


def test_two_releases_whose_long_names_begin_alike_have_a_job_each():
    target = a_target("1", sha256="")
    names_of = {
        reader_job(Owner(namespace="ml", name="a" * 47 + end, uid=end), target)["metadata"]["name"]
        for end in ("-eu", "-us")
    }
    assert len(names_of) == 2
    assert max(map(len, names_of)) <= 63


@pytest.mark.parametrize(
    ("pinned", "sentence"),
    [
        ({"version": "8"}, "spec.model.version is '8', but the artifact"),
        ({"sha256": "b" * 64}, "spec.model.sha256 is bbb"),
    ],
)
async def test_half_a_pin_is_held_against_what_was_read(
    pinned: dict[str, str], sentence: str, world: Operating
):
    world.release("1", model=S3 | pinned)
    await world.once()
    says(world, json.dumps(FOUND))
    asked = job(world)
    await world.once()
    assert sentence in world.status()["message"]
    await world.once()
    assert job(world)["metadata"]["uid"] == asked["metadata"]["uid"], (
        "it is not asked again at once"
    )


async def test_a_foreign_job_of_that_name_is_left_alone_and_named(world: Operating):
    world.release("1", model=S3)
    await world.once()
    name = job(world)["metadata"]["name"]
    world.server.remove("Job", name)
    foreign = world.server.put("Job", name, spec={})
    await world.once()
    assert world.server.get("Job", name) == foreign
    assert "belongs to somebody else" in world.status()["message"]


async def test_what_serves_goes_on_while_the_next_version_is_read(world: Operating):
    await world.serves("1")
    world.release("2", model=S3)
    await world.once()
    assert job(world)
    assert world.status()["stable"]["version"] == "1"
    assert world.status()["phase"] == "Stable"
    says(world, json.dumps(FOUND))
    status = await world.until(lambda status: status.get("phase") == "Starting")
    assert status["canary"]["version"] == "7"


async def test_a_folder_that_mlflow_wrote_is_read_by_a_job(world: Operating):
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text="flavors: {}", status=200 if "MLmodel" in request.path else 404)

    async with serving(handler) as address:
        world.release("1", model={"uri": f"{address}/qna"})
        await world.once()
        says(world, json.dumps(FOUND))
        status = await world.until(lambda status: status.get("phase") == "Stable")
    assert status["stable"]["sha256"] == FOUND["sha256"]
    assert asked == ["/qna/manifest.json", "/qna/MLmodel"] * 2


async def test_a_folder_without_either_makes_no_job(world: Operating):
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=404)

    async with serving(handler) as address:
        world.release("1", model={"uri": f"{address}/qna"})
        await world.once()
    assert not world.server.of("Job")
    assert "manifest.json answered 404: there is no artifact" in world.status()["message"]
