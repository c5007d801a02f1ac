"""The serving benchmark's own sums: medians, ratios, goals, tables,
and what it reads from its load tool.
"""

import asyncio
import json
import re
import subprocess
from collections import Counter
from importlib.metadata import version

import pytest
from aiohttp import web

from benchmarks.serving import __main__ as program
from benchmarks.serving import environments, load, processes, verify
from benchmarks.serving.candidates import CANDIDATES, OWN, PLAIN, Role, UnknownError, Work, matching
from benchmarks.serving.endurance import Phase, Sample, overload_goals, steady_goals
from benchmarks.serving.endurance import as_markdown as soak_as_markdown
from benchmarks.serving.figures import (
    MANY,
    ONE,
    Load,
    Visit,
    fastest_rival,
    quickest_rival,
    summaries,
)
from benchmarks.serving.goals import goals
from benchmarks.serving.openloop import OpenLoop
from benchmarks.serving.report import Report, as_json, as_markdown, from_json
from examples.waiting import wait_until
from testbed.ports import free_port
from testbed.servers import answering, hanging_up, never, serving

ROW = [0.1] * 16


def visit(name, rate, *, number=1, alone=100.0, p99=10.0, mb=90.0, errors=0):
    many = Load(
        requests_per_second=rate,
        p50_ms=1,
        p99_ms=p99,
        cpu_us=50,
        errors=errors,
        probe_ms=3,
        foreign_share=0.1,
    )
    one = Load(
        requests_per_second=alone,
        p50_ms=1,
        p99_ms=2,
        cpu_us=50,
        errors=0,
        probe_ms=3,
        foreign_share=0.3,
    )
    return Visit(
        candidate=name, round=number, start_seconds=1, import_seconds=0.5, resident_mb=mb,
        processes=1,
        worst_difference=None if name == "raw-asgi" else 1e-16, loads={MANY: many, ONE: one},
    )  # fmt: skip


def found(*visits):
    return summaries(CANDIDATES, visits)


class TestSummaries:
    def test_are_the_median_of_the_rounds_with_the_lowest_and_highest(self):
        several = [visit("ours-logistic", rate, number=n) for n, rate in enumerate((300, 100, 200))]
        rate = found(*several)["ours-logistic"].rate(MANY)
        assert (rate.middle, rate.low, rate.high) == (200, 100, 300)

    def test_count_every_error_and_show_the_noisiest_round(self):
        several = [visit("ours-logistic", 100, errors=2), visit("ours-logistic", 100, errors=3)]
        summary = found(*several)["ours-logistic"]
        assert summary.errors == 5
        assert summary.foreign_share == 0.3

    def test_leave_out_who_was_never_visited(self):
        assert list(found(visit("raw-asgi", 1))) == ["raw-asgi"]

    def test_the_fastest_rival_may_be_one_that_nobody_tuned_and_is_never_ours(self):
        every = found(
            visit("ours-logistic", 9000),
            visit("mlserver-tuned-logistic", 900),
            visit("tutorial-logistic", 950),
        )
        best = fastest_rival(every, Work.LOGISTIC)
        assert best is not None
        assert best.candidate.name == "tutorial-logistic"
        assert fastest_rival(every, Work.FOREST) is None

    def test_the_best_p99_may_be_another_rivals(self):
        every = found(
            visit("mlserver-tuned-logistic", 900, p99=160), visit("kserve-logistic", 500, p99=80)
        )
        best = quickest_rival(every, Work.LOGISTIC)
        assert best is not None
        assert best.candidate.name == "kserve-logistic"

    def test_a_rival_that_starved_is_nobody_to_compare_with(self):
        every = found(visit("kserve-forest", 0, p99=0), visit("tutorial-forest", 60, p99=900))
        best = quickest_rival(every, Work.FOREST)
        assert best is not None
        assert best.candidate.name == "tutorial-forest"


