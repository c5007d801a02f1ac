"""The three Services of a release, and the reading back of where the main one sends its clients."""

from collections.abc import Iterable, Mapping
from typing import Any

from modelrelease_contract.runtime import HTTP_PORT
from modelrelease_operator.api import names
from modelrelease_operator.core.state import Desired
from modelrelease_operator.manifests.workload import Owner, metadata


def services(owner: Owner, desired: Desired) -> list[dict[str, Any]]:
    """Return what clients call, and one Service for each arm. None before there is a revision to serve."""
    if not desired.routed:
        return []
    main, stable, canary = names.service_names(owner.name)
    return [
        _service(owner, main, _selector(owner, desired.routed)),
        _service(owner, stable, _selector(owner, {desired.stable or names.NO_REVISION})),
        _service(owner, canary, _selector(owner, {desired.canary or names.NO_REVISION})),
    ]


def routed_by(selector: Mapping[str, str], revisions: Iterable[str]) -> frozenset[str]:
    """Read a selector back: the one revision that it names, or all that exist."""
    revision = selector.get(names.LABEL_REVISION)
    return frozenset({revision}) if revision else frozenset(revisions)


def _selector(owner: Owner, revisions: Iterable[str]) -> dict[str, str]:
    """Select one revision's pods, or those of every revision of the release.

    Open to more than one only while no third revision has pods; `decide` sees to that.
    """
    wanted = sorted(revisions)
    selector = {names.LABEL_RELEASE: owner.name}
    if len(wanted) == 1:
        selector[names.LABEL_REVISION] = wanted[0]
    return selector


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
