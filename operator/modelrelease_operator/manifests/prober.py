"""The Deployment that asks both revisions their reference rows while a canary is judged.

It is no part of either revision: its pod has none of the labels that Services select by, no token,
and only the manifests of both artifacts. It is placed as the canary's pods are.
"""

import hashlib
from collections.abc import Iterator
from itertools import chain
from typing import Any

from modelrelease_contract import runtime
from modelrelease_operator.api import names
from modelrelease_operator.api.status import Target
from modelrelease_operator.core.desired import DesiredProber
from modelrelease_operator.errors import Invalid
from modelrelease_operator.manifests.overlay import copied, merged, without_nulls
from modelrelease_operator.manifests.workload import (
    EVICTABLE,
    LOCKED_DOWN,
    POD_SECURITY,
    PORT_NAME,
    Owner,
    claim_of,
    fetcher,
    metadata,
    placement,
    scraped,
)
from modelrelease_operator.serving_runtimes import runtime_of

GRACE_SECONDS = 10
NAME_LENGTH = 63
RESOURCES: dict[str, Any] = {
    "requests": {"cpu": "20m", "memory": "64Mi"},
    "limits": {"memory": "256Mi"},
}
FROM_TEMPLATE = (
    "affinity", "dnsConfig", "dnsPolicy", "hostAliases", "imagePullSecrets", "nodeSelector",
    "priorityClassName", "runtimeClassName", "securityContext", "serviceAccountName", "tolerations",
)  # fmt: skip
"""What of the canary's pod template decides where a pod may run and what it may reach."""


FROM_ENV = ("HOST", runtime.ENV_LOG_FORMAT, runtime.ENV_LOG_LEVEL)
"""Settings of the canary that the prober has too. No proxy: it asks inside of the cluster."""
SELECTED_BY = ("app.kubernetes.io/", f"{names.GROUP}/")


def prober(owner: Owner, probing: DesiredProber) -> dict[str, Any]:
    """Return the Deployment of the prober; a new canary has a new one.

    Raises Invalid where the canary's serving runtime has no prober in its image.
    """
    labels = {names.LABEL_PROBER: owner.name, names.LABEL_REVISION: probing.canary.revision}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(
            owner, names.prober_name(owner.name, probing.canary.revision),
            **{names.LABEL_PROBER: owner.name},
        ),
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": _pod_metadata(labels, probing.canary),
                "spec": _pod(owner, probing),
            },
        },
    }  # fmt: skip


def _pod_metadata(labels: dict[str, str], canary: Target) -> dict[str, Any]:
    """Return labels and annotations: meshes and webhooks are told what a canary's pods tell them.

    A plain label such as `app` stays behind, because a user's Service may select by it.
    """
    theirs = canary.recipe.pod_template.get("metadata") or {}
    templates = (theirs.get("labels") or {}).items()
    kept = {
        key: value for key, value in templates if "/" in key and not key.startswith(SELECTED_BY)
    }
    annotations = theirs.get("annotations") or {}
    ours = {"labels": {}, "annotations": scraped(runtime_of(canary.recipe.image)) | EVICTABLE}
    pod: dict[str, Any] = merged(ours, {"labels": kept, "annotations": annotations})
    return {**pod, "labels": {**pod["labels"], **labels}}


def _pod(owner: Owner, probing: DesiredProber) -> dict[str, Any]:
    arms = ((probing.stable, runtime.PROBE_STABLE_DIR), (probing.canary, runtime.PROBE_CANARY_DIR))
    volumes = chain(_sources(probing.stable), _sources(probing.canary))
    sources = {volume["name"]: volume for volume in volumes}
    ours = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": copied(POD_SECURITY),
        "initContainers": [_fetcher(target, folder) for target, folder in arms],
        "containers": [_container(owner, probing)],
        "volumes": [
            {"name": "model", "emptyDir": {"sizeLimit": "64Mi"}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            *sources.values(),
        ],
        **placement(owner, probing.canary),
    }
    ours.pop("topologySpreadConstraints", None)
    template = _template(probing.canary)
    pod: dict[str, Any] = merged(
        ours, {key: template[key] for key in FROM_TEMPLATE if key in template}
    )
    return pod


def _template(target: Target) -> dict[str, Any]:
    spec: dict[str, Any] = target.recipe.pod_template.get("spec") or {}
    return spec


