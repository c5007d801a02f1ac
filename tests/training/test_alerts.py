"""Alerts reach a webhook, are not repeated, and never harm the command that sends them."""

import asyncio
from pathlib import Path

from aiohttp import web

from modelrelease_training.alerts import ATTEMPTS, Alert, Memory, notify, send, webhooks
from testbed.servers import answering, hanging_up, serving

DRIFT = Alert(kind="drift", subject="qna", text="feature_03 of qna drifted")


class Inbox:
    """A webhook that keeps what it is sent, and may refuse the first few times."""

    def __init__(self, *, refuse: int = 0) -> None:
        self.texts: list[str] = []
        self.refuse = refuse

    async def take(self, request: web.Request) -> web.Response:
        self.texts.append((await request.json())["text"])
        return web.Response(status=503 if len(self.texts) <= self.refuse else 200)


async def test_an_alert_arrives_in_the_shape_that_slack_takes():
    inbox = Inbox()
    async with serving(inbox.take) as url:
        assert await asyncio.to_thread(send, url, DRIFT.text) is None
    assert inbox.texts == [DRIFT.text]


async def test_a_webhook_that_is_busy_is_tried_again():
    inbox = Inbox(refuse=ATTEMPTS - 1)
    async with serving(inbox.take) as url:
        assert await asyncio.to_thread(send, url, DRIFT.text) is None
    assert len(inbox.texts) == ATTEMPTS


async def test_a_webhook_that_refuses_is_told_of_without_its_address():
    async with serving(answering("no", 403)) as url:
        problem = await asyncio.to_thread(send, f"{url}/services/SECRET", DRIFT.text)
    assert problem is not None
    assert "answers 403" in problem
    assert "SECRET" not in problem


async def test_a_webhook_that_hangs_up_is_a_sentence_and_no_error():
    async with serving(hanging_up) as url:
        problem = await asyncio.to_thread(send, url, DRIFT.text)
    assert problem is not None
    assert "does not answer" in problem


def test_an_address_that_is_none_is_a_sentence_and_no_error():
    for wrong in ("", "slack", "ftp://example.org/x", "https://", "http://[::1"):
        problem = send(wrong, DRIFT.text)
        assert problem is not None
        assert "http" in problem


async def test_the_same_news_is_told_once_within_the_hour(tmp_path: Path):
    inbox, memory = Inbox(), Memory(tmp_path / "alerts.json")
    async with serving(inbox.take) as url:
        for now in (0.0, 60.0, 3599.0, 3600.0):
            assert await asyncio.to_thread(notify, DRIFT, [url], memory=memory, now=now) == []
    assert len(inbox.texts) == 2


async def test_news_about_another_model_is_not_held_back(tmp_path: Path):
    inbox, memory = Inbox(), Memory(tmp_path / "alerts.json")
    other = Alert(kind="drift", subject="spam", text="feature_01 of spam drifted")
    async with serving(inbox.take) as url:
        for alert in (DRIFT, other):
            await asyncio.to_thread(notify, alert, [url], memory=memory, now=0.0)
    assert inbox.texts == [DRIFT.text, other.text]


async def test_what_could_not_be_sent_is_not_remembered_as_sent(tmp_path: Path):
    memory = Memory(tmp_path / "alerts.json")
    async with serving(answering("gone", 410)) as url:
        assert len(await asyncio.to_thread(notify, DRIFT, [url], memory=memory, now=0.0)) == 1
    assert memory.is_news(DRIFT, now=1.0)


def test_a_memory_that_cannot_be_read_holds_nothing_back(tmp_path: Path):
    file = tmp_path / "alerts.json"
    for content in (b"", b"[1]", b'{"drift/qna": "soon"}', b"\xff"):
        file.write_bytes(content)
        assert Memory(file).is_news(DRIFT, now=0.0)
        Memory(file).remember(DRIFT, now=0.0)
        assert not Memory(file).is_news(DRIFT, now=1.0)


def test_the_option_comes_before_the_environment(monkeypatch):
    monkeypatch.setenv("SLACK_WEBHOOK_URL", "https://example.org/a")
    assert webhooks("https://example.org/b") == ["https://example.org/b"]
    assert webhooks(None) == ["https://example.org/a"]
    monkeypatch.delenv("SLACK_WEBHOOK_URL")
    assert webhooks(None) == []
