"""`modelrelease dashboard`: where it is served, for whom, and what it refuses to be."""

import asyncio
import os
import re
import signal
import socket
import sys
from pathlib import Path

import httpx
import pytest

from modelrelease_operator.cli import main, parser
from testbed.api_server import ApiServer
from testbed.world import a_serving_world
from tests.unit.ui.test_story import the_object

ROOT = Path(__file__).parents[3]
PATIENCE_SECONDS = 30


def test_who_is_not_told_apart_may_give_no_commands(capsys: pytest.CaptureFixture[str]):
    assert main(["dashboard", "--in-cluster", "--viewers", "anyone", "--commands"]) == 1
    assert "--viewers anyone tells nobody apart" in capsys.readouterr().err


def test_a_desk_is_no_pod(capsys: pytest.CaptureFixture[str]):
    assert main(["dashboard", "--in-cluster"]) == 1
    assert "--in-cluster is for a pod, and this is none" in capsys.readouterr().err


def test_without_a_server_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delitem(sys.modules, "modelrelease_operator.ui.serve", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["dashboard"]) == 1
    assert "pip install 'modelrelease[operator,ui]'" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["releases", "/a b", "/<script>", "//evil.example"])
def test_a_base_path_is_a_path(path: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["dashboard", "--base-path", path])
    assert "must be a path such as /releases" in capsys.readouterr().err


def test_the_chart_gives_it_no_option_that_it_does_not_have():
    template = (ROOT / "charts/modelrelease/templates/ui.yaml").read_text()
    given = set(re.findall(r"^\s+- (--[a-z-]+)", template, re.MULTILINE))
    assert {"--in-cluster", "--viewers", "--commands"} <= given
    for option in given:
        value = [] if option in ("--in-cluster", "--commands") else ["token"]
        value = ["/x"] if option == "--base-path" else value
        assert parser().parse_args(["dashboard", option, *value])


async def test_a_port_that_is_taken_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    server = await ApiServer().start()
    monkeypatch.setattr(
        "kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION",
        str(server.kubeconfig(tmp_path)),
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        arguments = ["dashboard", "--port", str(taken.getsockname()[1])]
        assert await asyncio.to_thread(main, arguments) == 1
    assert "cannot be opened (" in capsys.readouterr().err
    await server.stop()


async def test_it_serves_the_releases_of_a_kubeconfig_on_the_loopback_alone(tmp_path: Path):
    server = await ApiServer().start()
    release = the_object(a_serving_world())
    server.put("ModelRelease", "qna", "ml", spec=release["spec"], status=release["status"])
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "modelrelease_operator", "dashboard", "-A", "--port", "0",
        "--commands", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "KUBECONFIG": str(server.kubeconfig(tmp_path))},
    )  # fmt: skip
    assert program.stdout
    async with asyncio.timeout(PATIENCE_SECONDS):
        said = (await program.stdout.readline()).decode()
        code = (await program.stdout.readline()).decode()
        address = re.search(r"http://127\.0\.0\.1:\d+/", said)
        assert address
        assert re.search(r"code: [0-9a-f]{6}$", code.strip())
        async with httpx.AsyncClient(base_url=address[0], trust_env=False) as browser:
            while not (rows := (await browser.get("api/releases")).json()):  # noqa: ASYNC110 - another program
                await asyncio.sleep(0.01)
        program.send_signal(signal.SIGINT)
        _, problems = await program.communicate()
    assert [row["name"] for row in rows] == ["qna"]
    assert address[0] not in problems.decode()
    await server.stop()
