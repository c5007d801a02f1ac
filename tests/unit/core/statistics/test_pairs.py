"""Evidence from pairs keeps its promises at every look, and finds what it should."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrelease_operator.core.statistics.eprocess import ArmCounts, Tolerance
from modelrelease_operator.core.statistics.pairs import (
    Pairs,
    above,
    below,
    upper_bound,
    within,
    worse_than,
)

EVEN = Tolerance(ratio=1.0, points=0.0)
TOLERATED = Tolerance(ratio=1.1, points=0.0005)
MARGIN = Tolerance(ratio=1.25, points=0.0025)
counts = st.integers(min_value=0, max_value=2000)


def test_nothing_counted_is_no_evidence():
    assert worse_than(Pairs(), TOLERATED) == pytest.approx(0)
    assert within(Pairs(), MARGIN) == pytest.approx(0)
    assert above(ArmCounts(total=0, bad=0), 0.01) == pytest.approx(0)
    assert below(ArmCounts(total=0, bad=0), 0.01) == pytest.approx(0)


def test_a_number_below_zero_is_refused():
    with pytest.raises(ValueError, match="pairs are counted from 0"):
        Pairs(canary=-1)


def test_without_a_tolerance_it_is_the_sign_test_as_a_bet():
    stakes = (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
    mean = sum((1 + s) ** 9 * (1 - s) ** 2 for s in stakes) / len(stakes)
    found = worse_than(Pairs(neither=50, canary=9, stable=2), EVEN)
    assert found == pytest.approx(math.log(mean))


def test_a_thousand_pairs_without_a_difference_bound_it_by_half_a_percent():
    assert upper_bound(ArmCounts(total=1000, bad=0), 0.95) < 0.005


def test_a_bound_is_never_below_what_was_counted():
    for bad in (0, 1, 10, 500, 999, 1000):
        assert upper_bound(ArmCounts(total=1000, bad=bad), 0.95) >= bad / 1000


def test_nothing_is_bounded_by_nothing():
    assert upper_bound(ArmCounts(total=0, bad=0), 0.95) == 1.0


@given(counts, counts, counts, counts)
def test_one_pair_more_in_which_the_canary_alone_is_bad_speaks_against_it(
    neither: int, canary: int, stable: int, both: int
):
    before = Pairs(neither=neither, canary=canary, stable=stable, both=both)
    after = Pairs(neither=neither, canary=canary + 1, stable=stable, both=both)
    assert worse_than(after, TOLERATED) > worse_than(before, TOLERATED)
    assert within(after, MARGIN) < within(before, MARGIN)


@given(counts, counts, counts, counts)
def test_dispersion_only_weakens_what_is_strong(neither: int, canary: int, stable: int, both: int):
    pairs = Pairs(neither=neither, canary=canary, stable=stable, both=both)
    strong = worse_than(pairs, TOLERATED)
    assert worse_than(pairs, TOLERATED, dispersion=3) <= max(strong, 0) + 1e-9


def _ever(random: Random, canary: float, stable: float, line: Tolerance, bar: float) -> bool:
    """Return whether evidence against a canary reaches a bar at any of 60 looks."""
    neither = alone = others = both = 0
    for _ in range(60):
        for _ in range(50):
            bad, worse = random.random() < stable, random.random() < canary
            neither += not bad and not worse
            alone += worse and not bad
            others += bad and not worse
            both += bad and worse
        pairs = Pairs(neither=neither, canary=alone, stable=others, both=both)
        if worse_than(pairs, line) >= bar:
            return True
    return False


def test_a_canary_at_the_line_is_blamed_no_more_often_than_promised():
    random, bar = Random(7), -math.log(0.05)
    blamed = sum(_ever(random, 0.11, 0.1, Tolerance(ratio=1.1, points=0), bar) for _ in range(300))
    # 5 % of 300 and three standard errors.
    assert blamed <= 26


def test_a_canary_that_fails_three_times_as_often_is_found_in_three_thousand_pairs():
    random, bar = Random(8), math.log(500)
    assert all(_ever(random, 0.06, 0.02, TOLERATED, bar) for _ in range(50))
