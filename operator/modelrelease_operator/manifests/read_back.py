"""From a Deployment back to the revision that it runs, for a release whose status was lost."""

import json
from collections.abc import Iterable
from typing import Any

from modelrelease_contract import runtime
from modelrelease_operator.api import names
from modelrelease_operator.api.pods import IMAGE_VOLUME
from modelrelease_operator.api.status import Recipe, Target
from modelrelease_operator.manifests.settled import Object, template_of
from modelrelease_operator.manifests.workload import MODEL, SERVER


def read_back(live: Object) -> Target | None:
    """Return the revision that a Deployment of ours runs, or None where it does not tell.

    Its pod template becomes the recipe's: laid over what is rendered, it gives the same pods again.
    """
    labels = live["metadata"].get("labels") or {}
    revision, version = labels.get(names.LABEL_REVISION), labels.get(names.LABEL_VERSION)
    template = template_of(live)
    spec = template.get("spec", {})
    fetch = _named(spec.get("initContainers") or (), "fetch")
    server = _named(spec.get("containers") or (), SERVER)
    # A server that fetches the artifact by itself is told what `fetch` is told.
    variables = {
        item["name"]: item.get("value")
        for item in (fetch or server).get("env") or ()
        if "name" in item
    }
    uri, sha256 = variables.get(runtime.ENV_MODEL_URI), variables.get(runtime.ENV_MODEL_SHA256)
    served_by = _runtime_of(template)
    image = (server if served_by else fetch).get("image")
    if not (revision and version and uri and sha256 and image):
        return None
    recipe = Recipe(
        image=image,
        pod_template=template,
        pod=_mounted_in(spec, variables.get(runtime.ENV_MODEL_PATH) or ""),
        runtime=served_by,
        fetch_image=fetch.get("image") if served_by else None,
    )
    return Target(revision=revision, version=version, uri=uri, sha256=sha256, recipe=recipe)


def _mounted_in(spec: Object, folder: str) -> dict[str, Any]:
    """Return the field of a recipe whose image a node mounts: laid over an empty volume, it would
    be two volumes in one.
    """
    model = _named(spec.get("volumes") or (), MODEL)
    if "image" not in model:
        return {}
    mounts = _named(spec.get("containers") or (), SERVER).get("volumeMounts") or ()
    top = _named(mounts, MODEL).get("mountPath") or ""
    return {IMAGE_VOLUME: {"path": folder.removeprefix(top).strip("/")}}


def _runtime_of(template: Object) -> dict[str, Any]:
    """Return which server a pod template says that it runs; empty: our predictor."""
    annotations = template.get("metadata", {}).get("annotations") or {}
    text = annotations.get(names.ANNOTATION_RUNTIME)
    try:
        runtime = json.loads(text) if text else {}
    except ValueError:
        return {}
    return runtime if isinstance(runtime, dict) else {}


def _named(containers: Iterable[Object], name: str) -> Object:
    return next((container for container in containers if container.get("name") == name), {})
