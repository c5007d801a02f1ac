"""What each test of evidence.py says about given counts."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import binomtest

from modelrelease_operator.core.statistics.eprocess import (
    NON_INFERIORITY_GRID,
    REGRESSION_GRID,
    ArmCounts,
    Confirmed,
    EProcess,
    Guardrail,
    Interval,
    Restarts,
    Tolerance,
    combine,
    expected_requests,
    progress,
    rate_interval,
)

NO_WORSE = Tolerance(ratio=1.0, points=0.0)
DEFAULT_TOLERANCE = Tolerance(ratio=1.1, points=0.0005)
DEFAULT_MARGIN = Tolerance(ratio=1.25, points=0.0025)


def interval(canary: int = 200, bad: int = 2, stable: int = 1800, stable_bad: int = 18) -> Interval:
    return Interval(
        canary=ArmCounts(total=canary, bad=bad), stable=ArmCounts(total=stable, bad=stable_bad)
    )


def repeat(test: EProcess, seen: Interval, times: int) -> EProcess:
    for _ in range(times):
        test = test.update(seen)
    return test


@pytest.mark.parametrize(
    ("total", "bad"),
    [
        pytest.param(1, 2, id="more bad than all"),
        pytest.param(-1, -1, id="negative"),
        pytest.param(10, -1, id="negative bad"),
        pytest.param(10.0, 1, id="a float total"),
        pytest.param(10, 0.5, id="a fraction of a request"),
        pytest.param(True, False, id="truth values"),
    ],
)
def test_counts_refuse_what_is_no_count(total: int, bad: int) -> None:
    with pytest.raises(ValueError, match=f"bad={bad!r} total={total!r}"):
        ArmCounts(total=total, bad=bad)


def test_the_rate_of_no_requests_is_unknown_and_not_zero() -> None:
    assert ArmCounts(total=0, bad=0).rate is None
    assert ArmCounts(total=8, bad=2).rate == 0.25


@pytest.mark.parametrize(
    ("ratio", "points"),
    [
        (0.0, 0.01),
        (-1.0, 0.0),
        (math.inf, 0.0),
        (math.nan, 0.0),
        (1.0, -0.01),
        (1.0, 1.5),
        (1.0, math.nan),
    ],
)
def test_a_tolerance_needs_a_positive_ratio_and_points_that_are_a_share(
    ratio: float, points: float
) -> None:
    with pytest.raises(ValueError, match="tolerance"):
        Tolerance(ratio=ratio, points=points)


@pytest.mark.parametrize("make", [EProcess.regression, EProcess.non_inferiority])
def test_a_fresh_test_says_nothing(make) -> None:
    test = make(DEFAULT_TOLERANCE)
    assert test.log_value == pytest.approx(0, abs=1e-12)
    assert test.progress(100) == pytest.approx(0, abs=1e-12)


def test_one_interval_adds_what_the_formula_says() -> None:
    tolerance = Tolerance(ratio=1.1, points=0.01)
    test = EProcess.regression(tolerance).update(interval(200, 7, 1800, 20))
    design = 2 * 1.1
    b = (1.1 * 200 + 1800) / (design * 200 + 1800)
    a = design / 1.1 * b
    assert test.log_e[REGRESSION_GRID.index(2.0)] == pytest.approx(
        7 * math.log(a) + 20 * math.log(b) - (a - 1) * 0.01 * 200, rel=1e-12
    )


def test_the_mean_is_taken_over_the_designs() -> None:
    test = EProcess.regression(NO_WORSE).update(interval(bad=10))
    assert math.exp(test.log_value) == pytest.approx(np.mean(np.exp(test.log_e)))


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(interval(0, 0, 1800, 18), id="no canary requests"),
        pytest.param(interval(200, 2, 0, 0), id="no stable requests"),
        pytest.param(interval(200, 200, 0, 0), id="only a failing canary"),
        pytest.param(interval(0, 0, 0, 0), id="silence"),
    ],
)
@pytest.mark.parametrize("make", [EProcess.regression, EProcess.non_inferiority])
def test_an_interval_that_lacks_an_arm_changes_nothing(make, seen: Interval) -> None:
    test = make(DEFAULT_TOLERANCE).update(interval())
    assert test.update(seen) == test


def test_the_test_itself_never_changes() -> None:
    test = EProcess.regression(NO_WORSE)
    test.update(interval(bad=50))
    assert test == EProcess.regression(NO_WORSE)


def test_a_crashing_canary_is_condemned_within_one_look() -> None:
    test = EProcess.regression(DEFAULT_TOLERANCE).update(interval(10, 10, 90, 0))
    assert test.progress(100) == 1


def test_a_shared_outage_is_no_evidence_against_the_canary() -> None:
    test = EProcess.regression(NO_WORSE)
    assert test.update(interval(200, 40, 1800, 360)).log_value < 0


def test_requests_without_errors_are_evidence_for_promotion_when_the_margin_has_points() -> None:
    test = EProcess.non_inferiority(Tolerance(ratio=1.0, points=0.005))
    assert repeat(test, interval(1, 0, 9, 0), 867).progress(20) < 1
    assert repeat(test, interval(1, 0, 9, 0), 868).progress(20) == 1


def test_one_error_removes_the_design_that_supposes_none_and_only_that() -> None:
    test = EProcess.non_inferiority(DEFAULT_MARGIN).update(interval(200, 1, 1800, 20))
    assert test.log_e[NON_INFERIORITY_GRID.index(0.0)] == -math.inf
    assert all(math.isfinite(value) for value in test.log_e[:-1])
    assert math.isfinite(test.log_value)


@pytest.mark.parametrize("make", [EProcess.regression, EProcess.non_inferiority])
@pytest.mark.parametrize(
    "seen",
    [
        interval(10**9, 10**9, 10**9, 10**9),
        interval(10**9, 0, 1, 1),
        interval(1, 1, 10**9, 0),
        interval(10**9, 10**9, 10**9, 0),
        interval(10**9, 0, 10**9, 10**9),
    ],
    ids=lambda seen: (
        f"{seen.canary.bad} of {seen.canary.total} against {seen.stable.bad} of {seen.stable.total}"
    ),
)
def test_a_billion_requests_neither_overflow_nor_turn_into_nan(make, seen: Interval) -> None:
    test = repeat(make(DEFAULT_TOLERANCE), seen, 3)
    assert math.isfinite(test.log_value)
    assert not any(math.isnan(value) or value == math.inf for value in test.log_e)


def test_dispersion_divides_each_design_before_the_mean_and_leaves_the_state_alone() -> None:
    plain = EProcess.regression(NO_WORSE).update(interval(bad=12))
    divided = EProcess.regression(NO_WORSE, dispersion=3).update(interval(bad=12))
    assert divided.to_state() == plain.to_state()
    assert math.exp(divided.log_value) == pytest.approx(np.mean(np.exp(np.array(plain.log_e) / 3)))
    assert divided.log_value <= plain.log_value / 3, "Jensen: the root of the mean would be larger"


@pytest.mark.parametrize("dispersion", [0.5, 0, -1, math.nan, math.inf])
def test_dispersion_below_one_is_refused(dispersion: float) -> None:
    with pytest.raises(ValueError, match="dispersion"):
        EProcess.regression(NO_WORSE, dispersion=dispersion)
    with pytest.raises(ValueError, match="dispersion"):
        Guardrail(limit=0.01, dispersion=dispersion)


@pytest.mark.parametrize(
    "state",
    [
        pytest.param([], id="nothing"),
        pytest.param([0.0] * 7, id="too few"),
        pytest.param([0.0] * 9, id="too many"),
        pytest.param([math.nan] + [0.0] * 7, id="not a number"),
        pytest.param([math.inf] + [0.0] * 7, id="infinite evidence"),
    ],
)
def test_a_state_that_is_not_its_own_is_refused(state: list[float]) -> None:
    with pytest.raises(ValueError, match="stored evidence"):
        EProcess.regression(NO_WORSE).from_state(state)


def test_a_state_whose_whole_numbers_came_back_as_integers_is_the_same_evidence() -> None:
    test = EProcess.regression(NO_WORSE)
    assert test.from_state([0] * 8) == test


@pytest.mark.parametrize(
    ("log_value", "share"),
    [
        pytest.param(-math.inf, 0, id="ruled out"),
        pytest.param(-3, 0, id="evidence for the hypothesis is no progress"),
        pytest.param(math.log(10), 0.5, id="half way in logarithms"),
        pytest.param(math.log(100), 1, id="exactly at the threshold"),
        pytest.param(1e9, 1, id="far beyond"),
    ],
)
def test_progress_stays_between_none_and_all(log_value: float, share: float) -> None:
    assert progress(log_value, 100) == pytest.approx(share)


def test_progress_needs_a_threshold_above_one() -> None:
    with pytest.raises(ValueError, match="threshold"):
        progress(1.0, 1.0)


def test_a_guardrail_is_a_mean_of_likelihood_ratios() -> None:
    guard = Guardrail(limit=0.01).update(ArmCounts(total=100, bad=5))
    ratios = []
    for q in REGRESSION_GRID:
        p1 = min(q * 0.01, (1 + 0.01) / 2)
        ratios.append((p1 / 0.01) ** 5 * ((1 - p1) / 0.99) ** 95)
    assert math.exp(guard.log_value) == pytest.approx(np.mean(ratios), rel=1e-12)


@pytest.mark.parametrize(
    ("total", "bad", "breached"),
    [(1000, 20, False), (1000, 10, False), (1000, 60, True), (10, 10, True), (0, 0, False)],
)
def test_a_guardrail_of_two_percent_is_breached(total: int, bad: int, breached: bool) -> None:
    guard = Guardrail(limit=0.02).update(ArmCounts(total=total, bad=bad))
    assert (guard.progress(100) == 1) is breached


@pytest.mark.parametrize("limit", [0, 1, -0.1, math.nan])
def test_a_guardrail_needs_a_limit_inside_zero_and_one(limit: float) -> None:
    with pytest.raises(ValueError, match="limit"):
        Guardrail(limit=limit)


def test_the_first_copy_has_half_of_the_weight_and_copies_that_have_not_started_count_one() -> None:
    plan = Restarts.plan(EProcess.regression(NO_WORSE), planned=4).update(interval(bad=12))
    first = math.exp(plan.copies[0].log_value)
    assert math.exp(plan.log_value) == pytest.approx((first + 1) / 2)
    plan = plan.start_next().update(interval(bad=9))
    first, second = (math.exp(copy.log_value) for copy in plan.copies)
    assert math.exp(plan.log_value) == pytest.approx(first / 2 + second / 6 + 2 / 6)


@pytest.mark.parametrize("planned", [1, 2, 3, 10])
def test_the_weights_of_all_planned_copies_are_one_together(planned: int) -> None:
    weights = Restarts.plan(EProcess.regression(NO_WORSE), planned=planned).weights
    assert len(weights) == planned
    assert sum(weights) == pytest.approx(1)


@pytest.mark.parametrize(("asked", "running"), [(0, 1), (1, 1), (2, 2), (3, 3), (9, 3)])
def test_copies_are_started_as_far_as_they_were_planned(asked: int, running: int) -> None:
    confirmed = Confirmed.by_shift(Restarts.plan(EProcess.regression(NO_WORSE), planned=3)).running(
        asked
    )
    assert (len(confirmed.plan.copies), len(confirmed.shifted.copies)) == (running, running)


def test_a_later_copy_sees_only_what_comes_after_its_start() -> None:
    fresh = EProcess.regression(NO_WORSE)
    plan = Restarts.plan(fresh, planned=2).update(interval()).start_next().update(interval(bad=12))
    assert plan.copies == (
        fresh.update(interval()).update(interval(bad=12)),
        fresh.update(interval(bad=12)),
    )


def test_no_more_copies_start_than_were_planned() -> None:
    plan = Restarts.plan(EProcess.regression(NO_WORSE), planned=2).start_next()
    assert plan.remaining == 0
    with pytest.raises(ValueError, match="all 2 planned copies"):
        plan.start_next()


def test_a_plan_of_no_copies_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one copy"):
        Restarts.plan(EProcess.regression(NO_WORSE), planned=0)


def test_a_restart_finds_a_late_regression_with_fewer_requests() -> None:
    fresh = EProcess.regression(NO_WORSE)
    healthy, sick = interval(), interval(bad=5)
    single = Restarts.plan(repeat(fresh, healthy, 300), planned=1)
    restarted = Restarts(template=fresh, planned=6, log_e=single.log_e).start_next()
    assert looks_until_rollback(restarted, sick) < looks_until_rollback(single, sick) / 2


def looks_until_rollback(plan: Restarts, seen: Interval) -> int:
    for look in range(1, 1000):
        plan = plan.update(seen)
        if plan.progress(100) == 1:
            return look
    raise AssertionError(plan)


def test_a_plan_survives_storage_exactly() -> None:
    fresh = EProcess.non_inferiority(DEFAULT_MARGIN)
    plan = (
        Restarts.plan(fresh, planned=3).update(interval(bad=0)).start_next().update(interval(bad=1))
    )
    stored = json.dumps(plan.to_state(), allow_nan=False)
    assert Restarts.plan(fresh, planned=3).from_state(json.loads(stored)) == plan


@pytest.mark.parametrize("values", [0, 7, 9, 24])
def test_a_stored_plan_with_a_wrong_number_of_copies_is_refused(values: int) -> None:
    plan = Restarts.plan(EProcess.regression(NO_WORSE), planned=2)
    with pytest.raises(ValueError, match=f"got {values}"):
        plan.from_state([0.0] * values)
    with pytest.raises(ValueError, match=f"got {values}"):
        Confirmed.by_shift(plan).from_state([0.0, 0.0] + [0.0] * values * 2)


def test_confirmed_evidence_that_is_no_evidence_is_refused() -> None:
    confirmed = Confirmed.by_shift(Restarts.plan(EProcess.regression(NO_WORSE), planned=2))
    for state in ([], [1], [1, 2, *[0.0] * 16], [2, 1, *[0.0] * 17]):
        with pytest.raises(ValueError, match=r"stored|counts"):
            confirmed.from_state(state)


def test_a_second_plan_confirms_with_stables_next_interval_and_the_smaller_evidence_counts() -> (
    None
):
    plan = Restarts.plan(EProcess.regression(NO_WORSE), planned=2)
    seen = [interval(bad=9), interval(bad=5, stable_bad=90), interval(bad=7)]
    confirmed, shifted = Confirmed.by_shift(plan), plan
    for one in seen:
        confirmed = confirmed.update(one)
    for before, now in pairwise(seen):
        shifted = shifted.update(Interval(canary=before.canary, stable=now.stable))
    assert confirmed.shifted == shifted
    assert confirmed.log_value == min(confirmed.plan.log_value, shifted.log_value)


def test_confirmation_condemns_a_crashing_canary_one_look_later() -> None:
    confirmed = Confirmed.by_shift(Restarts.plan(EProcess.regression(NO_WORSE), planned=1))
    crash = interval(10, 10, 90, 0)
    assert confirmed.update(crash).progress(100) == 0
    assert confirmed.update(crash).update(crash).progress(100) == 1


def test_no_pair_reaches_across_an_interval_that_was_left_out() -> None:
    confirmed = Confirmed.by_shift(Restarts.plan(EProcess.regression(NO_WORSE), planned=1))
    gap = confirmed.update(interval(bad=50)).update(interval(0, 0, 0, 0)).update(interval(bad=50))
    assert gap.shifted == confirmed.shifted


def test_an_outage_that_stable_shows_five_seconds_late_is_not_blamed_on_the_canary() -> None:
    """0.1 % errors, then 20 % in both arms from second 25 on; intervals of ten seconds."""
    plan = Restarts.plan(EProcess.regression(NO_WORSE), planned=1)
    confirmed = Confirmed.by_shift(plan)
    alone = 0.0
    for canary_bad, stable_bad in [(0, 2), (0, 2), (20, 2), (40, 182), (40, 360), (40, 360)]:
        seen = interval(200, canary_bad, 1800, stable_bad)
        plan, confirmed = plan.update(seen), confirmed.update(seen)
        alone = max(alone, plan.progress(100))
        assert confirmed.progress(100) < 0.1
    assert alone == 1, "the plan alone is fooled"


def test_an_outage_that_stables_windows_outlive_is_not_blamed_on_the_canary() -> None:
    """Two servers scrape every 60 s, stable's samples are later, and both arms failed for 250 s."""
    plan = Restarts.plan(EProcess.regression(Tolerance(ratio=1.1, points=0.0005)), planned=1)
    test = Confirmed.by_shift(plan).preceded_by(ArmCounts(total=1472, bad=1))
    for canary, stable in (
        ((1503, 284), (4454, 589)),
        ((627, 139), (6096, 1222)),
        ((1519, 322), (4466, 810)),
        ((1529, 133), (4461, 65)),
    ):
        counts = (ArmCounts(total=total, bad=bad) for total, bad in (canary, stable))
        test = test.update(Interval(canary=next(counts), stable=next(counts)))
    assert min(test.plan.log_value, test.shifted.log_value) > math.log(100)
    assert test.log_value < math.log(2)


