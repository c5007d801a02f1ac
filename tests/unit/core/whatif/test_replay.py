"""Deciding over a recorded past, read from a real server that speaks query_range."""

import asyncio
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs

import pytest
import yaml
from aiohttp import encode_basic_auth, web

from modelrelease_operator.cli import main
from modelrelease_operator.core.measurement.queries import QueryScope
from modelrelease_operator.core.statistics.random_variates import binomial
from modelrelease_operator.core.whatif.recording import Recording
from modelrelease_operator.core.whatif.replay import ReplayResult, arms_of, recorded_target, replay
from modelrelease_operator.errors import Invalid, Unavailable
from modelrelease_operator.runtime.metric_sources.prometheus.history import (
    MOST_POINTS,
    PrometheusHistory,
)
from testbed.builders import a_spec
from testbed.servers import Handler, answering, hanging_up, serving

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
    bins: tuple[float, ...] = (0.5, 0.5)
    queue: Callable[[int], float] = field(default=lambda _: 0.4)
    """What a person's own query gives at a look."""
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
        if "refused" in asked["query"]:
            return web.json_response({"status": "error", "error": "1:1: parse error"}, status=400)
        start, end, step = (
            int(asked["start"]),
            int(asked["end"]),
            int(asked["step"].removesuffix("s")),
        )
        if (end - start) // step > 11_000:
            return web.json_response(
                {"status": "error", "error": "exceeded maximum resolution"}, status=400
            )
        moments = range(start, end + 1, step)
        result = [
            row
            for revision in self.revisions
            for row in self._asked(revision, moments, asked["query"])
        ]
        return web.json_response(
            {"status": "success", "data": {"resultType": "matrix", "result": result}}
        )

    def _asked(self, revision: Revision, moments: range, query: str) -> Iterator[dict[str, Any]]:
        """Answer as a real server would: the marks of a gate's queries come from their
        label_replace.
        """
        rows = list(self._rows(revision, moments))
        if "modelrelease_arm" in query:
            arm = {"old": "stable", "new": "canary"}[revision.name]
            for row in rows[:2]:
                kind = "bad" if row["metric"]["code"] == "500" else "total"
                marks = {"modelrelease_arm": arm, "modelrelease_kind": kind}
                yield {"metric": {**marks, "pod": row["metric"]["pod"]}, "values": row["values"]}
        elif "queue_length" in query:
            if revision.name in query:
                looks = [round((at - NOON.timestamp()) / 10) for at in moments]
                values = zip(moments, map(revision.queue, looks), strict=True)
                yield {"metric": {}, "values": [[at, str(value)] for at, value in values]}
        else:
            yield from rows
            if "prediction_bin_total" in query:
                yield from self._bins(revision, moments)

    def _bins(self, revision: Revision, moments: range) -> Iterator[dict[str, Any]]:
        labels = {"revision": revision.name, "pod": f"{revision.name}-a"}
        looks = [(at, revision.counted(round((at - NOON.timestamp()) / 10))) for at in moments]
        shown = [(at, counts[0]) for at, counts in looks if counts]
        info = {**labels, "__name__": "prediction_bins_info", "layout": "edges"}
        yield {"metric": info, "values": [[at, "1"] for at, _ in shown]}
        for query_scope, share in enumerate(revision.bins):
            values = [[at, str(int(total * share))] for at, total in shown]
            yield {
                "metric": {**labels, "__name__": "prediction_bin_total", "bin": str(query_scope)},
                "values": values,
            }

    def _rows(self, revision: Revision, moments: range) -> Iterator[dict[str, Any]]:
        looks = [(at, revision.counted(round((at - NOON.timestamp()) / 10))) for at in moments]
        shown = [(at, *counts) for at, counts in looks if counts]
        labels = {
            "revision": revision.name,
            "model_version": revision.version,
            "pod": f"{revision.name}-a",
        }
        if not shown:
            return
        for code in ("200", "500"):
            values = [[at, str(bad if code == "500" else total - bad)] for at, total, bad in shown]
            yield {
                "metric": {**labels, "__name__": "predictions_total", "code": code},
                "values": values,
            }
        for bound, share in zip((*BOUNDS, "+Inf"), (0.5, 0.9, 1.0, 1.0), strict=True):
            values = [[at, str(int(total * share))] for at, total, _ in shown]
            name = "prediction_duration_seconds_bucket"
            yield {"metric": {**labels, "__name__": name, "le": bound}, "values": values}


OLD = ("old", "6")
NEW = ("new", "7")
SPEC = a_spec(canary={"weight": 50})


