"""A model server that is not ours: one module, and one entry of the registry."""

import pytest

from modelrelease_operator.serving_runtimes import (
    ArtifactDelivery,
    Drain,
    HttpProbe,
    ServerMetrics,
    ServingRuntime,
    registry,
)

FOREIGN_IMAGE = "registry.example.com/foreign-server:2.1"

FOREIGN = ServingRuntime(
    name="foreign",
    images=("*/foreign-server:*",),
    args=("--model={directory}", "--name={release}", "--version={version}"),
    env=(("MODEL_REVISION", "{revision}"),),
    port=9000,
    startup=HttpProbe(
        path="/v2/health/live", period_seconds=1, failure_threshold=600, timeout_seconds=2
    ),
    readiness=HttpProbe(
        path="/v2/health/ready", period_seconds=2, failure_threshold=3, timeout_seconds=2
    ),
    liveness=HttpProbe(
        path="/v2/health/live", period_seconds=10, failure_threshold=6, timeout_seconds=5
    ),
    metrics=ServerMetrics(
        path="/v2/metrics",
        requests_total="foreign_requests_total",
        code="status",
        duration_seconds="foreign_latency_seconds",
        release="model_release",
        revision="model_revision",
        model_version="model_tag",
    ),
    drain=Drain(grace_seconds=120, pre_stop=("sleep", "15")),
    artifact=ArtifactDelivery(directory="/mnt/model", fetch_image="modelrelease-serving:test"),
)


def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add its entry for one test."""
    monkeypatch.setattr(registry, "SERVING_RUNTIMES", (FOREIGN, *registry.SERVING_RUNTIMES))
