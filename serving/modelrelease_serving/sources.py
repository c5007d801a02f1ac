"""Where artifacts come from: a web server, an object store, a mounted claim or a folder. One class each.

A source yields bytes, from an offset on where it can, and says of each failure whether another try can
help. It checks no digest and writes nothing.
"""

import http.client
import ssl
import stat
from base64 import b64encode
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Protocol
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import Request, urlopen

from modelrelease_serving.errors import RefusedError, UnreachableError
from modelrelease_serving.settings import Settings

if TYPE_CHECKING:
    from obstore.store import ObjectStore

TIMEOUT_SECONDS: Final = 10.0
"""For connecting and for each read; not for a whole file, which may be large."""

OBJECT_STORES: Final = ("s3", "gs", "az")

_CHUNK: Final = 256 * 1024
_WORTH_ANOTHER_TRY: Final = {408, 425, 429}
_CREDENTIALS: Final = "check the credentials in the fetch container's environment"


class TransientError(Exception):
    """This try failed, another may not."""


class MissingError(RefusedError):
    """The source has no such file."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The bytes of one file from `start` on: 0 where a source cannot begin in the middle."""

    start: int
    chunks: Generator[bytes]
    total: int | None = None
    """Bytes of the whole file, as far as the source says."""


class Source(Protocol):
    """A folder of files somewhere."""

    def read(self, path: str, offset: int = 0) -> Reading:
        """Open one file, from `offset` on if possible.

        Raises TransientError, MissingError, RefusedError or UnreachableError, here or while it is read.
        """
        ...


@dataclass(frozen=True, slots=True)
class WebSource:
    """Files below a URL."""

    base: str
    authorization: str | None = field(default=None, repr=False)
    """Value of the header that says who asks. It goes to this server only, not where it redirects to."""

    def read(self, path: str, offset: int = 0) -> Reading:
        """Ask for one file; fewer bytes than promised are a TransientError."""
        url = self.base + quote(path)
        request = Request(url, headers={"User-Agent": "modelrelease-fetch"})  # noqa: S310 - see source_of
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
        return Reading(start, _body(url, response), start + int(promised) if promised.isdecimal() else None)


@dataclass(frozen=True, slots=True)
class ObjectSource:
    """Objects below a prefix of a bucket or container, with credentials from the environment."""

    store: "ObjectStore"
    base: str

    def read(self, path: str, offset: int = 0) -> Reading:
        """Ask for one object."""
        import obstore  # noqa: PLC0415 - only these sources need it

        place = self.base + path
        try:
            # Asking for what lies behind the end is an error that tells nothing.
            if offset and obstore.head(self.store, path)["size"] <= offset:
                offset = 0
            result = obstore.get(self.store, path, options={"range": {"offset": offset}} if offset else None)
        except Exception as error:
            raise _judge_object(place, error) from error
        return Reading(result.range[0], _stream(place, result), result.meta["size"])


@dataclass(frozen=True, slots=True)
class FolderSource:
    """Files below a folder: on a mounted claim, or in the image."""

    folder: Path

    def read(self, path: str, offset: int = 0) -> Reading:
        """Open one file."""
        place = self.folder / path
        try:
            found = place.stat()
        except OSError:
            return Reading(offset, self._chunks(place, offset))
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            msg = f"{place} is no regular file: a pipe or a device would be read for ever"
            raise RefusedError(msg)
        return Reading(offset, self._chunks(place, offset), found.st_size)

    def _chunks(self, place: Path, offset: int) -> Generator[bytes]:
        try:
            with place.open("rb") as stream:
                stream.seek(offset)
                while chunk := stream.read(_CHUNK):
                    yield chunk
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            msg = f"{place} does not exist: MODEL_URI must be the folder that holds the manifest"
            raise MissingError(msg) from error
        except OSError as error:
            msg = f"{place} cannot be read: {error.strerror}"
            raise TransientError(msg) from error


