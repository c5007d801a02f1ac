"""Reading counters from a real server that answers well, badly, or not at all.

Whatever it answers: never an exception, never a pass, always a sentence that names the server.
"""

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from modelrelease_operator.api.status import CanaryStatus, StableStatus, Status, Verdict
from modelrelease_operator.core.analysis.judge import Judgement, judge
from modelrelease_operator.core.observed import Counter, Metrics, MetricsUnavailable
from testbed.builders import START, a_spec, a_target
from testbed.servers import Handler, answering, hanging_up, never, serving
from tests.support.asking import asking, revisions

COUNT = {"__name__": "predictions_total", "revision": "rev2", "pod": "p", "code": "500"}
BUCKET = {
    "__name__": "prediction_duration_seconds_bucket",
    "revision": "rev1",
    "pod": "q",
    "le": "0.05",
}


def answer(*rows: tuple[dict[str, str], Any]) -> str:
    result = [{"metric": labels, "value": [1_700_000_000.0, value]} for labels, value in rows]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


async def read(address: str, timeout_seconds: float = 5.0) -> Metrics:
    async with asking(address, timeout_seconds=timeout_seconds) as source:
        return await source.read_counters(revisions("rev2", "rev1"))


def judged(
    metrics: Metrics, pods: Iterable[str] = ("p", "q"), names: Iterable[str] = ("rev2", "rev1")
) -> Judgement:
    status = Status(
        stable=StableStatus(**a_target("1").parts(), since=START),
        canary=CanaryStatus(**a_target("2").parts(), since=START),
    )
    return judge(
        spec=a_spec(),
        status=status,
        metrics=metrics,
        next_weight=50,
        now=START,
        pods={revision: {pod} for revision, pod in zip(names, pods, strict=False)},
    )


@pytest.mark.parametrize("value", ["+Inf", "NaN", "-1", "1e300"])
async def test_what_is_no_number_of_pairs_is_refused_and_the_pod_named(value: str):
    pairs = {"__name__": "shadow_pairs_total", "pod": "q", "process": "ab", "result": "same"}
    async with serving(answering(answer((pairs, value)))) as address, asking(address) as source:
        found = await source.read_pairs(revisions("rev2", "rev1"), canary="rev2", stable="rev1")
    assert isinstance(found, MetricsUnavailable)
    assert "for shadow_pairs_total of pod q: no number of pairs" in found.message


async def test_counters_are_read_with_their_pod_and_what_they_count():
    async with serving(answering(answer((COUNT, "3"), (BUCKET, "41")))) as address:
        found = await read(address)
    assert found == (
        Counter(revision="rev2", pod="p", code="500", value=3.0),
        Counter(revision="rev1", pod="q", bound="0.05", value=41.0),
    )


async def test_probes_are_asked_for_only_when_wanted_and_are_never_taken_for_users():
    asked: list[str] = []
    common = {"revision": "rev2", "pod": "prober"}
    rows = (
        ({"__name__": "probe_answers_total", "result": "error", **common}, "3"),
        ({"__name__": "probe_duration_seconds_bucket", "le": "0.05", **common}, "41"),
    )

    async def handler(request: web.Request) -> web.Response:
        body = parse_qs((await request.text()) or request.query_string)
        asked.extend(body.get("query", ()))
        return web.Response(text=answer(*rows), content_type="application/json")

    async with serving(handler) as address, asking(address) as source:
        for probes in (False, True):
            found = await source.read_counters(revisions("rev2"), probes=probes)
    assert ["probe_answers_total" in query for query in asked] == [False, True]
    assert found == (
        Counter(revision="rev2", pod="prober", code="error", probe=True, value=3.0),
        Counter(revision="rev2", pod="prober", bound="0.05", probe=True, value=41.0),
    )


async def test_counters_tell_when_their_target_was_scraped_and_when_its_process_began():
    target = {"namespace": "ml", "pod": "p", "job": "pods", "instance": "10.0.0.1:8000"}
    twice = {**target, "job": "monitor"}
    rows = (
        ({**COUNT, **target}, "3"),
        ({**COUNT, **twice}, "2"),
        ({"__name__": "process_start_time_seconds", **target}, "1600000000.5"),
        ({"modelrelease_kind": "sample_time", **target}, "1699999990.25"),
        ({"modelrelease_kind": "sample_time", **twice}, "1699999970"),
    )
    async with serving(answering(answer(*rows))) as address:
        first, second = await read(address)  # type: ignore[misc]
    assert (first.pod, first.value, first.at, first.started) == (
        "p",
        3,
        1699999990.25,
        1600000000.5,
    )
    assert (second.pod, second.value, second.at, second.started) == ("p", 2, 1699999970, None)
    assert first.source != second.source, "two jobs that scrape one pod"


