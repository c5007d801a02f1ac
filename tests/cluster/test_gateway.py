"""Weights by a Gateway: exact, taken back at once, and told when the Gateway does not take them.

TEST_GATEWAY names the implementation: traefik, or contour.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster
from cluster.gateways import TRAEFIK, gateway_of
from examples import fixtures
from examples.fixtures import LoadStats
from examples.waiting import wait_until
from testbed.releases import SOON_SURE, Release, phase_is, rejected
from tests.support import inference_pools, language_server

ENOUGH = 3000
"""Requests over which a share is counted."""
INSTALLED = gateway_of(os.environ.get("TEST_GATEWAY", TRAEFIK.name))
GATEWAY = INSTALLED.parent


@pytest.fixture(scope="module")
def gateway(cluster: Cluster) -> None:
    """The Gateway API with an implementation, and one Gateway for all namespaces."""
    cluster.install_gateway(INSTALLED.name)


@pytest.fixture
def routed(gateway: None, release: Release) -> Release:
    """A release whose clients come by the Gateway, under a host name of its own."""
    host = f"front.{release.space}"
    front = {"type": "ExternalName", "externalName": INSTALLED.address}
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
        **canary,
    }


def by_gateway(release: Release, **canary: Any) -> dict[str, Any]:
    routing = {"gatewayAPI": {"parentRefs": [GATEWAY], "hostnames": [release.host]}}
    return {"routing": routing, **canary}


def called(release: Release) -> None:
    """Start clients, and wait until the Gateway answers: it follows a first route a little late."""
    release.load(rps=100)
    wait_until("an answer", release.stats, lambda stats: stats.count(outcome="200") > 0)
    enough = release.stats().answered + 500
    wait_until("answers", release.stats, lambda stats: stats.answered > enough)


def weights(release: Release) -> dict[str, int]:
    """Return by Service what share the route asks for."""
    route = release.read("httproute", release.name)
    return {each["name"]: each["weight"] for each in route["spec"]["rules"][0]["backendRefs"]}


def answered_more(release: Release, since: LoadStats, requests: int) -> LoadStats:
    """Wait until so many requests more were answered."""
    return wait_until(
        "more requests", release.stats, lambda stats: stats.answered - since.answered > requests
    )


def followed(release: Release) -> LoadStats:
    """Wait until the Gateway must have followed its route: Traefik takes up one change every two
    seconds at most, and this is six seconds of clients.
    """
    return answered_more(release, release.stats(), 600)


def a_twentieth_meets(release: Release, version: str, since: LoadStats) -> None:
    """Require a weight of 5 %, and that share of the requests within four standard errors."""
    after = answered_more(release, since, ENOUGH)
    assert release.status()["weight"] == 5
    counted = after.answered - since.answered
    share = (after.count(version=version) - since.count(version=version)) / counted
    assert abs(share - 0.05) < 4 * sqrt(0.05 * 0.95 / counted), f"{share:.4f} of {counted}"


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
        a_twentieth_meets(routed, "2", before)
        assert len(routed.pods("2")) == 1, "as many pods as a twentieth of the requests needs"

        routed.apply("2", canary=by_gateway(routed, **steps(5, 50)), analysis=SOON_SURE)
        routed.serves("2")
        routed.wait("the old version to be gone", lambda _: not routed.pods("1"))
    assert weights(routed) == {"qna-stable": 100, "qna-canary": 0}


@pytest.mark.alone
def test_a_failing_version_has_no_request_once_it_is_rejected(routed: Release) -> None:
    routed.apply("1", canary=by_gateway(routed, **steps(20, 50)))
    routed.serves("1")
    called(routed)
    with routed.no_request_lost(except_by=("3",)):
        routed.apply("3", analysis=SOON_SURE)
        routed.wait("version 3 to be rejected", rejected("3"))
        told = followed(routed)
        after = answered_more(routed, told, 500)
    assert after.count(version="3") == told.count(version="3")
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
    assert f"Gateway {INSTALLED.namespace}/nobody has not answered" in status["message"]
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
    wait_until("the weights to be right", lambda: weights(routed), lambda now: now == right)
    routed.apply("1", canary=steps(50))
    wait_until(
        "the route to be gone",
        lambda: routed.cluster.kubectl("get", *where, "--ignore-not-found"),
        lambda answer: not answer,
    )
    assert phase_is("Stable")(routed.status())


def test_of_two_releases_with_one_host_the_older_is_routed_and_the_other_follows_when_it_goes(
    routed: Release,
) -> None:
    routed.apply("1", canary=by_gateway(routed, **steps(50)))
    routed.serves("1")
    later = replace(routed, name="rag", spec=dict(routed.spec))
    later.apply("2", canary=by_gateway(routed, **steps(50)))
    status = later.wait(
        "the conflict", lambda seen: reasons(seen).get("Stalled") == "RouteConflict"
    )
    for name in ("rag", "qna"):
        assert f"ModelRelease {routed.space}/{name}" in status["message"]
    assert not later.items("httproute")
    called(routed)
    assert routed.stats().count(version="2") == 0, "nobody was sent to the one that came later"

    routed.cluster.kubectl("delete", "modelrelease", "qna", "-n", routed.space)
    later.serves("2")
    wait_until("answers of the other", routed.stats, lambda seen: seen.count(version="2") > 100)
    assert "Stalled" not in reasons(later.status())


def by_own_route(release: Release, **canary: Any) -> dict[str, Any]:
    routing = {"gatewayAPI": {"existingRoute": {"name": "front", "rule": "predict"}}}
    return {"routing": routing, **canary}


def written_by_git(release: Release, *, weight: int = 0) -> dict[str, Any]:
    """Apply somebody's route, all of it, as a tool that follows Git does."""
    header = {"set": [{"name": "x-by", "value": "front"}]}
    predict = {
        "name": "predict",
        "matches": [{"path": {"type": "PathPrefix", "value": "/predict"}}],
        "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": header}],
        "backendRefs": [
            {"name": "qna-stable", "port": 80, "weight": 100 - weight},
            {"name": "qna-canary", "port": 80, "weight": weight},
        ],
    }
    health = {
        "name": "health",
        "matches": [{"path": {"type": "PathPrefix", "value": "/health"}}],
        "backendRefs": [{"name": "qna", "port": 80}],
    }
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "front", "namespace": release.space},
        "spec": {"parentRefs": [GATEWAY], "hostnames": [release.host], "rules": [health, predict]},
    }
    fixtures.apply(release.cluster, route)
    return route


