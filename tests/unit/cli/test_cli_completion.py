"""What a shell completes with the script of `modelrelease completion`.

bash is asked for real, with a kubectl of two lines in place of the real one.
"""

import os
import subprocess
from pathlib import Path

import pytest

from modelrelease_operator.cli import main

KUBECTL = """\
#!/bin/sh
echo modelrelease.modelrelease.dev/qna
echo modelrelease.modelrelease.dev/ranker
"""
ASK = """\
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
$(complete -p modelrelease | sed 's/.*-F \\([^ ]*\\).*/\\1/')
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def completed(path: Path, *words: str) -> list[str]:
    """Return what bash offers for the last word."""
    environment = {**os.environ, "PATH": f"{path.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", ASK, "bash", str(path), *words],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()


@pytest.fixture
def bash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)
    path = tmp_path / "completion.bash"
    path.write_text(script("bash", capsys))
    return path


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["doc"], ["doctor"]),
        (["doctor", "-o", ""], ["text", "json", "yaml"]),
        (["why", ""], ["qna", "ranker"]),
        (["approve", "q"], ["qna"]),
        (["history", "qna", "--con"], ["--context"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
    ],
)
def test_bash_completes_commands_options_their_values_and_releases(
    bash: Path, words: list[str], offered: list[str]
):
    assert completed(bash, "modelrelease", *words) == offered


def test_bash_completes_files_of_manifests(bash: Path):
    manifest = bash.parent / "release.yaml"
    manifest.touch()
    assert completed(bash, "modelrelease", "validate", f"{bash.parent}/rel") == [str(manifest)]


def test_without_a_cluster_no_release_is_offered(bash: Path):
    (bash.parent / "kubectl").write_text("#!/bin/sh\necho no cluster >&2\nexit 1\n")
    assert completed(bash, "modelrelease", "why", "") == []


@pytest.mark.parametrize(
    ("shell", "begins"), [("zsh", "#compdef modelrelease"), ("fish", "complete -c modelrelease")]
)
def test_scripts_for_other_shells_are_theirs_and_know_the_releases(
    shell: str, begins: str, capsys: pytest.CaptureFixture[str]
):
    text = script(shell, capsys)
    assert begins in text
    assert "kubectl get modelreleases -o name" in text
