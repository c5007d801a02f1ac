"""API servers that are away, or that are none, as commands for people meet them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from modelrelease_operator.cli import main
from testbed.servers import Handler, answering, serving

SERVES: dict[str, Any] = {
    "apiVersion": "modelrelease.dev/v1alpha1",
    "kind": "ModelRelease",
    "metadata": {"namespace": "ml", "name": "qna", "generation": 1},
    "status": {
        "observedGeneration": 1,
        "phase": "Stable",
        "message": "version 1 serves",
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Reconciled",
                "message": "it serves",
                "observedGeneration": 1,
                "lastTransitionTime": "2026-11-01T12:00:00Z",
            },
        ],
    },
}


def an_answer(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.json_response(body, status=status)


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config"
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    return path


async def run(kubeconfig: Path, handler: Handler, *arguments: str) -> int:
    """Run a command against a server; return the exit code."""
    async with serving(handler) as url:
        text = {
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
            "users": [{"name": "c", "user": {"token": "none"}}],
        }  # fmt: skip
        await asyncio.to_thread(kubeconfig.write_text, json.dumps(text))
        return await asyncio.to_thread(main, [*arguments, "-n", "ml"])


async def test_a_list_whose_place_has_expired_is_read_anew(
    kubeconfig: Path, capsys: pytest.CaptureFixture[str]
):
    async def handler(request: web.Request) -> web.Response:
        if "continue" in request.query:
            return an_answer({"kind": "Status", "reason": "Expired", "message": "too old"}, 410)
        meta = {"continue": "more"} if "limit" in request.query else {}
        return an_answer({"kind": "ModelReleaseList", "metadata": meta, "items": [SERVES]})

    assert await run(kubeconfig, handler, "status") == 0
    assert capsys.readouterr().out.count(" qna ") == 1


@pytest.mark.parametrize("kind", ["text/html", "application/json"])
@pytest.mark.parametrize("command", [["status"], ["watch", "qna"], ["abort", "qna"]], ids=" ".join)
async def test_a_page_of_a_proxy_is_told_as_no_api_server(
    command: list[str], kind: str, kubeconfig: Path, capsys: pytest.CaptureFixture[str]
):
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body="<html>Log in</html>", content_type=kind)

    assert await run(kubeconfig, handler, *command) == 1
    assert "what answers is no API server" in capsys.readouterr().err


async def test_watching_goes_on_when_the_api_server_was_away(
    kubeconfig: Path, capsys: pytest.CaptureFixture[str]
):
    starts = {**SERVES["status"], "phase": "Starting", "message": "it starts"}
    answers = [an_answer({**SERVES, "status": starts}), an_answer({}, 503), an_answer(SERVES)]

    async def handler(_: web.Request) -> web.Response:
        return answers.pop(0)

    assert await run(kubeconfig, handler, "watch", "qna") == 0
    said = capsys.readouterr()
    assert "answered 503" in said.err
    assert said.out.splitlines()[-1].endswith("version 1 serves")


async def test_watching_ends_at_once_where_nobody_ever_answered(kubeconfig: Path):
    assert await run(kubeconfig, answering("{}", status=503), "watch", "qna") == 1


async def test_watching_ends_when_the_release_is_deleted(
    kubeconfig: Path, capsys: pytest.CaptureFixture[str]
):
    starts = {**SERVES["status"], "phase": "Starting"}
    answers = [an_answer({**SERVES, "status": starts}), an_answer({"kind": "Status"}, 404)]

    async def handler(_: web.Request) -> web.Response:
        return answers.pop(0)

    assert await run(kubeconfig, handler, "watch", "qna") == 1
    assert "ModelRelease ml/qna does not exist" in capsys.readouterr().err


async def test_a_release_without_a_name_is_not_asked_for(
    kubeconfig: Path, capsys: pytest.CaptureFixture[str]
):
    assert await run(kubeconfig, answering("{}"), "watch", "") == 1
    assert "a ModelRelease has a name" in capsys.readouterr().err
