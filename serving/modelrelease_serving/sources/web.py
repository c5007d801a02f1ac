"""Artifacts on web servers."""

import http.client
import re
import ssl
from base64 import b64encode
from collections.abc import Generator
from dataclasses import dataclass, field
from http.client import HTTPMessage
from typing import IO, Final
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pydantic import SecretStr
from typing_extensions import override

from modelrelease_serving.errors import RefusedError, UnreachableError
from modelrelease_serving.settings import Settings
from modelrelease_serving.sources.source import (
    CHECK_CREDENTIALS,
    CHUNK_BYTES,
    TIMEOUT_SECONDS,
    MissingError,
    Reading,
    TransientError,
    unknown_place,
)

_WORTH_ANOTHER_TRY: Final = {408, 425, 429}


class UnauthorizedError(UnreachableError):
    """The server that was asked wants to know who asks."""

    def __init__(self, message: str, challenge: str) -> None:
        super().__init__(message)
        self.challenge = challenge
        """How, as it says itself; empty where another server speaks, that it redirected to."""


class _SameServer(HTTPRedirectHandler):
    """Follows redirects, and says who asks only where one stays at the server that was asked."""

    @override
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        shown = req.unredirected_hdrs.get("Authorization")
        if following and shown and _origin(newurl) == _origin(req.full_url):
            following.add_unredirected_header("Authorization", shown)
        return following


@dataclass(frozen=True, slots=True)
class WebSource:
    """Files below a URL."""

    base: str
    authorization: str | None = field(default=None, repr=False)
    """Value of the header that says who asks. It goes to no other server that this one redirects
    to.
    """
    accept: str = ""
    """Media types that are understood, where the server has several forms of a file."""

    def read(self, path: str, offset: int = 0) -> Reading:
        """Ask for one file; fewer bytes than promised are a TransientError."""
        url = self.base + quote(path)
        request = Request(url, headers={"User-Agent": "modelrelease-fetch"})  # noqa: S310 - see open_web
        if offset:
            request.add_header("Range", f"bytes={offset}-")
        if self.accept:
            request.add_header("Accept", self.accept)
        if self.authorization:
            request.add_unredirected_header("Authorization", self.authorization)
        try:
            response = build_opener(_SameServer).open(request, timeout=TIMEOUT_SECONDS)
        except HTTPError as error:
            error.close()
            if offset and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                return self.read(path)
            raise _judge(url, error) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            # A ValueError is about an address that is none, to which the server redirects.
            raise _silent(url, error) from error
        partial = response.status == http.client.PARTIAL_CONTENT
        if partial and not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
            response.close()
            return self.read(path)
        start = offset if partial else 0
        promised = _promised(response)
        size = None if promised is None else start + promised
        return Reading(start, _body(url, response), size)


def open_web(uri: str, settings: Settings) -> WebSource:
    """Return the files below an http(s) URL, asked with the settings' credentials."""
    if not urlsplit(uri).hostname:
        raise unknown_place(uri)
    return WebSource(uri.rstrip("/") + "/", bearer_of(settings) or basic_of(settings))


def bearer_of(settings: Settings) -> str | None:
    """Return the header's value that shows a token, where there is one.

    Raises UnreachableError for one that no header can have, and does not repeat it.
    """
    if settings.http_token is None:
        return None
    token = _without_line_end(settings.http_token)
    if not (token and token.isascii() and token.isprintable() and " " not in token):
        msg = (
            "HTTP_TOKEN is no bearer token: it is empty, or holds a space, a line break or a "
            "letter beyond ASCII; correct it where the fetch container has it from, such as the "
            "key token of the Secret in spec.model.credentialsSecretRef"
        )
        raise UnreachableError(msg)
    return f"Bearer {token}"


def basic_of(settings: Settings) -> str | None:
    """Return the header's value that shows a name and a password, where there are both."""
    if settings.http_username and settings.http_password:
        username = settings.http_username.rstrip("\r\n")
        pair = f"{username}:{_without_line_end(settings.http_password)}"
        return f"Basic {b64encode(pair.encode()).decode()}"
    return None


def _without_line_end(secret: SecretStr) -> str:
    """Return a secret without the line break that editors leave, as the operator reads it."""
    return secret.get_secret_value().rstrip("\r\n")


def _body(url: str, response: http.client.HTTPResponse) -> Generator[bytes]:
    promised, received = _promised(response), 0
    try:
        with response:
            while chunk := response.read(CHUNK_BYTES):
                received += len(chunk)
                yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise _silent(url, error) from error
    if promised is not None and received < promised:
        msg = f"{url} broke off after {received} of {promised} bytes"
        raise TransientError(msg)


def _promised(response: http.client.HTTPResponse) -> int | None:
    """Return how many bytes are said to come, where a number is said."""
    text = response.headers.get("Content-Length", "")
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _judge(url: str, error: HTTPError) -> Exception:
    code = error.code
    if code >= 500 or code in _WORTH_ANOTHER_TRY:
        return TransientError(f"{url} answers {code}")
    if code in {401, 403, 407}:
        msg = f"{url} answers {code}: {CHECK_CREDENTIALS}, and MODEL_URI"
        challenge = error.headers.get("WWW-Authenticate", "") if error.geturl() == url else ""
        return UnauthorizedError(msg, challenge) if code == 401 else UnreachableError(msg)
    kind = MissingError if code in {404, 410} else RefusedError
    return kind(f"{url} answers {code}: check MODEL_URI, and that the artifact is still there")


def _silent(url: str, error: Exception) -> Exception:
    reason = getattr(error, "reason", None)
    if isinstance(reason, ssl.SSLCertVerificationError):
        fact = f"{url} shows a certificate that is not trusted here ({reason.verify_message})"
        way_out = "set SSL_CERT_FILE to a file that holds the authority's certificate"
        return UnreachableError(f"{fact}: {way_out}, in the fetch container's environment")
    return TransientError(f"{url} does not answer: {str(reason or error) or type(error).__name__}")
