"""The HTTP face of one model: routes, and which answer each outcome gets.

Takes an opened model, which may still be loading, so that tests need no server and no network. How
the process starts and stops is in `server`; what a row must look like in `rows`.

Predictions are answered in front of FastAPI's router, which costs several times what a small model
does. FastAPI has the same routes with the same handlers: it documents them, and answers what the
front does not take, such as another method.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from modelrelease_serving.connections import Drain, LeaveMiddleware, Leaving
from modelrelease_serving.metrics import Metrics
from modelrelease_serving.model import Model
from modelrelease_serving.predictions import VERSION_HEADER, Plain, Predictions
from modelrelease_serving.replies import Headers, Reply, as_headers, problem
from modelrelease_serving.settings import Settings

SERVICE: Final = "modelrelease-predictor"

Handler = Callable[[Headers, Receive], Awaitable[Reply]]


class PredictorApp(FastAPI):
    """A FastAPI app that answers POST to some paths before its router sees them."""

    def __init__(self, leaving: Leaving, **options: Any) -> None:
        super().__init__(**options)
        self._leaving = leaving
        self.front: dict[str, Handler] = {}
        """Who answers POST to which path."""
        self.add_middleware(LeaveMiddleware, leaving=leaving)
        self.add_exception_handler(HTTPException, _http_problem)

    def answer(self, path: str, handler: Handler, **documentation: Any) -> None:
        """Answer POST to `path` by `handler`, in front of the router and behind it."""

        async def behind(request: Request) -> Response:
            return (await handler(list(request.headers.raw), request.receive)).response()

        self.add_api_route(path, behind, methods=["POST"], **documentation)
        self.front[path] = handler

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["method"] == "POST":
            handler = self.front.get(scope["path"])
            if handler is not None:
                reply = await handler(scope["headers"], receive)
                await reply.send(send, leave=self._leaving.is_last(scope))
                return
        await super().__call__(scope, receive, send)


def create_app(model: Model, settings: Settings, *, drain: Drain | None = None) -> PredictorApp:
    """Return the app for `model`. Predictions get 503 until it is ready; `/ready` gets 503 in a drain too."""
    drain = drain or Drain()
    manifest = model.manifest
    metrics = Metrics(
        manifest,
        release=settings.release,
        revision=settings.revision,
        max_series=settings.drift_max_series,
    )
    app = PredictorApp(
        Leaving(drain, max_age_seconds=settings.connection_max_age_seconds),
        title=f"{manifest.name}, version {manifest.version}",
        version=settings.api_version,
        description="Predictions of one version of one model.",
    )
    app.state.metrics = metrics
    predictions = Predictions(model, metrics, settings)
    app.state.predictions = predictions
    plain = Plain(model)

    async def predict(headers: Headers, receive: Receive) -> Reply:
        return await predictions.answer(plain, headers, receive)

    app.answer(
        "/predict",
        predict,
        openapi_extra=_predict_schema(model),
        responses=_PROBLEMS,
        summary="Predict rows",
    )

    @app.get("/health", summary="The process works")
    async def health() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/ready", summary="The model may be asked")
    async def ready() -> Response:
        if drain.active:
            return JSONResponse({"status": "draining"}, 503)
        return JSONResponse({"status": "ready"}) if model.ready else JSONResponse({"status": "loading"}, 503)

    @app.get("/metrics", summary="Counters for Prometheus")
    async def show_metrics() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/version", summary="What serves here")
    async def version() -> Response:
        return JSONResponse(_version(model, settings), headers={VERSION_HEADER: manifest.version})

    return app


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


async def _http_problem(_request: Request, error: Exception) -> Response:
    """Give the framework's own refusals (404, 405) the shape of ours."""
    if not isinstance(error, HTTPException):
        raise error
    return problem(error.status_code, str(error.detail), as_headers(error.headers)).response()


_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    code: {"description": text, "content": {"application/problem+json": {}}}
    for code, text in (
        (400, "The body is not such a document"),
        (413, "Too many bytes or rows"),
        (422, "A value that the feature cannot have; `row` and `feature` name it"),
        (500, "The model failed"),
        (503, "The model is still loading"),
    )
}


def _predict_schema(model: Model) -> dict[str, Any]:
    """Describe the request by the artifact's own features, with its first example row."""
    manifest = model.manifest
    row = list(manifest.examples.rows[0])
    value = {"type": ["number", "string", "null"]}
    one = {"type": "array", "items": value, "minItems": len(row), "maxItems": len(row)}
    names = ", ".join(feature.name for feature in manifest.features)
    schema = {
        "type": "object",
        "required": ["features"],
        "properties": {"features": {"description": names, "oneOf": [one, {"type": "array", "items": one}]}},
    }
    examples = {
        "one row": {"value": {"features": row}},
        "two rows": {"value": {"features": [list(some) for some in manifest.examples.rows[:2]]}},
    }
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema, "examples": examples}},
        }
    }
