"""Where faults are tried: one cluster, its versions of a model, its node."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import Any, Final

from benchmarks.chaos.figures import Ending
from benchmarks.chaos.node import Node
from benchmarks.chaos.trials import (
    BEGIN,
    SETTLE_SECONDS,
    Bystander,
    BystanderByGateway,
    Trial,
    TrialByGateway,
    await_end,
    await_status,
    side_by_side,
)
from benchmarks.rollouts.api import Api
from benchmarks.rollouts.figures import PROMOTED, ROLLED_BACK, failures
from benchmarks.rollouts.models import FAILING, HEALTHY
from benchmarks.rollouts.objects import Artifact
from cluster import Cluster
from cluster.gateways import TRAEFIK
from cluster.progress import say

END_SECONDS: Final = 420
"""For a release under a fault: longer than a node that is gone is waited for, and a step."""
PAIR: Final = {PROMOTED: 1, ROLLED_BACK: 1}
"""How a healthy version and one that fails on a tenth of its requests end without a fault."""

Object = dict[str, Any]


@dataclass(kw_only=True)
class Stage:
    """What the faults share."""

    cluster: Cluster
    node: Node
    artifacts: Mapping[str, Artifact]
    rps: float
    over: Event = field(default_factory=Event)
    """Set when the whole run is to end."""
    _beside: dict[bool, Bystander] = field(default_factory=dict)

    def trial(self, title: str, *, by_gateway: bool = False) -> Trial:
        """Return a release that is not applied yet."""
        kind = TrialByGateway if by_gateway else Trial
        return kind(
            cluster=self.cluster,
            api=Api(kubeconfig=self.cluster.kubeconfig),
            artifacts=self.artifacts,
            gateway=TRAEFIK,
            title=title,
            over=self.over,
        )

    def bystander(self, *, by_gateway: bool) -> Bystander:
        """Return the pods without the operator, with clients; they are begun once."""
        if by_gateway not in self._beside:
            kind = BystanderByGateway if by_gateway else Bystander
            made = kind(
                cluster=self.cluster,
                api=Api(kubeconfig=self.cluster.kubeconfig),
                artifacts=self.artifacts,
                gateway=TRAEFIK,
            )
            made.begin(BEGIN, self.rps)
            self._beside[by_gateway] = made
        return self._beside[by_gateway]

    def leave(self) -> None:
        """Remove the pods without the operator: what comes next begins anew, and on its nodes."""
        for bystander in self._beside.values():
            bystander.end()
        self._beside.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    """What came of a fault in the middle of two releases."""

    endings: list[Ending]
    beside: int
    """Requests that failed at the same pods without the operator."""


def in_the_middle(
    stage: Stage,
    name: str,
    strike: Callable[[], None],
    *,
    by_gateway: bool = False,
    before: Callable[[], None] | None = None,
) -> Struck:
    """Release a healthy version and a failing one, and strike when both have clients.

    `before` happens before both are applied; then `strike` follows at once.
    """
    good = stage.trial(f"{name}-good", by_gateway=by_gateway)
    bad = stage.trial(f"{name}-failing", by_gateway=by_gateway)
    beside = stage.bystander(by_gateway=by_gateway)
    side_by_side(stage.over, *(partial(each.begin, BEGIN, stage.rps) for each in (good, bad)))
    beside.release("")
    if before:
        before()
    side_by_side(stage.over, partial(good.release, HEALTHY), partial(bad.release, FAILING))
    if not before:
        side_by_side(stage.over, *(partial(_has_clients, each) for each in (good, bad)))
        say(f"{name}: both canaries have clients")
    strike()
    endings = ended(stage, ((good, HEALTHY), (bad, FAILING)), faulty=(FAILING,))
    lost = failures(beside.before, beside.api.counts(beside.space))
    for trial in (good, bad):
        trial.end()
    return Struck(endings=endings, beside=sum(lost.values()))


def _has_clients(trial: Trial) -> None:
    # Already over is over: the failing one may be quick.
    phases = ("Progressing", "Promoting", "RollingBack")
    await_status(
        trial,
        "the canary to have clients",
        lambda status: status.get("phase") in phases or "rejected" in status,
        within=180,
    )


def ended(
    stage: Stage,
    releases: Sequence[tuple[Trial, str]],
    *,
    faulty: Sequence[str] = (),
    within: float = END_SECONDS,
) -> list[Ending]:
    """Wait until all have ended, and for what their clients still wait for; return how."""
    outcomes: dict[str, str] = {}

    def wait_for(trial: Trial, version: str) -> None:
        outcomes[trial.title] = await_end(trial, version, within)
        say(f"{trial.title}: version {version} is {outcomes[trial.title]}")

    side_by_side(stage.over, *(partial(wait_for, *each) for each in releases))
    time.sleep(SETTLE_SECONDS)
    return [
        trial.ending(version, outcomes[trial.title], faulty=faulty) for trial, version in releases
    ]