def test_confirmed_evidence_survives_storage_exactly() -> None:
    fresh = Confirmed.by_shift(Restarts.plan(EProcess.non_inferiority(DEFAULT_MARGIN), planned=3))
    confirmed = (
        fresh.update(interval(bad=0)).start_next().update(interval(bad=1)).update(interval(bad=2))
    )
    assert (
        fresh.from_state(json.loads(json.dumps(confirmed.to_state(), allow_nan=False))) == confirmed
    )


def test_confirmed_evidence_starts_no_more_copies_than_planned() -> None:
    confirmed = Confirmed.by_shift(
        Restarts.plan(EProcess.regression(NO_WORSE), planned=2)
    ).start_next()
    assert confirmed.remaining == 0
    with pytest.raises(ValueError, match="all 2 planned copies"):
        confirmed.start_next()


@pytest.mark.parametrize(
    ("weighted", "mean"),
    [
        pytest.param([(1.0, 3.0)], 3.0, id="alone"),
        pytest.param([(0.5, math.log(4)), (0.5, math.log(2))], math.log(3), id="two metrics"),
        pytest.param([(0.5, math.log(4)), (0.5, -math.inf)], math.log(2), id="one ruled out"),
        pytest.param([(0.25, 5000.0), (0.75, -5000.0)], 5000 + math.log(0.25), id="no overflow"),
    ],
)
def test_metrics_combine_to_their_weighted_mean(
    weighted: list[tuple[float, float]], mean: float
) -> None:
    assert combine(weighted) == pytest.approx(mean)


