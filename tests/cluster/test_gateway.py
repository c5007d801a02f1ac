"""Weights by a Gateway: exact, taken back at once, and told when the Gateway does not take them."""

import json
from math import sqrt
from typing import Any

import pytest

from cluster import Cluster
from examples import fixtures
from examples.waiting import wait_until
from testbed.releases import SOON_SURE, Release, phase_is, rejected

ENOUGH = 3000
"""Requests over which a share is counted."""
GATEWAY = {"name": "public", "namespace": "gateway"}


@pytest.fixture(scope="module")
def gateway(cluster: Cluster) -> None:
    """The Gateway API with Traefik, and one Gateway for all namespaces."""
    cluster.install_gateway()


@pytest.fixture
def routed(gateway: None, release: Release) -> Release:
    """A release whose clients come by the Gateway, under a host name of its own."""
    host = f"front.{release.space}"
    front = {"type": "ExternalName", "externalName": "traefik.gateway.svc.cluster.local"}
    meta = {"name": "front", "namespace": release.space}
    fixtures.apply(
        release.cluster, {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": front}
    )
    release.host = host
    release.scraped_often()
    return release


def steps(*weights: int, **canary: Any) -> dict[str, Any]:
    return {
        "steps": [{"weight": weight, "bake": "5s"} for weight in weights],
        "keepPrevious": "5s",
        "startDeadline": "2m",
        **canary,
    }


def by_gateway(release: Release, **canary: Any) -> dict[str, Any]:
    routing = {"gatewayAPI": {"parentRefs": [GATEWAY], "hostnames": [release.host]}}
    return {"routing": routing, **canary}


def called(release: Release) -> None:
    """Start clients, and wait until the Gateway answers: it follows a first route a little late."""
    release.load(rps=100)
    wait_until("an answer", release.stats, lambda stats: stats.count(outcome="200") > 0, within=60)
    enough = release.stats().answered + 500
    wait_until("answers", release.stats, lambda stats: stats.answered > enough, within=60)


def weights(release: Release) -> dict[str, int]:
    """Return by Service what share the route asks for."""
    route = release.read("httproute", release.name)
    return {each["name"]: each["weight"] for each in route["spec"]["rules"][0]["backendRefs"]}


@pytest.mark.alone
def test_a_share_is_exact_and_a_good_version_is_promoted_without_a_lost_request(
    routed: Release,
) -> None:
    routed.apply("1", canary=by_gateway(routed, **steps(5, 50)))
    routed.serves("1")
    called(routed)
    with routed.no_request_lost():
        routed.apply(
            "2", canary=by_gateway(routed, **steps(5, 50), approval="Manual"), analysis=SOON_SURE
        )
        routed.wait(
            "the first weight in effect", lambda seen: "stepSince" in seen.get("canary", {})
        )
        before = routed.stats()
        after = wait_until(
            "enough requests", routed.stats,
            lambda stats: stats.answered - before.answered > ENOUGH,
            within=120,
        )  # fmt: skip
        assert routed.status()["weight"] == 5
        counted = after.answered - before.answered
        share = (after.count(version="2") - before.count(version="2")) / counted
        assert abs(share - 0.05) < 4 * sqrt(0.05 * 0.95 / counted), f"{share:.4f} of {counted}"
        assert len(routed.pods("2")) == 1, "as many pods as a twentieth of the requests needs"

        routed.apply("2", canary=by_gateway(routed, **steps(5, 50)), analysis=SOON_SURE)
        routed.serves("2", within=300)
        routed.wait("the old version to be gone", lambda _: not routed.pods("1"))
    assert weights(routed) == {"qna-stable": 100, "qna-canary": 0}


@pytest.mark.alone
def test_a_failing_version_has_no_request_once_it_is_rejected(routed: Release) -> None:
    routed.apply("1", canary=by_gateway(routed, **steps(20, 50)))
    routed.serves("1")
    called(routed)
    with routed.no_request_lost(except_by=("3",)):
        routed.apply("3", analysis=SOON_SURE)
        routed.wait("version 3 to be rejected", rejected("3"), within=300)
        before = routed.stats()
        after = wait_until(
            "more requests",
            routed.stats,
            lambda stats: stats.answered - before.answered > 500,
            within=60,
        )
    assert after.count(version="3") - before.count(version="3") <= 1, "one may have been under way"
    assert weights(routed) == {"qna-stable": 100, "qna-canary": 0}


def test_a_gateway_that_is_not_there_is_a_condition_and_mending_the_spec_ends_it(
    routed: Release,
) -> None:
    absent = {
        "gatewayAPI": {"parentRefs": [{**GATEWAY, "name": "nobody"}], "hostnames": [routed.host]}
    }
    routed.apply("1", canary={"routing": absent, **steps(50)})
    status = routed.wait(
        "the Gateway to be missed", lambda seen: reasons(seen).get("Stalled") == "RouteNotTaken"
    )
    assert "Gateway gateway/nobody has not answered" in status["message"]
    routed.apply("1", canary=by_gateway(routed, **steps(50)))
    routed.serves("1")


def test_weights_that_somebody_edits_are_set_right_and_without_routing_the_route_goes(
    routed: Release,
) -> None:
    routed.apply("1", canary=by_gateway(routed, **steps(50)))
    routed.serves("1")
    theirs = {"op": "replace", "path": "/spec/rules/0/backendRefs/1/weight", "value": 77}
    where = ("httproute", routed.name, "-n", routed.space)
    routed.cluster.kubectl("patch", *where, "--type=json", "-p", json.dumps([theirs]))
    right = {"qna-stable": 100, "qna-canary": 0}
    wait_until(
        "the weights to be right", lambda: weights(routed), lambda now: now == right, within=60
    )
    routed.apply("1", canary=steps(50))
    wait_until(
        "the route to be gone",
        lambda: routed.cluster.kubectl("get", *where, "--ignore-not-found"),
        lambda answer: not answer,
        within=60,
    )
    assert phase_is("Stable")(routed.status())


def reasons(status: dict[str, Any]) -> dict[str, str]:
    return {
        each["type"]: each["reason"]
        for each in status.get("conditions", [])
        if each["status"] == "True"
    }
