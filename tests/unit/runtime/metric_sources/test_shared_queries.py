"""Releases that look at the same moment share a query, and nothing of one reaches another."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from modelrelease_operator.core.drift.windows import BinSample
from modelrelease_operator.core.observed import Metrics, MetricsUnavailable
from modelrelease_operator.runtime.metric_sources.prometheus import shared
from modelrelease_operator.runtime.metric_sources.prometheus.source import PrometheusSource
from modelrelease_operator.runtime.metric_sources.source import Bins, Revisions
from modelrelease_operator.serving_runtimes.predictor import PREDICTOR
from testbed.servers import serving
from tests.support.asking import asking

Row = tuple[dict[str, str], Any]


def release(name: str, *revisions: str, namespace: str = "ml") -> Revisions:
    metrics = dict.fromkeys(revisions or (f"{name}2", f"{name}1"), PREDICTOR.metrics)
    return Revisions(namespace=namespace, release=name, metrics=metrics)


def target(pod: str, namespace: str = "ml") -> dict[str, str]:
    return {"namespace": namespace, "pod": pod, "job": "pods", "instance": f"{pod}:8000"}


def counted(name: str, revision: str, pod: str, value: Any = "3", namespace: str = "ml") -> Row:
    labels = {"__name__": "predictions_total", "release": name, "revision": revision}
    return {**labels, "code": "200", **target(pod, namespace)}, value


def started(pod: str, value: Any, namespace: str = "ml") -> Row:
    return {"__name__": "process_start_time_seconds", **target(pod, namespace)}, value


def scraped(name: str, pod: str, value: Any, namespace: str = "ml") -> Row:
    labels = {"modelrelease_kind": "sample_time", "release": name}
    return {**labels, **target(pod, namespace)}, value


def binned(name: str, revision: str, pod: str, value: Any) -> Row:
    labels = {"__name__": "feature_bin_total", "release": name, "revision": revision}
    return {**labels, "feature": "age", "bin": "0", **target(pod)}, value


@dataclass
class Prometheus:
    """Has rows, of which a query for one release selects its own; remembers what it was asked."""

    rows: list[Row]
    refuses: Callable[[str], bool] = lambda _: False
    queries: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        (query,) = parse_qs(await request.text())["query"]
        self.queries.append(query)
        if self.refuses(query):
            return web.json_response({"status": "error", "error": "too deep"}, status=422)
        result = [
            {"metric": labels, "value": [1.7e9, value]}
            for labels, value in self.rows
            if "release" not in labels
            or f'release="{labels["release"]}"' in query
            or 'release="' not in query
        ]
        answer = {"status": "success", "data": {"resultType": "vector", "result": result}}
        return web.Response(text=json.dumps(answer), content_type="application/json")


@asynccontextmanager
async def source_at(prometheus: Prometheus, **parts: Any) -> AsyncIterator[PrometheusSource]:
    async with serving(prometheus.answer) as address, asking(address, **parts) as source:
        yield source


async def counters(source: PrometheusSource, *asked: Revisions) -> list[Metrics]:
    return list(await asyncio.gather(*(source.read_counters(of) for of in asked)))


async def bins(source: PrometheusSource, *asked: Revisions) -> list[Bins]:
    return list(await asyncio.gather(*(source.read_bins(of) for of in asked)))


def values(metrics: Metrics) -> list[tuple[str, str, float]]:
    assert not isinstance(metrics, MetricsUnavailable), metrics.message
    return [(counter.revision, counter.pod, counter.value) for counter in metrics]


async def test_releases_that_look_together_share_one_query_and_get_their_own():
    prometheus = Prometheus([counted("a", "a1", "p", "3"), counted("b", "b2", "q", "5")])
    async with source_at(prometheus) as source:
        first, second = await counters(source, release("a"), release("b"))
    assert len(prometheus.queries) == 1
    assert values(first) == [("a1", "p", 3.0)]
    assert values(second) == [("b2", "q", 5.0)]


async def test_one_release_alone_is_asked_for_as_ever():
    prometheus = Prometheus([counted("a", "a1", "p")])
    async with source_at(prometheus) as source:
        await counters(source, release("a"))
    (query,) = prometheus.queries
    assert 'release="a"' in query
    assert "without (release, revision" in query


async def test_a_namesake_elsewhere_and_a_revision_of_another_are_nobodys():
    rows = [
        counted("a", "a1", "p"),
        counted("a", "x9", "old"),
        counted("a", "b1", "of-b"),
        counted("a", "a1", "r", namespace="lab"),
        counted("c", "a1", "s"),
    ]
    async with source_at(Prometheus(rows)) as source:
        mine, lab, other = await counters(
            source, release("a"), release("a", "a7", namespace="lab"), release("b")
        )
    assert values(mine) == [("a1", "p", 3.0)]
    assert values(lab) == []
    assert values(other) == []


async def test_each_counter_has_the_times_of_its_own_pod():
    rows = [
        scraped("a", "p", "1699999990"),
        started("q", "1600000002"),
        counted("a", "a1", "p"),
        counted("b", "b1", "q"),
        started("p", "1600000001"),
        scraped("b", "q", "1699999980"),
    ]
    async with source_at(Prometheus(rows)) as source:
        first, second = await counters(source, release("a"), release("b"))
    assert not isinstance(first, MetricsUnavailable)
    assert not isinstance(second, MetricsUnavailable)
    assert [(each.at, each.started) for each in first] == [(1699999990, 1600000001)]
    assert [(each.at, each.started) for each in second] == [(1699999980, 1600000002)]


async def test_what_is_read_together_is_what_is_read_alone():
    rows = [counted("a", "a1", "p"), started("p", "1600000001"), scraped("a", "p", "1699999990")]
    async with source_at(Prometheus(rows)) as source:
        (alone,) = await counters(source, release("a"))
        together, _ = await counters(source, release("a"), release("b"))
    assert alone == together != ()


async def test_a_value_that_is_no_number_is_the_trouble_of_its_own_release():
    prometheus = Prometheus([counted("a", "a1", "p", "many"), counted("b", "b1", "q", "5")])
    async with source_at(prometheus) as source:
        first, second = await counters(source, release("a"), release("b"))
    assert isinstance(first, MetricsUnavailable)
    assert values(second) == [("b1", "q", 5.0)]
    assert len(prometheus.queries) == 2, "a is asked for alone, and b is not asked for again"


async def test_a_pod_that_began_at_no_time_is_the_trouble_of_its_own_release():
    """Everybody would be asked for alone for as long as that pod lives."""
    rows = [counted("a", "a1", "p"), counted("b", "b1", "q"), started("p", "NaN")]
    prometheus = Prometheus(rows)
    async with source_at(prometheus) as source:
        first, second = await counters(source, release("a"), release("b"))
        assert isinstance(first, MetricsUnavailable)
        assert values(second) == [("b1", "q", 3.0)]
    assert len(prometheus.queries) == 2, "together, and the first alone"


async def test_at_a_server_that_is_slow_for_long_nothing_is_asked_that_nobody_waits_for():
    asked: list[str] = []
    answers = asyncio.Event()

    async def ask(query: str, take: shared.Take) -> MetricsUnavailable | None:
        asked.append(query)
        await answers.wait()
        return None

    together = shared.Together(ask)
    together._turn = asyncio.Semaphore(1)
    question = shared.CountersAsked(predictions=False, probes=False)

    async def both(one: str, other: str) -> list[Any]:
        return await asyncio.gather(
            *(together.read(question, release(name)) for name in (one, other))
        )

    first = asyncio.create_task(both("a", "b"))
    while not asked:  # noqa: ASYNC110 - a predicate over another task
        await asyncio.sleep(0)
    second = asyncio.create_task(both("c", "d"))
    while len(together._open) < 2:  # noqa: ASYNC110 - a predicate over another task
        await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    answers.set()
    assert await first == [(), ()]
    await together.close()
    assert len(asked) == 1, "a look that was given up is not asked for afterwards"


async def test_who_gets_no_turn_is_told_that_the_server_is_slow(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shared, "TURN_SECONDS", 0.0)

    async def ask(query: str, take: shared.Take) -> MetricsUnavailable | None:
        raise NotImplementedError

    together = shared.Together(ask)
    together._turn = asyncio.Semaphore(0)
    question = shared.CountersAsked(predictions=False, probes=False)
    answers = await asyncio.gather(*(together.read(question, release(name)) for name in "ab"))
    slow = "Prometheus is slow: it has more questions open than it answers within 10 s"
    assert answers == [MetricsUnavailable(message=slow)] * 2


async def test_a_common_query_that_is_refused_is_asked_one_by_one():
    prometheus = Prometheus(
        [counted("a", "a1", "p"), counted("b", "b1", "q")], refuses=lambda query: "a|b" in query
    )
    async with source_at(prometheus) as source:
        first, second = await counters(source, release("a"), release("b"))
        await counters(source, release("a"), release("b"))
    assert values(first) == [("a1", "p", 3.0)]
    assert values(second) == [("b1", "q", 3.0)]
    assert sum("a|b" in query for query in prometheus.queries) == 1, "not at each look anew"


@pytest.mark.parametrize("status", [401, 503])
async def test_a_server_that_answers_nobody_is_not_asked_one_by_one(status: int):
    """It would be met by a question of each release when it is there again."""
    prometheus = Prometheus([counted("a", "a1", "p")])

    async def away(request: web.Request) -> web.Response:
        prometheus.queries.append(await request.text())
        return web.Response(status=status, text="not now")

    asked = [release("a"), release("b")]
    async with serving(away) as address, asking(address) as source:
        for _ in range(2):
            found = await counters(source, *asked)
            assert all(f"HTTP status {status}" in each.message for each in found
                       if isinstance(each, MetricsUnavailable))  # fmt: skip
    assert len(prometheus.queries) == 2


async def test_a_server_that_gives_no_time_to_a_common_query_is_asked_one_by_one():
    """503 is also what Prometheus says of a query that takes too long."""
    prometheus = Prometheus([counted("a", "a1", "p")])

    async def out_of_time(request: web.Request) -> web.Response:
        text = await request.text()
        if "release%3D~" in text:
            told = {"status": "error", "errorType": "timeout", "error": "query timed out"}
            return web.json_response(told, status=503)
        return await prometheus.answer(request)

    async with serving(out_of_time) as address, asking(address) as source:
        found, _ = await counters(source, release("a"), release("b"))
    assert values(found) == [("a1", "p", 3.0)]


async def test_those_who_fell_out_share_again_after_a_minute():
    asked: list[str] = []
    now = 0.0

    async def ask(query: str, take: shared.Take) -> MetricsUnavailable | None:
        asked.append(query)
        return MetricsUnavailable(message="down") if len(asked) == 1 else None

    together = shared.Together(ask, clock=lambda: now)
    question = shared.CountersAsked(predictions=False, probes=False)

    async def both() -> list[Any]:
        return list(
            await asyncio.gather(*(together.read(question, release(name)) for name in "ab"))
        )

    assert await both() == [None, None]
    assert await both() == [None, None]
    now = shared.ALONE_SECONDS
    assert await both() == [(), ()]
    assert len(asked) == 2


async def test_where_a_server_is_slow_to_fail_nobody_asks_twice():
    now = 0.0

    async def ask(query: str, take: shared.Take) -> MetricsUnavailable | None:
        nonlocal now
        now += 5.0
        return MetricsUnavailable(message="no answer within 5 s")

    together = shared.Together(ask, clock=lambda: now)
    question = shared.CountersAsked(predictions=False, probes=False)
    answers = await asyncio.gather(*(together.read(question, release(name)) for name in "ab"))
    assert [answer.message for answer in answers if isinstance(answer, MetricsUnavailable)] == (
        ["no answer within 5 s"] * 2
    )


async def test_queries_and_answers_are_bounded():
    prometheus = Prometheus([])
    names = [f"release-{number:03d}" for number in range(300)]
    async with source_at(prometheus) as source:
        await counters(source, *map(release, names))
    assert 300 / 40 < len(prometheus.queries) < 300 / 15
    assert max(map(len, prometheus.queries)) < 8_000, "longer ones fit into no address"
    assert all(sum(name in query for query in prometheus.queries) == 1 for name in names)


async def test_a_release_with_very_many_series_is_asked_for_alone_from_the_second_look_on():
    many = [counted("big", "big1", f"p{number}") for number in range(shared.MOST_SERIES + 1)]
    prometheus = Prometheus([*many, counted("a", "a1", "q"), counted("b", "b1", "r")])
    asked = [release("a"), release("big"), release("b")]
    async with source_at(prometheus) as source:
        await counters(source, *asked)
        prometheus.queries.clear()
        await counters(source, *asked)
    assert sum('release="big"' in query for query in prometheus.queries) == 1


async def test_questions_that_differ_do_not_share():
    prometheus = Prometheus([])
    async with source_at(prometheus) as source:
        await asyncio.gather(
            source.read_counters(release("a")),
            source.read_counters(release("b"), probes=True),
            source.read_counters(release("c")),
            source.read_bins(release("d")),
        )
    assert len(prometheus.queries) == 3


async def test_bins_are_shared_and_apart_too():
    rows = [binned("a", "a1", "p", "7"), binned("b", "b1", "q", "9"), binned("b", "b1", "q", "x")]
    prometheus = Prometheus(rows[:2])
    async with source_at(prometheus) as source:
        first, second = await bins(source, release("a"), release("b"))
    assert len(prometheus.queries) == 1
    assert first == (BinSample(revision="a1", pod="p", feature="age", bin="0", value=7.0),)
    assert second == (BinSample(revision="b1", pod="q", feature="age", bin="0", value=9.0),)
    broken = Prometheus(rows)
    async with source_at(broken) as source:
        first, second = await bins(source, release("a"), release("b"))
    assert first == (BinSample(revision="a1", pod="p", feature="age", bin="0", value=7.0),)
    assert isinstance(second, MetricsUnavailable)


async def test_who_stops_waiting_takes_nothing_from_the_others():
    prometheus = Prometheus([counted("b", "b1", "q")])
    async with source_at(prometheus) as source:
        leaver = asyncio.create_task(source.read_counters(release("a")))
        stayer = asyncio.create_task(source.read_counters(release("b")))
        await asyncio.sleep(0)
        leaver.cancel()
        found = await stayer
    assert values(found) == [("b1", "q", 3.0)]


async def test_one_release_is_in_a_common_query_once():
    prometheus = Prometheus([])
    async with source_at(prometheus) as source:
        await counters(source, release("a", "a1"), release("a", "a2"))
    assert len(prometheus.queries) == 2
