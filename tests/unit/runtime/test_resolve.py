"""From a model source to one version, against a real server that answers well,
badly, or not at all.
"""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from modelrelease_contract import manifest_digest
from modelrelease_operator.api.pods import CREDENTIALS
from modelrelease_operator.api.spec import ModelSource
from modelrelease_operator.api.status import (
    Previous,
    Reason,
    Rejected,
    Resolved,
    StableStatus,
    Status,
)
from modelrelease_operator.errors import Invalid, Unavailable
from modelrelease_operator.runtime import resolve as module
from modelrelease_operator.runtime.resolve import (
    is_current,
    resolve,
    target_for_release,
    target_for_spec,
)
from modelrelease_operator.runtime.stores import Stores, login_of
from modelrelease_operator.settings import Settings
from testbed.builders import START, a_spec
from testbed.servers import Handler, answering, hanging_up, never, serving
from tests.support.registering import a_manifest

GOOD = a_manifest("7")
DIGEST = manifest_digest(GOOD)


def source(uri: str, **changes: Any) -> ModelSource:
    return ModelSource(uri=uri, **changes)


async def test_a_folder_means_the_version_and_the_digest_of_its_manifest():
    async def handler(request: web.Request) -> web.Response:
        assert request.path == "/qna/7/manifest.json"
        return web.Response(body=GOOD)

    async with serving(handler) as address:
        plain = await resolve(source(f"{address}/qna/7"))
        slash = await resolve(source(f"{address}/qna/7/"))
    assert (plain.version, plain.sha256) == (slash.version, slash.sha256) == ("7", DIGEST)
    assert (plain.pinned_version, plain.pinned_sha256) == (None, None)


