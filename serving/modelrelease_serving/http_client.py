"""Asks another predictor one thing on a connection of its own, from the event loop, within bounds.

On the loop and not in a thread: a thread takes turns with the loop for Python's lock, so that users
wait for the end of each of its turns, and http.client costs several times what this does. A
connection for each request spreads requests over the pods of a Service, and none outlives a pod.
"""

import asyncio
import socket
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from time import monotonic
from typing import Any, Final, NamedTuple, cast
from urllib.parse import urlsplit

import httptools
from typing_extensions import override

CONNECT_SECONDS: Final = 2.0
MAX_RESPONSE_BYTES: Final = 8 * 1024 * 1024
_ADDRESS_SECONDS: Final = 300.0
"""How long an address is not looked up again: that of a Service stays what it is."""
_NO_ADDRESS_SECONDS: Final = 30.0
"""The same where there was none."""

Headers = Sequence[tuple[bytes, bytes]]


class NoConnectionError(Exception):
    """There was nobody to send the request to."""


class NoResponseError(Exception):
    """The request was sent, and no whole response came in time."""


class LateError(NoResponseError):
    """None came in time."""


class Response(NamedTuple):
    """A whole response."""

    status: int
    headers: dict[bytes, bytes]
    """By name in lower case."""
    body: bytes


class Peer:
    """A server, known by its `http://` address; its host is looked up once in some minutes."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._authority = parts.netloc.rpartition("@")[2]
        self._host = parts.hostname or ""
        self._port = parts.port or 80
        self._prefix = parts.path.rstrip("/")
        self._address: str | None = None
        self._known_until = 0.0

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Headers = (),
        body: bytes = b"",
        seconds: float,
        max_bytes: int | None = None,
    ) -> Response:
        """Return the response to one request, which may take `seconds` in all.

        Raises NoConnectionError before the request was sent, and NoResponseError after: LateError
        when the time was over.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        request = self._request(method, path, headers, body)
        try:
            async with asyncio.timeout(min(seconds, CONNECT_SECONDS)):
                host = await self._resolve(loop)
                transport, exchange = await loop.create_connection(
                    partial(_Exchange, loop, request, max_bytes or MAX_RESPONSE_BYTES),
                    host,
                    self._port,
                )
        except OSError as error:
            raise NoConnectionError from error
        response = None
        try:
            async with asyncio.timeout_at(ends):
                response = await exchange.response
        except TimeoutError as error:
            raise LateError from error
        finally:
            transport.abort()
        if response is None:
            raise NoResponseError
        return response

    def _request(self, method: str, path: str, headers: Headers, body: bytes) -> bytes:
        fixed = [
            f"{method} {self._prefix}{path} HTTP/1.1",
            f"Host: {self._authority}",
            "Connection: close",
            f"Content-Length: {len(body)}",
        ]
        lines = [line.encode() for line in fixed]
        lines += [name + b": " + value for name, value in headers]
        return b"\r\n".join([*lines, b"", body])

    async def _resolve(self, loop: asyncio.AbstractEventLoop) -> str:
        """Return an address of the host. Raises OSError."""
        if monotonic() >= self._known_until:
            self._address = await self._look_up(loop)
            lasts = _ADDRESS_SECONDS if self._address else _NO_ADDRESS_SECONDS
            self._known_until = monotonic() + lasts
        if self._address is None:
            msg = f"{self._host} has no address"
            raise OSError(msg)
        return self._address

    async def _look_up(self, loop: asyncio.AbstractEventLoop) -> str | None:
        try:
            addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        # A name with a label that is too long cannot even be asked for.
        except (OSError, UnicodeError):
            return None
        return str(addresses[0][4][0])


class _Exchange(asyncio.Protocol):
    """One request and its response. `response` becomes None when none comes to its end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, request: bytes, max_bytes: int) -> None:
        self.response: asyncio.Future[Response | None] = loop.create_future()
        self._request = request
        self._max_bytes = max_bytes
        self._parser: Any = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._body = bytearray()
        self._ends_with_connection = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        cast(asyncio.Transport, transport).write(self._request)

    @override
    def data_received(self, data: bytes) -> None:
        """Parse."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._end(None)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing comes any more, which is the end of a body whose length nobody said."""
        if self._ends_with_connection and exc is None:
            self.on_message_complete()
        self._end(None)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Know how the end of the body will be told: simple servers just close the connection."""
        told = {b"content-length", b"transfer-encoding"}
        self._ends_with_connection = told.isdisjoint(self._headers)

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body, up to as much as there may be."""
        if len(self._body) + len(body) > self._max_bytes:
            self._end(None)
        else:
            self._body += body

    def on_message_complete(self) -> None:
        """Hand over the response; one that only announces it (1xx) is none."""
        status = self._parser.get_status_code()
        if HTTPStatus.CONTINUE <= status < HTTPStatus.OK:
            self._headers, self._ends_with_connection = {}, False
            return
        self._end(Response(status, self._headers, bytes(self._body)))

    def _end(self, response: Response | None) -> None:
        if not self.response.done():
            self.response.set_result(response)
