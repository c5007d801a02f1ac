"""Gates in a person's own PromQL, asked of a real server:
whatever it answers, never a pass by silence.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import CanaryStatus, GateStatus, StableStatus, Status, Verdict
from modelrelease_operator.core.analysis.gates.registry import query_of
from modelrelease_operator.core.analysis.judge import Judgement, judge
from modelrelease_operator.core.measurement.queries import QueryScope
from modelrelease_operator.runtime.measure import measure
from modelrelease_operator.runtime.metric_sources.prometheus.source import PrometheusSource
from testbed.builders import START, a_spec, a_target
from testbed.servers import Handler, answering, hanging_up, never, serving

STABLE = StableStatus(**a_target("1").parts(), since=START)
CANARY = CanaryStatus(**a_target("2").parts(), since=START)
PLACE = QueryScope(
    namespace="ml", release="qna", canary=CANARY, stable=STABLE, interval=timedelta(seconds=10)
)
REFUNDS = {
    "bad": "orders_total{revision='{{revision}}',outcome='refund'}",
    "total": "orders_total{revision='{{revision}}'} # all of them",
}
COUNTS = {"name": "refunds", "counts": REFUNDS}
THRESHOLD = {
    "name": "p99",
    "threshold": {"query": "p99{v='{{version}}',r='{{release}}'}", "max": 0.5},
}

Row = tuple[dict[str, str], Any]


def asking(*gates: dict[str, Any], **analysis: Any) -> ReleaseSpec:
    return a_spec(analysis={"gates": list(gates), **analysis})


def vector(*rows: Row) -> str:
    result = [{"metric": labels, "value": [1_700_000_000.0, value]} for labels, value in rows]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


def series(arm: str, kind: str, value: float | str, pod: str = "", **labels: str) -> Row:
    marks = {"modelrelease_arm": arm, "modelrelease_kind": kind, "pod": pod or f"{arm}-a"}
    return {**marks, **labels}, str(value)


def orders(stable: tuple[int, int], canary: tuple[int, int]) -> str:
    return vector(
        series("stable", "total", stable[0]), series("stable", "bad", stable[1]),
        series("canary", "total", canary[0]), series("canary", "bad", canary[1]),
    )  # fmt: skip


def answers_in_turn(*bodies: str) -> Handler:
    """Answer a gate's queries one after the other; the predictor has no counters here."""
    waiting = list(bodies)

    async def handler(request: web.Request) -> web.Response:
        query = str((await request.post())["query"])
        body = (
            vector() if "predictions_total" in query else waiting.pop(0) if waiting else bodies[-1]
        )
        return web.Response(text=body, content_type="application/json")

    return handler


class Looks:
    """Looks at a real server, remembering through JSON as the operator does."""

    def __init__(self, spec: ReleaseSpec) -> None:
        self.spec, self.status, self.now = spec, Status(stable=STABLE, canary=CANARY), START

    async def look(
        self,
        address: str,
        *,
        after: float = 10,
        pods: Mapping[str, Collection[str]] | None = None,
        patience: float = 5,
    ) -> Judgement:
        self.now += timedelta(seconds=after)
        source = PrometheusSource(address, timeout_seconds=patience)
        measured = await measure(source, self.spec, PLACE)
        await source.close()
        found = judge(
            spec=self.spec, status=self.status, metrics=measured.metrics, answers=measured.answers,
            next_weight=50, now=self.now, pods=pods,
        )  # fmt: skip
        status = self.status.model_copy(update={"evidence": found.evidence, "gates": found.gates})
        self.status = Status.parse(json.loads(json.dumps(status.to_dict())))
        return found


async def looks_at(spec: ReleaseSpec, *bodies: str, after: float = 10) -> Judgement:
    looking = Looks(spec)
    async with serving(answers_in_turn(*bodies)) as address:
        for _ in bodies:
            found = await looking.look(address, after=after)
    return found


def own(found: Judgement, name: str = "refunds") -> GateStatus:
    return next(gate for gate in found.gates if gate.name == name)


