"""What training, serving and the operator agree on.

Training writes an artifact and its manifest, serving loads it and counts what
it does, the operator reads those counts. Everything that two of the three must
spell alike stands here and nowhere else. Imports pydantic only.
"""

from modelrelease_contract.artifact import (
    MANIFEST_NAME,
    ArtifactIdentity,
    ArtifactManifest,
    Baseline,
    Examples,
    Feature,
    Histogram,
    ModelFile,
    Output,
    manifest_digest,
)
from modelrelease_contract.mlflow import MLMODEL_NAME, listing_digest, mlflow_manifest, named_files

__all__ = [
    "MANIFEST_NAME",
    "MLMODEL_NAME",
    "ArtifactIdentity",
    "ArtifactManifest",
    "Baseline",
    "Examples",
    "Feature",
    "Histogram",
    "ModelFile",
    "Output",
    "listing_digest",
    "manifest_digest",
    "mlflow_manifest",
    "named_files",
]
