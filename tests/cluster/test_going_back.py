"""Clients leave a failing canary on a real API server whatever else is refused."""

from collections.abc import Iterator

import pytest

from examples import fixtures
from testbed.releases import PROMPTLY, SOON_SURE, Release, phase_is, rejected


@pytest.fixture
def without_webhook(release: Release) -> Iterator[str]:
    """A webhook for Deployments of this namespace that nobody answers;
    made by whoever applies it.
    """
    name = f"absent-{release.space}"[:63].strip("-")
    yield name
    release.cluster.kubectl("delete", "validatingwebhookconfiguration", name, "--ignore-not-found")


def absent_webhook(name: str, space: str) -> fixtures.Object:
    """Return a webhook whose server is down: the API server answers 500 for every Deployment."""
    rule = {
        "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"],
        "operations": ["CREATE", "UPDATE"],
    }  # fmt: skip
    hook = {
        "name": "absent.modelrelease.dev",
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space}},
        "clientConfig": {"service": {"name": "nobody", "namespace": space, "path": "/"}},
        "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"],
    }  # fmt: skip
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [hook],
    }


def test_a_failing_canary_is_left_while_no_deployment_can_be_written(
    release: Release, without_webhook: str
) -> None:
    release.begins("1")
    stable = release.status()["stable"]["revision"]
    release.load(rps=60)
    release.apply("3", analysis=SOON_SURE, canary={"steps": [{"weight": 50, "bake": "10m"}]})
    release.wait("the canary to have traffic", phase_is("Progressing", "RollingBack"))
    fixtures.apply(release.cluster, absent_webhook(without_webhook, release.space))
    status = release.wait("version 3 to be rejected", rejected("3"))
    assert status["rejected"]["reason"] == "Regression"
    selector = release.read("service", "qna")["spec"]["selector"]
    assert selector["modelrelease.dev/revision"] == stable
    assert "Regression" in release.reasons()


@pytest.mark.alone
def test_a_version_is_taken_back_while_prometheus_is_down(release: Release) -> None:
    release.begins("1")
    stable = release.status()["stable"]["revision"]
    release.apply("2", canary={"steps": [{"weight": 50, "bake": "10m"}]})
    release.wait("the canary to have traffic", phase_is("Progressing"))
    kubectl = release.cluster.kubectl
    kubectl("scale", "-n", "monitoring", "deployment/prometheus", "--replicas=0")
    try:
        release.apply("1")
        release.wait("version 1 alone", phase_is("Stable"), within=PROMPTLY)
    finally:
        kubectl("scale", "-n", "monitoring", "deployment/prometheus", "--replicas=1")
        kubectl("rollout", "status", "-n", "monitoring", "deployment/prometheus", "--timeout=600s")
    assert release.read("service", "qna")["spec"]["selector"]["modelrelease.dev/revision"] == stable
