"""Artifacts in folders: of the image, or of a mounted claim."""

import stat
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from modelrelease_serving.errors import RefusedError
from modelrelease_serving.settings import Settings
from modelrelease_serving.sources.source import (
    CHUNK_BYTES,
    MissingError,
    Reading,
    TransientError,
    path_in,
    unknown_place,
)


@dataclass(frozen=True, slots=True)
class FolderSource:
    """Files below a folder: on a mounted claim, or in the image."""

    folder: Path

    def read(self, path: str, offset: int = 0) -> Reading:
        """Open one file."""
        file = self.folder / path
        try:
            status = file.stat()
        except OSError:
            return Reading(offset, self._chunks(file, offset))
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            msg = f"{file} is no regular file: a pipe or a device would be read for ever"
            raise RefusedError(msg)
        return Reading(offset, self._chunks(file, offset), status.st_size)

    def _chunks(self, file: Path, offset: int) -> Generator[bytes]:
        try:
            with file.open("rb") as stream:
                stream.seek(offset)
                while chunk := stream.read(CHUNK_BYTES):
                    yield chunk
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            msg = f"{file} does not exist: MODEL_URI must be the folder that holds the manifest"
            raise MissingError(msg) from error
        except OSError as error:
            msg = f"{file} cannot be read: {error.strerror}"
            raise TransientError(msg) from error


def open_folder(uri: str, _: Settings) -> FolderSource:
    """Return the files of an absolute folder."""
    path = path_in(uri)
    if urlsplit(uri).netloc or not path.is_absolute():
        raise unknown_place(uri)
    return FolderSource(Path(path))


def open_claim(uri: str, settings: Settings) -> FolderSource:
    """Return the files of a claim's folder; the operator mounted it below `pvc_path`."""
    path, claim = path_in(uri), urlsplit(uri).netloc
    if claim in {"", ".", ".."}:
        raise unknown_place(uri)
    root = "/" if path.is_absolute() else "."
    return FolderSource(settings.pvc_path / claim / path.relative_to(root))