ZERO = orders((0, 0), (0, 0))


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        pytest.param([((30_000, 30), (10_000, 10))], Verdict.PASS, id=(
            "passes with evidence of no "
            "harm"
        )),
        pytest.param(
            [((3_000, 3), (1_000, 300)), ((6_000, 6), (2_000, 600))],
            Verdict.FAIL, id="fails with evidence of harm",
        ),
        pytest.param([((300, 0), (99, 0))], Verdict.INSUFFICIENT, id="waits for enough"),
    ],
)  # fmt: skip
async def test_counts_of_ones_own_are_judged_as_errors_are(counts: list[Any], verdict: Verdict):
    found = await looks_at(asking(COUNTS), ZERO, *(orders(*one) for one in counts))
    assert found.verdict is verdict
    assert own(found).bound == "1.1 times stable's plus 0.05 points"


async def test_a_verdict_on_counts_of_ones_own_names_the_gate_and_the_figures():
    looks = (orders((3_000, 27), (1_000, 300)), orders((22_800, 205), (1_204, 400)))
    found = await looks_at(asking(COUNTS), ZERO, *looks)
    assert found.message == (
        "canary 2 is bad by gate refunds for 33.2 % of 1,204 requests, stable 0.9 % of 22,800 "
        "requests: worse than 1.1 times stable's plus 0.05 points, with 99 % confidence"
    )
    gate = own(found)
    assert (gate.canary_percent, gate.stable_percent) == (33.2226, 0.8991)


async def test_the_history_of_pods_before_the_first_look_counts_for_nothing():
    found = await looks_at(asking(COUNTS), orders((90_000, 0), (9_000, 9_000)))
    assert (own(found).canary_total, own(found).verdict) == (0, Verdict.INSUFFICIENT)


async def test_a_first_look_that_failed_is_not_mistaken_for_the_start_of_the_counters():
    found = await looks_at(asking(COUNTS), vector(), orders((90_000, 0), (9_000, 9_000)))
    assert own(found).canary_total == 0


async def test_a_limit_on_counts_of_ones_own_freezes_when_stable_breaks_it_too():
    gate = {"name": "refunds", "counts": {**REFUNDS, "maxPercent": 2}}
    found = await looks_at(asking(gate), ZERO, orders((9_000, 900), (3_000, 300)))
    assert found.verdict is Verdict.INSUFFICIENT
    assert found.message.endswith(
        "stable itself breaks the limit, so nobody is blamed and nothing moves"
    )


async def test_a_pod_that_restarts_counts_from_nothing_and_two_scrapes_of_one_pod_count_once():
    def look(canary: int, job: str) -> str:
        again = [
            series("canary", "total", canary, job=name, instance=f"10.0.0.1:{port}", code="200")
            for name, port in ((job, 80), (f"{job}-again", 81))
        ]
        return vector(series("stable", "total", 5), *again)

    found = await looks_at(asking(COUNTS), look(500, "a"), look(700, "a"), look(30, "b"))
    assert own(found).canary_total == 230


async def test_a_gate_whose_query_is_edited_counts_anew():
    looking = Looks(asking(COUNTS))
    async with serving(
        answers_in_turn(ZERO, orders((900, 0), (300, 9)), orders((9_000, 0), (3_000, 9)))
    ) as at:
        await looking.look(at)
        await looking.look(at)
        edited = {**REFUNDS, "bad": REFUNDS["bad"].replace("refund", "complaint")}
        looking.spec = asking({"name": "refunds", "counts": edited})
        found = await looking.look(at)
    assert own(found).canary_total == 0


async def test_both_arms_and_both_queries_are_asked_at_once_with_every_placeholder_filled():
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(str((await request.post())["query"]))
        return web.Response(text=vector(), content_type="application/json")

    every = "x{a='{{release}}',b='{{namespace}}',c='{{revision}}',d='{{version}}'}[{{interval}}]"
    gates = (COUNTS, {"name": "own", "threshold": {"query": every, "min": 1}})
    async with serving(handler) as address:
        await Looks(asking(*gates)).look(address)
    (counts,) = [query for query in asked if "orders_total" in query]
    assert len(re.findall("orders_total", counts)) == 4
    assert counts.count("revision='rev1'") == counts.count("revision='rev2'") == 2
    assert "# all of them\n)" in counts, "a comment does not swallow what follows"
    assert "x{a='qna',b='ml',c='rev2',d='2'}[10s]" in asked


