"""What is measured of this operator alone: its shares by the Gateway, and releases in a row."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from benchmarks.rollouts.api import Api
from benchmarks.rollouts.contenders import Contender, Ours, OursByGateway
from benchmarks.rollouts.figures import (
    PROMOTED,
    ROLLED_BACK,
    Share,
    Streak,
    answered,
    failures,
    total,
)
from benchmarks.rollouts.models import FAULTY, GOOD
from benchmarks.rollouts.objects import Artifact
from cluster import Cluster
from cluster.gateways import TRAEFIK, Gateway
from cluster.progress import say
from examples.waiting import wait_until
from testbed.releases import SOON_SURE

SHARES: Final = (1, 5, 25, 50, 99)
SHARE_REQUESTS: Final = 20_000
SHARE_RPS: Final = 250.0
STREAK_RPS: Final = 125.0
STREAK_REQUESTS: Final = 100_000
PAIRS: Final = 5
"""Promotions, and as many rollbacks."""
SETTLE_SECONDS: Final = 15.0

Kind = TypeVar("Kind", bound=Ours)


class SharesByGateway(OursByGateway):
    """A release whose weight stays until its spec goes on."""

    name = "shares"

    def weigh(self, version: str, weight: int) -> None:
        """Ask for a weight for a version, which only a person's approval would end."""
        canary = {"steps": [{"weight": weight}], "approval": "Manual"}
        self.parts = {"canary": canary, "serving": {**_SMALL}}
        self.release(version)


class StreakByReplicas(Ours):
    """Releases in a row, weights by replica counts."""

    name = "streak-replicas"


class StreakByGateway(OursByGateway):
    """Releases in a row, weights by the Gateway."""

    name = "streak-gateway"


_SMALL: Final[dict[str, Any]] = {
    "replicas": 2,
    "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}},
}
QUICK: Final[dict[str, Any]] = {
    "serving": _SMALL,
    "canary": {"steps": [{"weight": 33, "bake": "5s"}], "keepPrevious": "1s"},
    "analysis": SOON_SURE,
}
"""Decided as soon as few requests allow: what is counted here is lost requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where something is measured, with what, and how long it may take."""

    cluster: Cluster
    api: Api
    artifacts: Mapping[str, Artifact]
    rest: Callable[[], float]
    """How many seconds are left of the whole run."""
    gateway: Gateway = TRAEFIK

    def release(self, kind: type[Kind], parts: Mapping[str, Any]) -> Kind:
        """Return a release that is not applied yet."""
        return kind(
            cluster=self.cluster,
            api=self.api,
            artifacts=self.artifacts,
            gateway=self.gateway,
            parts=parts,
        )


def shares(setting: Setting, *, requests: int, rps: float) -> list[Share]:
    """Count whose requests were at each weight, each with a version that was not there before."""
    release = setting.release(SharesByGateway, {"serving": _SMALL})
    stable, *others = setting.artifacts
    counted: list[Share] = []
    release.begin(stable, rps)
    for weight, version in zip(SHARES, others, strict=False):
        release.weigh(version, weight)
        _await_weight(release, weight, min(120, setting.rest()))
        within = min(setting.rest(), 60 + 2 * requests / rps)
        counted.append(_count(release, weight, version, requests, within))
        say(f"weight {weight}: {counted[-1].percent:.2f} % of {counted[-1].requests:,} requests")
        release.weigh(stable, weight)
        _await(release, "the canary to be gone", _is_alone, min(120, setting.rest()))
    release.end()
    return counted


def _await_weight(release: SharesByGateway, weight: int, within: float) -> None:
    """Wait until a weight is in effect."""

    def is_in_effect(status: Mapping[str, Any]) -> bool:
        return status.get("weight") == weight and "stepSince" in status.get("canary", {})

    _await(release, f"weight {weight} to be in effect", is_in_effect, within)


def _await(
    release: Ours, what: str, is_so: Callable[[Mapping[str, Any]], bool], within: float
) -> None:
    wait_until(f"{release.name}: {what}", release.status, is_so, within=within)


def _is_alone(status: Mapping[str, Any]) -> bool:
    return status.get("phase") == "Stable" and "canary" not in status


def _count(release: Ours, weight: int, version: str, requests: int, within: float) -> Share:
    """Count answers until there are so many."""

    def look() -> dict[tuple[str, str], int]:
        return dict(release.api.counts(release.space))

    before = look()
    after = wait_until(
        f"{requests:,} requests at weight {weight}",
        look,
        lambda counts: answered(counts) - answered(before) >= requests,
        within=within,
    )
    of_canary = total(after, version=version) - total(before, version=version)
    return Share(weight=weight, requests=answered(after) - answered(before), canary=of_canary)


def streak(kind: type[Ours], setting: Setting, *, requests: int, rps: float) -> Streak:
    """Promote and roll back in turn, and go on until there were enough requests."""
    release, api = setting.release(kind, QUICK), setting.api
    release.begin(GOOD[0], rps)
    before, began = api.counts(release.space), time.monotonic()
    probes_before = api.probes_failed(setting.gateway.namespace)
    for number in range(PAIRS):
        _released(release, GOOD[number + 1], PROMOTED, setting.rest)
        _released(release, FAULTY[number], ROLLED_BACK, setting.rest)
        say(f"{release.name}: {number + 1} of {PAIRS} promotions and rollbacks")
    wait_until(
        f"{requests:,} requests of {release.name}",
        lambda: total(api.counts(release.space)) - total(before),
        lambda count: count >= requests,
        within=setting.rest(),
        every=2,
    )
    time.sleep(SETTLE_SECONDS)
    after = api.counts(release.space)
    by_others = {key: count for key, count in after.items() if key[0] not in FAULTY}
    probes = api.probes_failed(setting.gateway.namespace) - probes_before
    release.end()
    return Streak(
        provider=release.name.removeprefix("streak-"),
        promotions=PAIRS,
        rollbacks=PAIRS,
        requests=total(after) - total(before),
        lost=failures(before, by_others),
        seconds=time.monotonic() - began,
        gateway_probes_failed=probes if release.by_gateway else None,
    )


def _released(release: Contender, version: str, expected: str, rest: Callable[[], float]) -> None:
    release.release(version)
    wait_until(
        f"{release.name}: version {version} to be {expected}",
        lambda: release.outcome(version),
        lambda outcome: outcome == expected,
        within=min(240, rest()),
    )
