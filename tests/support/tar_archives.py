"""Tar archives of files, and of what should be in none."""

import io
import tarfile
from importlib import import_module
from typing import Any

from modelrelease_contract.tar_layers import MODULE_OF_ZSTD


def packed(
    files: dict[str, bytes], *, mode: str = "w", others: tuple[tarfile.TarInfo, ...] = ()
) -> bytes:
    """Return an archive of files, and of entries without content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for entry in others:
            archive.addfile(entry)
    return buffer.getvalue()


def packed_by_zstd(files: dict[str, bytes], **options: Any) -> bytes:
    """Return an archive in one frame of zstd."""
    zstd: Any = import_module(MODULE_OF_ZSTD)
    return bytes(zstd.compress(packed(files), **options))


def a_link(path: str, target: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    return entry


def a_device(path: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type = tarfile.CHRTYPE
    return entry
