"""Answers prediction requests: reads, checks, asks the engine, counts. The only path that is hot.

Rows and predictions are never logged.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from functools import partial
from time import perf_counter
from typing import Final, NamedTuple, Protocol

from starlette.types import Receive, Scope

from modelrelease_contract.shadow import SECONDS_HEADER
from modelrelease_serving.connections import connection_of
from modelrelease_serving.engine import Engine, PredictionResult
from modelrelease_serving.errors import BadRequestError, BusyError
from modelrelease_serving.estimator import Answer, Row
from modelrelease_serving.logs import fields
from modelrelease_serving.metrics import Metrics, SeparateCounts
from modelrelease_serving.model import Model
from modelrelease_serving.protocol import raise_refusal
from modelrelease_serving.responses import Headers, Reply, problem, reply
from modelrelease_serving.rows import Decoder
from modelrelease_serving.settings import Settings

VERSION_HEADER: Final = "X-Model-Version"
MAX_BODY_BYTES: Final = 1024 * 1024
_FAILED: Final = "the model failed on this request; its log names the error"
_SECONDS: Final = SECONDS_HEADER.lower().encode()

_LOG = logging.getLogger(__name__)

Sampler = Callable[[Sequence[Row], Sequence[Answer], str | None], None]
"""Takes the rows and answers of one request after it was answered, and its id if it has one."""

Copier = Callable[[str, bytes, dict[bytes, bytes], Reply, float], None]
"""Takes the path, body and headers of one request, its answer (predictions, or a 500), and the
seconds that it took.
"""

Handler = Callable[[Scope, Receive], Awaitable[Reply]]
"""Answers one request, given as ASGI has it."""


class PredictRequest(NamedTuple):
    """One request's rows, and how its answers become an answer."""

    rows: Sequence[Row]
    write: Callable[[PredictionResult], Reply]
    explain: bool = False
    """Whether probabilities are asked for, too."""
    id: str | None = None


class WireProtocol(Protocol):
    """One way of asking for predictions."""

    def read(self, body: bytes, headers: dict[bytes, bytes]) -> PredictRequest:
        """Return what a request asks for. Raises BadRequestError."""
        ...

    def refuse(
        self, status: int, detail: str, headers: Headers, **members: str | int | None
    ) -> Reply:
        """Return the document for a request that is not answered."""
        ...


class Predictions:
    """Turns requests into answers, and counts them."""

    def __init__(self, model: Model, metrics: Metrics, settings: Settings) -> None:
        self.sampler: Sampler | None = None
        """Called after each answer when set."""
        self.copier: Copier | None = None
        """Called after each answer that the model gave or failed to give, when set."""
        self._model = model
        self._metrics: Metrics | SeparateCounts = metrics
        self._headers: Headers = [
            (VERSION_HEADER.lower().encode(), model.manifest.version.encode())
        ]
        self._engine = Engine(
            model,
            max_rows=settings.max_waiting_rows,
            max_bytes=settings.max_waiting_bytes,
            max_seconds=settings.max_waiting_seconds,
            max_call_seconds=settings.max_call_seconds,
        )
        self._failures_seen: set[str] = set()
        self._timed = False

    def counted_by(self, counts: SeparateCounts, *, timed: bool = False) -> "Predictions":
        """Return what answers by the same engine, with counts of its own, no sampler and no copier.

        `timed` adds to an answer how long the model took for this request alone, if it was alone.
        """
        other = copy(self)
        other._metrics, other.sampler, other.copier = counts, None, None
        other._timed = timed
        return other

    @property
    def are_stuck(self) -> bool:
        """Whether the model does not come back from a call, so that nobody can be answered."""
        return self._engine.is_stuck

    def handler(self, protocol: WireProtocol) -> Handler:
        """Return what answers the requests of one wire protocol."""
        return partial(self.answer, protocol)

    async def answer(self, protocol: WireProtocol, scope: Scope, receive: Receive) -> Reply:
        """Return predictions or a problem document, and count it."""
        try:
            if not self._model.ready:
                raise BadRequestError(503, "the model is still loading: ask /ready first")
            headers = dict(scope["headers"])
            body = await _read(scope, headers, receive)
            # Before it is decoded: a server with too much to do must not do that, too.
            _refuse_surplus(scope)
            self._engine.require_room(1, len(body))
            began = perf_counter()
            request = protocol.read(body, headers)
        except BadRequestError as error:
            return self._refuse(protocol, error)
        except BusyError as error:
            return self._refuse_for_now(protocol, error)
        try:
            result = await self._engine.predict(
                request.rows, len(body), explain=request.explain, timed=self._timed
            )
        except BusyError as error:
            return self._refuse_for_now(protocol, error)
        except Exception as error:
            self._metrics.count_response(500, perf_counter() - began)
            self._report(error, len(request.rows))
            answer = protocol.refuse(500, _FAILED, self._headers)
        else:
            answer = request.write(result)
            self._metrics.count_response(200, perf_counter() - began)
            self._metrics.count_rows(request.rows, result.answers)
            if self.sampler is not None:
                self.sampler(request.rows, result.answers, request.id or _id_of(headers))
            if result.seconds is not None:
                answer.headers.append((_SECONDS, repr(result.seconds).encode()))
        if self.copier is not None:
            self.copier(scope["path"], body, headers, answer, perf_counter() - began)
        return answer

    def _refuse(self, protocol: WireProtocol, error: BadRequestError) -> Reply:
        self._metrics.count_response(error.status)
        return protocol.refuse(
            error.status, error.detail, self._headers, row=error.row, feature=error.feature
        )

    def _refuse_for_now(self, protocol: WireProtocol, error: BusyError) -> Reply:
        self._metrics.count_response(503)
        return protocol.refuse(503, str(error), [*self._headers, (b"retry-after", b"1")])

    def _report(self, error: Exception, rows: int) -> None:
        """Log one line for each failure, with the traceback only the first time that it is seen."""
        where = _origin(error)
        known = where in self._failures_seen
        self._failures_seen.add(where)
        _LOG.error(
            "the model failed",
            exc_info=None if known else error,
            extra=fields(
                error=type(error).__name__, reason=_first_line(error), at=where, rows=rows
            ),
        )


