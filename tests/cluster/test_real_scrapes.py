"""Prometheus reads each pod once a minute, as it does where nobody said otherwise."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cluster import Cluster
from examples import fixtures
from examples.waiting import PATIENCE_SECONDS
from testbed.releases import SOON_SURE, Release, phase_is, rejected

MINUTE: dict[str, Any] = {"metadata": {"annotations": {"prometheus.io/scrape-interval": "60s"}}}
SERVING: dict[str, Any] = {
    "replicas": 1,
    "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}},
    "podTemplate": MINUTE,
}
THREE_SCRAPES = 3 * 60 + 30
STARTS = 180
"""Seconds for an image of the same node to start, and for Prometheus to find its pod,
on a busy machine.
"""


@contextmanager
def a_release(cluster: Cluster, store: str, space: str) -> Iterator[Release]:
    """Version 1 serves thirty requests a second, seen once a minute."""
    cluster.kubectl("delete", "namespace", space, "--ignore-not-found", "--wait", "--timeout=600s")
    fixtures.apply(cluster, fixtures.namespace(space))
    made = Release(cluster=cluster, space=space, store=store)
    made.apply("1", serving=SERVING)
    try:
        yield made
    finally:
        cluster.kubectl("delete", "namespace", space, "--wait=false")


@pytest.mark.long
def test_at_one_scrape_a_minute_releases_end_as_they_do_at_thirty(
    cluster: Cluster, store: str
) -> None:
    """A good version, one that fails and one that is slow, all at once: each needs minutes."""
    with (
        a_release(cluster, store, "minute-good") as good,
        a_release(cluster, store, "minute-failing") as failing,
        a_release(cluster, store, "minute-slow") as slow,
    ):
        for release in (good, failing, slow):
            release.serves("1")
            release.load(rps=30)
        failing.apply("3")
        slow.apply("4")
        good.apply("2", analysis=SOON_SURE)
        failing.wait("canary 3 to have clients", phase_is("Progressing", "RollingBack"))

        status = failing.wait(
            "version 3 to be rejected", rejected("3"), within=THREE_SCRAPES + STARTS
        )
        assert status["rejected"]["reason"] == "Regression"
        assert "canary 3 fails" in status["rejected"]["message"]
        assert 55 <= status["samples"]["scrapeSeconds"] <= 65, "what status says of the scrapes"

        status = slow.wait("version 4 to be rejected", rejected("4"))
        assert "takes over" in status["rejected"]["message"]

        good.serves("2", within=2 * PATIENCE_SECONDS)
        assert "Promoted" in good.reasons()
