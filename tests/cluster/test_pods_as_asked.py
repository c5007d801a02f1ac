"""Pods are what a release asks for: when they start, and at every pass after it."""

from typing import Any

from examples import fixtures
from modelrelease_operator.api import names
from testbed.releases import FAST, Release

Object = dict[str, Any]

TAKES_AWAY: Object = {
    "metadata": {"annotations": {"prometheus.io/path": None}},
    "spec": {"securityContext": {"fsGroup": None}, "dnsPolicy": None},
}
OWN: Object = {
    "image": fixtures.SERVING_IMAGE,
    "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
}


def deployment_of(release: Release) -> Object:
    (found,) = release.items("deployments")
    return found


def test_what_a_null_takes_away_stays_away_and_no_pod_is_replaced(release: Release) -> None:
    release.apply("1", serving={**FAST["serving"], "replicas": 1, "podTemplate": TAKES_AWAY})
    release.serves("1")
    pods = release.pods("1")
    release.apply("1", paused=True)  # A pass that renders what status holds.
    release.wait("another pass", bool)
    found = deployment_of(release)
    template = found["spec"]["template"]
    assert found["metadata"]["generation"] == 1
    assert "prometheus.io/path" not in template["metadata"]["annotations"]
    assert "fsGroup" not in template["spec"]["securityContext"]
    assert template["spec"]["securityContext"]["runAsUser"] == 65532, "what was left alone is there"
    assert release.pods("1") == pods


def test_a_template_that_nobody_remembers_is_kept_as_it_runs(release: Release) -> None:
    """As an operator left it that knew no annotation."""
    release.apply("1", serving={**FAST["serving"], "replicas": 1})
    release.serves("1")
    found, pods = deployment_of(release), release.pods("1")
    name = found["metadata"]["name"]
    remembered = found["metadata"]["annotations"][names.ANNOTATION_TEMPLATE]
    release.cluster.kubectl(
        "annotate", "deployment", name, "-n", release.space, f"{names.ANNOTATION_TEMPLATE}-"
    )
    release.wait(
        "the annotation", lambda _: "pod-template" in str(deployment_of(release)["metadata"])
    )
    again = deployment_of(release)
    assert again["spec"]["template"] == found["spec"]["template"]
    assert len(again["metadata"]["annotations"][names.ANNOTATION_TEMPLATE]) >= len(remembered)
    assert len(release.cluster.kubectl("get", "rs", "-n", release.space, "-o", "name").split()) == 1
    assert release.pods("1") == pods


def test_own_containers_run_before_the_download_and_beside_the_model(release: Release) -> None:
    write = "open('/tmp/before', 'w').write('ready')"
    stay = "import time; time.sleep(3600)"
    serving = {
        **FAST["serving"],
        "replicas": 1,
        "env": [{"name": "FETCH_PATIENCE_SECONDS", "value": "7"}],
        "volumes": [{"name": "shared", "emptyDir": {}}],
        "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
        "sidecars": [{**OWN, "name": "beside", "command": ["python", "-c", stay]}],
        "initContainers": [
            {
                **OWN,
                "name": "before",
                "command": ["python", "-c", write],
                "volumeMounts": [{"name": "shared", "mountPath": "/tmp"}],  # noqa: S108
            }
        ],
    }
    release.apply("1", serving=serving)
    release.serves("1")
    (pod,) = release.items("pods")
    assert [each["name"] for each in pod["spec"]["initContainers"]] == ["beside", "before", "fetch"]
    ran = {each["name"]: each["state"] for each in pod["status"]["initContainerStatuses"]}
    assert "running" in ran["beside"]
    assert ran["before"]["terminated"]["finishedAt"] <= ran["fetch"]["terminated"]["startedAt"]
    fetch = next(each for each in pod["spec"]["initContainers"] if each["name"] == "fetch")
    assert {"name": "FETCH_PATIENCE_SECONDS", "value": "7"} in fetch["env"]
