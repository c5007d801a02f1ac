"""The three Services of a release: what clients call, and one for each arm."""

from collections.abc import Iterable
from typing import Any

from modelrelease_operator.api import names
from modelrelease_operator.core.state import Desired
from modelrelease_operator.manifests.workload import PORT_NAME, Owner, metadata
from modelrelease_operator.serving_runtimes import runtime_of
from modelrelease_operator.traffic.replicas import selector_for


def services(owner: Owner, desired: Desired) -> list[dict[str, Any]]:
    """Return what clients call, and one Service for each arm. None before there is a revision to serve."""
    if not desired.routed:
        return []
    main, stable, canary = names.service_names(owner.name)
    selected = (
        (main, desired.routed),
        (stable, {desired.stable or names.NO_REVISION}),
        (canary, {desired.canary or names.NO_REVISION}),
    )
    return [
        _service(owner, name, selector_for(owner.name, revisions), _port_of(desired, revisions))
        for name, revisions in selected
    ]


def _port_of(desired: Desired, revisions: Iterable[str]) -> int | str:
    """Return the port of these revisions' servers, or its name where their numbers differ.

    A number also for a Service that selects nothing: it is the one that the release's servers have.
    """
    ports = {run.target.revision: runtime_of(run.target.recipe.image).port for run in desired.running}
    selected = {ports[revision] for revision in revisions if revision in ports}
    numbers = selected or set(ports.values()) or {runtime_of("").port}
    return numbers.pop() if len(numbers) == 1 else PORT_NAME


def _service(owner: Owner, name: str, selector: dict[str, str], port: int | str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(owner, name),
        "spec": {
            "selector": selector,
            "ports": [{"name": PORT_NAME, "port": 80, "targetPort": port, "protocol": "TCP"}],
        },
    }
