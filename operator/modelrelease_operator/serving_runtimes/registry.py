"""Which model server a revision runs: the predictor, a known one, or one in a release's words."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from modelrelease_contract import runtime as contract
from modelrelease_contract.shadow import RequestForm
from modelrelease_operator.api.serving_runtime import (
    PER_SECOND,
    DurationMetric,
    ExampleRequests,
    FinishReasonsMetric,
    RequestsMetric,
    Runtime,
    RuntimeMetrics,
    TokensMetric,
    Unit,
)
from modelrelease_operator.api.status import Recipe
from modelrelease_operator.errors import Invalid
from modelrelease_operator.serving_runtimes.metrics import (
    FINISH_REASONS,
    DurationHistogram,
    ReasonSeries,
    RequestSeries,
    ServerMetrics,
)
from modelrelease_operator.serving_runtimes.predictor import LANGUAGE, PREDICTOR
from modelrelease_operator.serving_runtimes.profiles import Profile, profiles
from modelrelease_operator.serving_runtimes.runtime import (
    ArtifactDelivery,
    Drain,
    HttpProbe,
    ServingRuntime,
)

WHERE: Final = "spec.serving.runtime"
STARTUP_SECONDS: Final = 600
GRACE_SECONDS: Final = 60
OTHER_OUTCOME: Final = "500"
"""What an outcome in words means that nobody named: a canary's new kind of failure is one."""
NO_COUNTER: Final = f"{WHERE}.metrics.requests names no counter of answered requests"
NO_HISTOGRAM: Final = f"{WHERE}.metrics.duration names no histogram"


def runtime_of(recipe: Recipe) -> ServingRuntime:
    """Return the server that a revision runs; raise Invalid where its runtime cannot be one."""
    return runtime_for(recipe.runtime)


def runtime_for(runtime: Mapping[str, Any]) -> ServingRuntime:
    """Return the server that `spec.serving.runtime` means, our predictor where it is empty."""
    if not runtime:
        return PREDICTOR
    return _server(json.dumps(runtime, sort_keys=True))


@lru_cache(maxsize=256)
def _server(text: str) -> ServingRuntime:
    given = Runtime.model_validate_json(text)
    if given.profile is None:
        return _described(given, name="of its own", refused={}, env={})
    known: Profile | None = profiles().get(given.profile)
    if known is None:
        msg = f"{WHERE}.profile {given.profile} is not known: it is one of {', '.join(profiles())}"
        raise Invalid(msg)
    return _described(given.over(known), name=given.profile, refused=known.refused, env=known.env)


def _described(
    runtime: Runtime, *, name: str, refused: Mapping[str, str], env: Mapping[str, str]
) -> ServingRuntime:
    if runtime.port is None or runtime.readiness_path is None:
        missing = "port" if runtime.port is None else "readinessPath"
        left_open = f"profile {name} leaves it open" if runtime.profile else "or name a profile"
        msg = f"{WHERE}: set {missing}; {left_open}"
        raise Invalid(msg)
    metrics, drain = _metrics(runtime.metrics, runtime.port), runtime.drain
    return ServingRuntime(
        name=name,
        command=runtime.command or (),
        args=runtime.args or (),
        env=tuple(env.items()),
        port=runtime.port,
        startup=_probe(runtime.readiness_path, 1, runtime.startup_seconds or STARTUP_SECONDS),
        readiness=_probe(runtime.readiness_path, 2, 3),
        liveness=_probe(runtime.liveness_path, 10, 6) if runtime.liveness_path else None,
        metrics=metrics,
        drain=Drain(
            grace_seconds=drain.grace_seconds or GRACE_SECONDS,
            pre_stop_seconds=drain.pre_stop_seconds or 0,
            pre_stop_command=drain.pre_stop_command or (),
        ),
        artifact=ArtifactDelivery(
            directory=runtime.model_directory or contract.MODEL_DIR,
            fetched=runtime.fetch is not False,
        ),
        refused=_refused(metrics, refused),
        example_requests=_form(runtime.example_requests),
    )


def _form(asked: ExampleRequests) -> RequestForm | None:
    if asked.path is None or asked.body is None:
        return None
    return RequestForm(path=asked.path, body=asked.body, answer=asked.answer)


def _probe(path: str, period_seconds: int, failure_threshold: int) -> HttpProbe:
    return HttpProbe(
        path=path,
        period_seconds=period_seconds,
        failure_threshold=failure_threshold,
        timeout_seconds=5,
    )


def _refused(metrics: ServerMetrics, known: Mapping[str, str]) -> dict[str, str]:
    """Return why a kind of gate cannot be answered; what a release names itself may answer it."""
    refused = {}
    if not metrics.requests:
        refused["errorRate"] = known.get("errorRate", NO_COUNTER)
    if metrics.duration is None:
        refused["latency"] = known.get("latency", NO_HISTOGRAM)
    told = {metric for metric, _ in metrics.histograms}
    told |= {FINISH_REASONS} if metrics.finish_reasons else set()
    for name in LANGUAGE:
        if name not in told:
            refused[name] = known.get(name, f"{WHERE}.metrics.{name} names none")
    return refused


def _metrics(metrics: RuntimeMetrics, port: int) -> ServerMetrics:
    return ServerMetrics(
        path=metrics.path or "/metrics",
        port=metrics.port or port,
        requests=tuple(_series(each) for each in metrics.requests or ()),
        duration=_histogram(metrics.duration) if metrics.duration else None,
        histograms=tuple(
            (name, _tokens(metric) if isinstance(metric, TokensMetric) else _histogram(metric))
            for name, metric in (
                ("timeToFirstToken", metrics.time_to_first_token),
                ("timePerOutputToken", metrics.time_per_output_token),
                ("answerTokens", metrics.answer_tokens),
            )
            if metric
        ),
        finish_reasons=_reasons(metrics.finish_reasons) if metrics.finish_reasons else None,
    )


def _series(metric: RequestsMetric) -> RequestSeries:
    return RequestSeries(
        name=metric.name,
        code=metric.code,
        code_label=metric.code_label,
        codes=tuple(metric.codes.items()),
        other_code=OTHER_OUTCOME if metric.codes else None,
        where=tuple(metric.where.items()),
    )


def _reasons(metric: FinishReasonsMetric) -> ReasonSeries:
    return ReasonSeries(name=metric.name, label=metric.label, where=tuple(metric.where.items()))


def _tokens(metric: TokensMetric) -> DurationHistogram:
    return DurationHistogram(name=metric.name, where=tuple(metric.where.items()))


def _histogram(metric: DurationMetric) -> DurationHistogram:
    return DurationHistogram(
        name=metric.name,
        per_second=PER_SECOND[metric.unit or Unit.SECONDS],
        where=tuple(metric.where.items()),
    )
