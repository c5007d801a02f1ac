"""The page over HTTP, before a fake API server: who sees what, and who may do what."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from kubernetes.aio import client as kube_client

from modelrelease_operator.api.status import Phase
from modelrelease_operator.runtime.as_user import as_user
from modelrelease_operator.runtime.kube import Kube
from modelrelease_operator.ui.app import Page, create_app
from modelrelease_operator.ui.viewers import Anybody, ByToken, OnePerson, Viewers
from modelrelease_operator.ui.watching import Releases, watched
from testbed.api_server import ApiServer, Object
from testbed.world import a_world_in
from tests.unit.ui.test_story import the_object

MARKUP = "<script>alert(1)</script>"
PATIENCE_SECONDS = 30
COMMAND = {"x-modelrelease": "page", "sec-fetch-site": "same-origin"}


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    running = await ApiServer().start()
    yield running
    await running.stop()


@pytest.fixture
async def api(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[kube_client.ApiClient]:
    """A client with the kubeconfig of a person called viewer."""
    path = str(server.kubeconfig(tmp_path, user="viewer"))
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", path)
    async with as_user("ml", None) as cluster:
        yield cluster.api.api_client


def put(server: ApiServer, name: str, phase: Phase = Phase.PROGRESSING, namespace: str = "ml",
        **status: Any) -> Object:  # fmt: skip
    release = the_object(a_world_in(phase), **status)
    return server.put("ModelRelease", name, namespace, spec=release["spec"],
                      status=release["status"])  # fmt: skip


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so():  # noqa: ASYNC110 - a predicate over another program
            await asyncio.sleep(0.005)


@asynccontextmanager
async def shown(
    api: kube_client.ApiClient, viewers: Viewers, *, expects: int = 1, **parts: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the page of what a fake API server has; yields a browser without a window."""
    releases = Releases()
    page = Page(releases=releases, viewers=viewers, title="here",
                hosts=("127.0.0.1", "localhost"), **parts)  # fmt: skip
    config = uvicorn.Config(create_app(page), port=0, log_level="warning", access_log=False,
                            lifespan="off", timeout_graceful_shutdown=0)  # fmt: skip
    running = uvicorn.Server(config)
    socket = config.bind_socket()
    async with watched(Kube(api), releases, [None]):
        await until(lambda: len(releases.by_key) == expects)
        task = asyncio.create_task(running.serve(sockets=[socket]))
        await until(lambda: running.started)
        url = f"http://127.0.0.1:{socket.getsockname()[1]}"
        try:
            async with httpx.AsyncClient(base_url=url, trust_env=False) as browser:
                yield browser
        finally:
            running.should_exit = True
            await task
            await viewers.close()


async def events_of(
    browser: httpx.AsyncClient, address: str, headers: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[str, Any]]:
    """Yield the events of a stream."""
    async with browser.stream("GET", address, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        kind = ""
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))


async def next_of(events: AsyncIterator[tuple[str, Any]], kind: str) -> Any:
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for happened, data in events:
            if happened == kind:
                return data
    raise AssertionError(f"the stream ended without {kind}")


async def command(
    browser: httpx.AsyncClient, verb: str, value: str = "rev2", **headers: str
) -> httpx.Response:
    origin = str(browser.base_url).rstrip("/")
    return await browser.post(
        f"/api/releases/ml/qna/{verb}", json={"value": value},
        headers={**COMMAND, "origin": origin, **headers},
    )  # fmt: skip


async def test_all_that_is_told_is_told_as_text_and_never_as_a_page(
    server: ApiServer, api: kube_client.ApiClient
):
    put(server, "qna", message=MARKUP)
    async with shown(api, Anybody(api)) as browser:
        for address in ("/api/releases", "/api/releases/ml/qna"):
            answer = await browser.get(address)
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert MARKUP in json.dumps(answer.json())


async def test_every_answer_forbids_what_is_not_of_the_page(
    server: ApiServer, api: kube_client.ApiClient
):
    put(server, "qna")
    async with shown(api, Anybody(api)) as browser:
        for address in ("/", "/static/page.js", "/api/releases", "/api/releases/ml/nobody"):
            policy = (await browser.get(address)).headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy


async def test_by_the_name_of_a_stranger_nothing_is_told(
    server: ApiServer, api: kube_client.ApiClient
):
    put(server, "qna")
    async with shown(api, Anybody(api)) as browser:
        refused = await browser.get("/api/releases", headers={"host": "evil.example"})
        assert refused.status_code == 421
        assert "qna" not in refused.text
        health = await browser.get("/healthz", headers={"host": "10.0.0.7:8081"})
        assert health.status_code == 200


