"""The Kubernetes objects of each contender: the same pods, under each one's own wrapping. Pure.

What is not said here is each program's own default. What is said, `benchmarks/README.md` explains.
"""

from dataclasses import dataclass
from typing import Any, Final

from cluster.gateways import Gateway
from examples import fixtures
from modelrelease_contract import metrics
from modelrelease_contract.runtime import HTTP_PORT
from modelrelease_operator.api.status import Recipe, Target
from modelrelease_operator.core.desired import DesiredWorkload
from modelrelease_operator.manifests.workload import Owner, deployment

NAME: Final = "qna"
WEIGHTS: Final = (20, 40, 60, 80)
"""Those of Argo Rollouts' documentation."""
STEP_SECONDS: Final = 30
REPLICAS: Final = 5
SUCCESS_SHARE: Final = 0.99
"""The gate of the rivals: Flagger's documentation asks for 99 %, and Argo Rollouts' for 95 %."""
FLAGGER_THRESHOLD: Final = 5
"""Failed checks until Flagger rolls back, as in its documentation."""
ARGO_FAILURE_LIMIT: Final = 3
"""Failed measurements that Argo Rollouts lets pass, as in its documentation."""
ARGO_MEASUREMENTS_A_STEP: Final = 2
"""As in its documentation: steps of ten minutes, a measurement every five."""
WINDOW: Final = "1m"
"""Of the rivals' queries: with a scrape every 15 s it holds four samples, as Flagger's own."""
PROMETHEUS: Final = "http://prometheus.monitoring:9090"
RESOURCES: Final = {
    "requests": {"cpu": "30m", "memory": "128Mi"},
    "limits": {"memory": "512Mi"},
}
CLIENT_RESOURCES: Final = {"requests": {"cpu": "100m", "memory": "64Mi"}}
"""What asks for nothing starves first on a full node, and would count time-outs of its own."""

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One version of the model, in the store that all contenders fetch from."""

    version: str
    uri: str
    sha256: str


def model_release(space: str, artifact: Artifact, **parts: Any) -> Object:
    """Return our release; `parts` are those of its spec beside the steps."""
    steps = [{"weight": weight, "bake": f"{STEP_SECONDS}s"} for weight in WEIGHTS]
    spec = {
        "serving": {"replicas": REPLICAS, "resources": RESOURCES},
        "canary": {"steps": steps, **parts.pop("canary", {})},
        **parts,
    }
    return fixtures.release(NAME, space, artifact.uri, **spec)


def by_gateway(space: str, gateway: Gateway) -> Object:
    """Return the part of our spec that has a Gateway carry the weights."""
    return {"routing": {"gatewayAPI": {"parentRefs": [gateway.parent], "hostnames": [host(space)]}}}


def host(space: str) -> str:
    """Return the name by which clients in the cluster reach the Gateway, and it the release."""
    return f"front.{space}"


def front(space: str, gateway: Gateway) -> Object:
    """Return the Service that gives the Gateway this name."""
    address = {"type": "ExternalName", "externalName": gateway.address}
    meta = {"name": "front", "namespace": space}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": address}


def pod_template(artifact: Artifact) -> Object:
    """Return the pods that our operator makes of a version, without its labels."""
    target = Target(
        revision=artifact.version,
        version=artifact.version,
        uri=artifact.uri,
        sha256=artifact.sha256,
        recipe=Recipe(image=fixtures.SERVING_IMAGE, resources=RESOURCES),
    )
    owner = Owner(namespace="", name=NAME, uid="")
    running = DesiredWorkload(target=target, replicas=REPLICAS, track="stable")
    template: Object = deployment(owner, running)["spec"]["template"]
    annotations = template["metadata"]["annotations"]
    return {**template, "metadata": {"labels": {"app": NAME}, "annotations": annotations}}


def plain_deployment(space: str, artifact: Artifact) -> Object:
    """Return a Deployment as its user would have it before Flagger comes."""
    whole = fixtures.deployment(NAME, space, {})
    whole["spec"] |= {
        "replicas": REPLICAS,
        "strategy": {"rollingUpdate": {"maxUnavailable": 0}},
        "template": pod_template(artifact),
    }
    return whole


def _success_share(pods: str) -> str:
    """Return the PromQL of both documentations, with our counter."""
    counter = metrics.PREDICTIONS_TOTAL
    good = f'sum(rate({counter}{{{pods},code!~"5.*"}}[{WINDOW}]))'
    return f"{good} / sum(rate({counter}{{{pods}}}[{WINDOW}]))"


def rollout(space: str, artifact: Artifact) -> Object:
    """Return the Rollout: weights by replica counts, the analysis in the background."""
    steps: list[Object] = []
    for weight in WEIGHTS:
        steps += [{"setWeight": weight}, {"pause": {"duration": f"{STEP_SECONDS}s"}}]
    latest = {"name": "latest-hash", "valueFrom": {"podTemplateHashValue": "Latest"}}
    analysis = {
        "templates": [{"templateName": "success-rate"}],
        # From the second weight on, as documented: before, the canary may have no series yet, and
        # five queries without an answer abort a rollout.
        "startingStep": 2,
        "args": [latest],
    }
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": NAME, "namespace": space},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"app": NAME}},
            "template": pod_template(artifact),
            "strategy": {"canary": {"analysis": analysis, "steps": steps}},
        },
    }


def analysis_template(space: str) -> Object:
    """Return what Argo Rollouts asks of Prometheus."""
    pods = f'namespace="{space}",pod=~"{NAME}-{{{{args.latest-hash}}}}-.*"'
    metric = {
        "name": "success-rate",
        "interval": f"{STEP_SECONDS // ARGO_MEASUREMENTS_A_STEP}s",
        "successCondition": f"result[0] >= {SUCCESS_SHARE}",
        "failureLimit": ARGO_FAILURE_LIMIT,
        "provider": {"prometheus": {"address": PROMETHEUS, "query": _success_share(pods)}},
    }
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisTemplate",
        "metadata": {"name": "success-rate", "namespace": space},
        "spec": {"args": [{"name": "latest-hash"}], "metrics": [metric]},
    }


def canary(space: str, gateway: Gateway) -> Object:
    """Return the Canary: weights by the Gateway, one check and one weight each interval."""
    metric = {
        "name": "error-rate",
        "templateRef": {"name": "error-rate"},
        "thresholdRange": {"max": round(100 * (1 - SUCCESS_SHARE), 3)},
        "interval": WINDOW,
    }
    return {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"name": NAME, "namespace": space},
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
            "service": {
                "port": 80,
                "targetPort": HTTP_PORT,
                "hosts": [host(space)],
                "gatewayRefs": [gateway.parent],
            },
            "analysis": {
                "interval": f"{STEP_SECONDS}s",
                "threshold": FLAGGER_THRESHOLD,
                "stepWeights": list(WEIGHTS),
                "metrics": [metric],
            },
        },
    }


def metric_template(space: str) -> Object:
    """Return what Flagger asks of Prometheus: its documentation's query, with our counter."""
    pods = 'namespace="{{ namespace }}",pod=~"{{ target }}-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)"'
    share = _success_share(pods).replace(f"[{WINDOW}]", "[{{ interval }}]")
    return {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "MetricTemplate",
        "metadata": {"name": "error-rate", "namespace": space},
        "spec": {
            "provider": {"type": "prometheus", "address": PROMETHEUS},
            "query": f"100 - {share} * 100",
        },
    }
