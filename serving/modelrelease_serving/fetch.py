"""Copies an artifact to the volume that the predictor reads: the init container's whole work.

The manifest's digest pins every other digest, so it is read first and written last: a folder with a
manifest is a complete artifact. What MLflow wrote has no manifest: there one digest over all files
says at the end whether they are right. A file that broke off is gone on with, by the next try or
the next process. Nothing here unpickles, and little is imported, because this process should start
in a moment.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from modelrelease_contract import (
    MANIFEST_NAME,
    MLMODEL_NAME,
    ArtifactManifest,
    ModelFile,
    named_files,
)
from modelrelease_contract.runtime import SIGNATURE_NAME
from modelrelease_contract.schemes import may_be_archived
from modelrelease_serving.artifact import parse_manifest, parse_mlmodel, read_manifest
from modelrelease_serving.cache import ArtifactCache
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
from modelrelease_serving.sources.copying import (
    bring,
    bring_unknown,
    check_size,
    open_part,
    part_of,
)
from modelrelease_serving.sources.folders import FolderSource

_LOG = logging.getLogger(__name__)
_MANIFEST_LIMIT: Final = 8 * 1024 * 1024

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
    _LOG.info("fetching", extra=fields(uri=settings.model_uri, to=str(settings.model_path)))
    if settings.model_sha256 is None:
        _LOG.warning("MODEL_SHA256 is not set: whatever is at MODEL_URI is fetched")
    cache = ArtifactCache.of(settings)
    if cache is None:
        manifest = _fetch_from(open_source(settings), settings, patience)
    else:
        manifest = _fetch_through(cache, settings, patience)
    _LOG.info("fetched", extra=fields(model=manifest.name, version=manifest.version))
    return manifest


def _fetch_through(
    cache: ArtifactCache, settings: Settings, patience: Patience
) -> ArtifactManifest:
    """Copy what the cache has, else ask the store and keep what it gave."""
    with cache.shared():
        if manifest := _fetch_cached(cache, settings):
            return manifest
    with cache.alone():
        # Another pod may have brought it while this one waited.
        if manifest := _fetch_cached(cache, settings):
            return manifest
        manifest = _fetch_from(open_source(settings), settings, patience)
        if not settings.manifest_only:
            cache.add(settings.model_path, _paths_of(manifest, settings.model_path))
    return manifest


def _fetch_cached(cache: ArtifactCache, settings: Settings) -> ArtifactManifest | None:
    """Copy what the cache has, checked as what a store gives; None where it has nothing right."""
    if not cache.has_entry():
        return None
    if settings.fetch_signature and not (cache.entry / SIGNATURE_NAME).exists():
        _LOG.info("the cache has no signature: the store is asked")
        return None
    try:
        manifest = _fetch_from(FolderSource(cache.entry), settings, Patience(0))
    except (RefusedError, UnreachableError) as error:
        _LOG.warning("the cache is wrong: the store is asked", extra=fields(reason=str(error)))
        return None
    _LOG.info("found in the cache", extra=fields(file=str(cache.entry)))
    cache.touch()
    if settings.fetch_signature:
        _renew_signature(settings, cache)
    return manifest


def _renew_signature(settings: Settings, cache: ArtifactCache) -> None:
    """Take the store's signature instead of the cache's: an artifact may be signed anew, with
    another key. While the store is away, or has none any more, the cache's stays: what it is over
    did not change.
    """
    try:
        source = open_source(settings)
        if may_be_archived(str(settings.model_uri)):
            _find_folder(source)
        raw = _signature_in(source, Patience(0))
    except (RefusedError, UnreachableError) as error:
        _LOG.warning("the signature is that of the cache", extra=fields(reason=str(error)))
        return
    if raw is None:
        _LOG.warning("the signature is that of the cache: the store has none")
    elif raw != (settings.model_path / SIGNATURE_NAME).read_bytes():
        _write_whole(settings.model_path / SIGNATURE_NAME, raw)
        _keep_signature(cache, raw)


def _keep_signature(cache: ArtifactCache, raw: bytes) -> None:
    """Keep what the store was signed with anew, for when it is away."""
    try:
        _write_whole(cache.entry / SIGNATURE_NAME, raw)
    except OSError as error:
        _LOG.warning("the new signature is not kept in the cache", extra=fields(reason=str(error)))


def _find_folder(source: Source) -> None:
    """Have a registry's source find the artifact's folder in an archive, by what describes it."""
    for name in (MANIFEST_NAME, MLMODEL_NAME):
        with suppress(MissingError):
            Patience(0).run(partial(read_small, source, name, limit=_MANIFEST_LIMIT))
            return


def _paths_of(manifest: ArtifactManifest, folder: Path) -> list[str]:
    """Return the files of an artifact; what MLflow wrote has no manifest among them."""
    beside = (MANIFEST_NAME, SIGNATURE_NAME)
    own = [name for name in beside if (folder / name).exists()]
    return [*own, *(file.path for file in manifest.files)]


def _fetch_from(source: Source, settings: Settings, patience: Patience) -> ArtifactManifest:
    """Copy the artifact of a source, whose digest must be the pinned one."""
    folder = settings.model_path
    try:
        raw = patience.run(lambda: read_small(source, MANIFEST_NAME, limit=_MANIFEST_LIMIT))
    except MissingError as error:
        manifest = _fetch_mlflow(source, folder, settings, patience)
        if manifest is None:
            raise error from None
    else:
        manifest = _fetch_files(source, raw, folder, settings, patience)
    if settings.fetch_signature:
        _fetch_signature(source, folder, patience)
    return manifest


def _fetch_files(
    source: Source, raw: bytes, folder: Path, settings: Settings, patience: Patience
) -> ArtifactManifest:
    """Copy what a manifest names, unless it alone is wanted, then the manifest."""
    origin = f"{str(settings.model_uri).rstrip('/')}/{MANIFEST_NAME}"
    manifest = parse_manifest(raw, origin=origin, sha256=settings.model_sha256)
    files = () if settings.manifest_only else manifest.files
    check_size(sum(file.size for file in files), settings.artifact_max_bytes)
    for file in files:
        patience.run(partial(bring, source, file, folder))
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
            room -= patience.run(partial(bring_unknown, source, unchecked, folder))
    _write_whole(folder / MLMODEL_NAME, raw)
    # A manifest of an artifact that was here before would hide this one.
    (folder / MANIFEST_NAME).unlink(missing_ok=True)
    manifest, _ = read_manifest(
        folder, sha256=settings.model_sha256, version=settings.model_version
    )
    return manifest


def _fetch_signature(source: Source, folder: Path, patience: Patience) -> None:
    """Copy the signature. Who wants one says what it means that there is none: `verify`."""
    target = folder / SIGNATURE_NAME
    raw = _signature_in(source, patience)
    if raw is None:
        target.unlink(missing_ok=True)
    else:
        _write_whole(target, raw)


def _signature_in(source: Source, patience: Patience) -> bytes | None:
    try:
        return patience.run(lambda: read_small(source, SIGNATURE_NAME, limit=_MANIFEST_LIMIT))
    except MissingError:
        return None


def _write_whole(target: Path, content: bytes) -> None:
    """Write a small file that appears whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(target)
    part.unlink(missing_ok=True)
    try:
        with open_part(part, append=False) as stream:
            stream.write(content)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
