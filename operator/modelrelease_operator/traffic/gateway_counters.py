"""What gateways count by backend, as data: the counter, and the labels that tell an arm's Service.

A gateway is known by the `controllerName` of its GatewayClass, which stands in the status of each
route that it has taken. Those that cannot tell the arms of one rule apart are listed with the
reason, so that a release is told before it waits for counts that never come.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from modelrelease_operator.api.routing import CountingGateway
from modelrelease_operator.serving_runtimes.metrics import DurationHistogram
from modelrelease_operator.traffic.gateway_api import PORT


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayCounters:
    """How one gateway counts the requests that it sent to a Service, once they have ended.

    `{namespace}` and `{service}` in the matchers stand for the Service's.
    """

    controllers: tuple[str, ...]
    """Its `controllerName`s; none where no GatewayClass has it."""
    requests_total: str
    """The counter: raw, one series for each process of the gateway."""
    backend: str
    """Matchers of the series of a Service."""
    failed: tuple[str, ...]
    """Matchers of answers with 5xx, and of none; a series has one of them at most."""
    code_label: str
    """Its label with the status code of the answer."""
    duration: DurationHistogram
    """Of the time to answer, with the same labels of the backend."""
    how: str
    """What its counters need, for people."""
    traps: tuple[str, ...] = ()
    """What its counters show otherwise than one thinks."""

    def code_of(self, labels: Mapping[str, str]) -> str:
        """Return the status code of the answers that a series counts: NO_ANSWER where there was
        none.
        """
        return labels.get(self.code_label) or NO_ANSWER

    def durations(self, namespace: str, service: str) -> str:
        """Return what selects the histogram of the requests that were sent to a Service."""
        return f"{self.duration.name}_bucket{{{self._backend(namespace, service)}}}"

    def requests(self, namespace: str, service: str) -> str:
        """Return what selects the requests that were sent to a Service."""
        return f"{self.requests_total}{{{self._backend(namespace, service)}}}"

    def failures(self, namespace: str, service: str) -> tuple[str, ...]:
        """Return what selects those of them that failed."""
        backend = self._backend(namespace, service)
        return tuple(f"{self.requests_total}{{{backend},{failed}}}" for failed in self.failed)

    def _backend(self, namespace: str, service: str) -> str:
        return self.backend.format(namespace=namespace, service=service)


NO_ANSWER = "502"
"""What a request counts as to which no server has answered."""
COUNTING: Mapping[CountingGateway, GatewayCounters] = {
    # A backend is `httproute-<namespace>-<route>-gw-…-ep-…-<rule>-<hash>-svc-<namespace>-<service>-
    # <place in the rule>` (3.7). What it answers itself is 502, 503 or 504.
    CountingGateway.TRAEFIK: GatewayCounters(
        controllers=("traefik.io/gateway-controller",),
        requests_total="traefik_service_requests_total",
        backend='service=~"httproute-{namespace}-.*-svc-{namespace}-{service}-[0-9]+'
        '@kubernetesgateway"',
        failed=('code=~"5.."',),
        code_label="code",
        duration=DurationHistogram(name="traefik_service_request_duration_seconds"),
        traps=("bounds are 0.1, 0.3, 1.2 and 5 s, unless --metrics.prometheus.buckets says more",),
        how="Traefik with --metrics.prometheus (addServicesLabels, which is on by default)",
    ),
    # `destination` would not see a connection that was refused.
    CountingGateway.ISTIO: GatewayCounters(
        controllers=("istio.io/gateway-controller", "istio.io/unmanaged-gateway"),
        requests_total="istio_requests_total",
        backend='reporter="source",destination_service_namespace="{namespace}",'
        'destination_service_name="{service}"',
        failed=('response_code=~"5.."',),
        code_label="response_code",
        duration=DurationHistogram(name="istio_request_duration_milliseconds", per_second=1000),
        traps=("a client that left is code 0, and no error",),
        how="the gateway's own proxy (reporter source)",
    ),
    CountingGateway.CONTOUR: GatewayCounters(
        controllers=("projectcontour.io/gateway-controller",),
        requests_total="envoy_cluster_upstream_rq",
        backend=f'envoy_cluster_name="{{namespace}}_{{service}}_{PORT}"',
        failed=('envoy_response_code=~"5.."',),
        code_label="envoy_response_code",
        duration=DurationHistogram(name="envoy_cluster_upstream_rq_time", per_second=1000),
        traps=("the histogram has those alone that the server has answered",),
        how="its Envoys' /stats/prometheus",
    ),
    CountingGateway.LINKERD: GatewayCounters(
        controllers=(),
        requests_total="outbound_http_route_backend_response_statuses_total",
        backend='backend_kind="Service",backend_namespace="{namespace}",backend_name="{service}"',
        failed=('http_status=~"5.."', 'http_status="",error!=""'),
        code_label="http_status",
        duration=DurationHistogram(name="outbound_http_route_backend_response_duration_seconds"),
        traps=("the proxy of each caller counts, so each must be scraped",),
        how="the proxies of those who ask (outbound)",
    ),
}

ONE_CLUSTER = "it counts all backends of a rule as one, so the arms cannot be told apart"
NO_BACKEND = "its counters name no backend, so the arms cannot be told apart"
REFUSED: Mapping[str, tuple[str, str]] = {
    "gateway.envoyproxy.io/gatewayclass-controller": ("Envoy Gateway", ONE_CLUSTER),
    "konghq.com/kic-gateway-controller": ("Kong", ONE_CLUSTER),
    "gateway.nginx.org/nginx-gateway-controller": ("NGINX Gateway Fabric", NO_BACKEND),
    "io.cilium/gateway-controller": ("Cilium", NO_BACKEND),
}
"""By `controllerName`: gateways that cannot be asked, and why."""


def counting_by(controllers: Iterable[str]) -> CountingGateway | None:
    """Return which gateway some controllers are, where all are one that is known."""
    known = {
        gateway
        for controller in controllers
        for gateway, counters in COUNTING.items()
        if controller in counters.controllers
    }
    return known.pop() if len(known) == 1 else None


def why_not_counting(controllers: Iterable[str]) -> str:
    """Say why none of these controllers' gateways can be asked, and what to do."""
    names = sorted(set(controllers))
    for name in names:
        if name in REFUSED:
            gateway, reason = REFUSED[name]
            return f"{gateway} ({name}) has taken the route, and {reason}: take the gate out"
    choices = ", ".join(COUNTING)
    if not names:
        return f"no gateway has taken the route yet, and loss.gateway names none of {choices}"
    return (
        f"the route is taken by {' and '.join(names)}, whose counters are not known here: if it is "
        f"one of {choices}, name it in loss.gateway; else count by a gate with counts"
    )
