"""Autoscalers aim at the release: by hand, and by Kubernetes' own controller."""

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread

import pytest
from kubernetes.client import CoreV1Api
from kubernetes.config import new_client_from_config
from kubernetes.watch import Watch
from urllib3.exceptions import HTTPError

from cluster import Cluster, ClusterError
from examples import fixtures
from examples.waiting import wait_until
from testbed.releases import SOON_SURE, Object, Release, phase_is
from tests.support import metrics_api


def pods_asked_for(release: Release) -> list[int]:
    return [each["spec"]["replicas"] for each in release.items("deployments")]


def test_kubectl_scale_sets_what_serves(release: Release) -> None:
    release.begins("1")
    kubectl = release.cluster.kubectl
    kubectl("scale", "modelrelease", release.name, "-n", release.space, "--replicas=3")
    wait_until("three pods", lambda: pods_asked_for(release), lambda asked: asked == [3])
    releases = f"/apis/modelrelease.dev/v1alpha1/namespaces/{release.space}/modelreleases"
    path = f"{releases}/{release.name}/scale"
    wait_until(
        "the scale to be told",
        lambda: json.loads(kubectl("get", "--raw", path))["status"],
        lambda status: (
            status == {"replicas": 3, "selector": f"modelrelease.dev/release={release.name}"}
        ),
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
    wait_until("three pods", lambda: pods_asked_for(release), lambda asked: asked == [3])
    release.serves("1")
    conditions = release.read("hpa", release.name)["status"]["conditions"]
    able = {each["type"]: each["status"] for each in conditions}
    assert able["AbleToScale"] == "True", conditions


def own_autoscaler(release: Release, **bounds: int) -> None:
    """Have the release scaled by its own autoscaler. Without metrics only its bounds move it."""
    serving = {**release.spec["serving"], "autoscaling": bounds}
    serving.pop("replicas", None)
    release.spec["serving"] = serving


def test_our_own_autoscaler_moves_the_release_in_the_middle_of_a_promotion(
    release: Release,
) -> None:
    """Its smallest number changes while a canary is tried: both arms follow, and the version that
    is promoted has the size of that moment.
    """
    own_autoscaler(release, minReplicas=2, maxReplicas=4)
    release.scraped_often()
    release.spec["serving"]["replicas"] = 2
    release.begins("1")
    release.load(rps=40)
    quick = release.spec["canary"]
    # It is tried until stable was seen to follow.
    long = [{"weight": 33, "bake": "1h"}, {"weight": 50, "bake": "5s"}]
    release.apply("2", canary={**quick, "steps": long}, analysis=SOON_SURE)
    release.wait("the canary to have users", phase_is("Progressing"))
    patched(release, serving={"autoscaling": {"minReplicas": 3}})
    wait_until("stable to have three pods", lambda: len(release.pods("1")), lambda n: n == 3)
    patched(release, canary={"steps": quick["steps"]})
    release.serves("2")
    assert len(release.pods("2")) == 3
    assert release.get()["spec"]["serving"]["replicas"] == 3
    condition = wait_until(
        "the release to say what its autoscaler says",
        lambda: condition_of(release, "Autoscaled"),
        lambda told: told.get("reason") == "AutoscalerInactive",
    )
    assert "HorizontalPodAutoscaler" in condition["message"]


def patched(release: Release, **parts: Object) -> None:
    """Change parts of the spec and leave the rest, which an autoscaler writes too."""
    release.cluster.kubectl(
        "patch", "modelrelease", release.name, "-n", release.space, "--type=merge",
        "-p", json.dumps({"spec": parts}),
    )  # fmt: skip


def condition_of(release: Release, kind: str) -> Object:
    told = release.get().get("status", {}).get("conditions", ())
    return next((each for each in told if each["type"] == kind), {})


def test_our_own_autoscaler_comes_back_when_it_is_deleted_in_the_middle(release: Release) -> None:
    own_autoscaler(release, minReplicas=2, maxReplicas=4)
    release.begins("1")
    uid = release.read("hpa", release.name)["metadata"]["uid"]
    release.apply("2")
    release.wait("the canary to start", phase_is("Starting", "Progressing"))
    release.cluster.kubectl("delete", "hpa", release.name, "-n", release.space)
    wait_until(
        "a new autoscaler",
        lambda: [each["metadata"]["uid"] for each in release.items("hpa")],
        lambda uids: len(uids) == 1 and uids != [uid],
    )
    theirs = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "theirs", "namespace": release.space},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "modelrelease.dev/v1alpha1",
                "kind": "ModelRelease",
                "name": release.name,
            },
            "maxReplicas": 4,
        },
    }
    fixtures.apply(release.cluster, theirs)
    wait_until(
        "our own to give way",
        lambda: [each["metadata"]["name"] for each in release.items("hpa")],
        lambda names: not names,
    )
    assert "AutoscalerConflict" in release.reasons()


@pytest.fixture
def metrics(cluster: Cluster) -> Iterator[None]:
    """A metrics API: the cluster's own where it has one."""
    there = cluster.kubectl("get", "apiservice", metrics_api.API_SERVICE, "--ignore-not-found")
    if there:
        yield
        return
    fixtures.apply(cluster, *metrics_api.objects())
    where = ("-n", metrics_api.SPACE, f"deployment/{metrics_api.NAME}", "--timeout=600s")
    cluster.kubectl("rollout", "status", *where)
    available = ("--for=condition=Available", "--timeout=600s")
    cluster.kubectl("wait", f"apiservice/{metrics_api.API_SERVICE}", *available)
    yield
    cluster.kubectl("delete", "apiservice", metrics_api.API_SERVICE)
    cluster.kubectl("delete", "namespace", metrics_api.SPACE, "--wait=false")