def source_of(settings: Settings) -> Source:
    """Return the source that MODEL_URI names. Raises RefusedError for one that this predictor cannot read."""
    uri = settings.model_uri or ""
    parts = urlsplit(uri)
    path = PurePosixPath(unquote(parts.path))
    if parts.scheme in {"http", "https"} and parts.hostname:
        return WebSource(uri.rstrip("/") + "/", _authorization(settings))
    if ".." in path.parts:
        msg = f"MODEL_URI {uri!r} must not contain '..'"
        raise RefusedError(msg)
    if parts.scheme in OBJECT_STORES and parts.hostname:
        return _object_source(uri.rstrip("/") + "/")
    if parts.scheme == "file" and not parts.netloc and path.is_absolute():
        return FolderSource(Path(path))
    if parts.scheme == "pvc" and parts.netloc not in {"", ".", ".."}:
        below = path.relative_to("/" if path.is_absolute() else ".")
        return FolderSource(settings.pvc_path / parts.netloc / below)
    known = "http(s)://host/folder, s3://, gs:// or az://bucket/folder, pvc://claim/folder or file:///folder"
    msg = f"MODEL_URI {uri!r} must be {known}"
    raise RefusedError(msg)


def read_small(source: Source, path: str, *, limit: int) -> bytes:
    """Return one file of at most `limit` bytes. Raises RefusedError when it is larger."""
    content = b""
    with closing(source.read(path).chunks) as chunks:
        for chunk in chunks:
            content += chunk
            if len(content) > limit:
                msg = f"{path} is larger than {limit} bytes, so it is no manifest"
                raise RefusedError(msg)
    return content


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
            while chunk := response.read(_CHUNK):
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
        return UnreachableError(f"{url} answers {code}: {_CREDENTIALS}, and MODEL_URI")
    kind = MissingError if code in {404, 410} else RefusedError
    return kind(f"{url} answers {code}: check MODEL_URI, and that the artifact is still there")


def _silent(url: str, error: Exception) -> Exception:
    reason = getattr(error, "reason", None)
    if isinstance(reason, ssl.SSLCertVerificationError):
        fact = f"{url} shows a certificate that is not trusted here ({reason.verify_message})"
        way_out = "set SSL_CERT_FILE to a file that holds the authority's certificate"
        return UnreachableError(f"{fact}: {way_out}, in the fetch container's environment")
    return TransientError(f"{url} does not answer: {str(reason or error) or type(error).__name__}")


def _object_source(uri: str) -> ObjectSource:
    from obstore.store import from_url  # noqa: PLC0415 - only these sources need it

    try:
        store = from_url(
            uri,
            # For each read, not for the whole object. Trying again is our own, so that it is seen in the log.
            client_options={
                "connect_timeout": f"{TIMEOUT_SECONDS:.0f}s",
                "read_timeout": f"{TIMEOUT_SECONDS:.0f}s",
                "timeout": "1d",
                # Whoever writes an http:// endpoint wants it; the clouds' own are https://.
                "allow_http": True,
            },
            retry_config={"max_retries": 0},
        )
    except Exception as error:
        msg = f"{uri} cannot be opened: {_first_line(error)}; {_CREDENTIALS}"
        raise UnreachableError(msg) from error
    return ObjectSource(store, uri)


def _stream(place: str, result: object) -> Generator[bytes]:
    try:
        for chunk in result.stream(min_chunk_size=_CHUNK):  # type: ignore[attr-defined]
            yield bytes(chunk)
    except GeneratorExit:
        raise
    except Exception as error:
        raise _judge_object(place, error) from error


def _judge_object(place: str, error: Exception) -> Exception:
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError  # noqa: PLC0415

    if isinstance(error, FileNotFoundError):
        return MissingError(f"{place} does not exist: check MODEL_URI, and that the artifact is still there")
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return UnreachableError(f"{place} may not be read: {_CREDENTIALS}; {_first_line(error)}")
    return TransientError(f"{place} cannot be read: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    """The first line of what obstore says; the others are Rust's view of the same."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
