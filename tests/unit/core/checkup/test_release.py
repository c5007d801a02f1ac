"""What is concluded about one release from its object and what others say of it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from modelrelease_operator.api.routing import GatewayAPI
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Status
from modelrelease_operator.core.checkup.finding import Finding, Object, Result, Subject, Unseen
from modelrelease_operator.core.checkup.prometheus import Scraped, about_scrapes
from modelrelease_operator.core.checkup.release import (
    GatewayNeeds,
    about_autoscaling,
    about_operators_word,
    about_pods_own_pages,
    about_routing,
    about_spec,
    told_by_status,
)

ABOUT = Subject("ml/qna")
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
FORBIDDEN = Unseen(why="the API server answered 403", refused=True)
SPEC = ReleaseSpec.parse({"model": {"uri": "https://store/qna/7"}})
TARGET = {"revision": "r2", "version": "2", "uri": "u", "sha256": "s", "recipe": {"image": "i"}}
CANARY = {**TARGET, "steps": 4, "since": "2026-11-30T11:00:00Z"}
SAMPLES = {"source": "Pods", "canaryPods": 1, "stablePods": 3, "newest": "2026-11-30T11:59:58Z"}


def status(**parts: Any) -> Status:
    return Status.parse({"phase": "Progressing", "observedGeneration": 1, **parts})


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (
            {"serving": {"image": "i:1", "runtime": {"profile": "vllm"}}, "canary": {"shadow": {}}},
            "serving runtime vllm copies no requests",
        ),
        ({"analysis": {"countedBy": "Traefik"}}, "needs canary.routing.gatewayAPI"),
    ],
)
def test_what_the_operator_refuses_is_not_called_valid(parts: Object, words: str):
    found, *_ = about_spec(ABOUT, {"spec": {"model": {"uri": "https://store/qna/7"}, **parts}})
    assert found.result is Result.WRONG
    assert words in found.says


def test_a_look_at_the_pods_is_told_with_its_time():
    finding = about_pods_own_pages(ABOUT, status(canary=CANARY, samples=SAMPLES))
    assert finding.result is Result.OK
    assert "samples of 1 pods of the canary and 3 of stable" in finding.says
    assert "the newest of 2026-11-30 11:59:58 UTC" in finding.says


@pytest.mark.parametrize(
    ("parts", "result"),
    [
        ({}, Result.UNSEEN),
        ({"samples": SAMPLES}, Result.UNSEEN),
        ({"samples": {**SAMPLES, "source": "Prometheus"}, "canary": CANARY}, Result.UNSEEN),
        ({"samples": {**SAMPLES, "leftOut": ["qna-2"]}, "canary": CANARY}, Result.WARNING),
    ],
    ids=["never judged", "of an earlier canary", "of another source", "a pod left out"],
)
def test_a_look_that_is_none_of_now_is_never_ok(parts: dict[str, Any], result: Result):
    assert about_pods_own_pages(ABOUT, status(**parts)).result is result


def test_metrics_that_the_operator_cannot_read_are_wrong_in_its_own_words():
    seen = status(canary=CANARY, samples=SAMPLES, verdict="Unavailable", message="no route to it")
    finding = told_by_status(ABOUT, seen, "the operator asks Prometheus")
    assert finding.result is Result.WRONG
    assert finding.says == "the operator asks Prometheus; its newest look could not: no route to it"


def test_a_release_that_no_operator_has_seen_is_warned_of():
    release: Object = {"kind": "ModelRelease", "metadata": {"name": "qna", "namespace": "ml"}}
    (finding,) = about_operators_word(ABOUT, release, NOW)
    assert finding.result is Result.WARNING
    assert "the operator has not seen this release yet" in finding.says


@pytest.mark.parametrize(
    ("reason", "result"), [("Rejected", Result.WARNING), ("SpecInvalid", Result.WRONG)]
)
def test_a_version_that_was_taken_back_is_no_fault_of_the_cluster(reason: str, result: Result):
    """Whoever asks whether all is well before the next release is not stopped by the last one."""
    stalled = {
        "type": "Stalled", "status": "True", "reason": reason, "message": "version 2 was worse",
        "observedGeneration": 1, "lastTransitionTime": NOW.isoformat(),
    }  # fmt: skip
    release: Object = {
        "kind": "ModelRelease",
        "metadata": {"name": "qna", "namespace": "ml", "generation": 1},
        "status": {"observedGeneration": 1, "conditions": [stalled]},
    }
    (finding,) = about_operators_word(ABOUT, release, NOW)
    assert (finding.result, finding.says) == (result, f"{reason}: version 2 was worse")


def test_a_status_that_no_operator_wrote_is_wrong():
    release: Object = {
        "kind": "ModelRelease",
        "metadata": {"name": "qna", "namespace": "ml"},
        "status": {"phase": "Dancing"},
    }
    (finding,) = about_operators_word(ABOUT, release, NOW)
    assert finding.result is Result.WRONG


def scraped(**parts: Any) -> Finding:
    """Return what is said of the pods."""
    seen = {
        "url": "http://p", "shown": ["a", "b"], "ready": ["a", "b"], "why_missing": None,
        "seconds": None, "several": False, **parts,
    }  # fmt: skip
    return next(about_scrapes(ABOUT, SPEC, Scraped(**seen)))


@pytest.mark.parametrize(
    ("parts", "result"),
    [
        ({}, Result.OK),
        ({"ready": ["a"]}, Result.OK),
        ({"ready": None}, Result.UNSEEN),
        ({"ready": None, "shown": []}, Result.UNSEEN),
        ({"ready": ["a", "b", "c"]}, Result.WARNING),
        ({"shown": []}, Result.WRONG),
        ({"shown": [], "ready": []}, Result.WARNING),
    ],
)
def test_pods_that_are_shown_are_held_against_those_that_are_ready(
    parts: dict[str, Any], result: Result
):
    assert scraped(**parts).result is result


POOLS = {"existingRoute": {"name": "web", "pools": {"stable": "a", "canary": "b"}}}


def routed(settings: dict[str, Any], **parts: Any) -> list[tuple[Result, str]]:
    seen: dict[str, Any] = {
        "namespace": "ml", "routes": None, "pools": None, "gateways": {}, "route": None,
        "missing": None, **parts,
    }  # fmt: skip
    found = about_routing(ABOUT, GatewayAPI.model_validate(settings), GatewayNeeds(**seen))
    return [(finding.result, finding.says) for finding in found]


def test_pools_need_their_extension_and_somebodys_route():
    served: Object = {"resources": [{"name": "httproutes"}]}
    assert routed(POOLS, routes=served) == [
        (Result.OK, "the cluster serves httproutes"),
        (Result.WRONG, "the release routes by inferencepools, which the cluster does not serve"),
        (Result.WRONG, "HTTPRoute ml/web does not exist"),
    ]


def test_what_of_a_gateway_may_not_be_read_is_never_ok():
    settings = {"parentRefs": [{"name": "public"}]}
    found = routed(settings, routes=FORBIDDEN, gateways={"ml/public": FORBIDDEN})
    assert {result for result, _ in found} == {Result.UNSEEN}


def test_what_a_gateway_cannot_do_is_wrong_in_the_operators_words():
    settings = {"parentRefs": [{"name": "public"}]}
    found = routed(settings, routes={"resources": [{"name": "httproutes"}]}, missing="no cookies")
    assert found[-1] == (Result.WRONG, "no cookies")


SCALED = ReleaseSpec.parse(
    {"model": {"uri": "https://store/qna/7"}, "serving": {"autoscaling": {}, "replicas": 3}}
)


@pytest.mark.parametrize(
    ("metrics", "result"),
    [
        ({}, Result.OK),
        (None, Result.WRONG),
        (Unseen(why="503"), Result.WRONG),
        (FORBIDDEN, Result.UNSEEN),
    ],
    ids=["served", "not there", "does not answer", "forbidden"],
)
def test_the_metrics_api_of_a_release_that_scales(metrics: Any, result: Result):
    (finding,) = about_autoscaling(ABOUT, "qna", SCALED, (), metrics)
    assert finding.result is result
