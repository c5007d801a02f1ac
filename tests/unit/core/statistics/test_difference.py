"""What the interval of the difference says about given counts."""

import json
import math

import pytest

from modelrelease_operator.core.statistics.difference import (
    EXCESSES,
    DifferenceEvidence,
    DifferenceInterval,
)
from modelrelease_operator.core.statistics.eprocess import (
    ArmCounts,
    Counts,
    EProcess,
    Interval,
    Tolerance,
)

ALPHA = 0.01
PRICE = math.log(2 * (len(EXCESSES) + 1) / ALPHA)
WORSE: Counts = (200, 20, 1800, 18)
BETTER: Counts = (1800, 18, 200, 20)


def after(*intervals: Counts) -> DifferenceEvidence:
    evidence = DifferenceEvidence()
    for counts in intervals:
        evidence = evidence.update(*counts)
    return evidence


def interval_of(*intervals: Counts, dispersion: float = 1.0) -> DifferenceInterval:
    interval = after(*intervals).interval(alpha=ALPHA, dispersion=dispersion)
    assert interval is not None
    return interval


def best_of_the_decisions_test(counts: Counts, points: float) -> float:
    """Return the log e of the best design of the test that decides, with ratio 1."""
    designs = tuple(1 + excess for excess in EXCESSES if excess > 0)
    test = EProcess(
        tolerance=Tolerance(ratio=1.0, points=points), designs=designs, log_e=(0.0,) * len(designs)
    )
    n_c, x, n_s, y = counts
    seen = Interval(canary=ArmCounts(total=n_c, bad=x), stable=ArmCounts(total=n_s, bad=y))
    return max(test.update(seen).log_e)


def test_before_any_interval_everything_is_possible() -> None:
    assert interval_of() == DifferenceInterval(
        lower=-1.0, upper=1.0, ratio_lower=0.0, ratio_upper=math.inf
    )
    assert interval_of().excludes_nothing


@pytest.mark.parametrize("lacking", [(0, 0, 100, 5), (100, 5, 0, 0)])
def test_an_interval_that_lacks_an_arm_changes_nothing(lacking: Counts) -> None:
    assert after(WORSE, lacking) == after(WORSE)


def test_where_nothing_fails_the_difference_is_bounded_and_the_ratio_is_not() -> None:
    interval = interval_of((10_000, 0, 10_000, 0))
    assert -0.002 < interval.lower < 0 < interval.upper < 0.002
    assert (interval.ratio_lower, interval.ratio_upper) == (0.0, math.inf)


def test_where_stable_never_fails_the_ratio_has_no_upper_end() -> None:
    interval = interval_of((1000, 100, 1000, 0))
    assert interval.lower > 0.05
    assert interval.ratio_lower > 3.6
    assert interval.ratio_upper == math.inf


def test_a_worse_canary_has_an_interval_above_0_around_the_counted_difference() -> None:
    interval = interval_of(*[WORSE] * 20)
    assert 0.05 < interval.lower < 0.09 < interval.upper < 0.15
    assert 3.6 < interval.ratio_lower < 10 < interval.ratio_upper < 30


def test_with_the_arms_exchanged_a_better_canary_has_one_below_0() -> None:
    interval = interval_of(*[BETTER] * 20)
    assert -0.15 < interval.lower < -0.09 < interval.upper < -0.04
    assert interval.ratio_upper < 0.3


def test_the_lower_end_is_where_the_decisions_own_test_reaches_the_price() -> None:
    counts = (2000, 300, 18_000, 180)
    lower = interval_of(counts).lower
    assert best_of_the_decisions_test(counts, lower) == pytest.approx(PRICE, rel=1e-9)
    assert best_of_the_decisions_test(counts, lower + 0.001) < PRICE


def test_more_requests_narrow_it() -> None:
    widths = [
        interval.upper - interval.lower
        for interval in (interval_of(*[WORSE] * times) for times in (1, 10, 100, 1000))
    ]
    assert widths == sorted(widths, reverse=True)


def test_dispersion_widens_both_ends() -> None:
    plain, clustered = (interval_of(*[WORSE] * 20, dispersion=size) for size in (1.0, 5.0))
    assert clustered.lower < plain.lower < plain.upper < clustered.upper
    assert clustered.ratio_lower < plain.ratio_lower
    assert clustered.ratio_upper >= plain.ratio_upper


@pytest.mark.parametrize(
    ("seen", "ends"),
    [
        pytest.param(WORSE, ("lower", "ratio_lower"), id="worse"),
        pytest.param(BETTER, ("upper", "ratio_upper"), id="better"),
    ],
)
def test_sums_that_show_no_difference_hold_the_interval_to_it(
    seen: Counts, ends: tuple[str, str]
) -> None:
    evidence, alike = after(*[seen] * 20), (2000, 20, 2000, 20)
    interval = evidence.interval(alpha=ALPHA, pooled=[alike])
    assert interval is not None
    assert [getattr(interval, end) for end in ends] == [0.0, 1.0]


def test_sums_that_bear_it_out_change_nothing() -> None:
    evidence = after(*[WORSE] * 20)
    sums = (4000, 400, 36_000, 360)
    assert evidence.interval(alpha=ALPHA, pooled=[sums]) == evidence.interval(alpha=ALPHA)


def test_it_is_restored_from_json_as_it_was() -> None:
    evidence = after(WORSE, BETTER)
    stored = json.loads(json.dumps(evidence.to_state()))
    assert DifferenceEvidence().from_state(stored) == evidence


@pytest.mark.parametrize("stored", [[], [1.0], [None] * (2 + 2 * len(EXCESSES))])
def test_a_state_that_is_none_of_its_own_is_refused(stored: list[float | None]) -> None:
    with pytest.raises(ValueError, match="stored evidence of a difference must be 26 numbers"):
        DifferenceEvidence().from_state(stored)


@pytest.mark.parametrize(("alpha", "dispersion"), [(0.0, 1.0), (1.0, 1.0), (0.01, 0.5)])
def test_a_confidence_or_dispersion_that_is_none_is_refused(
    alpha: float, dispersion: float
) -> None:
    with pytest.raises(ValueError, match="alpha must be strictly between 0 and 1"):
        after(WORSE).interval(alpha=alpha, dispersion=dispersion)
