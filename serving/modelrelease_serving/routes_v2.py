"""The routes of the Open Inference Protocol beside inference: is it alive, ready, what is it."""

from collections.abc import Callable
from typing import Any, Final

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from modelrelease_serving import openapi as docs
from modelrelease_serving.inference import Inference
from modelrelease_serving.model import Model

MODEL: Final = "/v2/models/{name}"
VERSION: Final = "/v2/models/{name}/versions/{version}"
EXTENSIONS: Final = ["binary_tensor_data"]


def infer_paths(model: Model) -> dict[str, str]:
    """Return the documented forms of the paths for inference, each with the path of this model."""
    of_model = {"name": model.manifest.name, "version": model.manifest.version}
    return {
        f"{template}/infer": f"{template.format(**of_model)}/infer" for template in (MODEL, VERSION)
    }


def parameters(template: str, model: Model) -> dict[str, Any]:
    """Describe the parameters of a documented path: there is one model, in one version."""
    of_model = {"name": model.manifest.name, "version": model.manifest.version}
    return {
        "parameters": [
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": {"type": "string", "enum": [value]},
            }
            for name, value in of_model.items()
            if f"{{{name}}}" in template
        ]
    }


def require_known(model: Model, name: str | None = None, version: str | None = None) -> None:
    """Refuse another model or version than this one with 404. None is no mistake."""
    manifest = model.manifest
    if name is None:
        return
    if name != manifest.name or version not in {None, manifest.version}:
        requested = f"model {name!r}"
        if version:
            requested += f" in version {version!r}"
        served = f"this predictor serves {manifest.name!r} in version {manifest.version!r}"
        raise HTTPException(404, f"there is no {requested}: {served}")


def router(
    model: Model,
    inference: Inference,
    *,
    is_ready: Callable[[], bool],
    is_stuck: Callable[[], bool],
    service: str,
) -> APIRouter:
    """Return the routes. `is_ready` says whether requests should come here, `is_stuck` whether only
    a new process will answer them again.
    """
    routes = APIRouter()
    state = docs.answer(docs.record({"ready": {"type": "boolean"}}))

    @routes.get("/v2", summary="What serves here", responses=docs.answer(_SERVER))
    async def server() -> Response:
        document = {"name": service, "version": model.manifest.version, "extensions": EXTENSIONS}
        return JSONResponse(document)

    alive = docs.record({"live": {"type": "boolean"}})
    live = docs.answer(alive) | docs.answer(alive, "Not any more", code=503)

    @routes.get("/v2/health/live", summary="The process works", responses=live)
    async def is_live() -> Response:
        return JSONResponse({"live": not is_stuck()}, 503 if is_stuck() else 200)

    @routes.get("/v2/health/ready", summary="The model may be asked", responses=state | _NOT_READY)
    async def server_ready() -> Response:
        return _ready(is_ready())

    for template in (MODEL, VERSION):
        _add_model_routes(routes, template, model, inference, is_ready)
    return routes


def _add_model_routes(
    routes: APIRouter,
    template: str,
    model: Model,
    inference: Inference,
    is_ready: Callable[[], bool],
) -> None:
    extra = parameters(template, model)

    async def describe(request: Request) -> Response:
        require_known(model, **request.path_params)
        if not model.ready:
            raise HTTPException(503, "the model is still loading: ask /v2/health/ready first")
        return JSONResponse(inference.metadata())

    async def ready(request: Request) -> Response:
        require_known(model, **request.path_params)
        return _ready(is_ready())

    described = docs.answer(docs.metadata_answer()) | docs.errors(404, 503)
    state = docs.answer(docs.record({"ready": {"type": "boolean"}})) | docs.errors(404) | _NOT_READY
    routes.add_api_route(
        template, describe, summary="The model's tensors", responses=described, openapi_extra=extra
    )
    routes.add_api_route(
        f"{template}/ready",
        ready,
        summary="The model may be asked",
        responses=state,
        openapi_extra=extra,
    )


def _ready(ready: bool) -> Response:
    return JSONResponse({"ready": ready}, 200 if ready else 503)


_SERVER: Final = docs.record(
    {
        "name": {"type": "string"},
        "version": {"type": "string"},
        "extensions": {"type": "array", "items": {"type": "string"}},
    }
)
_NOT_READY: Final = docs.answer(docs.record({"ready": {"type": "boolean"}}), "Not now", code=503)
