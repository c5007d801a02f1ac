"""Web servers that hold models, as the operator reads them: one small file of each artifact."""

import netrc
from dataclasses import dataclass, field

from yarl import URL

from modelrelease_operator.api.spec import ModelSource
from modelrelease_operator.errors import Gone, Invalid, Unavailable
from modelrelease_operator.runtime.credentials import Credentials, read_store_credentials
from modelrelease_operator.runtime.kube import Kube
from modelrelease_operator.runtime.web import NotAllowed, Reach, TooLarge, Trouble, Web
from modelrelease_operator.settings import Settings

BEARER = "bearer"
"""The login that has a token for a password."""
PIN = "pin spec.model.version and spec.model.sha256, with which the operator does not read it"


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
    ) -> bytes:
        """Return a file. `own` are credentials of a server that the operator itself was told of.

        Raises Unavailable when the store does not answer, Invalid when it will never give the file.
        """
        credentials = await self._credentials(url, source, namespace) if own is None else own
        reach = self.reach if own is None else None
        web = Web(reach=reach, credentials=credentials, ca_file=self.settings.ca_file)
        try:
            async with web.ask("GET", url, seconds=self.seconds) as answer:
                if answer.status != 200:
                    raise _refusal(url, answer.status, credentials)
                return await answer.body(limit)
        except NotAllowed as problem:
            msg = f"{url} {problem}"
            raise Invalid(msg) from problem
        except TooLarge as problem:
            msg = f"{url} is larger than {limit} bytes: that is no manifest"
            raise Invalid(msg) from problem
        except Trouble as problem:
            msg = f"{url} {credentials.hidden_in(str(problem))}"
            raise Unavailable(msg) from problem
        finally:
            await web.close()

    async def _credentials(self, url: str, source: ModelSource, namespace: str) -> Credentials:
        """Return what a store is shown: what the release names, else what the operator has."""
        if source.credentials_secret_ref is None:
            return login_of(self.settings.credentials_file, URL(url).host or "")
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


def _refusal(url: str, status: int, credentials: Credentials) -> Invalid | Unavailable:
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
        return Invalid(f"{url} answered {status}: there is no artifact for spec.model.uri")
    return Unavailable(f"{url} answered {status}")


def login_of(file: str, host: str) -> Credentials:
    """Return the login for a host from a .netrc file, read anew because Secrets change."""
    if not file:
        return Credentials()
    try:
        record = netrc.netrc(file).hosts.get(host)
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError) as problem:
        # Not its text, which may quote the file.
        line = f" at line {problem.lineno}" if isinstance(problem, netrc.NetrcParseError) else ""
        msg = f"MODELRELEASE_CREDENTIALS_FILE {file} cannot be read{line}: it must be like a .netrc"
        raise Unavailable(msg) from None
    if record is None:
        return Credentials()
    login, _, password = record
    if login == BEARER:
        return Credentials(token=password)
    return Credentials(username=login, password=password)
