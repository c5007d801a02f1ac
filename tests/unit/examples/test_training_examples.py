"""The examples that train make artifacts that a predictor serves; `export` has tried each in a
process of its own.
"""

from pathlib import Path

from examples.tabular import train as tabular
from examples.text import train as text
from examples.text.tickets import ASKED
from modelrelease_contract import MANIFEST_NAME, ArtifactManifest


def manifest(folder: Path) -> ArtifactManifest:
    return ArtifactManifest.model_validate_json((folder / MANIFEST_NAME).read_bytes())


def test_a_table_with_categories_and_gaps_becomes_an_artifact(tmp_path: Path):
    assert tabular.main(["--version", "1", "--output", str(tmp_path), "--rows", "600"]) == 0
    found = manifest(tmp_path / "rents" / "1")
    kinds = {feature.name: (feature.kind, feature.nullable) for feature in found.features}
    assert kinds == {
        "square_metres": ("numeric", False),
        "rooms": ("numeric", False),
        "floors_without_lift": ("numeric", True),
        "district": ("categorical", False),
    }
    assert found.output.task == "regression"
    assert found.baseline, "drift is measured against the rows that were held out"


def test_texts_become_an_artifact_and_a_file_for_a_baseline(tmp_path: Path):
    assert text.main(["--version", "1", "--output", str(tmp_path)]) == 0
    found = manifest(tmp_path / "tickets" / "1")
    assert sorted(found.output.classes) == sorted(ASKED)
    assert len((tmp_path / "tickets.txt").read_text().splitlines()) == 600