class TestGoals:
    def verdicts(self, *visits):
        return {goal.text: goal.verdict for goal in goals(found(*visits))}

    def test_are_met_at_their_limit_and_missed_below_it(self):
        rivals = (visit("mlserver-tuned-logistic", 1000, p99=90), visit("raw-asgi", 14_000))
        text = "logistic pipeline: at least 10 times the fastest rival"
        assert self.verdicts(*rivals, visit("ours-logistic", 10_000))[text] == "met"
        assert self.verdicts(*rivals, visit("ours-logistic", 9_999))[text] == "MISSED"

    def test_say_so_when_somebody_they_need_did_not_take_part(self):
        assert set(self.verdicts(visit("raw-asgi", 1)).values()) == {"not measured"}

    def test_tell_both_figures_and_the_worst_pair_of_rounds(self):
        every = found(
            visit("ours-logistic", 9000), visit("ours-logistic", 12_000), visit("raw-asgi", 14_000)
        )
        goal = next(goal for goal in goals(every) if "bare ASGI" in goal.text)
        assert goal.measured == (
            "0.75 times (10,500 and 14,000 of raw-asgi; worst pair of rounds 0.64; by CPU time "
            "1.00)"
        )

    def test_the_tail_must_be_under_a_third_not_at_it(self):
        rival, text = visit("kserve-logistic", 500, p99=30), "p99 under a third of the best rival's"
        at = self.verdicts(rival, visit("ours-logistic", 1, p99=10))
        under = self.verdicts(rival, visit("ours-logistic", 1, p99=9.9))
        assert at[f"logistic pipeline: {text}"] == "MISSED"
        assert under[f"logistic pipeline: {text}"] == "met"

    def test_memory_is_judged_by_the_worst_round(self):
        every = [
            visit("ours-logistic", 1, mb=90),
            visit("ours-logistic", 1, mb=90),
            visit("ours-logistic", 1, mb=101),
        ]
        assert self.verdicts(*every)["logistic pipeline: less than 100 MB of memory"] == "MISSED"


class TestReports:
    def report(self, **changes):
        visits = [
            visit("ours-logistic", 9000),
            visit("raw-asgi", 14_000),
            visit("tutorial-logistic", 600),
        ]
        return Report(visits=visits, about={"machine": "two cores"}, **changes)

    def test_survive_being_written_and_read(self):
        report = self.report(failures={"kserve-logistic": "gave no answer"})
        again = from_json(json.loads(json.dumps(as_json(report))))
        assert again == report
        assert as_markdown(again) == as_markdown(report)

    def test_show_the_fastest_first_and_hide_no_miss_and_no_failure(self):
        text = as_markdown(self.report(failures={"kserve-logistic": "gave no answer"}))
        assert text.index("**ours-logistic**") < text.index("| tutorial-logistic")
        assert "| MISSED | 0.64 times" in text
        assert "- kserve-logistic: gave no answer" in text

    def test_tell_how_many_rounds_there_were_when_a_run_was_stopped(self):
        visits = [visit("ours-logistic", 1), visit("ours-logistic", 1), visit("raw-asgi", 1)]
        assert "- rounds that were done: 1 to 2" in as_markdown(Report(visits=visits))
        assert "- rounds that were done: 1\n" in as_markdown(Report(visits=visits[1:]))

    def test_a_failure_alone_is_enough_to_end_with_1(self):
        report = Report(visits=[], failures={"kserve-logistic": "gave no answer"})
        assert report.missed
        assert not Report(visits=[]).missed


