"""A release by commit: one place of one file changes, in a real repository,
and nobody's push is lost.
"""

import subprocess
from pathlib import Path

import pytest
import yaml

from modelrelease_training import gitops
from modelrelease_training.gitops import GitOpsError, Location, Model, commit, edited

NEW = Model(uri="https://models.example/qna/2", version="2", sha256="b" * 64)
BLOCK = """\
# who to call: the model team
apiVersion: modelrelease.dev/v1alpha1
kind: ModelRelease
metadata:
  name: qna
spec:
  model:
    uri: https://models.example/qna/1  # the first
    version: "1"
    sha256: aaaa

  # three are enough
  serving: {replicas: 3}
"""
FLOW = (
    "kind: ModelRelease\nmetadata: {name: spam}\nspec: {model: {uri: 'models:/spam/1'}, paused: "
    "true}\n"
)


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@localhost", "-c", "init.defaultBranch=main")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    bare, work = tmp_path / "origin.git", tmp_path / "work"
    git(tmp_path, "init", "--bare", str(bare))
    git(tmp_path, "clone", str(bare), str(work))
    (work / "release.yaml").write_text(BLOCK)
    git(work, "add", ".")
    git(work, "commit", "-m", "first")
    git(work, "push", "origin", "HEAD:main")
    return bare


def content(origin: Path, file: str = "release.yaml") -> str:
    return git(origin, "show", f"main:{file}")


@pytest.mark.parametrize("text", [BLOCK, FLOW])
def test_only_the_model_changes(text: str):
    before, after = yaml.safe_load(text), yaml.safe_load(edited(text, NEW))
    assert after["spec"].pop("model") == {"uri": NEW.uri, "version": "2", "sha256": "b" * 64}
    before["spec"].pop("model")
    assert after == before


def test_comments_and_blank_lines_stay():
    after = edited(BLOCK, NEW)
    assert "# who to call" in after
    assert "\n\n  # three are enough\n" in after


def test_a_registry_version_needs_no_digest_beside_it():
    after = edited(BLOCK, Model(uri="models:/qna/7"))
    assert yaml.safe_load(after)["spec"]["model"] == {"uri": "models:/qna/7"}


def test_the_named_release_of_several_is_changed():
    after = list(yaml.safe_load_all(edited(f"{BLOCK}---\n{FLOW}", NEW, name="spam")))
    assert after[0]["spec"]["model"]["version"] == "1"
    assert after[1]["spec"]["model"]["version"] == "2"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (f"{BLOCK}---\n{FLOW}", "found 2"),
        ("kind: Deployment\n", "found 0"),
        ("", "found 0"),
        ("kind: ModelRelease\nspec: {paused: true}\n", "no spec.model"),
        ("kind: [", "not YAML"),
    ],
)
def test_a_file_without_one_such_release_is_refused(text: str, word: str):
    with pytest.raises(GitOpsError, match=word):
        edited(text, NEW)


def test_a_release_is_committed_and_pushed(origin: Path):
    made = commit(
        Location(repository=str(origin), file="release.yaml"), NEW, message="Release qna 2"
    )
    assert git(origin, "rev-parse", "main").strip() == made
    assert yaml.safe_load(content(origin))["spec"]["model"]["version"] == "2"
    assert "Release qna 2" in git(origin, "log", "-1", "main")


def test_a_release_that_is_there_already_makes_no_commit(origin: Path):
    location = Location(repository=str(origin), file="release.yaml")
    commit(location, NEW, message="Release qna 2")
    assert commit(location, NEW, message="Release qna 2") is None
    assert git(origin, "rev-list", "--count", "main").strip() == "2"


def test_a_push_that_comes_second_keeps_what_came_first(origin: Path, tmp_path: Path, monkeypatch):
    real = gitops._git
    pushes: list[int] = []

    def somebody_is_faster(folder: Path, location: Location, *arguments: str) -> str:
        if arguments[0] == "push" and not pushes:
            pushes.append(1)
            (tmp_path / "work" / "other.txt").write_text("theirs")
            git(tmp_path / "work", "add", ".")
            git(tmp_path / "work", "commit", "-m", "theirs")
            git(tmp_path / "work", "push", "origin", "HEAD:main")
        return real(folder, location, *arguments)

    monkeypatch.setattr(gitops, "_git", somebody_is_faster)
    commit(Location(repository=str(origin), file="release.yaml"), NEW, message="Release qna 2")
    assert content(origin, "other.txt") == "theirs"
    assert yaml.safe_load(content(origin))["spec"]["model"]["version"] == "2"


def test_a_repository_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(GitOpsError, match=r"nowhere\.git: git clone failed"):
        commit(
            Location(repository=str(tmp_path / "nowhere.git"), file="release.yaml"),
            NEW,
            message="x",
        )


@pytest.mark.parametrize("file", ["missing.yaml", "../work/release.yaml"])
def test_a_file_that_is_not_in_the_repository_is_named(origin: Path, file: str):
    with pytest.raises(GitOpsError, match="there is no file"):
        commit(Location(repository=str(origin), file=file), NEW, message="x")
