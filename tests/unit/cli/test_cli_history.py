"""What `modelrelease history` tells of a release that operators have decided about."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modelrelease_operator.api.status import HistoryEntry, Reason, Status
from modelrelease_operator.cli import main
from modelrelease_operator.core.history import told_of
from testbed.operating import Operating, operating

LONG = {"steps": [{"weight": 50, "bake": "30d"}]}


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Operating]:
    async with operating() as running:
        path = running.server.kubeconfig(tmp_path)
        monkeypatch.setattr(
            "kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path)
        )
        yield running


async def history(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    capsys.readouterr()
    assert await asyncio.to_thread(main, ["history", "qna", "-n", "ml", *options]) == 0
    return capsys.readouterr().out


async def test_a_release_without_a_decision_says_so(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    world.release("1")
    assert await asyncio.to_thread(main, ["history", "qna", "-n", "ml"]) == 0
    assert capsys.readouterr().err == "ModelRelease ml/qna: nothing was decided yet\n"


async def test_an_aborted_canary_and_a_person_who_promoted_are_told_with_their_times(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    await world.with_canary(canary=LONG)
    world.annotate(abort=world.status()["canary"]["revision"])
    await world.until(lambda status: status["phase"] == "Stable")
    world.release("3", canary=LONG)
    await world.until(lambda status: status["phase"] == "Progressing")
    world.annotate(promote=world.status()["canary"]["revision"])
    await world.until(lambda status: status["stable"]["version"] == "3")
    told = json.loads(await history(capsys, "-o", "json"))
    assert [(each["from"], each["to"], each["outcome"]) for each in told] == [
        ("1", "3", "Promoted"),
        ("1", "3", "PromotedByHand"),
        ("1", "2", "Aborted"),
        (None, "1", "FirstVersionServes"),
    ]
    assert [each["by"] for each in told][0::3] == ["operator", "operator"]
    assert all(datetime.fromisoformat(each["at"]).tzinfo for each in told)
    head, *lines = (await history(capsys)).splitlines()
    assert head.split() == ["TIME", "FROM", "TO", "OUTCOME", "BY", "REASON"]
    assert len(lines) == 4
    assert "version 2 was aborted by annotation" in lines[2]


async def test_a_person_is_named_as_the_annotation_was_written(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    await world.with_canary(canary=LONG)
    revision = world.status()["canary"]["revision"]
    world.annotate(abort=revision)
    await world.until(lambda status: status["phase"] == "Stable")
    release = world.server.get("ModelRelease", "qna")
    (seen,) = release["status"]["commands"]
    status = {**release["status"], "commands": [{**seen, "by": "modelrelease", "about": revision}]}
    parts: dict[str, Any] = {"metadata": release["metadata"], "spec": release["spec"]}
    world.server.put("ModelRelease", "qna", **parts, status=status)
    told = json.loads(await history(capsys, "-o", "json"))
    assert (told[0]["outcome"], told[0]["by"]) == ("Aborted", "modelrelease")


def status_of(*entries: tuple[str, Reason, str]) -> Status:
    """Return a status with these decisions, the oldest first."""
    begin = datetime(2026, 11, 1, tzinfo=UTC)
    lines = [
        HistoryEntry(
            revision=f"r{version}",
            version=version,
            outcome=outcome,
            message=message,
            at=begin + timedelta(hours=hour),
        )
        for hour, (version, outcome, message) in enumerate(entries)
    ]
    return Status(history=tuple(reversed(lines)))


def ways(status: Status) -> list[tuple[str | None, str]]:
    return [(told.served, told.entry.version) for told in told_of(status)][::-1]


def test_a_promotion_that_is_taken_back_serves_no_more():
    status = status_of(
        ("1", Reason.FIRST_VERSION_SERVES, ""),
        ("2", Reason.PROMOTED, ""),
        ("2", Reason.REGRESSION, "version 2 is taken back"),
        ("3", Reason.REGRESSION, ""),
    )
    assert ways(status) == [(None, "1"), ("1", "2"), ("2", "2"), ("1", "3")]


def test_a_spec_that_goes_back_to_the_warm_version_has_it_serve_again():
    status = status_of(
        ("1", Reason.FIRST_VERSION_SERVES, ""),
        ("2", Reason.PROMOTED, ""),
        ("1", Reason.SPEC_REVERTED, "back to version 1, still warm; version 2 is out"),
        ("3", Reason.SPEC_REVERTED, "the spec went back to version 1"),
        ("4", Reason.SUPERSEDED, ""),
    )
    assert ways(status)[2:] == [("2", "1"), ("1", "3"), ("1", "4")]
    assert {told.by for told in told_of(status)} == {"operator", "spec"}


def test_what_served_before_all_that_is_kept_is_not_guessed():
    status = status_of(("8", Reason.REGRESSION, ""), ("9", Reason.PROMOTED, ""))
    assert ways(status) == [(None, "8"), (None, "9")]
