"""A folder for a server that is not ours becomes an artifact, which is fetched and served by it."""

import json
from pathlib import Path

import pytest

from modelrelease_contract import ArtifactManifest, manifest_digest
from modelrelease_serving.errors import RefusedError
from modelrelease_serving.fetch import fetch
from modelrelease_serving.model import Model
from modelrelease_serving.settings import Settings
from modelrelease_training.__main__ import main


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder with two files in it, and a hidden one."""
    folder = tmp_path / "weights"
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "model.gguf").write_bytes(b"GGUF and many numbers")
    (folder / "tokenizer" / "words.json").write_text("{}")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "lock").touch()
    return folder


def packed(folder: Path, *more: str) -> int:
    return main(["pack", str(folder), "--name", "chat", "--version", "7", *more])


def manifest_of(folder: Path) -> ArtifactManifest:
    return ArtifactManifest.model_validate_json((folder / "manifest.json").read_bytes())


def test_a_folder_is_described_where_it_lies(weights: Path, capsys: pytest.CaptureFixture[str]):
    assert packed(weights, "--format", "json") == 0
    manifest = manifest_of(weights)
    assert (manifest.name, manifest.version, manifest.format) == ("chat", "7", "files")
    assert [file.path for file in manifest.files] == ["model.gguf", "tokenizer/words.json"]
    assert manifest.model_file == "model.gguf", "the largest"
    told = json.loads(capsys.readouterr().out)
    assert told["digest"] == manifest_digest((weights / "manifest.json").read_bytes())


def test_it_is_fetched_with_every_file_checked(weights: Path, tmp_path: Path):
    assert packed(weights) == 0
    settings = Settings(model_uri=weights.as_uri(), model_path=tmp_path / "pod", model_version="7")
    assert fetch(settings).format == "files"
    assert (tmp_path / "pod/tokenizer/words.json").read_text() == "{}"
    (weights / "model.gguf").write_bytes(b"GGUF and other numbers")
    other = Settings(model_uri=weights.as_uri(), model_path=tmp_path / "next", model_version="7")
    with pytest.raises(RefusedError, match=r"model\.gguf"):
        fetch(other)


def test_the_predictor_refuses_it_and_says_who_serves_it(weights: Path):
    assert packed(weights) == 0
    with pytest.raises(RefusedError, match=r"name that server in spec\.serving\.runtime"):
        Model.open(weights)


def test_what_nothing_here_can_load_is_not_registered(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert packed(weights) == 0
    mlflow = f"sqlite:///{tmp_path}/mlflow.db"
    assert main(["register", str(weights), "--mlflow", mlflow]) == 2
    assert "holds files for another server" in capsys.readouterr().err


def test_a_manifest_that_is_there_is_replaced_by_force_alone(
    weights: Path, capsys: pytest.CaptureFixture[str]
):
    assert packed(weights) == 0
    before = (weights / "manifest.json").read_bytes()
    (weights / "more.bin").write_bytes(b"more")
    assert packed(weights) == 2
    assert "give --force to write it anew" in capsys.readouterr().err
    assert (weights / "manifest.json").read_bytes() == before
    assert packed(weights, "--force") == 0
    assert len(manifest_of(weights).files) == 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _: None, "is no folder"),
        (lambda folder: folder.mkdir(), "holds no files"),
    ],
    ids=["no folder", "an empty folder"],
)
def test_what_holds_nothing_is_refused(
    make, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    make(tmp_path / "any")
    assert packed(tmp_path / "any") == 2
    assert words in capsys.readouterr().err
