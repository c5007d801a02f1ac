"""Looks at the bins of what serves, beside the passes: an idle release costs one query.

A pass asks the API server for everything, and would be dear every two minutes for every release. So
looks at drift happen while a release's task sleeps, and wake it only when there is something to
write. What is counted here is lost with the process: docs/decisions/0007 says why that is enough.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from modelrelease_operator.api.drift import Drift, DriftStatus
from modelrelease_operator.core.drift.sustained import is_news, with_windows
from modelrelease_operator.core.drift.windows import BinSample, Memory, look
from modelrelease_operator.core.observed import MetricsUnavailable, Window
from modelrelease_operator.runtime.metric_sources.source import MetricSource, Revisions
from modelrelease_operator.runtime.metrics import show_drift
from modelrelease_operator.runtime.namespaced_name import NamespacedName

log = logging.getLogger("modelrelease.operator")

LOOKS_PER_WINDOW = 5
"""Often enough that a pod which restarts loses little of what it counted."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftSubscription:
    """What a pass wants to be looked at until the next."""

    drift: Drift
    source: MetricSource
    arms: Revisions
    """Stable first, then the canary if there is one."""
    status: DriftStatus | None
    """What is written about stable."""

    @property
    def revisions(self) -> tuple[str, ...]:
        """Return the revisions: stable first, then the canary if there is one."""
        return tuple(self.arms.metrics)


@dataclass(slots=True)
class _Release:
    subscription: DriftSubscription
    due: datetime
    memories: dict[str, Memory] = field(default_factory=dict)


class DriftWatch:
    """What is remembered of the bins of every release."""

    def __init__(self, clock: Callable[[], datetime] = _utc_now) -> None:
        self._clock = clock
        self._releases: dict[NamespacedName, _Release] = {}

    def subscribe(self, key: NamespacedName, subscription: DriftSubscription) -> None:
        """Look at these revisions from now on; the counts of others are forgotten."""
        if not (subscription.drift.enabled and subscription.revisions):
            self.forget(key)
            return
        now = self._clock()
        release = self._releases.setdefault(key, _Release(subscription=subscription, due=now))
        release.subscription = subscription
        if any(revision not in release.memories for revision in subscription.revisions):
            release.due = now
        release.due = min(release.due, now + subscription.drift.span / LOOKS_PER_WINDOW)
        release.memories = {
            revision: release.memories.get(revision, Memory(opened=now))
            for revision in subscription.revisions
        }

    def forget(self, key: NamespacedName) -> None:
        """Look at a release no more."""
        self._releases.pop(key, None)

    def windows(self, key: NamespacedName) -> Mapping[str, tuple[Window, ...]]:
        """Return the last closed windows of each revision."""
        release = self._releases.get(key)
        return (
            {name: memory.windows for name, memory in release.memories.items()} if release else {}
        )

    def wait(self, key: NamespacedName) -> timedelta | None:
        """Return how long until the next look, or None where nothing is looked at."""
        release = self._releases.get(key)
        return max(timedelta(0), release.due - self._clock()) if release else None

    async def look(self, key: NamespacedName) -> bool:
        """Look once; return whether a pass has something to write."""
        release = self._releases.get(key)
        if release is None:
            return False
        subscription = release.subscription
        drift = subscription.drift
        # Before anything can fail: a look that does costs one look, and is not repeated without
        # end.
        release.due = self._clock() + drift.span / LOOKS_PER_WINDOW
        samples = await subscription.source.read_bins(subscription.arms)
        now = self._clock()
        release.due = now + drift.span / LOOKS_PER_WINDOW
        if isinstance(samples, MetricsUnavailable):
            log.info("drift was not looked at: %s", samples.message, extra={"fields": _fields(key)})
            samples = ()
        stable = subscription.revisions[0]
        before = release.memories[stable].windows
        release.memories = {
            revision: self._looked(key, memory, samples, revision, drift, now)
            for revision, memory in release.memories.items()
        }
        after = release.memories[stable].windows
        if after != before:
            show_drift(key, after[-1].features)
        return _worth_a_pass(subscription, release.memories)

    def _looked(
        self, key: NamespacedName, memory: Memory, samples: Sequence[BinSample], revision: str,
        drift: Drift,
        now: datetime,
    ) -> Memory:  # fmt: skip
        mine = [sample for sample in samples if sample.revision == revision]
        after = look(memory, mine, settings=drift, now=now)
        problem = _problem(after)
        if problem and problem != _problem(memory):
            log.warning("drift: %s", problem, extra={"fields": _fields(key)})
        return after


def _problem(memory: Memory) -> str:
    """Return what could not be read lately."""
    return memory.problem or (memory.windows[-1].problem if memory.windows else "")


def _worth_a_pass(subscription: DriftSubscription, memories: Mapping[str, Memory]) -> bool:
    stable, *others = subscription.revisions
    before = subscription.status or DriftStatus(revision=stable)
    after = with_windows(before, memories[stable].windows, subscription.drift)
    # A canary is reconciled every few seconds anyway, so what it is about needs no pass of its own.
    return not others and is_news(before, after)


def _fields(key: NamespacedName) -> dict[str, str]:
    return {"namespace": key[0], "release": key[1]}