class PredictV1:
    """`/predict`: one row or many, values in the order of the features."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._decoder = Decoder(model.manifest.features)
        version = model.manifest.version
        self._headers: Headers = [(VERSION_HEADER.lower().encode(), version.encode())]
        self._tail = f',"model_version":{json.dumps(version)}}}'

    def read(self, body: bytes, headers: dict[bytes, bytes]) -> PredictRequest:
        """Return what a request asks for. Raises BadRequestError."""
        media_type = headers.get(b"content-type", b"application/json")
        if media_type != b"application/json" and not is_json(media_type):
            raise BadRequestError(415, "send the body as Content-Type: application/json")
        parsed = self._decoder.decode(body)
        if parsed.probabilities and not self._model.estimator.has_probabilities:
            raise BadRequestError(
                422, 'this model gives no probabilities: leave "probabilities" out'
            )
        return PredictRequest(
            parsed.rows,
            self._write_one if parsed.single else self._write_many,
            parsed.probabilities,
        )

    refuse = staticmethod(problem)

    def _write_one(self, result: PredictionResult) -> Reply:
        (answer,) = result.answers
        text = repr(answer) if type(answer) is float else json.dumps(answer)
        shares = self._shares(result)
        chances = "" if shares is None else f',"probabilities":{json.dumps(shares[0])}'
        return reply(200, f'{{"prediction":{text}{chances}{self._tail}'.encode(), self._headers)

    def _write_many(self, result: PredictionResult) -> Reply:
        shares = self._shares(result)
        chances = "" if shares is None else f',"probabilities":{json.dumps(shares)}'
        text = json.dumps(result.answers, separators=(",", ":"))
        return reply(200, f'{{"predictions":{text}{chances}{self._tail}'.encode(), self._headers)

    def _shares(self, result: PredictionResult) -> list[dict[str, float]] | None:
        if result.probabilities is None:
            return None
        classes = self._model.estimator.classes
        return [dict(zip(classes, shares, strict=True)) for shares in result.probabilities]


def is_json(media_type: bytes) -> bool:
    """Say whether a Content-Type is JSON, whatever its parameters."""
    return media_type.partition(b";")[0].strip().lower() == b"application/json"


def _id_of(headers: dict[bytes, bytes]) -> str | None:
    value = headers.get(b"x-request-id")
    return None if value is None else value.decode("latin-1")


def _first_line(error: Exception) -> str:
    """Return what scikit-learn means; the lines after it are advice for whoever trains."""
    return str(error).partition("\n")[0][:300]


def _origin(error: Exception) -> str:
    """Return file and line where `error` was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "nowhere"


def _refuse_surplus(scope: Scope) -> None:
    """Raise BusyError on a connection too many.
    Its body was read, so that the answer meets no reset.
    """
    connection = connection_of(scope)
    if connection is not None and connection.is_surplus:
        raise BusyError("as many connections stand as this server takes")


async def _read(scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> bytes:
    """Return the body. Raises BadRequestError or BusyError for one that is not waited for to its
    end.
    """
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise BadRequestError(415, "send the body without Content-Encoding")
    length = headers.get(b"content-length", b"0")
    if len(length) > 6 and int(length) > MAX_BODY_BYTES:
        raise _too_large()
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        return await _read_on(scope, bytearray(body), receive)
    if message["type"] == "http.disconnect":
        raise _left()
    if len(body) > MAX_BODY_BYTES:
        raise _too_large()
    return body


async def _read_on(scope: Scope, body: bytearray, receive: Receive) -> bytes:
    """Return a body that begins with `body` and comes in parts."""
    while True:
        raise_refusal(scope)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _left()
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
        if not message.get("more_body", False):
            return bytes(body)


def _left() -> BadRequestError:
    return BadRequestError(400, "the client left before the body was complete")


def _too_large() -> BadRequestError:
    return BadRequestError(413, f"a body may have {MAX_BODY_BYTES} bytes: send several requests")
