"""Deciding over a recorded past, read from a real server that speaks query_range."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from modelrelease_operator.cli import main
from modelrelease_operator.core.chance import binomial
from modelrelease_operator.errors import Invalid, Unavailable
from modelrelease_operator.runtime.history import MOST_POINTS, History, Recording
from modelrelease_operator.runtime.replay import arms_of, replay
from tests.support.builders import a_spec
from tests.support.servers import Handler, answering, hanging_up, serving

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
STEP = timedelta(seconds=10)
BOUNDS = ("0.05", "0.1", "0.2")


@dataclass
class Revision:
    """What one revision's only pod did: from which look to which, how much, and how badly."""

    name: str
    version: str
    errors: float = 0.01
    since: int = -100_000
    until: int = 100_000
    each: int = 400
    """Requests between two looks."""
    before: int = 0
    """Requests answered before the recording."""
    _counts: list[tuple[int, int]] = field(default_factory=list)

    def counted(self, look: int) -> tuple[int, int] | None:
        """Return all requests and the bad ones up to a look."""
        if not self.since <= look <= self.until:
            return None
        while len(self._counts) <= look:
            random = Random(f"{self.name}{len(self._counts)}")
            total, bad = self._counts[-1] if self._counts else (self.before, 0)
            grown = self.each if len(self._counts) > self.since else 0
            self._counts.append((total + grown, bad + binomial(random, grown, self.errors)))
        return self._counts[look]


