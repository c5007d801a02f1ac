"""The Deployment of one revision.

Nothing of a release's course is in the pod template: not the track, not the weight. So promotion
and rollback restart no pod.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from modelrelease_contract import runtime, schemes
from modelrelease_contract.shadow import ENV_SHADOW, ShadowSettings
from modelrelease_operator.api import names
from modelrelease_operator.api.pods import CREDENTIALS
from modelrelease_operator.api.status import Target
from modelrelease_operator.core.desired import DesiredWorkload
from modelrelease_operator.manifests.overlay import copied, merged, without_nulls
from modelrelease_operator.serving_runtimes import HttpProbe, ServingRuntime, runtime_of

SERVER = "predictor"
"""Name of the server's container, whatever server it is: pod templates are laid over it."""
PORT_NAME = "http"
"""Of the server's port: what a Service of revisions with different ports leads to."""

DEFAULT_RESOURCES: dict[str, Any] = {
    "requests": {"cpu": "100m", "memory": "192Mi"},
    "limits": {"memory": "512Mi"},
}

EVICTABLE = {"cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": "model,tmp"}
"""What lies in our volumes can be fetched again: they keep no node from being scaled down."""

PLACEMENT = (
    "affinity", "imagePullSecrets", "nodeSelector", "priorityClassName", "runtimeClassName",
    "serviceAccountName", "tolerations", "topologySpreadConstraints",
)  # fmt: skip
"""Fields of a release that are fields of its pods under the same name."""

LOCKED_DOWN: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


POD_SECURITY: dict[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "fsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The ModelRelease that everything belongs to: deleting it deletes them."""

    namespace: str
    name: str
    uid: str


def metadata(owner: Owner, name: str, **labels: str) -> dict[str, Any]:
    """Return the metadata of an owned object."""
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": {
            names.LABEL_RELEASE: owner.name,
            names.LABEL_MANAGED_BY: names.MANAGED_BY,
            "app.kubernetes.io/name": "modelrelease",
            "app.kubernetes.io/instance": owner.name,
            **labels,
        },
        "ownerReferences": [reference_to(owner)],
    }


def reference_to(owner: Owner) -> dict[str, Any]:
    """Return what makes the release an object's owner, and deletes the object with it."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def deployment(
    owner: Owner, running: DesiredWorkload, shadow: ShadowSettings | None = None
) -> dict[str, Any]:
    """Return the Deployment that runs one revision;
    `shadow` is which copies its pods want while nobody calls them.
    """
    target = running.target
    labels = {names.LABEL_REVISION: target.revision, names.LABEL_VERSION: target.version}
    selector = {names.LABEL_RELEASE: owner.name, names.LABEL_REVISION: target.revision}
    pod = merged(_pod(owner, target, shadow), target.recipe.pod_template)
    ours = {"labels": {**selector, names.LABEL_VERSION: target.version}}
    pod["metadata"] = merged(pod.get("metadata"), ours)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(
            owner, names.workload_name(owner.name, target.revision),
            **labels, **{names.LABEL_TRACK: running.track},
        ),
        "spec": {
            "replicas": running.replicas,
            "revisionHistoryLimit": 1,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0,
            "maxSurge": 1}},
            "selector": {"matchLabels": selector},
            "template": pod,
        },
    }  # fmt: skip


def scraped(server: ServingRuntime) -> dict[str, str]:
    """Return the annotations by which common scrape jobs find a server's metrics."""
    return {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(server.port),
        "prometheus.io/path": server.metrics.path,
    }


def _pod(owner: Owner, target: Target, shadow: ShadowSettings | None) -> dict[str, Any]:
    claim, volume, mount = claim_of(target.uri)
    fields = target.recipe.pod
    server = runtime_of(target.recipe.image)
    return {
        "metadata": {"labels": {}, "annotations": scraped(server) | EVICTABLE},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": server.drain.grace_seconds,
            "securityContext": copied(POD_SECURITY),
            "initContainers": [*_before(target), fetcher(target, mount)],
            "containers": [_server(owner, target, server, shadow)],
            "volumes": [
                {"name": "model", "emptyDir": {"sizeLimit": _room_for(target)}},
                {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
                *([volume] if claim else []),
                *without_nulls(fields.get("volumes", ())),
            ],
            **placement(owner, target),
        },
    }


def placement(owner: Owner, target: Target) -> dict[str, Any]:
    """Return where pods may run and as whom, as far as a release says it."""
    fields = without_nulls(target.recipe.pod)
    ours = {names.LABEL_RELEASE: owner.name, names.LABEL_REVISION: target.revision}
    for spread in fields.get("topologySpreadConstraints", ()):
        spread.setdefault("labelSelector", {"matchLabels": ours})
    return {name: fields[name] for name in PLACEMENT if fields.get(name)}


