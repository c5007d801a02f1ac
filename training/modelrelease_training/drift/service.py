"""The HTTP face of the drift service: takes CloudEvents of sampled requests, shows metrics."""

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from modelrelease_contract.events import BATCH, STRUCTURED, SampledEvent
from modelrelease_training.drift.exported import Exported
from modelrelease_training.drift.worker import Worker

MAX_BODY_BYTES: Final = 2 * 1024 * 1024
MAX_BATCH: Final = 1000
"""Events of one request."""


class RefusedError(Exception):
    """An event that cannot be taken: its HTTP status, and why."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def create_app(worker: Worker, exported: Exported, *, feature: str | None) -> FastAPI:
    """Return the app that feeds `worker`. `feature` names the one that holds the texts."""
    app = FastAPI(title="Drift of texts", description="Takes sampled requests as CloudEvents.")

    @app.post("/events", status_code=202, summary="Take the CloudEvents of sampled requests")
    async def events(request: Request) -> Response:
        if not worker.ready:
            return _problem(503, "the encoder is still loading: ask /ready first")
        try:
            sampled = _events(await _body(request), request.headers)
            texts_by_key = [
                ((event.release, event.revision), texts_of(event, feature)) for event in sampled
            ]
        except RefusedError as error:
            exported.event("refused")
            return _problem(error.status, str(error))
        full = False
        for key, texts in texts_by_key:
            accepted = worker.offer(key, texts)
            exported.event("accepted" if accepted else "dropped")
            full |= not accepted
        if full:
            return _problem(429, "too many texts wait for the encoder: sample less, or later")
        return Response(status_code=202)

    @app.get("/health", summary="The process works")
    async def health() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/ready", summary="Events may be sent")
    async def ready() -> Response:
        if not worker.ready:
            return JSONResponse({"status": "loading"}, 503)
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", summary="Counters and scores for Prometheus")
    async def metrics() -> Response:
        return Response(exported.render(), media_type=CONTENT_TYPE_LATEST)

    return app


def texts_of(event: SampledEvent, feature: str | None) -> list[str]:
    """Return the texts of an event: of `feature`, or of the only feature that holds texts.

    Raises RefusedError where it is not clear which that is.
    """
    names, rows = event.data.features, event.data.rows
    if any(len(row) != len(names) for row in rows):
        raise RefusedError(422, f"every row must hold {len(names)} values, one for each feature")
    if feature is not None:
        if feature not in names:
            raise RefusedError(
                422, f"no feature is called {feature!r}; there are: {', '.join(names)}"
            )
        column = names.index(feature)
    else:
        of_text = sorted(set(chain.from_iterable(map(_text_columns, rows))))
        if len(of_text) != 1:
            names_of_text = ", ".join(names[index] for index in of_text) or "none"
            raise RefusedError(
                422, f"one feature must hold texts, got {names_of_text}: set TEXT_FEATURE"
            )
        (column,) = of_text
    return [text for row in rows if isinstance(text := row[column], str) and text.strip()]


def _text_columns(row: Sequence[object]) -> list[int]:
    return [index for index, value in enumerate(row) if isinstance(value, str)]


def _events(body: bytes, headers: Mapping[str, str]) -> list[SampledEvent]:
    """Read a request in any of the three modes of CloudEvents over HTTP. Raises RefusedError."""
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in (STRUCTURED, BATCH) and "ce-specversion" not in headers:
        raise RefusedError(
            415, f"send CloudEvents: Content-Type {STRUCTURED} or {BATCH}, or ce- headers"
        )
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"the body is not JSON: {error}") from error
    if media_type == BATCH:
        if not isinstance(document, list) or len(document) > MAX_BATCH:
            raise RefusedError(400, f"a batch must be a list of at most {MAX_BATCH} events")
        return [_event(event) for event in document]
    if media_type == STRUCTURED:
        return [_event(document)]
    attributes = {name[3:]: value for name, value in headers.items() if name.startswith("ce-")}
    return [_event({**attributes, "data": document})]


def _event(document: Any) -> SampledEvent:
    try:
        return SampledEvent.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the event"
        raise RefusedError(422, f"{field}: {first['msg']}") from error


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise RefusedError(
                    413, f"a body may have {MAX_BODY_BYTES} bytes: send fewer events"
                )
    except ClientDisconnect as error:
        raise RefusedError(400, "the sender left before the body was complete") from error
    return bytes(body)


def _problem(status: int, detail: str) -> Response:
    headers = {"Retry-After": "1"} if status in (429, 503) else None
    document = {"status": status, "detail": detail}
    return JSONResponse(document, status, headers=headers, media_type="application/problem+json")
