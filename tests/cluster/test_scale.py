"""Autoscalers aim at the release: by hand, and by Kubernetes' own controller."""

import json

from examples import fixtures
from examples.waiting import wait_until
from testbed.releases import Release


def pods_asked_for(release: Release) -> list[int]:
    return [each["spec"]["replicas"] for each in release.items("deployments")]


def test_kubectl_scale_sets_what_serves(release: Release) -> None:
    release.begins("1")
    kubectl = release.cluster.kubectl
    kubectl("scale", "modelrelease", release.name, "-n", release.space, "--replicas=3")
    wait_until("three pods", lambda: pods_asked_for(release), lambda asked: asked == [3], within=60)
    releases = f"/apis/modelrelease.dev/v1alpha1/namespaces/{release.space}/modelreleases"
    path = f"{releases}/{release.name}/scale"
    wait_until(
        "the scale to be told",
        lambda: json.loads(kubectl("get", "--raw", path))["status"],
        lambda status: (
            status == {"replicas": 3, "selector": f"modelrelease.dev/release={release.name}"}
        ),
        within=60,
    )
    release.serves("1")


def test_an_autoscaler_that_names_the_release_is_followed_and_not_fought(release: Release) -> None:
    """It has no metrics here, and its smallest number is more than what serves:
    that alone moves it.
    """
    release.begins("1")
    target = {
        "apiVersion": "modelrelease.dev/v1alpha1",
        "kind": "ModelRelease",
        "name": release.name,
    }
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": release.name, "namespace": release.space},
        "spec": {
            "scaleTargetRef": target,
            "minReplicas": 3,
            "maxReplicas": 5,
            "metrics": [{"type": "Resource", "resource": cpu}],
        },
    }
    fixtures.apply(release.cluster, autoscaler)
    wait_until(
        "three pods", lambda: pods_asked_for(release), lambda asked: asked == [3], within=120
    )
    release.serves("1")
    conditions = release.read("hpa", release.name)["status"]["conditions"]
    able = {each["type"]: each["status"] for each in conditions}
    assert able["AbleToScale"] == "True", conditions
