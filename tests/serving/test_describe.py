"""What an artifact is that only a pod can read: found out by a process, as a Job runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

from modelrelease_contract import ArtifactIdentity
from modelrelease_contract.runtime import EXIT_REFUSED
from modelrelease_serving.describe import describe
from modelrelease_serving.errors import RefusedError
from modelrelease_serving.fetch import Patience
from modelrelease_training.export import Exported
from tests.serving.support import Web, settings
from tests.serving.test_mlflow import TABLE, digest_of, of_table, publish, save

SOON = Patience(1, first_pause=0.01, longest_pause=0.02)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mlflow") / "plain"
    return save(folder, of_table(), serialization_format="skops", input_example=TABLE[:4])


def test_of_an_artifact_with_a_manifest_only_that_is_read(
    web: Web, artifact: Exported, tmp_path: Path
) -> None:
    web.publish(artifact.path)
    found = describe(settings(model_uri=web.url, model_path=tmp_path), patience=SOON)
    assert found == ArtifactIdentity(version="1", sha256=artifact.digest)
    assert web.asked == ["/qna/manifest.json"]


def test_a_folder_that_mlflow_wrote_has_the_digest_that_its_pods_want(
    web: Web, plain: Path, tmp_path: Path
) -> None:
    publish(web, plain)
    asked = settings(model_uri=web.url, model_path=tmp_path, model_version="7")
    found = describe(asked, patience=SOON)
    assert found == ArtifactIdentity(version="7", sha256=digest_of(plain))


def test_a_folder_without_either_is_refused(web: Web, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="404"):
        describe(settings(model_uri=web.url, model_path=tmp_path), patience=SOON)


def ran(tmp_path: Path, uri: str) -> tuple[int, str, str]:
    log = tmp_path / "log"
    log.touch()
    environment = {
        "MODEL_URI": uri,
        "MODEL_PATH": str(tmp_path / "models"),
        "TERMINATION_LOG": str(log),
        "PYTHONPATH": ":".join(sys.path),
    }
    command = [sys.executable, "-m", "modelrelease_serving", "describe"]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    return done.returncode, log.read_text(), done.stdout.decode()


def test_the_process_leaves_its_answer_in_the_termination_log(
    artifact: Exported, tmp_path: Path
) -> None:
    code, said, printed = ran(tmp_path, f"file://{artifact.path}")
    assert code == 0
    assert ArtifactIdentity.model_validate_json(said).sha256 == artifact.digest
    assert said in printed


def test_the_process_says_why_it_refuses(tmp_path: Path) -> None:
    code, said, _ = ran(tmp_path, f"file://{tmp_path}")
    assert code == EXIT_REFUSED
    assert "does not exist" in said
