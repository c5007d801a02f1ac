"""Weights & Biases gets what a training says, on disk without a key; its failures fail nothing."""

import os
import subprocess
from pathlib import Path

import pytest

from modelrelease_training.wandb_runs import project_of
from tests.support.training import ROWS, VERSION, train_apart


def train(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Train in a process of its own: wandb starts one beside it, and stops it at its end."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    env = {**clean, "WANDB_DIR": str(folder), "WANDB_ERROR_REPORTING": "false", **environment}
    options = (*VERSION, *ROWS, *arguments)
    return train_apart(folder / "artifacts", *options, environment=env, cwd=folder)


def records(folder: Path) -> bytes:
    """Return what an offline run holds: wandb's log, whose texts are readable in it."""
    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    return file.read_bytes()


@pytest.mark.parametrize("flag", ["--wandb-project", "--wandb_project"])
def test_an_offline_run_holds_steps_figures_recipe_and_digest(flag: str, tmp_path: Path) -> None:
    process = train(tmp_path, flag, "mine", "--max-steps", "40", WANDB_MODE="offline")
    assert process.returncode == 0, process.stderr
    assert "Weights & Biases" not in process.stderr
    assert process.stdout.startswith("Trained qna version 1")
    digest = process.stdout.split("digest")[1].split()[0]
    run = records(tmp_path)
    for word in ("mine", "training/log_loss", "roc_auc", "max_steps", digest):
        assert word.encode() in run, word


def test_without_a_key_the_run_is_kept_on_disk_by_itself(tmp_path: Path) -> None:
    process = train(tmp_path, "--wandb-project", "mine", "-o", "json")
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith('{"name": "qna"')
    assert b"accuracy" in records(tmp_path)


def test_a_key_that_is_refused_is_one_line_and_fails_nothing(tmp_path: Path) -> None:
    process = train(tmp_path, WANDB_API_KEY="not a key")
    assert process.returncode == 0, process.stderr
    assert "modelrelease-train: not all was sent to Weights & Biases (" in process.stderr
    assert (tmp_path / "artifacts" / "qna" / "1" / "manifest.json").exists()


def test_a_folder_that_cannot_be_written_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    process = train(tmp_path, "--wandb-project", "mine", WANDB_DIR=str(tmp_path / "file"))
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "artifacts" / "qna" / "1" / "manifest.json").exists()


def test_where_it_is_not_installed_one_line_says_how_to(tmp_path: Path) -> None:
    (tmp_path / "wandb.py").write_text("raise ImportError('No module named wandb')")
    process = train(tmp_path, "--wandb-project", "mine", PYTHONPATH=str(tmp_path))
    assert process.returncode == 0, process.stderr
    assert "pip install 'modelrelease[wandb]'" in process.stderr


def test_nothing_is_logged_unless_somebody_asked(tmp_path: Path) -> None:
    assert train(tmp_path).returncode == 0
    assert not (tmp_path / "wandb").exists()


@pytest.mark.parametrize(
    ("named", "environment", "project"),
    [
        (None, {}, None),
        ("mine", {}, "mine"),
        (None, {"WANDB_API_KEY": "k"}, "modelrelease"),
        (None, {"WANDB_API_KEY": "k", "WANDB_PROJECT": "theirs"}, "theirs"),
        ("mine", {"WANDB_API_KEY": "k", "WANDB_PROJECT": "theirs"}, "mine"),
        (None, {"WANDB_PROJECT": "theirs"}, None),
    ],
)
def test_a_name_or_a_key_turns_it_on(
    named: str | None,
    environment: dict[str, str],
    project: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert project_of(named) == project
