"""A running revision keeps its pod template, whatever a newer operator would render.

The template lies beside the pods, in an annotation of their Deployment. So it is put right when
somebody changes it, and a new operator replaces no pod.
"""

import json
from collections.abc import Mapping
from typing import Any

from modelrelease_operator.api import names
from modelrelease_operator.manifests.overlay import copied

LARGEST = 100 * 1024
"""Bytes of a template that is remembered: an object's annotations may have 256 KiB together."""

Object = Mapping[str, Any]


def settled(fresh: dict[str, Any], live: Object | None) -> dict[str, Any]:
    """Return a Deployment as it is to be applied over the one there; parts are `fresh`'s own.

    The same revision and version mean the same template: only a release changes it. One without the
    annotation, of an operator that knew none or with a template too large to be remembered, keeps
    the template that it has.
    """
    template = _begun_with(live, fresh) or fresh["spec"]["template"]
    text = json.dumps(template, sort_keys=True, separators=(",", ":"))
    meta = fresh["metadata"]
    if len(text.encode()) <= LARGEST:
        meta = {
            **meta,
            "annotations": {**meta.get("annotations", {}), names.ANNOTATION_TEMPLATE: text},
        }
    return {**fresh, "metadata": meta, "spec": {**fresh["spec"], "template": template}}


def template_of(live: Object) -> dict[str, Any]:
    """Return the template that a Deployment began with, or has where none was remembered."""
    return _remembered(live) or _running(live)


def remembered_text(live: Object) -> str | None:
    """Return the text of the template that a Deployment began with, None where there is none."""
    text: str | None = live["metadata"].get("annotations", {}).get(names.ANNOTATION_TEMPLATE)
    return text or None


def _begun_with(live: Object | None, fresh: Object) -> dict[str, Any] | None:
    if live is None:
        return None
    template = template_of(live)
    return template if _labels(template) == _labels(fresh["spec"]["template"]) else None


def _remembered(live: Object) -> dict[str, Any] | None:
    text = remembered_text(live)
    try:
        template = json.loads(text) if text else None
    except ValueError:
        return None
    return template if isinstance(template, dict) else None


def _running(live: Object) -> dict[str, Any]:
    template: dict[str, Any] = copied(live["spec"]["template"])
    # Always null, and no part of what can be applied.
    template.get("metadata", {}).pop("creationTimestamp", None)
    return template


def _labels(template: Object) -> tuple[Any, Any]:
    metadata = template.get("metadata")
    labels = (metadata.get("labels") or {}) if isinstance(metadata, Mapping) else {}
    return labels.get(names.LABEL_REVISION), labels.get(names.LABEL_VERSION)
