"""What kopf is asked to watch: a table of contents. No decision is made here."""

import asyncio
import gc
import logging
import socket
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import kopf
import uvloop
from prometheus_client import disable_created_metrics, start_http_server
from typing_extensions import override

from modelrelease_operator import __version__
from modelrelease_operator.api import names
from modelrelease_operator.core.own_rights import OwnRights
from modelrelease_operator.runtime.cache import Cached
from modelrelease_operator.runtime.health import every_address, serving_health
from modelrelease_operator.runtime.kube import Kube
from modelrelease_operator.runtime.lease import Lease
from modelrelease_operator.runtime.metrics import INFO, LEADER, OVERDUE, SHARDS, WATCH_SILENCE
from modelrelease_operator.runtime.metrics_door import MetricsDoor, serving_metrics
from modelrelease_operator.runtime.mlflow import registry_of
from modelrelease_operator.runtime.namespaced_name import NamespacedName
from modelrelease_operator.runtime.notify import Notifier
from modelrelease_operator.runtime.outcomes import OutcomeRecorder
from modelrelease_operator.runtime.own_rights import kind_served, own_rights
from modelrelease_operator.runtime.reconcile import Reconciler
from modelrelease_operator.runtime.registry_watch import RegistryWatch
from modelrelease_operator.runtime.shard import Shard
from modelrelease_operator.runtime.stores import Stores
from modelrelease_operator.runtime.telemetry import log_as_json
from modelrelease_operator.runtime.workers import OVERDUE_SECONDS, Workers
from modelrelease_operator.settings import Settings

log = logging.getLogger("modelrelease.operator")

IDENTITY: Any = names.FIELD_MANAGER
"""Given, because kopf would ask for the user's name, and a container's numeric user has none."""


class NothingKept(kopf.DiffBaseStorage):
    """What kopf compares a release with before it calls handlers of changes; there are none here.

    kopf would copy every release at each of its events to find what differs, and call nobody with
    it.
    """

    @override
    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        """Return nothing of a release."""
        return kopf.BodyEssence()

    @override
    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        """Remember nothing."""
        return None

    @override
    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Write nothing: a release's annotations are a person's."""


COLLECT_AFTER = 50_000
"""Objects that may be made before cycles among the new ones are looked for: some megabytes."""
PATIENCE_SECONDS = 20.0
"""For the first lists of what releases own. After it, passes fail and say what cannot be read."""


class OperatorContext:
    """What lives as long as the connection to the API server."""

    def __init__(
        self, kube: Kube, settings: Settings, rights: OwnRights, lost: asyncio.Event
    ) -> None:
        mlflow = registry_of(settings)
        interval = timedelta(seconds=settings.mlflow_interval_seconds)
        recorded_in = mlflow if settings.mlflow_record_outcomes else None
        watch = RegistryWatch(mlflow, interval, Stores.of(settings, kube), wake=self._wake)
        recorder = OutcomeRecorder(recorded_in, interval, wake=self._wake)
        self.kube = kube
        shard = Shard.parse(settings.shard)
        self.cache = Cached(kube, rights.namespaces, wake=self._wake, shard=shard)
        self.leases = leases_of(kube, settings.lease_namespace, shard, rights.without)
        self.lost = lost
        self._leading: asyncio.Task[None] | None = None
        self.resync = timedelta(seconds=settings.resync_seconds)
        self.reconciler = Reconciler(
            kube=self.cache, settings=settings, registry=watch, outcomes=recorder
        )
        self.notifier = Notifier(settings.notify_webhook_url, settings.notify_topics)
        self.workers = Workers(self.reconciler, self.notifier)
        SHARDS.set(shard.count)
        # One that nothing is to be held for acts from the beginning.
        LEADER.set(0 if self.leases else 1)
        OVERDUE.set_function(self._most_overdue)
        WATCH_SILENCE.set_function(self.cache.silence)

    async def start(self) -> None:
        """Begin to watch, and wait until all was listed: no pass is made on half a picture."""
        self.cache.start()
        await self.cache.filled(PATIENCE_SECONDS)
        self.workers.keep_in_step(self.resync, self._listed)
        if self.leases:
            self.cache.write_seconds = self._write_seconds
            self.workers.hold()
            self._leading = asyncio.create_task(self._lead(), name="lease")

    def _wake(self, key: NamespacedName) -> None:
        """Have a release looked at. Nobody calls this before `start` made the workers."""
        self.workers.wake_known(key)

    def _write_seconds(self) -> float:
        return min(lease.write_seconds() for lease in self.leases)

    async def _lead(self) -> None:
        """Act from when every Lease is ours until one is lost; then end the process."""
        async with asyncio.TaskGroup() as kept:
            for lease in self.leases:
                await lease.acquire()
                kept.create_task(lease.keep(self.lost.set), name=lease.where)
            self.workers.let_go()

    async def _listed(self) -> list[NamespacedName]:
        metas = [release["metadata"] for release in await self.cache.releases()]
        return [(meta["namespace"], meta["name"]) for meta in metas]

    def _most_overdue(self) -> float:
        return max(self.workers.overdue().values(), default=0.0)

    async def stop(self) -> None:
        """Stop everything, the workers first: they use the rest."""
        await self.workers.stop()
        if self._leading:
            self._leading.cancel()
            await asyncio.gather(self._leading, return_exceptions=True)
        for lease in self.leases:
            await lease.give_back()
        await self.cache.stop()
        await self.reconciler.registry.stop()
        await self.reconciler.outcomes.stop()
        await self.notifier.stop()
        await self.reconciler.sources.close()
        await self.kube.close()


class Handlers:
    """What kopf calls."""

    def __init__(self, settings: Settings, rights: OwnRights) -> None:
        self._settings, self._rights = settings, rights
        self.lost = asyncio.Event()
        """Set when this operator may act no more: kopf ends then, and with it the process."""
        self._connected: OperatorContext | None = None

    @property
    def _current(self) -> OperatorContext:
        if self._connected is None:
            msg = "kopf watches nothing before its start-up handlers have ended"
            raise RuntimeError(msg)
        return self._connected

    @staticmethod
    def log_in(**kwargs: Any) -> Any:
        """Find the API server: the pod's own account, or a kubeconfig."""
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    async def start(self, settings: kopf.OperatorSettings, **_: Any) -> None:
        """Set kopf up, and connect."""
        settings.posting.enabled = False  # Events are ours to write
        settings.persistence.diffbase_storage = NothingKept()
        settings.watching.server_timeout = 300
        settings.watching.client_timeout = 330
        settings.networking.request_timeout = 30
        settings.scanning.disabled = not self._rights.scans
        kube = await Kube.connect()
        if not self._rights.scans:
            await kind_served(kube)
        self._connected = OperatorContext(kube, self._settings, self._rights, self.lost)
        await self._connected.start()

    async def stop(self, **_: Any) -> None:
        """End what `start` began."""
        if self._connected is not None:
            await self._connected.stop()

    async def release_changed(self, event: Any, **_: Any) -> None:
        """Tell the workers of a release and of what it is now."""
        deleted, release = event["type"] == "DELETED", event["object"]
        meta = release["metadata"]
        key = (meta["namespace"], meta["name"])
        cache = self._current.cache
        if deleted:
            cache.release_gone(key, meta["uid"])
        else:
            cache.release_told(release)
        if not cache.shard.holds(key[0]):
            return
        # The type, too: a deletion changes nothing else of an object that nothing held back.
        fingerprint = (
            deleted,
            meta["uid"],
            meta.get("generation"),
            tuple(sorted((meta.get("annotations") or {}).items())),
            meta.get("deletionTimestamp"),
        )
        self._current.workers.changed(key, fingerprint)

    def trouble(self) -> str | None:
        """Say what the kubelet should restart the process for: a look that comes no more."""
        if self._connected is None:
            return None
        late = self._current.workers.overdue()
        lost = [
            f"{space}/{name}"
            for (space, name), seconds in late.items()
            if seconds > OVERDUE_SECONDS
        ]
        if not lost:
            return None
        return f"no look for {OVERDUE_SECONDS:g} s and more at {', '.join(sorted(lost)[:5])}"


