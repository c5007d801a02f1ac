"""Tells people by webhook, in the shape that Slack takes, in a task that no pass waits for.

Best effort, on purpose: what is queued is lost with the process, and Prometheus' alert rules are
what an on-call rotation should stand on. The address is a secret: it is in no log and in no
sentence.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain

import aiohttp

from modelrelease_operator.api.status import Reason
from modelrelease_operator.core.desired import Notice
from modelrelease_operator.runtime.metrics import NOTIFICATIONS
from modelrelease_operator.runtime.namespaced_name import NamespacedName

log = logging.getLogger("modelrelease.operator")

TOPICS: dict[str, frozenset[Reason]] = {
    "RolledBack": frozenset(
        {Reason.REGRESSION, Reason.ARTIFACT_REFUSED, Reason.CANARY_NOT_READY, Reason.ABORTED}
    ),
    "Promoted": frozenset({Reason.PROMOTED}),
    "Drifted": frozenset({Reason.DRIFTED}),
    "DriftEnded": frozenset({Reason.DRIFT_ENDED}),
    "RetrainFailed": frozenset({Reason.RETRAIN_FAILED}),
    "NeedsPerson": frozenset({Reason.INCONCLUSIVE, Reason.WAITING_FOR_APPROVAL}),
}
"""What a person may ask to be told of, and the reasons that it stands for."""
QUEUE = 100
"""Messages that wait; of more, the newest are dropped and counted."""
TRIES = 5
REPEAT_SECONDS = 3600.0
"""The same sentence about the same release is not sent twice within this time."""
TIMEOUT = aiohttp.ClientTimeout(total=10)


@dataclass(frozen=True, slots=True)
class Message:
    """One thing to tell."""

    key: NamespacedName
    reason: Reason
    text: str


class Notifier:
    """Posts to one webhook; without an address it tells nobody."""

    def __init__(
        self, url: str = "", topics: Iterable[str] = (), *, pause_seconds: float = 2.0
    ) -> None:
        self._url, self._pause = url, pause_seconds
        self._reasons = frozenset(chain.from_iterable(TOPICS[topic] for topic in topics))
        self._queue: asyncio.Queue[Message] = asyncio.Queue(QUEUE)
        self._sent: OrderedDict[Message, float] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self._clock: Callable[[], float] = time.monotonic

    def tell(self, key: NamespacedName, notice: Notice) -> None:
        """Queue a notice, if somebody wants it and was not just told. Never waits."""
        message = Message(key, notice.reason, notice.message)
        if not self._url or notice.reason not in self._reasons or not self._is_news(message):
            return
        try:
            self._queue.put_nowait(message)
        except asyncio.QueueFull:
            NOTIFICATIONS.labels("dropped").inc()
            return
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(), name="notifications")

    async def stop(self) -> None:
        """End the task; what is queued is not told any more."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _is_news(self, message: Message) -> bool:
        now = self._clock()
        while self._sent and next(iter(self._sent.values())) < now - REPEAT_SECONDS:
            self._sent.popitem(last=False)
        if message in self._sent:
            return False
        self._sent[message] = now
        if len(self._sent) > 10 * QUEUE:
            self._sent.popitem(last=False)
        return True

    async def _work(self) -> None:
        while not self._queue.empty():
            message = self._queue.get_nowait()
            outcome = "sent" if await self._send(message) else "failed"
            NOTIFICATIONS.labels(outcome).inc()

    async def _send(self, message: Message) -> bool:
        """Post one message, with a few tries; return whether it arrived."""
        (namespace, name), reason = message.key, message.reason
        body = {"text": f"{reason}: {namespace}/{name}: {message.text}"}
        problem = ""
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(self._pause * 2 ** (attempt - 1))
            problem, again = await self._post(body)
            if not problem:
                return True
            if not again:
                break
        fields = {"namespace": namespace, "release": name, "reason": reason}
        log.warning("a notification was not delivered: %s", problem, extra={"fields": fields})
        return False

    async def _post(self, body: dict[str, str]) -> tuple[str, bool]:
        """Return what went wrong, if anything, and whether another try can help."""
        try:
            async with (
                aiohttp.ClientSession(timeout=TIMEOUT) as session,
                session.post(self._url, json=body, allow_redirects=False) as answer,
            ):
                if answer.status < 300:
                    return "", False
                return (
                    f"the webhook answered {answer.status}",
                    answer.status >= 500 or answer.status == 429,
                )
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as problem:
            # Only the kind: its text would hold the address.
            return f"the webhook does not answer ({type(problem).__name__})", True
