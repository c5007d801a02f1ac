"""Programs of other people's Go modules: pinned to the byte, compiled once."""

import json
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from cluster import shell, toolchain
from cluster.errors import ClusterError
from cluster.toolchain import Upstream

SERVER = Upstream(
    module="example.com/server",
    version="v1.2.3",
    checksum="h1:abc=",
    package="./cmd/server",
    keep=("manifests/install.yaml", "charts"),
)


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A Go that knows one module and compiles it into a file; returns what it was asked."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sources = tmp_path / "sources"
    (sources / "manifests").mkdir(parents=True)
    (sources / "manifests/install.yaml").write_text("kind: Deployment")
    (sources / "charts").mkdir()
    (sources / "charts/Chart.yaml").write_text("name: server")
    asked: list[list[str]] = []

    def run(command, **_):
        asked.append([str(word) for word in command])
        answer = json.dumps({"Dir": str(sources), "Sum": "h1:abc="})
        return CompletedProcess(command, 0, answer, "")

    def stream(_title, command, _log, *, cwd, **_):
        asked.append([str(word) for word in command])
        assert cwd == sources
        Path(command[command.index("-o") + 1], "server").write_text("program")

    monkeypatch.setattr(shell, "run", run)
    monkeypatch.setattr(shell, "stream", stream)
    monkeypatch.setattr(toolchain, "_go", lambda: Path("go"))
    return asked


def test_what_was_pinned_is_compiled_once_and_what_its_installation_takes_is_kept(go):
    toolchain.compile_upstream(SERVER)
    toolchain.compile_upstream(SERVER)
    assert [command[1] for command in go] == ["mod", "build"]
    assert (SERVER.target / "server").read_text() == "program"
    assert (SERVER.target / "manifests/install.yaml").read_text() == "kind: Deployment"
    assert (SERVER.target / "charts/Chart.yaml").is_file()


def test_a_module_that_is_not_what_was_pinned_is_refused_and_leaves_nothing(go):
    other = replace(SERVER, checksum="h1:other=")
    with pytest.raises(ClusterError, match=r"has the checksum h1:abc=, and not h1:other="):
        toolchain.compile_upstream(other)
    assert not other.target.exists()


def test_every_pin_is_in_the_name_of_what_is_kept():
    others = [
        replace(SERVER, version="v1.2.4"),
        replace(SERVER, checksum="h1:other="),
        replace(SERVER, package="./cmd/client/server"),
        replace(SERVER, module="example.com/other"),
        replace(SERVER, keep=()),
    ]
    assert len({each.target for each in [SERVER, *others]}) == 6
