"""Decides when, where and in whose company rows are predicted.

Requests that wait at the same moment share one call of the model: 32 rows cost scikit-learn what
one costs. Nobody waits for company: a batch is what has arrived by the next turn of the event loop,
or while the model was busy. A model of microseconds is asked at once, on the loop; a call that
takes milliseconds goes to a thread, so that `/health` is answered meanwhile. One call at a time.
Where one does not come back, all that wait are refused, and the process says that it is broken.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from time import perf_counter
from typing import Final, NamedTuple

from modelrelease_serving.errors import BusyError
from modelrelease_serving.estimator import Answer, Row
from modelrelease_serving.model import Model

_AT_ONCE_SECONDS: Final = 200e-6
"""A call up to here is cheaper than gathering company for it, if company would save little."""
_COMPANY_SECONDS: Final = 20e-6
"""What it costs a request to wait for the next turn of the loop."""
THREAD: Final = "model"
"""What the name of the thread begins with in which slow models answer."""
_ON_LOOP_SECONDS: Final = 2e-3
"""A longer call goes to a thread."""
_BATCH_ROWS_MAX: Final = 1024


class PredictionResult(NamedTuple):
    """The answers to one request."""

    answers: list[Answer]
    probabilities: list[list[float]] | None = None
    """For each row one of each class, where they were asked for."""
    seconds: float | None = None
    """How long the model took, where that was asked for and the call was for this request alone."""


class _Waiting:
    """A request in the queue."""

    __slots__ = ("explain", "future", "rows", "size", "timed")

    def __init__(
        self,
        rows: Sequence[Row],
        size: int,
        *,
        explain: bool,
        timed: bool,
        future: asyncio.Future[PredictionResult],
    ) -> None:
        self.rows = rows
        self.size = size
        self.explain = explain
        self.timed = timed
        self.future = future


_Results = list[PredictionResult | Exception]


class Engine:
    """Answers requests from one model. Belongs to one event loop."""

    def __init__(
        self,
        model: Model,
        *,
        max_rows: int,
        max_bytes: int,
        max_seconds: float,
        max_call_seconds: float,
    ) -> None:
        self._model = model
        self._max_rows, self._max_bytes, self._max_seconds = max_rows, max_bytes, max_seconds
        self._max_call_seconds = max_call_seconds
        self.is_stuck = False
        """Whether the model has not come back from a call for longer than it may."""
        self._queue: deque[_Waiting] = deque()
        self._rows = self._bytes = 0
        self._busy = False
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix=THREAD)
        self._rows_at_once: int | None = None

    async def predict(
        self, rows: Sequence[Row], size: int, *, explain: bool = False, timed: bool = False
    ) -> PredictionResult:
        """Return the answers to one request, whose body had `size` bytes.

        A `timed` one has a call of the model to itself, unless others that are not wait, too: they
        shall not wait for longer. Raises BusyError when too much waits already, and whatever the
        model raises.
        """
        if self._rows_at_once is None:
            self._rows_at_once = _rows_at_once(self._model)
        if len(rows) <= self._rows_at_once and not explain and not self._busy:
            if timed:
                return _predict_timed(self._model, rows)
            return PredictionResult(self._model.predict(rows))
        if timed:
            self._require_time()
        self._make_room(len(rows), size)
        loop = asyncio.get_running_loop()
        waiting = _Waiting(rows, size, explain=explain, timed=timed, future=loop.create_future())
        if not self._queue and not self._busy:
            loop.call_soon(self._work)
        self._queue.append(waiting)
        return await waiting.future

    def require_room(self, rows: int, size: int) -> None:
        """Raise BusyError when a request is too much. What comes to an empty queue never is."""
        if self.is_stuck:
            raise self._stuck()
        if self._queue and (
            self._rows + rows > self._max_rows
            or self._bytes + size > self._max_bytes
            or self._model.cost.seconds(self._rows + rows) > self._max_seconds
        ):
            msg = f"{self._rows} rows in {self._bytes} bytes wait for the model already"
            raise BusyError(msg)

    def _require_time(self) -> None:
        """Raise BusyError where users wait, or all that waits would take too long, each in a call
        of its own.
        """
        if any(not each.timed for each in self._queue):
            msg = "users wait for the model, who come first"
            raise BusyError(msg)
        cost = self._model.cost
        if len(self._queue) * cost.call + self._rows * cost.row > self._max_seconds:
            msg = f"{len(self._queue)} requests wait for the model already"
            raise BusyError(msg)

    def _make_room(self, rows: int, size: int) -> None:
        """Count a request in."""
        self.require_room(rows, size)
        self._rows += rows
        self._bytes += size

    def _work(self) -> None:
        """Predict what waits, and come back if that was not all."""
        batch = self._take()
        rows = sum(len(request.rows) for request in batch)
        if self._model.cost.seconds(rows) > _ON_LOOP_SECONDS:
            self._busy = True
            loop = asyncio.get_running_loop()
            running = loop.run_in_executor(self._worker, predict_together, self._model, batch)
            late = loop.call_later(self._max_call_seconds, self._give_up, batch)
            running.add_done_callback(
                lambda finished: self._come_back(late, batch, finished.result())
            )
            return
        self._resume(batch, predict_together(self._model, batch))

    def _take(self) -> list[_Waiting]:
        """Take from the queue what one call may answer, at least one request."""
        batch = [self._queue.popleft()]
        rows = len(batch[0].rows)
        timed = batch[0].timed and all(each.timed for each in self._queue)
        most = 0 if timed or self._model.mixes_rows else _BATCH_ROWS_MAX
        while self._queue and rows + len(self._queue[0].rows) <= most:
            batch.append(self._queue.popleft())
            rows += len(batch[-1].rows)
        self._rows -= rows
        self._bytes -= sum(request.size for request in batch)
        return batch

    def _give_up(self, batch: list[_Waiting]) -> None:
        """Refuse what waits for a call that does not come back: no one else can be asked."""
        self.is_stuck = True
        for waiting in (*batch, *self._queue):
            if not waiting.future.done():
                waiting.future.set_exception(self._stuck())
        self._queue.clear()
        self._rows = self._bytes = 0

    def _stuck(self) -> BusyError:
        return BusyError(f"the model has not come back for {self._max_call_seconds:g} s and longer")

    def _come_back(
        self, late: asyncio.TimerHandle, batch: list[_Waiting], results: _Results
    ) -> None:
        """Go on after a call in the thread, also after one that nobody waits for any more."""
        late.cancel()
        self.is_stuck = False
        self._resume(batch, results)

    def _resume(self, batch: list[_Waiting], results: _Results) -> None:
        """Hand out results, and go on with what has come meanwhile."""
        self._busy = False
        for waiting, result in zip(batch, results, strict=True):
            if waiting.future.done():
                continue
            if isinstance(result, StopIteration):
                # No future can hold this one.
                waiting.future.set_exception(RuntimeError("the model raised StopIteration"))
            elif isinstance(result, Exception):
                waiting.future.set_exception(result)
            else:
                waiting.future.set_result(result)
        if self._queue:
            asyncio.get_running_loop().call_soon(self._work)


def predict_together(model: Model, batch: Sequence[_Waiting]) -> _Results:
    """Return for each request its answers, or what the model raised at its rows and no other's."""
    began = perf_counter()
    results: dict[int, PredictionResult | Exception] = {}
    for explain in (False, True):
        group = [index for index, waiting in enumerate(batch) if waiting.explain is explain]
        if group:
            predicted = _predict_group(
                model, [batch[index].rows for index in group], explain=explain
            )
            results.update(zip(group, predicted, strict=True))
    result = results[0]
    if len(batch) == 1 and batch[0].timed and isinstance(result, PredictionResult):
        return [result._replace(seconds=perf_counter() - began)]
    return [results[index] for index in range(len(batch))]


