"""What one arm of a pair loses the other wins: the bound holds although their counts depend."""

import math
import random

from modelrelease_operator.api.spec import CountsGate, Line
from modelrelease_operator.core.analysis import gate_tests
from modelrelease_operator.core.analysis.gates.counts import KIND
from modelrelease_operator.core.statistics.eprocess import ArmCounts, Interval

ALPHA = 0.01
PARAMETERS = gate_tests.TestParameters(
    alpha=ALPHA, dispersion=1, planned=1, copies=1, next_weight=100
)
BATCH = 25


def a_gate(*, paired: bool = True) -> CountsGate:
    return CountsGate(
        bad="losses{r='{{revision}}'}", total="pairs{r='{{revision}}'}", paired=paired,
        tolerated=Line(ratio=1, points=0), margin=Line(ratio=1.5, points=0.25),
    )  # fmt: skip


def a_test(gate: CountsGate) -> gate_tests.GateTest:
    test = KIND.gate_test("judge", gate, (), PARAMETERS, None)
    assert test
    return test


def is_rolled_back(drawn: random.Random, *, loses: float, pairs: int) -> bool:
    test = a_test(a_gate())
    [indicator] = test.reads.indicators
    for _ in range(pairs // BATCH):
        lost = sum(drawn.random() < loses for _ in range(BATCH))
        canary, stable = ArmCounts(total=BATCH, bad=lost), ArmCounts(total=BATCH, bad=BATCH - lost)
        test = test.update({indicator.key: Interval(canary=canary, stable=stable)})
        if test.strength().rollback_log >= -math.log(ALPHA):
            return True
    return False


def test_a_canary_that_loses_as_often_as_it_wins_is_hardly_ever_rolled_back():
    drawn = random.Random(3)
    assert sum(is_rolled_back(drawn, loses=0.5, pairs=2_000) for _ in range(100)) <= 3


def test_a_canary_that_loses_two_of_three_is_found_within_a_thousand_pairs():
    drawn = random.Random(4)
    assert all(is_rolled_back(drawn, loses=2 / 3, pairs=1_000) for _ in range(20))


def logs_of(*, paired: bool, canary_lost: int) -> tuple[float, float]:
    """Return the evidence for a rollback and for a promotion after two thousand pairs."""
    test = a_test(a_gate(paired=paired))
    [indicator] = test.reads.indicators
    counts = Interval(
        canary=ArmCounts(total=1_000, bad=canary_lost),
        stable=ArmCounts(total=1_000, bad=1_000 - canary_lost),
    )
    strength = test.update({indicator.key: counts}).update({indicator.key: counts}).strength()
    return strength.rollback_log, strength.promotion_log


def test_paired_counts_are_less_evidence_for_either_verdict():
    assert 0 < logs_of(paired=True, canary_lost=650)[0] < logs_of(paired=False, canary_lost=650)[0]
    assert 0 < logs_of(paired=True, canary_lost=350)[1] < logs_of(paired=False, canary_lost=350)[1]
