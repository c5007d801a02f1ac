"""Who looks at the page, and what they may see and do: never more than the API server lets them.

On a desk that is one person with their kubeconfig. In a cluster the page's own account only reads.
Where viewers are told apart, an authenticating proxy in front sends each one's bearer token along:
it is asked what its owner may see, and commands are given with it. Nobody is impersonated.
"""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from kubernetes.aio import client as kube_client
from typing_extensions import override

from modelrelease_operator.api import names
from modelrelease_operator.errors import Unavailable
from modelrelease_operator.runtime.as_user import AsUser
from modelrelease_operator.runtime.bearer import bearer_token
from modelrelease_operator.runtime.kube import Kube

CODE_HEADER: Final = "x-modelrelease-code"
TOKEN_HEADERS: Final = ("authorization", "x-forwarded-access-token")
"""Where proxies put the token of who is logged in; the first that is there counts."""
REMEMBERED_SECONDS: Final = 30.0
"""For which what a viewer may see is not asked again."""
MOST_VIEWERS: Final = 256
MOST_WRONG_CODES: Final = 20
"""So many may be guessed: a code that a person types is short, and a program could try them all."""


class Refused(Exception):
    """A viewer may not do what they ask; the text says what to do."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Viewer(Protocol):
    """Somebody who looks."""

    async def may_see(self, namespace: str) -> bool:
        """Return whether they may read releases of a namespace."""

    async def read(self, namespace: str, name: str) -> dict[str, Any]:
        """Return a release as it is now, with their rights."""

    async def patch(self, namespace: str, name: str, patch: dict[str, Any]) -> None:
        """Change a release with their rights."""


class Viewers(Protocol):
    """Tells who looks."""

    commands: bool
    """Whether they may give commands here at all."""
    asks_code: bool
    """Whether a command needs the code that the terminal shows."""

    def of(self, headers: Mapping[str, str]) -> Viewer:
        """Return who asks; raises Refused."""

    def check_command(self, headers: Mapping[str, str]) -> None:
        """Raise Refused where a command may not be given."""

    async def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True, slots=True)
class _WithApi(Viewer):
    """A viewer whose rights are those of one client of the API server."""

    api: kube_client.ApiClient

    @override
    async def may_see(self, namespace: str) -> bool:
        return True

    @override
    async def read(self, namespace: str, name: str) -> dict[str, Any]:
        return await self._as(namespace).read(name)

    @override
    async def patch(self, namespace: str, name: str, patch: dict[str, Any]) -> None:
        await self._as(namespace).patch(name, patch)

    def _as(self, namespace: str) -> AsUser:
        return AsUser(api=kube_client.CustomObjectsApi(self.api), namespace=namespace)


@dataclass(slots=True)
class OnePerson(Viewers):
    """Whoever started the page on their desk.

    Other users of the same machine reach its loopback address, too, so a command needs a code that
    only the terminal shows.
    """

    api: kube_client.ApiClient
    commands: bool
    code: str = field(default_factory=lambda: secrets.token_hex(3))
    asks_code: bool = True
    wrong_codes: int = 0
    """How many were given."""

    @override
    def of(self, headers: Mapping[str, str]) -> Viewer:
        return _WithApi(self.api)

    @override
    def check_command(self, headers: Mapping[str, str]) -> None:
        if self.wrong_codes >= MOST_WRONG_CODES:
            raise Refused(
                403,
                f"{MOST_WRONG_CODES} wrong codes were given here, so no command is taken any more: "
                "start the page again, which shows a new one",
            )
        given = headers.get(CODE_HEADER, "")
        if not hmac.compare_digest(given.encode(), self.code.encode()):
            self.wrong_codes += 1
            raise Refused(403, "this code is not the one that the terminal shows")

    @override
    async def close(self) -> None:
        return None


@dataclass(slots=True)
class Anybody(Viewers):
    """Everybody who reaches the page: they see what it sees, and change nothing."""

    api: kube_client.ApiClient
    commands: bool = False
    asks_code: bool = False

    @override
    def of(self, headers: Mapping[str, str]) -> Viewer:
        return _WithApi(self.api)

    @override
    def check_command(self, headers: Mapping[str, str]) -> None:
        raise Refused(403, "this page only shows")

    @override
    async def close(self) -> None:
        return None


@dataclass(slots=True)
class TokenOwner(Viewer):
    """A viewer by their bearer token."""

    api: kube_client.ApiClient
    clock: Callable[[], float] = time.monotonic
    seen: dict[str | None, tuple[float, bool]] = field(default_factory=dict)
    """By namespace (None: all): until when it is known whether they may read there."""

    @override
    async def may_see(self, namespace: str) -> bool:
        return await self._may(None) or await self._may(namespace)

    async def _may(self, namespace: str | None) -> bool:
        until, answer = self.seen.get(namespace, (float("-inf"), False))
        if self.clock() < until:
            return answer
        try:
            answer = await Kube(self.api).may("list", names.PLURAL, namespace)
        except Unavailable:
            # A token that is no longer good, or an API server that is away: nothing is shown.
            answer = False
        self.seen[namespace] = (self.clock() + REMEMBERED_SECONDS, answer)
        return answer

    @override
    async def read(self, namespace: str, name: str) -> dict[str, Any]:
        return await _WithApi(self.api).read(namespace, name)

    @override
    async def patch(self, namespace: str, name: str, patch: dict[str, Any]) -> None:
        await _WithApi(self.api).patch(namespace, name, patch)


@dataclass(slots=True)
class ByToken(Viewers):
    """Viewers by the token that a proxy sends along with each request."""

    server: kube_client.Configuration
    """Where the API server is, and whose certificate it has; nothing of its login is used."""
    commands: bool
    asks_code: bool = False
    _known: OrderedDict[str, TokenOwner] = field(default_factory=OrderedDict)
    _closing: set[asyncio.Task[None]] = field(default_factory=set)

    @override
    def of(self, headers: Mapping[str, str]) -> Viewer:
        token = _token(headers)
        if token is None:
            raise Refused(
                401,
                "who you are was not said: this page wants an authenticating proxy before it that "
                "sends your token along (docs/how-to/look-at-releases.md)",
            )
        # Not the token itself, so that it is in one place only.
        mark = hashlib.sha256(token.encode()).hexdigest()
        owner = self._known.pop(mark, None) or TokenOwner(self._client(token))
        self._known[mark] = owner
        while len(self._known) > MOST_VIEWERS:
            _, oldest = self._known.popitem(last=False)
            task = asyncio.get_running_loop().create_task(oldest.api.close())  # type: ignore[no-untyped-call]
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        return owner

    @override
    def check_command(self, headers: Mapping[str, str]) -> None:
        """Nothing more than their rights: the API server looks at them."""

    @override
    async def close(self) -> None:
        owners = [owner.api.close() for owner in self._known.values()]  # type: ignore[no-untyped-call]
        await asyncio.gather(*owners, *self._closing, return_exceptions=True)

    def _client(self, token: str) -> kube_client.ApiClient:
        settings = kube_client.Configuration()
        settings.host = self.server.host
        settings.ssl_ca_cert = self.server.ssl_ca_cert
        settings.verify_ssl = self.server.verify_ssl
        settings.proxy = self.server.proxy
        settings.api_key = {"BearerToken": f"Bearer {token}"}
        return kube_client.ApiClient(settings)


def _token(headers: Mapping[str, str]) -> str | None:
    for header in TOKEN_HEADERS:
        value = headers.get(header, "").strip()
        bare = value if " " not in value and header != "authorization" else ""
        if token := bearer_token(value) or bare:
            return token
    return None
