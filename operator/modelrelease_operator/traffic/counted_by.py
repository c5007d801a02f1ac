"""Releases whose requests a gateway counts, because their servers do not: what it cannot answer."""

from collections.abc import Iterator

from modelrelease_operator.api.prometheus import Source
from modelrelease_operator.api.routing import CountingGateway
from modelrelease_operator.api.spec import Gate, ReleaseSpec
from modelrelease_operator.traffic.gateway_counters import (
    COUNTING,
    NO_BACKEND,
    ONE_CLUSTER,
    GatewayCounters,
)

WHERE = "spec.analysis.countedBy"
NO_HISTOGRAM = "it shows averages and no histogram, so latencies cannot be compared"
CANNOT = {
    "EnvoyGateway": ONE_CLUSTER,
    "Kong": ONE_CLUSTER,
    "NGINXGatewayFabric": NO_BACKEND,
    "Cilium": NO_BACKEND,
    "HAProxy": NO_HISTOGRAM,
}
"""Gateways that are known and cannot be asked, and why."""
OF_PODS = {
    "predictions": "it knows no predictions",
    "loss": "its 5xx are what errorRate counts then",
    "finishReasons": "it counts no finish reasons",
    "answerTokens": "it counts no tokens",
}
"""Kinds of gates that need the servers' own counters, and why a gateway does not do."""


def gateway_of(spec: ReleaseSpec) -> GatewayCounters | None:
    """Return whose counters are read instead of the servers'; None where it is refused, too."""
    name = spec.analysis.counted_by
    return COUNTING[CountingGateway(name)] if name in [*COUNTING] else None


def refusal_of_counting(spec: ReleaseSpec) -> str | None:
    """Return why a release's requests cannot be counted by the gateway that it names, or None."""
    return next(_refusals(spec), None) if spec.analysis.counted_by else None


def _refusals(spec: ReleaseSpec) -> Iterator[str]:
    name, settings = spec.analysis.counted_by or "", spec.canary.routing.gateway_api
    choices = ", ".join(COUNTING)
    if name in CANNOT:
        yield f"{WHERE}: {name} cannot be asked: {CANNOT[name]}. One of {choices} can"
    elif name not in [*COUNTING]:
        yield f"{WHERE}: {name} is not known: it is one of {choices}; else use gates with counts"
    if settings is None:
        yield f"{WHERE} needs canary.routing.gatewayAPI: without it no gateway deals out requests"
    elif settings.existing_route and settings.existing_route.pools:
        yield f"{WHERE}: a gateway counts by Service, and existingRoute.pools leads to none"
    if spec.analysis.source is Source.PODS:
        yield f"{WHERE}: source Pods reads servers' pages: set source Prometheus"
    if spec.analysis.probe:
        yield f"{WHERE}: analysis.probe goes past the gateway: take one of them out"
    for gate in spec.analysis.gates:
        if why := _why_not(gate):
            yield f"{WHERE}: gate {gate.name} cannot be answered by a gateway: {why}"


def _why_not(gate: Gate) -> str | None:
    if gate.latency and gate.latency.metric:
        return "it does not see tokens"
    return OF_PODS.get(gate.settings.kind)
