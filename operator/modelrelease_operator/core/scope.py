"""One value for a pass: what is asked for, remembered and observed, at one moment.

Phases and transitions take it and hand it on changed, so that none of them works out again who the
arms are.
"""

from datetime import datetime, timedelta
from typing import Any, Self

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import (
    CanaryStatus,
    HistoryEntry,
    Phase,
    Reason,
    StableStatus,
    Status,
    Target,
)
from modelrelease_operator.core.desired import Decision, Desired, Notice
from modelrelease_operator.core.immutable import Value, immutable
from modelrelease_operator.core.observed import Observed, Workload
from modelrelease_operator.core.steps import last_alike
from modelrelease_operator.errors import Invalid
from modelrelease_operator.traffic.provider import Split
from modelrelease_operator.traffic.registry import split_of

JUDGED = (Phase.PROGRESSING, Phase.PAUSED, Phase.PROMOTING)
"""Phases in which a canary has clients, or waits to have them again."""


@immutable
class Scope(Value):
    """What one pass over one release is about."""

    spec: ReleaseSpec
    status: Status
    observed: Observed
    now: datetime
    passed: float = 0.0
    """Seconds since the last pass that count (core/release/elapsed.py)."""
    notices: tuple[Notice, ...] = ()
    """What was worth an Event on the way to the decision."""

    @property
    def stable(self) -> StableStatus:
        """Stable, which every phase but the first has."""
        stable = self.status.stable
        if stable is None:
            raise Invalid(self._without("stable", Phase.PENDING))
        return stable

    @property
    def canary(self) -> CanaryStatus:
        """The canary, which every phase of a release that goes on has."""
        canary = self.status.canary
        if canary is None:
            raise Invalid(self._without("canary", Phase.STABLE))
        return canary

    def _without(self, arm: str, start: Phase) -> str:
        phase = self.status.phase
        return (
            f"status.{arm} is missing in phase {phase}: set status.phase to {start} to start over"
        )

    @property
    def arms(self) -> frozenset[str]:
        """The revisions of stable and canary."""
        return frozenset({self.stable.revision, self.canary.revision})

    @property
    def replicas(self) -> int:
        """How many pods serve at full strength."""
        return self.spec.serving.replicas

    @property
    def split(self) -> Split:
        """The pods for the weight that was asked for, or for the first step's before any was."""
        weight = (
            self.canary.requested_weight or self.spec.canary.plan[last_alike(self.spec, 0)].weight
        )
        return split_of(self.spec, weight)

    @property
    def canary_workload(self) -> Workload | None:
        """The canary's Deployment and pods, if it has any."""
        return self.observed.workloads.get(self.canary.revision)

    @property
    def canary_serves(self) -> bool:
        """Whether any pod of the canary is ready."""
        return self.observed.ready(self.canary.revision, 1)

    @property
    def stable_serves(self) -> bool:
        """Whether any pod of stable is ready."""
        return self.observed.ready(self.stable.revision, 1)

    @property
    def strangers(self) -> list[str]:
        """Revisions beside stable and canary that have pods: an open Service would reach them."""
        arms = self.arms
        return sorted(
            revision
            for revision, workload in self.observed.workloads.items()
            if workload.pods and revision not in arms
        )

    def ready_pods(self, revision: str) -> int:
        """Return how many pods of a revision are ready."""
        workload = self.observed.workloads.get(revision)
        return workload.ready if workload else 0

    @property
    def canary_pods_wanted(self) -> int:
        """The replicas that the canary's Deployment asks for now: a rollback changes none."""
        workload = self.canary_workload
        return max(1, workload.wanted) if workload else 1

    def with_status(self, **changes: Any) -> Self:
        """Return the scope with fields of the status changed."""
        return self.but(status=self.status.but(**changes))

    def with_canary(self, **changes: Any) -> Self:
        """Return the scope with fields of the canary changed."""
        return self.with_status(canary=self.canary.but(**changes))

    def with_history(self, target: Target, outcome: Reason, message: str) -> Self:
        """Return the scope with a line added to the history."""
        line = HistoryEntry(
            revision=target.revision,
            version=target.version,
            outcome=outcome,
            message=message,
            at=self.now,
        )
        return self.but(status=self.status.with_history(line))

    def noticing(self, reason: Reason, message: str, *, warning: bool = False) -> Self:
        """Return the scope with something more that is worth an Event."""
        notice = Notice(reason=reason, message=message, warning=warning)
        return self.but(notices=(*self.notices, notice))

    def decision(self, desired: Desired, requeue: timedelta | None = None) -> Decision:
        """Return the decision for a desired world, with what is remembered and noticed."""
        return Decision(desired=desired, status=self.status, requeue=requeue, notices=self.notices)


def judged_pair(status: Status) -> tuple[Target, Target] | None:
    """Return canary and stable where evidence is read:
    also after a promotion, while the old one is warm.
    """
    if status.stable is None:
        return None
    if status.phase in JUDGED and status.canary:
        return status.canary, status.stable
    if status.phase is Phase.STABLE and status.previous and status.previous.proven:
        return status.stable, status.previous
    return None
