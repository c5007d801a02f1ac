"""What every source is: bytes of files below a folder, and failures that another try can help."""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

from modelrelease_contract import schemes
from modelrelease_serving.errors import RefusedError
from modelrelease_serving.settings import Settings

TIMEOUT_SECONDS: Final = 10.0
"""For connecting and for each read; not for a whole file, which may be large."""
CHUNK_BYTES: Final = 256 * 1024
CHECK_CREDENTIALS: Final = "check the credentials in the fetch container's environment"


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

        Raises TransientError, MissingError, RefusedError or UnreachableError, here or while it is
        read.
        """
        ...


Opener = Callable[[str, Settings], Source]
"""Returns the source at a URI. Raises RefusedError for a URI that names no place of its kind."""


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


def path_in(uri: str) -> PurePosixPath:
    """Return the path of a URI. Raises RefusedError for one that climbs out of its folder."""
    path = PurePosixPath(unquote(urlsplit(uri).path))
    if ".." in path.parts:
        msg = f"MODEL_URI {uri!r} must not contain '..'"
        raise RefusedError(msg)
    return path


def unknown_place(uri: str) -> RefusedError:
    """Return the error for a URI of no known form."""
    return RefusedError(f"MODEL_URI {uri!r} must be {schemes.fetched_forms()}")
