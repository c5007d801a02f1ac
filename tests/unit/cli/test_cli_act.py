"""What a person may do about a release from the command line, against an API server and passes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from modelrelease_operator.api.status import Status
from modelrelease_operator.cli import main
from modelrelease_operator.cli.status import as_table, end_of
from modelrelease_operator.errors import Conflict
from testbed.operating import Operating, operating

LONG = {"steps": [{"weight": 50, "bake": "30d"}]}
"""A step that outlasts every pass that is made while a command runs."""


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Operating]:
    async with operating() as running:
        path = running.server.kubeconfig(tmp_path)
        monkeypatch.setattr(
            "kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path)
        )
        yield running


async def run(world: Operating, *arguments: str) -> int:
    """Run a command while the operator makes its passes; return the exit code."""
    told = asyncio.create_task(asyncio.to_thread(main, [*arguments, "-n", "ml"]))
    while not told.done():
        with suppress(Conflict):  # The next pass reads what the command has written.
            await world.once()
        await asyncio.sleep(0.01)
    return await told


async def paused_at_a_step(world: Operating) -> dict[str, Any]:
    """Have a canary that passed wait for a person."""
    await world.with_canary(canary={"weight": 50, "bake": "1s", "approval": "Manual"})
    return await world.until(lambda status: status["phase"] == "Paused")


def put(world: Operating, release: dict[str, Any]) -> None:
    """Write a release as a person does who holds all of it."""
    parts = {key: release[key] for key in ("metadata", "spec", "status")}
    world.server.put("ModelRelease", "qna", **parts)


async def test_an_approval_is_given_and_what_became_of_it_is_said(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    await paused_at_a_step(world)
    assert await run(world, "approve", "qna") == 0
    assert capsys.readouterr().out == (
        "ModelRelease ml/qna: asked to let it go on to the next step, or be promoted after the "
        "last; taken\n"
    )


async def test_where_nothing_is_asked_there_is_nothing_to_approve_and_what_can_be_done_is_named(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    await world.with_canary(canary=LONG)
    assert await run(world, "approve", "qna") == 1
    said = capsys.readouterr().err
    assert "modelrelease approve: ModelRelease ml/qna: there is nothing to approve (" in said
    assert "what can be done: `modelrelease promote`, `modelrelease abort`" in said


async def test_an_abort_takes_the_canary_back_and_a_retry_tries_it_again(world: Operating):
    await world.with_canary(canary=LONG)
    assert await run(world, "abort", "qna") == 0
    await world.until(lambda status: status["phase"] == "Stable")
    assert world.status()["rejected"]["version"] == "2"
    assert await run(world, "retry", "qna") == 0
    await world.until(lambda status: "canary" in status)


async def test_a_canary_is_taken_back_also_where_a_newer_operator_wrote_the_status(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    await world.with_canary(canary=LONG)
    release = world.server.get("ModelRelease", "qna")
    newer = {**release["status"], "phase": "Rehearsing"}
    put(world, {**release, "status": newer})
    assert await asyncio.to_thread(main, ["promote", "qna", "-n", "ml"]) == 1
    assert await asyncio.to_thread(main, ["abort", "qna", "-n", "ml"]) == 0
    assert "status.phase cannot be read" in capsys.readouterr().out
    put(world, {**world.server.get("ModelRelease", "qna"), "status": release["status"]})
    await world.until(lambda status: status["phase"] == "Stable")
    assert world.status()["rejected"]["reason"] == "Aborted"


async def test_without_a_canary_nothing_is_taken_back_blindly(world: Operating):
    await world.serves("1")
    release = world.server.get("ModelRelease", "qna")
    put(world, {**release, "status": {**release["status"], "phase": "Rehearsing"}})
    assert await asyncio.to_thread(main, ["abort", "qna", "-n", "ml"]) == 1


async def test_a_promotion_by_hand_needs_no_verdict(world: Operating):
    await world.with_canary(canary=LONG)
    assert await run(world, "promote", "qna") == 0
    await world.until(lambda status: status["stable"]["version"] == "2")
    assert "PromotedByHand" in [entry["outcome"] for entry in world.status()["history"]]


async def test_a_pause_holds_until_it_is_lifted(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    await world.with_canary(canary=LONG)
    assert await run(world, "pause", "qna") == 0
    assert world.server.get("ModelRelease", "qna")["spec"]["paused"] is True
    assert await run(world, "pause", "qna") == 0
    assert await run(world, "resume", "qna") == 0
    assert world.server.get("ModelRelease", "qna")["spec"]["paused"] is False
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("ModelRelease ml/qna is paused: no canary goes on")
    assert second == "ModelRelease ml/qna is paused already"
    assert third == "ModelRelease ml/qna goes on"


async def test_a_canary_that_cannot_be_seen_is_approved_only_anyway(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    await paused_at_a_step(world)
    release = world.server.get("ModelRelease", "qna")
    unseen = {**release["status"], "verdict": "Unavailable"}
    world.server.put(
        "ModelRelease", "qna", metadata=release["metadata"], spec=release["spec"], status=unseen
    )
    assert await asyncio.to_thread(main, ["approve", "qna", "-n", "ml", "--wait", "0s"]) == 1
    assert "its metrics are unavailable; add --anyway to approve it" in capsys.readouterr().err
    arguments = ["approve", "qna", "-n", "ml", "--wait", "0s", "--anyway"]
    assert await asyncio.to_thread(main, arguments) == 0
    notes = world.server.get("ModelRelease", "qna")["metadata"]["annotations"]
    assert notes["modelrelease.dev/approve"].endswith("/anyway")


async def test_without_an_operator_that_answers_the_command_says_so(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    await world.with_canary()
    arguments = ["abort", "qna", "-n", "ml", "--wait", "1s"]
    assert await asyncio.to_thread(main, arguments) == 1
    assert "the operator has not said yet what becomes of it" in capsys.readouterr().err


async def test_releases_are_shown_in_a_table_and_who_waits_is_marked(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    await paused_at_a_step(world)
    await world.serves("1", "other")
    assert await asyncio.to_thread(main, ["status", "-A"]) == 0
    head, other, waiting = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["NAMESPACE", "NAME", "PHASE", "STABLE"]
    assert other.split()[:4] == ["ml", "other", "Stable", "1"]
    assert waiting.split()[:8] == ["ml", "!", "qna", "Paused", "1", "2", "50", "%"]
    assert await asyncio.to_thread(main, ["status", "-n", "ml", "-o", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [(it["name"], it["waits_for_person"]) for it in shown] == [
        ("other", False),
        ("qna", True),
    ]


async def test_an_empty_namespace_is_told_as_one(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    assert await asyncio.to_thread(main, ["status", "-n", "nowhere"]) == 0
    assert "there is no ModelRelease in this namespace; -A shows all" in capsys.readouterr().err


async def test_a_release_is_followed_until_its_version_serves(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    world.release("1")
    assert await run(world, "watch", "qna") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].endswith("Stable: stable 1: version 1 serves")


async def test_watching_goes_on_while_the_version_that_is_asked_for_cannot_be_read(
    world: Operating,
):
    await world.serves("1")
    release = world.server.get("ModelRelease", "qna")
    put(world, {**release, "spec": {**release["spec"], "model": {"uri": "http://127.0.0.1:1/2"}}})
    await world.once()
    release = world.server.get("ModelRelease", "qna")
    status = Status.parse(release["status"])
    assert status.observed_generation == release["metadata"]["generation"]
    assert status.phase == "Stable"
    assert end_of(release, status) is None


async def test_watching_ends_with_1_once_a_person_is_asked(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    await paused_at_a_step(world)
    assert await run(world, "watch", "qna") == 1
    assert " Paused: stable 1, canary 2 at 50 %" in capsys.readouterr().out


async def test_what_became_of_an_earlier_command_of_the_same_value_is_not_taken_for_an_answer(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    await world.with_canary(canary=LONG)
    for _ in range(2):
        assert await run(world, "abort", "qna") == 0
        await world.until(lambda status: status["phase"] == "Stable")
        assert await run(world, "retry", "qna") == 0
        await world.until(lambda status: "canary" in status)
        release = world.server.get("ModelRelease", "qna")
        plain = {**release["metadata"], "annotations": {}}
        put(world, {**release, "metadata": plain})
        await world.once()
    capsys.readouterr()
    assert await asyncio.to_thread(main, ["abort", "qna", "-n", "ml", "--wait", "1s"]) == 1
    assert "the operator has not said yet" in capsys.readouterr().err


async def test_a_release_whose_spec_is_wrong_can_be_paused(world: Operating):
    await world.with_canary(canary=LONG)
    release = world.server.get("ModelRelease", "qna")
    wrong = {**release["spec"], "analysis": {"gates": [{"name": "e", "ofNewer": {}}]}}
    put(world, {**release, "spec": wrong})
    assert await asyncio.to_thread(main, ["pause", "qna", "-n", "ml"]) == 0
    assert world.server.get("ModelRelease", "qna")["spec"]["paused"] is True


def test_what_a_pod_has_said_moves_no_cursor_and_breaks_no_line():
    release = {
        "metadata": {"namespace": "ml", "name": "qna"},
        "status": {"phase": "Stable", "message": "it said:\n\x1b[2Jfine\u202e"},
    }
    _, row = as_table([release]).splitlines()
    assert row.endswith("it said:  [2Jfine")


@pytest.mark.parametrize("text", ["", "a: [", "hello"])
def test_what_is_no_kubeconfig_is_told_with_a_sentence(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "config"
    path.write_text(text)
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    assert main(["status"]) == 1
    assert "the kubeconfig cannot be used: " in capsys.readouterr().err


async def test_nobody_with_an_older_command_is_told_to_throw_a_status_away(
    world: Operating, capsys: pytest.CaptureFixture[str]
):
    await world.with_canary(canary=LONG)
    release = world.server.get("ModelRelease", "qna")
    put(world, {**release, "status": {**release["status"], "phase": "Frozen"}})
    assert await asyncio.to_thread(main, ["promote", "qna", "-n", "ml"]) == 1
    said = capsys.readouterr().err
    assert said.index("what a newer version wrote is for that one") < said.index("remove the")
