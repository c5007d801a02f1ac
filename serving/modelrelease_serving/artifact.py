"""Reads and checks an artifact on disk. Shared by `fetch`, which writes it, and `serve`, which loads it.

Nothing here unpickles, and nothing here talks to a network.
"""

import hashlib
from pathlib import Path

from pydantic import ValidationError

from modelrelease_contract import MANIFEST_NAME, ArtifactManifest, ModelFile, manifest_digest
from modelrelease_serving.errors import RefusedError

_CHUNK = 1024 * 1024


def parse_manifest(raw: bytes, *, origin: str, sha256: str | None) -> ArtifactManifest:
    """Return the manifest in `raw`, which came from `origin`.

    Raises RefusedError when its digest is not `sha256`, or it is not a manifest this predictor knows.
    """
    digest = manifest_digest(raw)
    if sha256 is not None and digest != sha256:
        fact = f"{origin} has sha256 {digest}, but the release pins {sha256}"
        msg = f"{fact}: the artifact was changed after it was pinned"
        raise RefusedError(msg)
    try:
        return ArtifactManifest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        fact = f"{origin} is not a manifest that this predictor can use: {place}: {first['msg']}"
        msg = f"{fact}; export the model again"
        raise RefusedError(msg) from error


def read_manifest(folder: Path, *, sha256: str | None) -> tuple[ArtifactManifest, str]:
    """Return the manifest in `folder` and its digest. Raises RefusedError when there is none to use."""
    path = folder / MANIFEST_NAME
    try:
        raw = path.read_bytes()
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}): point MODEL_PATH at the folder of an artifact"
        raise RefusedError(msg) from error
    return parse_manifest(raw, origin=str(path), sha256=sha256), manifest_digest(raw)


def file_digest(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def is_right(path: Path, file: ModelFile) -> bool:
    """Say whether `path` holds exactly the bytes that the manifest names."""
    return path.is_file() and path.stat().st_size == file.size and file_digest(path) == file.sha256


def check_file(folder: Path, file: ModelFile) -> Path:
    """Return the path of a file of the artifact after checking its digest. Raises RefusedError."""
    path = folder / file.path
    try:
        digest = file_digest(path)
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}), but the manifest names it: fetch the artifact again"
        raise RefusedError(msg) from error
    if digest != file.sha256:
        fact = f"{path} has sha256 {digest}, but the manifest says {file.sha256}"
        msg = f"{fact}: it was changed after it was exported, so it is not loaded"
        raise RefusedError(msg)
    return path
