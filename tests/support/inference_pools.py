"""InferencePool as far as the operator knows it: the extension's own CRD is in no registry.

The fields and what is required of them are those of `inference.networking.k8s.io/v1`.
"""

from typing import Any

GROUP = "inference.networking.k8s.io"


def definition() -> dict[str, Any]:
    """Return a CustomResourceDefinition that serves pools."""
    labels = {"type": "object", "minProperties": 1, "additionalProperties": {"type": "string"}}
    selector = {
        "type": "object",
        "required": ["matchLabels"],
        "properties": {"matchLabels": labels},
    }
    number = {"type": "integer", "minimum": 1, "maximum": 65535}
    port = {"type": "object", "required": ["number"], "properties": {"number": number}}
    picker = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "port": port},
    }
    spec = {
        "type": "object",
        "required": ["selector", "targetPorts"],
        "properties": {
            "selector": selector,
            "targetPorts": {"type": "array", "minItems": 1, "items": port},
            "endpointPickerRef": picker,
        },
    }
    schema = {"type": "object", "required": ["spec"], "properties": {"spec": spec}}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
    }
    names = {"kind": "InferencePool", "plural": "inferencepools", "singular": "inferencepool"}
    # Without this an API server refuses a group of Kubernetes' own.
    approved = {"api-approved.kubernetes.io": "unapproved, a stub for tests"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"inferencepools.{GROUP}", "annotations": approved},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }


def pool(name: str, namespace: str, release: str) -> dict[str, Any]:
    """Return somebody's pool of a release's pods."""
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "InferencePool",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"modelrelease.dev/release": release}},
            "targetPorts": [{"number": 8080}],
            "endpointPickerRef": {"name": "picker", "port": {"number": 9002}},
        },
    }
