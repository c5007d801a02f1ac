"""The HTTP face of one model: routes, and which answer each outcome gets.

Takes an opened model, which may still be loading, so that tests need no server and no network. How
the process starts and stops is in `server`; what a row must look like in `rows`.

Predictions are answered in front of FastAPI's router, which costs several times what a small model
does. FastAPI has the same routes with the same handlers: it documents them, and answers what the
front does not take, such as another method.
"""

from collections.abc import Callable, Sequence
from math import inf
from time import monotonic
from typing import Any, Final

from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send
from typing_extensions import override

from modelrelease_contract.runtime import PROBE_PATH
from modelrelease_contract.shadow import (
    SHADOW_INFER_PATH,
    SHADOW_INVOCATIONS_PATH,
    SHADOW_PATH,
    SHADOW_PREDICT_PATH,
    ShadowWish,
)
from modelrelease_serving import openapi as docs
from modelrelease_serving import routes_v2 as v2
from modelrelease_serving.connections import ConnectionLifetime, ConnectionLifetimeMiddleware, Drain
from modelrelease_serving.inference import Inference
from modelrelease_serving.invocations import Invocations
from modelrelease_serving.metrics import Metrics
from modelrelease_serving.model import Model
from modelrelease_serving.predictions import VERSION_HEADER, Handler, Predictions, PredictV1
from modelrelease_serving.responses import as_headers, problem, protocol_error
from modelrelease_serving.settings import Settings

SERVICE: Final = "modelrelease-predictor"
_STUCK: Final = "stuck"
USERS_STAY_SECONDS: Final = 30.0
"""So long after a user's request no copies are asked for: users come first."""