UNUSABLE: list[Any] = [
    pytest.param(vector(), Verdict.INSUFFICIENT, "found nothing for canary 2 yet", id="nothing"),
    pytest.param(
        vector(series("canary", "total", 9)), Verdict.INSUFFICIENT, "found nothing for stable 1",
        id="one arm"
    ),
    *(
        pytest.param(
            vector(series("canary", "total", value)), Verdict.UNAVAILABLE,
            f"gives {shown}, which is no number", id=value,
        )
        for value, shown in (("NaN", "nan"), ("+Inf", "inf"), ("-1", "-1"), ("0.5", "0.5"))
    ),
    pytest.param(
        vector(({"modelrelease_arm": "canary", "modelrelease_kind": "bad"}, "7")),
        Verdict.UNAVAILABLE, "must keep the label pod or instance", id="a sum over pods",
    ),
    pytest.param(vector(({"pod": "a"}, "7")), Verdict.UNAVAILABLE, "answered nonsense to",
    id="no marks"),
    pytest.param(
        (
            '{"status": "success", "data": '
            '{"result": null}}'
        ), Verdict.UNAVAILABLE, "nonsense", id="null"
    ),
    pytest.param("<html>Sign in</html>", Verdict.UNAVAILABLE, "answered with no JSON",
    id="a login page"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "verdict", "sentence"), UNUSABLE)
async def test_counts_that_cannot_be_used_are_no_pass_and_name_the_gate_and_its_query(
    body: str, verdict: Verdict, sentence: str
):
    found = await looks_at(asking(COUNTS), body)
    assert found.verdict is own(found).verdict is verdict
    assert found.message.startswith("gate refunds")
    assert sentence in found.message
    assert "orders_total" in found.message


PARSE_ERROR = json.dumps(
    {"status": "error", "errorType": "bad_data", "error": '1:5: parse error: unexpected ")"'}
)


@pytest.mark.parametrize("gate", [COUNTS, THRESHOLD], ids=["counts", "threshold"])
@pytest.mark.parametrize(
    ("handler", "sentence"),
    [
        pytest.param(answering(PARSE_ERROR, 400), (
            "cannot run the query, HTTP status 400: 1:5: "
            "parse error"
        ),
                     id="a query that cannot be parsed"),
        pytest.param(answering("busy", 503), "HTTP status 503", id="too busy"),
        pytest.param(never, "does not answer (", id="too slow"),
        pytest.param(hanging_up, "does not answer (it hangs up)", id="hangs up"),
    ],
)  # fmt: skip
async def test_a_server_in_trouble_leaves_a_gate_unmeasured_with_its_name_its_query_and_the_reason(
    gate: dict[str, Any], handler: Handler, sentence: str
):
    async with serving(handler) as address:
        found = await Looks(asking(gate)).look(address, patience=1.5 if handler is never else 30)
    assert found.verdict is Verdict.UNAVAILABLE
    (status,) = found.gates
    assert f"gate {gate['name']}" in status.message
    assert "`" in status.message
    assert sentence in status.message


async def test_counts_that_ask_the_same_of_both_arms_compare_nothing():
    same = {"bad": "x{v='{{version}}'}", "total": "y{v='{{version}}'}"}
    spec = asking({"name": "same", "counts": same})
    twin = QueryScope(
        namespace="ml", release="qna", stable=STABLE, interval=timedelta(seconds=10),
        canary=a_target("2").model_copy(update={"version": "1"}),
    )  # fmt: skip
    async with serving(answering(ZERO)) as address:
        source = PrometheusSource(address, timeout_seconds=5)
        measured = await measure(source, spec, twin)
        await source.close()
    same_of_both = "asks the same of both arms, which both have version 1; use {{revision}}"
    assert same_of_both in str(measured.answers["same"])


