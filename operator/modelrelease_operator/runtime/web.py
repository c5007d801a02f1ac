"""Asking a server over HTTP: for a limited time, a limited size, and only where it is allowed.

Whoever may create a release names addresses, and the operator's right is used to reach them. So an
answer has one time-out from the first packet to the last byte, a limit on bytes that holds after
decompression, and no redirect; and an address is looked at after its name was resolved, at the very
connection, so that a name which means something else a moment later helps nobody.
"""

import asyncio
import ipaddress
import ssl
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver
from typing_extensions import override
from yarl import URL

from modelrelease_operator.runtime.credentials import Credentials

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NEVER: tuple[Network, ...] = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",  # "this host"
            "100.100.100.200/32",  # metadata of Alibaba Cloud; the others' are link-local
            "168.63.129.16/32",  # the host of an Azure machine
            "192.0.0.192/32",  # metadata of Oracle Cloud
            "fd00:ec2::254/128",  # metadata of AWS
            "fd20:ce::254/128",  # metadata of Google Cloud
        ),
    )
)
"""What tells a machine's secrets, or is the machine itself, and has no class of its own."""
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
NO_ADDRESS = "is no address of a server"
TENANT_HEADERS = ("X-Scope-OrgID", "THANOS-TENANT")
"""How Mimir, Cortex and Loki are told of a tenant, and how Thanos is."""
PIECE = 16 * 1024
"""Bytes that are looked at in one go: a few milliseconds, and then it is somebody else's turn."""
LONGEST_ERROR = 16 * 1024
"""Bytes of an answer that is an error: enough for a sentence."""


class Trouble(Exception):
    """A server cannot be used: what it did, for a sentence that begins with its name. No secret."""


class Away(Trouble):
    """A server answers nobody now, whatever it is asked."""


class TooLarge(Trouble):
    """A server answers more than is read."""


class NotAllowed(Trouble):
    """A server may not be asked: no later time will change that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Which servers may be asked."""

    names: tuple[str, ...] = ("*",)
    """Patterns of host names and addresses."""
    networks: tuple[Network, ...] = ()
    """Every address in these is allowed, whatever it is."""

    @classmethod
    def of(cls, text: str) -> "Reach":
        """Read names and networks, separated by commas; nothing means every name."""
        names, networks = [], []
        for word in filter(None, (part.strip() for part in text.split(","))):
            try:
                networks.append(ipaddress.ip_network(word, strict=False))
            except ValueError:
                names.append(word.lower())
        return cls(names=tuple(names) if names or networks else ("*",), networks=tuple(networks))

    def check(self, host: str, address: Address) -> None:
        """Raise NotAllowed for a host that may not be asked at this address."""
        meant = _meant(address)
        if any(_holds(network, meant) for network in self.networks):
            return
        if kind := _never(meant):
            msg = (
                f"is at {meant}, {kind}, which releases may not name: whoever installed the "
                "operator can allow it with the chart value allowedAddresses"
            )
            raise NotAllowed(msg)
        if not any(fnmatchcase(host.lower().rstrip("."), name) for name in self.names):
            msg = (
                "is not among the chart value allowedAddresses: ask whoever installed the operator"
            )
            raise NotAllowed(msg)


