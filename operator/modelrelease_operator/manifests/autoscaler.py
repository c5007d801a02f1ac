"""The HorizontalPodAutoscaler of a release that says by what load it is scaled."""

from typing import Any

from modelrelease_operator.api import names
from modelrelease_operator.api.autoscaling import Autoscaling
from modelrelease_operator.manifests.workload import SERVER, Owner, metadata

HPA = "HorizontalPodAutoscaler"


def autoscaler(owner: Owner, settings: Autoscaling) -> dict[str, Any]:
    """Return the autoscaler, which aims at the release and knows of no revision.

    It counts the container that predicts: a mesh's sidecar that requests no CPU would leave it
    without a number.
    """
    cpu = {"type": "Utilization", "averageUtilization": settings.target_cpu_utilization_percent}
    resource = {"name": "cpu", "container": SERVER, "target": cpu}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": HPA,
        "metadata": metadata(owner, owner.name),
        "spec": {
            "scaleTargetRef": {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "name": owner.name,
            },
            "minReplicas": settings.min_replicas,
            "maxReplicas": settings.max_replicas,
            "metrics": [{"type": "ContainerResource", "containerResource": resource}],
        },
    }
