"""From a desired world to Kubernetes objects: pure functions that return fresh dicts."""

from typing import Any

from modelrelease_operator.core.state import Desired
from modelrelease_operator.manifests.prober import prober
from modelrelease_operator.manifests.retrain import retrain_job
from modelrelease_operator.manifests.service import services
from modelrelease_operator.manifests.workload import Owner, deployment, reference_to

__all__ = ["Owner", "reference_to", "render", "retrain_job"]


def render(owner: Owner, desired: Desired) -> list[dict[str, Any]]:
    """Return every object that the release should own now, the pods' first."""
    probers = [prober(owner, desired.probing)] if desired.probing else []
    return [deployment(owner, running) for running in desired.running] + services(owner, desired) + probers