@pytest.mark.parametrize(
    "weights", [(), (0.5, 0.4), (1.0, 0.5), (1.5, -0.5), (1.0, 0.0), (math.nan,)]
)
def test_weights_that_do_not_share_one_alpha_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        combine((weight, 1.0) for weight in weights)


@pytest.mark.parametrize(
    ("stable_rate", "ratio", "weight", "expected"),
    [
        (0.01, 1.5, 0.1, 6970),
        (0.01, 2, 0.1, 1978),
        (0.01, 5, 0.1, 200),
        (0.01, 10, 0.1, 62),
        (0.001, 2, 0.1, 19784),
        (0.05, 2, 0.1, 396),
        (0.01, 2, 0.01, 1753),
        (0.01, 2, 0.5, 3934),
    ],
)
def test_planning_agrees_with_the_reference(
    stable_rate: float, ratio: float, weight: float, expected: int
) -> None:
    requests = expected_requests(
        EProcess.regression(NO_WORSE),
        stable_rate=stable_rate,
        ratio=ratio,
        weight=weight,
        alpha=0.01,
    )
    assert requests == pytest.approx(expected, abs=0.5)


def test_planning_an_error_free_promotion_gives_the_logarithm_over_the_margin() -> None:
    margin = EProcess.non_inferiority(Tolerance(ratio=1.0, points=0.005))
    requests = expected_requests(margin, stable_rate=0, ratio=1, weight=0.1, alpha=0.05)
    assert requests == pytest.approx(math.log(8 / 0.05) / 0.005)


