"""Who is let in to the operator's metrics, where a token is wanted for them."""

import asyncio
import gzip
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Gauge

from modelrelease_operator.errors import Invalid, Unavailable
from modelrelease_operator.runtime import metrics_door as module
from modelrelease_operator.runtime.metrics_door import (
    ALLOWED_SECONDS,
    MOST_AT_ONCE,
    MOST_KNOWN,
    REFUSED_SECONDS,
    MetricsDoor,
    serving_metrics,
)
from testbed.ports import free_port
from tests.support.certificates import own_certificate

PROMETHEUS: dict[str, Any] = {
    "username": "system:serviceaccount:monitoring:prometheus",
    "groups": ["g"],
}
SOMEBODY: dict[str, Any] = {"username": "somebody"}


class Reviews:
    """Stands where the API server does: who each token is, and who may read."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.away = False
        self.readers = {PROMETHEUS["username"]}
        self.answer = asyncio.Event()
        self.answer.set()

    async def whose(self, token: str) -> dict[str, Any] | None:
        self.asked[token] += 1
        await self.answer.wait()
        if self.away:
            raise Unavailable("no answer")
        return {"prometheus": PROMETHEUS, "somebody": SOMEBODY}.get(token)

    async def may_get(self, user: dict[str, Any], path: str) -> bool:
        assert path == "/metrics"
        return user["username"] in self.readers


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def reviews() -> Reviews:
    return Reviews()


@pytest.fixture
def door(reviews: Reviews) -> MetricsDoor:
    return MetricsDoor(reviews, clock=Clock())  # type: ignore[arg-type]


async def status(door: MetricsDoor, header: str) -> int:
    refused = await door.refusal(header)
    return refused.status if refused else 200


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Bearer prometheus", 200),
        ("bearer  prometheus ", 200),
        ("Bearer somebody", 403),
        ("Bearer nobody", 401),
        ("Bearer \udcff", 401),
        ("Bearer", 401),
        ("Basic prometheus", 401),
        ("prometheus", 401),
        ("", 401),
    ],
)
async def test_only_the_token_of_who_may_read_is_let_in(
    door: MetricsDoor, header: str, expected: int
):
    assert await status(door, header) == expected


async def test_who_may_not_read_is_told_what_they_lack(door: MetricsDoor):
    refused = await door.refusal("Bearer somebody")
    assert refused
    assert "somebody may not get the path /metrics: bind a ClusterRole" in refused.text


async def test_what_was_answered_holds_for_a_while_and_a_refusal_shorter(
    door: MetricsDoor, reviews: Reviews
):
    clock = door.clock
    assert isinstance(clock, Clock)
    for header in ("Bearer prometheus", "Bearer somebody"):
        await status(door, header)
        await status(door, header)
    assert reviews.asked == {"prometheus": 1, "somebody": 1}
    reviews.readers = {"somebody"}
    clock.now += REFUSED_SECONDS
    assert await status(door, "Bearer somebody") == 200
    assert await status(door, "Bearer prometheus") == 200
    clock.now += ALLOWED_SECONDS - REFUSED_SECONDS
    assert await status(door, "Bearer prometheus") == 403


async def test_where_the_api_server_is_away_nobody_new_is_let_in_and_it_is_asked_again(
    door: MetricsDoor, reviews: Reviews
):
    reviews.away = True
    assert await status(door, "Bearer prometheus") == 503
    reviews.away = False
    assert await status(door, "Bearer prometheus") == 200


async def test_many_tokens_at_once_are_sent_away_and_do_not_shut_out_who_was_let_in(
    door: MetricsDoor, reviews: Reviews
):
    await status(door, "Bearer prometheus")
    reviews.answer.clear()
    waiting = [asyncio.create_task(status(door, f"Bearer {n}")) for n in range(MOST_AT_ONCE)]
    await asyncio.sleep(0)
    assert await status(door, "Bearer one-more") == 503
    assert await status(door, "Bearer prometheus") == 200
    reviews.answer.set()
    assert await asyncio.gather(*waiting) == [401] * MOST_AT_ONCE
    assert await status(door, "Bearer one-more") == 401


async def test_no_more_tokens_are_remembered_than_fit(door: MetricsDoor):
    for number in range(MOST_KNOWN + 10):
        await status(door, f"Bearer {number}")
    assert len(door._known) == MOST_KNOWN


@asynccontextmanager
async def served(door: MetricsDoor, certificate: Path | None = None) -> AsyncIterator[str]:
    registry = CollectorRegistry()
    Gauge("modelrelease_one", "One.", registry=registry).set(1)
    Gauge("modelrelease_two", "Two.", registry=registry).set(2)
    port = free_port()
    async with serving_metrics(port, door, certificate, registry):
        yield f"{'https' if certificate else 'http'}://localhost:{port}"


async def got(url: str, token: str = "", **more: Any) -> tuple[int, str, dict[str, str]]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers |= more.pop("headers", {})
    async with AsyncExitStack() as stack:
        session = aiohttp.ClientSession(auto_decompress=False)
        await stack.enter_async_context(session)
        answer = await stack.enter_async_context(session.get(url, headers=headers, **more))
        raw = await answer.read()
        zipped = answer.headers.get("Content-Encoding") == "gzip"
        text = gzip.decompress(raw) if zipped else raw
        return answer.status, text.decode(), dict(answer.headers)


async def test_the_page_is_the_client_librarys_own(door: MetricsDoor):
    async with served(door) as url:
        code, text, headers = await got(f"{url}/metrics", "prometheus")
        assert code == 200
        assert "modelrelease_one 1.0" in text
        assert headers["Content-Type"].startswith("text/plain; version=")
        wants = {"Accept": "application/openmetrics-text; version=1.0.0", "Accept-Encoding": "gzip"}
        _, text, headers = await got(
            f"{url}/metrics?name[]=modelrelease_two", "prometheus", headers=wants
        )
        assert headers["Content-Encoding"] == "gzip"
        assert headers["Content-Type"].startswith("application/openmetrics-text")
        assert ("modelrelease_two" in text, "modelrelease_one" in text) == (True, False)


async def test_without_a_token_the_answer_says_which_is_wanted_and_nothing_else(door: MetricsDoor):
    async with served(door) as url:
        code, text, headers = await got(f"{url}/metrics")
        assert (code, headers["WWW-Authenticate"]) == (401, "Bearer")
        assert "modelrelease" not in text
        assert (await got(f"{url}/metrics", "somebody"))[0] == 403
        assert (await got(f"{url}/", "prometheus"))[0] == 404


async def test_a_certificate_that_is_renewed_is_shown_to_who_comes_next(
    door: MetricsDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "RENEWED_SECONDS", 0.01)
    old = own_certificate(tmp_path)
    async with served(door, tmp_path) as url:
        asked = f"{url}/metrics"
        assert (await got(asked, "prometheus", ssl=trusting(old)))[0] == 200
        new = own_certificate(tmp_path)
        async with asyncio.timeout(60):
            while True:
                try:
                    code, *_ = await got(asked, "prometheus", ssl=trusting(new))
                except aiohttp.ClientConnectorCertificateError:
                    await asyncio.sleep(0.01)
                else:
                    break
        assert code == 200


def trusting(certificate: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=certificate)


async def test_a_certificate_that_is_not_there_is_named(door: MetricsDoor, tmp_path: Path):
    with pytest.raises(Invalid, match=r"cannot be read from .*/tls\.crt and tls\.key"):
        async with served(door, tmp_path):
            pass
