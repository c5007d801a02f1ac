"""The operator as it runs in the cluster: its rights, its health, its metrics, its errors."""

from urllib.parse import quote

import pytest

from cluster import Cluster
from examples.waiting import wait_until
from testbed.releases import OPERATOR_SPACE, Release, phase_is

WHO = f"system:serviceaccount:{OPERATOR_SPACE}:modelrelease"


@pytest.mark.parametrize(
    ("verb", "what", "allowed"),
    [
        ("patch", "deployments.apps", "yes"),
        ("patch", "modelreleases.modelrelease.dev/status", "yes"),
        ("patch", "jobs.batch", "yes"),
        ("watch", "pods", "yes"),
        ("update", "cronjobs.batch", "no"),
        ("get", "secrets", "no"),
        ("list", "configmaps", "no"),
        ("patch", "modelreleases.modelrelease.dev", "no"),
        ("delete", "pods", "no"),
        ("create", "pods/exec", "no"),
        ("delete", "namespaces", "no"),
        ("escalate", "clusterroles.rbac.authorization.k8s.io", "no"),
    ],
)
def test_the_operator_may_do_what_it_needs_and_nothing_else(
    cluster: Cluster, verb: str, what: str, allowed: str
) -> None:
    resource, _, part = what.partition("/")
    asked = [verb, resource, *([f"--subresource={part}"] if part else [])]
    answer = cluster.kubectl("auth", "can-i", *asked, "--as", WHO, "-n", "default", check=False)
    assert answer.split()[-1] == allowed


def test_the_operator_tells_prometheus_what_it_decided(release: Release) -> None:
    release.begins("1")
    query = f'modelrelease_phase{{release_namespace="{release.space}",phase="Stable"}} == 1'
    path = "/api/v1/namespaces/monitoring/services/prometheus:9090/proxy/api/v1/query?query="

    def ask() -> str:
        return release.cluster.kubectl("get", "--raw", path + quote(query))

    wait_until("the phase in Prometheus", ask, lambda answer: '"phase":"Stable"' in answer)


def test_a_model_that_is_not_there_is_told_and_tried_again(release: Release) -> None:
    release.apply("99")
    status = release.wait(
        "the problem to be told", lambda status: "404" in status.get("message", "")
    )
    conditions = {each["type"]: each for each in status["conditions"]}
    assert (conditions["Stalled"]["status"], conditions["Stalled"]["reason"]) == (
        "True",
        "ModelInvalid",
    )
    assert status["phase"] == "Pending"
    assert not release.items("deployments")
    release.begins("1")


def test_a_pod_template_that_the_api_server_refuses_is_told(release: Release) -> None:
    release.apply(
        "1", serving={"replicas": 1, "podTemplate": {"spec": {"containers": [{"name": "side"}]}}}
    )
    status = release.wait(
        "the refusal", lambda status: "spec.template.spec" in status.get("message", "")
    )
    reasons = {each["type"]: each["reason"] for each in status["conditions"]}
    assert reasons["Stalled"] == "ApplyRefused"
    release.apply("1", serving={"replicas": 1})
    release.serves("1")


def test_without_traffic_nothing_is_promoted(release: Release) -> None:
    release.begins("1")
    release.apply("2", canary={"weight": 50, "progressDeadline": "20s"})
    status = release.wait("the deadline", phase_is("Paused"))
    assert status["stable"]["version"] == "1"
    assert "no verdict within 20s" in status["message"]
    revision = status["canary"]["revision"]
    release.cluster.kubectl(
        "annotate",
        "modelrelease",
        "qna",
        "-n",
        release.space,
        f"modelrelease.dev/approve={revision}",
    )
    release.serves("2")