async def test_a_change_is_told_to_who_listens(server: ApiServer, api: kube_client.ApiClient):
    put(server, "qna", Phase.STABLE)
    async with shown(api, Anybody(api)) as browser:
        events = events_of(browser, "/api/stream")
        (row,) = await next_of(events, "rows")
        assert row["phase"] == "Stable"
        put(server, "qna", Phase.PROGRESSING)
        assert (await next_of(events, "row"))["phase"] == "Progressing"
        server.remove("ModelRelease", "qna")
        assert await next_of(events, "gone") == ["ml", "qna"]


async def test_one_release_is_followed_with_what_was_seen_of_it(
    server: ApiServer, api: kube_client.ApiClient
):
    put(server, "qna", Phase.STARTING)
    async with shown(api, Anybody(api)) as browser:
        events = events_of(browser, "/api/stream?release=ml/qna")
        assert (await next_of(events, "story"))["moments"]["phase"] == ["Starting"]
        put(server, "qna", Phase.PROGRESSING)
        told = await next_of(events, "story")
        assert told["moments"]["phase"] == ["Starting", "Progressing"]
        assert told["seen_since"] == told["moments"]["at"][0]


async def test_a_watch_that_breaks_is_begun_anew_and_meanwhile_said(
    server: ApiServer, api: kube_client.ApiClient
):
    put(server, "qna", Phase.STABLE)
    async with shown(api, Anybody(api)) as browser:
        events = events_of(browser, "/api/stream")
        assert await next_of(events, "state") == {"trouble": None, "filled": True}
        server.refuse = lambda verb, *_: (503, "the server is upgraded") if verb == "LIST" else None
        server.end_watches("modelreleases")
        trouble = None
        while not trouble:
            trouble = (await next_of(events, "state"))["trouble"]
        assert "the server is upgraded" in trouble
        server.refuse = lambda *_: None
        while (await next_of(events, "state"))["trouble"]:
            pass


async def test_a_page_that_only_shows_takes_no_command(
    server: ApiServer, api: kube_client.ApiClient
):
    put(server, "qna")
    async with shown(api, OnePerson(api, commands=False)) as browser:
        about = (await browser.get("/api/about")).json()
        assert about["commands"] is about["asks_code"] is False
        assert (await command(browser, "abort")).status_code == 403
        assert not server.writes


async def test_a_command_is_given_with_the_rights_of_the_person_who_looks(
    server: ApiServer, api: kube_client.ApiClient
):
    put(server, "qna")
    viewers = OnePerson(api, commands=True)
    async with shown(api, viewers) as browser:
        done = await command(browser, "abort", **{"x-modelrelease-code": viewers.code})
        assert done.json() == {"message": "ModelRelease ml/qna: asked to take canary 2 back"}
        notes = server.get("ModelRelease", "qna")["metadata"]["annotations"]
        assert notes["modelrelease.dev/abort"] == "rev2"
        assert server.writes == {"viewer": 1}


async def test_without_the_terminals_code_nothing_is_done(
    server: ApiServer, api: kube_client.ApiClient
):
    put(server, "qna")
    async with shown(api, OnePerson(api, commands=True)) as browser:
        for code in ({}, {"x-modelrelease-code": ""}, {"x-modelrelease-code": "000"}):
            refused = await command(browser, "abort", **code)
            assert refused.status_code == 403
            assert "code" in refused.json()["message"]
        assert not server.writes


async def test_nobody_finds_the_code_by_trying(server: ApiServer, api: kube_client.ApiClient):
    """Another user of the machine reaches the page, too, and may send any header."""
    put(server, "qna")
    viewers = OnePerson(api, commands=True, code="abcdef")
    async with shown(api, viewers) as browser:
        for number in range(20):
            refused = await command(browser, "abort", **{"x-modelrelease-code": f"{number:06x}"})
            assert "not the one that the terminal shows" in refused.json()["message"]
        late = await command(browser, "abort", **{"x-modelrelease-code": "abcdef"})
        assert (late.status_code, server.writes) == (403, {})
        assert "start the page again" in late.json()["message"]


async def test_a_command_from_another_page_is_refused(
    server: ApiServer, api: kube_client.ApiClient
):
    put(server, "qna")
    viewers = OnePerson(api, commands=True)
    async with shown(api, viewers) as browser:
        right = {"x-modelrelease-code": viewers.code}
        for wrong in ({"sec-fetch-site": "cross-site"}, {"origin": "http://evil.example"}):
            assert (await command(browser, "abort", **right, **wrong)).status_code == 403
        assert not server.writes