def _predict_timed(model: Model, rows: Sequence[Row]) -> PredictionResult:
    began = perf_counter()
    answers = model.predict(rows)
    return PredictionResult(answers, None, perf_counter() - began)


def _predict_group(model: Model, requests: Sequence[Sequence[Row]], *, explain: bool) -> _Results:
    try:
        all_rows = requests[0] if len(requests) == 1 else list(chain.from_iterable(requests))
        combined = _predict_rows(model, all_rows, explain=explain)
    # Models raise what they like, and the neighbours of a row that fails must not fail with it.
    except Exception as error:
        if len(requests) == 1:
            return [error]
        return [_predict_group(model, [rows], explain=explain)[0] for rows in requests]
    return _split(combined, requests)


def _predict_rows(model: Model, rows: Sequence[Row], *, explain: bool) -> PredictionResult:
    if explain:
        return PredictionResult(*model.estimator.explain(rows))
    return PredictionResult(model.predict(rows))


def _split(combined: PredictionResult, requests: Sequence[Sequence[Row]]) -> _Results:
    results: _Results = []
    start = 0
    for rows in requests:
        part = slice(start, start + len(rows))
        probabilities = combined.probabilities
        if probabilities is not None:
            probabilities = probabilities[part]
        results.append(PredictionResult(combined.answers[part], probabilities))
        start += len(rows)
    return results


def _rows_at_once(model: Model) -> int:
    """Return up to how many rows a request is answered at once, 0 where company makes it cheap."""
    cost = model.cost
    gain = cost.seconds(1) - cost.seconds(32) / 32
    if gain > _COMPANY_SECONDS or cost.seconds(1) > _AT_ONCE_SECONDS:
        return 0
    return max(1, int((_AT_ONCE_SECONDS - cost.call) / max(cost.row, 1e-9)))
