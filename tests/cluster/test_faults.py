"""The world breaks in the middle of a release: it ends as it would have."""

import json
import random
from collections.abc import Iterator

import pytest

from cluster import Cluster
from examples.waiting import wait_until
from testbed.releases import OPERATOR_SPACE, PROMPTLY, SOON_SURE, Release, phase_is, rejected

pytestmark = pytest.mark.alone
OUTAGE_SECONDS = 60
"""Twenty looks, and far from `maxBlind`, after which a canary leaves the Service."""


@pytest.fixture(autouse=True)
def scraped_often(release: Release) -> None:
    """What breaks here is no scrape: the looks in between only have to come."""
    release.scraped_often()


def test_with_prometheus_stopped_for_a_minute_nothing_moves(release: Release) -> None:
    release.begins("1")
    release.load(rps=40)
    release.apply("2", analysis=SOON_SURE)
    release.wait("evidence at the first step", _has_evidence)

    kubectl = release.cluster.kubectl
    kubectl("scale", "-n", "monitoring", "deployment/prometheus", "--replicas=0")
    before = release.wait(
        "the outage to be told", lambda status: status.get("verdict") == "Unavailable"
    )
    seen: list[tuple[object, ...]] = []

    def look() -> int:
        status = release.status()
        seen.append(
            (status["phase"], status["weight"], status["verdict"], status["canary"]["step"])
        )
        return len(seen)

    wait_until("a minute of looks", look, lambda looks: looks >= OUTAGE_SECONDS, every=1)
    assert set(seen) == {("Progressing", before["weight"], "Unavailable", before["canary"]["step"])}
    assert "Prometheus" in release.status()["message"]
    assert release.status()["gates"][0]["canaryTotal"] == before["gates"][0]["canaryTotal"]

    kubectl("scale", "-n", "monitoring", "deployment/prometheus", "--replicas=1")
    kubectl("rollout", "status", "-n", "monitoring", "deployment/prometheus", "--timeout=600s")
    release.serves("2")


def test_with_the_operator_killed_in_each_phase_a_good_version_is_still_promoted(
    release: Release,
) -> None:
    chance = random.Random(20261101)
    release.apply("1")
    _kill_operator(release.cluster)
    release.serves("1")
    release.load(rps=80)
    with release.no_request_lost():
        release.apply("2", analysis=SOON_SURE)
        for phase in ("Starting", "Progressing", "Promoting"):
            release.wait(f"phase {phase} or later", _reached(phase, "2"))
            _wait_a_random_moment(release, chance)
            _kill_operator(release.cluster)
        release.serves("2")
    assert len(release.pods("2")) == 2


def test_with_the_operator_killed_while_rolling_back_stable_still_serves_alone(
    release: Release,
) -> None:
    release.begins("1")
    release.load(rps=80)
    with release.no_request_lost(except_by=("3",)):
        release.apply("3")
        release.wait("the rollback", _reached("RollingBack", "3"))
        _kill_operator(release.cluster)
        status = release.wait("version 3 to be rejected", rejected("3"))
        release.wait("its pods to be gone", lambda _: not release.pods("3"))
    assert status["stable"]["version"] == "1"
    selector = release.read("service", "qna")["spec"]["selector"]
    assert selector["modelrelease.dev/revision"] == status["stable"]["revision"]


def _has_evidence(status: dict[str, object]) -> bool:
    gates = status.get("gates")
    return isinstance(gates, list) and any(gate["canaryTotal"] > 0 for gate in gates)


@pytest.fixture
def two_operators(cluster: Cluster) -> Iterator[None]:
    """A second operator that waits for the Lease of the first."""
    cluster.install_operator("replicas=2")
    yield
    cluster.install_operator()


@pytest.mark.usefixtures("two_operators")
def test_of_two_operators_the_one_that_waited_acts_when_the_other_is_killed(
    release: Release,
) -> None:
    release.begins("1")
    acting = _holder(release.cluster)
    where = ("-n", OPERATOR_SPACE)
    release.cluster.kubectl("delete", "pod", acting, *where, "--grace-period=0", "--force")
    release.apply("2")
    wait_until(
        "another to act",
        lambda: _holder(release.cluster),
        lambda who: who != acting,
        within=PROMPTLY,
    )
    release.wait("the canary to start", phase_is("Starting", "Progressing"), within=PROMPTLY)


def _holder(cluster: Cluster) -> str:
    """Return the pod that holds the Lease."""
    lease = cluster.kubectl(
        "get", "lease", "modelrelease-operator", "-n", "kube-system", "-o", "json"
    )
    holder: str = json.loads(lease)["spec"]["holderIdentity"]
    return holder.rpartition("_")[0]


def _reached(phase: str, version: str):
    """Return a check that a release is in a phase,
    or already past it (phases can be shorter than a look).
    """
    order = ("Starting", "Progressing", "Promoting", "RollingBack")
    later = order[order.index(phase) :]

    def check(status: dict[str, object]) -> bool:
        ended = any(
            isinstance(part := status.get(arm), dict) and part.get("version") == version
            for arm in ("stable", "rejected")
        )
        return phase_is(*later)(status) or ended

    return check


def _wait_a_random_moment(release: Release, chance: random.Random) -> None:
    """Let a random number of looks go by."""
    looks = iter(range(chance.randrange(1, 8)))
    wait_until(
        "a random moment",
        lambda: next(looks, None),
        lambda left: left is None,
        every=0.3,
    )


def _kill_operator(cluster: Cluster) -> None:
    """End the operator's pod without a goodbye; wait until another one runs."""
    label = "app.kubernetes.io/name=modelrelease-operator"
    cluster.kubectl(
        "delete",
        "pod",
        "-n",
        OPERATOR_SPACE,
        "-l",
        label,
        "--grace-period=0",
        "--force",
        "--wait=false",
    )

    def pods() -> list[dict[str, object]]:
        raw = cluster.kubectl("get", "pods", "-n", OPERATOR_SPACE, "-l", label, "-o", "json")
        found: list[dict[str, object]] = json.loads(raw)["items"]
        return found

    wait_until("a new operator", pods, lambda found: len(found) == 1)