async def recorded(*revisions: Revision, looks: int = 120) -> Recording:
    async with serving(Prometheus(list(revisions)).answer) as address:
        return await PrometheusHistory(address).read(
            namespace="ml", release="qna", start=NOON, end=NOON + looks * STEP, interval=STEP
        )


async def test_a_server_that_moves_looks_to_its_cache_is_told_not_to():
    """VictoriaMetrics does so with 50 looks or more, and shows some of them what came later."""
    asked: list[Any] = []
    prometheus = Prometheus([Revision(*OLD)])

    async def answer(request: web.Request) -> web.Response:
        asked.append((await request.post()).get("nocache"))
        return await prometheus.answer(request)

    async with serving(answer) as address:
        await PrometheusHistory(address).read(
            namespace="ml", release="qna", start=NOON, end=NOON + STEP, interval=STEP
        )
    assert asked == ["1"]


async def test_a_healthy_canary_would_have_been_promoted():
    recording = await recorded(Revision(*OLD, before=10**6), Revision(*NEW, since=12))
    told = replay(SPEC, recording, stable="old", canary="new")
    assert told.end == "promoted"
    assert told.began == NOON + 12 * STEP
    assert [it.reason for it in told.events] == [
        "CanaryStarted",
        "StepStarted",
        "Promoting",
        "Promoted",
    ]


async def test_a_release_with_a_shadow_is_replayed_from_its_first_user_on():
    spec = a_spec(canary={"weight": 50, "shadow": {}})
    recording = await recorded(Revision(*OLD, before=10**6), Revision(*NEW, since=12))
    result = replay(spec, recording, stable="old", canary="new")
    assert result.end == "promoted"
    assert "ShadowStarted" not in [event.reason for event in result.events]


async def test_a_regression_would_have_been_rolled_back_at_the_look_that_proves_it():
    recording = await recorded(Revision(*OLD, before=10**6), Revision(*NEW, errors=0.05, since=12))
    told = replay(SPEC, recording, stable="old", canary="new")
    assert told.end == "rolled_back"
    assert told.events[-1].reason == "Regression"
    assert "canary 7 fails" in told.events[-1].message
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
    recording = await recorded(
        Revision(*OLD, each=20, before=1000), Revision(*NEW, each=20), looks=30
    )
    told = replay(SPEC, recording, stable="old", canary="new")
    assert told.end == "undecided"
    assert told.status.gates[0].canary_total == told.status.gates[0].stable_total == 30 * 20


ORDERS = {
    "name": "refunds",
    "counts": {"bad": "orders{r='{{revision}}',o='refund'}", "total": "orders{r='{{revision}}'}"},
}
QUEUE: dict[str, Any] = {
    "name": "queue",
    "threshold": {"query": "queue_length{r='{{revision}}'}", "max": 0.5},
}
ANSWERS = {"name": "answers", "predictions": {}}
REFUSED = {"name": "typo", "threshold": {"query": "refused)", "max": 1}}


async def replayed(*given: dict[str, Any], new: Revision, looks: int = 120) -> ReplayResult:
    """Replay a release with these gates beside a stable that does well."""
    spec = a_spec(canary={"weight": 50}, analysis={"gates": list(given)})
    server = Prometheus([Revision(*OLD, before=10**6), new])
    async with serving(server.answer) as address:
        history = PrometheusHistory(address)
        recording = await history.read(
            namespace="ml", release="qna", start=NOON, end=NOON + looks * STEP, interval=STEP,
            predictions=ANSWERS in given,
        )  # fmt: skip
        old, canary = (recorded_target(spec, recording, name) for name in ("old", "new"))
        query_scope = QueryScope(
            namespace="ml", release="qna", canary=canary, stable=old, interval=STEP
        )
        recording = await history.with_answers(recording, spec, query_scope)
    return replay(spec, recording, stable="old", canary="new")


ALL = (ORDERS, QUEUE, ANSWERS)


async def test_gates_of_ones_own_pass_where_their_history_is_good():
    told = await replayed(*ALL, new=Revision(*NEW, since=12))
    assert told.end == "promoted"
    assert {gate.name: gate.verdict for gate in told.status.gates} == dict.fromkeys(
        ("refunds", "queue", "answers"), "Pass"
    )