async def test_a_ready_pod_that_is_not_scraped_yet_is_waited_for():
    looking = Looks(asking(COUNTS))
    async with serving(answering(ZERO)) as address:
        found = await looking.look(
            address, pods={"rev1": {"stable-a"}, "rev2": {"canary-a", "canary-b"}}
        )
    assert found.message == "gate refunds: waiting for the metrics of 1 of 3 ready pods (canary-b)"


def number(value: float | str) -> str:
    return vector(({}, str(value)))


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        pytest.param([0.4, 0.4], Verdict.INSUFFICIENT, id="two good looks are too few"),
        pytest.param(
            [0.4, 0.5, 0.1], Verdict.PASS, id="three good looks pass, the limit itself is good"
        ),
        pytest.param([0.6, 0.7], Verdict.INSUFFICIENT, id="two bad looks are too few"),
        pytest.param([0.6, 0.7, 0.51], Verdict.FAIL, id="three bad looks fail"),
        pytest.param([0.6, 0.6, 0.4, 0.6], Verdict.INSUFFICIENT, id="a good look ends a bad row"),
        pytest.param([0.4, 0.4, 0.4, 0.6], Verdict.INSUFFICIENT, id="a bad look ends a pass"),
        pytest.param(
            [0.6, 0.6, "NaN", 0.6], Verdict.INSUFFICIENT, id="a look without a number ends a row"
        ),
    ],
)
async def test_a_threshold_needs_looks_in_a_row_on_one_side(values: list[Any], verdict: Verdict):
    assert (await looks_at(asking(THRESHOLD), *map(number, values))).verdict is verdict


async def test_a_threshold_that_fails_says_what_was_found_and_what_is_allowed():
    found = await looks_at(asking(THRESHOLD), *[number(0.71)] * 3)
    assert found.message == "gate p99: 0.71 is not at most 0.5, 3 of 3 looks in a row"
    gate = own(found, "p99")
    assert (gate.value, gate.bound, gate.evidence_for_rollback) == (0.71, "at most 0.5", 1.0)


async def test_looks_that_come_closer_together_than_the_interval_are_one():
    assert (
        await looks_at(asking(THRESHOLD), *[number(0.9)] * 4, after=5)
    ).verdict is Verdict.INSUFFICIENT
    assert (await looks_at(asking(THRESHOLD), *[number(0.9)] * 5, after=5)).verdict is Verdict.FAIL


async def test_a_clock_that_was_set_back_does_not_stop_a_row_of_looks():
    looking = Looks(asking(THRESHOLD))
    async with serving(answers_in_turn(number(0.9))) as address:
        for after in (10, -3600, 10):
            found = await looking.look(address, after=after)
    assert found.verdict is Verdict.FAIL


def test_a_row_of_looks_begins_anew_at_another_weight():
    status = Status.parse({"evidence": {"streaks": {"p99-1": {"looks": 2}}, "begun": ["counts/x"]}})
    assert (status.evidence.next_step().streaks, status.evidence.next_step().begun) == ({}, [])


@pytest.mark.parametrize(
    ("body", "verdict", "sentence"),
    [
        pytest.param(vector(), Verdict.INSUFFICIENT, "found nothing", id="nothing"),
        pytest.param(number("NaN"), Verdict.INSUFFICIENT, (
            "gives nan, which is no "
            "number"
        ), id="NaN"),
        pytest.param(number("+Inf"), Verdict.INSUFFICIENT, "gives inf", id="infinity"),
        pytest.param(
            vector(({"pod": "a"}, "1"), ({"pod": "b"}, "2")), Verdict.UNAVAILABLE,
            "gives 2 series and must give one; put sum() or max() around it", id="two series",
        ),
        pytest.param(number("many"), Verdict.UNAVAILABLE, "answered nonsense", id="a word"),
        pytest.param("[]", Verdict.UNAVAILABLE, "answered nonsense", id="a list"),
    ],
)  # fmt: skip
async def test_a_threshold_without_one_number_is_no_pass(
    body: str, verdict: Verdict, sentence: str
):
    found = await looks_at(asking(THRESHOLD), body, body, body)
    assert found.verdict is verdict
    assert found.message.startswith("gate p99: ")
    assert sentence in found.message
    assert "`p99{v='{{version}}',r='{{release}}'}`" in found.message


