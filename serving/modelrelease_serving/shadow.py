"""Stable's side of a shadow comparison: asks the canary what users asked, and counts pairs.

Who wants copies is asked of the release's Service for the canary, again and again: a canary that
has gone refuses, and one with users says that it wants none. Meanwhile a request costs one look at
a flag. A copy is put into a bounded queue or dropped; two tasks take it from there, one copy each,
so a canary that is slow or dead costs dropped copies and nothing else.

They are tasks on the event loop and not a thread. A thread would take turns with the loop for
Python's lock, and users would wait for each of its turns; a task's turns are as short, and cost no
change of threads. Only large answers are compared in a thread, which gives the loop its turn in the
middle of it.
"""

import asyncio
import logging
import random
import time
from functools import partial
from typing import Final, NamedTuple

from pydantic import ValidationError

from modelrelease_contract.shadow import (
    CANARY_FAILED,
    DROPPED,
    SHADOW_INFER_PATH,
    SHADOW_INVOCATIONS_PATH,
    SHADOW_PATH,
    SHADOW_PREDICT_PATH,
    ShadowSettings,
    ShadowWish,
)
from modelrelease_serving.http_client import (
    Headers,
    LateError,
    NoConnectionError,
    NoResponseError,
    Peer,
)
from modelrelease_serving.inference import LENGTH_HEADER
from modelrelease_serving.logs import fields
from modelrelease_serving.responses import Reply
from modelrelease_serving.shadow_pairs import (
    BUSY_STATUS,
    NO_ANSWER,
    NOT_REACHED,
    TOO_LATE,
    ArmAnswer,
    Comparison,
    ShadowPairs,
)

MAX_WAITING: Final = 64
MAX_WAITING_BYTES: Final = 4 * 1024 * 1024
"""Bodies of requests and answers that wait, together."""
AT_ONCE: Final = 2
"""Copies that are on their way."""
COPY_SECONDS: Final = 10.0
"""For the whole of an answer to a copy, at least."""
MUCH_SLOWER: Final = 3
"""Times as long as stable an answer may take beyond that."""
LEAST_ANSWER_BYTES: Final = 64 * 1024
MUCH_LONGER: Final = 8
"""Times as long as stable's an answer may be beyond that."""
WISH_SECONDS: Final = 1.0
"""For the whole of an answer to what copies are wanted."""
LOOK_SECONDS: Final = 2.0
"""Between two questions for what copies are wanted, while a canary answers."""
IDLE_LOOK_SECONDS: Final = 5.0
"""The same while nobody answers, or one's own revision."""
_JITTER: Final = 0.2
_LARGE_BYTES: Final = 64 * 1024
_COPIED_HEADERS: Final = (b"content-type", LENGTH_HEADER)

_LOG = logging.getLogger(__name__)


class TokenBucket:
    """Lets so many pass in a second, and a tenth of them at one moment."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._capacity = max(1.0, per_second / 10)
        self._tokens = self._capacity
        self._since = time.monotonic()

    def take(self) -> bool:
        """Say whether one may pass now, and count it."""
        now = time.monotonic()
        gained = (now - self._since) * self._per_second
        self._tokens = min(self._capacity, self._tokens + gained)
        self._since = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Copy(NamedTuple):
    """One answered request, and for whom it was copied."""

    canary: str
    settings: ShadowSettings
    path: str
    headers: Headers
    body: bytes
    reply: Reply
    seconds: float
    """That stable took for it."""

    @property
    def seconds_to_answer(self) -> float:
        """Within which an answer to the copy is to come."""
        return max(COPY_SECONDS, MUCH_SLOWER * self.seconds)

    @property
    def most_bytes(self) -> int:
        """That an answer to the copy may have: a canary's may be longer, and must fit in memory."""
        return max(LEAST_ANSWER_BYTES, MUCH_LONGER * len(self.reply.body))

    @property
    def size(self) -> int:
        """Bytes of both bodies."""
        return len(self.body) + len(self.reply.body)


def path_of_copies(path: str) -> str:
    """Return where copies of the requests to a path go: their answers are compared as they are."""
    if path.startswith("/v2/"):
        return SHADOW_INFER_PATH
    return SHADOW_INVOCATIONS_PATH if path == "/invocations" else SHADOW_PREDICT_PATH


