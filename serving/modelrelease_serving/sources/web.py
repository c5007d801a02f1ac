"""Artifacts on web servers."""

import http.client
import ssl
from base64 import b64encode
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Final
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

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


@dataclass(frozen=True, slots=True)
class WebSource:
    """Files below a URL."""

    base: str
    authorization: str | None = field(default=None, repr=False)
    """Value of the header that says who asks. It goes to no server that this one redirects to."""

    def read(self, path: str, offset: int = 0) -> Reading:
        """Ask for one file; fewer bytes than promised are a TransientError."""
        url = self.base + quote(path)
        request = Request(url, headers={"User-Agent": "modelrelease-fetch"})  # noqa: S310 - see open_web
        if offset:
            request.add_header("Range", f"bytes={offset}-")
        if self.authorization:
            request.add_unredirected_header("Authorization", self.authorization)
        try:
            response = urlopen(request, timeout=TIMEOUT_SECONDS)  # noqa: S310
        except HTTPError as error:
            error.close()
            if offset and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                return self.read(path)
            raise _judge(url, error.code) from error
        except (OSError, http.client.HTTPException) as error:
            raise _silent(url, error) from error
        partial = response.status == http.client.PARTIAL_CONTENT
        if partial and not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
            response.close()
            return self.read(path)
        start = offset if partial else 0
        promised = response.headers.get("Content-Length", "")
        size = start + int(promised) if promised.isdecimal() else None
        return Reading(start, _body(url, response), size)


def open_web(uri: str, settings: Settings) -> WebSource:
    """Return the files below an http(s) URL, asked with the settings' credentials."""
    if not urlsplit(uri).hostname:
        raise unknown_place(uri)
    return WebSource(uri.rstrip("/") + "/", _authorization(settings))


def _authorization(settings: Settings) -> str | None:
    if settings.http_token:
        return f"Bearer {settings.http_token.get_secret_value()}"
    if settings.http_username and settings.http_password:
        pair = f"{settings.http_username}:{settings.http_password.get_secret_value()}"
        return f"Basic {b64encode(pair.encode()).decode()}"
    return None


def _body(url: str, response: http.client.HTTPResponse) -> Generator[bytes]:
    promised, received = response.headers.get("Content-Length"), 0
    try:
        with response:
            while chunk := response.read(CHUNK_BYTES):
                received += len(chunk)
                yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise _silent(url, error) from error
    if promised is not None and received < int(promised):
        msg = f"{url} broke off after {received} of {promised} bytes"
        raise TransientError(msg)


def _judge(url: str, code: int) -> Exception:
    if code >= 500 or code in _WORTH_ANOTHER_TRY:
        return TransientError(f"{url} answers {code}")
    if code in {401, 403, 407}:
        return UnreachableError(f"{url} answers {code}: {CHECK_CREDENTIALS}, and MODEL_URI")
    kind = MissingError if code in {404, 410} else RefusedError
    return kind(f"{url} answers {code}: check MODEL_URI, and that the artifact is still there")


def _silent(url: str, error: Exception) -> Exception:
    reason = getattr(error, "reason", None)
    if isinstance(reason, ssl.SSLCertVerificationError):
        fact = f"{url} shows a certificate that is not trusted here ({reason.verify_message})"
        way_out = "set SSL_CERT_FILE to a file that holds the authority's certificate"
        return UnreachableError(f"{fact}: {way_out}, in the fetch container's environment")
    return TransientError(f"{url} does not answer: {str(reason or error) or type(error).__name__}")
