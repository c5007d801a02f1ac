"""Two Prometheus servers behind one Service, as they run for availability, each with its own
scrapes.

A look is answered by either, so samples seem to go back in time, and a server that was replaced
knows nothing of what happened before.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from cluster import Cluster
from examples import fixtures
from examples.waiting import wait_until
from testbed.releases import SOON_SURE, Release, phase_is, rejected

MONITORING, PAIR = "monitoring", "prometheus-pair"
URL = f"http://{PAIR}.{MONITORING}:9090"
SERVING: dict[str, Any] = {
    "replicas": 1,
    "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}},
}
CANARY: dict[str, Any] = {
    "steps": [{"weight": 50, "bake": "5s"}],
    "keepPrevious": "1s",
    "startDeadline": "3m",
}
QUESTIONS = re.compile(
    r'^prometheus_http_requests_total\{.*handler="/api/v1/query".*\} (\S+)$', re.MULTILINE
)
SCRAPES = 4
"""So many more are compared after one of the servers was killed."""


@dataclass(frozen=True)
class Pair:
    """Two Prometheus pods and the Service before them."""

    cluster: Cluster

    def ready(self) -> frozenset[str]:
        """Return the names of the pods that answer."""
        raw = self.cluster.kubectl(
            "get", "pods", "-n", MONITORING, "-l", f"app={PAIR}", "-o", "json"
        )
        return frozenset(
            pod["metadata"]["name"] for pod in json.loads(raw)["items"] if _is_ready(pod)
        )

    def questions(self) -> dict[str, float]:
        """Return by pod how many queries it has answered."""
        return {pod: self._answered(pod) for pod in self.ready()}

    def kill_one(self) -> str:
        """End one pod without a goodbye; return its name."""
        pod = min(self.ready())
        self.cluster.kubectl("delete", "pod", pod, "-n", MONITORING, "--grace-period=0", "--force")
        return pod

    def _answered(self, pod: str) -> float:
        path = f"/api/v1/namespaces/{MONITORING}/pods/{pod}:9090/proxy/metrics"
        return sum(map(float, QUESTIONS.findall(self.cluster.kubectl("get", "--raw", path))))


@pytest.fixture
def pair(cluster: Cluster) -> Iterator[Pair]:
    """The cluster's Prometheus once more, with two pods, and gone afterwards."""
    found = cluster.kubectl("get", "deployment", "prometheus", "-n", MONITORING, "-o", "json")
    template = json.loads(found)["spec"]["template"]
    template["metadata"]["labels"] = {"app": PAIR}
    # Connections that rest are closed before the next look, so that each look may meet the other
    # server.
    template["spec"]["containers"][0]["args"].append("--web.read-timeout=1s")
    deployment = fixtures.deployment(PAIR, MONITORING, template["spec"])
    deployment["spec"] |= {"replicas": 2, "template": template}
    service = fixtures.service(PAIR, MONITORING, 9090)
    service["spec"]["ports"] = [{"port": 9090, "targetPort": 9090}]
    fixtures.apply(cluster, deployment, service)
    both = Pair(cluster)
    try:
        wait_until("two servers", both.ready, lambda pods: len(pods) == 2, within=120)
        yield both
    finally:
        things = (f"deployment/{PAIR}", f"service/{PAIR}")
        cluster.kubectl("delete", *things, "-n", MONITORING, "--ignore-not-found")


@contextmanager
def a_release(cluster: Cluster, store: str, space: str, version: str) -> Iterator[Release]:
    """A version serves thirty requests a second, and both servers see it."""
    cluster.kubectl("delete", "namespace", space, "--ignore-not-found", "--wait", "--timeout=120s")
    fixtures.apply(cluster, fixtures.namespace(space))
    made = Release(cluster=cluster, space=space, store=store)
    seen_by = {"prometheus": {"url": URL}}
    made.apply(version, serving=SERVING, canary=CANARY, analysis={**SOON_SURE, **seen_by})
    try:
        yield made
    finally:
        cluster.kubectl("delete", "namespace", space, "--wait=false")


def test_with_two_servers_releases_end_as_with_one_and_a_killed_one_blames_nobody(
    cluster: Cluster, store: str, pair: Pair
) -> None:
    """A good version, one that fails, and one that fails as often as the version before it."""
    with (
        a_release(cluster, store, "two-healthy", "1") as healthy,
        a_release(cluster, store, "two-failing", "1") as failing,
        a_release(cluster, store, "two-alike", "3") as alike,
    ):
        for release, version in ((healthy, "1"), (failing, "1"), (alike, "3")):
            release.serves(version)
            release.load(rps=30)
        strict = {"interval": "3s", "prometheus": {"url": URL}}
        # Two that fail alike are soon within the margin, by luck: this one is compared to the end.
        for_long = CANARY | {"steps": [{"weight": 50, "bake": "30m"}]}
        alike.apply("7", canary=for_long, analysis=strict)
        failing.apply("3")
        healthy.apply("2")

        before = alike.wait("version 7 to be compared", lambda status: _counted(status) > 0)
        assert min(pair.questions().values()) > 0, "each of the two servers is asked"
        killed = pair.kill_one()

        status = failing.wait("version 3 to be rejected", rejected("3"), within=150)
        assert status["rejected"]["reason"] == "Regression"
        healthy.serves("2", within=150)
        assert "RolledBack" not in healthy.reasons()

        enough = _counted(before) + SCRAPES * 15 * 10
        status = alike.wait("version 7 to be compared on", lambda status: _counted(status) > enough)
        assert _counted(status) <= alike.stats().count(version="7"), "nothing is counted twice"
        assert phase_is("Progressing")(status)
        assert not {"RolledBack", "Regression"} & set(alike.reasons())
        after = wait_until("another server", pair.questions, _all_asked, within=60)
        assert killed not in after


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def _counted(status: dict[str, Any]) -> int:
    return max((gate["canaryTotal"] for gate in status.get("gates", [])), default=0)


def _all_asked(questions: dict[str, float]) -> bool:
    return len(questions) == 2 and min(questions.values()) > 0
