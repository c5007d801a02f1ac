"""From a desired world to Kubernetes objects: pure functions that return fresh dicts."""

from collections.abc import Mapping
from typing import Any

from modelrelease_contract.shadow import ShadowSettings
from modelrelease_operator.api.spec import Canary
from modelrelease_operator.core.desired import Desired, DesiredWorkload
from modelrelease_operator.core.memo import Memo
from modelrelease_operator.manifests.autoscaler import autoscaler
from modelrelease_operator.manifests.disruption import disruption_budgets
from modelrelease_operator.manifests.prober import prober
from modelrelease_operator.manifests.read_back import read_back
from modelrelease_operator.manifests.reader import reader_job
from modelrelease_operator.manifests.retrain import retrain_job
from modelrelease_operator.manifests.service import route_for, services
from modelrelease_operator.manifests.settled import remembered_text, settled
from modelrelease_operator.manifests.workload import Owner, deployment, reference_to
from modelrelease_operator.traffic.provider import TrafficProvider
from modelrelease_operator.traffic.replicas import REPLICAS

__all__ = [
    "Owner",
    "read_back",
    "reader_job",
    "reference_to",
    "render",
    "retrain_job",
    "route_for",
    "settled",
]


def render(
    owner: Owner,
    desired: Desired,
    live: Mapping[str, Mapping[str, Any]] | None = None,
    provider: TrafficProvider = REPLICAS,
    canary: Canary = Canary(),  # noqa: B008 - it is frozen
    kept: Memo[Any] | None = None,
) -> list[dict[str, Any]]:
    """Return every object that the release should own now, the pods' first.

    `live` has the Deployments that are there, by revision: their pods are not replaced. `provider`
    deals out the requests of a release that says `canary`. `kept` has what earlier calls rendered,
    mostly the same: whoever gives it changes nothing of what is returned.
    """
    there = live or {}
    texts = {revision: remembered_text(deployment) for revision, deployment in there.items()}

    def made() -> list[dict[str, Any]]:
        deployments = [
            _deployment(owner, running, desired.shadow, there.get(running.target.revision), kept)
            for running in desired.running
        ]
        return deployments + _beside(owner, desired, provider, canary)

    if kept is None or None in texts.values():
        return made()  # Without that text it depends on all of a live template.
    rendered: list[dict[str, Any]] = kept.of(owner, (desired, texts, provider, canary), made)
    return rendered


def _beside(
    owner: Owner, desired: Desired, provider: TrafficProvider, canary: Canary
) -> list[dict[str, Any]]:
    """Return what there is to be beside the pods."""
    asked = (desired.probing, desired.comparing)
    return [
        *services(owner, desired, provider, canary),
        *(prober(owner, each) for each in asked if each),
        *disruption_budgets(owner, desired),
        *([autoscaler(owner, desired.autoscaling)] if desired.autoscaling else ()),
    ]


def _deployment(
    owner: Owner,
    running: DesiredWorkload,
    shadow: ShadowSettings | None,
    live: Mapping[str, Any] | None,
    kept: Memo[Any] | None,
) -> dict[str, Any]:
    """Return the Deployment of a revision as it is to be applied over the one there."""

    def made() -> dict[str, Any]:
        return settled(deployment(owner, running, shadow), live)

    text = remembered_text(live) if live else None
    if kept is None or (live and text is None):
        return made()
    inputs = (running, shadow, text)
    rendered: dict[str, Any] = kept.of((owner, running.target.revision), inputs, made)
    return rendered
