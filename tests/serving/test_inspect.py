"""An artifact that a node mounted: checked whole before any server starts, and never written to."""

import shutil
from pathlib import Path

import pytest

from modelrelease_contract.runtime import EXIT_REFUSED
from modelrelease_serving.__main__ import main
from modelrelease_serving.errors import RefusedError
from modelrelease_serving.inspect_mount import inspect
from modelrelease_training.export import Exported
from tests.serving.support import settings


@pytest.fixture
def mount(artifact: Exported, tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    shutil.copytree(artifact.path, folder)
    return folder


def test_the_pinned_artifact_is_as_it_should_be(mount: Path, artifact: Exported) -> None:
    before = sorted(path.name for path in mount.iterdir())
    inspect(settings(model_path=mount, model_sha256=artifact.digest))
    assert sorted(path.name for path in mount.iterdir()) == before


def test_another_artifact_than_the_pinned_one_is_refused(mount: Path) -> None:
    with pytest.raises(RefusedError, match=r"but the release pins 0{64}"):
        inspect(settings(model_path=mount, model_sha256="0" * 64))


def test_a_file_that_the_manifest_does_not_know_so_is_refused(
    mount: Path, artifact: Exported
) -> None:
    (mount / "model.joblib").write_bytes(b"other")
    with pytest.raises(RefusedError, match=r"model\.joblib has sha256 .* but the manifest says"):
        inspect(settings(model_path=mount, model_sha256=artifact.digest))


def test_a_node_that_mounted_nothing_lets_no_server_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    log.touch()
    empty = tmp_path / "models"
    empty.mkdir()
    monkeypatch.setenv("MODEL_PATH", str(empty))
    monkeypatch.setenv("TERMINATION_LOG", str(log))
    assert main(["inspect"]) == EXIT_REFUSED
    assert "manifest.json cannot be read (No such file or directory)" in log.read_text()
