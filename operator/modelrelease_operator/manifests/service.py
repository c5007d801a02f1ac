"""The three Services of a release: what clients call, and one for each arm."""

from typing import Any

from modelrelease_contract.runtime import HTTP_PORT
from modelrelease_operator.api import names
from modelrelease_operator.core.desired import Desired
from modelrelease_operator.manifests.workload import Owner, metadata
from modelrelease_operator.traffic.replicas import selector_for


def services(owner: Owner, desired: Desired) -> list[dict[str, Any]]:
    """Return what clients call, and one Service for each arm. None before there is a revision to serve."""
    if not desired.routed:
        return []
    main, stable, canary = names.service_names(owner.name)
    return [
        _service(owner, main, selector_for(owner.name, desired.routed)),
        _service(owner, stable, selector_for(owner.name, {desired.stable or names.NO_REVISION})),
        _service(owner, canary, selector_for(owner.name, {desired.canary or names.NO_REVISION})),
    ]


def _service(owner: Owner, name: str, selector: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(owner, name),
        "spec": {
            "selector": selector,
            "ports": [{"name": "http", "port": 80, "targetPort": HTTP_PORT, "protocol": "TCP"}],
        },
    }
