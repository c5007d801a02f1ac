"""Series of servers that are not ours are a revision's because a pod of it shows them."""

import re
from typing import Any

import pytest

from modelrelease_operator.api import names
from modelrelease_operator.core.observed import Counter
from modelrelease_operator.runtime.metric_sources.prometheus import diagnose
from modelrelease_operator.runtime.metric_sources.prometheus.by_pod import PodsOfOthers
from modelrelease_operator.runtime.metric_sources.prometheus.series import (
    counters_of,
    history_query,
)
from modelrelease_operator.runtime.metric_sources.source import Revisions
from modelrelease_operator.serving_runtimes.metrics import NOTHING_YET
from tests.support.foreign_server import FOREIGN

Row = dict[str, Any]
POD = "qna-rev2-7d9f-x2x4z"
TARGET = {"namespace": "ml", "pod": POD, "instance": "10.0.0.2:9000", "job": "pods"}
OF = Revisions(namespace="ml", release="qna", metrics={"rev2": FOREIGN.metrics})


def series(name: str, value: float, *, target: dict[str, str] = TARGET, **labels: str) -> Row:
    return {"metric": {"__name__": name, **target, **labels}, "value": [1.0, str(value)]}


def scraped(at: float, target: dict[str, str] = TARGET) -> Row:
    return {"metric": {"modelrelease_kind": "sample_time", **target}, "value": [1.0, str(at)]}


def read(*rows: Row) -> dict[str | None, Counter]:
    counters = counters_of(rows, PodsOfOthers.of(OF))
    return {counter.code or counter.bound: counter for counter in counters}


def test_a_servers_own_labels_do_not_keep_its_series_from_the_times_of_its_target():
    counters = read(
        series("foreign_requests_total", 7, status="200", model="qna", method="POST"),
        scraped(99.5),
        series("process_start_time_seconds", 40),
    )
    assert counters["200"].at == 99.5
    assert counters["200"].started == 40
    assert (counters["200"].revision, counters["200"].pod) == ("rev2", POD)


def test_series_that_differ_in_a_servers_own_labels_alone_are_one_counter():
    counters = read(
        series("foreign_requests_total", 7, status="200", method="POST"),
        series("foreign_requests_total", 5, status="200", method="GET"),
        scraped(99.5),
    )
    assert {code: counter.value for code, counter in counters.items()} == {"200": 12}


def test_two_servers_of_prometheus_that_show_one_pod_are_not_added_up():
    replicas = [TARGET | {"prometheus_replica": name} for name in "ab"]
    counters = counters_of(
        [
            *(series("foreign_requests_total", 7, target=each, status="200") for each in replicas),
            *(scraped(99.5 + at, each) for at, each in enumerate(replicas)),
        ],
        PodsOfOthers.of(OF),
    )
    assert [(counter.value, counter.at) for counter in counters] == [(7, 99.5), (7, 100.5)]


def test_a_pod_that_is_scraped_and_counted_nothing_yet_is_seen():
    counters = read(scraped(99.5))
    assert list(counters) == [NOTHING_YET]
    assert (counters[NOTHING_YET].value, counters[NOTHING_YET].at) == (0, 99.5)


def test_a_sidecar_that_is_scraped_too_does_not_stand_for_a_server_that_counts():
    sidecar = TARGET | {"instance": "10.0.0.2:15020"}
    counters = read(
        series("foreign_requests_total", 7, status="200"), scraped(99.5), scraped(101, sidecar)
    )
    assert {code: counter.at for code, counter in counters.items()} == {"200": 99.5}


def test_without_the_time_of_a_scrape_a_series_is_read_and_has_none():
    counters = read(series("foreign_requests_total", 7, status="200"))
    assert counters["200"].at is None


@pytest.mark.parametrize(
    "pod",
    [
        "qna-rev2-probe-7d9f-x2x4z", "qna-rev2-rev1-7d9f-x2x4z", "qna-rev1-7d9f-x2x4z",
        "other-qna-rev2-7d9f-x2x4z", "qna-rev2",
    ],
)  # fmt: skip
def test_a_pod_of_another_owner_is_none_of_the_revisions(pod: str):
    assert not re.fullmatch(names.pods_pattern("qna", "rev2"), pod)


@pytest.mark.parametrize("release", ["q", "q" * 35, "q" * 40, "q" * 50])
def test_every_pod_of_a_release_is_known_by_its_name_however_long_that_is(release: str):
    revision = "0123456789"
    replica_set = f"{release}-{revision}-7d9f5c4b6d"
    pod = f"{replica_set}-"[:58] + "x2x4z"
    assert re.fullmatch(names.pods_pattern(release, revision), pod)


def test_the_past_is_asked_for_pods_of_any_revision():
    query = history_query("ml", "qna", FOREIGN.metrics, predictions=True)
    assert 'pod=~"qna-(?P<revision>[a-z0-9]+)-[a-z0-9]+-[a-z0-9]{5}"' in query
    pods = PodsOfOthers.of_any_revision("qna", FOREIGN.metrics)
    (counter,) = counters_of([series("foreign_requests_total", 7, status="200")], pods)
    assert counter.revision == "rev2"


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        pytest.param((), "Prometheus has no target for pod", id="no target"),
        pytest.param((series("up", 0),), "cannot scrape pod", id="down"),
        pytest.param((series("up", 1),), "since a moment ago", id="well"),
        pytest.param(
            ({"metric": {"__name__": "up", "kubernetes_namespace": "ml",
                         "kubernetes_pod_name": POD}, "value": [1.0, "1"]},),
            "but not under the label `namespace` (it has `kubernetes_namespace`) and `pod` "
            "(it has `kubernetes_pod_name`)",
            id="misnamed",
        ),
    ],
)  # fmt: skip
def test_why_a_pod_is_not_shown_is_told_by_its_targets(rows: tuple[Row, ...], reason: str):
    assert reason in diagnose.diagnosis_of(rows, OF, revision="rev2", pods=[POD])
    assert "foreign_requests_total" not in diagnose.query_of(OF, revision="rev2", pods=[POD])
