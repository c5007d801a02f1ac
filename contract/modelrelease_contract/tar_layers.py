"""Regular files in a tar archive of somebody else's.

Nothing is unpacked: a file is read that was asked for by name, so no name, link or device of the
archive ever reaches a disk. An archive that has a name which leads out is refused all the same.
"""

import gzip
import io
import sys
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import IO, Any, Final

from modelrelease_contract.oci import OciError, Packing, inner_path

_LONGEST_READ: Final = 1024 * 1024
"""More is only asked for by a header that wants memory."""
_MOST_ENTRIES: Final = 100_000
MODULE_OF_ZSTD: Final = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
"""Python's own module, or its backport, which the extras `operator` and `serving` bring."""
_WINDOW_LOG_MAX: Final = 23
"""8 MiB of memory for a frame, which every reader should have (RFC 8878, 3.1.1.1.2)."""

_TOO_LARGE_A_WINDOW: Final = "requires too much memory"
"""Of the words of zstd, which has one class for all that can be wrong."""


class Archive:
    """The files of one layer, by path."""

    def __init__(self, stream: IO[bytes], packing: Packing, *, most: int) -> None:
        """Read the heads of all entries. `most`: bytes that it may have when it is unpacked.

        Raises OciError for what cannot be read, here and in `read`.
        """
        with _understood():
            bounded: Any = _Bounded(_unpacked(stream, packing), most)
            self._tar = tarfile.TarFile(fileobj=bounded)
            self._entries = dict(self._listed())

    @property
    def paths(self) -> tuple[str, ...]:
        """Everything that is not a folder."""
        return tuple(self._entries)

    def size(self, path: str) -> int:
        """Return the bytes of a file."""
        return self._regular(path).size

    def chunks(self, path: str, offset: int, chunk_bytes: int) -> Iterator[bytes]:
        """Yield a file from `offset` on."""
        with _understood():
            stream = self._tar.extractfile(self._regular(path)) or io.BytesIO()
            stream.seek(offset)
            while chunk := stream.read(chunk_bytes):
                yield chunk

    def _regular(self, path: str) -> tarfile.TarInfo:
        entry = self._entries[path]
        if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or entry.issparse():
            msg = f"has {path} as a link, a device or another special file: pack the file itself"
            raise OciError(msg)
        return entry

    def _listed(self) -> Iterator[tuple[str, tarfile.TarInfo]]:
        last = -1
        for count, entry in enumerate(self._tar):
            # A wrong size may lead back to where one was.
            if entry.offset <= last or entry.size < 0 or count >= _MOST_ENTRIES:
                msg = "is no tar archive that can be read: its entries have no end"
                raise OciError(msg)
            last = entry.offset
            path = inner_path(entry.name)
            if path is not None and not entry.isdir():
                yield path, entry


def _unpacked(stream: IO[bytes], packing: Packing) -> Any:
    if packing is Packing.GZIP:
        return gzip.GzipFile(fileobj=stream)
    if packing is Packing.ZSTD:
        # Only here: whoever reads layers has it, and most have none that are packed so.
        zstd: Any = import_module(MODULE_OF_ZSTD)
        most = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_MAX}
        return zstd.ZstdFile(stream, options=most)
    return stream


def _errors_of_zstd() -> tuple[type[Exception], ...]:
    module = sys.modules.get(MODULE_OF_ZSTD)
    return (module.ZstdError,) if module else ()


class _Bounded:
    """A stream that is never read beyond `most` bytes, nor much of it at once."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream = stream
        self._most = most

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes."""
        if not 0 <= size <= _LONGEST_READ:
            msg = "has an entry whose name or attributes are too long"
            raise OciError(msg)
        self._check(self._stream.tell() + size - tarfile.RECORDSIZE)
        return self._stream.read(size)

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position."""
        self._check(position)
        return self._stream.seek(position, whence)

    def seekable(self) -> bool:
        """Say yes: a compressed stream is read again from its beginning for that."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._stream.tell()

    def _check(self, position: int) -> None:
        if position > self._most:
            msg = f"holds more than {self._most} bytes when it is unpacked, which is the limit"
            raise OciError(msg)


@contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except OciError:
        raise
    except (  # type: ignore[misc] # mypy knows no tuple that is put together here
        tarfile.TarError,
        EOFError,
        zlib.error,
        OSError,
        RecursionError,
        OverflowError,
        # Of attributes that should be numbers (GNU's sparse files), which tarfile lets through.
        ValueError,
        *_errors_of_zstd(),
    ) as error:
        if _TOO_LARGE_A_WINDOW in str(error):
            msg = (
                f"is packed by zstd with a window above {2**_WINDOW_LOG_MAX} bytes, which whoever "
                "reads it has to keep in memory: pack it at a level up to 19 and without --long"
            )
            raise OciError(msg) from error
        msg = (
            f"is no tar archive that can be read ({str(error) or type(error).__name__}): pack and "
            "push it again"
        )
        raise OciError(msg) from error
