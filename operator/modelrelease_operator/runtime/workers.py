"""One task for each release, the only writer of what it owns.

Watches tell us that something happened; nobody here cares what. A release's task sleeps until it is
woken or until the time that the last pass asked for, and then looks at everything. Every few
minutes all releases are listed and looked at, whatever was or was not told.

No finalizer: what a release owns carries an owner reference, so deleting it works also while the
operator, Prometheus or half of the cluster is down.
"""

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from modelrelease_operator.errors import Conflict, Gone, ReleaseError, Unavailable
from modelrelease_operator.runtime.memory import Troubles
from modelrelease_operator.runtime.metrics import ERRORS, RECONCILE_SECONDS
from modelrelease_operator.runtime.namespaced_name import NamespacedName
from modelrelease_operator.runtime.notify import Notifier
from modelrelease_operator.runtime.reconcile import Reconciler
from modelrelease_operator.runtime.telemetry import Reporter

log = logging.getLogger("modelrelease.operator")


QUIET_SECONDS = 0.2
"""Events that come together are looked at together."""
BEAT_SECONDS = 1.0
"""Looks that are due within a second come together, so that they can share a query."""
DRIFT_BEAT_SECONDS = 5.0
"""The same for looks at drift, which come every few minutes."""
EARLIEST = 0.45
"""By so much of a beat a look may be early: a pass takes half a second before its time as due."""
SHORTEST_TO_A_BEAT = 4.0
"""Seconds of the shortest wait that is moved to a beat."""
LONGEST_PAUSE_SECONDS = 60.0
CONFLICTS = 2
"""So many in a row are tried again at once: a person edits while a pass is made."""
LONGEST_PASS_SECONDS = 180.0
"""After which a pass is broken off: more than the time-outs of all that it asks."""
OVERDUE_SECONDS = 300.0
"""So late, a look will not come any more: the process is to be started again."""


@dataclass(slots=True)
class _Worker:
    task: asyncio.Task[None]
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    due: float | None = None
    """When the next look is due or the present one began; None while nothing is asked for."""


