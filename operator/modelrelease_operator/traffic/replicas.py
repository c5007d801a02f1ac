"""Weights from replica counts and one Service's selector, for clusters without a gateway.

kube-proxy spreads connections evenly over the ready pods of a Service, so the canary's share is
its part of the pods. Stable keeps all its replicas while a canary is under test: going back must
never meet too few pods. So the share is at most one half.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any

from typing_extensions import override

from modelrelease_operator.api import names
from modelrelease_operator.api.spec import Canary
from modelrelease_operator.traffic.provider import (
    Asked,
    Effect,
    Object,
    ObjectKey,
    Route,
    Split,
    TrafficProvider,
)

HALF_A_PERCENT = 0.5
SERVICE = "Service"


class Replicas(TrafficProvider):
    """The pods of both revisions behind one Service: works in every cluster."""

    leads_to_arms = False
    # The selector takes a pod in when it is ready, and not before.
    endpoints_delay = timedelta(0)

    @override
    def takes(self, canary: Canary) -> bool:
        """Take every release."""
        return True

    @override
    def deals_by_request(self, canary: Canary) -> bool:
        """Return False: kube-proxy spreads connections, and their clients keep them."""
        return False

    @override
    def split(self, *, weight: int, replicas: int) -> Split:
        """Return the pods whose share comes closest to `weight` percent."""
        return split(weight=weight, replicas=replicas)

    @override
    def note(self, *, weight: int, replicas: int) -> str | None:
        """Say why the share is not the one asked for; None when it is, within half a percent."""
        return rounding_note(weight=weight, chosen=split(weight=weight, replicas=replicas))

    @override
    def objects(self, route: Route) -> list[dict[str, Any]]:
        """Return the Service that clients call."""
        main = names.service_names(route.release)[0]
        return [service(main, selector_for(route.release, route.revisions), route.port)]

    @override
    def sources(self, release: str) -> tuple[ObjectKey, ...]:
        """Return the Service that clients call."""
        return ((SERVICE, names.service_names(release)[0]),)

    @override
    def in_effect(
        self,
        objects: Mapping[ObjectKey, Object],
        revisions: Iterable[str],
        asked: Asked | None = None,
    ) -> Effect:
        """Read the selector back."""
        for main in objects.values():
            return Effect(revisions=routed_by(main["spec"].get("selector") or {}, revisions))
        return Effect()

    @override
    def made(self, release: str) -> tuple[ObjectKey, ...]:
        """Return nothing: the Service stays whoever deals."""
        return ()


REPLICAS = Replicas()


def service(name: str, selector: dict[str, str], port: int | str) -> dict[str, Any]:
    """Return a Service whose pods listen at `port`, without an owner."""
    ports = [{"name": "http", "port": 80, "targetPort": port, "protocol": "TCP"}]
    return {
        "apiVersion": "v1",
        "kind": SERVICE,
        "metadata": {"name": name},
        "spec": {"selector": selector, "ports": ports},
    }


@lru_cache(maxsize=4096)
def split(*, weight: int, replicas: int) -> Split:
    """Return the pods whose share is closest to `weight` percent (1 to 99), never 0 or above half.

    `replicas` is what stable runs, and goes on running. Of two equally close counts the smaller
    wins: fewer users meet an unproven version.
    """
    best = min(
        range(1, replicas + 1), key=lambda canary: (abs(share(canary, replicas) - weight), canary)
    )
    return Split(stable=replicas, canary=best, weight=share(best, replicas))


def share(canary: int, stable: int) -> float:
    """Return the canary's share of the pods, in percent."""
    return 100 * canary / (stable + canary)


def rounding_note(*, weight: int, chosen: Split) -> str | None:
    """Say why the share is not the one asked for, or None when it is (within half a percent)."""
    if abs(chosen.weight - weight) <= HALF_A_PERCENT:
        return None
    wanted = f"{weight} % cannot be had with {chosen.stable} stable replicas"
    if weight > 50 and chosen.canary == chosen.stable:
        return (
            f"{wanted}, which all stay while a canary is tested: {chosen.weight:.0f} % is the most"
        )
    return f"{wanted}: {chosen.canary} canary replicas give {chosen.weight:.0f} %"


def selector_for(release: str, revisions: Iterable[str]) -> dict[str, str]:
    """Select one revision's pods, or those of every revision of the release when there are more.

    Open to more than one only while no third revision has pods; `decide` sees to that.
    """
    wanted = sorted(revisions)
    selector = {names.LABEL_RELEASE: release}
    if len(wanted) == 1:
        selector[names.LABEL_REVISION] = wanted[0]
    return selector


def routed_by(selector: Mapping[str, str], revisions: Iterable[str]) -> frozenset[str]:
    """Read a selector back: the one revision that it names, or all that exist."""
    revision = selector.get(names.LABEL_REVISION)
    return frozenset({revision}) if revision else frozenset(revisions)
