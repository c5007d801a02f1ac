"""Where artifacts come from: a web server, a mounted claim or a folder. One class for each.

A source yields bytes and says of each failure whether another try can help. It checks no digest and
writes nothing.
"""

import http.client
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Protocol
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import Request, urlopen

from modelrelease_serving.errors import RefusedError

TIMEOUT_SECONDS: Final = 10.0
"""For connecting and for each read; not for a whole file, which may be large."""

_CHUNK: Final = 256 * 1024
_WORTH_ANOTHER_TRY: Final = {408, 425, 429}


class TransientError(Exception):
    """This try failed, another may not."""


class Source(Protocol):
    """A folder of files somewhere."""

    def chunks(self, path: str) -> Generator[bytes]:
        """Yield the bytes of one file. Raises TransientError or RefusedError."""
        ...


@dataclass(frozen=True, slots=True)
class WebSource:
    """Files below a URL."""

    base: str

    def chunks(self, path: str) -> Generator[bytes]:
        """Yield the bytes of one file; fewer than promised are a TransientError."""
        url = self.base + quote(path)
        request = Request(url, headers={"User-Agent": "modelrelease-fetch"})  # noqa: S310 - see source_of
        try:
            with urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
                promised, received = response.headers.get("Content-Length"), 0
                while chunk := response.read(_CHUNK):
                    received += len(chunk)
                    yield chunk
        except HTTPError as error:
            error.close()
            raise _judge(url, error.code) from error
        except (OSError, http.client.HTTPException) as error:
            msg = f"{url} does not answer: {_reason(error)}"
            raise TransientError(msg) from error
        if promised is not None and received < int(promised):
            msg = f"{url} broke off after {received} of {promised} bytes"
            raise TransientError(msg)


@dataclass(frozen=True, slots=True)
class FolderSource:
    """Files below a folder: on a mounted claim, or in the image."""

    folder: Path

    def chunks(self, path: str) -> Generator[bytes]:
        """Yield the bytes of one file; one that does not exist is refused."""
        place = self.folder / path
        try:
            with place.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    yield chunk
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            msg = f"{place} does not exist: MODEL_URI must be the folder that holds the manifest"
            raise RefusedError(msg) from error
        except OSError as error:
            msg = f"{place} cannot be read: {error.strerror}"
            raise TransientError(msg) from error


def source_of(uri: str, *, pvc_path: Path) -> Source:
    """Return the source that `uri` names. Raises RefusedError for one that this predictor cannot read."""
    parts = urlsplit(uri)
    path = PurePosixPath(unquote(parts.path))
    if parts.scheme in {"http", "https"} and parts.hostname:
        return WebSource(uri.rstrip("/") + "/")
    if ".." in path.parts:
        msg = f"MODEL_URI {uri!r} must not contain '..'"
        raise RefusedError(msg)
    if parts.scheme == "file" and not parts.netloc and path.is_absolute():
        return FolderSource(Path(path))
    if parts.scheme == "pvc" and parts.netloc not in {"", ".", ".."}:
        return FolderSource(pvc_path / parts.netloc / path.relative_to("/" if path.is_absolute() else "."))
    msg = f"MODEL_URI {uri!r} must be http(s)://host/folder/, pvc://claim/folder or file:///folder"
    raise RefusedError(msg)


def read_small(source: Source, path: str, *, limit: int) -> bytes:
    """Return one file of at most `limit` bytes. Raises RefusedError when it is larger."""
    content = b""
    with closing(source.chunks(path)) as chunks:
        for chunk in chunks:
            content += chunk
            if len(content) > limit:
                msg = f"{path} is larger than {limit} bytes, so it is no manifest"
                raise RefusedError(msg)
    return content


def _judge(url: str, code: int) -> Exception:
    if code >= 500 or code in _WORTH_ANOTHER_TRY:
        return TransientError(f"{url} answers {code}")
    return RefusedError(f"{url} answers {code}: check MODEL_URI, and that the artifact is still there")


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error) or type(error).__name__