class ShadowCopier:
    """Takes answered requests; asks the canary the same while it wants copies."""

    def __init__(
        self, *, revision: str, canary: Peer, stable: Peer, pairs: ShadowPairs, tolerance: float
    ) -> None:
        self._revision = revision
        self._canary_peer, self._stable_peer = canary, stable
        self._pairs = pairs
        self._tolerance = tolerance
        self._canary: str | None = None
        """The revision that wants copies, or wanted some and has users now."""
        self._settings: ShadowSettings | None = None
        """None while no copies are wanted."""
        self._bucket = TokenBucket(1)
        self._queue: asyncio.Queue[Copy] = asyncio.Queue()
        self._waiting_bytes = 0

    def __call__(
        self, path: str, body: bytes, headers: dict[bytes, bytes], reply: Reply, seconds: float
    ) -> None:
        """Take one answered request, or let it pass. Takes microseconds, and raises nothing."""
        settings = self._settings
        if settings is None or self._canary is None or reply.status == BUSY_STATUS:
            return
        if random.random() >= settings.share or not self._bucket.take():
            return
        copy = Copy(
            canary=self._canary,
            settings=settings,
            path=path_of_copies(path),
            headers=[(name, headers[name]) for name in _COPIED_HEADERS if name in headers],
            body=body,
            reply=reply,
            seconds=seconds,
        )
        full = self._queue.qsize() >= MAX_WAITING
        if full or self._waiting_bytes + copy.size > MAX_WAITING_BYTES:
            self._pairs.count(copy.canary, DROPPED)
            return
        self._waiting_bytes += copy.size
        self._queue.put_nowait(copy)

    async def run(self) -> None:
        """Look for a canary and send it copies, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._look())
                for _ in range(AT_ONCE):
                    tasks.create_task(self._send())
        finally:
            self._follow(None)

    # Who wants copies

    async def _look(self) -> None:
        while True:
            wish = await self._ask_for_wish()
            self._follow(wish)
            pause = LOOK_SECONDS if wish else IDLE_LOOK_SECONDS
            await asyncio.sleep(pause * random.uniform(1 - _JITTER, 1 + _JITTER))

    async def _ask_for_wish(self) -> ShadowWish | None:
        """Return what a canary wants; None where no other revision answers."""
        try:
            response = await self._canary_peer.ask("GET", SHADOW_PATH, seconds=WISH_SECONDS)
            wish = ShadowWish.model_validate_json(response.body)
        except (NoConnectionError, NoResponseError, ValidationError):
            return None
        return wish if response.status == 200 and wish.revision != self._revision else None

    def _follow(self, wish: ShadowWish | None) -> None:
        """Copy for whoever wants copies, and for nobody else.

        A canary that wants none for a while is the same canary when it wants some again.
        """
        revision, settings = (wish.revision, wish.settings) if wish else (None, None)
        if self._canary is not None and self._canary != revision:
            self._end(self._canary)
        if revision is None or settings is None:
            self._pause()
        elif settings != self._settings:
            self._begin(revision, settings)

    def _begin(self, revision: str, settings: ShadowSettings) -> None:
        if self._canary is None:
            _LOG.info("copying requests to a canary", extra=fields(canary=revision))
        self._pairs.begin(revision)
        self._canary, self._settings = revision, settings
        self._bucket = TokenBucket(settings.per_second)

    def _pause(self) -> None:
        self._settings = None
        self._waiting_bytes = 0
        while not self._queue.empty():
            self._queue.get_nowait()

    def _end(self, revision: str) -> None:
        self._pause()
        self._canary = None
        counts = {result: count for result, count in self._pairs.counts(revision).items() if count}
        self._pairs.end(revision)
        _LOG.info("no more copies to a canary", extra=fields(canary=revision, **counts))

    # What becomes of a copy

    async def _send(self) -> None:
        while True:
            copy = await self._queue.get()
            self._waiting_bytes -= copy.size
            try:
                results = await self._results(copy)
            except Exception:
                # What another version says must not end the copying of all requests to come.
                _LOG.exception("a copy could not be compared")
                results = [CANARY_FAILED]
            for result in results:
                self._pairs.count(copy.canary, result)

    async def _results(self, copy: Copy) -> list[str]:
        """Ask the canary, and now and then stable again. Return what the answers count as."""
        asked = [self._canary_peer]
        if random.random() < copy.settings.noise_share:
            asked.append(self._stable_peer)
            # Neither arm shall always be the first to meet a request.
            random.shuffle(asked)
        answers = {peer: await _ask(peer, copy) for peer in asked}
        recorded = ArmAnswer.read(copy.reply.status, dict(copy.reply.headers), copy.reply.body)
        canary, again = answers[self._canary_peer], answers.get(self._stable_peer)
        asked_for = copy.settings.tolerance
        tolerance = self._tolerance if asked_for is None else asked_for
        comparison = Comparison(copy.settings, tolerance)
        compare = partial(comparison.results, recorded, canary, again)
        if len(recorded.body) + len(canary.body) < _LARGE_BYTES:
            return compare()
        return await asyncio.get_running_loop().run_in_executor(None, compare)


async def _ask(peer: Peer, copy: Copy) -> ArmAnswer:
    try:
        response = await peer.ask(
            "POST",
            copy.path,
            headers=copy.headers,
            body=copy.body,
            seconds=copy.seconds_to_answer,
            max_bytes=copy.most_bytes,
        )
    except NoConnectionError:
        return NOT_REACHED
    except LateError:
        quick = copy.seconds < COPY_SECONDS / MUCH_SLOWER
        return NO_ANSWER if quick else TOO_LATE
    except NoResponseError:
        return NO_ANSWER
    return ArmAnswer.read(*response)
