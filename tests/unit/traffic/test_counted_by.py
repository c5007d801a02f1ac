"""A gateway counts where the servers do not: each page is read as its gateway means it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from modelrelease_operator.api.routing import CountingGateway
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.core.measurement.queries import ARM, KIND
from modelrelease_operator.core.observed import Counter
from modelrelease_operator.runtime.metric_sources.prometheus import by_gateway
from modelrelease_operator.runtime.metric_sources.prometheus.by_gateway import GatewayRows
from modelrelease_operator.runtime.metric_sources.source import Revisions
from modelrelease_operator.serving_runtimes import refusal_of_runtime
from modelrelease_operator.serving_runtimes.predictor import PREDICTOR
from modelrelease_operator.traffic.counted_by import CANNOT, gateway_of, refusal_of_counting
from modelrelease_operator.traffic.gateway_counters import COUNTING
from testbed.builders import a_spec

PAGES = Path(__file__).parent / "pages"
LINE = re.compile(r"(?P<name>[^\s{]+){(?P<labels>.*)} (?P<value>\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
MATCHER = re.compile(r'(\w+)(=~|!=|=)"([^"]*)"')
OF = Revisions(
    namespace="ml", release="qna", metrics=dict.fromkeys(("rev2", "rev1"), PREDICTOR.metrics)
)
ROUTING = {"gatewayAPI": {"parentRefs": [{"name": "public"}]}}
OLLAMA = {"image": "ollama/ollama:0.9", "runtime": {"profile": "ollama"}}


def series(gateway: CountingGateway) -> Iterator[tuple[str, dict[str, str], str]]:
    """Yield a gateway's page."""
    for line in (PAGES / f"{gateway.lower()}.txt").read_text().splitlines():
        if match := LINE.fullmatch(line):
            yield match["name"], dict(LABEL.findall(match["labels"])), match["value"]


def selected(selector: str, gateway: CountingGateway) -> Iterator[tuple[dict[str, str], str]]:
    """Yield what a plain selector finds on a page, as Prometheus does."""
    name, _, matchers = selector.partition("{")
    for its_name, labels, value in series(gateway):
        if its_name == name and all(
            _fits(labels.get(label, ""), how, wanted)
            for label, how, wanted in MATCHER.findall(matchers)
        ):
            yield labels, value


def _fits(value: str, how: str, wanted: str) -> bool:
    return bool(re.fullmatch(wanted, value)) if how == "=~" else (value == wanted) is (how == "=")


def rows_of(gateway: CountingGateway, *, at: float = 1000.0, **more: str) -> list[dict[str, Any]]:
    """Return what Prometheus answers to the query, each part by its own selector."""
    counters = COUNTING[gateway]
    rows: list[dict[str, Any]] = []
    for revision, service in by_gateway.services_of(OF).items():
        target = {"pod": "gateway-0", "instance": "10.0.0.9:9100", "job": "gateways", **more}
        for kind, selector in (
            (by_gateway.REQUESTS, counters.requests("ml", service)),
            (by_gateway.BUCKETS, counters.durations("ml", service)),
        ):
            for labels, value in selected(selector, gateway):
                marks = {**labels, **target, ARM: revision, KIND: kind}
                rows.append({"metric": marks, "value": [0, value]})
                if kind == by_gateway.REQUESTS:
                    rows.append(
                        {"metric": {**marks, KIND: by_gateway.TIMES}, "value": [0, str(at)]}
                    )
    return rows


def read(gateway: CountingGateway, rows: list[dict[str, Any]]) -> tuple[Counter, ...]:
    taken = GatewayRows(OF, COUNTING[gateway])
    for row in rows:
        taken.take(row)
    return taken.counters()


def by_code(counters: tuple[Counter, ...], revision: str) -> dict[str, float]:
    return {each.code: each.value for each in counters if each.revision == revision and each.code}


class Shown(NamedTuple):
    """What a page shows, of what was sent."""

    canary: dict[str, int]
    """By code."""
    stable: dict[str, int]
    within: tuple[int, int]
    """The canary's requests within a tenth of a second, and all that were timed."""


SENT = {"200": 360, "503": 4}
SHOWN = {
    CountingGateway.TRAEFIK: Shown({"200": 36, "500": 4, "502": 5}, {"200": 405}, (42, 45)),
    CountingGateway.ISTIO: Shown({"200": 36, "504": 5}, SENT, (30, 40)),
    CountingGateway.CONTOUR: Shown({"200": 35, "500": 4, "503": 5}, {"200": 416}, (36, 39)),
    CountingGateway.LINKERD: Shown({"200": 36, "504": 3, "502": 2}, SENT, (30, 40)),
}


