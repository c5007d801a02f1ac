"""Our own predictor (`modelrelease_serving`): the runtime of every image that is no other's."""

from modelrelease_contract import metrics, runtime
from modelrelease_operator.serving_runtimes.runtime import (
    ArtifactDelivery,
    Drain,
    HttpProbe,
    ServerMetrics,
    ServingRuntime,
)

DRAIN_SECONDS = 10
"""So long it goes on answering after SIGTERM, and asks clients to leave."""

PREDICTOR = ServingRuntime(
    name="predictor",
    images=("*",),
    args=("serve",),
    env=(
        (runtime.ENV_RELEASE, "{release}"),
        (runtime.ENV_REVISION, "{revision}"),
        (runtime.ENV_MODEL_PATH, "{directory}"),
        (runtime.ENV_MODEL_VERSION, "{version}"),
        (runtime.ENV_MODEL_SHA256, "{sha256}"),
        (runtime.ENV_DRAIN_SECONDS, str(DRAIN_SECONDS)),
    ),
    port=runtime.HTTP_PORT,
    startup=HttpProbe(path="/health", period_seconds=1, failure_threshold=120, timeout_seconds=2),
    readiness=HttpProbe(path="/ready", period_seconds=2, failure_threshold=3, timeout_seconds=2),
    liveness=HttpProbe(path="/health", period_seconds=10, failure_threshold=6, timeout_seconds=5),
    metrics=ServerMetrics(
        path="/metrics",
        requests_total=metrics.PREDICTIONS_TOTAL,
        code=metrics.CODE,
        duration_seconds=metrics.PREDICTION_DURATION_SECONDS,
        release=metrics.RELEASE,
        revision=metrics.REVISION,
        model_version=metrics.MODEL_VERSION,
        counts_bins=True,
    ),
    drain=Drain(grace_seconds=DRAIN_SECONDS + 25),
    artifact=ArtifactDelivery(directory=runtime.MODEL_DIR),
    answers_copies=True,
    prober_args=("probe",),
)