@dataclass
class Prometheus:
    """A server that answers query_range from revisions, and refuses what a real one refuses."""

    revisions: list[Revision]
    queries: list[dict[str, str]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        given = parse_qs(request.query_string or await request.text())
        asked = {key: values[0] for key, values in given.items()}
        self.queries.append(asked)
        start, end, step = int(asked["start"]), int(asked["end"]), int(asked["step"].removesuffix("s"))
        if (end - start) // step > 11_000:
            return web.json_response({"status": "error", "error": "exceeded maximum resolution"}, status=400)
        moments = range(start, end + 1, step)
        result = [row for revision in self.revisions for row in self._rows(revision, moments)]
        return web.json_response({"status": "success", "data": {"resultType": "matrix", "result": result}})

    def _rows(self, revision: Revision, moments: range) -> Iterator[dict[str, Any]]:
        looks = [(at, revision.counted(round((at - NOON.timestamp()) / 10))) for at in moments]
        shown = [(at, *counts) for at, counts in looks if counts]
        labels = {"revision": revision.name, "model_version": revision.version, "pod": f"{revision.name}-a"}
        if not shown:
            return
        for code in ("200", "500"):
            values = [[at, str(bad if code == "500" else total - bad)] for at, total, bad in shown]
            yield {"metric": {**labels, "__name__": "predictions_total", "code": code}, "values": values}
        for bound, share in zip((*BOUNDS, "+Inf"), (0.5, 0.9, 1.0, 1.0), strict=True):
            values = [[at, str(int(total * share))] for at, total, _ in shown]
            name = "prediction_duration_seconds_bucket"
            yield {"metric": {**labels, "__name__": name, "le": bound}, "values": values}


OLD = ("old", "6")
NEW = ("new", "7")
SPEC = a_spec(canary={"weight": 50})


async def recorded(*revisions: Revision, looks: int = 120) -> Recording:
    async with serving(Prometheus(list(revisions)).answer) as address:
        return await History(address).read(
            namespace="ml", release="qna", start=NOON, end=NOON + looks * STEP, interval=STEP
        )


async def test_a_healthy_canary_would_have_been_promoted():
    recording = await recorded(Revision(*OLD, before=10**6), Revision(*NEW, since=12))
    told = replay(SPEC, recording, stable="old", canary="new")
    assert told.end == "promoted"
    assert told.began == NOON + 12 * STEP
    assert [it.reason for it in told.happenings] == ["CanaryStarted", "StepStarted", "Promoting", "Promoted"]


async def test_a_regression_would_have_been_rolled_back_at_the_look_that_proves_it():
    recording = await recorded(Revision(*OLD, before=10**6), Revision(*NEW, errors=0.05, since=12))
    told = replay(SPEC, recording, stable="old", canary="new")
    assert told.end == "rolled_back"
    assert told.happenings[-1].reason == "Regression"
    assert "canary 7 fails" in told.happenings[-1].message
    assert told.at - told.began < timedelta(minutes=2)
    assert told.status.gates[0].verdict == "Fail"


async def test_a_recording_that_ends_too_soon_decides_nothing():
    recording = await recorded(Revision(*OLD, before=10**6), Revision(*NEW, since=12, until=14))
    told = replay(SPEC, recording, stable="old", canary="new")
    assert told.end == "undecided"
    assert told.at == NOON + 14 * STEP


async def test_the_deadline_ends_a_replay_as_it_ends_a_release():
    spec = a_spec(canary={"weight": 50, "progressDeadline": "5m"})
    recording = await recorded(Revision(*OLD, each=20), Revision(*NEW, each=20, errors=0.013))
    told = replay(spec, recording, stable="old", canary="new")
    assert told.end == "inconclusive"
    assert told.at - told.began == timedelta(seconds=310)


async def test_each_look_is_counted_once():
    recording = await recorded(Revision(*OLD, each=20, before=1000), Revision(*NEW, each=20), looks=30)
    told = replay(SPEC, recording, stable="old", canary="new")
    assert told.end == "undecided"
    assert told.status.gates[0].canary_total == told.status.gates[0].stable_total == 30 * 20


async def test_a_long_recording_is_read_in_parts_that_prometheus_answers():
    server = Prometheus([Revision(*OLD, each=1), Revision(*NEW, each=1)])
    looks = MOST_POINTS + 5
    async with serving(server.answer) as address:
        recording = await History(address).read(
            namespace="ml", release="qna", start=NOON, end=NOON + looks * STEP, interval=STEP
        )
    assert len(server.queries) == 2
    assert len(recording.looks) == looks + 1
    assert all(len(look.counters) == 12 for look in recording.looks)
    assert [recording.requests_at("new", index) for index in (0, MOST_POINTS, looks)] == [
        1, MOST_POINTS + 1, looks + 1,
    ]  # fmt: skip


async def test_raw_counters_of_one_release_are_asked_for():
    server = Prometheus([Revision(*OLD)])
    async with serving(server.answer) as address:
        await History(address).read(namespace="ml", release="qna", start=NOON, end=NOON + STEP, interval=STEP)
    (query,) = (asked["query"] for asked in server.queries)
    assert 'namespace="ml"' in query
    assert 'release="qna"' in query
    assert not any(word in query for word in ("rate(", "increase(", "sum("))


async def test_stable_is_the_one_that_had_answered_most_when_it_starts():
    recording = await recorded(Revision(*NEW, since=3), Revision(*OLD, before=10**6))
    assert arms_of(recording, None, None) == ("old", "new")
    assert arms_of(recording, "new", "old") == ("new", "old")
    assert arms_of(recording, None, "old") == ("new", "old")


async def test_a_revision_that_answered_nothing_is_no_canary():
    idle = Revision("idle", "5", each=0, before=70)
    recording = await recorded(Revision(*OLD, before=10**6), idle, Revision(*NEW, since=3))
    assert arms_of(recording, None, None) == ("old", "new")


@pytest.mark.parametrize(
    ("revisions", "given", "sentence"),
    [
        ([OLD], (None, None), r"two revisions are needed; recorded was only old \(version 6\)"),
        ([OLD, NEW, ("newer", "8")], (None, None), r"name one with --canary: new \(version 7\), newer"),
        ([OLD, NEW], (None, "gone"), r"revision gone was not recorded in this time; these were: old"),
        ([OLD, NEW], ("new", "new"), "two revisions are needed"),
    ],
    ids=["one revision", "three revisions", "a revision that is not there", "one for both arms"],
)
async def test_arms_that_are_not_clear_are_asked_for(revisions: Any, given: Any, sentence: str):
    recording = await recorded(*(Revision(*it, before=10**6 - 10**5 * n) for n, it in enumerate(revisions)))
    with pytest.raises(Invalid, match=sentence):
        arms_of(recording, *given)


@pytest.mark.parametrize(
    ("handler", "sentence"),
    [
        (answering("query: too long", 422), "answered with an error: .*422"),
        (answering("<html>"), "answered nonsense|does not answer"),
        (answering("[]"), "answered nonsense"),
        (answering('{"data": {"result": [7]}}'), "answered nonsense"),
        (hanging_up, "does not answer"),
    ],
    ids=["an error", "a login page", "a list", "a number for a row", "hangs up"],
)
async def test_a_bad_answer_is_a_sentence_that_names_the_server(handler: Handler, sentence: str):
    async with serving(handler) as address:
        with pytest.raises(Unavailable, match=f"Prometheus at {address} ({sentence})"):
            await History(address).read(
                namespace="ml", release="qna", start=NOON, end=NOON + STEP, interval=STEP
            )


async def test_too_long_a_time_is_refused_before_it_fills_the_memory():
    with pytest.raises(Invalid, match="replay less"):
        await History("http://nowhere").read(
            namespace="ml", release="qna", start=NOON, end=NOON + timedelta(days=90), interval=STEP
        )


RELEASE = """\
kind: ModelRelease
metadata: {name: qna, namespace: ml}
spec: {model: {uri: "http://store/qna/7"}, canary: {weight: 50}}
"""


async def command(tmp_path: Path, address: str, *arguments: str) -> int:
    path = tmp_path / "release.yaml"
    path.write_text(RELEASE)
    end = (NOON + 60 * STEP).isoformat()
    given = ["replay", str(path), "--prometheus", address, "--start", "2026-11-01T12:00:00Z", "--end", end]
    return await asyncio.to_thread(main, [*given, *arguments])


async def test_the_command_says_what_would_have_been_done_and_when(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    sick = Prometheus([Revision(*OLD, before=10**6), Revision(*NEW, errors=0.2, since=6)])
    async with serving(sick.answer) as address:
        assert await command(tmp_path, address) == 0
        text = capsys.readouterr().out
        assert await command(tmp_path, address, "-o", "json") == 0
        told = json.loads(capsys.readouterr().out)
    assert text.startswith("qna: canary 7 (new) beside 6 (old) would have been rolled back, ")
    assert max(map(len, text.splitlines())) <= 80
    assert told["end"] == "rolled_back"
    assert told["canary"] == {"revision": "new", "version": "7"}
    assert told["events"][-1]["reason"] == "Regression"
    assert told["began"] == "2026-11-01T12:01:00+00:00"
    assert told["gates"][0]["verdict"] == "Fail"


async def test_a_release_that_was_not_recorded_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    async with serving(Prometheus([]).answer) as address:
        assert await command(tmp_path, address) == 1
    assert "has no predictions_total of release ml/qna" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--end", "2026-11-01T11:00:00Z"], "--end must be after --start"),
        (["--start", "yesterday"], "must be a time such as 2026-11-01T12:00:00Z"),
        (["--start", "2026-11-01T12:00:00"], "must name its time zone"),
        (["--prometheus", ""], "names no Prometheus; give --prometheus"),
    ],
    ids=["backwards", "a word", "no time zone", "no server"],
)
async def test_wrong_usage_says_what_is_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
):
    try:
        code = await command(tmp_path, "http://nowhere", *arguments)
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    assert sentence in capsys.readouterr().err
