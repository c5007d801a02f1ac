"""The training command, as a user calls it."""

import json
from pathlib import Path

import pytest

from modelrelease_contract import MANIFEST_NAME, ArtifactManifest, manifest_digest
from modelrelease_training.__main__ import EXIT_USAGE, main
from tests.support import training


def train(output: Path, *arguments: str) -> int:
    return training.train(output, *training.ROWS, *arguments)


def digest(output: Path, version: str) -> str:
    return manifest_digest((output / "qna" / version / MANIFEST_NAME).read_bytes())


def test_it_prints_folder_digest_and_metrics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, "--version", "1") == 0
    printed = capsys.readouterr().out
    assert str(tmp_path / "qna" / "1") in printed
    assert digest(tmp_path, "1") in printed
    for metric in ("accuracy", "log_loss", "roc_auc"):
        assert metric in printed


def test_its_json_answer_is_what_a_script_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, "--version", "1", "--format", "json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["digest"] == digest(tmp_path, "1")
    assert (answer["name"], answer["version"]) == ("qna", "1")
    assert answer["metrics"]["roc_auc"] > 0.8


def test_the_same_seed_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    assert train(tmp_path / "here", "--version", "1") == 0
    there = training.train_apart(tmp_path / "there", *training.VERSION, *training.ROWS)
    there.check_returncode()
    for name in (MANIFEST_NAME, "model.joblib"):
        copies = [tmp_path / output / "qna" / "1" / name for output in ("here", "there")]
        assert copies[0].read_bytes() == copies[1].read_bytes()


@pytest.mark.parametrize(
    "change", [["--seed", "8"], ["--regularization", "0.1"], ["--created", "2026-01-01T00:00:00Z"]]
)
def test_any_change_gives_another_digest(change: list[str], tmp_path: Path) -> None:
    train(tmp_path / "a", "--version", "1")
    train(tmp_path / "b", "--version", "1", *change)
    assert digest(tmp_path / "a", "1") != digest(tmp_path / "b", "1")


def test_a_version_is_never_overwritten_unless_forced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, "--version", "1")
    first = digest(tmp_path, "1")
    assert train(tmp_path, "--version", "1", "--seed", "8") == EXIT_USAGE
    assert digest(tmp_path, "1") == first
    sentence = capsys.readouterr().err
    assert "a released version never changes" in sentence
    assert "--force" in sentence
    assert train(tmp_path, "--version", "1", "--seed", "8", "--force") == 0
    assert digest(tmp_path, "1") != first
    assert [path.name for path in (tmp_path / "qna").iterdir()] == ["1"]


def test_an_output_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert train(tmp_path / "file", "--version", "1") == EXIT_USAGE
    sentence = capsys.readouterr().err
    assert sentence.count("\n") == 1
    assert f"cannot write to {tmp_path / 'file'}" in sentence


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--version", "a/b"], "got 'a/b'", id="a version that is no label"),
        pytest.param(["--version", ".."], "got '..'", id="a version that climbs"),
        pytest.param(["--version", "1\n"], "letters, digits", id="a version with a line break"),
        pytest.param(["--version", "1", "--name", ""], "got ''", id="an empty name"),
        pytest.param(["--version", "1", "--seed", "-1"], "got '-1'", id="a seed below zero"),
        pytest.param(["--version", "1", "--rows", "5"], "at least 200", id="too few rows"),
        pytest.param(["--version", "1", "--rows", "many"], "'many'", id="rows that are no number"),
        pytest.param(
            ["--version", "1", "--regularization", "0"], "above 0", id="no regularization"
        ),
        pytest.param(
            ["--version", "1", "--regularization", "nan"], "above 0", id="NaN as regularization"
        ),
        pytest.param([], "--version", id="no version"),
        pytest.param(["--version", "1", "--colour"], "--colour", id="an unknown option"),
    ],
)
def test_a_bad_argument_is_one_sentence_and_exit_code_2(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: int | str | None = train(tmp_path, *arguments)
    except SystemExit as left:
        code = left.code
    assert code == EXIT_USAGE
    sentence = capsys.readouterr().err
    assert words in sentence
    assert sentence.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert "modelrelease-train train --version 2 --seed 8" in capsys.readouterr().out


def test_the_manifest_is_complete(tmp_path: Path) -> None:
    train(tmp_path, "--version", "1")
    folder = tmp_path / "qna" / "1"
    manifest = ArtifactManifest.model_validate_json((folder / MANIFEST_NAME).read_bytes())
    assert [feature.name for feature in manifest.features][::15] == ["feature_00", "feature_15"]
    assert set(manifest.libraries) == {"joblib", "numpy", "python", "scikit-learn"}
    assert len(manifest.examples.rows) == 8
    assert manifest.baseline is not None
    assert manifest.baseline.rows == 80
    for histogram in manifest.baseline.features.values():
        assert len(histogram.edges) == 9
        assert sum(histogram.counts) == 80
    assert manifest.baseline.prediction is not None
    assert sum(manifest.baseline.prediction.counts) == 80
    assert oct((folder).stat().st_mode & 0o777) == "0o755", "a pod with another user id reads it"
