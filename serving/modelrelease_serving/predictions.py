"""Answers POST /predict: reads, checks, asks the model, counts. The only path that is hot.

Rows and predictions are never logged.
"""

import asyncio
import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from modelrelease_serving.errors import BadRequestError
from modelrelease_serving.logs import fields
from modelrelease_serving.metrics import Metrics
from modelrelease_serving.model import Answer, Model
from modelrelease_serving.problems import problem
from modelrelease_serving.rows import parse_rows

VERSION_HEADER: Final = "X-Model-Version"
MAX_BODY_BYTES: Final = 1024 * 1024

_LOG = logging.getLogger(__name__)


class Predictions:
    """Turns a request into its answer, one model call at a time.

    The model runs in a thread of its own, so a slow model delays predictions but not `/health`, and
    the time that a request waits for its turn counts as its duration.
    """

    def __init__(self, model: Model, metrics: Metrics) -> None:
        self._model = model
        self._metrics = metrics
        self._features = model.manifest.features
        self._headers = {VERSION_HEADER: model.manifest.version}
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._failures_seen: set[str] = set()

    async def answer(self, request: Request) -> Response:
        """Return predictions or a problem document, and count it."""
        if not self._model.ready:
            return self._refuse(BadRequestError(503, "the model is still loading: ask /ready first"))
        try:
            body = await _read(request)
        except BadRequestError as error:
            return self._refuse(error)
        began = time.perf_counter()
        try:
            rows, single = parse_rows(body, self._features)
        except BadRequestError as error:
            return self._refuse(error)
        try:
            answers = await asyncio.get_running_loop().run_in_executor(
                self._worker, self._model.predict, rows
            )
        except Exception as error:
            self._metrics.answered(500, time.perf_counter() - began)
            self._report(error, len(rows))
            detail = "the model failed on this request; its log names the error"
            return problem(500, detail, headers=self._headers)
        self._metrics.answered(200, time.perf_counter() - began)
        self._metrics.saw(rows, answers)
        return self._success(answers, single=single)

    def _success(self, answers: list[Answer], *, single: bool) -> Response:
        answer = {"prediction": answers[0]} if single else {"predictions": answers}
        content = json.dumps({**answer, "model_version": self._model.manifest.version}, separators=(",", ":"))
        return Response(content, headers=self._headers, media_type="application/json")

    def _refuse(self, error: BadRequestError) -> Response:
        self._metrics.answered(error.status)
        return problem(
            error.status, error.detail, headers=self._headers, row=error.row, feature=error.feature
        )

    def _report(self, error: Exception, rows: int) -> None:
        """Log one line for each failure, with the traceback only the first time that it is seen."""
        where = _origin(error)
        known = where in self._failures_seen
        self._failures_seen.add(where)
        _LOG.error(
            "the model failed",
            exc_info=None if known else error,
            extra=fields(error=type(error).__name__, reason=_first_line(error), at=where, rows=rows),
        )


def _first_line(error: Exception) -> str:
    """Return what scikit-learn means; the lines after it are advice for whoever trains."""
    return str(error).partition("\n")[0][:300]


def _origin(error: Exception) -> str:
    """Return file and line where `error` was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "nowhere"


async def _read(request: Request) -> bytes:
    """Return the body. Raises BadRequestError when it is too large, or the client leaves in the middle."""
    body = b""
    try:
        async for chunk in request.stream():
            body = body + chunk if body else chunk
            if len(body) > MAX_BODY_BYTES:
                detail = f"a body may have {MAX_BODY_BYTES} bytes: send several requests"
                raise BadRequestError(413, detail)
    except ClientDisconnect as error:
        raise BadRequestError(400, "the client left before the body was complete") from error
    return body
