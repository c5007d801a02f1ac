"""A release of models in an OCI registry: a stand-in for one, in a pod of the test's namespace."""

from pathlib import Path

from typing_extensions import override

from cluster import Cluster
from examples import fixtures
from modelrelease_contract import MANIFEST_NAME, manifest_digest
from testbed.releases import Object, Release
from tests.support import oci_registry

REGISTRY = "registry"
PORT = 5000


class RegistryRelease(Release):
    """A release whose versions are tags."""

    @override
    def uri(self, version: str) -> str:
        return f"oci+http://{REGISTRY}.{self.space}/team/qna:v{version}"


def test_a_version_is_promoted_by_its_tag(
    cluster: Cluster, store: str, space: str, artifacts: dict[str, Path]
) -> None:
    runs_registry(cluster, space, [artifacts["1"], artifacts["2"]])
    release = RegistryRelease(cluster=cluster, space=space, store=store)
    release.begins("1")
    release.load(rps=60)
    release.apply("2")
    release.serves("2")
    status = release.status()
    assert status["resolved"]["uri"] == release.uri("2")
    pinned = f"oci+http://{REGISTRY}.{space}/team/qna@sha256:"
    assert status["resolved"]["location"].startswith(pinned)
    assert status["stable"]["uri"] == status["resolved"]["location"]


def test_an_image_is_mounted_or_the_release_says_why_a_node_cannot(
    cluster: Cluster, store: str, space: str, artifacts: dict[str, Path]
) -> None:
    """Nodes reach the registry by a port of their own: they know no Service by its name. Debian's
    containerd 1.6 pulls from there and cannot mount; newer ones mount, and want TLS to pull.
    """
    folder = artifacts["1"]
    runs_registry(cluster, space, [folder], prefix=oci_registry.IMAGE)
    with oci_registry.OciRegistry() as shelf:
        digest = shelf.push_image("any", "v1", folder)
    release = Release(cluster=cluster, space=space, store=store)
    port = release.read("service", REGISTRY)["spec"]["ports"][0]["nodePort"]
    release.spec["model"] = {
        "uri": f"oci+http://127.0.0.1:{port}/image/qna@{digest}",
        "version": "1",
        "sha256": manifest_digest((folder / MANIFEST_NAME).read_bytes()),
        "imageVolume": {"path": "models"},
    }
    release.apply("1")
    status = release.wait(
        "the model, or the node's own words",
        lambda it: it.get("phase") == "Stable" or "container fetch: " in it.get("message", ""),
    )
    said = status["message"]
    assert status["phase"] == "Stable" or "cannot mount images" in said or "Pull" in said
    (volume, *_) = release.items("pods")[0]["spec"]["volumes"]
    assert volume["image"]["reference"] == f"127.0.0.1:{port}/image/qna@{digest}"


def runs_registry(cluster: Cluster, space: str, folders: list[Path], prefix: str = "team/") -> None:
    """Run a registry with a tag for each folder."""
    kept = [fixtures.artifact_configmap(space, folder) for folder in folders]
    fixtures.apply(cluster, *kept)
    fixtures.apply(cluster, *_registry(space, folders, prefix))
    cluster.kubectl("rollout", "status", "-n", space, f"deployment/{REGISTRY}", "--timeout=600s")


def _registry(space: str, folders: list[Path], prefix: str) -> list[Object]:
    program = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": REGISTRY, "namespace": space},
        "data": {"registry.py": Path(oci_registry.__file__).read_text()},
    }
    names = [REGISTRY, *(fixtures.artifact_name(folder) for folder in folders)]
    shown = [f"/{fixtures.artifact_name(folder)}={prefix}qna:v{folder.name}" for folder in folders]
    container = {
        "name": REGISTRY,
        "image": fixtures.SERVING_IMAGE,
        "command": ["python", f"/{REGISTRY}/registry.py", str(PORT), *shown],
        "volumeMounts": [{"name": name, "mountPath": f"/{name}"} for name in names],
    }
    service = fixtures.service(REGISTRY, space, PORT)
    service["spec"]["type"] = "NodePort"
    volumes = [{"name": name, "configMap": {"name": name}} for name in names]
    return [
        program,
        fixtures.deployment(REGISTRY, space, fixtures.pod(container, PORT, "/v2/", volumes)),
        service,
    ]
