"""What kopf is asked to watch: a table of contents. No decision is made here."""

import asyncio
import logging
from datetime import timedelta
from typing import Any

import kopf
from prometheus_client import start_http_server

from modelrelease_operator import __version__
from modelrelease_operator.api import names
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


def registry_for(settings: Settings) -> kopf.OperatorRegistry:
    """Return kopf's registrations, joined to one set of workers."""
    registry = kopf.OperatorRegistry()
    state: dict[str, Any] = {}

    @kopf.on.login(registry=registry)
    def log_in(**kwargs: Any) -> Any:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.startup(registry=registry)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False  # Events are ours to write
        settings.watching.server_timeout = 300
        settings.watching.client_timeout = 330
        settings.networking.request_timeout = 30
        state["kube"] = await Kube.connect()
        mlflow, interval = registry_of(own), timedelta(seconds=own.mlflow_interval_seconds)
        watch = RegistryWatch(mlflow, interval)
        recorder = OutcomeRecorder(mlflow if own.mlflow_record_outcomes else None, interval)
        state["reconciler"] = Reconciler(kube=state["kube"], settings=own, registry=watch, outcomes=recorder)
        state["notifier"] = Notifier(own.notify_webhook_url, own.notify_topics)
        state["workers"] = Workers(state["reconciler"], state["notifier"])
        watch.wake = recorder.wake = state["workers"].wake_known

    @kopf.on.cleanup(registry=registry)
    async def stop(**_: Any) -> None:
        await state["workers"].stop()
        await state["reconciler"].registry.stop()
        await state["reconciler"].outcomes.stop()
        await state["notifier"].stop()
        state["reconciler"].sources.close()
        await state["kube"].close()

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)
    async def release_changed(namespace: str | None, name: str, meta: Any, **_: Any) -> None:
        fingerprint = (
            meta.get("uid"),
            meta.get("generation"),
            tuple(sorted((meta.get("annotations") or {}).items())),
            meta.get("deletionTimestamp"),
        )
        state["workers"].changed((namespace or "", name), fingerprint)

    @kopf.on.event("apps", "v1", "deployments", labels={names.LABEL_RELEASE: kopf.PRESENT}, registry=registry)
    @kopf.on.event("batch", "v1", "jobs", labels={names.LABEL_RELEASE: kopf.PRESENT}, registry=registry)
    @kopf.on.event("", "v1", "services", labels={names.LABEL_RELEASE: kopf.PRESENT}, registry=registry)
    async def owned_changed(namespace: str | None, labels: Any, **_: Any) -> None:
        state["workers"].wake_known((namespace or "", labels[names.LABEL_RELEASE]))

    own = settings
    return registry


def run(settings: Settings) -> None:
    """Run the operator until it is told to stop."""
    log_as_json(settings.log_level)
    start_http_server(settings.metrics_port)
    INFO.labels(__version__).set(1)
    namespaces = [part.strip() for part in settings.namespaces.split(",") if part.strip()]
    asyncio.run(
        kopf.operator(
            registry=registry_for(settings),
            standalone=True,
            identity=IDENTITY,
            clusterwide=not namespaces,
            namespaces=namespaces,
            liveness_endpoint=f"http://0.0.0.0:{settings.liveness_port}/healthz",
        )
    )
