"""The Deployment of one revision.

Nothing of a release's course is in the pod template: not the track, not the weight. So promotion
and rollback restart no pod.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelrelease_contract import runtime, schemes
from modelrelease_contract.oci import Reference
from modelrelease_contract.shadow import ENV_SHADOW, ShadowSettings
from modelrelease_operator.api import names
from modelrelease_operator.api.pods import (
    CACHE,
    CACHE_VOLUME,
    CREDENTIALS,
    IMAGE_VOLUME,
    SIGNATURE,
)
from modelrelease_operator.api.status import Target
from modelrelease_operator.core.desired import DesiredWorkload
from modelrelease_operator.manifests.overlay import copied, merged, without_nulls
from modelrelease_operator.serving_runtimes import HttpProbe, ServingRuntime, runtime_of

SERVER = "predictor"
"""Name of the server's container, whatever server it is: pod templates are laid over it."""
MODEL = "model"
"""Name of the volume with the model."""
PORT_NAME = "http"
"""Of the server's port: what a Service of revisions with different ports leads to."""

METRICS_PORT_NAME = "metrics"
"""Of the port that shows a server's metrics, where that is another."""

DEFAULT_RESOURCES: dict[str, Any] = {
    "requests": {"cpu": "100m", "memory": "192Mi"},
    "limits": {"memory": "512Mi"},
}

EVICTABLE = {"cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": "model,tmp"}
"""What lies in our volumes can be fetched again: they keep no node from being scaled down."""

VERIFIER_RESOURCES: dict[str, Any] = {
    "requests": {"cpu": "20m", "memory": "64Mi"},
    "limits": {"memory": "256Mi"},
}
"""A container that ends before the server starts costs a pod nothing beside it."""

SELECTED_BY = ("app.kubernetes.io/", f"{names.GROUP}/")

HELPER_CPU = "1"
"""Limit of a container that works for a revision."""

PLACEMENT = (
    "affinity", "imagePullSecrets", "nodeSelector", "priorityClassName", "runtimeClassName",
    "serviceAccountName", "tolerations", "topologySpreadConstraints",
)  # fmt: skip
"""Fields of a release that are fields of its pods under the same name."""

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
"""Labels of nodes: pods of one revision lie on as many of both as there are."""

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


def selector_of(owner: Owner, revision: str) -> dict[str, str]:
    """Return the labels that the pods of one revision have, and no others."""
    return {names.LABEL_RELEASE: owner.name, names.LABEL_REVISION: revision}


def deployment(
    owner: Owner, running: DesiredWorkload, shadow: ShadowSettings | None = None
) -> dict[str, Any]:
    """Return the Deployment that runs one revision;
    `shadow` is which copies its pods want while nobody calls them.
    """
    target = running.target
    labels = {names.LABEL_REVISION: target.revision, names.LABEL_VERSION: target.version}
    selector = selector_of(owner, target.revision)
    pod = pod_of(owner, target, shadow)
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
        "prometheus.io/port": str(server.metrics.port),
        "prometheus.io/path": server.metrics.path,
    }


def pod_of(owner: Owner, target: Target, shadow: ShadowSettings | None = None) -> dict[str, Any]:
    """Return the pods of a revision, with what the release lays over them."""
    pod: dict[str, Any] = merged(_pod(owner, target, shadow), target.recipe.pod_template)
    return pod


def _pod(owner: Owner, target: Target, shadow: ShadowSettings | None) -> dict[str, Any]:
    claim, volume, mount = claim_of(target.uri)
    fields = target.recipe.pod
    server = runtime_of(target.recipe)
    fetched: list[dict[str, Any]] = []
    if server.artifact.fetched:
        fetched = [_bringer(owner, target, mount), *_verifiers(target)]
    return {
        "metadata": {"labels": {}, "annotations": _annotations(target, server)},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": server.drain.grace_seconds,
            "securityContext": copied(POD_SECURITY),
            "initContainers": [*_before(target), *fetched],
            "containers": [_server(owner, target, server, shadow)],
            "volumes": [
                _model_of(target),
                {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
                *([volume] if claim else []),
                *_cache_of(target),
                *without_nulls(fields.get("volumes", ())),
            ],
            **spread(owner, target),
            **placement(owner, target),
        },
    }


def _annotations(target: Target, server: ServingRuntime) -> dict[str, str]:
    """Return what a pod says of itself; which server it is, too, for a status that is lost."""
    runtime = target.recipe.runtime
    said = {names.ANNOTATION_RUNTIME: json.dumps(runtime, sort_keys=True)} if runtime else {}
    return scraped(server) | EVICTABLE | said


def spread(owner: Owner, target: Target) -> dict[str, Any]:
    """Return how the pods of a revision are kept apart where the release does not say it itself.

    Zones by affinity and nodes by a constraint: two soft constraints together count for nothing on
    a node that lacks one of the labels, and many clusters have no zones.
    """
    pods = {"matchLabels": selector_of(owner, target.revision)}
    constraint = {
        "maxSkew": 1, "topologyKey": HOST, "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": pods,
    }  # fmt: skip
    term = {"topologyKey": ZONE, "labelSelector": copied(pods)}
    apart = [{"weight": 100, "podAffinityTerm": term}]
    ours = {
        "topologySpreadConstraints": [constraint],
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": apart}},
    }
    theirs = {*target.recipe.pod, *(target.recipe.pod_template.get("spec") or {})}
    if "topologySpreadConstraints" in theirs:
        return {}
    return {name: value for name, value in ours.items() if name not in theirs}