def leases_of(
    kube: Kube, namespace: str, shard: Shard, without: Sequence[str] = ()
) -> tuple[Lease, ...]:
    """Return what must be held to act, in the order in which it is to be had.

    `without`: what the operator may not do, which its Lease tells.
    """
    if not namespace:
        return ()
    own = Lease(kube, namespace, identity(), name=shard.lease_name, without=without)
    if shard.common_holder is None:
        return (own,)
    return (own, Lease(kube, namespace, shard.common_holder, shared=True))


def identity() -> str:
    """Return what tells this process from every other: the pod's name, and something of its own."""
    return f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"


def registry_for(handlers: Handlers) -> kopf.OperatorRegistry:
    """Return kopf's registrations, joined to one set of workers."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(handlers.log_in)
    kopf.on.startup(registry=registry)(handlers.start)
    kopf.on.cleanup(registry=registry)(handlers.stop)
    kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)(
        handlers.release_changed
    )
    return registry


def run(settings: Settings) -> None:
    """Run the operator until it is told to stop."""
    log_as_json(settings.log_level)
    # When each counter began, a series for every one of a release, which nobody asks for.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    if not settings.metrics_authentication:
        start_http_server(settings.metrics_port, addr=every_address())
    INFO.labels(__version__).set(1)
    _collect_seldom()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings))


def _collect_seldom() -> None:
    """Have the collector of cycles look seldom, and not at what was imported.

    What passes and watches make are trees of JSON, freed when they are let go; they are so many
    that the usual limit of 700 has them looked at again and again for cycles that are not there.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 50)


def tell_of_trouble(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody catches, but not that a connection which is closed took no more bytes.

    uvloop 0.23 calls that fatal where a peer still speaks while TLS ends: after a burst, once for
    each connection that idles.
    """
    problem = context.get("exception")
    ended = isinstance(problem, RuntimeError) and "the handler is closed" in str(problem)
    if ended and context.get("message") == "Fatal error on SSL protocol":
        log.debug("a connection was closed while its peer still spoke")
        return
    loop.default_exception_handler(context)


async def _run(settings: Settings) -> None:
    asyncio.get_running_loop().set_exception_handler(tell_of_trouble)
    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(_connected())
        rights = await own_rights(kube, settings.watched_namespaces)
        namespaces = rights.namespaces
        handlers = Handlers(settings, rights)
        await stack.enter_async_context(serving_health(settings.liveness_port, handlers.trouble))
        if settings.metrics_authentication:
            await stack.enter_async_context(_metrics_behind_a_door(settings, kube))
        await kopf.operator(
            registry=registry_for(handlers),
            stop_flag=handlers.lost,
            standalone=True,
            identity=IDENTITY,
            clusterwide=not namespaces,
            namespaces=namespaces,
        )


def _metrics_behind_a_door(settings: Settings, kube: Kube) -> AbstractAsyncContextManager[None]:
    folder = settings.metrics_certificate
    certificate = Path(folder) if folder else None
    return serving_metrics(settings.metrics_port, MetricsDoor(kube), certificate)


@asynccontextmanager
async def _connected() -> AsyncIterator[Kube]:
    kube = await Kube.connect()
    try:
        yield kube
    finally:
        await kube.close()