@pytest.mark.parametrize(
    ("test", "ratio"),
    [
        pytest.param(EProcess.regression(NO_WORSE), 1.0, id="no regression, no rollback"),
        pytest.param(EProcess.regression(NO_WORSE), 0.5, id="a better canary"),
        pytest.param(
            EProcess.regression(DEFAULT_TOLERANCE), 1.1, id="a regression that is tolerated"
        ),
        pytest.param(
            EProcess.non_inferiority(DEFAULT_MARGIN), 2.0, id="a canary beyond the margin"
        ),
    ],
)
def test_planning_says_never_when_no_evidence_can_grow(test: EProcess, ratio: float) -> None:
    assert (
        expected_requests(test, stable_rate=0.01, ratio=ratio, weight=0.1, alpha=0.01) == math.inf
    )


def test_planning_charges_for_dispersion() -> None:
    plain, divided = EProcess.regression(NO_WORSE), EProcess.regression(NO_WORSE, dispersion=4)
    asked = {"stable_rate": 0.01, "ratio": 2.0, "weight": 0.1, "alpha": 0.01}
    assert expected_requests(divided, **asked) == pytest.approx(
        4 * expected_requests(plain, **asked)
    )


@pytest.mark.parametrize(
    "wrong",
    [{"weight": 0.0}, {"weight": 1.0}, {"alpha": 0.0}, {"stable_rate": 1.5}, {"ratio": -1.0}],
)
def test_planning_refuses_impossible_plans(wrong: dict[str, float]) -> None:
    asked = {"stable_rate": 0.01, "ratio": 2.0, "weight": 0.1, "alpha": 0.01} | wrong
    with pytest.raises(ValueError, match="strictly between"):
        expected_requests(EProcess.regression(NO_WORSE), **asked)


