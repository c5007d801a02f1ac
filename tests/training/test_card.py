"""The model card says what a person should know, repeats to the byte, and changes no digest."""

from pathlib import Path

import numpy as np
import pytest

from modelrelease_contract import MANIFEST_NAME, ArtifactManifest, manifest_digest
from modelrelease_training.card import calibration
from modelrelease_training.ingest import generate, write_table
from tests.support.training import VERSION, train, train_apart

CARD = ["calibration.png", "drift-bins.png", "importance.png", "model-card.md"]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "table.parquet"
    return write_table(generate(rows=1500, seed=7, shifts={}), path).path


@pytest.fixture(scope="module")
def artifact(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("artifacts")
    assert train(output, *VERSION, "--data", table, card=True) == 0
    return output / "qna" / "1"


def test_the_card_has_a_text_and_three_plots(artifact: Path) -> None:
    assert sorted(path.name for path in (artifact / "card").iterdir()) == CARD
    for name in CARD[:3]:
        assert (artifact / "card" / name).read_bytes().startswith(PNG)


def test_the_text_names_the_digest_the_data_the_figures_and_the_plots(artifact: Path) -> None:
    text = (artifact / "card" / "model-card.md").read_text()
    raw = (artifact / MANIFEST_NAME).read_bytes()
    manifest = ArtifactManifest.model_validate_json(raw)
    assert manifest_digest(raw) in text
    assert "| data: fingerprint | `" in text
    assert f"| {manifest.metrics['roc_auc']:.4g} |" in text
    assert "| web |" in text
    for name in CARD[:3]:
        assert f"({name})" in text


def test_the_card_repeats_to_the_byte_in_another_process(
    artifact: Path, table: Path, tmp_path: Path
) -> None:
    train_apart(tmp_path, *VERSION, "--data", table, card=True).check_returncode()
    for name in CARD:
        assert (tmp_path / "qna" / "1" / "card" / name).read_bytes() == (
            artifact / "card" / name
        ).read_bytes()


def test_the_card_is_no_part_of_the_digest(artifact: Path, table: Path, tmp_path: Path) -> None:
    assert train(tmp_path, *VERSION, "--data", table) == 0
    bare = tmp_path / "qna" / "1"
    assert (bare / MANIFEST_NAME).read_bytes() == (artifact / MANIFEST_NAME).read_bytes()
    assert not (bare / "card").exists()


def test_true_probabilities_are_calibrated_and_shifted_ones_are_not() -> None:
    draw = np.random.default_rng(0)
    true = draw.random(20_000)
    labels = (draw.random(20_000) < true).astype(np.int64)
    calibrated = calibration(labels, true)
    assert calibrated.error < 0.02
    within = (calibrated.low <= calibrated.predicted) & (calibrated.predicted <= calibrated.high)
    assert within.sum() >= 8
    assert calibrated.rows.sum() == 20_000
    assert calibration(labels, np.clip(true + 0.2, 0, 1)).error == pytest.approx(0.18, abs=0.02)


def test_a_model_that_always_answers_the_same_has_one_bin() -> None:
    reliability = calibration(np.array([0, 1, 1, 1]), np.full(4, 0.5))
    assert reliability.observed.tolist() == [0.75]
    assert reliability.error == pytest.approx(0.25)
    assert 0 < reliability.low[0] < 0.75 < reliability.high[0] < 1
