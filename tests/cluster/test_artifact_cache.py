"""A link that is down stops no restart: artifacts stay on a claim of the release's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster
from examples import fixtures
from examples.waiting import wait_until
from testbed.releases import SOON_SURE, Object, Release

CLAIM = "models"
NODE_FOLDERS = "/var/lib/volumes"


@pytest.fixture
def claim(cluster: Cluster, space: str) -> Iterator[str]:
    """A claim on a folder of the node, as k3s's class local-path makes it; returns its name."""
    folder = f"{NODE_FOLDERS}/{space}"
    on_node(cluster, space, "os.chmod('/folder', 0o777)")
    size, access = {"storage": "1Gi"}, ["ReadWriteOnce"]
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": space},
        "spec": {
            "capacity": size,
            "accessModes": access,
            "hostPath": {"path": folder},
            "claimRef": {"namespace": space, "name": CLAIM},
        },
    }
    claimed = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM, "namespace": space},
        "spec": {
            "accessModes": access,
            "storageClassName": "",
            "volumeName": space,
            "resources": {"requests": size},
        },
    }
    fixtures.apply(cluster, volume, claimed)
    yield CLAIM
    cluster.kubectl("delete", "persistentvolume", space, "--wait=false")
    on_node(cluster, space, "shutil.rmtree('/folder/models', ignore_errors=True)")


def on_node(cluster: Cluster, space: str, statement: str) -> None:
    """Run a statement beside a folder of the node, as a storage class's own pods do."""
    name = f"folder-{space}"
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {"runAsUser": 0},
            "containers": [
                {
                    "name": "folder",
                    "image": fixtures.SERVING_IMAGE,
                    "command": ["python", "-c", f"import os, shutil; {statement}"],
                    "volumeMounts": [{"name": "folder", "mountPath": "/folder"}],
                }
            ],
            "volumes": [
                {
                    "name": "folder",
                    "hostPath": {"path": f"{NODE_FOLDERS}/{space}", "type": "DirectoryOrCreate"},
                }
            ],
        },
    }
    fixtures.apply(cluster, pod)
    cluster.kubectl(
        "wait", f"pod/{name}", "-n", "default", "--for=jsonpath={.status.phase}=Succeeded",
        "--timeout=600s",
    )  # fmt: skip
    cluster.kubectl("delete", "pod", name, "-n", "default", "--wait=true")


@pytest.fixture
def release(cluster: Cluster, artifacts: dict[str, Path], space: str, claim: str) -> Release:
    """A release that keeps its artifacts, with a store of its own that can be taken away."""
    folders = [artifacts["1"], artifacts["2"]]
    fixtures.apply(cluster, *(fixtures.artifact_configmap(space, each) for each in folders))
    fixtures.apply(cluster, *fixtures.model_store(space, folders))
    cluster.kubectl(
        "rollout", "status", "-n", space, f"deployment/{fixtures.STORE}", "--timeout=600s"
    )
    return Release(cluster=cluster, space=space, store=space)


def kept(release: Release, version: str) -> Object:
    return {
        "uri": release.uri(version),
        "cache": {"persistentVolumeClaim": {"claimName": CLAIM}},
    }


def ready_pods(release: Release, version: str) -> dict[str, Any]:
    ready = {
        pod["metadata"]["name"]: pod["metadata"]["uid"]
        for pod in release.items("pods")
        if {"type": "Ready", "status": "True"}.items()
        <= next(
            (each for each in pod["status"].get("conditions", ()) if each["type"] == "Ready"), {}
        ).items()
    }
    return {name: uid for name, uid in release.pods(version).items() if name in ready}


def test_pods_start_again_while_the_store_is_away(cluster: Cluster, release: Release) -> None:
    release.apply("1", model=kept(release, "1"), analysis=SOON_SURE)
    release.serves("1")
    release.load(rps=60)
    release.apply("2", model=kept(release, "2"))
    release.serves("2")
    before = release.pods("2")
    cluster.kubectl(
        "delete", "-n", release.space, f"deployment/{fixtures.STORE}", "--cascade=foreground"
    )
    cluster.kubectl("delete", "pod", "-n", release.space, *before)
    after = wait_until(
        "as many new pods to be ready",
        lambda: ready_pods(release, "2"),
        lambda ready: len(ready) == len(before) and not set(ready.values()) & set(before.values()),
    )
    assert len(after) == len(before)
