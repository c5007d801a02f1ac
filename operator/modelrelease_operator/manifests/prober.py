"""The Deployment that asks both revisions example rows: while a canary is judged, or, where their
servers are not ours, while it is compared in the shadow.

It is no part of either revision: its pod has none of the labels that Services select by, no token,
and only the manifests of both artifacts. It is placed as the canary's pods are.
"""

import hashlib
from collections.abc import Iterator
from itertools import chain
from typing import Any

from modelrelease_contract import runtime, shadow
from modelrelease_operator.api import names
from modelrelease_operator.api.status import Target
from modelrelease_operator.core.desired import DesiredComparison, DesiredProber
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
    gibibytes_for,
    metadata,
    metadata_beside,
    placement,
    resources_beside,
    scraped,
)
from modelrelease_operator.serving_runtimes import example_forms, runtime_of
from modelrelease_operator.serving_runtimes.predictor import PREDICTOR

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


COMPARE_ARGS = ("compare",)
FROM_ENV = ("HOST", runtime.ENV_LOG_FORMAT, runtime.ENV_LOG_LEVEL)
"""Settings of a predictor that the prober has too. No proxy: it asks inside of the cluster."""
WHERE_SCRAPED = ("prometheus.io/port", "prometheus.io/path")


Asked = DesiredProber | DesiredComparison


def prober(owner: Owner, probing: Asked) -> dict[str, Any]:
    """Return the Deployment of the prober; a new canary has a new one.

    Raises Invalid where the serving runtime of either arm answers no probes.
    """
    if isinstance(probing, DesiredProber):
        _check_probes(probing)
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
    """Return what a canary's pods tell, beside where this one's own page is."""
    theirs = metadata_beside(canary)
    if not runtime_of(canary.recipe).answers_copies:
        # Where another server's page is says nothing of this one's.
        for name in WHERE_SCRAPED:
            theirs["annotations"].pop(name, None)
    ours = {"labels": {}, "annotations": scraped(PREDICTOR) | EVICTABLE}
    pod: dict[str, Any] = merged(ours, theirs)
    return {**pod, "labels": {**pod["labels"], **labels}}


def _pod(owner: Owner, probing: Asked) -> dict[str, Any]:
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
            {"name": "model", "emptyDir": {"sizeLimit": _room_for(probing)}},
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


def _room_for(probing: Asked) -> str:
    """Return the size of the volume for two manifests.

    A manifest may lie in an archive, and a folder that MLflow wrote has none: then all is fetched.
    """
    return f"{max(map(gibibytes_for, (probing.stable, probing.canary)))}Gi"


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
    resources = resources_beside(RESOURCES, target.recipe.resources)
    ours |= {"env": list(env.values()), "resources": resources}
    for volume in ours["volumeMounts"]:
        if volume["name"] == "model":
            # Where the server looks for its model is its own matter.
            volume["mountPath"] = runtime.MODEL_DIR
    return {**merged(ours, _fetch_of(target)), "name": f"fetch-{folder.rpartition('/')[2]}"}


def _container(owner: Owner, probing: Asked) -> dict[str, Any]:
    recipe = probing.canary.recipe
    args = PREDICTOR.prober_args if isinstance(probing, DesiredProber) else COMPARE_ARGS
    _, stable, canary = names.service_names(owner.name)
    env = {
        runtime.ENV_RELEASE: owner.name,
        runtime.ENV_REVISION: probing.canary.revision,
        runtime.ENV_MODEL_PATH: runtime.MODEL_DIR,
        runtime.ENV_PROBE_STABLE_REVISION: probing.stable.revision,
        runtime.ENV_PROBE_STABLE_URL: f"http://{stable}",
        runtime.ENV_PROBE_CANARY_URL: f"http://{canary}",
        **_how(owner, probing),
    }
    return {
        "name": "prober",
        "image": recipe.fetch_image or recipe.image,
        "imagePullPolicy": "IfNotPresent",
        "args": list(args or ()),
        "env": [{"name": name, "value": value} for name, value in env.items()],
        "ports": [{"name": PORT_NAME, "containerPort": PREDICTOR.port, "protocol": "TCP"}],
        "resources": resources_beside(RESOURCES, recipe.resources),
        "securityContext": copied(LOCKED_DOWN),
        "terminationMessagePath": runtime.TERMINATION_LOG,
        "readinessProbe": {
            "httpGet": {"path": PREDICTOR.metrics.path, "port": PORT_NAME, "scheme": "HTTP"},
            "periodSeconds": 5,
            "timeoutSeconds": 2,
        },
        "volumeMounts": [
            {"name": "model", "mountPath": runtime.MODEL_DIR, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the container
        ],
    }  # fmt: skip


def _how(owner: Owner, probing: Asked) -> dict[str, str]:
    """Return the variables that say what is asked, and how often."""
    if isinstance(probing, DesiredProber):
        theirs = {item["name"]: item.get("value") for item in probing.canary.recipe.env}
        return {
            runtime.ENV_PROBE_RATE: f"{probing.settings.rate:g}",
            runtime.ENV_PROBE_TIMEOUT_SECONDS: f"{probing.settings.patience.total_seconds():g}",
            **{name: value for name in FROM_ENV if (value := theirs.get(name))},
        }
    forms = example_forms(owner.name, probing.stable, probing.canary)
    return {
        shadow.ENV_SHADOW: probing.settings.model_dump_json(),
        **{
            # Kubernetes would look for variables of these names: $$ is a $.
            name: form.model_dump_json().replace("$", "$$")
            for name, form in zip(
                (shadow.ENV_STABLE_FORM, shadow.ENV_CANARY_FORM), forms, strict=True
            )
        },
    }


def _check_probes(probing: DesiredProber) -> None:
    """Raise Invalid where an arm answers no probes."""
    for target in (probing.stable, probing.canary):
        server = runtime_of(target.recipe)
        if server.prober_args is None:
            msg = (
                f"spec.analysis.probe: serving runtime {server.name} of version {target.version} "
                "answers no probes: take analysis.probe away"
            )
            raise Invalid(msg)


def _volume_of(claim: str) -> str:
    """Return a volume name for a claim: two artifacts may be on two claims, with long names."""
    name = f"source-{claim}".replace(".", "-")
    if len(name) <= NAME_LENGTH:
        return name
    return f"{name[: NAME_LENGTH - 9]}-{hashlib.sha256(claim.encode()).hexdigest()[:8]}"
