"""Web servers that hold models, as the operator reads them: one small file of each artifact."""

import netrc
from dataclasses import dataclass, field

from yarl import URL

from modelrelease_operator.api.spec import ModelSource
from modelrelease_operator.errors import Gone, Invalid, Unavailable
from modelrelease_operator.runtime.credentials import Credentials, read_store_credentials
from modelrelease_operator.runtime.kube import Kube
from modelrelease_operator.runtime.web import (
    NO_ADDRESS,
    NotAllowed,
    Reach,
    Redirected,
    TooLarge,
    Trouble,
    Web,
)
from modelrelease_operator.settings import Settings

BEARER = "bearer"
"""The login that has a token for a password."""
HTTPS_PORT = 443
PIN = "pin spec.model.version and spec.model.sha256, with which the operator does not read it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a server answers to one request."""

    status: int
    body: bytes = b""
    """Nothing but with status 200."""
    challenge: str = ""
    """How it wants to be asked, with status 401."""
    location: str = ""
    """Where it sends one instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """How stores are read. Without settings: anywhere, with nothing to show."""

    settings: Settings = field(default_factory=Settings)
    kube: Kube | None = None
    reach: Reach | None = None
    seconds: float = 10.0
    """For a whole file."""

    @classmethod
    def of(cls, settings: Settings, kube: Kube) -> "Stores":
        """Return stores as whoever installed the operator allows them."""
        return cls(settings=settings, kube=kube, reach=Reach.of(settings.allowed_hosts))

    async def read(
        self,
        url: str,
        source: ModelSource,
        namespace: str,
        *,
        limit: int,
        own: Credentials | None = None,
        may_move: bool = False,
    ) -> bytes:
        """Return a file. `own` are credentials of a server that the operator itself was told of.

        `may_move`: the server may redirect to another path of itself.

        Raises Unavailable when the store does not answer, Invalid when it will never give the file.
        """
        credentials = await self.credentials(url, source, namespace) if own is None else own
        reach = self.reach if own is None else None
        reply = await self.ask(url, credentials, limit=limit, reach=reach, may_redirect=may_move)
        if reply.location:
            moved = _at_same_server(url, reply.location)
            if moved is None:
                msg = f"{url} leads to another server, where the operator does not go: {PIN}"
                raise Invalid(msg)
            reply = await self.ask(moved, credentials, limit=limit, reach=reach)
        if reply.status != 200:
            raise refusal(url, reply.status, credentials)
        return reply.body

    async def ask(
        self,
        url: str,
        credentials: Credentials,
        *,
        limit: int,
        reach: Reach | None,
        accept: str = "*/*",
        may_redirect: bool = False,
    ) -> Reply:
        """Ask for a small file, whatever the status. A redirect is an answer only where it may be.

        Raises Unavailable when the server does not answer, Invalid when it may not be asked.
        """
        web = Web(reach=reach, credentials=credentials, ca_file=self.settings.ca_file)
        try:
            async with web.ask(
                "GET", url, seconds=self.seconds, headers={"Accept": accept}
            ) as answer:
                if answer.status != 200:
                    return Reply(status=answer.status, challenge=answer.challenge)
                return Reply(status=200, body=await answer.body(limit))
        except NotAllowed as problem:
            if may_redirect and isinstance(problem, Redirected):
                return Reply(status=307, location=problem.location)
            msg = f"{shown_url(url)} {problem}"
            raise Invalid(msg) from problem
        except TooLarge as problem:
            msg = f"{shown_url(url)} is larger than {limit} bytes: that is no manifest"
            raise Invalid(msg) from problem
        except Trouble as problem:
            msg = f"{shown_url(url)} {credentials.hidden_in(str(problem))}"
            raise Unavailable(msg) from problem
        finally:
            await web.close()

    async def credentials(self, url: str, source: ModelSource, namespace: str) -> Credentials:
        """Return what a store is shown: what the release names, else what the operator has."""
        if source.credentials_secret_ref is None:
            return login_of(self.settings.credentials_file, _parsed(url))
        if self.kube is None:
            return Credentials()
        try:
            return await read_store_credentials(
                self.kube,
                namespace,
                source.credentials_secret_ref.name,
                allowed=self.settings.prometheus_allow_secret_refs,
            )
        except Gone as problem:
            raise Unavailable(str(problem)) from problem


class NotThere(Invalid):
    """There is no such file."""


def _parsed(url: str) -> URL:
    try:
        return URL(url)
    except ValueError as problem:
        msg = f"{shown_url(url)} {NO_ADDRESS}: {problem}"
        raise Invalid(msg) from problem


def _at_same_server(url: str, location: str) -> str | None:
    """Return where a redirect leads, None for another server."""
    try:
        following = URL(url, encoded=True).join(URL(location, encoded=True))
        stays = following.origin() == URL(url).origin()
    except ValueError:
        return None
    return str(following) if stays else None


def shown_url(url: str) -> str:
    """Return an address as it may be shown: a query can be a signature that lets one in."""
    return url.partition("?")[0]


def refusal(url: str, status: int, credentials: Credentials) -> Invalid | Unavailable:
    """Return the error for a status that is not 200."""
    url = shown_url(url)
    if status in (401, 403) and credentials.secrets:
        return Invalid(
            f"{url} answered {status}: it does not take the credentials that it was shown"
        )
    if status in (401, 403):
        return Invalid(
            f"{url} answered {status}: it wants credentials: name a Secret in "
            f"spec.model.credentialsSecretRef, or {PIN}"
        )
    if status in (404, 410):
        return NotThere(f"{url} answered {status}: there is no artifact for spec.model.uri")
    return Unavailable(f"{url} answered {status}")


def login_of(file: str, url: URL) -> Credentials:
    """Return the login for a server from a .netrc file, read anew because Secrets change.

    `machine HOST` is the server at the port of `https://`, asked by that; any other is `machine
    HOST:PORT`. A release names the address, and would have a login for a host sent in the clear, or
    to whatever else listens there.
    """
    if not file or not url.host:
        return Credentials()
    try:
        hosts = netrc.netrc(file).hosts
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError) as problem:
        # Not its text, which may quote the file.
        line = f" at line {problem.lineno}" if isinstance(problem, netrc.NetrcParseError) else ""
        msg = f"MODELRELEASE_CREDENTIALS_FILE {file} cannot be read{line}: it must be like a .netrc"
        raise Unavailable(msg) from None
    record = hosts.get(f"{url.host_subcomponent}:{url.port}")
    if record is None and url.scheme == "https" and url.port == HTTPS_PORT:
        record = hosts.get(url.host)
    if record is None:
        return Credentials()
    login, _, password = record
    if login == BEARER:
        return Credentials(token=password)
    return Credentials(username=login, password=password)
