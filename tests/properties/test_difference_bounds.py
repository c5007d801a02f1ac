"""The promises of difference.py: expectations taken exactly, through `update` itself, and coverage
by simulation while rates move.
"""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import binom

from modelrelease_operator.core.statistics.difference import EXCESSES, DifferenceEvidence
from modelrelease_operator.core.statistics.eprocess import Counts

rates = st.floats(1e-9, 1) | st.just(0.0) | st.floats(1e-5, 0.05)
sizes = st.integers(1, 100_000)


@st.composite
def arms(draw: st.DrawFn) -> Counts:
    n_c, n_s = draw(st.integers(0, 5000)), draw(st.integers(0, 5000))
    return n_c, draw(st.integers(0, n_c)), n_s, draw(st.integers(0, n_s))


def log_likelihoods(counts: Counts) -> list[float]:
    """Return each design's log-likelihood ratio to a ratio of 1."""
    evidence = DifferenceEvidence().update(*counts)
    return [
        math.log1p(excess) * evidence.bad - log_share
        for excess, log_share in zip(EXCESSES, evidence.log_shares, strict=True)
    ]


def log_expectation(log_a: float, log_b: float, counts: Counts, p_c: float, p_s: float) -> float:
    """Return log E[a^x b^y] over independent outcomes."""
    n_c, _, n_s, _ = counts
    canary = n_c * math.log1p(math.expm1(log_a) * p_c)
    return canary + n_s * math.log1p(math.expm1(log_b) * p_s)


@given(n_c=sizes, n_s=sizes, p_c=rates, p_s=rates, design=st.integers(0, len(EXCESSES) - 1))
def test_no_design_expects_to_grow_at_the_true_difference(
    n_c: int, n_s: int, p_c: float, p_s: float, design: int
) -> None:
    counts = (n_c, 0, n_s, 0)
    log_a = log_likelihoods((n_c, 1, n_s, 0))[design]
    log_b = log_likelihoods((n_c, 0, n_s, 1))[design]
    exposure = DifferenceEvidence().update(*counts).exposures[design]
    slope = EXCESSES[design] * exposure
    grown = log_expectation(log_a, log_b, counts, p_c, p_s) - slope * (p_c - p_s)
    assert grown <= 1e-6 * max(1.0, abs(slope))


@given(n_c=sizes, n_s=sizes, p_s=rates, ratio=st.floats(0.01, 30), better=st.floats(0, 1))
def test_no_design_above_a_ratio_expects_to_grow_against_it(
    n_c: int, n_s: int, p_s: float, ratio: float, better: float
) -> None:
    assume(ratio * p_s <= 1)
    mixed = (ratio * n_c + n_s) / (n_c + n_s)
    of_bad, of_good = math.log(ratio) - math.log(mixed), -math.log(mixed)
    for design, excess in enumerate(EXCESSES):
        if 1 + excess > ratio:
            log_a = log_likelihoods((n_c, 1, n_s, 0))[design] - of_bad
            log_b = log_likelihoods((n_c, 0, n_s, 1))[design] - of_good
            p_c = better * ratio * p_s
            counts = (n_c, 0, n_s, 0)
            assert log_expectation(log_a, log_b, counts, p_c, p_s) <= 1e-6 * max(n_c, n_s)


@given(seen=st.lists(arms(), max_size=6), alpha=st.floats(0.001, 0.5))
def test_the_ends_are_in_order_and_difference_and_ratio_agree(
    seen: list[Counts], alpha: float
) -> None:
    evidence = DifferenceEvidence()
    for counts in seen:
        evidence = evidence.update(*counts)
    interval = evidence.interval(alpha=alpha)
    if interval is None:
        return
    assert -1 <= interval.lower <= interval.upper <= 1
    assert 0 <= interval.ratio_lower <= interval.ratio_upper
    assert (interval.lower > 0) == (interval.ratio_lower > 1)
    assert (interval.upper < 0) == (interval.ratio_upper < 1)


@given(seen=arms(), sums=arms(), alpha=st.floats(0.001, 0.5))
def test_sums_never_narrow_it(seen: Counts, sums: Counts, alpha: float) -> None:
    evidence = DifferenceEvidence().update(*seen)
    alone, held = evidence.interval(alpha=alpha), evidence.interval(alpha=alpha, pooled=[sums])
    assert alone is not None
    assert held is not None
    assert held.lower <= alone.lower <= alone.upper <= held.upper
    assert held.ratio_lower <= alone.ratio_lower <= alone.ratio_upper <= held.ratio_upper


def steady(look: int) -> float:
    return 0.01


def outage(look: int) -> float:
    return 0.3 if 20 <= look < 30 else 0.01


def drift(look: int) -> float:
    return 0.002 + 0.05 * look / LOOKS


def by_a_point(look: int) -> float:
    return 0.01


def late(look: int) -> float:
    return 0.03 * (look >= LOOKS // 2)


RUNS, ALPHA, LOOKS = 200, 0.05, 60
MOST_MISSES = int(binom.isf(0.001, RUNS, ALPHA))
WORLDS = {
    "constant": (steady, by_a_point),
    "a shared outage": (outage, by_a_point),
    "stable drifts": (drift, by_a_point),
    "the difference comes late": (steady, late),
}


@pytest.mark.parametrize("world", WORLDS)
def test_the_average_difference_is_inside_at_every_look_at_once(world: str) -> None:
    stable_rate, excess_at = WORLDS[world]
    random = np.random.default_rng(1405)
    misses = 0
    for _ in range(RUNS):
        evidence, weighed, weight = DifferenceEvidence(), 0.0, 0.0
        missed = False
        for look in range(LOOKS):
            p_s, more = stable_rate(look), excess_at(look)
            n_c, n_s = 100, 900
            x, y = random.binomial(n_c, p_s + more), random.binomial(n_s, p_s)
            evidence = evidence.update(n_c, int(x), n_s, int(y))
            weighed, weight = weighed + n_c * more, weight + n_c
            interval = evidence.interval(alpha=ALPHA)
            missed = missed or not (
                interval and interval.lower <= weighed / weight <= interval.upper
            )
        misses += missed
    assert misses <= MOST_MISSES
