"""Finds out what an artifact is that only a pod can read: its version, and the digest that pins it.

The operator runs this in a Job of the release, with the release's own credentials, and reads the
answer from the termination log. Of an artifact with a manifest only that is fetched; a folder that
MLflow wrote has none, so its files are counted.
"""

import sys

from modelrelease_contract import ArtifactIdentity
from modelrelease_serving.artifact import read_manifest
from modelrelease_serving.fetch import Patience, fetch
from modelrelease_serving.settings import Settings


def describe(settings: Settings, *, patience: Patience | None = None) -> ArtifactIdentity:
    """Return what is at MODEL_URI. MODEL_VERSION names what has no version of its own.

    Raises as `fetch` does.
    """
    # The manifest alone, whoever calls: the model is of no interest here.
    settings = settings.model_copy(update={"manifest_only": True})
    fetch(settings, patience=patience)
    manifest, digest = read_manifest(
        settings.model_path, sha256=settings.model_sha256, version=settings.model_version
    )
    return ArtifactIdentity(version=manifest.version, sha256=digest)


def run(settings: Settings) -> None:
    """Write down what is found, where the operator reads it, and to standard output."""
    answer = describe(settings).model_dump_json() + "\n"
    sys.stdout.write(answer)
    # The kubelet makes this file; outside a container there is none.
    if settings.termination_log.exists():
        settings.termination_log.write_text(answer, encoding="utf-8")
