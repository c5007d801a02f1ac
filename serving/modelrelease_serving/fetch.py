"""Copies an artifact to the volume that the predictor reads: the init container's whole work.

The manifest's digest pins every other digest, so it is read first and written last: a folder with a
manifest is a complete artifact. What MLflow wrote has no manifest: there one digest over all files
says at the end whether they are right. A file that broke off is gone on with, by the next try or
the next process. Nothing here unpickles, and little is imported, because this process should start
in a moment.
"""

import hashlib
import logging
import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from modelrelease_contract import (
    MANIFEST_NAME,
    MLMODEL_NAME,
    ArtifactManifest,
    ModelFile,
    named_files,
)
from modelrelease_serving.artifact import is_right, parse_manifest, parse_mlmodel, read_manifest
from modelrelease_serving.errors import RefusedError, UnreachableError
from modelrelease_serving.logs import fields
from modelrelease_serving.settings import Settings
from modelrelease_serving.sources import (
    TIMEOUT_SECONDS,
    MissingError,
    Source,
    TransientError,
    open_source,
    read_small,
)

_LOG = logging.getLogger(__name__)
_MANIFEST_LIMIT: Final = 8 * 1024 * 1024
_PROGRESS_SECONDS: Final = 5.0
_CHUNK: Final = 1024 * 1024

T = TypeVar("T")


@dataclass(slots=True)
class Patience:
    """Tries again with growing pauses, until failures of all files have cost `total` seconds."""

    total: float
    first_pause: float = 0.5
    longest_pause: float = 15.0
    lost: float = field(default=0.0, init=False)

    def run(self, attempt: Callable[[], T]) -> T:
        """Return what `attempt` returns. Raises UnreachableError when it fails for too long."""
        pause, tries = self.first_pause, 1
        while True:
            began = time.monotonic()
            try:
                return attempt()
            except TransientError as error:
                # A long download that broke off was not waiting, so it costs no more than a
                # timeout.
                self.lost += min(time.monotonic() - began, TIMEOUT_SECONDS) + pause
                if self.lost > self.total:
                    msg = f"gave up after {tries} tries: {error}"
                    raise UnreachableError(msg) from error
                _LOG.warning(
                    "will try again", extra=fields(reason=str(error), tries=tries, pause=pause)
                )
            time.sleep(pause)
            pause, tries = min(pause * 2, self.longest_pause), tries + 1


def fetch(settings: Settings, *, patience: Patience | None = None) -> ArtifactManifest:
    """Copy the artifact at MODEL_URI to MODEL_PATH and return its manifest.

    Files that are already right are kept. Raises RefusedError when the artifact can never work,
    UnreachableError when the source stays away, OSError when the volume cannot be written.
    """
    if settings.model_uri is None:
        msg = "MODEL_URI is not set: it must name the folder of the artifact to fetch"
        raise RefusedError(msg)
    patience = patience or Patience(settings.fetch_patience_seconds)
    source, folder = open_source(settings), settings.model_path
    _LOG.info("fetching", extra=fields(uri=settings.model_uri, to=str(folder)))
    if settings.model_sha256 is None:
        _LOG.warning("MODEL_SHA256 is not set: whatever is at MODEL_URI is fetched")
    try:
        raw = patience.run(lambda: read_small(source, MANIFEST_NAME, limit=_MANIFEST_LIMIT))
    except MissingError as error:
        manifest = _fetch_mlflow(source, folder, settings, patience)
        if manifest is None:
            raise error from None
    else:
        manifest = _fetch_files(source, raw, folder, settings, patience)
    _LOG.info("fetched", extra=fields(model=manifest.name, version=manifest.version))
    return manifest


def _fetch_files(
    source: Source, raw: bytes, folder: Path, settings: Settings, patience: Patience
) -> ArtifactManifest:
    """Copy what a manifest names, unless it alone is wanted, then the manifest."""
    origin = f"{str(settings.model_uri).rstrip('/')}/{MANIFEST_NAME}"
    manifest = parse_manifest(raw, origin=origin, sha256=settings.model_sha256)
    files = () if settings.manifest_only else manifest.files
    _check_size(sum(file.size for file in files), settings.artifact_max_bytes)
    for file in files:
        patience.run(partial(_bring, source, file, folder))
    _write_whole(folder / MANIFEST_NAME, raw)
    return manifest


def _fetch_mlflow(
    source: Source, folder: Path, settings: Settings, patience: Patience
) -> ArtifactManifest | None:
    """Copy what an `MLmodel` names, and itself, all checked by one digest; None without one."""
    try:
        raw = patience.run(lambda: read_small(source, MLMODEL_NAME, limit=_MANIFEST_LIMIT))
    except MissingError:
        return None
    mlmodel = parse_mlmodel(raw, origin=f"{str(settings.model_uri).rstrip('/')}/{MLMODEL_NAME}")
    room = settings.artifact_max_bytes
    for path in named_files(mlmodel):
        if path != MLMODEL_NAME:
            unchecked = ModelFile(path=path, sha256="0" * 64, size=room)
            room -= patience.run(partial(_bring_unknown, source, unchecked, folder))
    _write_whole(folder / MLMODEL_NAME, raw)
    # A manifest of an artifact that was here before would hide this one.
    (folder / MANIFEST_NAME).unlink(missing_ok=True)
    manifest, _ = read_manifest(
        folder, sha256=settings.model_sha256, version=settings.model_version
    )
    return manifest


def _check_size(total: int, limit: int) -> None:
    if total > limit:
        msg = (
            f"the artifact has {total} bytes, more than the {limit} that ARTIFACT_MAX_BYTES allows"
        )
        raise RefusedError(msg)


def _bring(source: Source, file: ModelFile, folder: Path) -> None:
    """Copy one file, unless the right bytes are there already."""
    target = folder / file.path
    if is_right(target, file):
        _LOG.info("already here", extra=fields(file=file.path, bytes=file.size))
        return
    began = time.monotonic()
    part = _part_of(target)
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


def _bring_unknown(source: Source, room: ModelFile, folder: Path) -> int:
    """Copy a file of unknown digest, from its beginning. Return its size, at most `room`'s."""
    part = _part_of(folder / room.path)
    part.unlink(missing_ok=True)
    copied = Part(part, room)
    try:
        copied.fill(source)
    except WrongError:
        part.unlink(missing_ok=True)
        _check_size(copied.size, room.size)
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
            _open_part(self.path, append=self.size > 0) as stream,
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


def _part_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _open_part(part: Path, *, append: bool) -> BinaryIO:
    """Open an unfinished file. Raises OSError for a link, which would have another file written."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
    flags |= os.O_APPEND if append else os.O_TRUNC
    return os.fdopen(os.open(part, flags, 0o644), "wb")


def _write_whole(target: Path, content: bytes) -> None:
    """Write a small file that appears whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _part_of(target)
    part.unlink(missing_ok=True)
    try:
        with _open_part(part, append=False) as stream:
            stream.write(content)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