def weights_of_front(release: Release) -> tuple[int, ...]:
    rule = release.read("httproute", "front")["spec"]["rules"][1]
    return tuple(each["weight"] for each in rule["backendRefs"])


def weights_become(release: Release, *expected: int) -> None:
    wait_until(
        f"the weights {expected}",
        lambda: weights_of_front(release),
        lambda now: now == expected,
    )


@pytest.mark.alone
def test_a_route_of_others_keeps_what_they_wrote_and_has_the_weights_whoever_writes_it_again(
    routed: Release,
) -> None:
    route = written_by_git(routed)
    routed.apply("1", canary=by_own_route(routed, **steps(20, 50)))
    routed.serves("1")
    called(routed)
    assert not routed.items("httproute"), "it has no route of its own"
    with routed.no_request_lost():
        manual = by_own_route(routed, **steps(20, 50), approval="Manual")
        routed.apply("2", canary=manual, analysis=SOON_SURE)
        routed.wait(
            "the first weight in effect", lambda seen: "stepSince" in seen.get("canary", {})
        )
        assert weights_of_front(routed) == (80, 20)
        written_by_git(routed)
        weights_become(routed, 80, 20)
        theirs = {"op": "replace", "path": "/spec/rules/1/backendRefs/1/weight", "value": 99}
        where = ("httproute", "front", "-n", routed.space)
        routed.cluster.kubectl("patch", *where, "--type=json", "-p", json.dumps([theirs]))
        weights_become(routed, 80, 20)
        kept = [
            {key: value for key, value in rule.items() if key != "backendRefs"}
            for rule in routed.read("httproute", "front")["spec"]["rules"]
        ]
        for before, after in zip(route["spec"]["rules"], kept, strict=True):
            assert {key: before[key] for key in before if key != "backendRefs"} == after
        routed.annotate(abort="2")
        weights_become(routed, 100, 0)
        routed.wait("the canary to be gone", lambda _: not routed.pods("2"))


