"""Reads and checks an artifact on disk, for `fetch`, which writes it, and `serve`, which loads it.

An artifact is a folder with a manifest, or one that MLflow wrote, from which a manifest is made.

Nothing here unpickles, and nothing here talks to a network.
"""

import errno
import hashlib
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from pydantic import ValidationError

from modelrelease_contract import (
    MANIFEST_NAME,
    MLMODEL_NAME,
    ArtifactManifest,
    ModelFile,
    listing_digest,
    manifest_digest,
    mlflow_manifest,
    named_files,
)
from modelrelease_contract.artifact import MANIFEST_BYTES_MAX
from modelrelease_contract.mlflow import example_file
from modelrelease_serving.errors import RefusedError

_EXAMPLE_BYTES_MAX: Final = 64 * 1024 * 1024
_CHUNK: Final = 1024 * 1024
_SENTENCE_MAX: Final = 500


def parse_manifest(raw: bytes, *, origin: str, sha256: str | None) -> ArtifactManifest:
    """Return the manifest in `raw`, which came from `origin`.

    Raises RefusedError when its digest is not `sha256`, or it is not a manifest this predictor
    knows.
    """
    check_pin(manifest_digest(raw), origin=origin, sha256=sha256)
    try:
        return ArtifactManifest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the document"
        fact = (
            f"{origin} is not a manifest that this predictor can use: {field}: "
            f"{_brief(first['msg'])}"
        )
        msg = f"{fact}; export the model again"
        raise RefusedError(msg) from error


def check_pin(digest: str, *, origin: str, sha256: str | None) -> None:
    """Raise RefusedError when the artifact at `origin` has another digest than the pinned one."""
    if sha256 is not None and digest != sha256:
        fact = f"{origin} has sha256 {digest}, but the release pins {sha256}"
        msg = f"{fact}: the artifact was changed after it was pinned"
        raise RefusedError(msg)


def parse_mlmodel(raw: bytes, *, origin: str) -> Mapping[str, Any]:
    """Return what an `MLmodel` file says. Raises RefusedError for one that cannot be served."""
    import yaml  # noqa: PLC0415 - only for folders that MLflow wrote

    try:
        mlmodel = yaml.safe_load(raw)
        if not isinstance(mlmodel, Mapping):
            msg = "it holds no mapping"
            raise ValueError(msg)
        named_files(mlmodel)
    except (
        yaml.YAMLError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise _no_mlmodel(origin, error) from error
    return mlmodel


def read_manifest(
    folder: Path, *, sha256: str | None, name: str = "model", version: str | None = None
) -> tuple[ArtifactManifest, str]:
    """Return the manifest in `folder` and its digest.

    `name` and `version` are for a folder that MLflow wrote, which has neither. Raises RefusedError
    when there is no manifest to use.
    """
    path = folder / MANIFEST_NAME
    if not path.exists() and (folder / MLMODEL_NAME).is_file():
        return _read_mlflow(folder, sha256=sha256, name=name, version=version)
    try:
        raw = read_small_file(path, MANIFEST_BYTES_MAX)
    except OSError as error:
        fact = f"{path} cannot be read ({error.strerror or error})"
        msg = f"{fact}: point MODEL_PATH at the folder of an artifact"
        raise RefusedError(msg) from error
    return parse_manifest(raw, origin=str(path), sha256=sha256), manifest_digest(raw)


def _read_mlflow(
    folder: Path, *, sha256: str | None, name: str, version: str | None
) -> tuple[ArtifactManifest, str]:
    path = folder / MLMODEL_NAME
    try:
        mlmodel = parse_mlmodel(read_small_file(path, MANIFEST_BYTES_MAX), origin=str(path))
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror or error}): save the model again"
        raise RefusedError(msg) from error
    files = [describe_file(folder, listed) for listed in named_files(mlmodel)]
    digest = listing_digest(files)
    check_pin(digest, origin=str(folder), sha256=sha256)
    example = example_file(mlmodel)
    try:
        content = read_small_file(folder / example, _EXAMPLE_BYTES_MAX) if example else None
        return mlflow_manifest(mlmodel, files, name=name, version=version, example=content), digest
    except (ValueError, LookupError, TypeError, AttributeError, OSError, RecursionError) as error:
        # MLflow's format is not ours: whatever is not where it should be ends here.
        raise _no_mlmodel(str(path), error) from error


def _no_mlmodel(origin: str, error: Exception) -> RefusedError:
    if isinstance(error, ValidationError):
        error = ValueError(error.errors(include_url=False)[0]["msg"])
    reason = "it is nested too deeply" if isinstance(error, RecursionError) else _brief(str(error))
    return RefusedError(f"{origin} describes no model that this predictor can use: {reason}")


def _brief(text: str) -> str:
    """Return what fits into a sentence: an artifact can make a message of any length."""
    return text if len(text) <= _SENTENCE_MAX else f"{text[:_SENTENCE_MAX]} …"


def _open(path: Path) -> BinaryIO:
    """Open a regular file. Raises OSError for a pipe or device, which would be read for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    return path.open("rb")


def read_small_file(path: Path, limit: int) -> bytes:
    """Return the content of a small file. Raises OSError."""
    with _open(path) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes")
    return content


def describe_file(folder: Path, path: str) -> ModelFile:
    """Return path, size and digest of a file in `folder`. Raises RefusedError when it is absent."""
    file = folder / path
    try:
        return ModelFile(path=path, sha256=file_digest(file), size=file.stat().st_size)
    except OSError as error:
        msg = (
            f"{file} cannot be read ({error.strerror}), but {MLMODEL_NAME} names it: save the "
            "model again"
        )
        raise RefusedError(msg) from error


def file_digest(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal, read piece by piece."""
    digest = hashlib.sha256()
    with _open(path) as stream:
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
        fact = f"{path} cannot be read ({error.strerror or error}), but the manifest names it"
        msg = f"{fact}: fetch the artifact again"
        raise RefusedError(msg) from error
    if digest != file.sha256:
        fact = f"{path} has sha256 {digest}, but the manifest says {file.sha256}"
        msg = f"{fact}: it was changed after it was exported, so it is not loaded"
        raise RefusedError(msg)
    return path
