"""Requests that wait at the same moment share a call, and nothing else."""

import asyncio
import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from modelrelease_serving.engine import Engine, PredictionResult
from modelrelease_serving.errors import BusyError, ModelFailedError
from modelrelease_serving.estimator import CostModel, Row

QUICK = CostModel(call=1e-6, row=1e-6)
SHARED = CostModel(call=5e-4, row=1e-7)
SLOW = CostModel(call=5e-2, row=0)


class Scripted:
    """A model that doubles its first value, refuses negative ones, and remembers its calls."""

    def __init__(self, cost: CostModel, *, mixes_rows: bool = False) -> None:
        self.cost, self.mixes_rows = cost, mixes_rows
        self.calls: list[int] = []
        self.threads: set[str] = set()
        self.begun = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.estimator = SimpleNamespace(explain=self.explain)

    def predict(self, rows: Sequence[Row]) -> list[Any]:
        self.begun.set()
        assert self.may_go_on.wait(10)
        self.calls.append(len(rows))
        self.threads.add(threading.current_thread().name.partition("_")[0])
        if any(float(row[0] or 0) < 0 for row in rows):
            msg = "negative"
            raise ModelFailedError(msg)
        return [float(row[0] or 0) * 2 for row in rows]

    def explain(self, rows: Sequence[Row]) -> tuple[list[Any], list[list[float]]]:
        return self.predict(rows), [[0.25, 0.75]] * len(rows)


def engine_of(model: Scripted, **limits: Any) -> Engine:
    usual = {"max_rows": 100, "max_bytes": 1000, "max_seconds": 10, "max_call_seconds": 60}
    return Engine(model, **(usual | limits))  # type: ignore[arg-type]


async def ask(engine: Engine, *values: float, size: int = 1) -> list[Any]:
    return (await engine.predict([[value] for value in values], size)).answers


async def test_a_model_of_microseconds_is_asked_at_once_and_alone() -> None:
    model = Scripted(QUICK)
    engine = engine_of(model)
    assert await asyncio.gather(*(ask(engine, number) for number in range(5))) == [
        [0],
        [2],
        [4],
        [6],
        [8],
    ]
    assert model.calls == [1] * 5
    assert model.threads == {"MainThread"}


async def test_requests_that_wait_together_share_a_call_and_get_their_own_answers() -> None:
    model = Scripted(SHARED)
    engine = engine_of(model)
    answers = await asyncio.gather(ask(engine, 1), ask(engine, 2, 3), ask(engine, 4))
    assert list(answers) == [[2], [4, 6], [8]]
    assert model.calls == [4]
    assert model.threads == {"MainThread"}


async def test_a_lonely_request_waits_for_nobody() -> None:
    model = Scripted(SHARED)
    turns = 0

    def count() -> None:
        nonlocal turns
        turns += 1
        asyncio.get_running_loop().call_soon(count)

    asyncio.get_running_loop().call_soon(count)
    assert await ask(engine_of(model), 1) == [2]
    assert turns <= 3


