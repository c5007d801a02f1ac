"""From `models:/…` and `runs:/…` to one immutable version, against a real MLflow server."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from modelrelease_contract import ArtifactIdentity, manifest_digest
from modelrelease_operator.api.registry import ModelRef, RunRef, followed_alias, model_ref, run_ref
from modelrelease_operator.api.spec import ModelSource, ReleaseSpec
from modelrelease_operator.api.status import Reason, Resolved, Status
from modelrelease_operator.errors import Invalid, Unavailable
from modelrelease_operator.runtime.credentials import Credentials
from modelrelease_operator.runtime.mlflow import Registry, registry_of
from modelrelease_operator.runtime.registry_watch import RegistryWatch
from modelrelease_operator.runtime.resolution import Resolution, resolution_of
from modelrelease_operator.runtime.resolve import (
    NeedsPod,
    resolve,
    resolved_by_pod,
    target_for_spec,
    unread_target,
)
from modelrelease_operator.settings import Settings
from testbed.builders import a_spec
from testbed.servers import answering, never, serving
from tests.support.registering import Registering, a_manifest, a_registered_model, digest_tag

KEY = ("ml", "qna")


def source(uri: str, **pins: Any) -> ModelSource:
    return ModelSource(uri=uri, **pins)


@pytest.fixture
def model(mlflow_url: str) -> Registering:
    return a_registered_model(mlflow_url)


async def test_an_alias_means_one_version_with_its_digest_and_a_place_that_a_pod_can_read(
    model: Registering,
):
    found = await resolve(source(f"models:/{model.name}@champion"), Registry(model.url))
    assert (found.version, found.sha256) == (
        "2026-11-01",
        manifest_digest(a_manifest("2026-11-01")),
    )
    assert str(found.registered) == f"models:/{model.name}/1"
    assert found.location == model.place("1")


async def test_a_pod_is_given_the_place_and_never_the_alias(model: Registering):
    found = await resolve(source(f"models:/{model.name}@champion"), Registry(model.url))
    target = target_for_spec(a_spec(), found, default_image="serving:test")
    assert target.uri == model.place("1")
    assert target.registered == found.registered


async def test_an_alias_and_the_number_that_it_means_are_the_same_revision(model: Registering):
    registry = Registry(model.url)
    targets = [
        target_for_spec(
            a_spec(), await resolve(source(uri), registry), default_image="serving:test"
        )
        for uri in (f"models:/{model.name}@champion", f"models:/{model.name}/1")
    ]
    assert targets[0] == targets[1]


async def test_a_folder_of_a_run_is_resolved_too(model: Registering):
    found = await resolve(source(f"runs:/{model.runs['2']}/artifact"), Registry(model.url))
    assert (found.version, found.location, found.registered) == (
        "2026-11-02",
        model.place("2"),
        None,
    )


async def test_an_artifact_that_was_changed_after_it_was_registered_is_refused(model: Registering):
    version = model.version(a_manifest("3"), tags=digest_tag(b"what was registered"))
    with pytest.raises(Invalid, match="it was changed after it was registered"):
        await resolve(source(f"models:/{model.name}/{version}"), Registry(model.url))


async def test_a_version_without_a_digest_is_pinned_by_what_is_there_now(model: Registering):
    version = model.version(a_manifest("3"))
    found = await resolve(source(f"models:/{model.name}/{version}"), Registry(model.url))
    assert found.sha256 == manifest_digest(a_manifest("3"))


async def test_a_digest_that_is_none_is_refused(model: Registering):
    version = model.version(a_manifest("3"), tags={"modelrelease.digest": "abc"})
    with pytest.raises(Invalid, match="which is no sha256"):
        await resolve(source(f"models:/{model.name}/{version}"), Registry(model.url))


async def test_a_digest_that_a_person_pinned_must_be_the_one(model: Registering):
    with pytest.raises(Invalid, match=r"spec\.model\.sha256"):
        await resolve(
            source(f"models:/{model.name}@champion", sha256="f" * 64), Registry(model.url)
        )


async def test_a_version_in_an_object_store_is_taken_as_registered(model: Registering):
    tags = {**digest_tag(b"x"), "modelrelease.version": "5"}
    version = model.version(b"{}", tags=tags, source="s3://bucket/qna/5")
    found = await resolve(source(f"models:/{model.name}/{version}"), Registry(model.url))
    assert (found.location, found.version) == ("s3://bucket/qna/5", "5")
    assert found.sha256 == tags["modelrelease.digest"]


async def test_a_version_in_an_object_store_without_a_digest_is_left_to_a_pod(model: Registering):
    version = model.version(b"{}", source="s3://bucket/qna/5")
    asked = source(f"models:/{model.name}/{version}")
    with pytest.raises(NeedsPod) as left:
        await resolve(asked, Registry(model.url))
    place = left.value.place
    assert place.location == "s3://bucket/qna/5"
    found = resolved_by_pod(asked, place, ArtifactIdentity(version="5", sha256="a" * 64))
    assert (found.location, found.registered) == (place.location, place.registered)


async def test_a_folder_that_mlflow_logged_is_left_to_a_pod_and_named_by_the_registry(
    model: Registering,
):
    version = model.version(b"flavors: {}", file="MLmodel")
    uri = f"models:/{model.name}/{version}"
    with pytest.raises(NeedsPod) as left:
        await resolve(source(uri), Registry(model.url))
    target = unread_target(a_spec(model={"uri": uri}), left.value.place, default_image="i:1")
    assert (target.uri, target.version) == (model.place(version), version)


async def test_what_a_pod_read_is_held_to_the_registrys_digest(model: Registering):
    version = model.version(b"{}", tags=digest_tag(b"x"), source="s3://bucket/qna/5")
    asked = source(f"models:/{model.name}/{version}")
    with pytest.raises(NeedsPod) as left:
        await resolve(asked, Registry(model.url))
    other = ArtifactIdentity(version="5", sha256="a" * 64)
    with pytest.raises(Invalid, match="was changed after it was registered"):
        resolved_by_pod(asked, left.value.place, other)


@pytest.mark.parametrize("tag", ["feature/login", "-1", "1" * 64, "v 1"])
async def test_a_version_tag_that_cannot_be_a_label_of_pods_is_refused(
    model: Registering, tag: str
):
    tags = {**digest_tag(b"x"), "modelrelease.version": tag}
    version = model.version(b"{}", tags=tags, source="s3://bucket/qna/5")
    with pytest.raises(
        Invalid, match=r"tag modelrelease\.version .* which cannot be a label of pods"
    ):
        await resolve(source(f"models:/{model.name}/{version}"), Registry(model.url))


async def test_a_registered_version_that_is_pinned_is_not_read(model: Registering):
    version = model.version(b"not a manifest")
    pins = {"version": "9", "sha256": "a" * 64}
    found = await resolve(source(f"models:/{model.name}/{version}", **pins), Registry(model.url))
    assert (found.version, found.sha256, found.location) == ("9", "a" * 64, model.place(version))


@pytest.mark.parametrize(
    "uri", ["models:/{name}@nobody", "models:/{name}/99", "models:/no-such-model/1"]
)
async def test_what_the_registry_does_not_have_is_refused_in_its_own_words(
    model: Registering, uri: str
):
    with pytest.raises(Invalid, match="not found"):
        await resolve(source(uri.format(name=model.name)), Registry(model.url))


async def test_a_run_that_does_not_exist_is_refused(mlflow_url: str):
    with pytest.raises(Invalid, match="Run with id=nope not found"):
        await resolve(source("runs:/nope/artifact"), Registry(mlflow_url))


async def test_a_version_without_a_manifest_is_refused(model: Registering):
    version = model.version(b"not a manifest")
    with pytest.raises(Invalid, match=r"manifest\.json is not valid"):
        await resolve(source(f"models:/{model.name}/{version}"), Registry(model.url))


async def test_without_a_tracking_server_the_chart_value_to_set_is_named():
    with pytest.raises(Invalid, match=r"mlflow\.trackingUri"):
        await resolve(source("models:/qna@champion"), registry_of(Settings()))


# A server that does not behave.


@pytest.mark.parametrize(
    "body", ["<html>", "[]", "{}", '{"model_version": 7}', '{"model_version": {}}']
)
async def test_a_server_that_answers_nonsense_is_asked_again_later(body: str):
    async with serving(answering(body)) as url:
        with pytest.raises(Unavailable, match=f"MLflow at {url}"):
            await resolve(source("models:/qna@champion"), Registry(url))


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_a_server_in_trouble_is_asked_again_later(status: int):
    async with serving(answering("no", status)) as url:
        with pytest.raises(Unavailable, match=f"answered {status}"):
            await resolve(source("models:/qna@champion"), Registry(url))


async def test_a_server_that_never_answers_does_not_hold_the_operator_up():
    async with serving(never) as url:
        with pytest.raises(Unavailable, match="does not answer"):
            await resolve(source("models:/qna@champion"), Registry(url, timeout_seconds=0.2))


async def test_what_only_the_server_itself_can_read_is_refused_with_the_remedy():
    with pytest.raises(Invalid, match="--serve-artifacts"):
        Registry("http://mlflow").place("file:///mlruns/1/artifacts")


@pytest.mark.parametrize(
    ("uri", "below", "place"),
    [
        (
            "mlflow-artifacts:/1/run/artifacts",
            "a",
            "http://mlflow/x/api/2.0/mlflow-artifacts/artifacts/1/run/artifacts/a",
        ),
        (
            "mlflow-artifacts://other:80/1",
            "",
            "http://other:80/api/2.0/mlflow-artifacts/artifacts/1",
        ),
        (
            "mlflow-artifacts:/1/a b?#",
            "",
            "http://mlflow/x/api/2.0/mlflow-artifacts/artifacts/1/a%20b%3F%23",
        ),
        ("gs://bucket/qna/", "artifact", "gs://bucket/qna/artifact"),
    ],
)
def test_a_place_is_one_that_a_pod_can_read(uri: str, below: str, place: str):
    assert Registry("http://mlflow/x/").place(uri, below) == place


def test_a_place_that_climbs_out_is_refused():
    with pytest.raises(Invalid, match="must not contain"):
        Registry("http://mlflow").place("mlflow-artifacts:/1", "../../2")


@pytest.mark.parametrize(
    ("credentials", "header"),
    [
        (Credentials(token="t0ken"), "Bearer t0ken"),
        (Credentials(username="me", password="s3cret"), "Basic bWU6czNjcmV0"),
    ],
    ids=["token", "password"],
)
async def test_credentials_are_shown_to_this_server_alone_and_to_nobody_who_reads(
    credentials: Credentials, header: str
):
    async def refusing(request: Any) -> Any:
        assert request.headers["Authorization"] == header
        return await answering(json.dumps({"message": f"no: {header}"}), 403)(request)

    async with serving(refusing) as url:
        registry = Registry(url, credentials=credentials)
        with pytest.raises(Unavailable) as caught:
            await resolve(source("models:/qna@champion"), registry)
    assert "t0ken" not in str(caught.value)
    assert "bWU6czNjcmV0" not in str(caught.value)
    assert registry.credentials_for("http://elsewhere/x") is None
    assert registry.credentials_for(f"{url}.evil.example/x") is None


def test_settings_give_the_server_and_its_credentials_without_showing_them():
    settings = Settings(mlflow_tracking_uri="http://mlflow:5000", mlflow_token="t0ken")
    registry = registry_of(settings)
    assert registry is not None
    assert registry.credentials_for("http://mlflow:5000/api") == Credentials(token="t0ken")
    assert "t0ken" not in repr(settings)


# References.


def test_references_are_read():
    assert model_ref("models:/qna@champion") == ModelRef(name="qna", alias="champion")
    assert model_ref("models:/qna/7") == ModelRef(name="qna", version="7")
    assert run_ref("runs:/abc/a/b") == RunRef(run="abc", path="a/b")
    assert followed_alias("models:/qna@champion") == "champion"
    assert followed_alias("models:/qna/7") is None
    assert followed_alias("http://store/qna") is None


@pytest.mark.parametrize(
    "uri",
    ["models:/qna", "models:/qna/latest", "models:/qna/Production", "models:/qna/0",
    "models:/a/b@c",
     "models:/qna@a b", "runs:/", "runs:/../x y", "models:/qna@x?y=1"],
)  # fmt: skip
def test_references_that_could_move_unseen_or_say_nothing_are_refused(uri: str):
    with pytest.raises(Invalid, match="models:/name@alias"):
        ReleaseSpec.parse({"model": {"uri": uri}})


# Following an alias.


class Follower:
    """A release that follows an alias, pass by pass."""

    def __init__(self, model: Registering, url: str | None = None) -> None:
        self.spec = a_spec(model={"uri": f"models:/{model.name}@champion"})
        self.status = Status()
        self.woken = asyncio.Event()
        self.watch = RegistryWatch(
            Registry(url or model.url), timedelta(seconds=0.1), wake=lambda _: self.woken.set()
        )

    async def resolve_once(self) -> Resolution:
        self.woken.clear()
        found = await resolution_of(
            self.spec, self.status, key=KEY, watch=self.watch, default_image="serving:test"
        )
        # As the operator does: what is remembered goes through JSON.
        status = self.status.model_copy(update={"resolved": found.resolved})
        self.status = Status.parse(json.loads(json.dumps(status.to_dict())))
        return found

    async def woken_pass(self) -> Resolution:
        async with asyncio.timeout(30):
            await self.woken.wait()
        return await self.resolve_once()


@pytest.fixture
async def follower(model: Registering) -> AsyncIterator[Follower]:
    made = Follower(model)
    yield made
    await made.watch.stop()


async def test_an_alias_that_moves_wakes_its_release_and_is_another_target(
    follower: Follower, model: Registering
):
    first = await follower.resolve_once()
    model.alias("champion", "2")
    second = await follower.woken_pass()
    assert first.target
    assert second.target
    assert (first.target.version, second.target.version) == ("2026-11-01", "2026-11-02")
    assert first.target.revision != second.target.revision
    assert second.following
    assert (second.following.version, second.following.problem) == ("2", None)


async def test_an_alias_that_stays_wakes_nobody(follower: Follower, model: Registering):
    await follower.resolve_once()
    looks: asyncio.Queue[None] = asyncio.Queue()
    version = follower.watch.registry.version  # type: ignore[union-attr]

    async def counted(ref: ModelRef) -> Any:
        found = await version(ref)
        looks.put_nowait(None)
        return found

    follower.watch.registry.version = counted  # type: ignore[union-attr, method-assign]
    async with asyncio.timeout(30):
        for _ in range(3):
            await looks.get()
    assert not follower.woken.is_set()


async def test_an_alias_that_disappears_changes_nothing_and_is_said(
    follower: Follower, model: Registering
):
    first = await follower.resolve_once()
    model.delete_alias("champion")
    second = await follower.woken_pass()
    assert second.target == first.target
    assert second.problem is None
    assert second.following
    assert second.following.problem
    assert second.following.problem.reason is Reason.ALIAS_MISSING
    model.alias("champion", "1")
    third = await follower.woken_pass()
    assert third.following
    assert third.following.problem is None


async def test_a_new_version_that_cannot_be_released_is_a_problem_and_is_not_meant(
    follower: Follower, model: Registering
):
    await follower.resolve_once()
    model.alias("champion", model.version(a_manifest("3"), tags=digest_tag(b"other")))
    found = await follower.woken_pass()
    assert found.target is None
    assert found.problem
    assert found.problem.reason is Reason.MODEL_INVALID
    assert follower.status.resolved
    assert follower.status.resolved.version == "2026-11-01"


async def test_a_registry_that_dies_changes_nothing_and_is_said(tmp_path: Path, model: Registering):
    content = await asyncio.to_thread(lambda: model.get("1"))

    async def alive(request: Any) -> Any:
        if request.path.endswith("manifest.json"):
            return await answering(a_manifest("1"))(request)
        uri = {"artifact_uri": "mlflow-artifacts:/1"}
        body = uri if "download" in request.path else {"model_version": content}
        return await answering(json.dumps(body))(request)

    tags = [tag for tag in content["tags"] if tag["key"] != "modelrelease.digest"]
    content["tags"] = tags
    async with serving(alive) as url:
        follower = Follower(model, url)
        first = await follower.resolve_once()
    try:
        second = await follower.woken_pass()
    finally:
        await follower.watch.stop()
    assert first.target == second.target
    assert second.problem is None
    assert second.following
    assert second.following.problem
    assert second.following.problem.reason is Reason.REGISTRY_UNAVAILABLE


async def test_a_registry_that_is_down_at_the_start_is_tried_again(model: Registering):
    async with serving(answering("", 503)) as url:
        found = await Follower(model, url).resolve_once()
    assert found.problem
    assert found.problem.reason is Reason.MODEL_UNAVAILABLE


async def test_a_restarted_operator_goes_on_with_what_was_resolved_and_sees_what_moved_meanwhile(
    follower: Follower, model: Registering
):
    await follower.resolve_once()
    await follower.watch.stop()
    model.alias("champion", "2")
    again = Follower(model)
    again.status = follower.status
    try:
        first = await again.resolve_once()
        second = await again.woken_pass()
    finally:
        await again.watch.stop()
    assert first.target
    assert second.target
    assert (first.target.version, second.target.version) == ("2026-11-01", "2026-11-02")


async def test_a_release_that_follows_no_alias_any_more_asks_nothing(follower: Follower):
    await follower.resolve_once()
    follower.spec = a_spec(model={"uri": follower.spec.model.uri.replace("@champion", "/1")})
    found = await follower.resolve_once()
    assert found.following is None
    assert follower.watch.found(KEY, model_ref(follower.spec.model.uri)) is None
    assert isinstance(found.resolved, Resolved)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_an_error_page_with_the_words_not_found_is_no_missing_model(status: int):
    """A router before MLflow has words of its own: only MLflow's code says that there is none."""
    page = "<html>404 page not found, RESOURCE_DOES_NOT_EXIST</html>"
    for uri in ("models:/qna@champion", "models:/qna/7", "runs:/abc/model"):
        async with serving(answering(page, status)) as address:
            with pytest.raises(Unavailable, match=f"answered {status}"):
                await resolve(source(uri), Registry(address))
