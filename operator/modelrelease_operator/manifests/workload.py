"""The Deployment of one revision.

Nothing of a release's course is in the pod template: not the track, not the weight. So promotion
and rollback restart no pod.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from modelrelease_contract import runtime
from modelrelease_operator.api import names
from modelrelease_operator.api.status import Target
from modelrelease_operator.core.state import Running
from modelrelease_operator.manifests.overlay import merged

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


def deployment(owner: Owner, running: Running) -> dict[str, Any]:
    """Return the Deployment that runs one revision."""
    target = running.target
    labels = {names.LABEL_REVISION: target.revision, names.LABEL_VERSION: target.version}
    selector = {names.LABEL_RELEASE: owner.name, names.LABEL_REVISION: target.revision}
    pod = merged(_pod(owner, target), target.recipe.pod_template)
    own = {"metadata": {"labels": {**selector, names.LABEL_VERSION: target.version}}}
    pod = merged(pod, own)
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
    return {
        "metadata": {"labels": {}, "annotations": dict(SCRAPED)},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": deepcopy(POD_SECURITY),
            "initContainers": [fetcher(target, mount)],
            "containers": [_predictor(owner, target)],
            "volumes": [
                {"name": "model", "emptyDir": {"sizeLimit": "10Gi"}},
                {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
                *([volume] if claim else []),
            ],
        },
    }


def fetcher(target: Target, mount: dict[str, Any]) -> dict[str, Any]:
    """Return the container that brings the artifact and checks its digest, before the predictor starts."""
    return {
        "name": "fetch",
        "image": target.recipe.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["fetch"],
        "env": [
            {"name": runtime.ENV_MODEL_URI, "value": target.uri},
            {"name": runtime.ENV_MODEL_SHA256, "value": target.sha256},
            {"name": runtime.ENV_MODEL_PATH, "value": runtime.MODEL_DIR},
        ],
        "resources": deepcopy(target.recipe.resources or DEFAULT_RESOURCES),
        "securityContext": deepcopy(LOCKED_DOWN),
        "terminationMessagePath": runtime.TERMINATION_LOG,
        "volumeMounts": [
            {"name": "model", "mountPath": runtime.MODEL_DIR},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the container
            *([mount] if mount else []),
        ],
    }


def _predictor(owner: Owner, target: Target) -> dict[str, Any]:
    env = [
        {"name": runtime.ENV_RELEASE, "value": owner.name},
        {"name": runtime.ENV_REVISION, "value": target.revision},
        {"name": runtime.ENV_MODEL_PATH, "value": runtime.MODEL_DIR},
        {"name": runtime.ENV_MODEL_VERSION, "value": target.version},
        {"name": runtime.ENV_MODEL_SHA256, "value": target.sha256},
        {"name": runtime.ENV_DRAIN_SECONDS, "value": str(DRAIN_SECONDS)},
    ]
    ours = {item["name"] for item in env}
    env += [deepcopy(item) for item in target.recipe.env if item.get("name") not in ours]
    probe = {"port": "http", "scheme": "HTTP"}
    return {
        "name": "predictor",
        "image": target.recipe.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["serve"],
        "env": env,
        "ports": [{"name": "http", "containerPort": runtime.HTTP_PORT, "protocol": "TCP"}],
        "resources": deepcopy(target.recipe.resources or DEFAULT_RESOURCES),
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
        ],
    }  # fmt: skip


def claim_of(uri: str) -> tuple[str | None, dict[str, Any], dict[str, Any]]:
    """Return the claim that a `pvc://claim/path` names, its volume and its mount for the fetch container."""
    parts = urlsplit(uri)
    if parts.scheme != "pvc":
        return None, {}, {}
    claim = parts.netloc
    volume = {"name": "source", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
    return claim, volume, {"name": "source", "mountPath": f"/pvc/{claim}", "readOnly": True}
