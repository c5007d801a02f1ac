"""Looks at the registry beside the passes: where an alias points now.

A pass must never wait for MLflow, and an idle release must cost no call to the API server. So one
task for each release that follows an alias asks once an interval, and wakes the release only when
the answer is another than before.
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
class AliasLook:
    """What an alias was found to mean at the last look."""

    version: str | None = None
    problem: Problem | None = None


@dataclass(slots=True, kw_only=True)
class _Subscription:
    ref: ModelRef
    looked: AliasLook
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
        self._subscriptions: dict[NamespacedName, _Subscription] = {}

    def subscribe(self, key: NamespacedName, ref: ModelRef | None, known: str | None) -> None:
        """Look at an alias from now on, None for no more; `known` is the version it should mean."""
        before = self._subscriptions.get(key)
        if before and before.ref == ref:
            return
        self.forget(key)
        if self.registry and ref and ref.alias:
            subscription = _Subscription(ref=ref, looked=AliasLook(version=known))
            subscription.task = asyncio.create_task(self._watch(key, subscription, self.registry))
            self._subscriptions[key] = subscription

    def found(self, key: NamespacedName, ref: ModelRef | None) -> AliasLook | None:
        """Return what the last look at this alias found, or None before there was one."""
        subscription = self._subscriptions.get(key)
        return subscription.looked if subscription and subscription.ref == ref else None

    def forget(self, key: NamespacedName) -> None:
        """Look at a release's alias no more."""
        subscription = self._subscriptions.pop(key, None)
        if subscription and subscription.task:
            subscription.task.cancel()

    async def stop(self) -> None:
        """End every task."""
        tasks = [
            subscription.task for subscription in self._subscriptions.values() if subscription.task
        ]
        for key in list(self._subscriptions):
            self.forget(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(
        self, key: NamespacedName, subscription: _Subscription, registry: Registry
    ) -> None:
        while True:
            looked = await look(registry, subscription.ref, before=subscription.looked)
            if looked != subscription.looked:
                subscription.looked = looked
                self._wake(key)
            # Spread, so that many releases do not ask in the same second.
            await asyncio.sleep(self._interval.total_seconds() * random.uniform(0.9, 1.1))


async def look(registry: Registry, ref: ModelRef, *, before: AliasLook) -> AliasLook:
    """Ask where an alias points. Trouble changes nothing about the version that is known."""
    try:
        version = await registry.version(ref)
    except Missing as problem:
        return AliasLook(version=before.version, problem=_problem(Reason.ALIAS_MISSING, problem))
    except ReleaseError as problem:
        return AliasLook(
            version=before.version, problem=_problem(Reason.REGISTRY_UNAVAILABLE, problem)
        )
    return AliasLook(version=version.registered.version)


def _problem(reason: Reason, problem: ReleaseError) -> Problem:
    return Problem(reason=reason, message=str(problem))
