"""No requests by a Gateway: of a release whose requests an older release has.

Its main Service stays, for callers inside the cluster, and leads to stable as beside a route.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from typing_extensions import override

from modelrelease_operator.traffic.gateway_api import GatewayApi, main_service
from modelrelease_operator.traffic.provider import Asked, Effect, Object, ObjectKey, Route
from modelrelease_operator.traffic.replicas import REPLICAS


class Unrouted(GatewayApi):
    """A gateway's release without its route."""

    @override
    def objects(self, route: Route) -> list[dict[str, Any]]:
        """Return the main Service."""
        return [main_service(route)]

    @override
    def sources(self, release: str) -> tuple[ObjectKey, ...]:
        """Return the main Service."""
        return REPLICAS.sources(release)

    @override
    def in_effect(
        self,
        objects: Mapping[ObjectKey, Object],
        revisions: Iterable[str],
        asked: Asked | None = None,
    ) -> Effect:
        """Read from the main Service whom callers in the cluster reach."""
        return REPLICAS.in_effect(objects, revisions, asked)


UNROUTED = Unrouted()
