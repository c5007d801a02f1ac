"""The door for sources of metrics: one more is a module and an entry of the registry,
and nothing else.
"""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from modelrelease_operator.api.prometheus import Source
from modelrelease_operator.api.status import Verdict
from modelrelease_operator.core.measurement.queries import QueryScope
from modelrelease_operator.core.observed import Counter, MetricsUnavailable
from modelrelease_operator.core.query_results import NotMeasured
from modelrelease_operator.runtime.measure import measure, revisions_of
from modelrelease_operator.runtime.metric_sources import registry
from modelrelease_operator.runtime.metric_sources.prometheus.history import proxy_for
from modelrelease_operator.runtime.metric_sources.registry import MetricSources
from modelrelease_operator.runtime.metric_sources.source import MetricSource
from modelrelease_operator.settings import Settings
from testbed.builders import a_spec, a_target
from testbed.servers import serving
from tests.support.asking import asking, revisions
from tests.support.foreign_server import THEIRS
from tests.support.pages import Pages

STABLE, CANARY = a_target("1"), a_target("2", recipe=THEIRS)
PLACE = QueryScope(
    namespace="ml", release="qna", canary=CANARY, stable=STABLE, interval=timedelta(seconds=10)
)
POD = "qna-rev2-7d9f-x2x4z"
QUEUE = {"name": "queue", "threshold": {"query": "queue_length", "max": 1}}


@pytest.fixture
def one_more_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "KINDS", (Pages, *registry.KINDS))


async def source_for(
    url: str | None, *, source: str | None = None, prometheus_url: str = ""
) -> MetricSource:
    """Return the source of a release that names an address, a source, both or none."""
    named: dict[str, Any] = {"prometheus": {"url": url}} if url else {}
    named |= {"source": source} if source else {}
    sources, settings = MetricSources(), Settings(prometheus_url=prometheus_url)
    opened = await sources.source_of(None, "ml", a_spec(analysis=named).analysis, settings)  # type: ignore[arg-type]
    await sources.close()
    return opened


@pytest.mark.usefixtures("one_more_kind")
async def test_a_release_is_served_by_the_first_kind_that_takes_it_and_otherwise_by_prometheus():
    assert type(await source_for("http://pages.ml")).__name__ == "PageSource"
    assert type(await source_for("http://elsewhere")).__name__ == "PrometheusSource"


@pytest.mark.parametrize(
    ("named", "asked"),
    [
        ({}, Source.PODS),
        ({"prometheus_url": "http://chart"}, Source.PROMETHEUS),
        ({"url": "http://release"}, Source.PROMETHEUS),
        ({"source": "Pods", "prometheus_url": "http://chart"}, Source.PODS),
        ({"source": "Prometheus", "url": "http://release"}, Source.PROMETHEUS),
    ],
    ids=str,
)
async def test_pods_are_read_where_nobody_names_a_prometheus_or_the_release_asks_for_it(
    named: dict[str, str], asked: Source
):
    url = named.pop("url", None)
    assert (await source_for(url, **named)).source is asked


async def test_a_release_that_wants_a_prometheus_that_nobody_names_is_told_what_to_set():
    source = await source_for(None, source="Prometheus")
    found = await source.read_counters(
        revisions_of("ml", "qna", CANARY, STABLE), predictions=False, probes=False
    )
    assert isinstance(found, MetricsUnavailable)
    assert "set spec.analysis.prometheus.url" in found.message
    assert "or set source Pods" in found.message


@pytest.mark.usefixtures("one_more_kind")
async def test_a_look_at_another_source_brings_counters_with_times_and_says_what_it_cannot():
    source = await source_for("http://pages.ml")
    spec = a_spec(analysis={"gates": [{"name": "errors", "errorRate": {}}, QUEUE]})
    measured = await measure(
        source, spec, PLACE, pods={"rev2": ["rev2-a", "rev2-b"], "rev1": ["rev1-a"]}
    )
    assert measured.metrics == (
        Counter(revision="rev2", pod="rev2-a", code="200", value=7, at=100.0, started=40.0),
        Counter(revision="rev1", pod="rev1-a", code="200", value=7, at=100.0, started=40.0),
    )
    assert measured.answers["queue"] == NotMeasured(
        verdict=Verdict.UNAVAILABLE, message="gate queue: pages have no query language"
    )
    assert measured.hint == "rev2-b shows no page"