def _before(target: Target) -> Iterator[dict[str, Any]]:
    """Yield what starts before the artifact is fetched: sidecars first, which then stay."""
    fields = without_nulls(target.recipe.pod)
    for sidecar in fields.get("sidecars", ()):
        yield merged(_own(), {**sidecar, "restartPolicy": "Always"})
    for container in fields.get("initContainers", ()):
        yield merged(_own(), container)


def _own() -> dict[str, Any]:
    return {"imagePullPolicy": "IfNotPresent", "securityContext": copied(LOCKED_DOWN)}


def _room_for(target: Target) -> str:
    """Return the size of the model's volume: larger where a larger one may be fetched."""
    limits = (
        item.get("value") for item in target.recipe.env if item["name"] == "ARTIFACT_MAX_BYTES"
    )
    largest = next((int(text) for text in limits if text and re.fullmatch("[0-9]{1,15}", text)), 0)
    return f"{max(10, largest // 1024**3 + 2)}Gi"


def fetcher(target: Target, mount: dict[str, Any]) -> dict[str, Any]:
    """Return the container that brings the artifact and checks it, before the server starts."""
    delivery = runtime_of(target.recipe.image).artifact
    ours = [
        {"name": runtime.ENV_MODEL_URI, "value": target.uri},
        {"name": runtime.ENV_MODEL_SHA256, "value": target.sha256},
        {"name": runtime.ENV_MODEL_PATH, "value": delivery.directory},
        *_credentials(target),
    ]
    return {
        "name": "fetch",
        "image": delivery.fetch_image or target.recipe.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["fetch"],
        "env": _with_variables_of(target, ours),
        "resources": resources_of(target),
        "securityContext": copied(LOCKED_DOWN),
        "terminationMessagePath": runtime.TERMINATION_LOG,
        "volumeMounts": [
            {"name": "model", "mountPath": delivery.directory},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the container
            *([mount] if mount else []),
            *without_nulls(target.recipe.pod.get("volumeMounts", ())),
        ],
    }


def _credentials(target: Target) -> list[dict[str, Any]]:
    """Return the variables that prove a pod to its store, from those keys that the Secret has."""
    secret = target.recipe.pod.get(CREDENTIALS)
    if not secret:
        return []
    keys = {"HTTP_TOKEN": "token", "HTTP_USERNAME": "username", "HTTP_PASSWORD": "password"}
    return [
        {
            "name": name,
            "valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": True}},
        }
        for name, key in keys.items()
    ]


def _with_variables_of(target: Target, ours: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a container's variables: ours, and those of the release that change none of ours.

    Both containers are given all of them, because they are one image and read one set of settings.
    """
    taken = {item["name"] for item in ours}
    return ours + [item for item in without_nulls(target.recipe.env) if item["name"] not in taken]


def resources_of(target: Target) -> dict[str, Any]:
    """Return what each container asks for and may use."""
    resources: dict[str, Any] = without_nulls(target.recipe.resources)
    return resources or copied(DEFAULT_RESOURCES)


def _server(
    owner: Owner, target: Target, server: ServingRuntime, shadow: ShadowSettings | None
) -> dict[str, Any]:
    ours = [{"name": name, "value": value} for name, value in server.env_for(owner.name, target)]
    if shadow and server.answers_copies:
        ours.append({"name": ENV_SHADOW, "value": shadow.model_dump_json()})
    container: dict[str, Any] = {
        "name": SERVER,
        "image": target.recipe.image,
        "imagePullPolicy": "IfNotPresent",
        "args": server.args_for(owner.name, target),
        "env": _with_variables_of(target, ours),
        "ports": [{"name": PORT_NAME, "containerPort": server.port, "protocol": "TCP"}],
        "resources": resources_of(target),
        "securityContext": copied(LOCKED_DOWN),
        "terminationMessagePath": runtime.TERMINATION_LOG,
        "startupProbe": _probe(server.startup),
        "readinessProbe": _probe(server.readiness),
        "livenessProbe": _probe(server.liveness),
        "volumeMounts": [
            {"name": "model", "mountPath": server.artifact.directory, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the container
            *without_nulls(target.recipe.pod.get("volumeMounts", ())),
        ],
    }
    if server.drain.pre_stop:
        container["lifecycle"] = {"preStop": {"exec": {"command": list(server.drain.pre_stop)}}}
    return container


def _probe(probe: HttpProbe) -> dict[str, Any]:
    return {
        "httpGet": {"path": probe.path, "port": PORT_NAME, "scheme": "HTTP"},
        "periodSeconds": probe.period_seconds,
        "failureThreshold": probe.failure_threshold,
        "timeoutSeconds": probe.timeout_seconds,
    }


def claim_of(uri: str) -> tuple[str | None, dict[str, Any], dict[str, Any]]:
    """Return the claim of a `pvc://claim/path`, its volume and its mount for fetching."""
    claim = schemes.claim_in(uri)
    if claim is None:
        return None, {}, {}
    volume = {"name": "source", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
    return claim, volume, {"name": "source", "mountPath": f"/pvc/{claim}", "readOnly": True}