def placement(owner: Owner, target: Target) -> dict[str, Any]:
    """Return where pods may run and as whom, as far as a release says it."""
    fields = without_nulls(target.recipe.pod)
    ours = selector_of(owner, target.revision)
    for constraint in fields.get("topologySpreadConstraints", ()):
        constraint.setdefault("labelSelector", {"matchLabels": ours})
    return {name: fields[name] for name in PLACEMENT if fields.get(name)}


def _before(target: Target) -> Iterator[dict[str, Any]]:
    """Yield what starts before the artifact is fetched: sidecars first, which then stay."""
    fields = without_nulls(target.recipe.pod)
    for sidecar in fields.get("sidecars", ()):
        yield merged(_own(), {**sidecar, "restartPolicy": "Always"})
    for container in fields.get("initContainers", ()):
        yield merged(_own(), container)


def metadata_beside(target: Target) -> dict[str, Any]:
    """Return labels and annotations of a pod that works for a revision and is none of its own:
    meshes and webhooks are told what its pods tell them.

    A plain label such as `app` stays behind, because a user's Service may select by it.
    """
    theirs = target.recipe.pod_template.get("metadata") or {}
    labels = {
        key: value
        for key, value in (theirs.get("labels") or {}).items()
        if "/" in key and not key.startswith(SELECTED_BY)
    }
    return {"labels": labels, "annotations": dict(theirs.get("annotations") or {})}


def _own() -> dict[str, Any]:
    return {"imagePullPolicy": "IfNotPresent", "securityContext": copied(LOCKED_DOWN)}