async def test_a_command_about_another_canary_than_was_shown_is_refused(
    server: ApiServer, api: kube_client.ApiClient
):
    put(server, "qna")
    viewers = OnePerson(api, commands=True)
    async with shown(api, viewers) as browser:
        right = {"x-modelrelease-code": viewers.code}
        refused = await command(browser, "abort", "rev1", **right)
        assert refused.status_code == 409
        assert "has gone on since" in refused.json()["message"]
        assert (await command(browser, "approve", **right)).status_code == 409
        assert (await command(browser, "delete", **right)).status_code == 409
        assert not server.writes


async def test_what_the_api_server_refuses_is_told_in_its_words(
    server: ApiServer, api: kube_client.ApiClient
):
    put(server, "qna")
    viewers = OnePerson(api, commands=True)
    async with shown(api, viewers) as browser:
        server.refuse = lambda verb, *_: (
            (403, "viewer may not patch modelreleases") if verb == "PATCH" else None
        )
        refused = await command(browser, "abort", **{"x-modelrelease-code": viewers.code})
        assert refused.status_code == 409
        assert "viewer may not patch modelreleases" in refused.json()["message"]


def by_token(server: ApiServer, *, commands: bool = False) -> ByToken:
    settings = kube_client.Configuration()
    settings.host = server.url
    return ByToken(settings, commands)


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Basic dmlld2VyOg=="}, {"authorization": "Bearer"}]
)
async def test_who_sends_no_token_along_sees_nothing(
    server: ApiServer, api: kube_client.ApiClient, headers: dict[str, str]
):
    put(server, "qna")
    async with shown(api, by_token(server)) as browser:
        for address in ("/api/about", "/api/releases", "/api/releases/ml/qna", "/api/stream"):
            refused = await browser.get(address, headers=headers)
            assert refused.status_code == 401
            assert "qna" not in refused.text


async def test_who_may_list_no_releases_sees_none(server: ApiServer, api: kube_client.ApiClient):
    put(server, "qna")
    server.may_not = {"list"}
    token = {"authorization": "Bearer stranger"}
    async with shown(api, by_token(server)) as browser:
        assert (await browser.get("/api/releases", headers=token)).json() == []
        assert (await browser.get("/api/releases/ml/qna", headers=token)).status_code == 404
        events = events_of(browser, "/api/stream", token)
        assert await next_of(events, "rows") == []
        told = events_of(browser, "/api/stream?release=ml/qna", token)
        assert await next_of(told, "gone") == ["ml", "qna"]


@pytest.mark.parametrize("header", ["authorization", "x-forwarded-access-token"])
async def test_a_command_is_given_with_the_token_that_came_along(
    server: ApiServer, api: kube_client.ApiClient, header: str
):
    put(server, "qna")
    token = {header: "Bearer alice" if header == "authorization" else "alice"}
    async with shown(api, by_token(server, commands=True)) as browser:
        assert len((await browser.get("/api/releases", headers=token)).json()) == 1
        assert (await command(browser, "abort", **token)).status_code == 200
        assert server.writes == {"alice": 1}


@pytest.mark.parametrize(
    ("base_path", "headers", "base"),
    [
        ("", {}, "./"),
        ("/releases", {}, "/releases/"),
        ("", {"x-forwarded-prefix": "/tools"}, "/tools/"),
        ("", {"x-forwarded-prefix": '"><script>'}, "./"),
    ],
)
async def test_below_a_path_links_are_from_there(
    server: ApiServer, api: kube_client.ApiClient, base_path: str, headers: dict[str, str],
    base: str,
):  # fmt: skip
    put(server, "qna")
    async with shown(api, Anybody(api), base_path=base_path) as browser:
        text = (await browser.get(f"{base_path}/", headers=headers)).text
        assert f'<base href="{base}">' in text
        assert (await browser.get(f"{base_path}/static/page.js")).status_code == 200
        assert (await browser.get(f"{base_path}/api/releases")).status_code == 200


async def test_a_report_is_a_file_with_what_the_page_has_seen(
    server: ApiServer, api: kube_client.ApiClient
):
    put(server, "qna")
    async with shown(api, Anybody(api)) as browser:
        answer = await browser.get("/api/releases/ml/qna/report")
        assert answer.headers["content-disposition"].startswith('attachment; filename="ml-qna-')
        assert "as the page of here saw it" in answer.text
