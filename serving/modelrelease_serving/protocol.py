"""HTTP/1.1 on one connection: what of a request may wait here, how long, and what upgrades become.

uvicorn's protocol counts nothing before a request is whole. Here every connection that the server
waits for stands in a queue, oldest first: those that never asked, those in the middle of a request,
those between two requests, and those that do not take their answers. A sweep ends what took too
long, and whoever has waited longest makes room where there is too little. Nothing here knows about
models.
"""

import asyncio
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar, Final

import httptools
from starlette.types import Scope
from typing_extensions import override
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from modelrelease_serving.connections import STATE_KEY, Connection
from modelrelease_serving.errors import BadRequestError, BusyError
from modelrelease_serving.logs import fields

KEEP_ALIVE_SECONDS: Final = 75.0
"""Longer than clients keep idle connections, so that they leave first and meet no reset."""

_SWEEP_SECONDS: Final = 0.25
_WARN_EVERY_SECONDS: Final = 60.0
_SLICE: Final = 4096
"""Bytes that are parsed at once: as many requests as fit in here may queue on a connection."""
_QUEUED_BYTES: Final = 2048
"""What a queued request costs beside its bytes."""
_HEAD_BYTES_MAX: Final = 64 * 1024
_SLOW_SECONDS: Final = 1.0
"""A request that takes longer to arrive gives way to others when there is too little room."""
_IDLE_SECONDS: Final = 5.0
"""The same for a connection between two requests."""
_REFUSAL: Final = "refusal"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may be under way before the model is asked."""

    connections: float = math.inf
    request_seconds: float = math.inf
    """Until a request is whole, and until an answer is taken."""
    receiving_bytes: float = math.inf
    """Of requests that are not whole yet, over all connections."""


def raise_refusal(scope: Scope) -> None:
    """Raise why the rest of a request is not waited for; nothing while it is."""
    state = scope.get("state")
    if state and _REFUSAL in state:
        # Nothing keeps the error: its traceback would keep what came of the body.
        raise state.pop(_REFUSAL)


class Peers:
    """The connections that a server waits for, by what for, each since when; oldest first."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.silent: dict[GuardedProtocol, float] = {}
        """Nothing ever came."""
        self.partial: dict[GuardedProtocol, float] = {}
        """A part of a request came."""
        self.idle: dict[GuardedProtocol, float] = {}
        """Every request was answered."""
        self.unread: dict[GuardedProtocol, float] = {}
        """Its answers are not taken; it may stand in another queue, too."""
        self.bytes = 0
        self._broken = 0
        self._last_warned = -math.inf

    async def watch(self) -> None:
        """End what takes too long, for ever."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.sweep(time.monotonic())

    def sweep(self, now: float) -> None:
        """End what took too long by `now`."""
        longest = self.limits.request_seconds
        for protocol in [*_since(self.silent, now - longest), *_since(self.partial, now - longest)]:
            protocol.end(
                BadRequestError(408, f"the request was not complete after {longest:g} seconds")
            )
        for protocol in [*_since(self.idle, now - KEEP_ALIVE_SECONDS)]:
            protocol.leave()
        for protocol in [*_since(self.unread, now - longest)]:
            protocol.transport.abort()
        self._warn_of_broken(now)

    def is_full(self, connections: int) -> bool:
        """Say whether one that asks is one too many of `connections`; silent ones do not count."""
        surplus = connections - len(self.silent) - len(self.partial) - self.limits.connections
        while surplus > 0 and (oldest := _oldest(self.idle, time.monotonic() - _IDLE_SECONDS)):
            oldest.leave()
            surplus -= 1
        return surplus > 0

    def bound_unheard(self) -> None:
        """End those that have been silent for longest, where there are more than may be served."""
        while len(self.silent) + len(self.partial) > self.limits.connections:
            oldest = (_oldest(self.silent), _oldest(self.partial))
            ends = [connection for connection in oldest if connection is not None]
            min(ends, key=GuardedProtocol.waits_since).end(_too_many())

    def make_room(self, asking: "GuardedProtocol") -> None:
        """End the slowest requests where too many bytes wait for their rest, or else this one."""
        while self.bytes > self.limits.receiving_bytes:
            slow = _oldest(self.partial, time.monotonic() - _SLOW_SECONDS)
            (slow or asking).end(_too_many())
            if slow is None:
                return

    def count_broken(self) -> None:
        """Count a request that is no HTTP. A log line for each would let anybody fill the log."""
        self._broken += 1

    def _warn_of_broken(self, now: float) -> None:
        if self._broken and now - self._last_warned >= _WARN_EVERY_SECONDS:
            _LOG.warning("requests were no valid HTTP", extra=fields(requests=self._broken))
            self._broken, self._last_warned = 0, now


def _too_many() -> BusyError:
    return BusyError("too many requests are on their way here")


def _since(queue: dict["GuardedProtocol", float], before: float) -> Iterator["GuardedProtocol"]:
    """Return who has stood in a queue since `before`."""
    for protocol, since in queue.items():
        if since > before:
            return
        yield protocol


def _oldest(
    queue: dict["GuardedProtocol", float], before: float = math.inf
) -> "GuardedProtocol | None":
    return next(_since(queue, before), None)


class GuardedFlow(FlowControl):
    """Reads nothing while requests wait on the connection; uvicorn would after each answer."""

    held = False

    @override
    def resume_reading(self) -> None:
        """Read on, unless there is enough to do."""
        if not self.held:
            super().resume_reading()


class GuardedProtocol(HttpToolsProtocol):
    """Tells the app, in `scope["state"]`, a request's connection, and keeps to the limits."""

    PEERS: ClassVar[Peers] = Peers(Limits())

    # Callbacks of the transport

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note the time."""
        super().connection_made(transport)
        self.flow: GuardedFlow = GuardedFlow(transport)
        self._connection = Connection()
        self.app_state = {STATE_KEY: self._connection}
        self._unparsed: bytes | memoryview = b""
        """Read, but not parsed, because requests before it wait."""
        self._is_partial = self._in_head = self._is_broken = False
        self._bytes = self._counted_bytes = 0
        """Of the request that is not whole yet, and what of it the others know of."""
        self._queue: dict[GuardedProtocol, float] | None = None
        self._stand_in(self.PEERS.silent)
        self.PEERS.bound_unheard()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        self._stand_in(None)
        self._count(0)
        self.PEERS.unread.pop(self, None)
        self._unparsed = b""

    @override
    def data_received(self, data: bytes) -> None:
        """Parse what came, as far as no request waits before it."""
        if self.flow.held:
            # It was on its way when reading was paused.
            self._unparsed = bytes(self._unparsed) + data
        elif len(data) > _SLICE:
            self._unparsed = memoryview(data)
            self._read_on()
        else:
            self._feed(data)
        self._settle()

    @override
    def pause_writing(self) -> None:
        """Note since when the client takes nothing."""
        super().pause_writing()
        self.PEERS.unread[self] = time.monotonic()

    @override
    def resume_writing(self) -> None:
        """Forget it."""
        super().resume_writing()
        self.PEERS.unread.pop(self, None)

    # Callbacks of the parser

    @override
    def on_message_begin(self) -> None:
        """Begin a request."""
        self._is_partial = self._in_head = True
        self._bytes = 0
        super().on_message_begin()

    @override
    def on_headers_complete(self) -> None:
        """Start to answer; read a request again whose client asks for another protocol."""
        if self.parser.should_upgrade():
            return
        self._in_head = False
        self._connection.is_surplus = False
        if len(self.connections) > self.PEERS.limits.connections:
            self._stand_in(None)
            self._connection.is_surplus = self.PEERS.is_full(len(self.connections))
        super().on_headers_complete()

    @override
    def on_message_complete(self) -> None:
        """Tell who answers that this was all."""
        if self._in_head:
            return
        self._is_partial = False
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    # Callbacks of who answers

    @override
    def on_response_complete(self) -> None:
        """Go on with the next request, if there is one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._linger()
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._unparsed:
            self._read_on()
        self._settle()
        self.flow.resume_reading()

    # What the peers ask for

    def end(self, reason: BadRequestError | BusyError) -> None:
        """Wait no longer for the rest of a request, and say why where somebody listens."""
        self._stand_in(None)
        self._count(0)
        status = reason.status if isinstance(reason, BadRequestError) else 503
        if self.flow.held:
            self.transport.abort()
        elif self._is_partial and self._is_busy and not self._in_head:
            self._interrupt(reason, is_last=status == HTTPStatus.REQUEST_TIMEOUT)
        elif self._in_head:
            self._refuse(status, str(reason))
        else:
            self.leave()

    def leave(self) -> None:
        """Close the connection, at once where the client does not take what was written."""
        self.connections.discard(self)
        self._stand_in(None)
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def waits_since(self) -> float:
        """Return since when the server waits for this client."""
        return math.inf if self._queue is None else self._queue[self]

    # How it works

    @property
    def _is_busy(self) -> bool:
        """True while a request is answered, or read by who answers it."""
        return bool(self.cycle and not self.cycle.response_complete)

    def _feed(self, data: bytes | memoryview) -> None:
        if self._is_broken:
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._read_again(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.PEERS.count_broken()
            self._refuse(400, "Invalid HTTP request received.")
        if self._is_partial:
            self._bytes += len(data)

    def _read_on(self) -> None:
        """Parse what was read, until a request is whole and has to be answered first."""
        while self._unparsed and not self.transport.is_closing():
            if self._is_busy and not self._is_partial:
                return
            part, self._unparsed = self._unparsed[:_SLICE], self._unparsed[_SLICE:]
            self._feed(part)

    def _read_again(self, rest: bytes | memoryview) -> None:
        """Read a request that asks for another protocol as if it had not (RFC 9110, section 7.8).

        The parser takes the request for finished after its head, and its body for the other
        protocol.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(405, "This server is no proxy.")
            return
        version = self.parser.get_http_version().encode()
        head = [b"%s %s HTTP/%s" % (method, self.url, version), *_without_upgrade(self.headers)]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._feed(b"\r\n".join([*head, b"", b""]))
        if rest and not self.transport.is_closing():
            self._feed(rest)

    def _settle(self) -> None:
        """Stand where those stand that wait for the same."""
        if self.transport.is_closing():
            self._linger()
            return
        busy = self._is_busy
        self.flow.held = held = bool(self.pipeline or self._unparsed)
        if held:
            self.flow.pause_reading()
            self._stand_in(None)
            self._count(len(self._unparsed) + _QUEUED_BYTES * len(self.pipeline))
        elif self._is_partial:
            self._stand_in(self.PEERS.partial)
            waits_for_more = busy or self._in_head
            self._count(self._bytes if waits_for_more else 0)
            if self._in_head and self._bytes > _HEAD_BYTES_MAX:
                self._refuse(431, f"A request's head may have {_HEAD_BYTES_MAX} bytes.")
        else:
            self._count(0)
            if busy:
                self._stand_in(None)
            elif self.cycle is not None:
                self._stand_in(self.PEERS.idle)

    def _stand_in(self, queue: "dict[GuardedProtocol, float] | None") -> None:
        if queue is self._queue:
            return
        if self._queue is not None:
            del self._queue[self]
        self._queue = queue
        if queue is not None:
            queue[self] = time.monotonic()

    def _count(self, size: int) -> None:
        """Tell the others how many bytes wait here."""
        grown = size - self._counted_bytes
        if not grown:
            return
        self._counted_bytes = size
        self.PEERS.bytes += grown
        if grown > 0:
            self.PEERS.make_room(self)

    def _refuse(self, status: int, detail: str) -> None:
        """Answer what never became a request, and end the connection."""
        self._is_broken = True
        self._unparsed = b""
        if self.transport.is_closing():
            return
        if self._is_busy and self._is_partial and not self._in_head:
            self._interrupt(BadRequestError(status, detail), is_last=True)
            return
        if self._is_busy:
            # What is being answered came before, and its answer is the last.
            self.cycle.keep_alive = False
            return
        content = detail.encode()
        head = [
            b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode()),
            b"content-type: text/plain; charset=utf-8",
            b"content-length: %d" % len(content),
            b"connection: close",
        ]
        self.transport.write(b"\r\n".join([*head, b"", content]))
        self.transport.close()
        self._linger()

    def _interrupt(self, reason: BadRequestError | BusyError, *, is_last: bool) -> None:
        """Let who reads a body answer with this instead of waiting for the rest."""
        self.cycle.scope["state"][_REFUSAL] = reason
        self.cycle.message_event.set()
        if is_last:
            self.cycle.keep_alive = False

    def _linger(self) -> None:
        """Watch a closed connection whose last answer is not taken."""
        self._stand_in(None)
        self._count(0)
        if self.transport.get_write_buffer_size():
            self.PEERS.unread.setdefault(self, time.monotonic())


def _without_upgrade(headers: list[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """Return the lines of a head without those that ask for another protocol."""
    hop = {b"upgrade", b"http2-settings"}
    for name, value in headers:
        if name == b"connection":
            tokens = [
                token for part in value.split(b",") if (token := part.strip()).lower() not in hop
            ]
            if tokens:
                yield b"connection: " + b", ".join(tokens)
        elif name not in hop:
            yield b"%s: %s" % (name, value)


def protocol(limits: Limits) -> type[GuardedProtocol]:
    """Return the protocol for a server with these limits."""
    return type("BoundedProtocol", (GuardedProtocol,), {"PEERS": Peers(limits)})
