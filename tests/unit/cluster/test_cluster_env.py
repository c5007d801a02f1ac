"""A shell, and a command, find the cluster and its programs."""

import os
import subprocess
from pathlib import Path

import pytest

from cluster import addons, toolchain
from cluster.__main__ import main
from cluster.state import State


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cluster that is up, as far as files tell, with programs of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("MODELRELEASE_CLUSTER_PROVIDER", "native")
    monkeypatch.delenv("MODELRELEASE_CONTEXT", raising=False)
    state = State("dev")
    state.create()
    state.kubeconfig.write_text("kind: Config\n")
    folder = tmp_path / "own programs"
    folder.mkdir()
    for name in ("kubectl", "helm"):
        (folder / name).write_text(f"#!/bin/sh\necho ours {name} $KUBECONFIG\n")
        (folder / name).chmod(0o755)
    monkeypatch.setattr(toolchain, "kubectl", lambda: [str(folder / "kubectl")])
    monkeypatch.setattr(toolchain, "helm", lambda: str(folder / "helm"))
    return state.kubeconfig


def test_a_shell_that_reads_it_has_the_cluster_and_its_programs(
    programs: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["env"]) == 0
    exports = capsys.readouterr().out
    command = f"{exports}\nkubectl; helm; command -v true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    ours = [f"ours kubectl {programs}", f"ours helm {programs}"]
    assert done.stdout.splitlines() == [*ours, "true"]


def test_a_command_that_is_run_finds_them_too(programs: Path, capfd: pytest.CaptureFixture[str]):
    assert main(["run", "--", "kubectl"]) == 0
    assert capfd.readouterr().out == f"ours kubectl {programs}\n"


def test_path_does_not_grow_when_a_shell_reads_it_again(
    programs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    main(["env"])
    exports = capsys.readouterr().out
    command = f'{exports}\nprintf %s "$PATH"'
    once = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    monkeypatch.setenv("PATH", once.stdout)
    main(["env"])
    assert capsys.readouterr().out == exports
    assert os.environ["PATH"] == once.stdout


def test_without_a_cluster_it_says_how_to_have_one(
    programs: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["env", "--name", "other"]) == 2
    assert "python -m cluster up --name other" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("there", "values"),
    [
        ("deployment.apps/prometheus\n", ["prometheus.url=http://prometheus.monitoring:9090"]),
        ("", []),
    ],
)
def test_the_operator_is_told_of_a_prometheus_that_is_there(there: str, values: list[str]):
    assert addons.prometheus_values(lambda *_, **__: there) == values
