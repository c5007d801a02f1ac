"""The example's repository of models in environments, on a real Git server: a retraining's commit
reaches staging, a promotion is proposed on a branch, a merge releases it, and a revert takes it
back.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples.gitops import promote
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_training.gitops import Location, Model, commit
from tests.support.git_server import git, git_server
from tests.test_repository import ROOT

EXAMPLE = ROOT / "examples/gitops"
ENVIRONMENTS = sorted(path.name for path in (EXAMPLE / "environments").iterdir())
MODELS = ["qna", "churn"]
NOTE = "# promoted by pull request"


def merged(base: Any, patch: Any) -> Any:
    """Return a custom resource after a patch, as kustomize merges one: lists are replaced."""
    if not isinstance(base, dict) or not isinstance(patch, dict):
        return patch
    return {**base, **{name: merged(base.get(name), value) for name, value in patch.items()}}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environments_releases_are_valid_and_each_names_one_version(environment: str):
    folder = EXAMPLE / "environments" / environment
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert kustomization["namespace"] == environment
    found = []
    for base, patch in zip(kustomization["resources"], kustomization["patches"], strict=True):
        (resource,) = yaml.safe_load((folder / base / "kustomization.yaml").read_text())[
            "resources"
        ]
        release = merged(
            yaml.safe_load((folder / base / resource).read_text()),
            yaml.safe_load((folder / patch["path"]).read_text()),
        )
        spec = ReleaseSpec.parse(release["spec"], strict=True)
        assert "@" not in spec.model.uri
        assert spec.model.uri.startswith(f"models:/{release['metadata']['name']}/")
        found.append(release["metadata"]["name"])
    assert found == MODELS


def test_what_an_autoscaler_sets_is_not_in_git():
    for environment in ENVIRONMENTS:
        text = (EXAMPLE / "environments" / environment / "qna.yaml").read_text()
        serving = yaml.safe_load(text)["spec"]["serving"]
        assert not {"replicas", "autoscaling"} <= set(serving)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A person's clone of the example's repository."""
    folder = tmp_path / "work"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    git(folder, "init")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first")
    git(folder, "branch", "-M", "main")
    return folder


@pytest.fixture
def repository(tmp_path: Path, folder: Path) -> Iterator[str]:
    """The address of that repository on a server."""
    bare = tmp_path / "served" / "models.git"
    git(tmp_path, "clone", "--bare", str(folder), str(bare))
    git(bare, "config", "http.receivepack", "true")
    with git_server(bare.parent) as address:
        git(folder, "remote", "add", "origin", f"{address}/models.git")
        yield f"{address}/models.git"


def text_of(folder: Path, environment: str, revision: str = "main") -> str:
    """Return an environment's file as the server has it."""
    git(folder, "fetch", "origin")
    return git(folder, "show", f"origin/{revision}:environments/{environment}/qna.yaml")


def model_of(folder: Path, environment: str, revision: str = "main") -> dict[str, str]:
    found: dict[str, str] = yaml.safe_load(text_of(folder, environment, revision))["spec"]["model"]
    return found


def retrained(repository: str, version: str) -> None:
    """Commit to staging as the retrain flow does once its challenger is accepted."""
    place = Location(repository=repository, file="environments/staging/qna.yaml")
    made = commit(place, Model(uri=f"models:/qna/{version}"), message=f"Release qna {version}")
    assert made


def promoted(repository: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Propose staging's version for production; return what was said."""
    options = ["--from", "staging", "--to", "production", "--repository", repository]
    assert promote.main(["qna", *options]) == 0
    return capsys.readouterr().out


PROPOSED = "promote/qna-8-to-production"


def test_a_version_goes_from_staging_to_production_by_a_merge_and_back_by_a_revert(
    folder: Path, repository: str, capsys: pytest.CaptureFixture[str]
):
    retrained(repository, "8")
    assert model_of(folder, "staging") == {"uri": "models:/qna/8"}
    assert model_of(folder, "production") == {"uri": "models:/qna/6"}

    assert f"branch {PROPOSED} proposes qna 8 for production" in promoted(repository, capsys)
    assert model_of(folder, "production") == {"uri": "models:/qna/6"}
    assert model_of(folder, "production", PROPOSED) == {"uri": "models:/qna/8"}
    assert NOTE in text_of(folder, "production", PROPOSED)
    (changed,) = git(folder, "diff", "--name-only", f"origin/main...origin/{PROPOSED}").split()
    assert changed == "environments/production/qna.yaml"

    git(folder, "pull", "--ff-only", "origin", "main")
    git(folder, "merge", "--no-ff", "-m", "Merge", f"origin/{PROPOSED}")
    git(folder, "push", "origin", "main")
    assert model_of(folder, "production") == {"uri": "models:/qna/8"}
    assert promoted(repository, capsys) == "production has qna 8 already\n"

    git(folder, "revert", "--no-edit", "-m", "1", "HEAD")
    git(folder, "push", "origin", "main")
    assert model_of(folder, "production") == {"uri": "models:/qna/6"}


def test_a_promotion_of_one_model_leaves_the_others_alone(folder: Path, repository: str):
    options = ["--from", "staging", "--to", "production", "--repository", repository]
    assert promote.main(["churn", *options]) == 0
    git(folder, "fetch", "origin")
    proposed = "origin/promote/churn-3-to-production"
    (changed,) = git(folder, "diff", "--name-only", f"origin/main...{proposed}").split()
    assert changed == "environments/production/churn.yaml"


def test_a_proposal_that_is_made_again_follows_main(
    folder: Path, repository: str, capsys: pytest.CaptureFixture[str]
):
    retrained(repository, "8")
    promoted(repository, capsys)
    place = "environments/production/qna.yaml"
    git(folder, "pull", "--ff-only", "origin", "main")
    (folder / place).write_text((folder / place).read_text().replace("weight: 25", "weight: 20"))
    git(folder, "commit", "-am", "Go slower")
    git(folder, "push", "origin", "main")
    promoted(repository, capsys)
    assert "weight: 20" in text_of(folder, "production", PROPOSED)
    assert model_of(folder, "production", PROPOSED) == {"uri": "models:/qna/8"}


def test_another_version_is_another_branch(
    folder: Path, repository: str, capsys: pytest.CaptureFixture[str]
):
    for version in ("8", "9"):
        retrained(repository, version)
        promoted(repository, capsys)
    assert model_of(folder, "production", PROPOSED) == {"uri": "models:/qna/8"}
    nine = model_of(folder, "production", "promote/qna-9-to-production")
    assert nine == {"uri": "models:/qna/9"}


def test_an_environment_that_there_is_not_is_named(
    repository: str, capsys: pytest.CaptureFixture[str]
):
    options = ["--from", "staging", "--to", "moon", "--repository", repository]
    assert promote.main(["qna", *options]) == 2
    assert "there is no file environments/moon/qna.yaml" in capsys.readouterr().err
