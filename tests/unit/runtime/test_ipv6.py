"""A network that speaks only IPv6: addresses are literals in brackets, and pods have no other
address.

Real servers, which listen on ::1 and nowhere else.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from fastapi import FastAPI
from yarl import URL

from examples.load.generator import Generator, listen
from modelrelease_contract import manifest_digest
from modelrelease_operator.api.spec import ModelSource, ReleaseSpec
from modelrelease_operator.api.status import Reason
from modelrelease_operator.core.desired import Notice
from modelrelease_operator.core.observed import Counter
from modelrelease_operator.runtime.mlflow import Registry
from modelrelease_operator.runtime.notify import TOPICS, Notifier
from modelrelease_operator.runtime.resolve import resolve
from modelrelease_operator.runtime.stores import Stores, login_of
from modelrelease_operator.runtime.web import Reach
from modelrelease_operator.settings import Settings
from modelrelease_training import alerts
from modelrelease_training.drift.server import WatchedServer, config_of
from modelrelease_training.drift.settings import ServiceSettings
from modelrelease_training.drift.worker import Worker
from testbed.ports import free_port
from testbed.servers import answering, serving
from tests.support.asking import asking, revisions
from tests.support.registering import a_manifest

LOOPBACK = "::1"
MANIFEST = a_manifest("7")


async def status_of(host: str, port: int, path: str) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}{path}") as answer,
    ):
        return answer.status


async def test_prometheus_is_read_at_a_literal_address_and_its_targets_may_be_such():
    labels = {
        "__name__": "predictions_total",
        "revision": "rev2",
        "code": "200",
        "instance": "[fd00:10:244::5]:8000",
        "job": "pods",
    }
    vector = [{"metric": labels, "value": [1_700_000_000.0, "3"]}]
    text = json.dumps({"status": "success", "data": {"resultType": "vector", "result": vector}})
    async with serving(answering(text), host=LOOPBACK) as address, asking(address) as source:
        assert address.startswith("http://[::1]:")
        found = await source.read_counters(revisions("rev2", "rev1"))
    assert isinstance(found, tuple)
    [counter] = found
    assert isinstance(counter, Counter)
    assert (counter.revision, counter.pod, counter.value) == ("rev2", "[fd00:10:244::5]:8000", 3.0)


async def test_a_model_is_resolved_at_a_literal_address_that_the_installer_allows():
    stores = Stores(reach=Reach.of(f"{LOOPBACK}/128"))
    async with serving(answering(MANIFEST), host=LOOPBACK) as address:
        found = await resolve(ModelSource(uri=f"{address}/qna/7"), stores=stores)
    assert (found.version, found.sha256) == ("7", manifest_digest(MANIFEST))


def test_a_stores_login_is_known_by_its_literal_address(tmp_path: Path):
    file = tmp_path / "credentials"
    file.write_text("machine [fd00::7]:9000 login reader password s3cret\n")
    found = login_of(str(file), URL("http://[fd00::7]:9000/qna"))
    assert (found.username, found.password) == ("reader", "s3cret")


@pytest.mark.parametrize("address", ["http://[fd00::9]:9090", "https://[2001:db8::1]/prometheus"])
def test_a_release_may_name_literal_addresses(address: str):
    spec = ReleaseSpec.parse(
        {"model": {"uri": f"{address}/qna/7"}, "analysis": {"prometheus": {"url": address}}},
        strict=True,
    )
    assert spec.analysis.prometheus
    assert spec.analysis.prometheus.url == address
    assert Settings(prometheus_url=address).prometheus_url == address


def test_a_registry_at_a_literal_address_says_where_pods_find_a_model():
    registry = Registry("http://[fd00::9]:5000")
    below = "api/2.0/mlflow-artifacts/artifacts"
    assert registry.place("mlflow-artifacts:/1/a") == f"http://[fd00::9]:5000/{below}/1/a"
    other = registry.place("mlflow-artifacts://[fd00::8]:5001/1/a")
    assert other == f"http://[fd00::8]:5001/{below}/1/a"
    assert registry.place("http://[fd00::8]/a", "b") == "http://[fd00::8]/a/b"


async def test_webhooks_are_reached_at_literal_addresses():
    texts: list[str] = []

    async def take(request: web.Request) -> web.Response:
        texts.append((await request.json())["text"])
        return web.Response()

    async with serving(take, host=LOOPBACK) as address:
        notifier = Notifier(address, tuple(TOPICS), pause_seconds=0.01)
        notifier.tell(
            ("ml", "qna"), Notice(reason=Reason.REGRESSION, message="it fails", warning=True)
        )
        assert notifier._task
        await notifier._task
        assert await asyncio.to_thread(alerts.send, address, "qna drifted") is None
    assert texts == ["Regression: ml/qna: it fails", "qna drifted"]


async def test_the_load_generator_of_the_examples_calls_and_is_heard():
    async with serving(answering("{}"), host=LOOPBACK) as address:
        generator = Generator(url=f"{address}/predict", rows=[[1.0]], rps=50)
        port = free_port()
        runner = await listen(generator, port)
        try:
            calls = asyncio.create_task(generator.run(0.2))
            heard = [await status_of(host, port, "/stats") for host in ("[::1]", "127.0.0.1")]
            await calls
        finally:
            await runner.cleanup()
    assert heard == [200, 200]
    assert generator.tally.outcomes["kept", "none", "200"] > 0


@asynccontextmanager
async def drift_service(**environment: Any) -> AsyncIterator[int]:
    """Serve as the drift service does, without its encoder."""
    settings = ServiceSettings(baseline=Path("unread.npz"), port=free_port(), **environment)
    app = FastAPI()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {}

    server = WatchedServer(config_of(app, settings), cast(Worker, SimpleNamespace(failed=None)))
    task = asyncio.create_task(server._serve())
    try:
        while not server.started:
            assert not task.done()
            await asyncio.sleep(0)
        yield settings.port
    finally:
        server.should_exit = True
        await task


async def test_the_drift_service_is_heard_on_both_families():
    async with drift_service() as port:
        assert [await status_of(host, port, "/health") for host in ("[::1]", "127.0.0.1")] == [
            200,
            200,
        ]


async def test_the_drift_service_listens_on_the_one_address_that_it_is_given():
    async with drift_service(host=LOOPBACK) as port:
        assert await status_of("[::1]", port, "/health") == 200
        with pytest.raises(aiohttp.ClientConnectionError):
            await status_of("127.0.0.1", port, "/health")
