"""Copies an artifact to the volume that the predictor reads: the init container's whole work.

The manifest's digest pins every other digest, so it is read first and written last: a folder with a
manifest is a complete artifact. Nothing here unpickles. Standard library and contract only, because
this process should start in a moment.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from modelrelease_contract import MANIFEST_NAME, ArtifactManifest, ModelFile
from modelrelease_serving.artifact import is_right, parse_manifest
from modelrelease_serving.errors import RefusedError, UnreachableError
from modelrelease_serving.logs import fields
from modelrelease_serving.settings import Settings
from modelrelease_serving.sources import (
    TIMEOUT_SECONDS,
    Source,
    TransientError,
    read_small,
    source_of,
)

_LOG = logging.getLogger(__name__)
_MANIFEST_LIMIT: Final = 8 * 1024 * 1024
_PROGRESS_SECONDS: Final = 5.0

T = TypeVar("T")


@dataclass(slots=True)
class Patience:
    """Tries again with growing pauses until `total` seconds were lost to failures, over all files."""

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
                # A long download that broke off was not waiting, so it costs no more than a timeout.
                self.lost += min(time.monotonic() - began, TIMEOUT_SECONDS) + pause
                if self.lost > self.total:
                    msg = f"gave up after {tries} tries: {error}"
                    raise UnreachableError(msg) from error
                _LOG.warning("will try again", extra=fields(reason=str(error), tries=tries, pause=pause))
            time.sleep(pause)
            pause, tries = min(pause * 2, self.longest_pause), tries + 1


def fetch(settings: Settings, *, patience: Patience | None = None) -> ArtifactManifest:
    """Copy the artifact at MODEL_URI to MODEL_PATH and return its manifest. Files already right are kept.

    Raises RefusedError when the artifact can never work, UnreachableError when the source stays
    away, OSError when the volume cannot be written.
    """
    if settings.model_uri is None:
        msg = "MODEL_URI is not set: it must name the folder of the artifact to fetch"
        raise RefusedError(msg)
    patience = patience or Patience(settings.fetch_patience_seconds)
    source, folder = source_of(settings.model_uri, pvc_path=settings.pvc_path), settings.model_path
    _LOG.info("fetching", extra=fields(uri=settings.model_uri, to=str(folder)))
    raw = patience.run(lambda: read_small(source, MANIFEST_NAME, limit=_MANIFEST_LIMIT))
    origin = f"{settings.model_uri.rstrip('/')}/{MANIFEST_NAME}"
    manifest = parse_manifest(raw, origin=origin, sha256=settings.model_sha256)
    if settings.model_sha256 is None:
        _LOG.warning("MODEL_SHA256 is not set: whatever is at MODEL_URI will be loaded")
    _check_size(manifest, settings.artifact_max_bytes)
    for file in manifest.files:
        patience.run(lambda file=file: _bring(source, file, folder))  # type: ignore[misc]
    _put(folder / MANIFEST_NAME, iter([raw]))
    _LOG.info("fetched", extra=fields(model=manifest.name, version=manifest.version))
    return manifest


def _check_size(manifest: ArtifactManifest, limit: int) -> None:
    total = sum(file.size for file in manifest.files)
    if total > limit:
        msg = f"the artifact has {total} bytes, more than the {limit} that ARTIFACT_MAX_BYTES allows"
        raise RefusedError(msg)


def _bring(source: Source, file: ModelFile, folder: Path) -> None:
    """Copy one file, unless the right bytes are there already."""
    target = folder / file.path
    if is_right(target, file):
        _LOG.info("already here", extra=fields(file=file.path, bytes=file.size))
        return
    began = time.monotonic()
    with closing(source.chunks(file.path)) as chunks:
        _put(target, _checked(chunks, file))
    seconds = round(time.monotonic() - began, 3)
    _LOG.info("copied", extra=fields(file=file.path, bytes=file.size, seconds=seconds))


def _checked(chunks: Iterator[bytes], file: ModelFile) -> Iterator[bytes]:
    """Pass the bytes on, and raise at the end unless they are the ones that the manifest names."""
    digest, size, spoke = hashlib.sha256(), 0, time.monotonic()
    for chunk in chunks:
        size += len(chunk)
        if size > file.size:
            msg = f"{file.path} is longer than the {file.size} bytes in the manifest: export the model again"
            raise RefusedError(msg)
        digest.update(chunk)
        yield chunk
        if time.monotonic() - spoke > _PROGRESS_SECONDS:
            spoke = time.monotonic()
            _LOG.info("copying", extra=fields(file=file.path, bytes=size, of=file.size))
    if size < file.size:
        msg = f"{file.path} broke off after {size} of {file.size} bytes"
        raise TransientError(msg)
    if digest.hexdigest() != file.sha256:
        msg = f"{file.path} has sha256 {digest.hexdigest()}, but the manifest says {file.sha256}"
        raise RefusedError(f"{msg}: it was changed after the manifest was written")


def _put(target: Path, chunks: Iterator[bytes]) -> None:
    """Write a file that appears whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        with part.open("wb") as stream:
            stream.writelines(chunks)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
