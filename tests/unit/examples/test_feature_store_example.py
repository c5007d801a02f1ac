"""The manifest of the example with a feature store is one that the operator follows, and the field
that it needs is read by predictors that know nothing of it.
"""

from pathlib import Path
from typing import Any

import yaml

from modelrelease_contract.artifact import ArtifactManifest, Examples, Feature, ModelFile
from modelrelease_operator.api.spec import ReleaseSpec

ROOT = Path(__file__).parents[3]


def a_manifest(**parts: Any) -> ArtifactManifest:
    return ArtifactManifest(
        name="arrival",
        version="1",
        features=(Feature(name="speed"),),
        examples=Examples(rows=((1.0,),), predictions=(2.0,)),
        files=(ModelFile(path="model.joblib", sha256="0" * 64, size=1),),
        **parts,
    )


def test_the_release_holds_while_values_are_missing() -> None:
    release = yaml.safe_load((ROOT / "examples/feast/release.yaml").read_text())
    spec = ReleaseSpec.parse(release["spec"], strict=True)
    (gate,) = (gate for gate in spec.analysis.gates if gate.name == "features")
    assert gate.settings.kind == "counts"
    assert (gate.settings.compare_with_stable, gate.settings.max_percent) == (False, 2)  # type: ignore[attr-defined]


def test_a_feature_service_is_kept_in_the_manifest() -> None:
    raw = a_manifest(feature_service="arrival_v1").model_dump_json()
    assert ArtifactManifest.model_validate_json(raw).feature_service == "arrival_v1"


def test_without_one_an_older_predictor_finds_nothing_new() -> None:
    assert "feature_service" not in a_manifest().model_dump()