def test_a_route_of_others_that_is_deleted_midway_is_missed_and_found_again(
    routed: Release,
) -> None:
    written_by_git(routed)
    routed.apply("1", canary=by_own_route(routed, **steps(50)))
    routed.serves("1")
    canary = by_own_route(routed, **steps(50), approval="Manual")
    routed.apply("2", canary=canary, analysis=SOON_SURE)
    routed.wait("the weight in effect", lambda seen: "stepSince" in seen.get("canary", {}))
    routed.cluster.kubectl("delete", "httproute", "front", "-n", routed.space)
    status = routed.wait(
        "the route to be missed", lambda seen: reasons(seen).get("Stalled") == "RouteNotTaken"
    )
    assert f"HTTPRoute {routed.space}/front" in status["message"]
    written_by_git(routed)
    weights_become(routed, 50, 50)
    routed.wait("no complaint", lambda seen: "Stalled" not in reasons(seen))


COHORT = {
    "headers": [{"name": "x-beta", "value": "always"}],
    "cookies": [{"name": "group", "value": "beta"}],
    "queryParams": [{"name": "canary", "value": "1"}],
}
TESTERS: dict[str, dict[str, Any]] = {
    "by-header": {"headers": {"X-Beta": "always"}},
    "by-cookie": {"headers": {"Cookie": "theme=dark; group=beta"}},
    "by-query": {"query": "?canary=1"},
}


def start_testers(release: Release) -> None:
    """Start clients that the cohort finds, one for each way."""
    for name, asking in TESTERS.items():
        url = f"http://{release.host}/predict{asking.get('query', '')}"
        clients = fixtures.load_generator(release.space, url=url, rps=10, seconds=3600, name=name)
        container = clients[-1]["spec"]["template"]["spec"]["containers"][0]
        sent = asking.get("headers", {}).items()
        container["command"] += [f"--header={header}={value}" for header, value in sent]
        fixtures.apply(release.cluster, *clients)


def answers_of(release: Release, name: str) -> fixtures.LoadStats:
    return fixtures.LoadStats.read(release.cluster, release.space, name)


def all_testers_meet(release: Release, version: str) -> None:
    """Check that each answer to testers is a version's, from when the Gateway follows its route."""
    followed(release)
    earlier = {name: answers_of(release, name) for name in TESTERS}
    for name, before in earlier.items():
        after = wait_until(
            f"answers to {name}",
            lambda name=name: answers_of(release, name),  # type: ignore[misc]
            lambda now, before=before: now.answered > before.answered + 100,  # type: ignore[misc]
        )
        counted = after.answered - before.answered
        theirs = after.count(version=version) - before.count(version=version)
        assert theirs == counted, f"{name}: {theirs} of {counted} answers by {version}"


@pytest.mark.alone
def test_the_cohort_always_meets_the_canary_and_nobody_else_does_beyond_the_weight(
    routed: Release,
) -> None:
    def canary(**more: Any) -> dict[str, Any]:
        asked = by_gateway(routed, **steps(5), **more)
        asked["routing"]["gatewayAPI"]["cohort"] = COHORT
        return asked

    routed.apply("1", canary=canary())
    routed.serves("1")
    called(routed)
    start_testers(routed)
    for name in TESTERS:
        where = ("-n", routed.space, f"deployment/{name}", "--timeout=600s")
        routed.cluster.kubectl("rollout", "status", *where)
    all_testers_meet(routed, "1")
    with routed.no_request_lost():
        routed.apply("2", canary=canary(approval="Manual"), analysis=SOON_SURE)
        status = routed.wait(
            "the weight in effect", lambda seen: "stepSince" in seen.get("canary", {})
        )
        assert "no random sample" in status["canary"]["note"]
        before = routed.stats()
        all_testers_meet(routed, "2")
        a_twentieth_meets(routed, "2", before)
        routed.annotate(abort="2")
        routed.wait("the canary to be gone", lambda _: not routed.pods("2"))
        all_testers_meet(routed, "1")
    assert len(routed.read("httproute", routed.name)["spec"]["rules"]) == 1


