"""Copying one file of a source: gone on with where it broke off, and whole or not there at all."""

import hashlib
import logging
import os
import time
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, Final

from modelrelease_contract import ModelFile
from modelrelease_serving.artifact import is_right
from modelrelease_serving.errors import RefusedError
from modelrelease_serving.logs import fields
from modelrelease_serving.sources.source import Source, TransientError

_LOG = logging.getLogger(__name__)
_PROGRESS_SECONDS: Final = 5.0
_CHUNK: Final = 1024 * 1024


def check_size(total: int, limit: int) -> None:
    """Raise RefusedError for more bytes than may be fetched."""
    if total > limit:
        msg = (
            f"the artifact has {total} bytes, more than the {limit} that ARTIFACT_MAX_BYTES allows"
        )
        raise RefusedError(msg)


def bring(source: Source, file: ModelFile, folder: Path) -> None:
    """Copy one file, unless the right bytes are there already."""
    target = folder / file.path
    if is_right(target, file):
        _LOG.info("already here", extra=fields(file=file.path, bytes=file.size))
        return
    began = time.monotonic()
    part = part_of(target)
    copied = Part(part, file)
    resumed = copied.size > 0
    try:
        copied.fill(source)
        copied.check()
    except WrongError as error:
        part.unlink(missing_ok=True)
        if resumed:
            # The first half may be of another artifact: the whole file has to speak for itself.
            msg = f"{error}; it is fetched again from its beginning"
            raise TransientError(msg) from error
        raise RefusedError(str(error)) from error
    part.replace(target)
    seconds = round(time.monotonic() - began, 3)
    _LOG.info("copied", extra=fields(file=file.path, bytes=file.size, seconds=seconds))


def bring_unknown(source: Source, room: ModelFile, folder: Path) -> int:
    """Copy a file of unknown digest, from its beginning. Return its size, at most `room`'s."""
    part = part_of(folder / room.path)
    part.unlink(missing_ok=True)
    copied = Part(part, room)
    try:
        copied.fill(source)
    except WrongError:
        part.unlink(missing_ok=True)
        check_size(copied.size, room.size)
        raise
    part.replace(folder / room.path)
    _LOG.info("copied", extra=fields(file=room.path, bytes=copied.size))
    return copied.size


class WrongError(Exception):
    """The bytes that came are not those that the manifest names."""


class Part:
    """A file that is being copied: where a try breaks off, the next goes on at its end."""

    def __init__(self, path: Path, file: ModelFile) -> None:
        self.path = path
        self.file = file
        self.size = 0
        self._digest = hashlib.sha256()
        self._total: int | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            # Whoever put it there would have another file written.
            path.unlink()
        if path.is_file() and path.stat().st_size <= file.size:
            with path.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    self._count(chunk)

    def fill(self, source: Source) -> None:
        """Copy what is missing. Raises WrongError when there is more than there should be."""
        if self.size and self.size == self.file.size:
            return
        reading = source.read(self.file.path, self.size)
        self._total = reading.total
        if reading.start != self.size:
            self.size, self._digest = 0, hashlib.sha256()
        if self.size:
            _LOG.info(
                "going on", extra=fields(file=self.file.path, bytes=self.size, of=self.file.size)
            )
        spoke = time.monotonic()
        with (
            closing(reading.chunks) as chunks,
            open_part(self.path, append=self.size > 0) as stream,
        ):
            for chunk in chunks:
                self._count(chunk)
                if self.size > self.file.size:
                    fact = (
                        f"{self.file.path} is longer than the {self.file.size} bytes in the "
                        "manifest"
                    )
                    msg = f"{fact}: export the model again"
                    raise WrongError(msg)
                stream.write(chunk)
                if time.monotonic() - spoke > _PROGRESS_SECONDS:
                    spoke = time.monotonic()
                    _LOG.info(
                        "copying",
                        extra=fields(file=self.file.path, bytes=self.size, of=self.file.size),
                    )

    def check(self) -> None:
        """Raise TransientError when bytes are missing, WrongError when they are others."""
        file, digest = self.file, self._digest.hexdigest()
        if self.size < file.size and self.size == self._total:
            fact = f"{file.path} has {self.size} bytes, but the manifest says {file.size}"
            msg = f"{fact}: export the model again"
            raise WrongError(msg)
        if self.size < file.size:
            msg = f"{file.path} broke off after {self.size} of {file.size} bytes"
            raise TransientError(msg)
        if digest != file.sha256:
            msg = f"{file.path} has sha256 {digest}, but the manifest says {file.sha256}"
            raise WrongError(f"{msg}: it was changed after the manifest was written")

    def _count(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._digest.update(chunk)


def part_of(target: Path) -> Path:
    """Return where a file is while it is not whole."""
    return target.with_name(f".{target.name}.part")


def open_part(part: Path, *, append: bool) -> BinaryIO:
    """Open an unfinished file. Raises OSError for a link, which would have another file written."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
    flags |= os.O_APPEND if append else os.O_TRUNC
    return os.fdopen(os.open(part, flags, 0o644), "wb")
