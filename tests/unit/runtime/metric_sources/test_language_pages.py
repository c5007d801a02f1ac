"""A page with vLLM's names comes through either source as the counters that the gates read."""

from collections.abc import Iterable
from typing import Any

from modelrelease_operator.core.observed import Counter, MetricsUnavailable
from modelrelease_operator.runtime.metric_sources.pods.source import NO_GATEWAY
from modelrelease_operator.runtime.metric_sources.prometheus.by_pod import PodsOfOthers
from modelrelease_operator.runtime.metric_sources.prometheus.series import (
    counters_of,
    counters_query,
)
from modelrelease_operator.runtime.metric_sources.source import Revisions
from modelrelease_operator.serving_runtimes import runtime_for
from modelrelease_operator.traffic.counted_by import gateway_of
from testbed.builders import a_spec
from tests.support.pods import a_pod, pods_showing
from tests.support.vllm_stub import Behaviour, Model
from tests.unit.serving_runtimes.test_profiles import samples

METRICS = runtime_for({"profile": "vllm"}).metrics
TARGET = {"namespace": "ml", "pod": "qna-rev2-7d9f-x2x4z", "instance": "10.0.0.2:8000"}
ANSWERED = 20


def a_page() -> str:
    model = Model(Behaviour(first=0.0, cut=1.0), seed=1)
    for _ in range(ANSWERED):
        model.answer()
        model.counted("/v1/chat/completions", "POST", 200)
    return model.page().decode()


def told(counters: Iterable[Counter]) -> dict[tuple[str, str], float]:
    """Return what is told of each metric, by its last bucket, its code or its reason."""
    last = {(each.metric, "+Inf"): each.value for each in counters if each.bound == "+Inf"}
    ends = {("ends", each.reason): each.value for each in counters if each.reason}
    return last | ends | {("code", each.code): each.value for each in counters if each.code}


EVERYTHING = {
    ("", "+Inf"): ANSWERED,
    ("timeToFirstToken", "+Inf"): ANSWERED,
    ("timePerOutputToken", "+Inf"): ANSWERED,
    ("answerTokens", "+Inf"): ANSWERED,
    ("ends", "length"): ANSWERED,
    **{("ends", reason): 0 for reason in ("stop", "abort", "error")},
    ("code", "200"): ANSWERED,
}


async def test_pods_are_read_by_the_profiles_names():
    pod = a_pod("rev2")
    async with pods_showing({"127.0.0.2": a_page()}, pod, metrics=METRICS) as reading:
        found = await reading.source.read_counters(reading.of, predictions=False, probes=False)
    assert not isinstance(found, MetricsUnavailable), found.message
    assert told(found) == EVERYTHING


def test_series_of_prometheus_are_read_by_the_profiles_names():
    of = Revisions(namespace="ml", release="qna", metrics={"rev2": METRICS})
    rows: list[dict[str, Any]] = [
        {"metric": {"__name__": name, **TARGET, **labels}, "value": [1.0, str(value)]}
        for name, labels, value in samples(a_page())
        if name in METRICS.names
    ]
    found = counters_of(rows, PodsOfOthers.of(of))
    assert told(found) == EVERYTHING
    assert all(name in counters_query(of) for name in METRICS.names)


async def test_pods_that_a_gateway_counts_for_are_not_read_and_it_is_said_why():
    spec = a_spec(analysis={"countedBy": "Traefik"})
    of = Revisions(
        namespace="ml", release="qna", metrics={"rev2": METRICS}, gateway=gateway_of(spec)
    )
    async with pods_showing({}, metrics=METRICS) as reading:
        found = await reading.source.read_counters(of, predictions=False, probes=False)
    assert found == MetricsUnavailable(message=NO_GATEWAY)
