"""What kopf is asked to watch: a table of contents. No decision is made here."""

import asyncio
import logging
from datetime import timedelta
from typing import Any

import kopf
from prometheus_client import start_http_server

from modelrelease_operator import __version__
from modelrelease_operator.api import names
from modelrelease_operator.runtime.health import every_address, serving_health
from modelrelease_operator.runtime.kube import Kube
from modelrelease_operator.runtime.metrics import INFO
from modelrelease_operator.runtime.mlflow import registry_of
from modelrelease_operator.runtime.notify import Notifier
from modelrelease_operator.runtime.outcomes import OutcomeRecorder
from modelrelease_operator.runtime.reconcile import Reconciler
from modelrelease_operator.runtime.registry_watch import RegistryWatch
from modelrelease_operator.runtime.telemetry import log_as_json
from modelrelease_operator.runtime.workers import Workers
from modelrelease_operator.settings import Settings

log = logging.getLogger("modelrelease.operator")

IDENTITY: Any = names.FIELD_MANAGER
"""Given, because kopf would ask for the user's name, and a container's numeric user has none."""


class Connected:
    """What lives as long as the connection to the API server."""

    def __init__(self, kube: Kube, settings: Settings) -> None:
        mlflow, interval = registry_of(settings), timedelta(seconds=settings.mlflow_interval_seconds)
        watch = RegistryWatch(mlflow, interval)
        recorder = OutcomeRecorder(mlflow if settings.mlflow_record_outcomes else None, interval)
        self.kube = kube
        self.reconciler = Reconciler(kube=kube, settings=settings, registry=watch, outcomes=recorder)
        self.notifier = Notifier(settings.notify_webhook_url, settings.notify_topics)
        self.workers = Workers(self.reconciler, self.notifier)
        watch.wake = recorder.wake = self.workers.wake_known

    async def stop(self) -> None:
        """Stop everything, the workers first: they use the rest."""
        await self.workers.stop()
        await self.reconciler.registry.stop()
        await self.reconciler.outcomes.stop()
        await self.notifier.stop()
        self.reconciler.sources.close()
        await self.kube.close()


class Handlers:
    """What kopf calls."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connected: Connected | None = None

    @property
    def _workers(self) -> Workers:
        if self._connected is None:
            msg = "kopf watches nothing before its start-up handlers have ended"
            raise RuntimeError(msg)
        return self._connected.workers

    @staticmethod
    def log_in(**kwargs: Any) -> Any:
        """Find the API server: the pod's own account, or a kubeconfig."""
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    async def start(self, settings: kopf.OperatorSettings, **_: Any) -> None:
        """Set kopf up, and connect."""
        settings.posting.enabled = False  # Events are ours to write
        settings.watching.server_timeout = 300
        settings.watching.client_timeout = 330
        settings.networking.request_timeout = 30
        self._connected = Connected(await Kube.connect(), self._settings)

    async def stop(self, **_: Any) -> None:
        """End what `start` began."""
        if self._connected is not None:
            await self._connected.stop()

    async def release_changed(self, namespace: str | None, name: str, meta: Any, **_: Any) -> None:
        """Tell the workers of a release and of what it is now."""
        fingerprint = (
            meta.get("uid"),
            meta.get("generation"),
            tuple(sorted((meta.get("annotations") or {}).items())),
            meta.get("deletionTimestamp"),
        )
        self._workers.changed((namespace or "", name), fingerprint)

    async def owned_changed(self, namespace: str | None, labels: Any, **_: Any) -> None:
        """Wake the worker of the release that owns a changed object."""
        self._workers.wake_known((namespace or "", labels[names.LABEL_RELEASE]))


def registry_for(settings: Settings) -> kopf.OperatorRegistry:
    """Return kopf's registrations, joined to one set of workers."""
    registry = kopf.OperatorRegistry()
    handlers = Handlers(settings)
    ours = {names.LABEL_RELEASE: kopf.PRESENT}
    kopf.on.login(registry=registry)(handlers.log_in)
    kopf.on.startup(registry=registry)(handlers.start)
    kopf.on.cleanup(registry=registry)(handlers.stop)
    kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)(handlers.release_changed)
    for kind in (("apps", "v1", "deployments"), ("batch", "v1", "jobs"), ("", "v1", "services")):
        kopf.on.event(*kind, labels=ours, registry=registry)(handlers.owned_changed)
    return registry


def run(settings: Settings) -> None:
    """Run the operator until it is told to stop."""
    log_as_json(settings.log_level)
    start_http_server(settings.metrics_port, addr=every_address())
    INFO.labels(__version__).set(1)
    namespaces = [part.strip() for part in settings.namespaces.split(",") if part.strip()]
    asyncio.run(_run(settings, namespaces))


async def _run(settings: Settings, namespaces: list[str]) -> None:
    async with serving_health(settings.liveness_port, lambda: None):
        await kopf.operator(
            registry=registry_for(settings),
            standalone=True,
            identity=IDENTITY,
            clusterwide=not namespaces,
            namespaces=namespaces,
        )
