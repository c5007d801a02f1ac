"""One task for each release, the only writer of what it owns.

kopf tells us that something happened; nobody here cares what. A release's task sleeps until it is
woken or until the time that the last pass asked for, and then looks at everything.

No finalizer: what a release owns carries an owner reference, so deleting it works also while the
operator, Prometheus or half of the cluster is down.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from modelrelease_operator.errors import Gone, ReleaseError
from modelrelease_operator.runtime.metrics import ERRORS, PASSES
from modelrelease_operator.runtime.notify import Notifier
from modelrelease_operator.runtime.reconcile import Reconciler
from modelrelease_operator.runtime.telemetry import Reporter

log = logging.getLogger("modelrelease.operator")

Key = tuple[str, str]
"""Namespace and name."""

QUIET_SECONDS = 0.2
"""Events that come together are looked at together."""
LONGEST_PAUSE_SECONDS = 60.0


@dataclass(slots=True)
class _Worker:
    task: asyncio.Task[None]
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Workers:
    """The tasks of all releases."""

    def __init__(self, reconciler: Reconciler, notifier: Notifier | None = None) -> None:
        self._reconciler, self._notifier = reconciler, notifier
        self._workers: dict[Key, _Worker] = {}
        self._seen: dict[Key, object] = {}

    def changed(self, key: Key, fingerprint: object) -> None:
        """Wake a release's task if what a person can change is not what it was."""
        if self._seen.get(key) != fingerprint or key not in self._workers:
            self._seen[key] = fingerprint
            self.wake(key)

    def wake(self, key: Key) -> None:
        """Have a release looked at now; start its task if there is none."""
        worker = self._workers.get(key)
        if worker is None or worker.task.done():
            wake = asyncio.Event()
            task = asyncio.create_task(self._work(key, wake), name=f"release {key[0]}/{key[1]}")
            self._workers[key] = worker = _Worker(task=task, wake=wake)
            task.add_done_callback(self._forgetter(key, task))
        worker.wake.set()

    def wake_known(self, key: Key) -> None:
        """Wake a release's task because something that it owns changed."""
        if key in self._workers:
            self.wake(key)

    async def stop(self) -> None:
        """End every task; what they were doing is done again by the next operator."""
        tasks = [worker.task for worker in self._workers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forgetter(self, key: Key, task: asyncio.Task[None]) -> Callable[[asyncio.Task[None]], None]:
        def forget(_: asyncio.Task[None]) -> None:
            worker = self._workers.get(key)
            if worker is not None and worker.task is task:
                del self._workers[key]
                self._seen.pop(key, None)

        return forget

    async def _work(self, key: Key, wake: asyncio.Event) -> None:
        """Pass over one release until it is gone. No error ends this loop: a release must not be orphaned."""
        reporter = Reporter(self._reconciler.kube, *key, self._notifier)
        failures = 0
        while True:
            wake.clear()
            started = time.monotonic()
            try:
                requeue = await self._reconciler.pass_over(*key, reporter)
                delay = requeue.total_seconds() if requeue is not None else None
                failures = 0
                PASSES.labels("done").observe(time.monotonic() - started)
            except Gone:
                reporter.forget()
                self._reconciler.forget(*key)
                return
            except Exception as problem:
                failures += 1
                delay = _pause(failures)
                PASSES.labels("failed").observe(time.monotonic() - started)
                ERRORS.labels(type(problem).__name__).inc()
                _log_failure(key, problem, delay)
            await asyncio.sleep(QUIET_SECONDS)
            await self._sleep(key, wake, delay)

    async def _sleep(self, key: Key, wake: asyncio.Event, delay: float | None) -> None:
        """Sleep until woken or due. Meanwhile drift is looked at, which asks nothing of the API server."""
        watch = self._reconciler.drift
        due = None if delay is None else time.monotonic() + delay
        while True:
            left = None if due is None else max(0.0, due - time.monotonic())
            pause = watch.wait(key)
            if pause is None or (left is not None and left <= pause.total_seconds()):
                await _woken_or_due(wake, left)
                return
            if await _woken_or_due(wake, pause.total_seconds()) or await watch.look(key):
                return


async def _woken_or_due(wake: asyncio.Event, delay: float | None) -> bool:
    """Return whether it was woken."""
    try:
        return await asyncio.wait_for(wake.wait(), timeout=delay)
    except TimeoutError:
        return False


def _pause(failures: int) -> float:
    """Return growing pauses, spread so that many releases do not come back at once."""
    return float(min(LONGEST_PAUSE_SECONDS, 2.0 ** min(failures, 10)) * random.uniform(0.5, 1.0))


def _log_failure(key: Key, problem: Exception, delay: float) -> None:
    fields = {"namespace": key[0], "release": key[1], "retry_in_seconds": round(delay, 1)}
    ours = isinstance(problem, ReleaseError)
    log.log(
        logging.WARNING if ours else logging.ERROR,
        "a pass failed and will be repeated: %s",
        problem,
        extra={"fields": fields},
        exc_info=None if ours else problem,
    )
