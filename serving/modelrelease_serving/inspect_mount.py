"""Checks an artifact that a node mounted: the init container's work where nothing is fetched.

The node checked the image's layers, not that they hold the artifact which the release pinned. And
a server that is not ours would start on an empty folder.
"""

import logging

from modelrelease_serving.artifact import check_file, read_manifest
from modelrelease_serving.logs import fields
from modelrelease_serving.settings import Settings

_LOG = logging.getLogger(__name__)


def inspect(settings: Settings) -> None:
    """Check every file of the artifact in MODEL_PATH against the pinned digest.

    Raises RefusedError for what is not that artifact.
    """
    manifest, _ = read_manifest(
        settings.model_path, sha256=settings.model_sha256, version=settings.model_version
    )
    for file in manifest.files:
        check_file(settings.model_path, file)
    _LOG.info("as pinned", extra=fields(model=manifest.name, version=manifest.version))
