"""When further copies of a test start, and that never more start than were planned."""

from datetime import timedelta
from typing import Any

import pytest

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import CanaryStatus, Evidence, StableStatus, Status, Verdict
from modelrelease_operator.core.analysis.judge import judge
from modelrelease_operator.core.analysis.restart_schedule import planned_copies, with_due_copies
from modelrelease_operator.core.observed import Counter
from testbed.builders import START, a_spec, a_target

HOUR = timedelta(hours=1)
FRESH = Evidence()


def a_canary(step: int = 0, steps: int = 4) -> CanaryStatus:
    return CanaryStatus(**a_target("2").parts(), since=START, step=step, steps=steps)


def due(
    evidence: Evidence, hours: float = 0, canary: CanaryStatus | None = None, **asked: Any
) -> Evidence:
    spec = a_spec(canary=asked).canary
    return with_due_copies(evidence, spec, canary or a_canary(), START + hours * HOUR)


@pytest.mark.parametrize(
    ("canary", "copies"),
    [
        ({}, 10),
        ({"weight": 20}, 7),
        ({"weight": 20, "progressDeadline": "59m"}, 1),
        ({"weight": 20, "progressDeadline": "2h30m"}, 3),
        ({"steps": [{"weight": 1}, {"weight": 2}], "progressDeadline": "30d"}, 8),
    ],
    ids=["the default", "one step", "under an hour", "two full hours", "a month"],
)
def test_one_copy_is_planned_for_each_step_and_each_hour_up_to_six(
    canary: dict[str, Any], copies: int
):
    assert planned_copies(a_spec(canary=canary).canary) == copies


def test_the_first_look_plans_and_starts_the_first_copy():
    found = due(FRESH)
    assert (found.planned, found.copies, found.copy_since) == (10, 1, START)


def test_a_new_step_starts_a_copy_and_the_hour_begins_anew():
    found = due(FRESH).next_step()
    assert (found.copies, found.copy_since) == (2, None)
    found = due(found, 0.9, a_canary(step=1))
    assert (found.copies, found.copy_since) == (2, START + 0.9 * HOUR)
    assert due(found, 1.8, a_canary(step=1)).copies == 2
    assert due(found, 1.9, a_canary(step=1)).copies == 3


def test_hours_start_copies_but_leave_one_for_each_step_to_come():
    found = due(FRESH)
    for hour in range(1, 40):
        found = due(found, hour)
    assert (found.planned, found.copies) == (10, 7)
    for _ in range(3):
        found = found.next_step()
    assert found.copies == 10


def test_no_more_copies_start_than_were_planned_when_the_spec_adds_steps_midway():
    found = due(FRESH, weight=20, progressDeadline="1h")
    assert found.planned == 2
    more = {"steps": [{"weight": weight} for weight in range(20, 30)], "progressDeadline": "9d"}
    for step in range(10):
        found = due(found.next_step(), 2 * step, a_canary(step, 10), **more)
    assert (found.planned, found.copies) == (2, 2)


def test_a_step_before_the_first_look_starts_nothing():
    assert FRESH.next_step().copies == 0


def test_evidence_of_an_operator_without_restarts_keeps_its_one_copy():
    old = Evidence(
        processes={"rollback/errors/errors/1.1x+0.0005": [0, 0, *[0.0] * 16]}, started=True
    )
    found = due(due(old).next_step(), 9)
    assert (found.planned, found.copies) == (1, 1)


def counters(stable: tuple[int, int], canary: tuple[int, int]) -> tuple[Counter, ...]:
    return tuple(
        Counter(revision=revision, pod=f"{revision}-a", code=code, value=value)
        for revision, (total, bad) in (("rev1", stable), ("rev2", canary))
        for code, value in (("200", total - bad), ("500", bad))
    )


def looks_to_rollback(spec: ReleaseSpec, healthy_hours: int) -> int:
    """Count the looks of 10 s from the onset of a regression:
    1 % errors in both arms, then 3 % in one.
    """
    status = Status(
        stable=StableStatus(**a_target("1").parts(), since=START), canary=a_canary(steps=1)
    )
    totals, now = [0, 0, 0, 0], START
    for look in range(healthy_hours * 360 + 3_000):
        sick = look > healthy_hours * 360
        totals = [
            old + new for old, new in zip(totals, (1800, 18, 200, 6 if sick else 2), strict=True)
        ]
        found = judge(
            spec=spec, status=status, metrics=counters((totals[0], totals[1]), (totals[2],
            totals[3])),
            next_weight=100, now=now,
        )  # fmt: skip
        if found.verdict is Verdict.FAIL:
            return look - healthy_hours * 360
        status = status.model_copy(update={"evidence": Evidence(**found.evidence.model_dump())})
        now += timedelta(seconds=10)
    raise AssertionError(found)


GATES = {"analysis": {"gates": [{"name": "errors", "errorRate": {}}]}}


def test_a_regression_after_two_healthy_hours_is_found_almost_as_soon_as_one_at_once():
    restarted = a_spec(canary={"weight": 20}, **GATES)
    single = a_spec(canary={"weight": 20, "progressDeadline": "59m"}, **GATES)
    assert looks_to_rollback(restarted, 0) <= 1.2 * looks_to_rollback(single, 0)
    assert looks_to_rollback(restarted, 2) <= 2 * looks_to_rollback(restarted, 0)
    assert looks_to_rollback(single, 2) >= 5 * looks_to_rollback(restarted, 2)


def test_the_dispersion_divides_all_evidence():
    calm = a_spec(canary={"weight": 20}, **GATES)
    grouped = a_spec(canary={"weight": 20}, analysis={**GATES["analysis"], "dispersion": 5})
    assert looks_to_rollback(grouped, 0) >= 3 * looks_to_rollback(calm, 0)
