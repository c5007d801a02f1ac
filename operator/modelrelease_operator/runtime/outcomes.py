"""Tells the registry what became of a version: in a task of its own, so that no pass waits for it.

Only where the person who installed the operator allowed it. A failure is counted, logged and tried
again; a release never depends on it.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from modelrelease_operator.api.registry import CHAMPION, ModelRef
from modelrelease_operator.api.status import RegistryOutcome
from modelrelease_operator.core.observed import RecordedOutcome
from modelrelease_operator.errors import Invalid, ReleaseError
from modelrelease_operator.runtime.metrics import REGISTRY_WRITES
from modelrelease_operator.runtime.mlflow import Missing, Registry
from modelrelease_operator.runtime.namespaced_name import NamespacedName

log = logging.getLogger("modelrelease.operator")

LONGEST_TAG = 1000
"""Characters of a sentence that becomes a tag: MLflow takes 5000, people read less."""


@dataclass(slots=True)
class _Release:
    pending: Sequence[RegistryOutcome] = ()
    recorded: dict[str, RecordedOutcome] = field(default_factory=dict)
    """By the outcome's key."""
    task: asyncio.Task[None] | None = None


class OutcomeRecorder:
    """Records the outcomes of all releases; one without a registry records none."""

    def __init__(
        self,
        registry: Registry | None = None,
        retry: timedelta = timedelta(minutes=1),
        wake: Callable[[NamespacedName], None] = lambda _: None,
    ) -> None:
        """`wake` is called when an outcome of a release was recorded."""
        self._registry = registry
        self._retry = retry
        self._wake = wake
        self._releases: dict[NamespacedName, _Release] = {}

    def recorded(self, key: NamespacedName) -> Mapping[str, RecordedOutcome] | None:
        """Return what was recorded and may be forgotten, or None where nothing is recorded."""
        if self._registry is None:
            return None
        release = self._releases.get(key)
        return dict(release.recorded) if release else {}

    def record(self, key: NamespacedName, pending: Sequence[RegistryOutcome]) -> None:
        """Record these outcomes of a release, as soon as the registry takes them."""
        release = self._releases.setdefault(key, _Release())
        release.pending = pending
        kept = {outcome.key for outcome in pending}
        release.recorded = {
            name: result for name, result in release.recorded.items() if name in kept
        }
        if self._registry and pending and (release.task is None or release.task.done()):
            release.task = asyncio.create_task(self._work(key, release, self._registry))

    def forget(self, key: NamespacedName) -> None:
        """Stop recording for a release that is gone."""
        release = self._releases.pop(key, None)
        if release and release.task:
            release.task.cancel()

    async def stop(self) -> None:
        """End every task; what is not recorded is in status."""
        tasks = [release.task for release in self._releases.values() if release.task]
        for key in list(self._releases):
            self.forget(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, key: NamespacedName, release: _Release, registry: Registry) -> None:
        """Record what is pending, in order, until nothing is."""
        while outcome := next(
            (waiting for waiting in release.pending if waiting.key not in release.recorded), None
        ):
            try:
                result = await record(registry, outcome, release=f"{key[0]}/{key[1]}")
            except Invalid as problem:
                message = f"the outcome of {outcome.registered} was not recorded: {problem}"
                result = RecordedOutcome(message=message, done=False)
            except ReleaseError as problem:
                REGISTRY_WRITES.labels("failed").inc()
                log.warning(
                    "an outcome was not recorded and will be: %s", problem, extra=_fields(key)
                )
                await asyncio.sleep(self._retry.total_seconds())
                continue
            REGISTRY_WRITES.labels("done").inc()
            release.recorded[outcome.key] = result
            self._wake(key)


async def record(registry: Registry, outcome: RegistryOutcome, *, release: str) -> RecordedOutcome:
    """Tag the version, and move `champion` where that is asked for; return what was done.

    `champion` is moved only from the version that served before, or from nowhere. A person who
    pointed it to something else meant it.
    """
    tags = {
        "outcome": outcome.fate,
        "reason": f"{outcome.reason}: {outcome.message}"[:LONGEST_TAG],
        "release": release,
        "at": outcome.at.isoformat(),
    }
    for name, value in tags.items():
        await registry.set_tag(outcome.registered, f"modelrelease.{name}", value)
    message = f"{outcome.registered} is tagged {outcome.fate}"
    if not outcome.moves_champion:
        return RecordedOutcome(message=message)
    name, version = outcome.registered.name, outcome.registered.version
    now = await _champion(registry, name)
    if now == version:
        return RecordedOutcome(message=f"{message}; it is {CHAMPION}")
    if now not in (None, outcome.champion_before):
        left = f"{CHAMPION} was pointed to version {now} by somebody else and stays there"
        remedy = "point it to the version that serves, and it is moved from then on"
        return RecordedOutcome(message=f"{message}; {left}: {remedy}", done=False)
    await registry.set_alias(name, CHAMPION, version)
    return RecordedOutcome(
        message=f"{message}; {CHAMPION} moved to it from {f'version {now}' if now else 'nowhere'}"
    )


async def _champion(registry: Registry, name: str) -> str | None:
    try:
        return (await registry.version(ModelRef(name=name, alias=CHAMPION))).registered.version
    except Missing:
        return None


def _fields(key: NamespacedName) -> dict[str, dict[str, str]]:
    return {"fields": {"namespace": key[0], "release": key[1]}}