def _fetch_of(target: Target) -> dict[str, Any]:
    """Return how the artifact is reached, which a template may say for the container `fetch`."""
    containers: list[dict[str, Any]] = _template(target).get("initContainers") or []
    fetching = (container for container in containers if container.get("name") == "fetch")
    theirs: dict[str, Any] = next(fetching, {})
    return {key: theirs[key] for key in ("env", "envFrom", "volumeMounts") if key in theirs}


def _sources(target: Target) -> Iterator[dict[str, Any]]:
    """Yield the volumes that an artifact is read from, and those that `fetch` mounts."""
    claim, volume, _ = claim_of(target.uri)
    if claim:
        yield {**volume, "name": _volume_of(claim)}
    mounted = {mount.get("name") for mount in _fetch_of(target).get("volumeMounts") or ()}
    yield from (
        volume for volume in _template(target).get("volumes") or () if volume.get("name") in mounted
    )
    fields = without_nulls(target.recipe.pod)
    mounted = {mount["name"] for mount in fields.get("volumeMounts", ())}
    yield from (volume for volume in fields.get("volumes", ()) if volume["name"] in mounted)


def _fetcher(target: Target, folder: str) -> dict[str, Any]:
    """Return the container that brings one manifest, as the revision's own, without model files."""
    claim, _, mount = claim_of(target.uri)
    if claim:
        mount = {**mount, "name": _volume_of(claim)}
    ours = fetcher(target, mount)
    env = {item["name"]: item for item in ours["env"]}
    env[runtime.ENV_MODEL_PATH] = {"name": runtime.ENV_MODEL_PATH, "value": folder}
    env[runtime.ENV_MANIFEST_ONLY] = {"name": runtime.ENV_MANIFEST_ONLY, "value": "true"}
    ours |= {"env": list(env.values()), "resources": copied(RESOURCES)}
    return {**merged(ours, _fetch_of(target)), "name": f"fetch-{folder.rpartition('/')[2]}"}


def _container(owner: Owner, probing: DesiredProber) -> dict[str, Any]:
    image = probing.canary.recipe.image
    server = runtime_of(image)
    if server.prober_args is None:
        msg = (
            f"spec.analysis.probe: serving runtime {server.name}, which image {image} is, "
            "has no prober in its image: take analysis.probe away"
        )
        raise Invalid(msg)
    _, stable, canary = names.service_names(owner.name)
    env = {
        runtime.ENV_RELEASE: owner.name,
        runtime.ENV_REVISION: probing.canary.revision,
        runtime.ENV_MODEL_PATH: runtime.MODEL_DIR,
        runtime.ENV_PROBE_STABLE_REVISION: probing.stable.revision,
        runtime.ENV_PROBE_STABLE_URL: f"http://{stable}",
        runtime.ENV_PROBE_CANARY_URL: f"http://{canary}",
        runtime.ENV_PROBE_RATE: f"{probing.settings.rate:g}",
        runtime.ENV_PROBE_TIMEOUT_SECONDS: f"{probing.settings.patience.total_seconds():g}",
    }
    theirs = {item["name"]: item.get("value") for item in probing.canary.recipe.env}
    env |= {name: value for name in FROM_ENV if (value := theirs.get(name))}
    return {
        "name": "prober",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": list(server.prober_args),
        "env": [{"name": name, "value": value} for name, value in env.items()],
        "ports": [{"name": PORT_NAME, "containerPort": server.port, "protocol": "TCP"}],
        "resources": copied(RESOURCES),
        "securityContext": copied(LOCKED_DOWN),
        "terminationMessagePath": runtime.TERMINATION_LOG,
        "readinessProbe": {
            "httpGet": {"path": server.metrics.path, "port": PORT_NAME, "scheme": "HTTP"},
            "periodSeconds": 5,
            "timeoutSeconds": 2,
        },
        "volumeMounts": [
            {"name": "model", "mountPath": runtime.MODEL_DIR, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the container
        ],
    }  # fmt: skip


def _volume_of(claim: str) -> str:
    """Return a volume name for a claim: two artifacts may be on two claims, with long names."""
    name = f"source-{claim}".replace(".", "-")
    if len(name) <= NAME_LENGTH:
        return name
    return f"{name[: NAME_LENGTH - 9]}-{hashlib.sha256(claim.encode()).hexdigest()[:8]}"
