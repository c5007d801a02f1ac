"""Copies of users' requests reach a canary that asks for them, are compared and counted; one that
is slow, busy or dead costs copies and nothing else.
"""

import asyncio
import json
import re
import signal
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp

from modelrelease_contract.shadow import (
    ALIKE,
    BOTH_FAILED,
    BUSY,
    CANARY_FAILED,
    CANARY_SLOWER,
    DIFFERENT,
    DROPPED,
    LATE,
    NOISE_SAME,
    SAME,
    SHADOW_RESULTS,
    STABLE_FAILED,
    STABLE_SLOWER,
    UNREACHABLE,
    ShadowWish,
)
from modelrelease_serving import app as app_module
from modelrelease_serving import http_client, shadow
from modelrelease_serving.app import PredictorApp, create_app
from modelrelease_serving.http_client import Peer
from modelrelease_serving.model import Model
from modelrelease_serving.responses import Reply, reply
from modelrelease_serving.shadow import ShadowCopier, TokenBucket
from modelrelease_serving.shadow_pairs import ShadowPairs
from modelrelease_training.export import Exported
from tests.serving.support import predictor, settings, train, wait_until
from tests.serving.test_app import client_of, sample
from tests.serving.test_shadow_answers import INFER, WANTED, canary_of, matrix

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def row(artifact: Exported) -> list[Any]:
    return list(artifact.manifest.examples.rows[0])


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Another version, whose answers are others."""
    exported = train(tmp_path_factory.mktemp("other"), "2", seed=8)
    model = Model.open(exported.path, sha256=exported.digest)
    model.load()
    return model


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for a canary all the time, and give a busy machine time to answer."""
    monkeypatch.setattr(shadow, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(shadow, "IDLE_LOOK_SECONDS", 0.02)
    for module, limit in ((shadow, "WISH"), (shadow, "COPY"), (http_client, "CONNECT")):
        monkeypatch.setattr(module, f"{limit}_SECONDS", 60.0)


async def until(what: str, predicate: Callable[[], Any]) -> None:
    await asyncio.to_thread(wait_until, what, predicate)


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """Serve an app on loopback, in this loop."""
    config = uvicorn.Config(app, lifespan="off", log_config=None, ws="none")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


@dataclass
class Stable:
    """A stable predictor's app with its copier, and a user of it."""

    app: PredictorApp
    copier: ShadowCopier
    pairs: ShadowPairs
    user: httpx.AsyncClient

    def count(self, result: str, canary: str = "new") -> int:
        return self.pairs.counts(canary).get(result, 0)

    def counted(self, canary: str = "new") -> dict[str, int]:
        return {result: n for result, n in self.pairs.counts(canary).items() if n}

    async def until_copying(self, canary: str = "new") -> None:
        await until(f"it copies to {canary}", lambda: self.copies_to(canary))

    def copies_to(self, canary: str) -> bool:
        return self.copier._canary == canary and self.copier._settings is not None

    @property
    def copies(self) -> bool:
        return self.copier._settings is not None

    async def until_counted(self, result: str, number: int = 1, canary: str = "new") -> None:
        await until(f"{number} {result}", lambda: self.count(result, canary) >= number)

    async def predict(self, row: list[Any]) -> httpx.Response:
        return await self.user.post("/predict", json={"features": row})


@asynccontextmanager
async def stable(
    model: Model, canary: str, *, again: str | None = None, revision: str = "old"
) -> AsyncIterator[Stable]:
    """Let stable copy to the canary at an address, and serve it to itself unless `again` is."""
    app = create_app(model, settings(release="qna", revision=revision))
    async with served(app) as url:
        pairs = ShadowPairs(release="qna", revision=revision)
        copier = ShadowCopier(
            revision=revision,
            canary=Peer(canary),
            stable=Peer(again or url),
            pairs=pairs,
            tolerance=model.manifest.examples.tolerance,
        )
        app.metrics.registry.register(pairs)
        app.predictions.copier = copier
        running = asyncio.create_task(copier.run())
        try:
            async with client_of(app) as user:
                yield Stable(app, copier, pairs, user)
        finally:
            running.cancel()
            await asyncio.wait([running])


@dataclass
class Script:
    """What a scripted canary says."""

    wish: ShadowWish | bytes | None = field(
        default_factory=lambda: ShadowWish(revision="new", settings=WANTED)
    )
    status: int = 200
    body: bytes = b'{"prediction":0.5,"model_version":"2"}'
    headers: dict[str, str] = field(default_factory=dict)
    open_door: threading.Event = field(default_factory=threading.Event)
    """Copies are answered while it is set."""
    hangs_up: bool = False
    looks: int = 0
    """How often somebody asked for the wish."""
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    """Copies that came: path, headers, body."""


class ScriptedCanary(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = Script()
        self.script.open_door.set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: clients that give up are expected."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def script(self) -> Script:
        assert isinstance(self.server, ScriptedCanary)
        return self.server.script

    def do_GET(self) -> None:
        assert self.path == "/shadow"
        self.script.looks += 1
        wish = self.script.wish
        body = wish.model_dump_json().encode() if isinstance(wish, ShadowWish) else wish
        self.answer(404 if body is None else 200, body or b"")

    def do_POST(self) -> None:
        script = self.script
        body = self.rfile.read(int(self.headers["Content-Length"]))
        script.asked.append((self.path, dict(self.headers), body))
        script.open_door.wait(20)
        self.close_connection = True
        if not script.hangs_up:
            self.answer(script.status, script.body, **script.headers)

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.close_connection = True
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Stay silent."""


@pytest.fixture
def scripted() -> Iterator[ScriptedCanary]:
    with ScriptedCanary() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.script.open_door.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def script(scripted: ScriptedCanary) -> Script:
    return scripted.script


class TestPairs:
    async def test_of_one_model_are_the_same_and_no_copy_is_in_a_users_count(
        self, loaded: Model, row: list[Any]
    ) -> None:
        app = canary_of(loaded)
        async with served(app) as url, stable(loaded, url) as old:
            await old.until_copying()
            for _ in range(5):
                assert (await old.predict(row)).status_code == 200
            await old.until_counted(SAME, 5)
            assert old.counted() == {SAME: 5}
            async with client_of(app) as client:
                assert await sample(client, "shadow_predictions_total", code="200") == 5
                assert await sample(client, "predictions_total", code="200") == 0
                assert await sample(client, "prediction_bin_total") == 0
            assert await sample(old.user, "predictions_total", code="200") == 5
            assert await sample(old.user, "shadow_predictions_total", code="200") == 0

    async def test_of_two_models_are_different_and_every_series_is_shown(
        self, loaded: Model, other: Model, row: list[Any]
    ) -> None:
        async with served(canary_of(other)) as url, stable(loaded, url) as old:
            await old.until_copying()
            for result in SHADOW_RESULTS:
                labels = {"revision": "old", "canary": "new", "result": result}
                assert await sample(old.user, "shadow_pairs_total", **labels) == 0
            await old.predict(row)
            await old.until_counted(DIFFERENT)
            assert old.counted() == {DIFFERENT: 1}

    async def test_that_differ_by_less_than_the_canary_asks_for_are_the_same(
        self, loaded: Model, other: Model, row: list[Any]
    ) -> None:
        wish = WANTED.model_copy(update={"tolerance": 1.0})
        async with served(canary_of(other, wanted=wish)) as url, stable(loaded, url) as old:
            await old.until_copying()
            await old.predict(row)
            await old.until_counted(SAME)
            assert old.counted() == {SAME: 1}

    async def test_are_of_whole_batches(
        self, loaded: Model, other: Model, artifact: Exported
    ) -> None:
        rows = [list(row) for row in artifact.manifest.examples.rows]
        async with served(canary_of(loaded)) as url, stable(loaded, url) as old:
            await old.until_copying()
            await old.user.post("/predict", json={"features": rows, "probabilities": True})
            await old.until_counted(SAME)
        async with served(canary_of(other)) as url, stable(loaded, url) as old:
            await old.until_copying()
            await old.user.post("/predict", json={"features": rows, "probabilities": True})
            await old.until_counted(DIFFERENT)

    async def test_are_of_both_protocols_and_of_binary_tensors(
        self, loaded: Model, other: Model, row: list[Any]
    ) -> None:
        requests = [{"json": {"inputs": [matrix([row])]}}, _binary(row)]
        for model, result in ((loaded, SAME), (other, DIFFERENT)):
            async with served(canary_of(model)) as url, stable(loaded, url) as old:
                await old.until_copying()
                for request in requests:
                    assert (await old.user.post(INFER, **request)).status_code == 200
                await old.until_counted(result, 2)
                assert old.counted() == {result: 2}

    async def test_with_stable_asked_again_tell_its_noise_and_who_is_slower(
        self, loaded: Model, row: list[Any]
    ) -> None:
        wanted = WANTED.model_copy(update={"noise_share": 1})
        async with served(canary_of(loaded, wanted=wanted)) as url, stable(loaded, url) as old:
            await old.until_copying()
            for _ in range(3):
                await old.predict(row)
            await old.until_counted(ALIKE, 3)
            assert old.counted() == {SAME: 3, NOISE_SAME: 3, ALIKE: 3}
            assert await sample(old.user, "shadow_predictions_total", code="200") == 3

    async def test_of_arms_that_take_unlike_times_are_slower(
        self, loaded: Model, row: list[Any], scripted: ScriptedCanary, script: Script
    ) -> None:
        wanted = WANTED.model_copy(
            update={"noise_share": 1, "slower_ratio": 1, "slower_seconds": 0}
        )
        script.wish = ShadowWish(revision="new", settings=wanted)
        async with stable(loaded, scripted.url) as old:
            await old.until_copying()
            for seconds, result in (("9.5", CANARY_SLOWER), ("0.0", STABLE_SLOWER)):
                script.headers = {"X_Shadow_Seconds": seconds}
                await old.predict(row)
                await old.until_counted(result)

    async def test_of_large_answers_are_compared_in_a_thread(
        self, loaded: Model, row: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shadow, "_LARGE_BYTES", 1)
        async with served(canary_of(loaded)) as url, stable(loaded, url) as old:
            await old.until_copying()
            await old.predict(row)
            await old.until_counted(SAME)

    async def test_of_two_canaries_in_a_row_are_counted_for_each(
        self, loaded: Model, row: list[Any], scripted: ScriptedCanary, script: Script
    ) -> None:
        async with stable(loaded, scripted.url) as old:
            for revision in ("one", "two"):
                script.wish = ShadowWish(revision=revision, settings=WANTED)
                await old.until_copying(revision)
                await old.predict(row)
                await old.until_counted(DIFFERENT, canary=revision)
            assert old.counted("one") == old.counted("two") == {DIFFERENT: 1}


class TestACanaryThatFails:
    async def test_is_counted_and_no_client_waits(
        self, loaded: Model, row: list[Any], scripted: ScriptedCanary, script: Script
    ) -> None:
        async with stable(loaded, scripted.url) as old:
            await old.until_copying()
            for status in (500, 422, 404):
                script.status = status
                before = old.count(CANARY_FAILED)
                assert (await old.predict(row)).status_code == 200
                await old.until_counted(CANARY_FAILED, before + 1)
            script.hangs_up = True
            assert (await old.predict(row)).status_code == 200
            await old.until_counted(CANARY_FAILED, 4)
            assert old.counted() == {CANARY_FAILED: 4}

    async def test_by_silence_is_given_up(
        self,
        loaded: Model,
        row: list[Any],
        scripted: ScriptedCanary,
        script: Script,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(shadow, "COPY_SECONDS", 0.1)
        script.open_door.clear()
        async with stable(loaded, scripted.url) as old:
            await old.until_copying()
            await old.predict(row)
            await old.until_counted(CANARY_FAILED)

    async def test_by_being_busy_is_no_pair_and_is_counted(
        self, loaded: Model, row: list[Any], scripted: ScriptedCanary, script: Script
    ) -> None:
        script.status = 503
        async with stable(loaded, scripted.url) as old:
            await old.until_copying()
            await old.predict(row)
            await old.until_counted(BUSY)
            assert old.counted() == {BUSY: 1}

    async def test_a_request_that_stable_had_no_time_for_is_not_copied(
        self, loaded: Model, row: list[Any], scripted: ScriptedCanary
    ) -> None:
        async with stable(loaded, scripted.url) as old:
            await old.until_copying()
            old.copier("/predict", b"{}", {}, Reply(503, [], b""), 0.1)
            await old.predict(row)
            await old.until_counted(DIFFERENT)
            assert old.counted() == {DIFFERENT: 1}

    async def test_by_answering_much_more_than_stable_is_cut_off(
        self, loaded: Model, row: list[Any], scripted: ScriptedCanary, script: Script
    ) -> None:
        script.body = b"[" + b"{}," * 100_000 + b"{}]"
        async with stable(loaded, scripted.url) as old:
            await old.until_copying()
            await old.predict(row)
            await old.until_counted(CANARY_FAILED)

    async def test_with_a_length_of_thousands_of_digits_ends_no_copying(
        self, loaded: Model, row: list[Any], scripted: ScriptedCanary, script: Script
    ) -> None:
        script.headers = {"Inference_Header_Content_Length": "9" * 5000}
        async with stable(loaded, scripted.url) as old:
            await old.until_copying()
            for number in (1, 2):
                await old.predict(row)
                await old.until_counted(DIFFERENT, number)

    async def test_much_too_late_is_a_failure_only_where_stable_was_quick(
        self, loaded: Model, scripted: ScriptedCanary, script: Script,
        row: list[Any], monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        script.open_door.clear()
        body = json.dumps({"features": row}).encode()
        async with stable(loaded, scripted.url) as old:
            await old.until_copying()
            monkeypatch.setattr(shadow, "COPY_SECONDS", 0.5)
            old.copier("/predict", body, {}, reply(200, b"{}", []), 0.001)
            await old.until_counted(CANARY_FAILED)
            old.copier("/predict", body, {}, reply(200, b"{}", []), 0.4)
            await old.until_counted(LATE)

    async def test_by_being_slow_fills_the_queue_and_copies_are_dropped(
        self, loaded: Model, row: list[Any], scripted: ScriptedCanary, script: Script
    ) -> None:
        script.open_door.clear()
        asked = shadow.MAX_WAITING + shadow.AT_ONCE + 20
        async with stable(loaded, scripted.url) as old:
            await old.until_copying()
            for _ in range(asked):
                assert (await old.predict(row)).status_code == 200
            assert old.count(DROPPED) >= 20
            assert len(script.asked) <= shadow.AT_ONCE
            script.open_door.set()
            dropped = old.count(DROPPED)
            await old.until_counted(DIFFERENT, asked - dropped)

    async def test_while_stable_fails_too_is_no_news(
        self, loaded: Model, row: list[Any], scripted: ScriptedCanary, script: Script
    ) -> None:
        async with stable(loaded, scripted.url) as old:
            await old.until_copying()
            failed = reply(500, b"{}", [])
            body = json.dumps({"features": row}).encode()
            for status, result in ((200, STABLE_FAILED), (500, BOTH_FAILED)):
                script.status = status
                old.copier("/predict", body, {}, failed, 0.01)
                await old.until_counted(result)

    async def test_by_being_dead_costs_nothing(self, loaded: Model, row: list[Any]) -> None:
        async with stable(loaded, NOBODY) as old:
            assert (await old.predict(row)).status_code == 200
            assert not old.copies
            assert old.copier._queue.empty()
            assert old.counted() == {}

    async def test_by_dying_is_not_reached(
        self, loaded: Model, row: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def wish(self: ShadowCopier) -> ShadowWish:
            return ShadowWish(revision="new", settings=WANTED)

        monkeypatch.setattr(ShadowCopier, "_ask_for_wish", wish)
        async with stable(loaded, NOBODY) as old:
            await old.until_copying()
            assert (await old.predict(row)).status_code == 200
            await old.until_counted(UNREACHABLE)
            assert old.counted() == {UNREACHABLE: 1}


class TestCopiesStop:
    async def test_while_users_are_at_the_canary(
        self,
        loaded: Model,
        row: list[Any],
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        caplog.set_level("INFO", shadow.__name__)
        app = canary_of(loaded)
        async with served(app) as url, stable(loaded, url) as old:
            await old.until_copying()
            async with client_of(app) as user:
                await user.post("/predict", json={"features": row})
            await until("no copies are wanted", lambda: not old.copies)
            await old.predict(row)
            monkeypatch.setattr(app_module, "USERS_STAY_SECONDS", 0.0)
            await old.until_copying()
            await old.predict(row)
            await old.until_counted(SAME)
            assert old.counted() == {SAME: 1}
        # A canary that wants none for a while is no news.
        records = [record for record in caplog.records if record.name == shadow.__name__]
        assert [record.message for record in records] == [
            "copying requests to a canary",
            "no more copies to a canary",
        ]
        ends = records[-1].__dict__["fields"]
        assert ends == {"canary": "new", SAME: 1}

    async def test_when_the_canary_is_gone_and_what_waits_is_forgotten(
        self, loaded: Model, row: list[Any], scripted: ScriptedCanary, script: Script
    ) -> None:
        script.open_door.clear()
        async with stable(loaded, scripted.url) as old:
            await old.until_copying()
            for _ in range(10):
                await old.predict(row)
            script.wish = None
            await until("it copies no more", lambda: not old.copies)
            assert old.copier._queue.empty()
            assert old.copier._waiting_bytes == 0
            script.open_door.set()
            await old.until_counted(DIFFERENT, shadow.AT_ONCE)
            assert len(script.asked) == shadow.AT_ONCE

    @pytest.mark.parametrize(
        "wish",
        [ShadowWish(revision="old", settings=WANTED), ShadowWish(revision="new"), b"{}", None],
        ids=["of one's own revision", "for nothing", "that is none", "of nobody"],
    )
    async def test_where_a_wish_is_ignored(
        self,
        loaded: Model,
        row: list[Any],
        scripted: ScriptedCanary,
        script: Script,
        wish: ShadowWish | bytes | None,
    ) -> None:
        async with stable(loaded, scripted.url) as old:
            await old.until_copying()
            script.wish = wish
            await until("it copies no more", lambda: not old.copies)
            await old.predict(row)
            looks = script.looks
            await until("it has looked again", lambda: script.looks > looks + 1)
            assert not old.copies
            assert script.asked == []


class TestWhatIsCopied:
    @pytest.fixture
    def copier(self) -> ShadowCopier:
        """A copier that nobody takes copies from."""
        peer = Peer(NOBODY)
        pairs = ShadowPairs(release="qna", revision="old")
        return ShadowCopier(revision="old", canary=peer, stable=peer, pairs=pairs, tolerance=0.0)

    def follow(self, copier: ShadowCopier, **changes: Any) -> None:
        wanted = WANTED.model_copy(update=changes)
        copier._follow(ShadowWish(revision="new", settings=wanted))

    async def test_is_a_share(self, copier: ShadowCopier, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shadow, "MAX_WAITING", 10_000)
        monkeypatch.setattr(TokenBucket, "take", lambda self: True)
        self.follow(copier, share=0.2)
        for _ in range(2000):
            copier("/predict", b"{}", {}, reply(200, b"{}", []), 0.01)
        assert 300 < copier._queue.qsize() < 500

    def test_is_no_more_than_so_many_a_second(
        self, copier: ShadowCopier, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
        self.follow(copier, per_second=10)
        for _ in range(1000):
            copier("/predict", b"{}", {}, reply(200, b"{}", []), 0.01)
        assert copier._queue.qsize() == 1
        # What was not asked for is nothing that was lost.
        assert copier._pairs.counts("new")[DROPPED] == 0

    async def test_is_bounded_by_bytes(self, copier: ShadowCopier) -> None:
        self.follow(copier)
        for _ in range(10):
            copier("/predict", b"x" * 1024 * 1024, {}, reply(200, b"{}", []), 0.01)
        assert copier._queue.qsize() == 3
        assert copier._pairs.counts("new")[DROPPED] == 7

    async def test_is_the_body_and_what_says_how_to_read_it(self, copier: ShadowCopier) -> None:
        self.follow(copier)
        headers = {
            b"authorization": b"Bearer secret", b"content-type": b"application/json",
            b"inference-header-content-length": b"2", b"x-request-id": b"7",
        }  # fmt: skip
        copier("/v2/models/qna/versions/1/infer", b"{}", headers, reply(200, b"{}", []), 0.01)
        copy = copier._queue.get_nowait()
        assert (copy.path, copy.body) == ("/shadow/infer", b"{}")
        assert dict(copy.headers) == {
            b"content-type": b"application/json", b"inference-header-content-length": b"2"
        }  # fmt: skip

    async def test_is_answered_or_failed_and_never_refused(
        self, loaded: Model, row: list[Any]
    ) -> None:
        app = create_app(loaded, settings())
        seen: list[int] = []
        app.predictions.copier = lambda path, body, headers, reply, seconds: seen.append(
            reply.status
        )
        async with client_of(app) as client:
            await client.post("/predict", json={"features": row})
            await client.post("/predict", json={"features": row[:3]})
            await client.post("/probe", json={"features": row})
            await client.post("/shadow/predict", json={"features": row})
        assert seen == [200]

    def test_is_spread_over_the_second(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: now)
        bucket = TokenBucket(50)
        taken = 0
        for _ in range(1000):
            now += 0.001
            taken += bucket.take()
        assert 50 <= taken <= 55


class TestProcesses:
    def test_copy_to_each_other(self, artifact: Exported, row: list[Any]) -> None:
        wanted = WANTED.model_copy(update={"noise_share": 1}).model_dump_json()
        canary = {"MODELRELEASE_RELEASE": "qna", "MODELRELEASE_REVISION": "new"}
        with predictor(artifact.path, MODELRELEASE_SHADOW=wanted, **canary) as new:
            new.wait_ready()
            own = {
                "MODELRELEASE_RELEASE": "qna", "MODELRELEASE_REVISION": "old",
                "SHADOW_CANARY_URL": f"http://127.0.0.1:{new.port}", "SHADOW_STABLE_URL": NOBODY,
                "DRAIN_SECONDS": "0",
            }  # fmt: skip
            with predictor(artifact.path, **own) as old:
                old.wait_ready()
                wait_until("it copies", lambda: old.logged("copying requests to a canary"))
                assert _ask(old.port, row) == 200
                shown = re.compile(
                    r'canary="new",process="\w+",release="qna",result="same",.*} 1.0'
                )
                wait_until("a pair is counted", lambda: shown.search(old.get("/metrics")[1]))
                assert "shadow_predictions_total" in new.get("/metrics")[1]
                old.send(signal.SIGTERM)
                assert old.wait() == 0
                ends = wait_until("it says", lambda: old.logged("no more copies to a canary"))
                assert (ends[0]["canary"], ends[0]["same"]) == ("new", 1)

    @pytest.mark.parametrize(
        "environment", [{"MODELRELEASE_RELEASE": "qna", "SHADOW_COPIES": "false"}, {}]
    )
    def test_ask_nobody_where_copies_are_off_or_there_is_no_release(
        self, artifact: Exported, scripted: ScriptedCanary, environment: dict[str, str]
    ) -> None:
        with predictor(
            artifact.path, SHADOW_CANARY_URL=scripted.url, DRAIN_SECONDS="0", **environment
        ) as running:
            running.wait_ready()
            assert "shadow_pairs_total" not in running.get("/metrics")[1]
            assert not running.logged("copying requests to a canary")
        assert scripted.script.looks == 0


def _binary(row: list[Any]) -> dict[str, Any]:
    """Return a request with its row and its answer as bytes."""
    content = struct.pack(f"<{len(row)}d", *row)
    tensor = {
        "name": "features",
        "datatype": "FP64",
        "shape": [1, len(row)],
        "parameters": {"binary_data_size": len(content)},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    length = {"Inference-Header-Content-Length": str(len(head))}
    return {"content": head + content, "headers": length}


def _ask(port: int, row: list[Any]) -> int:
    answer = httpx.post(f"http://127.0.0.1:{port}/predict", json={"features": row}, trust_env=False)
    return answer.status_code