class TestCandidates:
    def test_each_rival_takes_part_with_both_models(self):
        for rival in (
            "tutorial",
            "mlserver",
            "mlserver-tuned",
            "kserve",
            "bentoml",
            "bentoml-tuned",
            "mlflow",
        ):
            names = {candidate.name for candidate in CANDIDATES if candidate.role is Role.RIVAL}
            assert {f"{rival}-logistic", f"{rival}-forest"} <= names

    @pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.name)
    def test_fills_its_templates_and_has_its_pins(self, candidate):
        sha256 = dict.fromkeys(("logistic", "forest"), "0" * 64)
        where = {
            "env": "/e",
            "models": "/m",
            "apps": "/a",
            "root": "/r",
            "port": "1",
            "port2": "2",
            "port3": "3",
        }
        for word in (*candidate.command, *candidate.variables.values(), candidate.folder):
            assert "{" not in word.format_map({**where, "sha256": sha256})
        assert environments.folder_of(candidate.environment).name

    @pytest.mark.parametrize("name", sorted({one.environment for one in CANDIDATES} - {OWN}))
    def test_every_rival_has_exact_versions_and_our_scikit_learn(self, name):
        pins = (environments.requirements_of(name)).read_text().splitlines()
        assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[^ ]+", pin) for pin in pins)
        assert f"scikit-learn=={version('scikit-learn')}" in pins

    def test_a_body_holds_the_row_as_it_is(self):
        for candidate in CANDIDATES:
            assert "0.1, 0.1" in json.dumps(candidate.wire.body(ROW))

    def test_patterns_choose_and_a_typing_error_is_told(self):
        assert {one.name for one in matching(["ours-*", "raw-asgi"])} >= {"ours-forest", "raw-asgi"}
        with pytest.raises(
            UnknownError, match="--only our: no candidate has such a name; there are ours-logistic"
        ):
            matching(["our"])


class TestTheLoadTool:
    def test_gets_the_body_and_the_method(self):
        lua = load.script({"features": [0.5]})
        assert 'wrk.body = [==[{"features": [0.5]}]==]' in lua
        assert 'wrk.method = "POST"' in lua

    def test_is_read_in_seconds_and_milliseconds_with_every_kind_of_error(self):
        printed = (
            'Running\nwrk-result {"requests": 500, "microseconds": 2000000, "p50": 1500.0, "p99": '
            '9000.0, "connect": 1, "read": 2, "write": 3, "status": 4, "timeout": 5}\n'
        )
        seen = load.parse(printed)
        assert (seen.requests, seen.seconds, seen.p50_ms, seen.p99_ms, seen.errors) == (
            500,
            2.0,
            1.5,
            9.0,
            15,
        )

    def test_that_printed_nothing_is_an_error_with_its_words(self):
        with pytest.raises(ValueError, match="unable to connect"):
            load.parse("unable to connect")


class TestTheCommand:
    def test_lists_who_takes_part_without_starting_anything(self, capsys):
        assert program.main(["--list", "--only", "raw-asgi"]) == 0
        assert "raw-asgi" in capsys.readouterr().out

    def test_shows_a_run_that_is_over_and_puts_it_into_a_file(self, tmp_path, capsys):
        saved, page = tmp_path / "run.json", tmp_path / "page.md"
        saved.write_text(json.dumps(as_json(Report(visits=[visit("raw-asgi", 14_000)]))))
        page.write_text("before <!-- serving: begin -->old<!-- serving: end --> after")
        assert program.main(["--show", str(saved), "--into", str(page)]) == 0
        assert "14,000" in capsys.readouterr().out
        assert "14,000" in page.read_text()
        assert "old" not in page.read_text()

    @pytest.mark.parametrize(
        ("options", "words"),
        [(["--seconds", "0"], "too short"), (["--only", "nobody"], "no candidate")],
    )
    def test_refuses_wrong_options_with_2(self, options, words, capsys):
        with pytest.raises(SystemExit) as ended:
            program.main(options)
        assert ended.value.code == 2
        assert words in capsys.readouterr().err


