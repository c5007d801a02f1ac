"""What the demo and the cluster tests do alike: a store of artifacts, releases, load.

Everything goes through kubectl, as a user would. Artifacts are small enough for ConfigMaps, which
makes a model store that works on any cluster.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from modelrelease_training.data import make_data

SERVING_IMAGE = "modelrelease-serving:dev"
OPERATOR_IMAGE = "modelrelease-operator:dev"
STORE = "model-store"
CALLERS_ROWS = 2000
"""So many that chance alone does not look like drift, and so few that they fit into a ConfigMap."""
GENERATOR = Path(__file__).parent / "load" / "generator.py"

POD_SECURITY: dict[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}

Object = dict[str, Any]


class Kubectl(Protocol):
    """The one thing of a cluster that is needed here."""

    def kubectl(self, *args: str, input: str | None = None, check: bool = True) -> str:  # noqa: A002
        """Run kubectl against the cluster and return what it printed."""
        ...


def namespace(name: str) -> Object:
    """Return a namespace that takes only pods that need no privileges."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def release(name: str, space: str, uri: str, **parts: Any) -> Object:
    """Return a ModelRelease; `parts` are those of its spec."""
    return {
        "apiVersion": "modelrelease.dev/v1alpha1",
        "kind": "ModelRelease",
        "metadata": {"name": name, "namespace": space},
        "spec": {"model": {"uri": uri}, **parts},
    }


def artifact_configmap(space: str, folder: Path) -> Object:
    """Return an artifact as a ConfigMap: it must be below 1 MiB."""
    # Without the model card, which is a folder: nothing fetches it.
    names = [item for item in folder.iterdir() if item.is_file()]
    files = {item.name: base64.b64encode(item.read_bytes()).decode() for item in names}
    meta = {"name": artifact_name(folder), "namespace": space}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "binaryData": files}


def artifact_name(folder: Path) -> str:
    """Return the ConfigMap's name for an artifact folder `<model>/<version>`."""
    return f"artifact-{folder.parent.name}-{folder.name}"


def model_store(space: str, folders: list[Path]) -> list[Object]:
    """Return a web server that serves every artifact at `/<model>/<version>/`."""
    volumes = [
        {"name": artifact_name(item), "configMap": {"name": artifact_name(item)}}
        for item in folders
    ]
    mounts = [
        {"name": artifact_name(item), "mountPath": f"/store/{item.parent.name}/{item.name}"}
        for item in folders
    ]
    command = ["python", "-m", "http.server", "8080", "--directory", "/store"]
    container = {"name": STORE, "image": SERVING_IMAGE, "command": command, "volumeMounts": mounts}
    return [
        deployment(STORE, space, pod(container, 8080, "/", volumes)),
        service(STORE, space, 8080),
    ]


def store_uri(space: str, model: str, version: str) -> str:
    """Return where the store of a namespace has an artifact."""
    return f"http://{STORE}.{space}/{model}/{version}"


def load_generator(
    space: str,
    *,
    url: str,
    rps: float,
    seconds: float,
    name: str = "load",
    shifts: Mapping[str, float] | None = None,
    rows: list[list[float]] | None = None,
) -> list[Object]:
    """Return a pod that calls `url`, with rows drawn as those that the models were trained on.

    `shifts` moves features by so many standard deviations. `rows` are sent instead, for another
    model.
    """
    if rows is None:
        rows = make_data(seed=4242, rows=CALLERS_ROWS, shifts=shifts or {}).rows.round(4).tolist()
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": space},
        "data": {"generator.py": GENERATOR.read_text(), "rows.json": json.dumps(rows)},
    }
    command = ["python", "/load/generator.py", "--rows=/load/rows.json", f"--url={url}"]
    command += [f"--rps={rps}", f"--seconds={seconds}"]
    volumes = [{"name": "load", "configMap": {"name": name}}]
    mounts = [{"name": "load", "mountPath": "/load"}]
    container = {"name": name, "image": OPERATOR_IMAGE, "command": command, "volumeMounts": mounts}
    return [config, deployment(name, space, pod(container, 8000, "/stats", volumes))]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStats:
    """What the load generator saw so far."""

    sent: int
    answered: int
    outcomes: tuple[tuple[str, str, str, int], ...]
    """Kind of connection, version that answered, outcome, count."""
    last_failures: tuple[str, ...] = ()

    @classmethod
    def read(cls, cluster: Kubectl, space: str, name: str = "load") -> "LoadStats":
        """Ask the generator through the API server."""
        pod = cluster.kubectl(
            "get",
            "pod",
            "-n",
            space,
            "-l",
            f"app={name}",
            "-o",
            "jsonpath={.items[0].metadata.name}",
        )
        raw = cluster.kubectl(
            "get", "--raw", f"/api/v1/namespaces/{space}/pods/{pod}:8000/proxy/stats"
        )
        return cls.parse(json.loads(raw))

    @classmethod
    def parse(cls, stats: Mapping[str, Any]) -> "LoadStats":
        """Read what the generator's `/stats` answers."""
        rows = tuple(
            (row["connection"], row["version"], row["outcome"], row["count"])
            for row in stats["outcomes"]
        )
        return cls(
            sent=stats["sent"],
            answered=stats["answered"],
            outcomes=rows,
            last_failures=tuple(stats["last_failures"]),
        )

    def count(self, *, version: str | None = None, outcome: str | None = None) -> int:
        """Count the answers of a version, or with an outcome, or both."""
        return sum(
            count
            for _, answered_by, result, count in self.outcomes
            if version in (None, answered_by) and outcome in (None, result)
        )

    def failures(self, *, except_by: tuple[str, ...] = ()) -> dict[str, int]:
        """Return every outcome but 200, without those that the named versions answered."""
        counts: dict[str, int] = {}
        for kind, version, outcome, count in self.outcomes:
            if outcome != "200" and version not in except_by:
                key = f"{kind} connection, version {version}: {outcome}"
                counts[key] = counts.get(key, 0) + count
        return counts


def restart(cluster: Kubectl, space: str, name: str = "load") -> None:
    """Let a Deployment's pod read its ConfigMap anew, and wait until it is ready."""
    cluster.kubectl("rollout", "restart", "-n", space, f"deployment/{name}")
    cluster.kubectl("rollout", "status", "-n", space, f"deployment/{name}", "--timeout=120s")


def apply(cluster: Kubectl, *objects: Object) -> None:
    """Apply objects as a user does."""
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    # Server-side: a client-side apply keeps a copy of the object, and artifacts are too large for
    # it.
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=document)


def deployment(name: str, space: str, template: Object) -> Object:
    """Return a Deployment of one pod, found by the label `app`."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": space},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": template},
        },
    }


def pod(container: Object, port: int, probe: str, volumes: list[Object]) -> Object:
    """Return a pod's spec with one container without rights, ready when `probe` answers."""
    whole = {
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"containerPort": port}],
        "readinessProbe": {"httpGet": {"path": probe, "port": port}, "periodSeconds": 1},
        "securityContext": CONTAINER_SECURITY,
        **container,
    }
    return {
        "automountServiceAccountToken": False,
        "securityContext": POD_SECURITY,
        "terminationGracePeriodSeconds": 1,
        "containers": [whole],
        "volumes": volumes,
    }


def service(name: str, space: str, port: int) -> Object:
    """Return a Service on port 80 before the pods of a Deployment."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": space},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": port}]},
    }
