"""What training, serving and the operator agree on.

Training writes an artifact and its manifest, serving loads it and counts what
it does, the operator reads those counts. Everything that two of the three must
spell alike stands here and nowhere else. Imports pydantic only.
"""

from modelrelease_contract.artifact import (
    MANIFEST_NAME,
    ArtifactManifest,
    Baseline,
    Examples,
    Feature,
    Histogram,
    ModelFile,
    Output,
    manifest_digest,
)

__all__ = [
    "MANIFEST_NAME",
    "ArtifactManifest",
    "Baseline",
    "Examples",
    "Feature",
    "Histogram",
    "ModelFile",
    "Output",
    "manifest_digest",
]