@pytest.mark.parametrize(
    ("gate", "changes", "sentence"),
    [
        (ORDERS, {"errors": 0.05}, "canary 7 is bad by gate refunds for"),
        (
            QUEUE,
            {"queue": lambda look: 0.4 if look < 15 else 0.9},
            "gate queue: 0.9 is not at most 0.5",
        ),
        (ANSWERS, {"bins": (0.9, 0.1)}, "canary 7 predicts in bin 1 for 10.0 % of"),
    ],
    ids=["counts", "threshold", "predictions"],
)
async def test_a_gate_of_ones_own_rolls_back_at_the_look_that_its_history_convicts_the_canary(
    gate: dict[str, Any], changes: dict[str, Any], sentence: str
):
    told = await replayed(*ALL, new=Revision(*NEW, **{"since": 12, **changes}))
    assert told.end == "rolled_back"
    assert told.events[-1].message.startswith(sentence)
    assert next(it.verdict for it in told.status.gates if it.name == gate["name"]) == "Fail"
    assert told.at - told.began < timedelta(minutes=2)


async def test_every_look_has_the_value_that_a_threshold_had_then():
    up_and_down = Revision(*NEW, since=12, queue=lambda look: 0.4 if look % 3 else 0.9)
    told = await replayed(QUEUE, new=up_and_down)
    assert told.end == "undecided", "three looks in a row are never on one side"
    told = await replayed(
        {**QUEUE, "threshold": {**QUEUE["threshold"], "consecutive": 2}}, new=up_and_down
    )
    assert told.end == "promoted"


async def test_a_query_that_prometheus_refuses_leaves_its_gate_unmeasured_and_promotes_nothing():
    told = await replayed(REFUSED, QUEUE, new=Revision(*NEW, since=12))
    assert told.end == "undecided"
    refused = told.status.gates[0]
    assert refused.verdict == "Unavailable"
    assert "gate typo: `refused)`: Prometheus at http" in refused.message
    assert "cannot run the query, HTTP status 400: 1:1: parse error" in refused.message


async def test_a_history_that_a_query_lacks_is_no_pass():
    told = await replayed(QUEUE, new=Revision(*NEW, since=12, queue=lambda _: math.nan))
    assert told.end == "undecided"
    assert told.status.gates[0].verdict == "Insufficient"


async def test_a_long_recording_is_read_in_parts_that_prometheus_answers():
    server = Prometheus([Revision(*OLD, each=1), Revision(*NEW, each=1)])
    looks = MOST_POINTS + 5
    async with serving(server.answer) as address:
        recording = await PrometheusHistory(address).read(
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
        await PrometheusHistory(address).read(
            namespace="ml", release="qna", start=NOON, end=NOON + STEP, interval=STEP
        )
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
        (
            [OLD, NEW, ("newer", "8")],
            (None, None),
            r"name one with --canary: new \(version 7\), newer",
        ),
        (
            [OLD, NEW],
            (None, "gone"),
            r"revision gone was not recorded in this time; these were: old",
        ),
        ([OLD, NEW], ("new", "new"), "two revisions are needed"),
    ],
    ids=["one revision", "three revisions", "a revision that is not there", "one for both arms"],
)
async def test_arms_that_are_not_clear_are_asked_for(revisions: Any, given: Any, sentence: str):
    recording = await recorded(
        *(replace(Revision(*it), before=10**6 - 10**5 * n) for n, it in enumerate(revisions))
    )
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
            await PrometheusHistory(address).read(
                namespace="ml", release="qna", start=NOON, end=NOON + STEP, interval=STEP
            )


async def test_a_proxy_of_the_environment_is_used_except_for_hosts_that_want_none(
    monkeypatch: pytest.MonkeyPatch,
):
    server = Prometheus([Revision(*OLD)])
    arguments: dict[str, Any] = {
        "namespace": "ml",
        "release": "qna",
        "start": NOON,
        "end": NOON,
        "interval": STEP,
    }
    async with serving(server.answer) as address:
        monkeypatch.setenv("http_proxy", address)
        monkeypatch.setenv("no_proxy", "direct.invalid")
        recording = await PrometheusHistory("http://prometheus.invalid").read(**arguments)
        with pytest.raises(Unavailable, match=r"http://direct\.invalid does not answer"):
            await PrometheusHistory("http://direct.invalid").read(**arguments)
    assert recording.versions == {"old": "6"}


async def test_a_redirect_is_not_followed_and_the_sentence_says_what_to_name():
    async def elsewhere(_: web.Request) -> web.Response:
        return web.Response(status=308, headers={"Location": "https://elsewhere.invalid/"})

    async with serving(elsewhere) as address:
        with pytest.raises(Unavailable, match="name the address that it leads to"):
            await PrometheusHistory(address).read(
                namespace="ml", release="qna", start=NOON, end=NOON, interval=STEP
            )


