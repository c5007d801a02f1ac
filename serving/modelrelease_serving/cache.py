"""Artifacts that stay beside the pods, by digest: a pod starts again while the store is away.

In the folder, which any number of pods may share:

    <sha256>/       one artifact; it appears whole, by one rename, and only its signature is
                    written again, when the store has another
    <sha256>.part/  one that is being copied, or whose copying was killed
    <sha256>.lock   held by all who read that artifact, or by the one who brings or removes it

All of it may be written by its group, so that pods of another user and the same `fsGroup` lock and
make room, too. Nothing here is trusted: whoever copies from an entry checks every digest. And
nothing here is needed: a folder of no use costs a line in the log, and the store is asked.
"""

import fcntl
import logging
import os
import re
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from modelrelease_serving.logs import fields
from modelrelease_serving.settings import Settings

_LOG = logging.getLogger(__name__)
_OURS: Final = re.compile(r"([0-9a-f]{64})(\.part)?")
"""Names of folders that may be removed: whatever else lies there is somebody's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactCache:
    """One artifact's place among those that a folder keeps."""

    folder: Path
    sha256: str
    """Of the artifact that this process is about."""
    keep: str | None = None
    """Of another that is never removed for it: the one that serves users meanwhile."""
    max_bytes: int
    """What all artifacts of the folder may have together."""

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Return the cache that the settings name; None without one, or where nothing is pinned."""
        if settings.artifact_cache_path is None or settings.model_sha256 is None:
            return None
        return cls(
            folder=settings.artifact_cache_path,
            sha256=settings.model_sha256,
            keep=settings.artifact_cache_keep,
            max_bytes=settings.artifact_cache_max_bytes,
        )

    @property
    def entry(self) -> Path:
        """Where the artifact lies, if it does."""
        return self.folder / self.sha256

    @property
    def _part(self) -> Path:
        return self.folder / f"{self.sha256}.part"

    def has_entry(self) -> bool:
        """Say whether there is something to copy from."""
        try:
            return self.entry.is_dir()
        except OSError as error:
            _warn("the cache cannot be read", error)
            return False

    def touch(self) -> None:
        """Note that the artifact was used: the one used longest ago is removed first."""
        try:
            os.utime(self.entry)
        except OSError as error:
            _warn("the cache cannot note that the artifact was used", error)

    @contextmanager
    def shared(self) -> Generator[None]:
        """Keep the entry from being removed meanwhile."""
        with self._waited_for(fcntl.LOCK_SH):
            yield

    @contextmanager
    def alone(self) -> Generator[None]:
        """Keep everybody else away from the entry: of many pods, one asks the store."""
        with self._waited_for(fcntl.LOCK_EX):
            yield

    def add(self, folder: Path, paths: Sequence[str]) -> None:
        """Keep the files at `paths` of `folder`, which were just checked. Called while `alone`."""
        size = sum((folder / path).stat().st_size for path in paths)
        try:
            # What is wrong, and what a killed process left of it.
            self._remove(self.entry)
            self._remove(self._part)
            if self._make_room(size):
                self._copy(folder, paths)
        except OSError as error:
            _warn("the artifact is not kept in the cache", error)

    def _copy(self, folder: Path, paths: Sequence[str]) -> None:
        try:
            for path in paths:
                target = self._part / path
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / path, target)
                _write_through(target)
            for made in (self._part, *filter(Path.is_dir, self._part.rglob("*"))):
                _let_group_write(made)
            self._part.replace(self.entry)
            _write_through(self.folder)
        finally:
            self._remove(self._part)
        _LOG.info("kept in the cache", extra=fields(to=str(self.entry)))

    def _make_room(self, size: int) -> bool:
        """Remove what was used longest ago until `size` more bytes fit; say whether they do."""
        found = [path for path in self.folder.iterdir() if _OURS.fullmatch(path.name)]
        sizes = {path: _bytes_in(path) for path in found}
        stays = sum(sizes[path] for path in found if path.name == self.keep)
        if size + stays <= self.max_bytes:
            # What a killed process left behind is of no use to anybody, so it goes first.
            by_use = sorted(found, key=lambda it: (it.suffix != ".part", it.stat().st_mtime))
            for path in by_use:
                if path.suffix != ".part" and sum(sizes.values()) + size <= self.max_bytes:
                    break
                if path.name != self.keep and self._remove_unused(path):
                    del sizes[path]
        if sum(sizes.values()) + size <= self.max_bytes:
            return True
        fact = f"it has {size} bytes, others that stay have {sum(sizes.values())}"
        advice = f"raise ARTIFACT_CACHE_MAX_BYTES, which is {self.max_bytes}"
        _LOG.warning(
            "the artifact is not kept in the cache", extra=fields(reason=f"{fact}: {advice}")
        )
        return False

    def _remove_unused(self, path: Path) -> bool:
        """Remove another artifact, unless somebody reads or brings it; say whether it is gone."""
        lock = self.folder / f"{path.name[:64]}.lock"
        held: int | None = None
        try:
            held = _locked(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            # Whoever reads it meanwhile finds a half of it, and asks the store.
            _warn("the cache cannot be locked", error)
        try:
            self._remove(path)
            lock.unlink(missing_ok=True)
        except OSError as error:
            _warn("what was used longest ago cannot be removed from the cache", error)
            return False
        finally:
            if held is not None:
                os.close(held)
        _LOG.info("removed from the cache", extra=fields(file=str(path)))
        return True

    def _remove(self, path: Path) -> None:
        """Remove what is there: first its name, so that nobody finds a half of it."""
        if path.is_symlink() or path.is_file():
            path.unlink()
        if not path.exists():
            return
        if path.suffix != ".part":
            part = path.with_name(f"{path.name}.part")
            self._remove(part)
            path = path.rename(part)
        shutil.rmtree(path)

    @contextmanager
    def _waited_for(self, how: int) -> Generator[None]:
        """Hold the entry's lock. Where files cannot be locked renames alone keep entries whole."""
        lock = self.folder / f"{self.sha256}.lock"
        held: int | None = None
        try:
            if not self.folder.exists():
                self.folder.mkdir(parents=True, exist_ok=True)
                _let_group_write(self.folder)
            try:
                held = _locked(lock, how | fcntl.LOCK_NB)
            except BlockingIOError:
                _LOG.info("waiting for a pod that brings the same artifact")
                held = _locked(lock, how)
        except OSError as error:
            _warn("the cache cannot be locked", error)
        try:
            yield
        finally:
            if held is not None:
                os.close(held)


def _locked(path: Path, how: int) -> int:
    """Return a descriptor that holds a file's lock until it is closed, at the latest by its
    process's end. Raises BlockingIOError for one that is held, where `how` does not wait.
    """
    while True:
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o660)
        with suppress(PermissionError):
            # Whatever the umask, for the group that pods of one claim share: only who made it can.
            os.fchmod(held, 0o660)  # nosec B103
        try:
            fcntl.flock(held, how)
            # Whoever removed an entry removed the file that was waited for.
            if _is_at(held, path):
                return held
        except BaseException:
            os.close(held)
            raise
        os.close(held)


def _is_at(held: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(held), path.stat())
    except FileNotFoundError:
        return False


def _let_group_write(folder: Path) -> None:
    with suppress(PermissionError):
        folder.chmod(folder.stat().st_mode | 0o070)


def _bytes_in(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))


def _write_through(path: Path) -> None:
    """Have a file or folder on the disk: devices lose their power without a warning."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _warn(what: str, error: OSError) -> None:
    _LOG.warning(what, extra=fields(reason=str(error)))