class TestServers:
    def test_are_seen_and_ended_with_all_that_they_started(self, tmp_path):
        server = processes.start(
            ["sh", "-c", "sleep 60 & sleep 60 & echo started; wait"],
            core=0, folder=tmp_path, variables={}, log=tmp_path / "log",
        )  # fmt: skip
        try:
            wait_until(
                "three processes",
                lambda: server.usage().processes,
                lambda count: count == 3,
                within=20,
            )
            assert server.usage().resident_bytes > 0
            assert server.alive
        finally:
            server.stop()
        assert server.usage().processes == 0
        assert server.last_words() == "started"

    def test_are_found_even_when_they_left_the_session_or_lost_their_parent(self):
        def process(parent, session, started):
            return ["S", str(parent), "0", str(session), *["0"] * 15, str(started)]

        leader, left, child, stranger = (
            process(1, 10, 100), process(10, 11, 101), process(11, 11, 102), process(1, 12, 103)
        )  # fmt: skip
        every = {10: leader, 11: left, 12: child, 13: stranger}
        assert set(processes.family(every, 10, {})) == {10, 11, 12}
        orphans = {11: process(1, 11, 101), 12: process(1, 11, 102), 13: stranger}
        assert set(processes.family(orphans, 10, {11: "101", 12: "102", 13: "99"})) == {11, 12}

    def test_that_ignore_a_request_to_end_are_ended_all_the_same(self, tmp_path, monkeypatch):
        monkeypatch.setattr(processes, "_GRACE_SECONDS", 0.1)
        server = processes.start(
            ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"],
            core=0, folder=tmp_path, variables={}, log=tmp_path / "log",
        )  # fmt: skip
        try:
            wait_until("the trap", server.last_words, lambda words: "deaf" in words, within=20)
        finally:
            server.stop()
        assert not server.alive

    def test_leave_alone_what_they_did_not_start(self, tmp_path):
        other = subprocess.Popen(["sleep", "60"])
        try:
            processes.start(
                ["sleep", "60"], core=0, folder=tmp_path, variables={}, log=tmp_path / "log"
            ).stop()
            assert other.poll() is None
        finally:
            other.kill()
            other.wait()


def sample(at, mb, *, sent=100, **outcomes):
    counts = outcomes or {"200": sent}
    return Sample.of(at, mb, sent, counts, [1.0, 2.0, 3.0])


def phase(samples, **changes):
    values = {
        "name": "Steady", "server": "ours-logistic", "sustainable": 1000.0, "rate": 500.0,
        "samples": samples,
        "resident_before_mb": samples[0].resident_mb, "alive": True, "right_after": True,
    }  # fmt: skip
    return Phase(**{**values, **changes})


class TestEndurance:
    def test_the_slope_is_in_megabytes_an_hour_and_leaves_out_the_first_quarter(self):
        warming = [sample(60 * n, 50 + 10 * n) for n in range(4)]
        rising = [sample(60 * n, 90 + 1 * n) for n in range(4, 16)]
        assert phase([*warming, *rising]).slope_mb_per_hour == pytest.approx(60)

    def test_memory_that_rises_is_not_flat_and_memory_that_falls_is(self):
        rising = phase([sample(60 * n, 90 + n) for n in range(16)])
        falling = phase([sample(60 * n, 90 - n) for n in range(16)])
        assert [goal.met for goal in steady_goals(rising)] == [False, True]
        assert [goal.met for goal in steady_goals(falling)] == [True, True]

    def test_one_request_that_is_not_answered_misses_the_goal(self):
        samples = [sample(60, 90), sample(120, 90, **{"200": 99, "reset": 1})]
        flat, answered = steady_goals(phase(samples))
        assert flat.met
        assert not answered.met
        assert "1 x reset" in answered.measured

    def test_overload_must_be_refused_and_survived_in_bounded_memory(self):
        full = [sample(60 * n, 120, **{"200": 10, "503": 90}) for n in range(1, 5)]
        well = overload_goals(phase(full, resident_before_mb=100))
        assert [goal.met for goal in well] == [True, True, True]
        ill = overload_goals(phase(full, resident_before_mb=10, alive=False))
        assert [goal.met for goal in ill] == [True, False, False]

    @pytest.mark.parametrize(
        "outcomes", [{"200": 100}, {"503": 100}, {"200": 1, "503": 1, "500": 1}]
    )
    def test_overload_without_refusals_without_answers_or_with_failures_is_a_miss(self, outcomes):
        assert overload_goals(phase([sample(60, 90, **outcomes)]))[0].met is False

    def test_the_table_has_a_row_for_each_minute_and_loses_no_request(self):
        samples = [sample(at, 90, **{"200": 10, "timeout": 1}) for at in (5, 60, 65, 120, 121)]
        text = soak_as_markdown(phase(samples), [])
        rows = [line for line in text.splitlines() if re.match(r"\| \d", line)]
        assert [row.split("|")[4].strip() for row in rows] == ["20", "20", "10"]
        assert [row.split("|")[6].strip() for row in rows] == ["2", "2", "1"]


