"""`/metrics` for those whom the API server lets read it, where the installer wants that.

Who asks is asked of the API server by their token (TokenReview), and whether they may `get` the
path `/metrics` by their name (SubjectAccessReview): the rule that Kubernetes' own components and
controller-runtime have, so that a Prometheus which may read theirs may read these. What was
answered is remembered for a while, and few are asked about at once: who has no token must not make
the operator busy, nor the API server.
"""

import asyncio
import hashlib
import logging
import ssl
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiohttp import web
from prometheus_client import REGISTRY, CollectorRegistry, make_wsgi_app

from modelrelease_operator.errors import Invalid, ReleaseError
from modelrelease_operator.runtime.bearer import bearer_token
from modelrelease_operator.runtime.health import EVERYWHERE
from modelrelease_operator.runtime.kube import Kube

log = logging.getLogger("modelrelease.operator")

PATH: Final = "/metrics"
ALLOWED_SECONDS: Final = 60.0
"""For which who may read is not asked about again: a token that is taken back is good for so long.
"""
REFUSED_SECONDS: Final = 10.0
MOST_KNOWN: Final = 256
MOST_AT_ONCE: Final = 4
"""Tokens that are asked about together; of more, each is told to come again."""
RENEWED_SECONDS: Final = 60.0
"""How often a certificate is read again: whoever issues it writes a new one in time."""
CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
"""As Kubernetes calls them in a Secret of its type for them."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why somebody may not read."""

    status: int
    text: str


NO_TOKEN: Final = Refusal(
    401,
    "send a bearer token of this cluster in Authorization: its owner must be allowed to get the "
    f"path {PATH}\n",
)
UNKNOWN: Final = Refusal(401, "the API server does not take this token for anybody's\n")
BUSY: Final = Refusal(503, "too many tokens are asked about just now: come again\n")


@dataclass(slots=True)
class MetricsDoor:
    """Says who may read the metrics."""

    kube: Kube
    clock: Callable[[], float] = time.monotonic
    _known: OrderedDict[bytes, tuple[float, Refusal | None]] = field(default_factory=OrderedDict)
    """By digest of a token: until when what was answered holds, and what it was."""
    _asking: int = 0

    async def refusal(self, authorization: str) -> Refusal | None:
        """Return why who sends this header may not read; None for who may."""
        token = bearer_token(authorization)
        if not token:
            return NO_TOKEN
        if not (token.isascii() and token.isprintable()):
            return UNKNOWN
        # Not the token itself, so that a dump of memory holds none that is not in use.
        mark = hashlib.sha256(token.encode()).digest()
        until, known = self._known.get(mark, (float("-inf"), None))
        if self.clock() < until:
            return known
        if self._asking >= MOST_AT_ONCE:
            return BUSY
        self._asking += 1
        try:
            found = await self._asked(token)
        except ReleaseError as problem:
            log.warning("who reads the metrics could not be asked: %s", problem)
            return Refusal(503, "the API server could not be asked who you are: come again\n")
        finally:
            self._asking -= 1
        self._remember(mark, found)
        return found

    async def _asked(self, token: str) -> Refusal | None:
        user = await self.kube.whose(token)
        if user is None:
            return UNKNOWN
        if await self.kube.may_get(user, PATH):
            return None
        return Refusal(
            403,
            f"{user.get('username')} may not get the path {PATH}: bind a ClusterRole to it that "
            f"has nonResourceURLs [{PATH}] with the verb get, such as the chart's for readers of "
            "metrics\n",
        )

    def _remember(self, mark: bytes, found: Refusal | None) -> None:
        seconds = REFUSED_SECONDS if found else ALLOWED_SECONDS
        self._known[mark] = (self.clock() + seconds, found)
        self._known.move_to_end(mark)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)


@asynccontextmanager
async def serving_metrics(
    port: int, door: MetricsDoor, certificate: Path | None,
    registry: CollectorRegistry = REGISTRY,
) -> AsyncIterator[None]:  # fmt: skip
    """Answer `/metrics` for those whom the door lets in, by TLS where there is a certificate.

    `certificate` is a folder with `tls.crt` and `tls.key`, read again every minute. Raises Invalid
    where they cannot be read.
    """

    async def answer(request: web.Request) -> web.Response:
        refused = await door.refusal(request.headers.get("Authorization", ""))
        if refused:
            shown = {"WWW-Authenticate": "Bearer"} if refused.status == NO_TOKEN.status else {}
            return web.Response(status=refused.status, text=refused.text, headers=shown)
        # A large page takes long to write: the operator goes on meanwhile.
        return await asyncio.to_thread(_page, registry, request)

    app = web.Application()
    app.add_routes([web.get(PATH, answer)])
    async with AsyncExitStack() as stack:
        context = _tls_of(certificate) if certificate else None
        runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=1.0, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, EVERYWHERE, port, ssl_context=context).start()
        if context and certificate:
            task = asyncio.create_task(_kept_new(context, certificate), name="certificate")
            stack.callback(task.cancel)
        yield


def _page(registry: CollectorRegistry, request: web.Request) -> web.Response:
    """Return the page as the client library writes it: its formats, its filter, compressed."""
    response = web.Response()

    def start(status: str, headers: list[tuple[str, str]]) -> None:
        response.set_status(int(status.partition(" ")[0]))
        response.headers.extend(headers)

    asked = {
        "REQUEST_METHOD": "GET", "PATH_INFO": PATH, "QUERY_STRING": request.query_string,
        "HTTP_ACCEPT": request.headers.get("Accept", ""),
        "HTTP_ACCEPT_ENCODING": request.headers.get("Accept-Encoding", ""),
    }  # fmt: skip
    write = make_wsgi_app(registry)
    response.body = b"".join(write(asked, start))
    return response


def _tls_of(folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        _read_into(context, folder)
    except OSError as problem:
        msg = f"the certificate of the metrics cannot be read from {folder}/tls.crt and tls.key: "
        raise Invalid(msg + str(problem)) from problem
    return context


def _read_into(context: ssl.SSLContext, folder: Path) -> None:
    context.load_cert_chain(folder / CERTIFICATE, folder / KEY)


async def _kept_new(context: ssl.SSLContext, folder: Path) -> None:
    """Have connections that begin from now on see the certificate that is there now."""
    while True:
        await asyncio.sleep(RENEWED_SECONDS)
        # Half of a new one, for a moment: the old one is good until then.
        with suppress(OSError):
            _read_into(context, folder)
