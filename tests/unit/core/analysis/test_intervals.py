"""The interval that a gate shows beside its verdict, and when it shows none."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrelease_operator.api.status import Evidence, GateStatus, Verdict
from modelrelease_operator.core.analysis.gate_tests import GateTest
from modelrelease_operator.core.analysis.gates.registry import gate_tests_of
from modelrelease_operator.core.analysis.intervals import (
    BEYOND,
    CROSSED,
    WITHIN,
    contradicted,
    shown_interval,
)
from modelrelease_operator.core.statistics.difference import DifferenceInterval
from modelrelease_operator.core.statistics.eprocess import ArmCounts, Counts, Interval
from testbed.builders import a_spec
from tests.unit.core.analysis.test_judge import ERRORS, ZERO, Looks, both, looks_at

FAILING = [both((900 * n, 9 * n), (300 * n, 30 * n)) for n in (1, 2, 3)]
PASSING = both((90_000, 90), (30_000, 30))


def gate_after(*looks: Any, spec: dict[str, Any] | None = None) -> GateStatus:
    return looks_at(ZERO, *looks, spec=spec).gates[0]


def the_gate_test(gate: dict[str, Any] | None = None) -> GateTest:
    spec = a_spec(analysis={"gates": [{"name": "errors", "errorRate": gate or {}}]})
    _, tests = gate_tests_of(spec, Evidence(), (), ("canary", "stable"), 100)
    return tests[0]


def an_interval(lower: float, upper: float, ratio_lower: float = 0.0, ratio_upper: float = 1e9):
    return DifferenceInterval(
        lower=lower, upper=upper, ratio_lower=ratio_lower, ratio_upper=ratio_upper
    )


def test_a_gate_that_fails_shows_how_much_worse_the_canary_is():
    gate = gate_after(*FAILING)
    assert gate.verdict is Verdict.FAIL
    assert gate.interval is not None
    assert 0.05 < gate.interval.lower < 9 < gate.interval.upper
    assert gate.interval.ratio_lower > 1
    assert gate.interval.confidence == 99


def test_a_gate_that_passes_shows_how_little_worse_the_canary_can_be():
    gate = gate_after(PASSING)
    assert gate.verdict is Verdict.PASS
    assert gate.interval is not None
    assert gate.interval.lower < 0 < gate.interval.upper < 0.25


def test_a_gate_shows_none_before_both_arms_have_answered():
    gate = looks_at(ZERO).gates[0]
    assert (gate.interval, gate.interval_withheld) == (None, None)


def test_a_gate_with_an_absolute_limit_alone_shows_none():
    limit = {"errorRate": {"compareWithStable": False, "maxPercent": 5}}
    spec = {"analysis": {"gates": [{"name": "errors", **limit}]}}
    assert gate_after(PASSING, spec=spec).interval is None


def test_it_is_the_same_after_a_restart_between_all_looks():
    remembered = gate_after(*FAILING).interval
    gate_test = the_gate_test()
    for _ in FAILING:
        arms = Interval(canary=ArmCounts(total=300, bad=30), stable=ArmCounts(total=900, bad=9))
        gate_test = gate_test.update({"errors": arms})
    indicator = gate_test.comparisons[0].indicator
    assert shown_interval(gate_test, indicator, Verdict.FAIL, 0.01) == (remembered, None)


def test_evidence_that_an_older_operator_stored_gets_an_interval_from_now_on():
    looking = Looks(a_spec(**ERRORS))
    for metrics in (ZERO, *FAILING):
        looking.look(tuple(metrics))
    kept = looking.status.evidence.processes
    old = {key: value for key, value in kept.items() if not key.startswith("interval/")}
    assert len(old) < len(kept)
    looking.status = looking.status.but(evidence=looking.status.evidence.but(processes=old))
    judged = looking.look(tuple(both((3600, 36), (1200, 120))))
    assert judged.gates[0].interval is not None


def test_a_step_keeps_what_was_summed():
    looking = Looks(a_spec(**ERRORS))
    for metrics in (ZERO, *FAILING):
        looking.look(tuple(metrics))
    evidence = looking.status.evidence
    key = "interval/errors/errors"
    assert evidence.next_step().processes[key] == evidence.processes[key]


@pytest.mark.parametrize(
    ("verdict", "interval", "reason"),
    [
        pytest.param(Verdict.FAIL, an_interval(-0.1, 0.001), WITHIN, id="difference within"),
        pytest.param(Verdict.FAIL, an_interval(-0.1, 0.5, 0.1, 1.09), WITHIN, id="ratio within"),
        pytest.param(Verdict.FAIL, an_interval(-0.1, 0.002), None, id="reaches beyond"),
        pytest.param(Verdict.PASS, an_interval(0.006, 0.1), BEYOND, id="difference beyond"),
        pytest.param(Verdict.PASS, an_interval(0.0, 0.1, 1.6), BEYOND, id="ratio beyond"),
        pytest.param(Verdict.PASS, an_interval(0.004, 0.1, 1.4), None, id="reaches below"),
        pytest.param(Verdict.INSUFFICIENT, an_interval(0.5, 0.6), None, id="no verdict yet"),
    ],
)
def test_what_would_contradict_the_verdict_is_named(
    verdict: Verdict, interval: DifferenceInterval, reason: str | None
):
    comparison = the_gate_test().comparisons[0]
    assert contradicted(interval, comparison, verdict, 0.01) == reason


def test_an_interval_that_contradicts_a_failure_is_withheld_with_the_reason():
    gate_test = the_gate_test()
    alike = Interval(canary=ArmCounts(total=10**6, bad=100), stable=ArmCounts(total=10**6, bad=100))
    gate_test = gate_test.update({"errors": alike})
    indicator = gate_test.comparisons[0].indicator
    assert shown_interval(gate_test, indicator, Verdict.FAIL, 0.0001) == (None, WITHIN)


CALM, OUTAGE = (200, 0, 1800, 2), (200, 100, 1800, 900)
SEEN_FIRST_IN_THE_CANARY, OVER_FIRST_IN_THE_CANARY = (200, 50, 1800, 2), (200, 50, 1800, 900)
SHARED_OUTAGE: list[Counts] = [
    *[CALM] * 30, SEEN_FIRST_IN_THE_CANARY, *[OUTAGE] * 6, OVER_FIRST_IN_THE_CANARY, *[CALM] * 30,
]  # fmt: skip


def test_an_outage_of_both_arms_that_the_canary_shows_first_excludes_no_difference_of_0():
    gate_test = the_gate_test()
    without_sums = []
    for n_c, x, n_s, y in SHARED_OUTAGE:
        interval = Interval(canary=ArmCounts(total=n_c, bad=x), stable=ArmCounts(total=n_s, bad=y))
        gate_test = gate_test.update({"errors": interval})
        comparison = gate_test.comparisons[0]
        shown, _ = shown_interval(gate_test, comparison.indicator, Verdict.INSUFFICIENT, 0.1)
        assert shown
        assert shown.lower <= 0 <= shown.upper
        assert shown.ratio_lower <= 1
        assert comparison.difference
        without_sums.append(comparison.difference.interval(alpha=0.01))
    assert any(alone is None or alone.lower > 0 for alone in without_sums)


@st.composite
def arms(draw: st.DrawFn) -> Counts:
    n_c, n_s = draw(st.integers(0, 20_000)), draw(st.integers(0, 20_000))
    bad = st.integers(0, 1000)
    return n_c, min(n_c, draw(bad)), n_s, min(n_s, draw(bad))


@given(
    seen=st.lists(arms(), min_size=1, max_size=5),
    verdict=st.sampled_from([Verdict.PASS, Verdict.FAIL]),
    ratio=st.floats(1, 3),
    points=st.floats(0.01, 5),
)
def test_no_interval_that_is_shown_contradicts_its_verdict(
    seen: list[Counts], verdict: Verdict, ratio: float, points: float
):
    line = {"ratio": ratio, "points": points}
    gate_test = the_gate_test({"tolerated": line, "margin": {"ratio": ratio + 1, "points": 6}})
    total, bad = 0, 0
    for n_c, x, n_s, y in seen:
        total, bad = total + n_s, bad + y
        interval = Interval(canary=ArmCounts(total=n_c, bad=x), stable=ArmCounts(total=n_s, bad=y))
        gate_test = gate_test.update({"errors": interval})
    rate = bad / total if total else 0.0
    indicator = gate_test.comparisons[0].indicator
    shown, withheld = shown_interval(gate_test, indicator, verdict, rate)
    assert shown is None or withheld is None
    if shown is None:
        assert withheld in (None, CROSSED, WITHIN, BEYOND)
        return
    assert shown.lower <= shown.upper
    if verdict is Verdict.FAIL:
        assert shown.upper > 100 * (ratio - 1) * rate + points - 1e-9
        assert shown.ratio_upper is None or shown.ratio_upper > ratio - 1e-9
    else:
        assert shown.lower < 100 * ratio * rate + 6 + 1e-9