async def test_a_manifest_that_comes_in_many_pieces_is_read_whole():
    async def handler(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for start in range(0, len(GOOD), 10):
            await answer.write(GOOD[start : start + 10])
        return answer

    async with serving(handler) as address:
        assert (await resolve(source(address))).sha256 == DIGEST


async def test_what_is_pinned_by_version_and_digest_is_not_read():
    asked: list[str] = []

    async def private(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=401)

    async with serving(private) as address:
        found = await resolve(source(address, version="7", sha256=DIGEST))
    assert (found.version, found.sha256) == ("7", DIGEST)
    assert asked == []


class Secrets:
    """Gives one Secret, as the API server does."""

    def __init__(self, **values: str) -> None:
        self.values, self.asked = values, []  # type: tuple[dict[str, str], list[tuple[str, str, str]]]

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        self.asked.append((kind, namespace, name))
        return {
            "data": {
                key: base64.b64encode(value.encode()).decode() for key, value in self.values.items()
            }
        }


PRIVATE = {"credentialsSecretRef": {"name": "store"}}
ALLOWED = Settings(prometheus_allow_secret_refs=True)


def private_to(authorization: str) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        right = request.headers.get("Authorization") == authorization
        return web.Response(body=GOOD) if right else web.Response(status=401)

    return handler


@pytest.mark.parametrize(
    ("values", "authorization"),
    [
        ({"token": "t0k3n\n"}, "Bearer t0k3n"),
        ({"username": "me", "password": "pw"}, "Basic bWU6cHc="),
    ],
    ids=["a token", "a name and a password"],
)
async def test_a_private_store_is_shown_the_secret_that_the_release_names(
    values: dict[str, str], authorization: str
):
    secrets = Secrets(**values)
    stores = Stores(settings=ALLOWED, kube=secrets)  # type: ignore[arg-type]
    async with serving(private_to(authorization)) as address:
        found = await resolve(source(address, **PRIVATE), stores=stores, namespace="ml")
    assert found.version == "7"
    assert secrets.asked == [("Secret", "ml", "store")]


@pytest.mark.parametrize(
    ("settings", "values", "error", "sentence"),
    [
        (Settings(), {"token": "x"}, Unavailable, "pin spec.model.version and spec.model.sha256"),
        (ALLOWED, {}, Unavailable, "has neither the key token nor the keys username and password"),
        (ALLOWED, {"token": "wr0ng"}, Invalid, "401: it does not take the credentials"),
        (ALLOWED, {"token": "a b"}, Unavailable, "is no bearer token"),
        (ALLOWED, {"username": "a:b", "password": "x"}, Unavailable, "key username holds a colon"),
    ],
    ids=[
        "no right to read Secrets",
        "an empty Secret",
        "a wrong token",
        "a token with a space",
        "a colon",
    ],
)
async def test_credentials_that_do_not_help_are_told_without_their_values(
    settings: Settings, values: dict[str, str], error: type[Exception], sentence: str
):
    stores = Stores(settings=settings, kube=Secrets(**values))  # type: ignore[arg-type]
    async with serving(private_to("Bearer t0k3n")) as address:
        with pytest.raises(error, match=sentence) as caught:
            await resolve(source(address, **PRIVATE), stores=stores, namespace="ml")
    assert "wr0ng" not in str(caught.value)


@pytest.mark.parametrize(
    ("login", "authorization"),
    [("login bearer password t0k3n", "Bearer t0k3n"), ("login me password pw", "Basic bWU6cHc=")],
)
async def test_a_private_store_is_shown_what_the_operator_was_told_for_it(
    login: str, authorization: str, tmp_path: Path
):
    file = tmp_path / "logins"
    stores = Stores(settings=Settings(credentials_file=str(file)))
    async with serving(private_to(authorization)) as address:
        place = address.removeprefix("http://")
        file.write_text(f"machine elsewhere login x password y\nmachine {place} {login}\n")
        assert (await resolve(source(address), stores=stores)).version == "7"
        file.write_text("machine 127.0.0.1 login s3cr3t oops")
        with pytest.raises(
            Unavailable, match=r"CREDENTIALS_FILE .* must be like a \.netrc"
        ) as caught:
            await resolve(source(address), stores=stores)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("machine", "address", "is_shown"),
    [
        ("models.example", "https://models.example/qna", True),
        ("models.example", "https://models.example:443/qna", True),
        ("models.example", "http://models.example/qna", False),
        ("models.example", "https://models.example:8443/qna", False),
        ("models.example:8443", "https://models.example:8443/qna", True),
        ("models.example:80", "http://models.example/qna", True),
        ("models.example:80", "https://models.example/qna", False),
    ],
)
def test_a_login_is_for_one_server_and_not_for_whatever_else_is_on_its_host(
    machine: str, address: str, is_shown: bool, tmp_path: Path
):
    file = tmp_path / "logins"
    file.write_text(f"machine {machine} login me password pw\n")
    assert bool(login_of(str(file), URL(address)).secrets) is is_shown


@pytest.mark.parametrize(
    "place", ["http://127.0.0.1:1/qna", "http://localhost:1/qna", "http://169.254.169.254/x"]
)
async def test_a_release_cannot_have_the_operator_read_its_own_machine(place: str):
    stores = Stores.of(Settings(), Secrets())  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="which releases may not name"):
        await resolve(source(place), stores=stores)


async def test_another_secret_is_another_revision_and_none_leaves_it_as_it_was():
    resolved = await a_resolved()
    plain = target_for_spec(a_spec(), resolved, default_image="i:1")
    asked = a_spec(model={"uri": "http://store/qna/1", **PRIVATE})
    private = target_for_spec(asked, resolved, default_image="i:1")
    assert (plain.recipe.pod.get(CREDENTIALS), private.recipe.pod.get(CREDENTIALS)) == (
        None,
        "store",
    )
    assert private.revision != plain.revision


def manifest(**changes: Any) -> Handler:
    return answering(json.dumps({**json.loads(GOOD), **changes}))


GONE = "there is no artifact for spec.model.uri"
WANTS = (
    "it wants credentials: name a Secret in spec.model.credentialsSecretRef, or pin "
    "spec.model.version"
)
OTHER = "f" * 64


