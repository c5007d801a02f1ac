"""Telling people by webhook: once, with patience, and never in the way of a release."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from modelrelease_operator.api.status import Reason
from modelrelease_operator.core.desired import Notice
from modelrelease_operator.runtime import notify as module
from modelrelease_operator.runtime.metrics import NOTIFICATIONS
from modelrelease_operator.runtime.notify import QUEUE, TOPICS, Notifier
from modelrelease_operator.settings import NOTIFY_TOPICS, Settings
from testbed.servers import serving

KEY = ("ml", "qna")
ALL = tuple(TOPICS)


def notice(reason: Reason = Reason.REGRESSION, message: str = "canary 2 fails 3 %") -> Notice:
    return Notice(reason=reason, message=message, warning=True)


class Hook:
    """A webhook that answers with these codes, then with 200."""

    def __init__(self, *codes: int) -> None:
        self.codes, self.texts = list(codes), asyncio.Queue[str]()

    async def answer(self, request: web.Request) -> web.Response:
        self.texts.put_nowait((await request.json())["text"])
        return web.Response(status=self.codes.pop(0) if self.codes else 200)

    async def text(self) -> str:
        async with asyncio.timeout(20):
            return await self.texts.get()


@pytest.fixture
async def hook() -> AsyncIterator[tuple[Hook, Notifier]]:
    made = Hook()
    async with serving(made.answer) as url:
        notifier = Notifier(f"{url}/services/s3cret", ALL, pause_seconds=0.01)
        yield made, notifier
        await notifier.stop()


async def done(notifier: Notifier) -> None:
    assert notifier._task
    async with asyncio.timeout(20):
        await notifier._task


def counted(outcome: str) -> float:
    return float(NOTIFICATIONS.labels(outcome)._value.get())


async def test_a_rollback_is_told_with_its_release_and_its_reason(hook: tuple[Hook, Notifier]):
    server, notifier = hook
    notifier.tell(KEY, notice())
    assert await server.text() == "Regression: ml/qna: canary 2 fails 3 %"


async def test_what_nobody_asked_for_is_not_told(hook: tuple[Hook, Notifier]):
    _, notifier = hook
    notifier.tell(KEY, notice(Reason.STEP_STARTED))
    assert notifier._task is None
    only = Notifier("http://127.0.0.1:9", ["Promoted"])
    only.tell(KEY, notice())
    assert only._task is None


async def test_the_same_thing_is_told_once_until_an_hour_has_gone_by(hook: tuple[Hook, Notifier]):
    server, notifier = hook
    now = 0.0
    notifier._clock = lambda: now
    for _ in range(3):
        notifier.tell(KEY, notice())
    notifier.tell(("ml", "other"), notice())
    await done(notifier)
    assert server.texts.qsize() == 2
    now = module.REPEAT_SECONDS + 1
    notifier.tell(KEY, notice())
    await done(notifier)
    assert server.texts.qsize() == 3


@pytest.mark.parametrize("codes", [(500,), (503, 429)])
async def test_a_webhook_in_trouble_is_tried_again(
    hook: tuple[Hook, Notifier], codes: tuple[int, ...]
):
    server, notifier = hook
    server.codes = list(codes)
    before = counted("sent")
    notifier.tell(KEY, notice())
    await done(notifier)
    assert server.texts.qsize() == len(codes) + 1
    assert counted("sent") == before + 1


async def test_a_webhook_that_is_gone_is_given_up_at_once_and_its_address_is_not_shown(
    hook: tuple[Hook, Notifier], caplog: pytest.LogCaptureFixture
):
    server, notifier = hook
    server.codes = [404]
    with caplog.at_level(logging.DEBUG, logger="modelrelease.operator"):
        notifier.tell(KEY, notice())
        await done(notifier)
    assert server.texts.qsize() == 1
    assert "answered 404" in caplog.text
    assert "s3cret" not in caplog.text


async def test_a_webhook_that_does_not_answer_is_given_up_in_the_end_without_its_address(
    caplog: pytest.LogCaptureFixture,
):
    async with serving(Hook().answer) as url:
        pass
    notifier = Notifier(f"{url}/services/s3cret", ALL, pause_seconds=0.001)
    before = counted("failed")
    notifier.tell(KEY, notice())
    await done(notifier)
    assert counted("failed") == before + 1
    assert "does not answer" in caplog.text
    assert "s3cret" not in caplog.text


async def test_more_than_can_wait_is_dropped_and_counted_and_nobody_waits(
    hook: tuple[Hook, Notifier],
):
    _, notifier = hook
    before = counted("dropped")
    for number in range(QUEUE + 3):
        notifier.tell(KEY, notice(message=str(number)))
    assert counted("dropped") == before + 3


def test_an_operator_that_was_told_of_no_webhook_tells_nobody():
    notifier = Notifier(Settings().notify_webhook_url, Settings().notify_topics)
    notifier.tell(KEY, notice())
    assert notifier._task is None


def test_a_topic_that_does_not_exist_ends_the_start_with_its_name():
    with pytest.raises(ValueError, match="Rolledback"):
        Settings(notify_on="Rolledback")


def test_the_address_is_not_shown():
    assert "s3cret" not in repr(Settings(notify_webhook_url="http://hooks/s3cret"))


def test_every_topic_that_settings_know_stands_for_something():
    assert set(TOPICS) == set(NOTIFY_TOPICS)
