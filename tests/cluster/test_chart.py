"""The chart on a real cluster, by the commands that a person types."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster, toolchain
from examples.waiting import wait_until
from testbed.releases import OPERATOR_SPACE, SOON_SURE, Release
from tests.support.chart import CHART, VALUES_FILES, rendered

pytestmark = pytest.mark.alone
NAME = ("modelrelease", "--namespace", OPERATOR_SPACE)
WAIT = ("--wait", "--timeout", "10m")
STEPS = [{"weight": 33, "bake": "30m"}]
"""Nothing of this moves before somebody promotes it."""


@pytest.fixture
def usual_operator(cluster: Cluster) -> Iterator[None]:
    """Leave the operator as the other tests want it."""
    yield
    cluster.install_operator()


def operators_images(cluster: Cluster) -> list[str]:
    """Return what a cluster that pulls images from elsewhere has to be told; nothing usually."""
    images = cluster.chart_images()
    repository, _, tag = images["operator"].rpartition(":")
    values = {
        "image.repository": repository, "image.tag": tag, "serving.image": images["serving"],
    }  # fmt: skip
    return [word for name, value in values.items() for word in ("--set", f"{name}={value}")]


def standing(release: Release) -> dict[str, Any]:
    """Return what no change of the operator may touch: pods, restarts, addresses, weight."""
    slices = json.loads(
        release.cluster.kubectl(
            "get", "endpointslices", "-n", release.space, "-l", "kubernetes.io/service-name=qna",
            "-o", "json",
        )
    )["items"]  # fmt: skip
    status = release.get()["status"]
    return {
        "pods": {pod["metadata"]["uid"] for pod in release.items("pods")},
        "restarts": release.restarts(),
        "addresses": {
            address
            for each in slices
            for endpoint in each.get("endpoints") or ()
            for address in endpoint["addresses"]
        },
        "weight": status["weight"],
        "revisions": (status["stable"]["revision"], status["canary"]["revision"]),
    }


def acts(cluster: Cluster, release: Release, word: str) -> None:
    """Wait until the operator that is there now has looked at the release; `word` is a new one."""

    def holder() -> str:
        lease = ("lease", "modelrelease-operator", "-n", "kube-system")
        return cluster.kubectl("get", *lease, "-o", "jsonpath={.spec.holderIdentity}")

    pods = cluster.kubectl(
        "get", "pods", "-n", OPERATOR_SPACE, "-o", "jsonpath={.items[*].metadata.name}",
        "-l", "app.kubernetes.io/name=modelrelease-operator",
    ).split()  # fmt: skip
    wait_until("this operator to act", holder, lambda who: who.rpartition("_")[0] in pods)
    release.annotate(retry=word)
    release.wait(
        "a command that is about nothing to be seen",
        lambda status: word in [each["value"] for each in status.get("commands") or ()],
    )


def plain_objects(cluster: Cluster) -> str:
    """Return install.yaml, with the names by which this cluster finds the images."""
    environment = {**os.environ, "HELM": toolchain.helm()}
    environment.pop("IMAGES", None)
    tool = CHART.parents[1] / "tools/chart"
    subprocess.run([tool, "install-yaml"], env=environment, check=True, capture_output=True)
    text = (CHART.parents[1] / "build/chart/install.yaml").read_text()
    for part, name in cluster.chart_images().items():
        text = text.replace(f"modelrelease-{part}:dev", name)
    return text


@pytest.mark.usefixtures("usual_operator")
def test_installed_changed_taken_away_and_installed_again_in_the_middle_of_a_release(
    cluster: Cluster, release: Release
) -> None:
    helm, images = cluster.helm, operators_images(cluster)
    helm("uninstall", *NAME, *WAIT)
    said = helm("install", *NAME[:1], CHART, *NAME[1:], "--create-namespace", *WAIT, *images)
    assert "the operator reads the pods'\nown pages" in said
    assert "has no ValidatingAdmissionPolicy" not in said

    release.spec |= {
        "canary": {"steps": STEPS, "keepPrevious": "1s"}, "analysis": SOON_SURE,
    }  # fmt: skip
    release.begins("1")
    release.load(rps=20)
    with release.no_request_lost():
        release.apply("2")
        release.wait("canary 2 to be counted", lambda it: bool(it.get("samples")))
        before = standing(release)

        changed = ["--set", "logLevel=DEBUG", "--set", "podAnnotations.changed=yes"]
        helm("upgrade", *NAME[:1], CHART, *NAME[1:], "--reuse-values", *WAIT, *changed)
        acts(cluster, release, "changed")
        assert standing(release) == before

        said = helm("uninstall", *NAME, *WAIT)
        assert "[CustomResourceDefinition] modelreleases.modelrelease.dev" in said, "it stays"
        assert not cluster.kubectl("get", "deployments", "-n", OPERATOR_SPACE, "-o", "name")
        assert standing(release) == before

        # Without Helm, as plain objects; then by Helm again, which is told that they are its own.
        cluster.kubectl("apply", "--server-side", "-f-", input=plain_objects(cluster))
        cluster.kubectl(
            "rollout", "status", "-n", OPERATOR_SPACE, "deployment/modelrelease-operator",
            "--timeout=600s",
        )  # fmt: skip
        acts(cluster, release, "plain")
        assert standing(release) == before
        mine = ("--take-ownership", "--force-conflicts")
        helm("install", *NAME[:1], CHART, *NAME[1:], *WAIT, *mine, *images)
        acts(cluster, release, "again")
        assert standing(release) == before

        release.annotate(promote=before["revisions"][1])
        release.serves("2")
    assert release.restarts() == 0


@pytest.mark.parametrize("file", VALUES_FILES, ids=lambda file: file.name)
def test_the_api_server_takes_all_that_is_rendered(cluster: Cluster, file: Path) -> None:
    """Field by field; but for the kinds of the Prometheus operator, which is not here."""
    foreign = "podMonitor.enabled=false,alerts.kind=ConfigMap"
    text = rendered(None, "-f", file, "--namespace", OPERATOR_SPACE, "--set", foreign)
    taken = cluster.kubectl(
        "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict",
        "-f-", input=text,
    )  # fmt: skip
    assert len(taken.splitlines()) == text.count("\nkind: ")
