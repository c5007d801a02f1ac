"""When a connection ends: so that clients move between pods by themselves and none is cut.

kube-proxy balances connections, not requests: a client that keeps its connection alive stays with
its pod whatever the Service selects by now. So the server ends each connection after a while,
always with an answer that says so, never under a request. Nothing here knows about models.
"""

import random
import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

STATE_KEY: Final = "connection"
_JITTER: Final = 0.2


class Drain:
    """Whether the process is leaving, and until when it goes on answering."""

    __slots__ = ("ends",)

    def __init__(self) -> None:
        self.ends: float | None = None
        """On the monotonic clock; None while nobody has asked this process to leave."""

    @property
    def active(self) -> bool:
        """True from the request to leave on."""
        return self.ends is not None

    @property
    def over(self) -> bool:
        """True when it is time to stop listening."""
        return self.ends is not None and time.monotonic() >= self.ends

    def start(self, seconds: float) -> None:
        """Leave in `seconds`."""
        self.ends = time.monotonic() + seconds


class Connection:
    """Since when a connection stands, with a factor of its own so that many do not end together."""

    __slots__ = ("is_surplus", "opened", "stretch")

    def __init__(self) -> None:
        self.is_surplus = False
        """True when as many are served already: its next answer is its last."""
        self.opened = time.monotonic()
        self.stretch = random.uniform(1 - _JITTER, 1 + _JITTER)

    def is_older_than(self, seconds: float) -> bool:
        """Compare the age with `seconds`, give or take a fifth."""
        return time.monotonic() - self.opened > seconds * self.stretch


def connection_of(scope: Scope) -> Connection | None:
    """Return the connection that a request came on, None where nobody noted it."""
    connection: Connection | None = scope.get("state", {}).get(STATE_KEY)
    return connection


class ConnectionLifetime:
    """Which answer is the last on its connection."""

    __slots__ = ("_drain", "_max_age")

    def __init__(self, drain: Drain, *, max_age_seconds: float) -> None:
        self._drain = drain
        self._max_age = max_age_seconds

    def is_last(self, scope: Scope) -> bool:
        """Say whether the connection of a request should end with its answer."""
        if self._drain.active:
            return True
        connection = connection_of(scope)
        if connection is None:
            return False
        return connection.is_surplus or (
            self._max_age > 0 and connection.is_older_than(self._max_age)
        )


class ConnectionLifetimeMiddleware:
    """Adds `Connection: close` to answers on connections that should end; uvicorn closes them."""

    def __init__(self, app: ASGIApp, *, lifetime: ConnectionLifetime) -> None:
        self._app = app
        self._lifetime = lifetime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and watch its answer leave."""

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start" and self._lifetime.is_last(scope):
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, send_and_close)