@dataclass
class Sizes:
    """How many pods of each version are ready, as a watch tells it from one change to the next."""

    ready: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    need: int = 0
    """The most that one version had: the load has not fallen for as long as Kubernetes' autoscaler
    waits before it takes pods away.
    """
    below: list[str] = field(default_factory=list)
    """Each moment at which no version had as many, or from which on nothing was seen."""
    over: bool = False
    """Whether nobody looks any more."""

    def take(self, change: str, pod: Object) -> None:
        meta = pod["metadata"]
        conditions = pod["status"].get("conditions") or ()
        told = {each["type"]: each["status"] for each in conditions}
        leaves = change == "DELETED" or meta.get("deletionTimestamp")
        pods = self.ready[meta["labels"]["modelrelease.dev/version"]]
        if told.get("Ready") == "True" and not leaves:
            pods.add(meta["name"])
        else:
            pods.discard(meta["name"])
        most = max(len(each) for each in self.ready.values())
        if most < self.need:
            self.below.append(f"{change} {meta['name']}: {most} of {self.need} ready")
        self.need = max(self.need, most)


@contextmanager
def sizes_of(release: Release) -> Iterator[Sizes]:
    """Watch a release's pods from now on."""
    sizes, watch = Sizes(), Watch()
    api = CoreV1Api(new_client_from_config(str(release.cluster.kubeconfig)))

    def follow() -> None:
        selector = f"modelrelease.dev/release={release.name}"
        pods = api.list_namespaced_pod
        try:
            for event in watch.stream(
                pods, release.space, label_selector=selector, timeout_seconds=3600
            ):
                sizes.take(event["type"], event["raw_object"])
        except HTTPError as problem:
            if not sizes.over:
                sizes.below.append(f"the watch ended: {problem}")

    thread = Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield sizes
    finally:
        sizes.over = True
        watch.stop()


def is_asked(status: Object) -> bool:
    asked: bool = status.get("canary", {}).get("question") == "WaitingForApproval"
    return asked


def send(release: Release, rps: int) -> None:
    """Have the clients that run call so often from now on."""
    pods = ("get", "pod", "-n", release.space, "-l", "app=load")
    name = release.cluster.kubectl(*pods, "-o", "jsonpath={.items[0].metadata.name}")
    path = f"/api/v1/namespaces/{release.space}/pods/{name}:8000/proxy/rate?rps={rps}"
    release.cluster.kubectl("create", "--raw", path, "-f", "-", input="{}")


@pytest.mark.alone
@pytest.mark.usefixtures("metrics")
def test_pods_follow_the_load_in_the_middle_of_a_promotion_and_are_never_fewer_than_it_needs(
    release: Release,
) -> None:
    """The load rises while a canary is tried, and falls while it is promoted."""
    own_autoscaler(release, minReplicas=2, maxReplicas=3, targetCPUUtilizationPercent=60)
    release.spec["serving"]["resources"] = {"requests": {"cpu": "40m", "memory": "128Mi"}}
    release.scraped_often()
    release.spec["serving"]["replicas"] = 2
    release.begins("1")
    release.load(rps=10)
    wait_until(
        "the autoscaler to have a number",
        lambda: condition_of(release, "Autoscaled"),
        lambda told: told.get("status") == "True",
    )
    with sizes_of(release) as sizes, release.no_request_lost():
        manual = {**release.spec["canary"], "approval": "Manual"}
        release.apply("2", canary=manual, analysis=SOON_SURE)
        release.wait("the canary to have users", phase_is("Progressing"))
        send(release, 120)
        wait_until("three pods", lambda: sizes.need, lambda most: most == 3)
        status = release.wait("the question", is_asked)
        send(release, 10)
        release.annotate(approve=status["canary"]["revision"])
        release.serves("2")
        wait_until(
            "the old version to be gone", lambda: len(release.pods("1")), lambda n: n == 0,
        )  # fmt: skip
        assert len(sizes.ready["2"]) == 3
        assert not sizes.below


def test_a_drain_takes_one_pod_of_what_serves_and_then_waits(release: Release) -> None:
    release.begins("1")
    (budget,) = release.items("poddisruptionbudgets")
    wait_until(
        "the budget to let one pod go",
        lambda: release.read("pdb", budget["metadata"]["name"])["status"],
        lambda status: status.get("disruptionsAllowed") == 1,
    )
    first, second = sorted(release.pods("1"))
    evict(release, first)
    with pytest.raises(ClusterError, match="disruption budget"):
        evict(release, second)
    wait_until(
        "two pods to be ready again",
        lambda: release.read("pdb", budget["metadata"]["name"])["status"],
        lambda status: status.get("disruptionsAllowed") == 1,
    )
    assert first not in release.pods("1")
    assert second in release.pods("1")


def evict(release: Release, pod: str) -> None:
    """Ask the API server as a drain does."""
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": release.space},
    }
    path = f"/api/v1/namespaces/{release.space}/pods/{pod}/eviction"
    release.cluster.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(eviction))
