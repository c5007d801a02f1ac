"""An open-loop client: so many requests a second, whether or not answers come.

Latency counts from when a request was due, not from when it could be sent, so a server that stalls
cannot hide it. Every request that fails is counted by what happened to it; nothing is retried.
"""

import asyncio
import json
import math
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, cast

import httptools
from typing_extensions import override

PATIENCE_SECONDS: Final = 10.0
_TICK_SECONDS: Final = 0.001


@dataclass
class Tally:
    """What became of the requests since the tally was last taken."""

    sent: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    """By status code, or by what happened instead of an answer."""
    milliseconds: list[float] = field(default_factory=list)
    """Latency of answers with status 200."""


class _Connection(asyncio.Protocol):
    """One connection with at most one request on it."""

    def __init__(self, client: "OpenLoop") -> None:
        self._client = client
        self._parser: Any = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self.due: float | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send what this connection was opened for."""
        self._transport = cast(asyncio.Transport, transport)
        if self.due is None:
            self._transport.close()
        else:
            self._transport.write(self._client.next_request())

    def ask(self, due: float) -> None:
        """Send one request, now or as soon as the connection stands."""
        self.due = due
        if self._transport is not None:
            self._transport.write(self._client.next_request())

    def give_up(self, now: float) -> None:
        """End a connection whose answer has not come in time."""
        if self.due is not None and now - self.due > PATIENCE_SECONDS:
            self._done("timeout")
            if self._transport is not None:
                self._transport.abort()

    def close(self) -> None:
        """Leave."""
        self.due = None
        if self._transport is not None:
            self._transport.close()

    @override
    def data_received(self, data: bytes) -> None:
        """Parse."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Count the answer; keep the connection unless the server ends it."""
        self._done(str(self._parser.get_status_code()))
        if self._parser.should_keep_alive():
            self._parser = httptools.HttpResponseParser(self)
            self._client.free.append(self)
        elif self._transport is not None:
            self._transport.close()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Count a request that was under way."""
        self._done("reset")
        self._client.lost(self)

    def _done(self, outcome: str) -> None:
        if self.due is not None:
            self._client.count(outcome, self.due)
            self.due = None


class OpenLoop:
    """Sends bodies to one path of the loopback address at a steady rate."""

    def __init__(
        self, port: int, path: str, bodies: Sequence[dict[str, Any]], *, connections: int
    ) -> None:
        self._port = port
        self._requests = [_request(path, body) for body in bodies]
        self._connections_max = connections
        self._open: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._next_body = 0
        self._changed = asyncio.Event()
        self.free: deque[_Connection] = deque()
        self.tally = Tally()

    async def run(self, rate: float, seconds: float) -> None:
        """Send `rate` requests a second for so long; then wait for the last answers and leave.

        Every request that is due is sent, late if need be, and at least one.
        """
        total = max(1, round(rate * seconds))
        began = swept = time.monotonic()
        sent = 0
        while sent < total:
            now = time.monotonic()
            due = min(total, int((now - began) * rate) + 1)
            for index in range(sent, due):
                self._send(began + index / rate)
            sent = due
            if now - swept > 1:
                self._sweep(swept := now)
            await asyncio.sleep(_TICK_SECONDS)
        await self._leave()

    async def _leave(self) -> None:
        """Wait for the last answers, as long as for any other; then close."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while any(connection.due is not None for connection in self._open):
                    self._changed.clear()
                    await self._changed.wait()
        for connection in list(self._open):
            connection.give_up(math.inf)
        for opening in self._opening:
            opening.cancel()
        with suppress(TimeoutError):
            for connection in list(self._open):
                connection.close()
            async with asyncio.timeout(1):
                while self._open:
                    self._changed.clear()
                    await self._changed.wait()

    def take(self) -> Tally:
        """Return what was counted since the last call."""
        counted, self.tally = self.tally, Tally()
        return counted

    def next_request(self) -> bytes:
        """Return the bytes of the next request; the bodies take turns."""
        self._next_body += 1
        return self._requests[self._next_body % len(self._requests)]

    def count(self, outcome: str, due: float) -> None:
        """Count what became of the request that was due then."""
        self.tally.outcomes[outcome] += 1
        self._changed.set()
        if outcome == "200":
            self.tally.milliseconds.append(1000 * (time.monotonic() - due))

    def lost(self, connection: _Connection) -> None:
        """Forget a connection that has ended."""
        self._open.discard(connection)
        self._changed.set()
        if connection in self.free:
            self.free.remove(connection)

    def _send(self, due: float) -> None:
        self.tally.sent += 1
        if self.free:
            self.free.pop().ask(due)
        elif len(self._open) < self._connections_max:
            self._connect(due)
        else:
            # As many wait as may: clients of a drowning server do not grow without end either.
            self.count("not sent", due)

    def _connect(self, due: float) -> None:
        connection = _Connection(self)
        connection.ask(due)
        self._open.add(connection)
        task = asyncio.create_task(self._dial(connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _dial(self, connection: _Connection) -> None:
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: connection, "127.0.0.1", self._port
            )
        except OSError:
            if connection.due is not None:
                self.count("refused", connection.due)
            self.lost(connection)
        except asyncio.CancelledError:
            self.lost(connection)
            raise

    def _sweep(self, now: float) -> None:
        for connection in list(self._open):
            connection.give_up(now)


def _request(path: str, body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content
