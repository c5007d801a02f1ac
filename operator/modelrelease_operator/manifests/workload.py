"""The Deployment of one revision.

Nothing of a release's course is in the pod template: not the track, not the weight. So promotion
and rollback restart no pod.
"""

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from modelrelease_contract import runtime, schemes
from modelrelease_operator.api import names
from modelrelease_operator.api.pods import CREDENTIALS
from modelrelease_operator.api.status import Target
from modelrelease_operator.core.desired import DesiredWorkload
from modelrelease_operator.manifests.overlay import merged, without_nulls

DRAIN_SECONDS = 10
GRACE_SECONDS = DRAIN_SECONDS + 25
"""Draining, then requests in flight, then a margin before the kubelet kills."""

DEFAULT_RESOURCES: dict[str, Any] = {
    "requests": {"cpu": "100m", "memory": "192Mi"},
    "limits": {"memory": "512Mi"},
}

SCRAPED = {
    "prometheus.io/scrape": "true",
    "prometheus.io/port": str(runtime.HTTP_PORT),
    "prometheus.io/path": "/metrics",
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


def deployment(owner: Owner, running: DesiredWorkload) -> dict[str, Any]:
    """Return the Deployment that runs one revision."""
    target = running.target
    labels = {names.LABEL_REVISION: target.revision, names.LABEL_VERSION: target.version}
    selector = {names.LABEL_RELEASE: owner.name, names.LABEL_REVISION: target.revision}
    pod = merged(_pod(owner, target), target.recipe.pod_template)
    pod = merged(pod, {"metadata": {"labels": {**selector, names.LABEL_VERSION: target.version}}})
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
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": selector},
            "template": pod,
        },
    }  # fmt: skip


def _pod(owner: Owner, target: Target) -> dict[str, Any]:
    claim, volume, mount = claim_of(target.uri)
    asked = target.recipe.pod
    return {
        "metadata": {"labels": {}, "annotations": SCRAPED | EVICTABLE},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": deepcopy(POD_SECURITY),
            "initContainers": [*_before(target), fetcher(target, mount)],
            "containers": [_predictor(owner, target)],
            "volumes": [
                {"name": "model", "emptyDir": {"sizeLimit": _room_for(target)}},
                {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
                *([volume] if claim else []),
                *without_nulls(asked.get("volumes", ())),
            ],
            **placement(owner, target),
        },
    }


def placement(owner: Owner, target: Target) -> dict[str, Any]:
    """Return where pods may run and as whom, as far as a release says it."""
    asked = without_nulls(target.recipe.pod)
    ours = {names.LABEL_RELEASE: owner.name, names.LABEL_REVISION: target.revision}
    for spread in asked.get("topologySpreadConstraints", ()):
        spread.setdefault("labelSelector", {"matchLabels": ours})
    return {name: asked[name] for name in PLACEMENT if asked.get(name)}


def _before(target: Target) -> Iterator[dict[str, Any]]:
    """Yield what starts before the artifact is fetched: sidecars first, which then stay."""
    asked = without_nulls(target.recipe.pod)
    for sidecar in asked.get("sidecars", ()):
        yield merged(_own(), {**sidecar, "restartPolicy": "Always"})
    for container in asked.get("initContainers", ()):
        yield merged(_own(), container)


def _own() -> dict[str, Any]:
    return {"imagePullPolicy": "IfNotPresent", "securityContext": deepcopy(LOCKED_DOWN)}


def _room_for(target: Target) -> str:
    """Return the size of the volume for the model: more than the usual where a larger one may be fetched."""
    asked = (item.get("value") for item in target.recipe.env if item["name"] == "ARTIFACT_MAX_BYTES")
    most = next((int(value) for value in asked if value and re.fullmatch("[0-9]{1,15}", value)), 0)
    return f"{max(10, most // 1024**3 + 2)}Gi"


def fetcher(target: Target, mount: dict[str, Any]) -> dict[str, Any]:
    """Return the container that brings the artifact and checks its digest, before the predictor starts."""
    ours = [
        {"name": runtime.ENV_MODEL_URI, "value": target.uri},
        {"name": runtime.ENV_MODEL_SHA256, "value": target.sha256},
        {"name": runtime.ENV_MODEL_PATH, "value": runtime.MODEL_DIR},
        *_credentials(target),
    ]
    return {
        "name": "fetch",
        "image": target.recipe.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["fetch"],
        "env": _with_asked(ours, target),
        "resources": resources_of(target),
        "securityContext": deepcopy(LOCKED_DOWN),
        "terminationMessagePath": runtime.TERMINATION_LOG,
        "volumeMounts": [
            {"name": "model", "mountPath": runtime.MODEL_DIR},
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
        {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": True}}}
        for name, key in keys.items()
    ]


def _with_asked(ours: list[dict[str, Any]], target: Target) -> list[dict[str, Any]]:
    """Return a container's variables: ours, and those of the release that change none of ours.

    Both containers are given all of them, because they are one image and read one set of settings.
    """
    taken = {item["name"] for item in ours}
    return ours + [item for item in without_nulls(target.recipe.env) if item["name"] not in taken]


def resources_of(target: Target) -> dict[str, Any]:
    """Return what each container asks for and may use."""
    asked: dict[str, Any] = without_nulls(target.recipe.resources)
    return asked or deepcopy(DEFAULT_RESOURCES)


def _predictor(owner: Owner, target: Target) -> dict[str, Any]:
    ours = [
        {"name": runtime.ENV_RELEASE, "value": owner.name},
        {"name": runtime.ENV_REVISION, "value": target.revision},
        {"name": runtime.ENV_MODEL_PATH, "value": runtime.MODEL_DIR},
        {"name": runtime.ENV_MODEL_VERSION, "value": target.version},
        {"name": runtime.ENV_MODEL_SHA256, "value": target.sha256},
        {"name": runtime.ENV_DRAIN_SECONDS, "value": str(DRAIN_SECONDS)},
    ]
    probe = {"port": "http", "scheme": "HTTP"}
    return {
        "name": "predictor",
        "image": target.recipe.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["serve"],
        "env": _with_asked(ours, target),
        "ports": [{"name": "http", "containerPort": runtime.HTTP_PORT, "protocol": "TCP"}],
        "resources": resources_of(target),
        "securityContext": deepcopy(LOCKED_DOWN),
        "terminationMessagePath": runtime.TERMINATION_LOG,
        "startupProbe": {
            "httpGet": {"path": "/health", **probe}, "periodSeconds": 1, "failureThreshold": 120,
            "timeoutSeconds": 2,
        },
        "readinessProbe": {
            "httpGet": {"path": "/ready", **probe}, "periodSeconds": 2, "failureThreshold": 3,
            "timeoutSeconds": 2,
        },
        "livenessProbe": {
            "httpGet": {"path": "/health", **probe}, "periodSeconds": 10, "failureThreshold": 6,
            "timeoutSeconds": 5,
        },
        "volumeMounts": [
            {"name": "model", "mountPath": runtime.MODEL_DIR, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the container
            *without_nulls(target.recipe.pod.get("volumeMounts", ())),
        ],
    }  # fmt: skip


def claim_of(uri: str) -> tuple[str | None, dict[str, Any], dict[str, Any]]:
    """Return the claim that a `pvc://claim/path` names, its volume and its mount for the fetch container."""
    claim = schemes.claim_in(uri)
    if claim is None:
        return None, {}, {}
    volume = {"name": "source", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
    return claim, volume, {"name": "source", "mountPath": f"/pvc/{claim}", "readOnly": True}
