"""An artifact is checked as a pod would load it, by the command that export uses."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelrelease_contract.runtime import EXIT_REFUSED
from modelrelease_serving.check import check
from modelrelease_serving.errors import RefusedError
from modelrelease_serving.settings import Settings
from modelrelease_training.export import Exported


def settings_for(artifact: Exported, **changes: str) -> Settings:
    return Settings(
        model_path=artifact.path,
        model_sha256=changes.get("sha256", artifact.digest),
    )


def a_request(artifact: Exported) -> bytes:
    rows = artifact.manifest.examples.rows
    return json.dumps({"features": [list(row) for row in rows]}).encode()


def test_it_answers_requests_as_a_pod_would(artifact: Exported) -> None:
    said = check(settings_for(artifact), [a_request(artifact), a_request(artifact)])
    recorded = list(artifact.manifest.examples.predictions)
    assert said["answers"] == pytest.approx(recorded * 2)
    assert said["sha256"] == artifact.digest
    assert said["examples"] == len(recorded)


def test_it_loads_without_any_request(artifact: Exported) -> None:
    assert check(settings_for(artifact), [])["answers"] == []


def test_it_refuses_what_a_pod_would_refuse(artifact: Exported) -> None:
    with pytest.raises(RefusedError, match="the release pins"):
        check(settings_for(artifact, sha256="0" * 64), [])


def test_it_names_the_request_that_is_not_answered(artifact: Exported) -> None:
    bodies = [a_request(artifact), b'{"features": ["no number"]}']
    with pytest.raises(RefusedError, match=r"^request 2 is not answered: "):
        check(settings_for(artifact), bodies)


@pytest.mark.parametrize(("sha256", "code"), [(None, 0), ("0" * 64, EXIT_REFUSED)])
def test_the_command_reads_a_request_a_line_and_tells_by_its_exit_code(
    artifact: Exported, sha256: str | None, code: int, tmp_path: Path
) -> None:
    settings = {
        "MODEL_PATH": str(artifact.path),
        "MODEL_SHA256": sha256 or artifact.digest,
        "TERMINATION_LOG": str(tmp_path / "none"),
    }
    ended = subprocess.run(
        [sys.executable, "-m", "modelrelease_serving", "check"],
        input=a_request(artifact) + b"\n\n",
        capture_output=True,
        env={**os.environ, **settings},
        check=False,
        timeout=120,
    )
    assert ended.returncode == code, ended.stderr.decode()
    if code:
        assert "the release pins" in json.loads(io.BytesIO(ended.stderr).readlines()[-1])["message"]
    else:
        answers = json.loads(ended.stdout)["answers"]
        assert len(answers) == len(artifact.manifest.examples.rows)


def test_a_closed_standard_input_holds_no_requests(artifact: Exported, tmp_path: Path) -> None:
    settings = {"MODEL_PATH": str(artifact.path), "MODEL_SHA256": artifact.digest}
    ended = subprocess.run(
        ["sh", "-c", 'exec "$0" -m modelrelease_serving check <&-', sys.executable],
        capture_output=True,
        env={**os.environ, **settings, "TERMINATION_LOG": str(tmp_path / "none")},
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr.decode()
    assert json.loads(ended.stdout)["answers"] == []
