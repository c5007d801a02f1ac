"""Looks at the registry beside the passes: where an alias points now.

A pass must never wait for MLflow, and an idle release must cost no call to the API server. So one task
for each release that follows an alias asks once an interval, and wakes the release only when the answer
is another than before.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from modelrelease_operator.api.registry import ModelRef
from modelrelease_operator.api.status import Reason
from modelrelease_operator.core.observed import Problem
from modelrelease_operator.errors import ReleaseError
from modelrelease_operator.runtime.mlflow import Missing, Registry
from modelrelease_operator.runtime.namespaced_name import NamespacedName
from modelrelease_operator.runtime.stores import Stores

INTERVAL = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What an alias was found to mean at the last look."""

    version: str | None = None
    problem: Problem | None = None


@dataclass(slots=True, kw_only=True)
class _Followed:
    ref: ModelRef
    looked: Looked
    task: asyncio.Task[None] | None = field(default=None)


class RegistryWatch:
    """What is known of the aliases that releases follow."""

    def __init__(
        self,
        registry: Registry | None = None,
        interval: timedelta = INTERVAL,
        stores: Stores | None = None,
        wake: Callable[[NamespacedName], None] = lambda _: None,
    ) -> None:
        """`wake` is called when a release has to be reconciled."""
        self.registry = registry
        self.stores = stores or Stores()
        """Where artifacts are read that an alias, or a release itself, names."""
        self._wake = wake
        self._interval = interval
        self._followed: dict[NamespacedName, _Followed] = {}

    def follow(self, key: NamespacedName, ref: ModelRef | None, known: str | None) -> None:
        """Look at an alias from now on; `known` is the version that it is taken to mean. None: at nothing."""
        before = self._followed.get(key)
        if before and before.ref == ref:
            return
        self.forget(key)
        if self.registry and ref and ref.alias:
            followed = _Followed(ref=ref, looked=Looked(version=known))
            followed.task = asyncio.create_task(self._watch(key, followed, self.registry))
            self._followed[key] = followed

    def found(self, key: NamespacedName, ref: ModelRef | None) -> Looked | None:
        """Return what the last look at this alias found, or None before there was one."""
        followed = self._followed.get(key)
        return followed.looked if followed and followed.ref == ref else None

    def forget(self, key: NamespacedName) -> None:
        """Look at a release's alias no more."""
        followed = self._followed.pop(key, None)
        if followed and followed.task:
            followed.task.cancel()

    async def stop(self) -> None:
        """End every task."""
        tasks = [followed.task for followed in self._followed.values() if followed.task]
        for key in list(self._followed):
            self.forget(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, key: NamespacedName, followed: _Followed, registry: Registry) -> None:
        while True:
            looked = await look(registry, followed.ref, before=followed.looked)
            if looked != followed.looked:
                followed.looked = looked
                self._wake(key)
            # Spread, so that many releases do not ask in the same second.
            await asyncio.sleep(self._interval.total_seconds() * random.uniform(0.9, 1.1))


async def look(registry: Registry, ref: ModelRef, *, before: Looked) -> Looked:
    """Ask where an alias points. Trouble changes nothing about the version that is known."""
    try:
        found = await registry.version(ref)
    except Missing as problem:
        return Looked(version=before.version, problem=_problem(Reason.ALIAS_MISSING, problem))
    except ReleaseError as problem:
        return Looked(version=before.version, problem=_problem(Reason.REGISTRY_UNAVAILABLE, problem))
    return Looked(version=found.registered.version)


def _problem(reason: Reason, problem: ReleaseError) -> Problem:
    return Problem(reason=reason, message=str(problem))
