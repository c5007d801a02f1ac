"""From a revision of a stand-in for the Hugging Face Hub to one commit, and how pods fetch it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from modelrelease_contract import MANIFEST_NAME
from modelrelease_operator.api.spec import ModelSource
from modelrelease_operator.errors import Invalid, Unavailable
from modelrelease_operator.runtime.resolve import resolve
from modelrelease_operator.runtime.stores import Stores
from modelrelease_operator.settings import Settings
from modelrelease_serving.settings import Settings as FetchSettings
from modelrelease_serving.sources import open_source, read_small
from testbed.servers import Handler, answering, serving
from tests.unit.runtime.test_resolve import DIGEST, GOOD, Secrets

COMMIT = "0a1b" * 10
QNA = "hf://team/qna@main"
TOKEN = "hf_t0k3n"


def hub(asked: list[str], *, token: str = "", cached: bool = False) -> Handler:
    """Answer as the hub does. `cached`: files are at another path, which it redirects to."""

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        if token and request.headers.get("Authorization") != f"Bearer {token}":
            return web.Response(status=401)
        if request.path == "/api/models/team/qna/revision/main":
            return web.json_response({"id": "team/qna", "sha": COMMIT, "siblings": []})
        if cached and request.path.startswith("/team/"):
            return web.Response(status=307, headers={"Location": f"/api/cache{request.path}"})
        if request.path.endswith(f"/team/qna/resolve/{COMMIT}/{MANIFEST_NAME}"):
            return web.Response(body=GOOD)
        return web.Response(status=404)

    return handler


def stores(address: str, **secret: str) -> Stores:
    kube: Any = Secrets(**secret)
    return Stores(settings=Settings(hub_url=address, prometheus_allow_secret_refs=True), kube=kube)


async def test_a_branch_is_resolved_to_the_commit_that_it_names_now():
    async with serving(hub([])) as address:
        found = await resolve(ModelSource(uri=QNA), stores=stores(address))
    assert (found.uri, found.version, found.sha256) == (QNA, "7", DIGEST)
    assert found.location == f"{address}/team/qna/resolve/{COMMIT}"


async def test_a_commit_is_not_looked_up():
    asked: list[str] = []
    async with serving(hub(asked)) as address:
        found = await resolve(ModelSource(uri=f"hf://team/qna@{COMMIT}"), stores=stores(address))
    assert (found.version, asked) == ("7", [f"/team/qna/resolve/{COMMIT}/{MANIFEST_NAME}"])


async def test_of_what_is_pinned_only_the_commit_is_looked_up():
    asked: list[str] = []
    async with serving(hub(asked)) as address:
        pinned = ModelSource(uri=QNA, version="7", sha256=DIGEST)
        found = await resolve(pinned, stores=stores(address))
    assert found.location == f"{address}/team/qna/resolve/{COMMIT}"
    assert asked == ["/api/models/team/qna/revision/main"]


@pytest.mark.parametrize("cached", [False, True])
async def test_a_private_repository_is_shown_the_token_also_where_files_are_cached(cached: bool):
    source = ModelSource(uri=QNA, credentialsSecretRef={"name": "hub"})
    async with serving(hub([], token=TOKEN, cached=cached)) as address:
        found = await resolve(source, stores=stores(address, token=TOKEN), namespace="ml")
    assert found.version == "7"


async def test_pods_are_let_in_where_files_are_cached(tmp_path: Path):
    async with serving(hub([], token=TOKEN, cached=True)) as address:
        settings: Any = {
            "model_uri": f"{address}/team/qna/resolve/{COMMIT}",
            "model_path": tmp_path,
            "http_token": TOKEN,
        }
        source = open_source(FetchSettings(**settings))
        raw = await asyncio.to_thread(read_small, source, MANIFEST_NAME, limit=10_000)
    assert raw == GOOD


async def test_a_file_that_is_kept_elsewhere_is_not_followed():
    async def elsewhere(request: web.Request) -> web.Response:
        if request.path.startswith("/api/"):
            return web.json_response({"sha": COMMIT})
        return web.Response(
            status=302, headers={"Location": "http://store.example/x?signature=s1gn"}
        )

    async with serving(elsewhere) as address:
        with pytest.raises(Invalid, match="leads to another server, where") as caught:
            await resolve(ModelSource(uri=QNA), stores=stores(address))
    assert "s1gn" not in str(caught.value)


async def test_a_revision_or_a_manifest_that_is_not_there_is_refused():
    async with serving(answering(b"{}", status=404)) as address:
        with pytest.raises(Invalid, match=r"/api/models/team/qna/revision/main answered 404"):
            await resolve(ModelSource(uri=QNA), stores=stores(address))
        with pytest.raises(Invalid, match=r"manifest\.json answered 404: there is no artifact"):
            await resolve(ModelSource(uri=f"hf://team/qna@{COMMIT}"), stores=stores(address))


@pytest.mark.parametrize("body", ["[]", "{}", json.dumps({"sha": "main"}), "<html>"])
async def test_what_is_no_hub_is_not_believed(body: str):
    async with serving(answering(body)) as address:
        with pytest.raises(Unavailable, match="names no commit"):
            await resolve(ModelSource(uri=QNA), stores=stores(address))