def reasons(status: dict[str, Any]) -> dict[str, str]:
    return {
        each["type"]: each["reason"]
        for each in status.get("conditions", [])
        if each["status"] == "True"
    }


def test_callers_past_the_gateway_hold_a_canary_until_they_come_by_it(routed: Release) -> None:
    canary = by_gateway(routed, **steps(50))
    routed.apply("1", canary=canary)
    routed.serves("1")
    front, routed.host = routed.host, ""
    routed.load(rps=100)
    routed.apply("2", canary=canary, analysis=SOON_SURE)
    status = routed.wait("the mismatch", has_mismatch)
    assert "canary 2 answered 0.00 % of" in status["message"]
    assert "at a weight of 50 %" in status["message"]
    assert "ShareMismatch" in routed.reasons()
    routed.host = front
    routed.load(rps=100)
    routed.serves("2")


def has_mismatch(status: dict[str, Any]) -> bool:
    mismatch: bool = status.get("canary", {}).get("share", {}).get("mismatch", False)
    return mismatch


@pytest.fixture
def pools(cluster: Cluster) -> Iterator[None]:
    """A schema for InferencePools. The Gateway knows none of them and refuses a route to one."""
    fixtures.apply(cluster, inference_pools.definition())
    name = f"crd/inferencepools.{inference_pools.GROUP}"
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=600s", name)
    yield
    cluster.kubectl("delete", name, "--wait=true", "--timeout=600s")


@pytest.mark.usefixtures("pools")
def test_pools_of_others_are_kept_on_the_arms_and_all_else_of_them_is_left(
    routed: Release,
) -> None:
    before = [inference_pools.pool(name, routed.space, "qna") for name in ("one", "two")]
    fixtures.apply(routed.cluster, *before)
    backends = [
        {"group": inference_pools.GROUP, "kind": "InferencePool", "name": name, "weight": weight}
        for name, weight in (("one", 50), ("two", 50))
    ]
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "front", "namespace": routed.space},
        "spec": {"parentRefs": [GATEWAY], "rules": [{"backendRefs": backends}]},
    }
    fixtures.apply(routed.cluster, route)
    existing = {"name": "front", "pools": {"stable": "one", "canary": "two"}}
    routing = {"gatewayAPI": {"existingRoute": existing}}
    routed.apply("1", canary={"routing": routing, **steps(50)})
    refused = f"HTTPRoute front: Gateway {INSTALLED.namespace}/public refuses it"
    # The operator asks once a minute for a kind that was not served when it started.
    routed.wait(
        "the refusal of a gateway that knows no pools",
        lambda seen: reasons(seen).get("Stalled") == "RouteNotTaken" and refused in seen["message"],
    )
    (deployment,) = routed.items("deployments")
    revision = "modelrelease.dev/revision"
    labels = {
        "modelrelease.dev/release": "qna",
        revision: deployment["metadata"]["labels"][revision],
    }
    for asked in before:
        live = routed.read("inferencepool", asked["metadata"]["name"])
        selector = live["spec"].pop("selector")
        assert selector == {"matchLabels": labels}
        del asked["spec"]["selector"]
        assert live["spec"] == asked["spec"]
    rule = routed.read("httproute", "front")["spec"]["rules"][0]
    assert [each["weight"] for each in rule["backendRefs"]] == [100, 0]