async def test_a_slow_model_is_asked_in_a_thread_and_its_queue_is_the_next_call() -> None:
    model = Scripted(SLOW)
    model.may_go_on.clear()
    engine = engine_of(model)
    first = asyncio.create_task(ask(engine, 1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [asyncio.create_task(ask(engine, number)) for number in (2, 3)]
    await asyncio.sleep(0)
    # The loop still turns while the model works.
    model.may_go_on.set()
    assert await asyncio.gather(first, *others) == [[2], [4], [6]]
    assert model.calls == [1, 2]
    assert model.threads == {"model"}


@pytest.mark.parametrize("cost", [SHARED, SLOW], ids=["on the loop", "in a thread"])
async def test_a_row_that_fails_fails_alone(cost: CostModel) -> None:
    engine = engine_of(Scripted(cost))
    answers: list[Any] = await asyncio.gather(
        ask(engine, 1), ask(engine, -1), ask(engine, 3), return_exceptions=True
    )
    good, bad, other = answers
    assert (good, other) == ([2], [6])
    assert isinstance(bad, ModelFailedError)


async def test_rows_that_colour_each_other_are_never_mixed() -> None:
    model = Scripted(SHARED, mixes_rows=True)
    engine = engine_of(model)
    assert list(await asyncio.gather(ask(engine, 1), ask(engine, 2))) == [[2], [4]]
    assert model.calls == [1, 1]


async def test_probabilities_are_computed_only_for_those_who_asked() -> None:
    engine = engine_of(Scripted(QUICK))
    plain, explained = await asyncio.gather(
        engine.predict([[1]], 1), engine.predict([[2]], 1, explain=True)
    )
    assert plain == PredictionResult([2], None)
    assert explained == PredictionResult([4], [[0.25, 0.75]])


@pytest.mark.parametrize(
    "cost", [QUICK, SHARED, SLOW], ids=["at once", "on the loop", "in a thread"]
)
async def test_requests_that_are_timed_have_their_calls_to_themselves(cost: CostModel) -> None:
    model = Scripted(cost)
    engine = engine_of(model)
    results = await asyncio.gather(*(engine.predict([[1]], 1, timed=True) for _ in range(3)))
    assert model.calls == [1, 1, 1]
    assert all(result.seconds is not None and result.seconds > 0 for result in results)


async def test_one_that_is_timed_makes_no_other_wait_for_longer() -> None:
    model = Scripted(SHARED)
    engine = engine_of(model)
    results = await asyncio.gather(*(engine.predict([[1]], 1, timed=it) for it in (True, False)))
    assert model.calls == [2]
    assert [result.seconds for result in results] == [None, None]


async def test_one_that_is_timed_is_refused_while_another_waits() -> None:
    engine = engine_of(Scripted(SHARED))
    tasks = [asyncio.create_task(engine.predict([[1]], 1, timed=it)) for it in (False, True)]
    first, second = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(first, PredictionResult)
    assert isinstance(second, BusyError)


async def test_timed_requests_are_refused_before_they_wait_too_long_one_by_one() -> None:
    model = Scripted(SLOW)
    model.may_go_on.clear()
    engine = engine_of(model, max_seconds=0.12)
    tasks = [asyncio.create_task(engine.predict([[1]], 1, timed=True)) for _ in range(8)]
    refused = await asyncio.wait_for(first_failure(tasks), 30)
    assert isinstance(refused, BusyError)
    model.may_go_on.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(result, BusyError) for result in results) >= 4
    assert any(isinstance(result, PredictionResult) for result in results)


async def test_a_request_that_is_timed_may_fail() -> None:
    engine = engine_of(Scripted(SHARED))
    with pytest.raises(ModelFailedError):
        await engine.predict([[-1]], 1, timed=True)


@pytest.mark.parametrize(
    ("rows", "size"), [(4, 10), (1, 500)], ids=["too many rows wait", "too many bytes wait"]
)
async def test_a_full_queue_refuses_at_once_and_takes_again_later(rows: int, size: int) -> None:
    model = Scripted(SLOW)
    model.may_go_on.clear()
    engine = engine_of(model, max_rows=10, max_bytes=1000)
    tasks = [asyncio.create_task(ask(engine, *range(rows), size=size)) for _ in range(8)]
    refused = await asyncio.wait_for(first_failure(tasks), 30)
    assert isinstance(refused, BusyError)
    model.may_go_on.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    kept = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert kept
    assert all(answer == [2 * value for value in range(rows)] for answer in kept)
    assert await ask(engine, 5) == [10]


async def test_what_would_wait_too_long_for_the_model_is_refused() -> None:
    model = Scripted(CostModel(call=0.05, row=0.1))
    model.may_go_on.clear()
    engine = engine_of(model, max_seconds=1)
    tasks = [asyncio.create_task(ask(engine, 1, 2, 3)) for _ in range(8)]
    assert isinstance(await asyncio.wait_for(first_failure(tasks), 30), BusyError)
    model.may_go_on.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    # Nine rows take 0.95 seconds, and twelve 1.25.
    assert [answer for answer in answers if not isinstance(answer, BaseException)] == [
        [2, 4, 6]
    ] * 3


async def first_failure(tasks: list[asyncio.Task[Any]]) -> BaseException | None:
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    return next(task.exception() for task in done if task.exception())


async def test_who_waits_for_a_call_that_does_not_come_back_is_refused_and_later_comers_too() -> (
    None
):
    model = Scripted(SLOW)
    model.may_go_on.clear()
    engine = engine_of(model, max_call_seconds=0.01)
    in_hand = asyncio.create_task(ask(engine, 1))
    assert await asyncio.to_thread(model.begun.wait, 10)
    waiting = asyncio.create_task(ask(engine, -1))
    for request in (in_hand, waiting):
        with pytest.raises(BusyError, match=r"has not come back for 0.01 s"):
            await request
    assert engine.is_stuck
    with pytest.raises(BusyError):
        await ask(engine, 2)
    model.may_go_on.set()


async def test_a_call_that_comes_back_late_answers_those_who_ask_then() -> None:
    model = Scripted(SLOW)
    model.may_go_on.clear()
    engine = engine_of(model, max_call_seconds=0.01)
    with pytest.raises(BusyError):
        await ask(engine, 1)
    model.may_go_on.set()
    while engine.is_stuck:  # noqa: ASYNC110 - the engine tells nobody
        await asyncio.sleep(0)
    engine._max_call_seconds = 60
    assert await ask(engine, 3) == [6]


async def test_a_call_in_time_is_no_reason_to_give_up() -> None:
    model = Scripted(SLOW)
    engine = engine_of(model)
    assert await ask(engine, 3) == [6]
    assert not engine.is_stuck