async def redirecting(_: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"})


REFUSED: list[Any] = [
    *(
        pytest.param(answering("", code), {}, f"{code}: {GONE}", id=str(code))
        for code in (404, 410)
    ),
    *(
        pytest.param(answering("", code), {}, f"{code}: {WANTS}", id=str(code))
        for code in (401, 403)
    ),
    pytest.param(
        redirecting, {}, "redirect (HTTP status 302), which is not followed", id="elsewhere"
    ),
    pytest.param(answering("<html>"), {}, "manifest.json is not valid at ''", id="no JSON"),
    pytest.param(
        answering("{}"), {}, "manifest.json is not valid at 'name': Field required", id="no name"
    ),
    pytest.param(answering(""), {}, "manifest.json is not valid", id="empty"),
    pytest.param(answering(b"\xff\xfe\x00"), {}, "manifest.json is not valid", id="no text"),
    pytest.param(
        manifest(format="exe"), {}, "not valid at 'format'", id="a format that nobody can load"
    ),
    pytest.param(
        manifest(schema_version=2), {}, "not valid at 'schema_version'", id="newer than we read"
    ),
    pytest.param(
        manifest(), {"sha256": OTHER}, f"spec.model.sha256 is {OTHER}, but", id="another digest"
    ),
    pytest.param(
        manifest(), {"version": "8"}, "spec.model.version is '8', but", id="another version"
    ),
    pytest.param(
        answering(b" " * (module.MANIFEST_LIMIT + 1)), {}, "that is no manifest", id="too large"
    ),
]


@pytest.mark.parametrize(("handler", "pins", "sentence"), REFUSED)
async def test_what_can_never_be_released_is_refused_in_a_sentence(
    handler: Handler, pins: dict[str, str], sentence: str
):
    async with serving(handler) as address:
        with pytest.raises(Invalid) as caught:
            await resolve(source(address, **pins))
    assert sentence in str(caught.value)
    assert address in str(caught.value)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_store_in_trouble_is_asked_again_later(status: int):
    async with serving(answering("", status)) as address:
        with pytest.raises(Unavailable, match=f"answered {status}"):
            await resolve(source(address))


async def test_a_store_that_hangs_up_is_asked_again_later():
    async with serving(hanging_up) as address:
        with pytest.raises(Unavailable, match="does not answer"):
            await resolve(source(address))


async def test_a_store_that_never_answers_does_not_hold_the_operator_up():
    async with serving(never) as address:
        with pytest.raises(Unavailable, match=r"does not answer \(not all of it within 0.2 s"):
            await resolve(source(address), stores=Stores(seconds=0.2))


async def test_a_store_that_is_not_there_is_asked_again_later():
    async with serving(answering(GOOD)) as address:
        pass
    with pytest.raises(Unavailable, match=r"does not answer \(no connection\)"):
        await resolve(source(address))


@pytest.mark.parametrize("uri", ["pvc://models/qna/7", "file:///models/qna"])
async def test_what_only_a_pod_can_read_is_taken_as_pinned(uri: str):
    found = await resolve(source(uri, version="7", sha256=DIGEST))
    assert (found.uri, found.version, found.sha256) == (uri, "7", DIGEST)


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"uri": "http://store/qna/8"}, False),
        ({"version": "7"}, False),
        ({"sha256": DIGEST}, False),
    ],
    ids=["nothing", "another place", "a version was pinned", "a digest was pinned"],
)
async def test_a_source_is_looked_up_again_when_it_says_something_else(
    changes: dict[str, str], same: bool
):
    async with serving(answering(GOOD)) as address:
        found = await resolve(source(address))
    asked = source(**{"uri": found.uri, **changes})
    assert is_current(found, asked) is same
    assert not is_current(None, asked)


async def a_resolved(**changes: Any) -> Any:
    found = await resolve(source("pvc://models/qna/7", version="7", sha256=DIGEST))
    return found.model_copy(update=changes)


async def test_the_same_inputs_always_give_the_same_revision():
    resolved = await a_resolved()
    one = target_for_spec(
        a_spec(serving={"env": [{"name": "A", "value": "1"}]}), resolved, default_image="i:1"
    )
    two = target_for_spec(
        a_spec(serving={"env": [{"value": "1", "name": "A"}]}), resolved, default_image="i:1"
    )
    assert one.revision == two.revision
    assert len(one.revision) == 10
    assert one.revision.isalnum()