LOSS = {"interval": "3s", "gates": [{"name": "loss", "loss": {"delay": "10s"}}]}
"""Pods and gateway are scraped every few seconds here."""


def judged_by_losses(routed: Release, version: str) -> None:
    """Release a version beside version 1, which clients call by the gateway."""
    canary = by_gateway(routed, **steps(50))
    routed.apply("1", canary=canary)
    routed.serves("1")
    called(routed)
    routed.apply(version, canary=canary, analysis=LOSS)


def loss_of(status: dict[str, Any]) -> dict[str, Any]:
    gates: list[dict[str, Any]] = status.get("gates", [])
    return next((gate for gate in gates if gate["name"] == "loss"), {})


def test_a_good_version_loses_nothing_by_the_gateways_count_and_is_promoted(
    routed: Release,
) -> None:
    judged_by_losses(routed, "2")
    status = routed.wait(
        "losses to be counted", lambda seen: loss_of(seen).get("canaryTotal", 0) > 100
    )
    assert "canary 2 loses 0.0 % of" in loss_of(status)["message"]
    routed.serves("2")


def test_a_version_whose_answers_nobody_has_is_rejected_by_what_the_gateway_counts(
    routed: Release,
) -> None:
    """It answers and counts each request with 200, and closes the connections on one of fifty."""
    judged_by_losses(routed, "9")
    status = routed.wait("version 9 to be rejected", rejected("9"))
    assert status["rejected"]["reason"] == "Regression"
    assert "canary 9 loses" in status["rejected"]["message"]


def test_a_version_whose_process_dies_under_requests_is_rejected(routed: Release) -> None:
    """By the ends of its containers or by what is lost with them, whichever is proven first."""
    judged_by_losses(routed, "8")
    status = routed.wait("version 8 to be rejected", rejected("8"))
    said = status["rejected"]["message"]
    assert "canary 8 loses" in said or "containers of canary 8 ended abnormally" in said


ERRORS = {"name": "errors", "errorRate": {"margin": {"ratio": 1.25, "points": 2}}}


def counted(*gates: dict[str, Any]) -> dict[str, Any]:
    """Return an analysis of what the gateway counts."""
    return {"interval": "3s", "countedBy": INSTALLED.name.capitalize(), "gates": list(gates)}


@pytest.fixture
def chat(routed: Release, tmp_path: Path) -> Release:
    """llama.cpp's own server, which counts no requests, serves version 1 of a tiny model."""
    routed.cluster.build_images("llama-cpp")
    release = language_server.served_from(routed, tmp_path)
    release.spec["canary"] = by_gateway(release, **steps(50), shareCheck=False)
    release.spec["analysis"] = counted(ERRORS)
    release.apply("1", model=language_server.model(release, "1"))
    release.serves("1")
    release.load(rps=60, path="/infill")
    wait_until("an answer", release.stats, lambda stats: stats.count(outcome="200") > 100)
    return release


def test_a_language_server_that_counts_nothing_is_released_by_the_gateways_counts_and_a_judge(
    chat: Release,
) -> None:
    """Version 3 lost the tokens around a gap, and is asked to fill one in; version 4 answers all
    requests, with nothing that anybody could read.
    """
    chat.apply("2", model=language_server.model(chat, "2"))
    chat.serves("2")
    (gate,) = chat.status()["gates"]
    assert gate["verdict"] == "Pass"
    assert gate["canaryTotal"] > 100
    is_rejected(chat, "3", says="canary 3 fails")

    language_server.judge(chat)
    chat.spec["analysis"] = counted(ERRORS, language_server.gate())
    is_rejected(chat, "4", says="canary 4 is bad by gate judge for 100.0 % of")


def is_rejected(release: Release, version: str, *, says: str) -> None:
    release.apply(version, model=language_server.model(release, version))
    status = release.wait(f"version {version} to be rejected", rejected(version))
    assert status["rejected"]["reason"] == "Regression"
    assert says in status["rejected"]["message"]
    assert status["stable"]["version"] == "2"