@pytest.mark.parametrize(
    ("base", "worse", "median"),
    [
        pytest.param(0.01, 2, 1970, id="1 % doubled"),
        pytest.param(0.01, 5, 229, id="1 % times five"),
        pytest.param(0.05, 1.5, 1419, id="5 % times one and a half"),
    ],
)
def test_the_median_rollback_takes_as_many_requests_as_in_the_reference(
    base: float, worse: float, median: int
) -> None:
    """200 requests a second, a tenth to the canary, a look every ten seconds, alpha 1 %."""
    draw = np.random.default_rng(20)
    spent = []
    for _ in range(600):
        test, requests = EProcess.regression(NO_WORSE), 0
        while test.progress(100) < 1:
            n_c = int(draw.binomial(2000, 0.1))
            bad, stable_bad = draw.binomial(n_c, worse * base), draw.binomial(2000 - n_c, base)
            test = test.update(interval(n_c, int(bad), 2000 - n_c, int(stable_bad)))
            requests += n_c
        spent.append(requests)
    assert np.median(spent) == pytest.approx(median, rel=0.12)


@pytest.mark.parametrize("total", [1, 50, 1000])
@pytest.mark.parametrize("share", [0, 0.02, 0.5, 1])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_the_interval_shown_is_wilsons(total: int, share: float, confidence: float) -> None:
    bad = round(total * share)
    shown = rate_interval(ArmCounts(total=total, bad=bad), confidence)
    expected = binomtest(bad, total).proportion_ci(confidence, "wilson")
    assert (shown.lower, shown.upper) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_without_requests_the_rate_could_be_anything() -> None:
    shown = rate_interval(ArmCounts(total=0, bad=0), 0.95)
    assert (shown.lower, shown.upper) == (0, 1)


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_a_confidence_is_a_share(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        rate_interval(ArmCounts(total=1, bad=0), confidence)


def test_an_outage_that_ended_before_stables_first_sample_is_not_blamed_on_the_canary() -> None:
    """The canary's window began at 30 s, stable's at 114 s, and both failed from 22 to 82 s."""
    plan = Restarts.plan(EProcess.regression(Tolerance(ratio=1.1, points=0.0005)), planned=1)
    test = Confirmed.by_shift(plan).preceded_by(ArmCounts(total=3_300, bad=1_200))
    for canary, stable in (((2_400, 1_040), (2_400, 2)), ((2_400, 2), (2_400, 3))):
        counts = (ArmCounts(total=total, bad=bad) for total, bad in (canary, stable))
        test = test.update(Interval(canary=next(counts), stable=next(counts)))
    assert min(test.plan.log_value, test.shifted.log_value) > math.log(100)
    assert test.log_value < 0