class Workers:
    """The tasks of all releases."""

    def __init__(self, reconciler: Reconciler, notifier: Notifier | None = None) -> None:
        self._reconciler = reconciler
        self._notifier = notifier
        self._workers: dict[NamespacedName, _Worker] = {}
        self._seen: dict[NamespacedName, object] = {}
        self._resync: asyncio.Task[None] | None = None
        self._held: set[NamespacedName] | None = None
        """Releases that would have been woken while this operator may not act; None when it may."""

    def hold(self) -> None:
        """Make no pass until `let_go`."""
        self._held = set()

    def let_go(self) -> None:
        """Look at everything that was told meanwhile."""
        held, self._held = self._held, None
        for key in held or ():
            self.wake(key)

    def changed(self, key: NamespacedName, fingerprint: object) -> None:
        """Wake a release's task if what a person can change is not what it was."""
        if self._seen.get(key) != fingerprint or key not in self._workers:
            self._seen[key] = fingerprint
            self.wake(key)

    def wake(self, key: NamespacedName) -> None:
        """Have a release looked at now; start its task if there is none."""
        if self._held is not None:
            self._held.add(key)
            return
        worker = self._workers.get(key)
        if worker is None or worker.task.done():
            wake = asyncio.Event()
            task = asyncio.create_task(self._work(key, wake), name=f"release {key[0]}/{key[1]}")
            self._workers[key] = worker = _Worker(task=task, wake=wake)
            task.add_done_callback(self._forgetter(key, task))
        worker.wake.set()

    def wake_known(self, key: NamespacedName) -> None:
        """Wake a release's task because something that it owns changed."""
        if key in self._workers:
            self.wake(key)

    def known(self) -> frozenset[NamespacedName]:
        """Return the releases that have a task."""
        return frozenset(self._workers)

    def keep_in_step(
        self, period: timedelta, listed: Callable[[], Awaitable[Iterable[NamespacedName]]]
    ) -> None:
        """List and look at every release once in a period, from one period from now."""
        self._resync = asyncio.create_task(
            self._resyncs(period.total_seconds(), listed), name="resync"
        )

    def overdue(self) -> dict[NamespacedName, float]:
        """Return the releases whose look is late, and by how many seconds."""
        now = time.monotonic()
        late = {
            key: now - worker.due for key, worker in self._workers.items() if worker.due is not None
        }
        return {key: seconds for key, seconds in late.items() if seconds > 0}

    async def stop(self) -> None:
        """End every task; what they were doing is done again by the next operator."""
        tasks = [worker.task for worker in self._workers.values()]
        tasks += [self._resync] if self._resync else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _resyncs(
        self, period: float, listed: Callable[[], Awaitable[Iterable[NamespacedName]]]
    ) -> None:
        while True:
            await asyncio.sleep(period * random.uniform(0.9, 1.0))
            try:
                keys = {*await listed(), *self.known()}
            except Exception as problem:
                log.warning("releases could not be listed, and will be: %s", problem)
                keys = set(self.known())
            for key in keys:
                # Spread, so that a thousand passes do not hold up the one that matters.
                asyncio.get_running_loop().call_later(
                    random.uniform(0, period / 10), self.wake, key
                )

    def _forgetter(
        self, key: NamespacedName, task: asyncio.Task[None]
    ) -> Callable[[asyncio.Task[None]], None]:
        def forget(_: asyncio.Task[None]) -> None:
            worker = self._workers.get(key)
            if worker is not None and worker.task is task:
                del self._workers[key]
                self._seen.pop(key, None)

        return forget

    async def _work(self, key: NamespacedName, wake: asyncio.Event) -> None:
        """Look after one release until it is gone. No error ends this loop: none is orphaned."""
        reporter = self._reconciler.reporter_for(key, self._notifier)
        troubles = Troubles()
        due: float | None = time.monotonic()
        while True:
            try:
                await self._sleep(key, wake, due)
                wake.clear()
                began = time.monotonic()
                wait = await self._reconcile(key, reporter)
                due = due_at(wait, began=began, now=time.monotonic())
                await self._recovered(troubles, reporter)
            except Gone:
                reporter.forget()
                self._reconciler.forget(*key)
                if not wake.is_set():
                    return
                # Somebody told of it meanwhile: it was made anew, and is looked at again.
                due = None
            except Exception as problem:
                delay = await self._failed(key, problem, troubles, reporter)
                due = time.monotonic() + delay
            await asyncio.sleep(QUIET_SECONDS)

    async def _reconcile(self, key: NamespacedName, reporter: Reporter) -> float | None:
        """Reconcile a release once; return after how many seconds to look again."""
        started = time.monotonic()
        self._due(key, LONGEST_PASS_SECONDS)
        outcome = "failed"
        try:
            async with asyncio.timeout(LONGEST_PASS_SECONDS) as limit:
                requeue = await self._reconciler.reconcile(*key, reporter)
            outcome = "done"
        except TimeoutError as problem:
            if not limit.expired():
                raise
            msg = f"the pass took longer than {LONGEST_PASS_SECONDS:g} s and was broken off"
            raise Unavailable(msg) from problem
        except Gone:
            outcome = "done"
            raise
        finally:
            RECONCILE_SECONDS.labels(outcome).observe(time.monotonic() - started)
        return requeue.total_seconds() if requeue is not None else None

    async def _recovered(self, troubles: Troubles, reporter: Reporter) -> None:
        troubles.note(None)
        reporter.failing(self._reconciler.is_failing(reporter.key))

    async def _failed(
        self, key: NamespacedName, problem: Exception, troubles: Troubles, reporter: Reporter
    ) -> float:
        """Count and log a failure, and show one that lasts; return when to try again."""
        trouble = troubles.note(problem)
        # What was read is old, and has been read again: the next try is the first with the new.
        again = isinstance(problem, Conflict) and troubles.count <= CONFLICTS
        delay = 0.0 if again else _pause(troubles.count)
        if not again:
            ERRORS.labels(type(problem).__name__).inc()
            _log_failure(key, problem, delay)
        if trouble:
            reporter.failing(True)
        if trouble and trouble.new:
            try:
                await self._reconciler.show_trouble(*key, trouble, reporter)
            except Exception as other:
                troubles.shown = None
                _log_failure(key, other, delay)
        return delay

    def _due(self, key: NamespacedName, delay: float | None) -> None:
        """Remember by when the next turn of a release's loop must have begun."""
        if worker := self._workers.get(key):
            worker.due = None if delay is None else time.monotonic() + delay

    async def _sleep(self, key: NamespacedName, wake: asyncio.Event, due: float | None) -> None:
        """Sleep until woken or due; meanwhile look at drift, which asks no API server."""
        while True:
            now = time.monotonic()
            left = None if due is None else max(0.0, due - now)
            wait = self._reconciler.next_drift_look(key)
            pause = None if wait is None else _until_drift_beat(wait.total_seconds(), now)
            if pause is None or (left is not None and left <= pause):
                self._due(key, left)
                await _woken_or_due(wake, left)
                return
            self._due(key, pause)
            if await _woken_or_due(wake, pause) or await self._look_at_drift(key):
                return

    async def _look_at_drift(self, key: NamespacedName) -> bool:
        """Return whether a pass has something to write; a look that fails costs only its window."""
        try:
            return await self._reconciler.look_at_drift(key)
        except Exception as problem:
            ERRORS.labels(type(problem).__name__).inc()
            fields = {"namespace": key[0], "release": key[1]}
            log.exception("drift was not looked at: %s", problem, extra={"fields": fields})
            return False


def due_at(wait: float | None, *, began: float, now: float) -> float | None:
    """Return when the next look is due, which a pass asked for so long after it had begun.

    A pass that took long is followed by half of the wait. Seconds, of the monotonic clock.
    """
    if wait is None:
        return None
    due = max(began + wait, now + wait / 2)
    if wait < SHORTEST_TO_A_BEAT:
        return due
    return math.floor(due / BEAT_SECONDS + 1 - EARLIEST) * BEAT_SECONDS


def _until_drift_beat(wait: float, now: float) -> float:
    """Return how long until the first beat from when a look at drift is due."""
    if wait < SHORTEST_TO_A_BEAT:
        return wait
    return math.ceil((now + wait) / DRIFT_BEAT_SECONDS) * DRIFT_BEAT_SECONDS - now


async def _woken_or_due(wake: asyncio.Event, delay: float | None) -> bool:
    """Return whether it was woken."""
    try:
        return await asyncio.wait_for(wake.wait(), timeout=delay)
    except TimeoutError:
        return False


def _pause(failures: int) -> float:
    """Return growing pauses, spread so that many releases do not come back at once."""
    return float(min(LONGEST_PAUSE_SECONDS, 2.0 ** min(failures, 10)) * random.uniform(0.5, 1.0))


def _log_failure(key: NamespacedName, problem: Exception, delay: float) -> None:
    fields = {"namespace": key[0], "release": key[1], "retry_in_seconds": round(delay, 1)}
    ours = isinstance(problem, ReleaseError)
    log.log(
        logging.WARNING if ours else logging.ERROR,
        "a pass failed and will be repeated: %s",
        problem,
        extra={"fields": fields},
        exc_info=None if ours else problem,
    )
