"""Looks at drift beside the passes, against a real server:
what is asked, what is kept, what is news.
"""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from modelrelease_contract.drift import DriftVerdict
from modelrelease_operator.api.drift import Drift, DriftStatus
from modelrelease_operator.core.drift.windows import PREDICTIONS
from modelrelease_operator.runtime import metrics
from modelrelease_operator.runtime.drift_watch import DriftSubscription, DriftWatch
from modelrelease_operator.runtime.metric_sources.prometheus.source import PrometheusSource
from testbed.builders import START
from testbed.servers import serving
from tests.support.asking import revisions

KEY = ("ml", "qna")
MINUTE = timedelta(minutes=1)
EVEN = (1000,) * 10
AS_TRAINED = (100,) * 10
DRIFTING = (10, 20, 40, 60, 80, 100, 130, 160, 190, 210)


class FakePrometheus:
    """Answers with bins that a test sets; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.counts = {("rev1", "age"): [0] * 10, ("rev1", ""): [0] * 10}
        self.fails = False

    def grow(self, growth: Sequence[int], revision: str = "rev1") -> None:
        for feature in ("age", ""):
            old = self.counts.get((revision, feature), [0] * 10)
            self.counts[revision, feature] = [a + b for a, b in zip(old, growth, strict=True)]

    async def answer(self, request: web.Request) -> web.Response:
        body = parse_qs((await request.text()) or request.query_string)
        self.asked += body["query"]
        if self.fails:
            return web.Response(status=503, text="away")
        rows = []
        for (revision, feature), counts in self.counts.items():
            for table, pod, values in (("bin_total", "a", counts), ("baseline_rows", None, EVEN)):
                for index, value in enumerate(values):
                    labels = {"__name__": f"{'feature' if feature else 'prediction'}_{table}"}
                    labels |= {"revision": revision, "bin": str(index)}
                    labels |= {"feature": feature} if feature else {}
                    labels |= {"pod": pod} if pod else {}
                    rows.append({"metric": labels, "value": [1_700_000_000.0, str(value)]})
        answer = {"status": "success", "data": {"resultType": "vector", "result": rows}}
        return web.Response(text=json.dumps(answer), content_type="application/json")


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


SOURCES: list[PrometheusSource] = []


@pytest.fixture(autouse=True)
async def everything_closed() -> AsyncIterator[None]:
    yield
    while SOURCES:
        await SOURCES.pop().close()


def a_watch(address: str, **changes: Any) -> tuple[DriftWatch, Clock, DriftSubscription]:
    clock = Clock()
    source = PrometheusSource(address, timeout_seconds=5)
    SOURCES.append(source)
    parts: dict[str, Any] = {
        "drift": Drift(),
        "source": source,
        "arms": revisions("rev1"),
        "status": None,
    }
    followed = DriftSubscription(**(parts | changes))
    watch = DriftWatch(clock)
    watch.subscribe(KEY, followed)
    return watch, clock, followed


async def test_a_window_is_counted_between_two_looks_and_is_news_when_it_closes():
    fake = FakePrometheus()
    async with serving(fake.answer) as address:
        watch, clock, _ = a_watch(address)
        fake.grow(DRIFTING)
        assert await watch.look(KEY) is False
        fake.grow(AS_TRAINED)
        clock.now += 2 * MINUTE
        assert await watch.look(KEY) is False, "the window is open"
        clock.now += 8 * MINUTE
        assert await watch.look(KEY) is True
    (window,) = watch.windows(KEY)["rev1"]
    assert window.verdict is DriftVerdict.STABLE, "what came before the first look is of no window"
    assert {each.name: each.n for each in window.features} == {"age": 1000, PREDICTIONS: 1000}


async def test_one_question_is_asked_for_both_revisions_and_one_copy_of_the_baseline():
    fake = FakePrometheus()
    async with serving(fake.answer) as address:
        watch, *_ = a_watch(address, arms=revisions("rev2", "rev1"))
        await watch.look(KEY)
    (query,) = fake.asked
    counts, starts = query.split(" or label_replace(")
    assert "process_start_time_seconds" in starts
    assert counts == (
        '{__name__=~"feature_bin_total|prediction_bin_total",'
        'namespace="ml",release="qna",revision=~"rev1|rev2"} or '
        'max by (__name__, revision, feature, bin) ({__name__=~"feature_baseline_rows|'
        'prediction_baseline_rows",namespace="ml",release="qna",revision=~"rev1|rev2"})'
    )


async def test_calm_windows_are_no_news_once_status_is_full_of_them():
    fake = FakePrometheus()
    async with serving(fake.answer) as address:
        status = DriftStatus(revision="rev1", windows="SSSSS", at=START, message="calm")
        watch, clock, _ = a_watch(address, status=status)
        await watch.look(KEY)
        for growth, news in ((AS_TRAINED, False), (AS_TRAINED, False), (DRIFTING, True)):
            fake.grow(growth)
            clock.now += 10 * MINUTE
            assert await watch.look(KEY) is news


async def test_beside_a_canary_nothing_needs_a_pass_of_its_own_and_both_are_judged():
    fake = FakePrometheus()
    fake.grow((0,) * 10, "rev2")
    async with serving(fake.answer) as address:
        watch, clock, _ = a_watch(address, arms=revisions("rev1", "rev2"))
        await watch.look(KEY)
        fake.grow(DRIFTING)
        fake.grow(AS_TRAINED, "rev2")
        clock.now += 10 * MINUTE
        assert await watch.look(KEY) is False
    found = {name: windows[-1].verdict for name, windows in watch.windows(KEY).items()}
    assert found == {"rev1": DriftVerdict.DRIFTED, "rev2": DriftVerdict.STABLE}


async def test_while_prometheus_is_away_windows_close_without_a_word_for_or_against():
    fake = FakePrometheus()
    async with serving(fake.answer) as address:
        watch, clock, _ = a_watch(address)
        await watch.look(KEY)
        fake.fails = True
        clock.now += 10 * MINUTE
        await watch.look(KEY)
        fake.fails = False
        fake.grow(AS_TRAINED)
        clock.now += 10 * MINUTE
        await watch.look(KEY)
    verdicts = [window.verdict for window in watch.windows(KEY)["rev1"]]
    assert verdicts == [DriftVerdict.INSUFFICIENT, DriftVerdict.STABLE]


async def test_a_count_that_is_no_number_of_rows_is_not_used(caplog: pytest.LogCaptureFixture):
    fake = FakePrometheus()
    async with serving(fake.answer) as address:
        watch, clock, _ = a_watch(address)
        await watch.look(KEY)
        fake.counts["rev1", "age"][3] = "0.5"  # type: ignore[call-overload]
        clock.now += 10 * MINUTE
        await watch.look(KEY)
    assert watch.windows(KEY)["rev1"][0].verdict is DriftVerdict.INSUFFICIENT
    assert "whole number" in caplog.text


async def test_looks_are_due_five_times_in_a_window_and_at_once_for_a_new_revision():
    fake = FakePrometheus()
    async with serving(fake.answer) as address:
        watch, clock, followed = a_watch(address)
        assert watch.wait(KEY) == timedelta(0)
        await watch.look(KEY)
        assert watch.wait(KEY) == 2 * MINUTE
        clock.now += MINUTE
        watch.subscribe(KEY, followed)
        assert watch.wait(KEY) == MINUTE, "a pass in between moves nothing"
        new = DriftSubscription(
            drift=Drift(), source=followed.source, arms=revisions("rev1", "rev2"), status=None
        )
        watch.subscribe(KEY, new)
        assert watch.wait(KEY) == timedelta(0)
        await watch.look(KEY)
        quick = DriftSubscription(
            drift=Drift(window="1m"), source=new.source, arms=new.arms, status=None
        )
        watch.subscribe(KEY, quick)
        assert watch.wait(KEY) == timedelta(seconds=12), (
            "a shorter window does not wait for the longer one"
        )


async def test_a_promoted_canary_keeps_its_windows_and_the_old_version_is_forgotten():
    fake = FakePrometheus()
    fake.grow((0,) * 10, "rev2")
    async with serving(fake.answer) as address:
        watch, clock, followed = a_watch(address, arms=revisions("rev1", "rev2"))
        await watch.look(KEY)
        clock.now += 10 * MINUTE
        await watch.look(KEY)
        watch.subscribe(
            KEY,
            DriftSubscription(
                drift=Drift(), source=followed.source, arms=revisions("rev2"), status=None
            ),
        )
    assert {name: len(windows) for name, windows in watch.windows(KEY).items()} == {"rev2": 1}


@pytest.mark.parametrize(
    "changes",
    [{"drift": Drift(enabled=False)}, {"arms": revisions()}],
    ids=["not asked for", "nothing serves"],
)
async def test_nothing_is_looked_at_where_nothing_is_to_be_seen(changes: dict[str, Any]):
    watch, *_ = a_watch("http://127.0.0.1:9", **changes)
    assert watch.wait(KEY) is None
    assert await watch.look(KEY) is False
    assert watch.windows(KEY) == {}


async def test_the_worst_features_of_the_newest_window_are_shown_as_metrics():
    fake = FakePrometheus()
    async with serving(fake.answer) as address:
        watch, clock, _ = a_watch(address)
        await watch.look(KEY)
        fake.grow(DRIFTING)
        clock.now += 10 * MINUTE
        await watch.look(KEY)
    shown = {
        each.labels["feature"]: each.value
        for each in next(iter(metrics.DRIFT_PSI.collect())).samples
    }
    assert set(shown) == {"age", PREDICTIONS}
    assert all(value > 0.3 for value in shown.values())
    metrics.forget(KEY)
    assert next(iter(metrics.DRIFT_PSI.collect())).samples == []
