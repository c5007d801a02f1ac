"""Our own predictor (`modelrelease_serving`): the server of releases that name no other."""

from modelrelease_contract import metrics, runtime
from modelrelease_operator.serving_runtimes.metrics import (
    DurationHistogram,
    RequestSeries,
    ServerMetrics,
)
from modelrelease_operator.serving_runtimes.runtime import (
    ArtifactDelivery,
    Drain,
    HttpProbe,
    ServingRuntime,
)

DRAIN_SECONDS = 10
"""So long it goes on answering after SIGTERM, and asks clients to leave."""

LANGUAGE = ("timeToFirstToken", "timePerOutputToken", "answerTokens", "finishReasons")
"""What servers of language models alone count, under the words of the gates."""

PREDICTOR = ServingRuntime(
    name="predictor",
    args=("serve",),
    env=((runtime.ENV_DRAIN_SECONDS, str(DRAIN_SECONDS)),),
    port=runtime.HTTP_PORT,
    startup=HttpProbe(path="/health", period_seconds=1, failure_threshold=120, timeout_seconds=2),
    readiness=HttpProbe(path="/ready", period_seconds=2, failure_threshold=3, timeout_seconds=2),
    liveness=HttpProbe(path="/health", period_seconds=10, failure_threshold=6, timeout_seconds=5),
    metrics=ServerMetrics(
        path="/metrics",
        port=runtime.HTTP_PORT,
        requests=(RequestSeries(name=metrics.PREDICTIONS_TOTAL, code_label=metrics.CODE),),
        duration=DurationHistogram(name=metrics.PREDICTION_DURATION_SECONDS),
        labelled=True,
        counts_bins=True,
    ),
    drain=Drain(grace_seconds=DRAIN_SECONDS + 25),
    artifact=ArtifactDelivery(directory=runtime.MODEL_DIR),
    refused=dict.fromkeys(LANGUAGE, "it answers with no tokens"),
    answers_copies=True,
    prober_args=("probe",),
)