@pytest.mark.usefixtures("one_more_kind")
async def test_it_is_asked_of_either_arm_why_a_ready_pod_is_not_shown():
    source, pods = await source_for("http://pages.ml"), {"rev1": ["rev1-a", "rev1-b"]}
    measured = await measure(source, a_spec(), PLACE, pods=pods)
    assert measured.hint == "rev1-b shows no page"


# --- Prometheus, asked for the counters of a server that is not ours


def rows_of(name: str, **labels: str) -> Iterator[dict[str, Any]]:
    target = {"namespace": "ml", "pod": POD, "instance": "10.0.0.2:9000", "job": "pods"}
    yield {"metric": {"__name__": name, **target, **labels}, "value": [1.0, "41"]}
    yield {"metric": {"modelrelease_kind": "sample_time", **target}, "value": [1.0, "99.5"]}


async def test_prometheus_is_asked_for_each_revision_under_the_names_of_its_own_server():
    asked: list[str] = []
    rows = [
        *rows_of("foreign_requests_total", status="503"),
        {
            "metric": {
                "__name__": "predictions_total",
                "revision": "rev1",
                "pod": "p1",
                "code": "200",
            },
            "value": [1.0, "3"],
        },
    ]

    async def handler(request: web.Request) -> web.Response:
        asked.append(str((await request.post())["query"]))
        return web.Response(text=json.dumps({"status": "success", "data": {"result": rows}}))

    of = revisions_of("ml", "qna", CANARY, STABLE)
    async with serving(handler) as address, asking(address) as source:
        found = await source.read_counters(of, predictions=True, probes=True)
    (query,) = asked
    theirs = 'namespace="ml",pod=~"qna-rev2-[a-z0-9]+-[a-z0-9]{5}"'
    series = "foreign_requests_total|foreign_latency_seconds_bucket|process_start_time_seconds"
    assert f'{{__name__=~"{series}",{theirs}}}' in query
    assert 'namespace="ml",release="qna",revision=~"rev1"' in query
    assert f"timestamp(up{{{theirs}}}) and up{{{theirs}}} == 1" in query
    assert 'probe_duration_seconds_bucket",namespace="ml",release="qna",revision=~"rev2"' in query
    ours, foreign = found  # type: ignore[misc]
    assert (foreign.revision, foreign.pod, foreign.code, foreign.value) == ("rev2", POD, "503", 41)
    assert foreign.at == 99.5
    assert (ours.revision, ours.code, ours.value) == ("rev1", "200", 3)


async def test_bins_are_asked_only_of_servers_that_count_them():
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(str((await request.post())["query"]))
        return web.Response(text='{"status": "success", "data": {"result": []}}')

    async with serving(handler) as address, asking(address) as source:
        assert await source.read_bins(revisions_of("ml", "qna", CANARY)) == ()
        assert asked == []
        assert await source.read_bins(revisions_of("ml", "qna", STABLE, CANARY)) == ()
    (query,) = asked
    assert "rev2" not in query


@pytest.mark.parametrize("url", ["http://h:99999", "http://[h]", "http://h:port"])
async def test_what_is_no_address_of_a_server_stops_no_pass_and_is_told(url: str):
    source = await source_for(url)
    arms = revisions("rev1", "rev2")
    counters = await source.read_counters(arms, predictions=False, probes=False)
    assert isinstance(counters, MetricsUnavailable)
    assert "is no address of a server" in counters.message


def test_what_is_no_address_has_no_proxy():
    assert proxy_for("http://[h") is None