def gibibytes_for(target: Target) -> int:
    """Return the size of the model's volume in GiB: larger where a larger one may be fetched.

    From a registry it may come in an archive, which lies beside its files while they are copied.
    """
    limits = (
        item.get("value") for item in target.recipe.env if item["name"] == "ARTIFACT_MAX_BYTES"
    )
    largest = next((int(text) for text in limits if text and re.fullmatch("[0-9]{1,15}", text)), 0)
    copies = 2 if schemes.may_be_archived(target.uri) else 1
    return max(10, copies * largest // 1024**3 + 2)


def fetcher(target: Target, mount: dict[str, Any]) -> dict[str, Any]:
    """Return the container that brings the artifact and checks it, before the server starts."""
    delivery = runtime_of(target.recipe).artifact
    ours = [
        {"name": runtime.ENV_MODEL_URI, "value": target.uri},
        {"name": runtime.ENV_MODEL_SHA256, "value": target.sha256},
        {"name": runtime.ENV_MODEL_PATH, "value": delivery.directory},
        *_credentials(target),
    ]
    if target.recipe.verifier:
        ours.append({"name": runtime.ENV_FETCH_SIGNATURE, "value": "true"})
    return {
        "name": "fetch",
        "image": target.recipe.fetch_image or target.recipe.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["fetch"],
        "env": _with_variables_of(target, ours),
        "resources": resources_of(target),
        "securityContext": copied(LOCKED_DOWN),
        "terminationMessagePath": runtime.TERMINATION_LOG,
        "volumeMounts": [
            {"name": MODEL, "mountPath": delivery.directory},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the container
            *([mount] if mount else []),
            *without_nulls(target.recipe.pod.get("volumeMounts", ())),
        ],
    }


def _model_of(target: Target) -> dict[str, Any]:
    """Return the volume with the model: an empty one, or the image itself."""
    if IMAGE_VOLUME not in target.recipe.pod:
        return {"name": MODEL, "emptyDir": {"sizeLimit": f"{gibibytes_for(target)}Gi"}}
    reference = Reference.parse(target.uri).image
    return {"name": MODEL, "image": {"reference": reference, "pullPolicy": "IfNotPresent"}}


def unmounted(target: Target) -> Target:
    """Return the revision with its artifact fetched, for pods that need a small part of it."""
    fields = {name: part for name, part in target.recipe.pod.items() if name != IMAGE_VOLUME}
    return target.but(recipe=target.recipe.but(pod=fields))


def _bringer(owner: Owner, target: Target, mount: dict[str, Any]) -> dict[str, Any]:
    """Return the container that brings the artifact; one that the node mounts it checks."""
    fetch = fetcher(target, mount)
    if IMAGE_VOLUME not in target.recipe.pod:
        return _cached(owner, target, fetch)
    delivery = runtime_of(target.recipe).artifact
    folder = {"name": runtime.ENV_MODEL_PATH, "value": delivery.folder_of(target)}
    return {
        **fetch,
        "args": ["inspect"],
        "env": [folder if item["name"] == folder["name"] else item for item in fetch["env"]],
        "volumeMounts": [
            {**each, "readOnly": True} if each["name"] == MODEL else each
            for each in fetch["volumeMounts"]
        ],
    }


def _cached(owner: Owner, target: Target, fetch: dict[str, Any]) -> dict[str, Any]:
    """Return the container that fetches with the cache that the release names, if it names one.

    The server never sees it. Each release has a folder of its own, and so its own bound.
    """
    if not target.recipe.pod.get(CACHE):
        return fetch
    ours = [
        {
            "name": runtime.ENV_ARTIFACT_CACHE_PATH,
            "value": f"{runtime.CACHE_DIR}/{owner.name}",
        }
    ]
    if target.recipe.keeps:
        ours.append({"name": runtime.ENV_ARTIFACT_CACHE_KEEP, "value": target.recipe.keeps})
    taken = {item["name"] for item in ours}
    theirs = [item for item in fetch["env"] if item["name"] not in taken]
    mounts = [*fetch["volumeMounts"], {"name": CACHE_VOLUME, "mountPath": runtime.CACHE_DIR}]
    return {**fetch, "env": ours + theirs, "volumeMounts": mounts}


def _cache_of(target: Target) -> Iterator[dict[str, Any]]:
    """Yield the volume that keeps artifacts, where there is one."""
    if claim := target.recipe.pod.get(CACHE):
        yield {"name": CACHE_VOLUME, "persistentVolumeClaim": {"claimName": claim}}


def _verifiers(target: Target) -> Iterator[dict[str, Any]]:
    """Yield the container that checks who signed the artifact, where that is wanted.

    Nothing of a release is in it but its key: no image, variable or mount of its choice.
    """
    verifier = target.recipe.verifier
    if verifier is None:
        return
    delivery = runtime_of(target.recipe).artifact
    env: list[dict[str, Any]] = [
        {"name": runtime.ENV_MODEL_URI, "value": target.uri},
        {"name": runtime.ENV_MODEL_SHA256, "value": target.sha256},
        {"name": runtime.ENV_MODEL_PATH, "value": delivery.folder_of(target)},
    ]
    if own := _signing_key(target):
        env.append({"name": runtime.ENV_RELEASE_KEY, "valueFrom": own})
    if verifier.keys:
        env.append({"name": runtime.ENV_OPERATOR_KEYS, "value": verifier.keys})
    yield {
        "name": "verify-signature",
        "image": verifier.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["verify"],
        "env": env,
        "resources": resources_beside(VERIFIER_RESOURCES, target.recipe.resources),
        "securityContext": copied(LOCKED_DOWN),
        "terminationMessagePath": runtime.TERMINATION_LOG,
        "volumeMounts": [{"name": MODEL, "mountPath": delivery.directory, "readOnly": True}],
    }


def _signing_key(target: Target) -> dict[str, Any]:
    """Return where the release's key is, as a variable of a container names it."""
    reference: dict[str, Any] = without_nulls(target.recipe.pod).get(SIGNATURE) or {}
    return reference


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


def resources_beside(ours: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resources of a container that works for a revision whose own are `own`: with a
    limit of CPU where those have one. A quota of such limits takes no container without.
    """
    resources: dict[str, Any] = copied(ours)
    if (own.get("limits") or {}).get("cpu") is not None:
        resources["limits"]["cpu"] = HELPER_CPU
    return resources


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
        **_started_by(server),
        "env": _with_variables_of(target, ours),
        "ports": _ports(server),
        "resources": resources_of(target),
        "securityContext": copied(LOCKED_DOWN),
        "terminationMessagePath": runtime.TERMINATION_LOG,
        **_probes(server),
        "volumeMounts": [
            {"name": MODEL, "mountPath": server.artifact.directory, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the container
            *without_nulls(target.recipe.pod.get("volumeMounts", ())),
        ],
    }
    if before := _pre_stop(server):
        container["lifecycle"] = {"preStop": before}
    return container


def _started_by(server: ServingRuntime) -> dict[str, list[str]]:
    """Return command and arguments, where they are not the image's own."""
    parts = {"command": list(server.command), "args": list(server.args)}
    return {name: words for name, words in parts.items() if words}


def _ports(server: ServingRuntime) -> list[dict[str, Any]]:
    ports = [{"name": PORT_NAME, "containerPort": server.port, "protocol": "TCP"}]
    if server.metrics.port != server.port:
        metrics = {"name": METRICS_PORT_NAME, "containerPort": server.metrics.port}
        ports.append({**metrics, "protocol": "TCP"})
    return ports


def _pre_stop(server: ServingRuntime) -> dict[str, Any]:
    """Return what the kubelet does before SIGTERM. Its own sleep needs no program in the image."""
    if server.drain.pre_stop_command:
        return {"exec": {"command": list(server.drain.pre_stop_command)}}
    seconds = server.drain.pre_stop_seconds
    return {"sleep": {"seconds": seconds}} if seconds else {}


def _probes(server: ServingRuntime) -> dict[str, Any]:
    probes = {"startupProbe": server.startup, "readinessProbe": server.readiness}
    if server.liveness:
        probes["livenessProbe"] = server.liveness
    return {name: _probe(probe) for name, probe in probes.items()}


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
