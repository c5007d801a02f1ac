"""The Job that finds out what an artifact is which only pods can read: its version and its digest.

Its pod is that of the revision which is to come, without the server: the same account, credentials,
variables and volumes, so it can reach what that could reach, and nothing else. It runs once.
"""

import hashlib
import json
from itertools import takewhile
from typing import Any

from modelrelease_contract import runtime
from modelrelease_operator.api import names
from modelrelease_operator.api.status import Target
from modelrelease_operator.manifests.overlay import without_nulls
from modelrelease_operator.manifests.workload import (
    DEFAULT_RESOURCES,
    Owner,
    claim_of,
    fetcher,
    metadata,
    metadata_beside,
    pod_of,
    resources_beside,
    unmounted,
)

DEADLINE_SECONDS = 30 * 60
KEPT_SECONDS = 300
"""After its end, until another one tries again what this one could not read."""
READER = "fetch"
"""Name of its container, as that of the one which fetches: pod templates are laid over both."""
COMMAND = "describe"
SCRAPED_BY = "prometheus.io/"
_LEFT_OUT = (
    "containers", "initContainers", "resourceClaims", "restartPolicy", "topologySpreadConstraints",
)  # fmt: skip
"""Devices, too: reading takes none, and the version that serves may hold all there are."""


def reader_job(owner: Owner, target: Target) -> dict[str, Any]:
    """Return the Job for a target without a digest; what `target.version` says names an artifact
    that has no version of its own. Its pod has no label of the release, which Services select by.
    """
    place = _number_of(owner, target)
    labels = {names.LABEL_READER: place}
    fetched = unmounted(target)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(owner, names.reader_job_name(owner.name, place), **labels),
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": DEADLINE_SECONDS,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": {"metadata": _pod_metadata(target, labels), "spec": _pod(owner, fetched)},
        },
    }


def _number_of(owner: Owner, target: Target) -> str:
    """Return a name for what is read, and how: another way to it is another Job, and so is another
    release's, whose long name may begin alike.
    """
    read = [owner.name, target.uri, target.version, target.sha256, target.recipe.identity]
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()[:10]


def _pod_metadata(target: Target, labels: dict[str, str]) -> dict[str, Any]:
    """Return what its pods tell meshes and webhooks, such as the one that gives them an identity at
    a store. Nobody scrapes it.
    """
    theirs = without_nulls(metadata_beside(target))
    annotations = theirs["annotations"].items()
    told = {key: value for key, value in annotations if not key.startswith(SCRAPED_BY)}
    return {"labels": theirs["labels"] | labels, "annotations": told}


def _pod(owner: Owner, target: Target) -> dict[str, Any]:
    spec = pod_of(owner, target)["spec"]
    begun = spec.get("initContainers") or []
    before = list(takewhile(lambda it: it.get("name") != READER, begun))
    fetching = next((each for each in begun if each.get("name") == READER), None)
    kept = {name: part for name, part in spec.items() if name not in _LEFT_OUT}
    return {
        **kept,
        "restartPolicy": "Never",
        "initContainers": before,
        "containers": [_container(target, fetching or fetcher(target, claim_of(target.uri)[2]))],
    }


def _container(target: Target, fetching: dict[str, Any]) -> dict[str, Any]:
    told = {runtime.ENV_MODEL_SHA256: target.sha256, runtime.ENV_MODEL_VERSION: target.version}
    others = [item for item in fetching["env"] if item["name"] not in told]
    ours = [{"name": name, "value": value} for name, value in told.items() if value]
    return {
        **fetching,
        "args": [COMMAND],
        "env": [*others, *ours],
        "resources": resources_beside(DEFAULT_RESOURCES, fetching.get("resources") or {}),
    }
