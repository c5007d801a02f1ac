"""What is made once and kept: compiled programs, the base image, built images.

Everything in the cache has its inputs in its name, is made in a temporary folder beside it and
renamed into place while a file lock is held. So a half-made thing is never seen, and two commands
never make it twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.progress import say


def root() -> Path:
    """Find the cache folder, below XDG_CACHE_HOME."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "modelrelease"


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold a lock that this user's other processes see; it goes with the process in any case."""
    folder = root() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    # For reading, so that a lock made by root (through sudo) can be held by its user as well.
    with os.fdopen(os.open(folder / name, os.O_RDONLY | os.O_CREAT, 0o644)) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another command that holds the lock `{name}`")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def making(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`, renamed to it when the block ends well.

    The caller holds the lock that guards `target`, so leftovers of a crash can be swept here.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in target.parent.glob(f".{target.name}.*"):
        remove(leftover)
    temporary = target.parent / f".{target.name}.{os.getpid()}"
    try:
        yield temporary
        temporary.rename(target)
    finally:
        remove(temporary)


def remove(path: Path) -> None:
    """Remove a file or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        # What another process removes meanwhile is gone as well.
        shutil.rmtree(path, onerror=_unless_gone)
    else:
        path.unlink(missing_ok=True)


def _unless_gone(
    _: object, __: str, problem: tuple[type[BaseException], BaseException, object]
) -> None:
    if not isinstance(problem[1], FileNotFoundError):
        raise problem[1]


def remove_later(path: Path) -> None:
    """Remove a folder while the command goes on: many small files take minutes on a slow disk.

    It is renamed at once, so that nobody finds it half there; what an interrupted removal left goes
    with it.
    """
    if path.is_dir():
        path.rename(path.with_name(f".removing-{path.name}-{os.getpid()}"))
    leftovers = [str(folder) for folder in path.parent.glob(".removing-*")]
    if leftovers:
        nowhere = subprocess.DEVNULL
        command = ["nice", "-n", "19", "rm", "-rf", *leftovers]
        subprocess.Popen(
            command, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True
        )


def digest(*parts: str | bytes) -> str:
    """Name a list of inputs by 12 hexadecimal digits; where one part ends matters."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()[:12]


def digest_of_files(base: Path, files: Iterable[Path]) -> str:
    """Name a set of files by their paths below `base` and what is in them."""
    parts: list[str | bytes] = []
    for file in sorted(files):
        parts += [str(file.relative_to(base)), file.read_bytes()]
    return digest(*parts)