def closing(status):
    async def handler(_):
        answer = web.Response(status=status)
        answer.force_close()
        return answer

    return handler


class TestTheOpenLoopClient:
    async def ask(self, handler, *, rate=200.0, seconds=0.25, connections=1000):
        async with serving(handler) as address:
            client = OpenLoop(
                int(address.rpartition(":")[2]),
                "/predict",
                [{"features": ROW}],
                connections=connections,
            )
            await client.run(rate, seconds)
        return client.take()

    async def test_counts_every_answer_and_times_it(self):
        tally = await self.ask(answering("{}"))
        assert tally.sent == 50
        assert tally.outcomes == Counter({"200": tally.sent})
        assert len(tally.milliseconds) == tally.sent

    async def test_opens_another_connection_when_the_server_ends_one(self):
        tally = await self.ask(closing(503))
        assert tally.outcomes == Counter({"503": 50})
        assert tally.milliseconds == []

    async def test_hides_no_connection_that_the_server_cut(self):
        tally = await self.ask(hanging_up)
        assert tally.outcomes == Counter({"reset": 50})

    async def test_gives_up_on_answers_that_do_not_come_and_opens_no_more_connections_than_it_may(
        self, monkeypatch
    ):
        monkeypatch.setattr("benchmarks.serving.openloop.PATIENCE_SECONDS", 0.1)
        tally = await self.ask(never, connections=3)
        assert tally.outcomes["timeout"] >= 3
        assert tally.outcomes["not sent"] > 0
        assert tally.outcomes.total() == tally.sent == 50

    async def test_tells_that_nobody_listens(self):
        port = free_port()
        client = OpenLoop(port, "/predict", [{"features": ROW}], connections=5)
        await client.run(200, 0.05)
        tally = client.take()
        assert set(tally.outcomes) <= {"refused", "not sent"}
        assert tally.outcomes["refused"] >= 5
        assert tally.outcomes.total() == tally.sent == 10


class TestAgreement:
    async def test_a_server_that_answers_otherwise_is_refused_with_the_row(self):
        async with serving(answering('{"probabilities": [0.5, 0.5]}')) as address:
            port = int(address.rpartition(":")[2])
            right = await asyncio.to_thread(
                verify.worst_difference, port, PLAIN, [ROW] * 20, [0.5] * 20
            )
            assert right == 0.0
            wrong = [0.5] * 7 + [0.75] + [0.5] * 12
            with pytest.raises(verify.DisagreesError, match=r"row 7 is answered 0\.25 away"):
                await asyncio.to_thread(verify.worst_difference, port, PLAIN, [ROW] * 20, wrong)

    async def test_a_server_that_refuses_is_told_with_its_words(self):
        async with serving(answering("too busy", status=503)) as address:
            port = int(address.rpartition(":")[2])
            with pytest.raises(ValueError, match="503 b'too busy'"):
                await asyncio.to_thread(verify.predict_rows, port, PLAIN, [ROW])