@pytest.mark.parametrize(
    ("parts", "resolved", "image"),
    [
        ({"serving": {"image": "other:1"}}, {}, "i:1"),
        ({"serving": {"resources": {"limits": {"cpu": "1"}}}}, {}, "i:1"),
        ({"serving": {"env": [{"name": "A", "value": "1"}]}}, {}, "i:1"),
        ({"serving": {"podTemplate": {"spec": {"nodeName": "n"}}}}, {}, "i:1"),
        ({}, {"sha256": "e" * 64}, "i:1"),
        ({}, {"uri": "pvc://models/qna/8"}, "i:1"),
        ({}, {}, "i:2"),
    ],
    ids=["image", "resources", "env", "pod template", "digest", "place", "the operator's image"],
)
async def test_whatever_changes_the_pods_is_another_revision(
    parts: dict[str, Any], resolved: dict[str, str], image: str
):
    base = target_for_spec(a_spec(), await a_resolved(), default_image="i:1")
    changed = target_for_spec(a_spec(**parts), await a_resolved(**resolved), default_image=image)
    assert changed.revision != base.revision


@pytest.mark.parametrize(
    "parts",
    [
        {"serving": {"replicas": 9}},
        {"canary": {"weight": 9}},
        {"paused": True},
        {"analysis": {"minRequests": 9}},
    ],
    ids=["replicas", "the plan", "a pause", "the analysis"],
)
async def test_whatever_leaves_the_pods_alone_is_the_same_revision(parts: dict[str, Any]):
    resolved = await a_resolved()
    base = target_for_spec(a_spec(), resolved, default_image="i:1")
    assert target_for_spec(a_spec(**parts), resolved, default_image="i:1").revision == base.revision


# -- the same revisions from one operator to the next ----------------------------------------


@pytest.mark.parametrize(
    ("serving", "revision"),
    [
        ({}, "3e6089e7df"),
        (
            {
                "image": "own:1",
                "resources": {"limits": {"memory": "1Gi", "cpu": 2}},
                "env": [
                    {"name": "A", "value": "1"},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                ],
                "podTemplate": {
                    "metadata": {"annotations": {"prometheus.io/scrape": None}},
                    "spec": {"securityContext": {"runAsUser": None}},
                },
            },
            "99485fdca8",
        ),
    ],
    ids=["smallest", "fullest"],
)
async def test_a_spec_of_an_older_operator_is_the_revision_that_it_was(
    serving: dict[str, Any], revision: str
):
    """As 0.1.0 hashed them: another hash would start a canary of every release at once."""
    zeros = "0" * 64
    resolved = await resolve(source("pvc://models/qna/7", version="7", sha256=zeros))
    assert (
        target_for_spec(a_spec(serving=serving), resolved, default_image="i:1").revision == revision
    )


@pytest.mark.parametrize(
    "parts",
    [
        {"nodeSelector": {"a": "b"}},
        {"sidecars": [{"name": "a", "image": "b"}]},
        {"volumes": [{"name": "a"}]},
    ],
    ids=["node selector", "sidecar", "volume"],
)
async def test_a_field_of_the_pods_makes_another_revision(parts: dict[str, Any]):
    resolved = await a_resolved()
    base = target_for_spec(a_spec(), resolved, default_image="i:1")
    assert (
        target_for_spec(a_spec(serving=parts), resolved, default_image="i:1").revision
        != base.revision
    )


async def a_release(*, image: str = "i:1", **known: Any) -> tuple[Status, Resolved]:
    resolved = await a_resolved(image=image)
    target = target_for_spec(a_spec(), resolved, default_image=image)
    stable = StableStatus(**target.parts(), since=START)
    return Status(resolved=resolved, stable=stable, **known), resolved


