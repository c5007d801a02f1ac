"""Reads artifacts back. A model file is code, so its digest is compared before it is loaded."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import joblib
import skops.io

from modelrelease_contract import MANIFEST_NAME, ArtifactManifest, manifest_digest
from modelrelease_contract.artifact import Format
from modelrelease_training.errors import ArtifactError
from modelrelease_training.export import TRAINING_NAME


def read_artifact(folder: Path) -> tuple[ArtifactManifest, str]:
    """Return the manifest in `folder` and its digest, after comparing the digest of every file.

    Raises ArtifactError.
    """
    path = folder / MANIFEST_NAME
    try:
        raw = path.read_bytes()
        manifest = ArtifactManifest.model_validate_json(raw)
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}): name the folder of an artifact"
        raise ArtifactError(msg) from error
    except ValueError as error:
        msg = (
            f"{path} is not a manifest ({' '.join(str(error).split())[:200]}): export the model "
            "again"
        )
        raise ArtifactError(msg) from error
    if manifest.format == "files":
        msg = (
            f"{folder} holds files for another server, which nothing here loads, compares or "
            "registers: push them to a bucket, a web server or an OCI registry"
        )
        raise ArtifactError(msg)
    for file in manifest.files:
        _check(folder / file.path, file.sha256)
    return manifest, manifest_digest(raw)


def load_model(folder: Path) -> tuple[Any, ArtifactManifest]:
    """Return the fitted model in `folder`, and its manifest. Raises ArtifactError."""
    manifest, _ = read_artifact(folder)
    path, form = folder / manifest.model_file, manifest.format
    if form not in _LOADERS and _PICKLE in {file.path for file in manifest.files}:
        path, form = folder / _PICKLE, "joblib"
    try:
        return _LOADERS[form](path), manifest
    except Exception as error:
        msg = (
            f"{path} cannot be loaded ({type(error).__name__}: {error}): it needs "
            f"{_needs(manifest)}"
        )
        raise ArtifactError(msg) from error


def read_training(folder: Path) -> dict[str, Any]:
    """Return what training.json says of how an artifact came to be; nothing without the file."""
    path = folder / TRAINING_NAME
    try:
        return dict(json.loads(path.read_bytes())) if path.exists() else {}
    except (OSError, ValueError, TypeError) as error:
        msg = f"{path} cannot be read ({error}): export the model again"
        raise ArtifactError(msg) from error


def _load_skops(path: Path) -> Any:
    """Build what skops trusts, types of scikit-learn, and number types; skops refuses any other."""
    untrusted = skops.io.get_untrusted_types(file=path)
    trusted = [name for name in untrusted if name.startswith("sklearn.") or name == "numpy.dtype"]
    return skops.io.load(path, trusted=trusted)


_PICKLE: Final = "model.joblib"
"""Beside a file of XGBoost, LightGBM or CatBoost, the whole estimator."""
_LOADERS: Final[dict[Format, Callable[[Path], Any]]] = {"joblib": joblib.load, "skops": _load_skops}


def _check(path: Path, sha256: str) -> None:
    try:
        actual = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        msg = (
            f"{path} cannot be read ({error.strerror}), but the manifest names it: export the "
            "model again"
        )
        raise ArtifactError(msg) from error
    if actual != sha256:
        msg = (
            f"{path} has sha256 {actual}, but the manifest says {sha256}: it was changed after it "
            "was exported"
        )
        raise ArtifactError(msg)


def _needs(manifest: ArtifactManifest) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(manifest.libraries.items()))
