"""The model card says what a person should know, repeats to the byte, and changes no digest."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modelrelease_contract import MANIFEST_NAME, ArtifactManifest, manifest_digest
from modelrelease_training.__main__ import main
from modelrelease_training.card import calibration
from modelrelease_training.ingest import generate, write_table

CARD = ["calibration.png", "drift-bins.png", "importance.png", "model-card.md"]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "table.parquet"
    return write_table(generate(rows=1500, seed=7, shifts={}), path).path


@pytest.fixture(scope="module")
def artifact(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("artifacts")
    assert main(["train", "--version", "1", "--data", str(table), "--output", str(output)]) == 0
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
    command = [
        sys.executable,
        "-m",
        "modelrelease_training",
        "train",
        "--version",
        "1",
        "--data",
        str(table),
    ]
    subprocess.run([*command, "--output", str(tmp_path)], check=True, capture_output=True)
    for name in CARD:
        assert (tmp_path / "qna" / "1" / "card" / name).read_bytes() == (
            artifact / "card" / name
        ).read_bytes()


def test_the_card_is_no_part_of_the_digest(artifact: Path, table: Path, tmp_path: Path) -> None:
    arguments = [
        "train",
        "--version",
        "1",
        "--data",
        str(table),
        "--output",
        str(tmp_path),
        "--no-card",
    ]
    assert main(arguments) == 0
    bare = tmp_path / "qna" / "1"
    assert (bare / MANIFEST_NAME).read_bytes() == (artifact / MANIFEST_NAME).read_bytes()
    assert not (bare / "card").exists()


def test_true_probabilities_are_calibrated_and_shifted_ones_are_not() -> None:
    draw = np.random.default_rng(0)
    answers = draw.random(20_000)
    labels = (draw.random(20_000) < answers).astype(np.int64)
    right = calibration(labels, answers)
    assert right.error < 0.02
    assert ((right.low <= right.predicted) & (right.predicted <= right.high)).sum() >= 8
    assert right.rows.sum() == 20_000
    assert calibration(labels, np.clip(answers + 0.2, 0, 1)).error == pytest.approx(0.18, abs=0.02)


def test_a_model_that_always_answers_the_same_has_one_bin() -> None:
    found = calibration(np.array([0, 1, 1, 1]), np.full(4, 0.5))
    assert found.seen.tolist() == [0.75]
    assert found.error == pytest.approx(0.25)
    assert 0 < found.low[0] < 0.75 < found.high[0] < 1