def _meant(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _holds(network: Network, address: Address) -> bool:
    return network.version == address.version and address in network


def _never(address: Address) -> str | None:
    """Return what an address is that no release may name, or None."""
    kinds = {
        "the operator itself": address.is_loopback or address.is_unspecified,
        "a link-local address": address.is_link_local,
        "a multicast address": address.is_multicast,
        "a machine's own address": any(_holds(network, address) for network in NEVER),
    }
    return next((kind for kind, is_one in kinds.items() if is_one), None)


class Redirected(NotAllowed):
    """A server would send one elsewhere, where nobody goes who was not told to."""

    def __init__(self, status: int, location: str) -> None:
        super().__init__(
            f"answered with a redirect (HTTP status {status}), which is not followed: name the "
            "address that it leads to"
        )
        self.location = location


class _Resolver(AbstractResolver):
    """Resolves names, and gives only addresses that may be asked."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._inner = DefaultResolver()

    @override
    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        results = await self._inner.resolve(host, port, family)
        for result in results:
            # One bad address of several is enough: which one is taken is chance.
            self._reach.check(host, ipaddress.ip_address(result["host"].partition("%")[0]))
        return results

    @override
    async def close(self) -> None:
        await self._inner.close()


class Answer:
    """What a server answers."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    @property
    def status(self) -> int:
        """Its HTTP status."""
        return self._response.status

    @property
    def challenge(self) -> str:
        """How it wants to be asked, where it says so with status 401."""
        return self._response.headers.get("WWW-Authenticate", "")

    async def pieces(self, most: int, setting: str = "") -> AsyncIterator[bytes]:
        """Yield its bytes; raise Trouble beyond `most`, which `setting` may raise."""
        size = 0
        async for piece in self._decompressed():
            size += len(piece)
            if size > most:
                how = f" ({setting})" if setting else ""
                msg = f"answered with more than {most:,} bytes, which is the limit{how}"
                raise TooLarge(msg)
            yield piece
            # What has come already is given without a pause, and others want their turn.
            await asyncio.sleep(0)

    async def body(self, most: int) -> bytes:
        """Return its bytes."""
        return b"".join([piece async for piece in self.pieces(most)])

    async def error(self) -> bytes:
        """Return the beginning of what it says of an error."""
        body = b""
        async for piece in self._decompressed():
            body += piece
            if len(body) >= LONGEST_ERROR:
                break
        return body[:LONGEST_ERROR]

    async def _decompressed(self) -> AsyncIterator[bytes]:
        """Yield what was sent, in pieces of bounded size: a few bytes may stand for many."""
        coding = self._response.headers.get("Content-Encoding", "identity").lower()
        if coding not in ("identity", "gzip"):
            msg = f"answered in the coding {coding!r}, which was not asked for"
            raise Trouble(msg)
        unzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if coding == "gzip" else None
        async for chunk in self._response.content.iter_any():
            if unzip is None:
                for start in range(0, len(chunk), PIECE):
                    yield chunk[start : start + PIECE]
                continue
            rest = chunk
            while rest:
                yield unzip.decompress(rest, PIECE)
                rest = unzip.unconsumed_tail


class Web:
    """Connections to servers, opened when they are needed and kept until `close`.

    A server is believed by the credentials' certificates, or else by the system's and those in
    `ca_file`.
    """

    def __init__(
        self,
        *,
        reach: Reach | None = None,
        credentials: Credentials | None = None,
        ca_file: str = "",
        proxy: str | None = None,
    ) -> None:
        """`proxy`: where requests go instead, only to servers that a person at a machine named."""
        self._reach = reach
        self._proxy = proxy
        self._credentials = credentials or Credentials()
        self._ca_file = ca_file
        self._session: aiohttp.ClientSession | None = None
        self._users = 0
        self._closed = False

    async def close(self) -> None:
        """Close what is open, once nothing is asked; whoever asks later leaves nothing open."""
        self._closed = True
        if not self._users:
            await self._close_session()

    @asynccontextmanager
    async def ask(
        self,
        method: str,
        url: str,
        *,
        seconds: float,
        headers: Mapping[str, str] | None = None,
        **what: Any,
    ) -> AsyncIterator[Answer]:
        """Ask; what is done with the answer counts to the time as well.

        Raises Trouble for a server that cannot be asked, or that would send one elsewhere.
        """
        sent = {**shown(self._credentials), **(headers or {})}
        try:
            self._check_literal(url)
        except ValueError as problem:
            raise Trouble(NO_ADDRESS) from problem
        try:
            async with (
                asyncio.timeout(seconds),
                self._opened() as session,
                session.request(
                    method, url, headers=sent, allow_redirects=False, proxy=self._proxy, **what
                ) as response,
            ):
                if 300 <= response.status < 400:
                    raise Redirected(response.status, response.headers.get("Location", ""))
                yield Answer(response)
        except TimeoutError as problem:
            msg = f"does not answer (not all of it within {seconds:g} s)"
            raise Trouble(msg) from problem
        except aiohttp.ClientConnectorError as problem:
            raise Away(in_words(problem)) from problem
        except (aiohttp.ClientError, OSError, zlib.error, UnicodeError) as problem:
            raise Trouble(in_words(problem)) from problem

    def _check_literal(self, url: str) -> None:
        """Check an address that stands in the URL itself: no resolver is asked for it."""
        if self._reach is None:
            return
        # As the client reads it: letters that look like digits are digits to it.
        host = URL(url).raw_host or ""
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return
        self._reach.check(host, address)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[aiohttp.ClientSession]:
        self._users += 1
        try:
            if self._session is None:
                self._session = self._new_session()
            yield self._session
        finally:
            self._users -= 1
            if self._closed and not self._users:
                await self._close_session()

    def _new_session(self) -> aiohttp.ClientSession:
        resolver = _Resolver(self._reach) if self._reach else DefaultResolver()
        connector = aiohttp.TCPConnector(ssl=self._ssl(), limit=0, resolver=resolver)
        return aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "gzip"},
            timeout=aiohttp.ClientTimeout(total=None),  # `ask` has one for everything
        )

    def _ssl(self) -> ssl.SSLContext | bool:
        if not self._credentials.verify:
            return False
        if self._credentials.ca:
            return ssl.create_default_context(cadata=self._credentials.ca)
        if not self._ca_file:
            # The client's own: it has read the system's certificates once, for all sessions.
            return True
        context = ssl.create_default_context()
        if self._ca_file:
            context.load_verify_locations(self._ca_file)
        return context

    async def _close_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def shown(credentials: Credentials) -> dict[str, str]:
    """Return the headers by which one proves oneself and says whose series are meant."""
    tenant = dict.fromkeys(TENANT_HEADERS, credentials.tenant) if credentials.tenant else {}
    return {**_authorization(credentials), **tenant}


def _authorization(credentials: Credentials) -> dict[str, str]:
    if credentials.token:
        return {"Authorization": f"Bearer {credentials.token}"}
    if credentials.username and credentials.password:
        return {
            "Authorization": aiohttp.encode_basic_auth(credentials.username, credentials.password)
        }
    return {}


def in_words(problem: Exception) -> str:
    """Return what a server did, for a sentence that begins with its name."""
    match problem:
        case aiohttp.ClientConnectorCertificateError():
            why = "its certificate is not trusted"
        case aiohttp.ClientConnectorDNSError():
            why = "its name is not known"
        case aiohttp.ClientConnectorError():
            why = "no connection"
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError() | ConnectionError():
            why = "it hangs up"
        case aiohttp.InvalidURL() | UnicodeError():
            return NO_ADDRESS
        case ssl.SSLError() | FileNotFoundError():
            why = "the certificates to trust cannot be read"
        case zlib.error():
            return "answered what cannot be decompressed"
        case _:
            why = type(problem).__name__
    return f"does not answer ({why})"