class PredictorApp(FastAPI):
    """A FastAPI app that answers POST to some paths before its router sees them."""

    def __init__(
        self,
        model: Model,
        metrics: Metrics,
        predictions: Predictions,
        lifetime: ConnectionLifetime,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.model = model
        self.metrics = metrics
        self.predictions = predictions
        """Who answers users; its sampler may be set while the app serves."""
        self.inference = Inference(model)
        self._lifetime = lifetime
        self.front: dict[str, Handler] = {}
        """Who answers POST to which path."""
        self.add_middleware(ConnectionLifetimeMiddleware, lifetime=lifetime)
        self.add_exception_handler(HTTPException, _http_problem)

    def answer(
        self, path: str, handler: Handler, *, at: Sequence[str] = (), **documentation: Any
    ) -> None:
        """Answer POST to `path` by `handler`: documented and routed there, and in front of the
        router.

        `at` are the paths in front where `path` has parameters.
        """

        async def behind(request: Request) -> Response:
            v2.require_known(self.model, **request.path_params)
            return (await handler(request.scope, request.receive)).response()

        self.add_api_route(path, behind, methods=["POST"], **documentation)
        self.front |= dict.fromkeys(at or [path], handler)

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["method"] == "POST":
            handler = self.front.get(scope["path"])
            if handler is not None:
                reply = await handler(scope, receive)
                await reply.send(send, close=self._lifetime.is_last(scope))
                return
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        await super().__call__(scope, receive, send)


def _without_body(send: Send) -> Send:
    """Send the head of an answer alone: what HEAD asks for."""

    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return send_head


def create_app(model: Model, settings: Settings, *, drain: Drain | None = None) -> PredictorApp:
    """Return the app for `model`. Predictions get 503 until it is ready; `/ready` gets 503 in a
    drain too, and `/health` while a call of the model does not come back.
    """
    drain = drain or Drain()
    manifest = model.manifest
    metrics = Metrics(
        manifest,
        release=settings.release,
        revision=settings.revision,
        max_series=settings.drift_max_series,
    )
    app = PredictorApp(
        model,
        metrics,
        Predictions(model, metrics, settings),
        ConnectionLifetime(drain, max_age_seconds=settings.connection_max_age_seconds),
        title=f"{manifest.name}, version {manifest.version}",
        version=settings.api_version,
        description="Predictions of one version of one model.",
    )

    def is_ready() -> bool:
        return model.ready and not drain.active and not app.predictions.are_stuck

    _add_predictions(app, model)
    _add_state(app, model, drain, is_ready)
    _add_wish(app, settings, is_ready)

    @app.get(
        "/version",
        summary="What serves here",
        responses=docs.answer(docs.text(*_version(model, settings))),
    )
    async def version() -> Response:
        return JSONResponse(_version(model, settings), headers={VERSION_HEADER: manifest.version})

    return app


def _add_predictions(app: PredictorApp, model: Model) -> None:
    """Answer predictions in both protocols."""
    predictions = app.predictions
    probes = predictions.counted_by(app.metrics.probes)
    shadow = predictions.counted_by(app.metrics.shadow, timed=True)
    predict_v1 = PredictV1(model)
    for path, answering, summary in (
        ("/predict", predictions, "Predict rows"),
        (PROBE_PATH, probes, "Predict rows, counted apart from users' requests"),
        (SHADOW_PREDICT_PATH, shadow, "Predict the rows of a copied request"),
    ):
        app.answer(
            path,
            answering.handler(predict_v1),
            summary=summary,
            responses=docs.answer(docs.predict_answer(model.manifest))
            | docs.problems(400, 408, 413, 415, 422, 500, 503),
            openapi_extra=docs.predict_request(model.manifest),
        )
    _add_invocations(app, model)
    for template, path in v2.infer_paths(model).items():
        _add_infer(app, predictions, template, at=path, summary="Predict rows")
    copies = "Predict the rows of a copied request"
    _add_infer(app, shadow, SHADOW_INFER_PATH, at=SHADOW_INFER_PATH, summary=copies)


def _add_invocations(app: PredictorApp, model: Model) -> None:
    """Answer predictions as MLflow's scoring server does."""
    predictions = app.predictions
    shadow = predictions.counted_by(app.metrics.shadow, timed=True)
    invocations = Invocations(model)
    for path, answering, summary in (
        ("/invocations", predictions, "Predict rows, as MLflow's scoring server"),
        (SHADOW_INVOCATIONS_PATH, shadow, "Predict the rows of a copied request, as MLflow's"),
    ):
        app.answer(
            path,
            answering.handler(invocations),
            summary=summary,
            description="Also takes a CSV file with a head, as text/csv.",
            responses=docs.answer(docs.invocations_answer(model.manifest))
            | docs.errors(400, 408, 413, 415, 422, 500, 503),
            openapi_extra=docs.invocations_request(model.manifest),
        )


def _add_infer(
    app: PredictorApp, answering: Predictions, template: str, *, at: str, summary: str
) -> None:
    """Answer predictions by the Open Inference Protocol; `at` is the path of `template` here."""
    refusals = docs.errors(400, 404, 408, 413, 415, 422, 500, 503)
    app.answer(
        template,
        answering.handler(app.inference),
        at=[at],
        summary=f"{summary}, by the Open Inference Protocol",
        description=(
            "Also takes and gives tensors as bytes, with Inference-Header-Content-Length."
        ),
        responses=docs.answer(docs.infer_answer()) | refusals,
        openapi_extra=docs.infer_request(app.model.manifest) | v2.parameters(template, app.model),
    )


class _Users:
    """Whether users are here: seen by their count when somebody asks, so that no request pays."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._answered = 0
        self._seen_at = -inf

    def are_here(self) -> bool:
        """Say whether one was answered since the last time, or lately."""
        now, answered = monotonic(), self._metrics.answered
        if answered != self._answered:
            self._answered, self._seen_at = answered, now
        return now - self._seen_at < USERS_STAY_SECONDS


class _Warmth:
    """How long this predictor has been ready: since somebody first saw it so."""

    def __init__(self) -> None:
        self._since: float | None = None

    def seconds(self, *, ready: bool) -> float:
        """Return for how many seconds it has been ready; 0 while it is not."""
        now = monotonic()
        if not ready:
            self._since = None
        elif self._since is None:
            self._since = now
        return 0.0 if self._since is None else now - self._since


def _add_wish(app: PredictorApp, settings: Settings, is_ready: Callable[[], bool]) -> None:
    """Answer which copies of stable's requests this predictor wants."""
    users, warmth = _Users(app.metrics), _Warmth()

    @app.get(
        SHADOW_PATH,
        summary="Which copies of requests are wanted here",
        responses=docs.answer(docs.wish_answer()),
    )
    async def wish() -> Response:
        warm = warmth.seconds(ready=is_ready())
        wanted = settings.shadow
        if wanted and (not is_ready() or warm < wanted.warm_up_seconds or users.are_here()):
            wanted = None
        return JSONResponse(ShadowWish(revision=settings.revision, settings=wanted).model_dump())


def _add_state(app: PredictorApp, model: Model, drain: Drain, is_ready: Callable[[], bool]) -> None:
    """Answer what a kubelet, Prometheus and clients ask about this process."""
    state = docs.answer(docs.text("status"))
    not_ready = docs.answer(docs.text("status"), "Not now", code=503)

    @app.get("/health", summary="The process works", responses=state | not_ready)
    async def health() -> Response:
        # Its thread cannot be ended: only a new process answers again.
        if app.predictions.are_stuck:
            return JSONResponse({"status": _STUCK}, 503)
        return JSONResponse({"status": "ok"})

    @app.get("/ready", summary="The model may be asked", responses=state | not_ready)
    async def ready() -> Response:
        if is_ready():
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": _why_not(app, drain)}, 503)

    @app.get("/ping", summary="The same, as MLflow's scoring server says it", responses=not_ready)
    async def ping() -> Response:
        return await ready()

    @app.get("/metrics", summary="Counters for Prometheus", response_class=PlainTextResponse)
    async def show_metrics() -> Response:
        return Response(app.metrics.render(), media_type=CONTENT_TYPE_LATEST)

    router = v2.router(
        model,
        app.inference,
        is_ready=is_ready,
        is_stuck=lambda: app.predictions.are_stuck,
        service=SERVICE,
    )
    app.include_router(router)


def _why_not(app: PredictorApp, drain: Drain) -> str:
    """Say why the model may not be asked."""
    if drain.active:
        return "draining"
    return _STUCK if app.predictions.are_stuck else "loading"


def _version(model: Model, settings: Settings) -> dict[str, str]:
    return {
        "service": SERVICE,
        "api_version": settings.api_version,
        "model": model.manifest.name,
        "model_version": model.manifest.version,
        "model_sha256": model.digest,
        "release": settings.release,
        "revision": settings.revision,
    }


async def _http_problem(request: Request, error: Exception) -> Response:
    """Give the framework's own refusals (404, 405) the shape of ours."""
    if not isinstance(error, HTTPException):
        raise error
    detail = str(error.detail)
    refuse = protocol_error if request.url.path.startswith("/v2") else problem
    return refuse(error.status_code, detail, as_headers(error.headers)).response()
