"""One task for each release: woken, due, failing, ending, and never two at a time."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from modelrelease_operator.errors import Gone, Unavailable
from modelrelease_operator.runtime import workers as module
from modelrelease_operator.runtime.drift_watch import DriftWatch
from modelrelease_operator.runtime.memory import Trouble
from modelrelease_operator.runtime.metrics import PHASE
from modelrelease_operator.runtime.reconcile import EARLY
from modelrelease_operator.runtime.telemetry import Reporter
from modelrelease_operator.runtime.workers import Workers

KEY, OTHER = ("ml", "qna"), ("ml", "spam")
SOON = timedelta(seconds=0.01)
Outcome = timedelta | Exception | None


class Passes:
    """Stands where the reconciler does: says what each pass comes to, and who is inside of one."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.drift = DriftWatch()
        self.outcomes = list(outcomes)
        self.shown: list[str] = []
        self.made: list[tuple[str, str]] = []
        self.inside: list[tuple[str, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.changed = asyncio.Condition()

    def forget(self, namespace: str, name: str) -> None:
        self.drift.forget((namespace, name))

    def is_failing(self, key: tuple[str, str]) -> bool:
        return False

    async def show_trouble(
        self, namespace: str, name: str, trouble: Trouble, reporter: Any
    ) -> None:
        self.shown.append(trouble.message)
        await self._tell()

    async def reconcile(self, namespace: str, name: str, reporter: Any) -> timedelta | None:
        key = (namespace, name)
        assert key not in self.inside, "two tasks write the same release"
        self.inside.append(key)
        await self._tell()
        await self.gate.wait()
        self.inside.remove(key)
        self.made.append(key)
        await self._tell()
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def reporter_for(self, key: tuple[str, str], notifier: Any) -> Reporter:
        return Reporter(None, *key, notifier)  # type: ignore[arg-type]

    def next_drift_look(self, key: tuple[str, str]) -> timedelta | None:
        return self.drift.wait(key)

    async def look_at_drift(self, key: tuple[str, str]) -> bool:
        return await self.drift.look(key)

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(30), self.changed:
            await self.changed.wait_for(what)

    async def count(self, number: int) -> None:
        await self.until(lambda: len(self.made) >= number)


@pytest.fixture
async def started() -> AsyncIterator[Callable[..., tuple[Passes, Workers]]]:
    running: list[Workers] = []

    def start(*outcomes: Outcome) -> tuple[Passes, Workers]:
        passes = Passes(*outcomes)
        running.append(Workers(passes))  # type: ignore[arg-type]
        return passes, running[-1]

    yield start
    for each in running:
        await each.stop()


Start = Callable[..., tuple[Passes, Workers]]


async def settled() -> None:
    """Let every task that can go on do so, and some time longer than events are gathered for."""
    await asyncio.sleep(module.QUIET_SECONDS + 0.1)


async def test_a_release_is_looked_at_when_it_appears_and_then_left_alone(started: Start):
    passes, workers = started()
    workers.changed(KEY, "generation 1")
    await passes.count(1)
    await settled()
    assert passes.made == [KEY], "an idle release costs nothing"


async def test_a_change_that_a_person_made_wakes_and_an_echo_of_our_own_writes_does_not(
    started: Start,
):
    passes, workers = started()
    workers.changed(KEY, "generation 1")
    await passes.count(1)
    workers.changed(KEY, "generation 1")
    await settled()
    assert len(passes.made) == 1
    workers.changed(KEY, "generation 2")
    await passes.count(2)


async def test_a_pass_that_asked_for_a_time_is_repeated_then(started: Start):
    passes, workers = started(SOON, SOON)
    workers.wake(KEY)
    await passes.count(3)


async def test_events_that_come_together_are_looked_at_together(started: Start):
    passes, workers = started()
    for number in range(50):
        workers.changed(KEY, number)
    await passes.count(1)
    for number in range(50, 100):
        workers.changed(KEY, number)
    await passes.count(2)
    await settled()
    assert len(passes.made) == 2


async def test_what_happens_during_a_pass_is_looked_at_after_it(started: Start):
    passes, workers = started()
    passes.gate.clear()
    workers.wake(KEY)
    await passes.until(lambda: passes.inside == [KEY])
    workers.wake(KEY)
    passes.gate.set()
    await passes.count(2)


async def test_releases_do_not_wait_for_each_other(started: Start):
    passes, workers = started()
    passes.gate.clear()
    workers.wake(KEY)
    workers.wake(OTHER)
    await passes.until(lambda: set(passes.inside) == {KEY, OTHER})


async def test_an_owned_object_wakes_a_known_release_only(started: Start):
    passes, workers = started()
    workers.wake_known(KEY)
    await settled()
    assert passes.made == []
    workers.wake(KEY)
    await passes.count(1)
    workers.wake_known(KEY)
    await passes.count(2)


@pytest.mark.parametrize(
    ("problem", "level"),
    [
        (Unavailable("the API server does not answer"), logging.WARNING),
        (ZeroDivisionError("x"), logging.ERROR),
    ],
    ids=["an error of the world", "an error of ours"],
)
async def test_no_error_ends_the_care_for_a_release(
    started: Start, problem: Exception, level: int, caplog: pytest.LogCaptureFixture
):
    passes, workers = started(problem)
    workers.wake(KEY)
    await passes.count(1)
    workers.wake(KEY)
    await passes.count(2)
    (record,) = [it for it in caplog.records if "a pass failed and will be repeated" in it.message]
    assert record.levelno == level
    assert (record.exc_info is not None) == (level == logging.ERROR), (
        "a stack only where a bug may be"
    )
    assert record.fields["release"] == "qna"  # type: ignore[attr-defined]


def test_pauses_after_failures_grow_to_a_limit_and_differ():
    assert 1 <= module._pause(1) <= 2
    assert all(module._pause(count) <= module.LONGEST_PAUSE_SECONDS for count in (5, 10, 1_000_000))
    assert module._pause(1_000) >= module.LONGEST_PAUSE_SECONDS / 2
    assert len({module._pause(9) for _ in range(20)}) > 10


async def test_a_release_that_is_gone_leaves_the_operators_metrics(started: Start):
    phase = ("ml", "qna", "Stable")
    PHASE.labels(*phase).set(1)
    PHASE.labels("ml", "spam", "Stable").set(1)
    passes, workers = started(Gone("deleted"))
    workers.wake(KEY)
    await passes.count(1)
    await settled()
    (metric,) = PHASE.collect()
    assert {sample.labels["release"] for sample in metric.samples} == {"spam"}
    PHASE.remove("ml", "spam", "Stable")


async def test_a_release_that_is_gone_is_forgotten_and_may_come_back(started: Start):
    passes, workers = started(Gone("deleted"))
    workers.changed(KEY, "same")
    await passes.count(1)
    await settled()
    workers.wake_known(KEY)
    await settled()
    assert len(passes.made) == 1
    workers.changed(KEY, "same")
    await passes.count(2)


class Looks:
    """Stands where the watch of drift does: due at once, so many times without news, then with."""

    def __init__(self, *news: bool) -> None:
        self.news = list(news)
        self.made = 0

    def wait(self, key: tuple[str, str]) -> timedelta | None:
        return SOON if self.news else None

    async def look(self, key: tuple[str, str]) -> bool:
        self.made += 1
        return self.news.pop(0)


async def test_looks_at_drift_make_no_pass_until_there_is_something_to_write(started: Start):
    passes, workers = started()
    passes.drift = looks = Looks(False, False, False)  # type: ignore[assignment]
    workers.wake(KEY)
    await passes.count(1)
    await settled()
    assert (looks.made, len(passes.made)) == (3, 1)
    looks.news = [False, True]
    workers.wake(KEY)
    await passes.count(3)
    assert looks.made == 5


async def test_looks_at_drift_do_not_delay_a_pass_that_is_due(started: Start):
    passes, workers = started(timedelta(seconds=0.005), timedelta(seconds=0.005))
    passes.drift = looks = Looks(*[False] * 100)  # type: ignore[assignment]
    workers.wake(KEY)
    await passes.count(3)
    assert looks.made <= 2


async def test_stopping_ends_every_task_even_in_the_middle_of_a_pass(started: Start):
    passes, workers = started()
    passes.gate.clear()
    workers.wake(KEY)
    workers.wake(OTHER)
    await passes.until(lambda: len(passes.inside) == 2)
    async with asyncio.timeout(30):
        await workers.stop()
    passes.gate.set()
    await settled()
    assert passes.made == []
    gc.collect()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("release ")]


class FailingLooks:
    """Stands where the watch of drift does: always due, and every look fails."""

    def __init__(self) -> None:
        self.made = 0
        self.over = asyncio.Event()

    def wait(self, key: tuple[str, str]) -> timedelta | None:
        return SOON if self.made < 3 else None

    async def look(self, key: tuple[str, str]) -> bool:
        self.made += 1
        if self.made == 3:
            self.over.set()
        msg = "cannot convert float infinity to integer"
        raise OverflowError(msg)


async def test_a_look_at_drift_that_fails_ends_nothing(
    started: Start, caplog: pytest.LogCaptureFixture
):
    passes, workers = started()
    passes.drift = looks = FailingLooks()  # type: ignore[assignment]
    workers.wake(KEY)
    await passes.count(1)
    async with asyncio.timeout(30):
        await looks.over.wait()
    workers.wake_known(KEY)
    await passes.count(2)
    assert looks.made == 3
    assert "drift was not looked at" in caplog.text


async def test_an_error_while_it_sleeps_ends_nothing(started: Start):
    passes, workers = started()

    class Broken:
        def wait(self, key: tuple[str, str]) -> timedelta | None:
            raise RuntimeError("no clock")

    workers.wake(KEY)
    await passes.count(1)
    whole, passes.drift = passes.drift, Broken()  # type: ignore[assignment]
    workers.wake_known(KEY)
    await settled()
    passes.drift = whole
    workers.wake_known(KEY)
    await passes.count(2)


async def test_a_release_made_anew_while_the_old_one_is_found_to_be_gone_is_looked_at(
    started: Start,
):
    passes, workers = started(Gone("deleted"))
    passes.gate.clear()
    workers.changed(KEY, "old")
    await passes.until(lambda: passes.inside == [KEY])
    workers.changed(KEY, "new")
    passes.gate.set()
    await passes.count(2)


async def test_failures_that_last_are_shown_once(started: Start, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_pause", lambda failures: 0.0)
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.0)
    passes, workers = started(*[Unavailable("down")] * 6)
    workers.wake(KEY)
    await passes.count(7)
    assert len(passes.shown) == 1
    assert passes.shown[0].startswith("down")


async def test_every_release_is_looked_at_now_and_then_whatever_is_told(started: Start):
    passes, workers = started()
    workers.wake(KEY)
    await passes.count(1)

    async def listed() -> list[tuple[str, str]]:
        return [OTHER]

    workers.keep_in_step(timedelta(seconds=0.3), listed)
    await passes.until(lambda: OTHER in passes.made and passes.made.count(KEY) >= 2)


async def test_a_list_that_fails_does_not_end_the_looks(started: Start):
    passes, workers = started()
    workers.wake(KEY)
    await passes.count(1)

    async def listed() -> list[tuple[str, str]]:
        raise Unavailable("down")

    workers.keep_in_step(timedelta(seconds=0.3), listed)
    await passes.count(3)


async def test_a_pass_that_hangs_is_overdue_and_then_broken_off(
    started: Start, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "LONGEST_PASS_SECONDS", 2.0)
    passes, workers = started()
    passes.gate.clear()
    workers.wake(KEY)
    await passes.until(lambda: passes.inside == [KEY])
    assert workers.overdue() == {}
    await asyncio.sleep(2.1)
    passes.inside.clear()
    passes.gate.set()
    workers.wake_known(KEY)
    await passes.count(1)


async def test_a_look_that_does_not_come_is_overdue(started: Start):
    _, workers = started(timedelta(seconds=30))
    workers.wake(KEY)
    await settled()
    assert workers.overdue() == {}
    worker = workers._workers[KEY]
    assert worker.due is not None
    worker.due -= 1000
    assert 900 < workers.overdue()[KEY] < 1000


@pytest.mark.parametrize(
    ("wait", "began", "now", "due"),
    [
        (None, 100.0, 100.1, None),
        (2.0, 100.3, 100.4, 102.3),
        (10.0, 100.003, 100.020, 110.0),
        (10.0, 100.44, 100.45, 110.0),
        (10.0, 100.46, 100.47, 111.0),
        (10.0, 100.9, 101.9, 111.0),
        (10.0, 100.0, 108.0, 113.0),
        (2.0, 100.0, 108.0, 109.0),
    ],
)
def test_long_waits_end_on_a_beat_so_that_looks_of_one_second_come_together(
    wait: float | None, began: float, now: float, due: float | None
):
    """From the moment that was decided about, however long the pass took."""
    assert module.due_at(wait, began=began, now=now) == (due and pytest.approx(due))


def test_a_look_on_a_beat_is_never_so_early_that_the_pass_would_not_measure():
    for hundredths in range(100):
        wanted = 110 + hundredths / 100
        due = module.due_at(10.0, began=wanted - 10, now=wanted - 9.9)
        assert due is not None
        assert wanted - EARLY.total_seconds() < due <= wanted + 1 - module.EARLIEST