async def test_another_default_image_starts_no_canary():
    status, resolved = await a_release()
    assert status.stable is not None
    meant = target_for_release(a_spec(), resolved, status, default_image="i:2")
    assert meant == status.stable.target


async def test_a_release_that_changes_takes_up_the_default_image_of_its_time():
    status, resolved = await a_release()
    meant = target_for_release(
        a_spec(serving={"env": [{"name": "A"}]}), resolved, status, default_image="i:2"
    )
    assert meant.recipe.image == "i:2"


async def test_going_back_after_an_upgrade_is_going_back_to_what_served():
    status, _ = await a_release()
    assert status.stable is not None
    previous = Previous(**status.stable.parts(), until=START)
    other = await resolve(source("pvc://models/qna/8", version="8", sha256=DIGEST))
    now = target_for_spec(a_spec(), other, default_image="i:1")
    status = status.model_copy(
        update={"stable": StableStatus(**now.parts(), since=START), "previous": previous}
    )
    resolved = await a_resolved()
    assert target_for_release(a_spec(), resolved, status, default_image="i:2") == previous.target


async def test_a_rejected_revision_is_not_tried_again_because_the_default_image_is_another():
    status, resolved = await a_release()
    refused = target_for_spec(a_spec(), resolved, default_image="i:1")
    rejected = Rejected(
        revision=refused.revision, version="7", reason=Reason.REGRESSION, message="slow", at=START
    )
    status = status.model_copy(update={"stable": None, "rejected": rejected})
    assert (
        target_for_release(a_spec(), resolved, status, default_image="i:2").revision
        == refused.revision
    )


async def test_a_person_may_ask_for_the_new_default_image():
    status, resolved = await a_release()
    meant = target_for_release(a_spec(), resolved, status, default_image="i:2", renewed=True)
    assert meant.recipe.image == "i:2"


async def test_an_image_that_is_named_no_more_is_not_meant_any_more():
    """Somebody who mistyped one takes the line away, and would wait for it for ever."""
    resolved = (await a_resolved()).but(named_image="typo:1")
    target = target_for_spec(a_spec(serving={"image": "typo:1"}), resolved, default_image="i:1")
    status = Status(resolved=resolved, stable=StableStatus(**target.parts(), since=START))
    meant = target_for_release(a_spec(), resolved, status, default_image="i:1")
    assert meant.recipe.image == "i:1"


async def test_an_image_of_ones_own_is_the_one_that_is_meant():
    status, resolved = await a_release()
    meant = target_for_release(
        a_spec(serving={"image": "i:2"}), resolved, status, default_image="i:1"
    )
    assert meant.recipe.image == "i:2"


PINNED = {"version": "7", "sha256": DIGEST}
CACHED = {
    "uri": "pvc://models/qna/7",
    "cache": {"persistentVolumeClaim": {"claimName": "artifacts"}},
}


async def test_another_cache_is_another_revision():
    resolved = await a_resolved()
    plain, cached = (
        target_for_spec(a_spec(**parts), resolved, default_image="i:1")
        for parts in ({}, {"model": CACHED | PINNED})
    )
    assert plain.revision != cached.revision


async def test_the_cache_of_a_canary_keeps_what_serves_meanwhile():
    status, _ = await a_release()
    newer = await resolve(source("pvc://models/qna/8", version="8", sha256="8" * 64))
    spec = a_spec(model=CACHED | PINNED)
    canary = target_for_release(spec, newer, status, default_image="i:1")
    assert (canary.recipe.keeps, status.stable and status.stable.sha256) == (DIGEST, DIGEST)
    assert canary.revision == target_for_spec(spec, newer, default_image="i:1").revision


async def test_what_serves_itself_and_a_release_without_a_cache_keep_no_other():
    status, resolved = await a_release()
    newer = await resolve(source("pvc://models/qna/8", version="8", sha256="8" * 64))
    assert target_for_release(a_spec(), newer, status, default_image="i:1").recipe.keeps is None
    same = target_for_release(a_spec(model=CACHED | PINNED), resolved, status, default_image="i:1")
    assert same.recipe.keeps is None
