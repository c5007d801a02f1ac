"""A release of models in an OCI registry: a stand-in for one, in a pod of the test's namespace."""

from pathlib import Path

from typing_extensions import override

from cluster import Cluster
from examples import fixtures
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


def runs_registry(cluster: Cluster, space: str, folders: list[Path]) -> None:
    """Run a registry with a tag for each folder."""
    kept = [fixtures.artifact_configmap(space, folder) for folder in folders]
    fixtures.apply(cluster, *kept)
    fixtures.apply(cluster, *_registry(space, folders))
    cluster.kubectl("rollout", "status", "-n", space, f"deployment/{REGISTRY}", "--timeout=600s")


def _registry(space: str, folders: list[Path]) -> list[Object]:
    program = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": REGISTRY, "namespace": space},
        "data": {"registry.py": Path(oci_registry.__file__).read_text()},
    }
    names = [REGISTRY, *(fixtures.artifact_name(folder) for folder in folders)]
    shown = [f"/{fixtures.artifact_name(folder)}=team/qna:v{folder.name}" for folder in folders]
    container = {
        "name": REGISTRY,
        "image": fixtures.SERVING_IMAGE,
        "command": ["python", f"/{REGISTRY}/registry.py", str(PORT), *shown],
        "volumeMounts": [{"name": name, "mountPath": f"/{name}"} for name in names],
    }
    volumes = [{"name": name, "configMap": {"name": name}} for name in names]
    return [
        program,
        fixtures.deployment(REGISTRY, space, fixtures.pod(container, PORT, "/v2/", volumes)),
        fixtures.service(REGISTRY, space, PORT),
    ]
