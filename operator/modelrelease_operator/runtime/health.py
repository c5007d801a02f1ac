"""`/healthz`, on every address of the machine, whichever IP families it has.

kopf has such a server, which listens on one address, and so on IPv4 or on IPv6.
"""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web

EVERYWHERE = None
"""As a host for aiohttp and asyncio: a socket for each family."""


def every_address() -> str:
    """Return the address for a server that listens on only one: of both families, if possible."""
    return "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 - a pod is called from outside


@asynccontextmanager
async def serving_health(port: int, trouble: Callable[[], str | None]) -> AsyncIterator[None]:
    """Answer `/healthz` with 200, or with 503 and what is wrong."""

    async def answer(_: web.Request) -> web.Response:
        wrong = trouble()
        return web.json_response({"trouble": wrong} if wrong else {}, status=503 if wrong else 200)

    app = web.Application()
    app.add_routes([web.get("/healthz", answer)])
    async with AsyncExitStack() as stack:
        runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, EVERYWHERE, port).start()
        yield