async def test_a_scalar_is_a_number_too():
    scalar = (
        '{"status": "success", "data": {"resultType": "scalar", "result": [1700000000, "0.3"]}}'
    )
    assert (await looks_at(asking(THRESHOLD), *[scalar] * 3)).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("limits", "inside"),
    [
        ({"max": 1}, lambda value: value <= 1),
        ({"min": 1}, lambda value: value >= 1),
        ({"min": 1, "max": 2}, lambda value: 1 <= value <= 2),
    ],
    ids=["at most", "at least", "between"],
)
def test_limits_belong_to_what_is_allowed(
    limits: dict[str, float], inside: Callable[[float], bool]
):
    (gate,) = asking({"name": "a", "threshold": {"query": "up", **limits}}).analysis.gates
    assert gate.threshold
    for value in (0.0, 1.0, 1.5, 2.0, 3.0):
        assert gate.threshold.keeps(value) == inside(value)


async def test_a_dry_run_shows_its_verdict_and_decides_nothing():
    harm = {**COUNTS, "name": "dry", "dryRun": True}
    bodies = (orders((3_000, 3), (1_000, 300)), orders((6_000, 6), (2_000, 600)))
    found = await looks_at_each(
        {"orders_total": [ZERO, *bodies], "p99": [number(0.1)] * 3}, harm, THRESHOLD
    )
    assert (own(found, "dry").verdict, own(found, "dry").dry_run) == (Verdict.FAIL, True)
    assert found.verdict is Verdict.PASS
    assert found.message.startswith("gate p99: 0.1 is at most 0.5")


async def looks_at_each(bodies: dict[str, list[str]], *gates: dict[str, Any]) -> Judgement:
    """Answer each query by a word in it, look by look."""
    waiting = {word: list(answers) for word, answers in bodies.items()}

    async def handler(request: web.Request) -> web.Response:
        query = str((await request.post())["query"])
        word = next((word for word in waiting if word in query), None)
        return web.Response(
            text=waiting[word].pop(0) if word else vector(), content_type="application/json"
        )

    looking = Looks(asking(*gates))
    async with serving(handler) as address:
        for _ in max(bodies.values(), key=len):
            found = await looking.look(address)
    return found


async def test_a_dry_run_that_cannot_be_measured_holds_nothing_up():
    dry = {**COUNTS, "dryRun": True}
    found = await looks_at_each(
        {"orders_total": ["<html>"] * 3, "p99": [number(0.1)] * 3}, dry, THRESHOLD
    )
    assert own(found).verdict is Verdict.UNAVAILABLE
    assert found.verdict is Verdict.PASS


async def test_a_gate_that_cannot_be_measured_holds_the_release_whatever_the_others_say():
    found = await looks_at_each(
        {"orders_total": ["<html>"] * 3, "p99": [number(0.1)] * 3}, COUNTS, THRESHOLD
    )
    assert own(found, "p99").verdict is Verdict.PASS
    assert found.verdict is Verdict.UNAVAILABLE
    assert found.message.startswith("gate refunds could not be measured, so nothing moves: ")


async def test_counts_that_come_late_are_counted_once():
    late = [ZERO, "<html>", "<html>", orders((900, 9), (300, 3))]
    found = await looks_at_each({"orders_total": late}, COUNTS)
    assert (own(found).canary_total, own(found).stable_bad) == (300, 9)


def test_a_gate_of_ones_own_that_was_not_asked_never_passes():
    status = Status(stable=STABLE, canary=CANARY)
    for gate in (COUNTS, THRESHOLD):
        found = judge(spec=asking(gate), status=status, metrics=(), next_weight=50, now=START)
        assert found.verdict is Verdict.UNAVAILABLE
        assert "was not asked" in found.message


def test_gates_on_the_predictors_own_counters_have_no_query():
    assert [query_of(gate, PLACE) for gate in a_spec().analysis.gates] == [None, None]
