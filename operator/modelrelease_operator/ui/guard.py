"""What every request has to pass, and what every answer says, whatever is asked."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Files of ours alone: nothing inline, no other host, in nobody's frame, and no text that becomes
elements."""
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}
HEALTH: Final = "/healthz"
"""Asked by kubelets at a pod's address, and tells nothing."""
COMMAND_HEADER: Final = "x-modelrelease"
"""Which a page of another origin cannot send unless it is allowed to, and none is."""
PREFIX: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")


class Guard:
    """Refuses requests by another name of this server, and sets the headers of every answer.

    A web page of a stranger can have its name lead here (DNS rebinding): the browser takes it for
    one origin with this server then, but still says the stranger's name.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self.app = app
        self.hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        host = host_of(Headers(scope=scope).get("host", ""))
        if scope["path"] == HEALTH or "*" in self.hosts or host in self.hosts:
            await self.app(scope, receive, guarded)
            return
        refused = PlainTextResponse(
            f"this page is not served by the name {host!r}: use one of "
            f"{', '.join(sorted(self.hosts))}, or allow it by --host-name\n",
            status_code=421,
        )
        await refused(scope, receive, guarded)


def host_of(header: str) -> str:
    """Return the name of a Host header without its port, in lower case."""
    try:
        return (urlsplit(f"//{header}").hostname or "").lower()
    except ValueError:
        return ""


def from_this_page(headers: Mapping[str, str]) -> bool:
    """Return whether a command comes from a page of this very origin.

    By three signs: a header that another origin may not send, what the browser says of the request,
    and the origin's name beside the one that was asked for.
    """
    if COMMAND_HEADER not in headers:
        return False
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    asked = (headers.get("host", ""), headers.get("x-forwarded-host", ""))
    return urlsplit(origin).netloc in [name for name in asked if name]


def prefix_of(headers: Mapping[str, Any], base_path: str) -> str:
    """Return below which path the page is, without a slash at its end.

    What a proxy says is taken only where it is a path and nothing else.
    """
    told = str(headers.get("x-forwarded-prefix", "")).rstrip("/")
    return told if told and PREFIX.fullmatch(told) else base_path
