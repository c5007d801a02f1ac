"""An artifact of files that are somebody else's to read, such as a language model's weights."""

import hashlib
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from modelrelease_contract import MANIFEST_NAME, manifest_digest
from modelrelease_contract.artifact import ArtifactManifest, Examples, ModelFile
from modelrelease_contract.runtime import SIGNATURE_NAME
from modelrelease_training.errors import ArtifactError, ExistsError
from modelrelease_training.export import Exported, Label, encode

_BESIDE: Final = frozenset({MANIFEST_NAME, SIGNATURE_NAME})
"""What an artifact's folder has beside its files."""


def pack(folder: Path, label: Label, *, force: bool = False) -> Exported:
    """Write the manifest of all that a folder holds into it, but for what begins with a dot.

    Nothing is copied: weights are large. Raises ExistsError where there is a manifest already, and
    ArtifactError for a folder that cannot be one.
    """
    manifest_file = folder / MANIFEST_NAME
    if manifest_file.exists() and not force:
        msg = f"{manifest_file} exists: give --force to write it anew"
        raise ExistsError(msg)
    paths = sorted(path for path in folder.rglob("*") if _belongs(path.relative_to(folder), path))
    if not paths:
        msg = f"{folder} holds no files to name in a manifest"
        raise ArtifactError(msg)
    try:
        files = tuple(_described(path, path.relative_to(folder)) for path in paths)
        manifest = ArtifactManifest(
            name=label.name,
            version=label.version,
            format="files",
            model_file=max(files, key=lambda file: file.size).path,
            features=(),
            examples=Examples(rows=(), predictions=()),
            files=files,
        )
    except ValidationError as error:
        raise ArtifactError(error.errors()[0]["msg"]) from error
    raw = encode(manifest)
    manifest_file.write_bytes(raw)
    return Exported(path=folder, digest=manifest_digest(raw), manifest=manifest)


def _belongs(relative: Path, path: Path) -> bool:
    hidden = any(part.startswith(".") for part in relative.parts)
    return path.is_file() and not hidden and str(relative) not in _BESIDE


def _described(path: Path, relative: Path) -> ModelFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ModelFile(path=relative.as_posix(), sha256=digest, size=path.stat().st_size)
