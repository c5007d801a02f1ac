"""What the benchmark of upgrades takes for moved, and prints: without a cluster."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.upgrade.__main__ import checked_out
from benchmarks.upgrade.seen import Row, Seen, as_markdown, differences, seen
from benchmarks.upgrade.stories import STORIES
from cluster import ClusterError, imageset
from modelrelease_operator.api.spec import ReleaseSpec

ONE = Seen(
    pods={"qna-a": 0, "qna-b": 0},
    targets=frozenset({"10.0.0.1", "10.0.0.2"}),
    status={"phase": "Progressing", "weight": 33, "stable": "r1", "canary": "r2"},
)


def pod(name: str, *restarts: int) -> dict[str, Any]:
    statuses = [{"restartCount": each} for each in restarts]
    return {"metadata": {"name": name}, "status": {"containerStatuses": statuses}}


def endpoint(address: str, *, ready: bool | None = True) -> dict[str, Any]:
    conditions = {} if ready is None else {"ready": ready}
    return {"addresses": [address], "conditions": conditions}


def test_a_look_holds_pods_with_their_restarts_the_services_addresses_and_the_arms():
    release = {
        "status": {
            "phase": "Progressing", "weight": 33, "message": "words change",
            "stable": {"revision": "r1"}, "canary": {"revision": "r2"}, "rejected": None,
        }
    }  # fmt: skip
    slices: list[dict[str, Any]] = [
        {"endpoints": [endpoint("a"), endpoint("b", ready=False)]},
        {"endpoints": None},
    ]
    assert seen(release, [pod("p", 1, 2)], slices) == Seen(
        pods={"p": 3},
        targets=frozenset("a"),
        status={"phase": "Progressing", "weight": 33, "stable": "r1", "canary": "r2"},
    )


def test_an_endpoint_that_says_nothing_of_it_is_ready():
    assert seen({}, [], [{"endpoints": [endpoint("a", ready=None)]}]).targets == frozenset("a")


def test_a_release_without_a_status_and_a_pod_that_waits_can_be_looked_at():
    look = seen({}, [{"metadata": {"name": "p"}, "status": {}}], [])
    assert look == Seen(pods={"p": 0}, targets=frozenset(), status={"phase": None, "weight": 0})


def test_nothing_moved_where_all_is_as_it_was():
    assert differences(ONE, ONE) == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"pods": {"qna-a": 0}}, "pod qna-b is gone"),
        ({"pods": {**ONE.pods, "qna-c": 0}}, "pod qna-c is new"),
        ({"pods": {**ONE.pods, "qna-a": 2}}, "pod qna-a was restarted 2 times"),
        ({"targets": frozenset({"10.0.0.1"})}, "the Service led to 2 pods, and others of them"),
        ({"status": {**ONE.status, "weight": 50}}, "weight was 33, and is 50"),
        ({"status": {**ONE.status, "phase": "Paused"}}, "phase was Progressing, and is Paused"),
        ({"status": {**ONE.status, "canary": "r3"}}, "canary was r2, and is r3"),
        ({"status": {**ONE.status, "rejected": "r2"}}, "rejected was None, and is r2"),
    ],
)
def test_what_moved_is_said(other: dict[str, Any], said: str):
    parts = {"pods": ONE.pods, "targets": ONE.targets, "status": ONE.status, **other}
    assert differences(ONE, Seen(**parts)) == [said]


def a_row(**others: Any) -> Row:
    usual: dict[str, Any] = {
        "change": "abc1234 → this", "story": "nothing goes on", "looks": 40, "moved": (),
        "ended": "promoted", "as_expected": True, "requests": 3000, "failed": {},
    }  # fmt: skip
    return Row(**(usual | others))


@pytest.mark.parametrize(
    ("others", "missed"),
    [
        ({}, False),
        ({"moved": ("pod a is gone",)}, True),
        ({"failed": {"version 1: 503": 2}}, True),
        ({"as_expected": False, "ended": "Paused: nobody knows"}, True),
    ],
)
def test_a_row_is_missed_where_something_moved_failed_or_ended_otherwise(
    others: dict[str, Any], missed: bool
):
    assert a_row(**others).missed is missed


def test_the_table_has_a_line_for_each_and_words_for_what_was_missed():
    text = as_markdown([a_row(), a_row(story="asked", moved=("weight was 33, and is 50",))])
    assert "| abc1234 → this | nothing goes on | 40 | 0 | promoted | 3,000 | 0 |" in text
    assert text.endswith("- abc1234 → this, asked: weight was 33, and is 50")


def test_the_stories_have_names_of_their_own_and_those_that_do_not_stay_come_last():
    names = [story.name for story in STORIES]
    assert len(set(names)) == len(names) == 6
    assert {story.name for story in STORIES if story.late} == {"midway", "failing"}


class Recording:
    """A release that takes every word, and is at once where it is waited for."""

    def __init__(self) -> None:
        self.spec: dict[str, Any] = {"serving": {}}
        self.cluster, self.space = self, "here"
        self.specs: list[dict[str, Any]] = []

    def apply(self, version: str) -> None:
        self.specs.append({"model": {"uri": f"http://store/qna/{version}"}, **self.spec})

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self.apply("1") if name == "begins" else None


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_story_applies_what_an_operator_takes(story: Any):
    release = Recording()
    story.reach(release)
    assert release.specs
    for spec in release.specs:
        ReleaseSpec.parse(spec, strict=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two commits; the second has another operator."""
    folder = tmp_path / "repository"
    (folder / "operator").mkdir(parents=True)
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    (folder / "link").symlink_to("operator")
    for words in ("one", "two"):
        (folder / "operator/code.py").write_text(words)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "--quiet", "-m", words], check=True)
    monkeypatch.setattr("benchmarks.upgrade.__main__.REPOSITORY", folder)
    return folder


def test_an_earlier_commit_is_looked_at_beside_the_checkout(repository: Path):
    with checked_out("HEAD~1") as (files, mark):
        assert (files / "link/code.py").read_text() == "one"
        assert len(mark) == 7
    assert not files.exists()
    assert (repository / "operator/code.py").read_text() == "two"


def test_a_commit_that_is_not_there_is_told(repository: Path):
    with pytest.raises(ClusterError, match="nowhere"), checked_out("nowhere"):
        pass


def test_images_of_another_checkout_lie_beside_ours_and_leave_out_what_it_has_not(tmp_path: Path):
    (tmp_path / "operator").mkdir()
    (tmp_path / "operator/code.py").touch()
    (tmp_path / "Dockerfile.operator").touch()
    images = imageset.of_checkout(tmp_path, "abc1234")
    operator = images["operator"]
    assert operator.reference == "modelrelease-operator-abc1234:dev"
    assert operator.inputs == ("operator",)
    assert [file.relative_to(tmp_path).as_posix() for file in operator.files()] == [
        "Dockerfile.operator", "operator/code.py",
    ]  # fmt: skip
    assert set(images) == set(imageset.USUAL)
