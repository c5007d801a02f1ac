"""Checks who signed an artifact that was fetched, before anything loads it.

A container of its own, of the operator's image and with nothing of the release's: neither its
variables nor its mounts can change what is checked here. So it counts every file again.
"""

import logging
import os
from typing import Final

from modelrelease_contract import MANIFEST_NAME
from modelrelease_contract.artifact import MANIFEST_BYTES_MAX
from modelrelease_contract.runtime import ENV_OPERATOR_KEYS, ENV_RELEASE_KEY, SIGNATURE_NAME
from modelrelease_serving.artifact import check_file, read_manifest, read_small_file
from modelrelease_serving.errors import RefusedError, UnreachableError
from modelrelease_serving.logs import fields
from modelrelease_serving.settings import Settings
from modelrelease_serving.signature import KeyFileError, PublicKey, SignatureError, SignedModel
from modelrelease_serving.signature import public_keys as keys_in

_LOG = logging.getLogger(__name__)
OF_RELEASE: Final = "spec.model.signature.key"
OF_OPERATOR: Final = "the operator's chart value signatures.publicKeys"


def verify(settings: Settings) -> None:
    """Check the artifact in MODEL_PATH against its signature and the keys that are wanted.

    Raises RefusedError when it is not signed so, UnreachableError when no key can be used.
    """
    _require_filled()
    asked = {OF_RELEASE: settings.release_key, OF_OPERATOR: settings.operator_keys}
    wanted = {whose: _keys(whose, text) for whose, text in asked.items() if text}
    if not wanted:
        msg = f"there is no key to check a signature with: set {OF_RELEASE}"
        raise UnreachableError(msg)
    artifact = f"the artifact at {settings.model_uri or settings.model_path}"
    signed = _signed(settings, artifact)
    for whose, keys in wanted.items():
        if not signed.is_by_one_of(keys):
            names = ", ".join(f"sha256:{key.fingerprint[:16]}…" for key in keys)
            msg = (
                f"{SIGNATURE_NAME} of {artifact} was not made with the key of {whose} ({names}): "
                "sign it with that key, or change the key"
            )
            raise RefusedError(msg)
    _check_files(settings, signed, artifact)
    _LOG.info("signed as wanted", extra=fields(keys=", ".join(wanted)))


def _require_filled() -> None:
    """Raise UnreachableError for a key that is wanted and empty: the settings take it for none, and
    the other key alone would do.
    """
    for whose, name in {OF_RELEASE: ENV_RELEASE_KEY, OF_OPERATOR: ENV_OPERATOR_KEYS}.items():
        if os.environ.get(name) == "":
            msg = f"{whose} holds no public key, for it is empty: give one in PEM"
            raise UnreachableError(msg)


def _keys(whose: str, text: str) -> tuple[PublicKey, ...]:
    try:
        return keys_in(text)
    except KeyFileError as error:
        msg = f"{whose} {error}"
        raise UnreachableError(msg) from error


def _signed(settings: Settings, artifact: str) -> SignedModel:
    path = settings.model_path / SIGNATURE_NAME
    try:
        raw = read_small_file(path, MANIFEST_BYTES_MAX)
    except FileNotFoundError as error:
        msg = (
            f"{artifact} is not signed: it has no {SIGNATURE_NAME}, and a signature is wanted. "
            "Sign its folder with `model_signing sign key`, and keep the file beside the others"
        )
        raise RefusedError(msg) from error
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror or error}): sign the model again"
        raise RefusedError(msg) from error
    try:
        return SignedModel.parse(raw)
    except SignatureError as error:
        msg = f"{SIGNATURE_NAME} of {artifact} {error}"
        raise RefusedError(msg) from error


def _check_files(settings: Settings, signed: SignedModel, artifact: str) -> None:
    """Raise RefusedError for a file that serves the model and is not as it was signed."""
    manifest, digest = read_manifest(
        settings.model_path, sha256=settings.model_sha256, version=settings.model_version
    )
    try:
        listed = signed.digests()
    except SignatureError as error:
        msg = f"{SIGNATURE_NAME} of {artifact} {error}"
        raise RefusedError(msg) from error
    found = {file.path: file.sha256 for file in manifest.files}
    if (settings.model_path / MANIFEST_NAME).exists():
        found[MANIFEST_NAME] = digest
    for path, sha256 in found.items():
        if listed.get(path) != sha256:
            says = f"says {listed[path]}" if path in listed else "does not list it"
            msg = (
                f"{path} of {artifact} has sha256 {sha256}, but {SIGNATURE_NAME} {says}: it was "
                "changed or added after the model was signed"
            )
            raise RefusedError(msg)
    for file in manifest.files:
        check_file(settings.model_path, file)
