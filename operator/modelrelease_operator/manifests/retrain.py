"""The Job of one retraining, named after its request."""

import json
from typing import Any

from modelrelease_contract import retrain as words
from modelrelease_operator.api import names
from modelrelease_operator.core.desired import DesiredRetraining
from modelrelease_operator.manifests.overlay import copied, merged, without_nulls
from modelrelease_operator.manifests.workload import LOCKED_DOWN, POD_SECURITY, Owner, metadata

DEFAULT_RESOURCES: dict[str, Any] = {
    "requests": {"cpu": "500m", "memory": "512Mi"},
    "limits": {"memory": "2Gi"},
}


def retrain_job(owner: Owner, retraining: DesiredRetraining) -> dict[str, Any]:
    """Return the Job. Its pod has no label of the release, whose Services must not select it."""
    settings = retraining.settings
    request = retraining.request
    labels = {names.LABEL_RETRAIN: request.request}
    pod = merged(_pod(owner, retraining), settings.pod_template)
    pod = merged(pod, {"metadata": {"labels": {names.LABEL_RELEASE: None, **labels}}})
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(owner, names.retrain_job_name(owner.name, request.request), **labels),
        "spec": {
            "backoffLimit": settings.retries,
            "activeDeadlineSeconds": round(settings.deadline.span.total_seconds()),
            "template": pod,
        },
    }


def _pod(owner: Owner, retraining: DesiredRetraining) -> dict[str, Any]:
    settings = retraining.settings
    account = (
        {"serviceAccountName": settings.service_account_name}
        if settings.service_account_name
        else {}
    )
    return {
        "metadata": {"labels": {}},
        "spec": {
            **account,
            "automountServiceAccountToken": bool(account),
            "enableServiceLinks": False,
            "restartPolicy": "Never",
            "securityContext": copied(POD_SECURITY),
            "containers": [_container(owner, retraining)],
            "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "10Gi"}}],
        },
    }


def _container(owner: Owner, retraining: DesiredRetraining) -> dict[str, Any]:
    settings = retraining.settings
    env = _env(owner, retraining)
    ours = {item["name"] for item in env}
    env += [without_nulls(item.to_dict()) for item in settings.env if item.name not in ours]
    given = {"command": list(settings.command), "args": list(settings.args)}
    return {
        "name": "retrain",
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",
        **{key: value for key, value in given.items() if value},
        "env": env,
        "resources": without_nulls(settings.resources.to_dict()) or copied(DEFAULT_RESOURCES),
        "securityContext": copied(LOCKED_DOWN),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "workingDir": "/tmp",  # noqa: S108 - a path inside the container
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }


def _env(owner: Owner, retraining: DesiredRetraining) -> list[dict[str, Any]]:
    request = retraining.request
    stable = retraining.stable
    registered = stable.registered
    values = {
        words.ENV_RELEASE: owner.name,
        words.ENV_NAMESPACE: owner.namespace,
        words.ENV_REQUEST: request.request,
        words.ENV_CAUSE: str(request.cause),
        words.ENV_FEATURES: json.dumps(request.features),
        words.ENV_CHAMPION_VERSION: stable.version,
        words.ENV_CHAMPION_URI: str(registered) if registered else stable.uri,
        words.ENV_MODEL: registered.name if registered else "",
    }
    return [{"name": name, "value": value} for name, value in values.items()]