@pytest.mark.parametrize("moment", ["NaN", "+Inf", "soon"])
async def test_a_time_that_is_none_makes_the_look_useless(moment: str):
    time = ({"modelrelease_kind": "sample_time", "pod": "p"}, moment)
    async with serving(answering(answer((COUNT, "3"), time))) as address:
        found = await read(address)
    assert isinstance(found, MetricsUnavailable)
    assert "answered nonsense" in found.message


async def test_a_series_without_a_pod_is_known_by_its_address():
    labels = {key: value for key, value in COUNT.items() if key != "pod"} | {
        "instance": "10.0.0.1:8000"
    }
    async with serving(answering(answer((labels, "3")))) as address:
        (found,) = await read(address)  # type: ignore[misc]
    assert found.pod == "10.0.0.1:8000"


async def test_only_the_two_revisions_of_one_release_are_asked_for_and_raw():
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        body = parse_qs((await request.text()) or request.query_string)
        asked.extend(body.get("query", ()))
        return web.Response(text=answer(), content_type="application/json")

    async with serving(handler) as address:
        await read(f"{address}/prefix/")
    (query,) = asked
    assert 'namespace="ml"' in query
    assert 'release="qna"' in query
    assert 'revision=~"rev1|rev2"' in query
    assert not any(word in query for word in ("rate(", "increase(", "sum("))


@pytest.mark.parametrize(
    "rows",
    [(), (({**COUNT, "revision": ""}, "1"),)],
    ids=["nothing", "of a revision that nobody has"],
)
async def test_an_answer_without_the_pods_that_serve_is_no_evidence(rows: Any):
    async with serving(answering(answer(*rows))) as address:
        found = judged(await read(address))
    assert found.verdict is Verdict.INSUFFICIENT
    assert found.message == "waiting for the metrics of 2 of 2 ready pods (p)"


BAD: list[Any] = [
    *(
        pytest.param(answering(answer((COUNT, value))), id=value)
        for value in ("NaN", "+Inf", "-1", "0.5")
    ),
    pytest.param(answering(answer((COUNT, "many"))), id="a word for a number"),
    pytest.param(answering(answer((COUNT, None))), id="null for a number"),
    pytest.param(
        answering(answer(({"__name__": "predictions_total"}, "1"))), id="a series without labels"
    ),
    pytest.param(
        answering(answer(({**BUCKET, "revision": "rev2", "le": "soon"}, "1"))),
        id="a bucket's bound",
    ),
    pytest.param(
        answering('{"status": "error", "error": "bad_data"}'), id="an error with status 200"
    ),
    pytest.param(
        answering('{"status": "success", "data": {"result": null}}'), id="null for a result"
    ),
    pytest.param(
        answering('{"status": "success", "data": {"result": [7]}}'), id="a number for a row"
    ),
    pytest.param(answering('{"status": "success", "data": []}'), id="a list for data"),
    pytest.param(answering("[]"), id="a list"),
    pytest.param(answering("<html>Sign in</html>"), id="a login page"),
    pytest.param(answering(""), id="nothing"),
    *(pytest.param(answering("x", code), id=str(code)) for code in (400, 401, 404, 422, 500, 503)),
    pytest.param(hanging_up, id="hangs up"),
]


@pytest.mark.parametrize("handler", BAD)
async def test_a_bad_answer_is_never_a_pass_and_always_a_sentence(handler: Handler):
    async with serving(handler) as address:
        found = judged(await read(address))
    assert found.verdict is Verdict.UNAVAILABLE
    assert found.message.startswith("metrics are unavailable, so nothing moves: ")
    assert len(found.message) > 60


async def test_a_server_that_hides_new_samples_is_asked_for_them():
    asked = []

    async def handler(request: web.Request) -> web.Response:
        asked.append((await request.post()).get("latency_offset"))
        return web.json_response({"data": {"resultType": "vector", "result": []}})

    async with serving(handler) as address, asking(address) as source:
        await source.query("up")
    assert asked == ["5s"], "VictoriaMetrics leaves out those of the last 30 s otherwise"


async def test_a_server_that_never_answers_is_given_up_after_its_time():
    async with serving(never) as address:
        found = await read(address, timeout_seconds=0.2)
    assert isinstance(found, MetricsUnavailable)
    assert found.message.startswith(f"Prometheus at {address} does not answer (")


async def test_a_server_that_is_not_there_is_named():
    async with serving(answering("")) as address:
        pass
    found = await read(address)
    assert found == MetricsUnavailable(
        message=f"Prometheus at {address} does not answer (no connection)"
    )


async def test_a_refused_question_quotes_the_server():
    said = json.dumps(
        {"status": "error", "errorType": "execution", "error": "query: too many series"}
    )
    async with serving(answering(said, 422)) as address:
        found = await read(address)
    assert isinstance(found, MetricsUnavailable)
    assert found.message.startswith(f"Prometheus at {address} answered with an error: ")
    assert "too many series" in found.message