async def test_too_long_a_time_is_refused_before_it_fills_the_memory():
    with pytest.raises(Invalid, match="replay less"):
        await PrometheusHistory("http://nowhere").read(
            namespace="ml", release="qna", start=NOON, end=NOON + timedelta(days=90), interval=STEP
        )


RELEASE = """\
kind: ModelRelease
metadata: {name: qna, namespace: ml}
spec: {model: {uri: "http://store/qna/7"}, canary: {weight: 50}}
"""


async def command(tmp_path: Path, address: str, *arguments: str, release: str = RELEASE) -> int:
    path = tmp_path / "release.yaml"
    path.write_text(release)
    end = (NOON + 60 * STEP).isoformat()
    given = [
        "replay",
        str(path),
        "--prometheus",
        address,
        "--start",
        "2026-11-01T12:00:00Z",
        "--end",
        end,
    ]
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
    begin, _, end = " ".join(text.split()).partition(": ")
    assert begin == "qna, as Prometheus recorded it"
    assert end.startswith("canary 7 (new) beside 6 (old) would have been rolled back, ")
    assert max(map(len, text.splitlines())) <= 80
    assert told["end"] == "rolled_back"
    assert told["canary"] == {"revision": "new", "version": "7"}
    assert told["events"][-1]["reason"] == "Regression"
    assert told["began"] == "2026-11-01T12:01:00+00:00"
    assert told["gates"][0]["verdict"] == "Fail"


async def test_the_command_asks_the_gates_own_queries_of_that_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    gates = yaml.safe_dump({"gates": list(ALL)}, default_flow_style=True)
    sick = Prometheus([Revision(*OLD, before=10**6), Revision(*NEW, since=6, queue=lambda _: 0.7)])
    async with serving(sick.answer) as address:
        release = RELEASE.replace("weight: 50}}", f"weight: 50}}, analysis: {gates.strip()}}}")
        assert await command(tmp_path, address, release=release) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "would have been rolled back, " in text
    assert "Regression: gate queue: 0.7 is not at most 0.5, 3 of 3 looks in a row" in text


async def test_the_command_says_what_an_undecided_release_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    async with serving(
        Prometheus([Revision(*OLD, each=1), Revision(*NEW, each=1)]).answer
    ) as address:
        assert await command(tmp_path, address) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "It waited: canary 7 " in text
    assert ": 60 of the 100 canary requests needed" in text


async def test_a_release_that_was_not_recorded_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    async with serving(Prometheus([]).answer) as address:
        assert await command(tmp_path, address) == 1
    assert "has no predictions_total of release ml/qna" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--end", "2026-11-01T11:00:00Z"], "--end must be after --start"),
        (["--start", "yesterday"], "must be a time such as 2026-11-01T12:00:00Z"),
        (["--start", "2026-11-01T12:00:00"], "must name its time zone"),
        (["--prometheus", ""], "names no Prometheus, and pods keep no past; give --prometheus"),
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


async def test_a_prometheus_that_asks_who_is_there_is_shown_what_stands_in_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    sick = Prometheus([Revision(*OLD, before=10**6), Revision(*NEW, errors=0.2, since=6)])

    async def guarded(request: web.Request) -> web.StreamResponse:
        known = ("Bearer s3cret", encode_basic_auth("ann", "s3cret"))
        if request.headers.get("Authorization") in known:
            return await sick.answer(request)
        return web.Response(status=401, text="who are you?")

    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    async with serving(guarded) as address:
        assert await command(tmp_path, address) == 1
        assert "HTTP status 401: who are you?" in " ".join(capsys.readouterr().err.split())
        assert await command(tmp_path, address, "--token-file", str(secret)) == 0
        assert (
            await command(tmp_path, address, "--user", "ann", "--password-file", str(secret)) == 0
        )
    assert "s3cret" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--token-file", "gone"], "gone cannot be read"),
        (["--user", "ann"], "--user and --password-file belong together"),
        (["--password-file", "gone"], "--user and --password-file belong together"),
    ],
    ids=["no such file", "no password", "no name"],
)
async def test_wrong_credentials_say_what_is_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
):
    assert await command(tmp_path, "http://nowhere", *arguments) == 1
    assert sentence in capsys.readouterr().err


def test_a_switch_has_no_arms_side_by_side_to_replay():
    spec = a_spec(canary={"weight": 100, "shadow": {}})
    with pytest.raises(Invalid, match="there is nothing to replay"):
        replay(spec, Recording(looks=(), versions={}), stable="rev1", canary="rev2")