@pytest.mark.parametrize("gateway", CountingGateway)
def test_a_page_says_where_it_is_from(gateway: CountingGateway):
    page = (PAGES / f"{gateway.lower()}.txt").read_text()
    assert page.startswith(("# recorded: ", "# written from source, not recorded: "))


@pytest.mark.parametrize("gateway", CountingGateway)
def test_a_gateways_page_is_read_by_arm_code_and_bound(gateway: CountingGateway):
    counters, shown = read(gateway, rows_of(gateway)), SHOWN[gateway]
    assert by_code(counters, "rev2") == shown.canary
    assert by_code(counters, "rev1") == shown.stable
    canary = [each for each in counters if each.revision == "rev2"]
    bounds = {float(each.bound): each.value for each in canary if each.bound}
    assert (bounds[0.1], bounds[float("inf")]) == shown.within
    assert {(each.at, each.lasting, each.pod) for each in counters} == {(1000.0, True, "gateway-0")}


def test_two_scrapes_of_one_process_are_not_added_up():
    rows = rows_of(CountingGateway.TRAEFIK)
    again = rows_of(CountingGateway.TRAEFIK, at=1007.0, job="again", prometheus_replica="b")
    counters = read(CountingGateway.TRAEFIK, [*rows, *again])
    assert by_code(counters, "rev2") == SHOWN[CountingGateway.TRAEFIK].canary
    assert {each.at for each in counters} == {1007.0}


def test_two_processes_are_two():
    rows = [*rows_of(CountingGateway.ISTIO), *rows_of(CountingGateway.ISTIO, pod="gateway-1")]
    counters = read(CountingGateway.ISTIO, rows)
    assert {each.pod for each in counters} == {"gateway-0", "gateway-1"}


def test_an_arm_that_was_sent_nothing_yet_is_seen_with_nothing():
    rows = [row for row in rows_of(CountingGateway.CONTOUR) if row["metric"][ARM] == "rev1"]
    assert by_code(read(CountingGateway.CONTOUR, rows), "rev2") == {"none": 0}
    assert read(CountingGateway.CONTOUR, []) == ()


def test_the_query_asks_for_both_arms_and_for_the_time_of_each_sample():
    query = by_gateway.query(OF, COUNTING[CountingGateway.ISTIO])
    for service in ("qna-canary", "qna-stable"):
        assert query.count(f'destination_service_name="{service}"') == 3
    assert query.count("timestamp(istio_requests_total{") == 2


def counted(
    by: str, *, serving: dict[str, Any] | None = None, routing: Any = ROUTING, **analysis: Any
) -> ReleaseSpec:
    canary = {"routing": routing} if routing else {}
    return a_spec(serving=serving or {}, canary=canary, analysis={"countedBy": by, **analysis})


@pytest.mark.parametrize("gateway", CountingGateway)
def test_a_server_that_counts_nothing_is_judged_by_its_gateway(gateway: CountingGateway):
    spec = counted(gateway, serving=OLLAMA)
    assert refusal_of_runtime(spec) is None, "both default gates"
    assert refusal_of_counting(spec) is None
    assert gateway_of(spec) is COUNTING[gateway]
    assert "it shows no metrics" in str(refusal_of_runtime(a_spec(serving=OLLAMA)))


@pytest.mark.parametrize("name", CANNOT)
def test_a_gateway_that_cannot_tell_is_refused_with_the_reason(name: str):
    refusal = str(refusal_of_counting(counted(name)))
    assert f"{name} cannot be asked: {CANNOT[name]}. One of Traefik, Istio" in refusal
    assert gateway_of(counted(name)) is None


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (counted("Nginx"), "Nginx is not known"),
        (counted("Traefik", routing=None), "needs canary.routing.gatewayAPI"),
        (counted("Traefik", source="Pods"), "set source Prometheus"),
        (counted("Traefik", probe={}), "probe goes past the gateway"),
        (
            counted("Traefik", gates=[{"name": "it", "predictions": {}}]),
            "gate it cannot be answered by a gateway: it knows no predictions",
        ),
        (counted("Traefik", gates=[{"name": "it", "loss": {}}]), "what errorRate counts then"),
        (counted("Traefik", gates=[{"name": "it", "answerTokens": {}}]), "it counts no tokens"),
        (
            counted("Traefik", gates=[{"name": "it", "latency": {"metric": "timeToFirstToken"}}]),
            "it does not see tokens",
        ),
    ],
)
def test_what_a_gateway_cannot_answer_is_refused_with_the_reason(spec: ReleaseSpec, says: str):
    assert says in str(refusal_of_counting(spec))
