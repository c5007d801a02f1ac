"""The stand-in for Prometheus in the benchmark of scale: it answers what the operator asks."""

import asyncio
import math
import time

import pytest

from benchmarks.scale import BINS, BUCKETS, FEATURES, Metrics, Mirror, quantile
from modelrelease_operator.core.observed import MetricsUnavailable
from modelrelease_operator.runtime.metric_sources.source import Revisions
from modelrelease_operator.serving_runtimes.predictor import PREDICTOR
from testbed.servers import serving
from tests.support.asking import asking


def release(name: str) -> Revisions:
    return Revisions(
        namespace="team-1", release=name, metrics={"r2": PREDICTOR.metrics, "r1": PREDICTOR.metrics}
    )


def a_prometheus() -> Metrics:
    mirror = Mirror(server=None)  # type: ignore[arg-type]
    for name in ("a", "b", "c"):
        for revision in ("r1", "r2"):
            mirror.pods["team-1", name, revision] = {f"{name}-{revision}": "1"}
    return Metrics(mirror, began=time.time() - 1000)


async def test_releases_that_ask_together_get_the_counters_of_their_own_pods():
    prometheus = a_prometheus()
    async with serving(prometheus.answer) as address, asking(address) as source:
        found = await asyncio.gather(*(source.read_counters(release(name)) for name in "ab"))
    assert prometheus.queries == {"counters": 1}
    assert prometheus.releases == 2
    for name, counters in zip("ab", found, strict=True):
        assert not isinstance(counters, MetricsUnavailable)
        assert {each.pod for each in counters} == {f"{name}-r1", f"{name}-r2"}
        assert len(counters) == 2 * (2 + len(BUCKETS))
        assert all(each.at and each.started for each in counters)


async def test_bins_are_counted_apart_from_counters():
    prometheus = a_prometheus()
    async with serving(prometheus.answer) as address, asking(address) as source:
        bins = await source.read_bins(release("a"))
    assert prometheus.queries == {"bins": 1}
    assert not isinstance(bins, MetricsUnavailable)
    assert len(bins) == 4 * FEATURES * BINS


@pytest.mark.parametrize(("share", "seconds"), [(0.5, 0.1), (0.98, 1.0), (0.99, 2.0), (1.0, 2.0)])
def test_a_quantile_is_the_end_of_the_bucket_that_holds_it(share: float, seconds: float):
    assert quantile({0.1: 60.0, 1.0: 98.0, 2.0: 100.0, math.inf: 100.0}, share) == seconds


def test_of_nothing_there_is_no_quantile():
    assert math.isnan(quantile({0.1: 0.0, math.inf: 0.0}, 0.99))
