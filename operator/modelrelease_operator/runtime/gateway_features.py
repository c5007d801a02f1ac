"""What the Gateways that a release names cannot do, as far as their class says it.

Asked again once a minute, and only for releases that need what not every implementation does. A
class that lists nothing, or that the operator may not read, is no reason to refuse: then the
route's own conditions say it, if anybody does.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from modelrelease_operator.api.routing import GatewayAPI
from modelrelease_operator.errors import ReleaseError
from modelrelease_operator.runtime.kube import Kube
from modelrelease_operator.traffic.cohort import features_for
from modelrelease_operator.traffic.gateway_api import SESSION_PERSISTENCE

KNOWN_SECONDS = 60.0
CRD = "CustomResourceDefinition"
ROUTES = "httproutes.gateway.networking.k8s.io"
NO_SESSIONS = (
    f"spec.canary.routing.gatewayAPI.{SESSION_PERSISTENCE} needs the Gateway API's experimental "
    "channel: HTTPRoute has no such field in this cluster; install that channel, or take it out"
)


@dataclass(frozen=True, slots=True)
class Features:
    """What a Gateway's class says that it does."""

    gateway_class: str
    names: frozenset[str]


@dataclass(slots=True)
class GatewayFeatures:
    """The features of Gateways, remembered for a minute."""

    _known: dict[tuple[str, str], tuple[float, Features | None]] = field(default_factory=dict)
    _sessions: tuple[float, bool] = (0.0, True)
    """Until when it is believed whether a rule may have sessions, and whether it may."""

    async def missing(self, kube: Kube, settings: GatewayAPI, namespace: str) -> str | None:
        """Say what of a release's routing a Gateway cannot do; None as far as nobody says so."""
        if settings.session_persistence and not await self._keeps_sessions(kube):
            return NO_SESSIONS
        needed = features_for(settings.cohort) if settings.cohort else {}
        if not needed:
            return None
        for ref in settings.parent_refs:
            gateway = (ref.namespace or namespace, ref.name)
            features = await self._of(kube, gateway)
            if features is None:
                continue
            lacking = {name: field for name, field in needed.items() if name not in features.names}
            for sentence in _sentences(lacking, gateway, features):
                return sentence
        return None

    async def _keeps_sessions(self, kube: Kube) -> bool:
        """Return whether a rule has a field for sessions here; True where that cannot be known."""
        until, known = self._sessions
        if time.monotonic() > until:
            known = await _has_sessions(kube)
            self._sessions = (time.monotonic() + KNOWN_SECONDS, known)
        return known

    async def _of(self, kube: Kube, gateway: tuple[str, str]) -> Features | None:
        until, known = self._known.get(gateway, (0.0, None))
        if time.monotonic() > until:
            known = await _read(kube, gateway)
            self._known[gateway] = (time.monotonic() + KNOWN_SECONDS, known)
        return known


async def _has_sessions(kube: Kube) -> bool:
    try:
        crd = await kube.get(CRD, "", ROUTES)
        (rules,) = (
            version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["rules"]
            for version in crd["spec"]["versions"]
            if version["name"] == "v1"
        )
    except (ReleaseError, LookupError, ValueError):
        return True
    return SESSION_PERSISTENCE in rules["items"].get("properties", {})


def _sentences(
    lacking: dict[str, str], gateway: tuple[str, str], features: Features
) -> Iterator[str]:
    for name, what in lacking.items():
        yield (
            f"spec.canary.routing.gatewayAPI.{what} needs the feature {name}, which GatewayClass "
            f"{features.gateway_class} of Gateway {'/'.join(gateway)} does not list in "
            "status.supportedFeatures; find the cohort by headers, or name another Gateway"
        )


async def _read(kube: Kube, gateway: tuple[str, str]) -> Features | None:
    """Return what a Gateway's class lists; None where that cannot be known."""
    try:
        live = await kube.get("Gateway", *gateway)
        name: str = live["spec"]["gatewayClassName"]
        listed = (await kube.get("GatewayClass", "", name)).get("status", {})
    except ReleaseError:
        return None
    names = frozenset(each["name"] for each in listed.get("supportedFeatures") or ())
    return Features(name, names) if names else None
