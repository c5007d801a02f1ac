"""The promises of evidence.py, checked exactly where a closed form exists and by simulation
elsewhere.

The expectations are taken through `update` itself: log e is linear in the bad counts, so three
updates give the factors of an interval, and the expectation of a^x b^y over binomials is closed.
"""

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import binom, hypergeom

from modelrelease_operator.core.statistics.eprocess import (
    ArmCounts,
    Confirmed,
    EProcess,
    Guardrail,
    Interval,
    Restarts,
    Tolerance,
    combine,
)
from tests.support.examples import examples

ALPHA = 0.05
RUNS = 300
# With a true probability of ALPHA, more crossings than this happen less than once in a thousand.
MOST_CROSSINGS = int(binom.isf(0.001, RUNS, ALPHA))

tolerances = st.builds(
    Tolerance,
    ratio=st.floats(0.5, 3) | st.sampled_from([1.0, 1.1, 1.25]),
    points=st.floats(0, 0.2) | st.sampled_from([0.0, 0.0005, 0.0025]),
)
# scipy's binomial overflows at rates below about 1e-307.
rates = st.floats(1e-300, 1) | st.just(0.0) | st.floats(1e-5, 0.05)
sizes = st.integers(1, 20) | st.integers(1, 10**6)
directions = st.sampled_from([EProcess.regression, EProcess.non_inferiority])
Direction = Callable[[Tolerance], EProcess]


def chance(bad: int, total: int, share: float) -> float:
    """Return the binomial probability. SciPy's overflows at shares as small as hypothesis finds."""
    return math.comb(total, bad) * share**bad * (1 - share) ** (total - bad)


def interval(n_c: int, x: int, n_s: int, y: int) -> Interval:
    return Interval(
        canary=ArmCounts(total=int(n_c), bad=int(x)), stable=ArmCounts(total=int(n_s), bad=int(y))
    )


def under_null(make: Direction, line: Tolerance, p_s: float, inside: float) -> float:
    """A canary rate for which the hypothesis holds:
    on the line for inside = 0, at the far end for 1.
    """
    boundary = line.ratio * p_s + line.points
    if make == EProcess.non_inferiority:
        assume(boundary <= 1)
        return boundary + inside * (1 - boundary)
    return min(boundary, 1.0) * (1 - inside)


def log_factors(test: EProcess, n_c: int, n_s: int, design: int) -> tuple[float, float, float]:
    """What an interval adds without a bad request,
    for a bad canary request and for a bad stable one.
    """
    base, canary, stable = (
        test.update(interval(n_c, x, n_s, y)).log_e[design] for x, y in ((0, 0), (1, 0), (0, 1))
    )
    return base, canary - base, stable - base


def log_binomial_mean(n: int, p: float, log_factor: float) -> float:
    """The logarithm of E[f^x] for x ~ Bin(n, p)."""
    excess = p * math.expm1(log_factor)
    return n * math.log1p(excess) if excess > -1 else -math.inf


class TestOneIntervalExpectsAtMostOne:
    """The supermartingale property: given any past, each design's factor expects at most 1."""

    @given(
        make=directions,
        line=tolerances,
        p_s=rates,
        inside=st.just(0.0) | st.floats(0, 1),
        n_c=sizes,
        n_s=sizes,
    )
    @examples(400)
    def test_for_every_design_rate_and_size(
        self, make: Direction, line: Tolerance, p_s: float, inside: float, n_c: int, n_s: int
    ) -> None:
        p_c = under_null(make, line, p_s, inside)
        test = make(line)
        for design in range(len(test.designs)):
            base, log_a, log_b = log_factors(test, n_c, n_s, design)
            expectation = (
                base + log_binomial_mean(n_c, p_c, log_a) + log_binomial_mean(n_s, p_s, log_b)
            )
            assert expectation <= 1e-12 * (1 + n_c + n_s), (test.designs[design], p_c)

    @given(
        make=directions, line=tolerances, p_s=rates, n_c=st.integers(1, 6), n_s=st.integers(1, 6)
    )
    @examples(60)
    def test_for_their_mean_summed_over_every_outcome(
        self, make: Direction, line: Tolerance, p_s: float, n_c: int, n_s: int
    ) -> None:
        p_c = under_null(make, line, p_s, 0)
        total = math.fsum(
            chance(x, n_c, p_c)
            * chance(y, n_s, p_s)
            * math.exp(make(line).update(interval(n_c, x, n_s, y)).log_value)
            for x in range(n_c + 1)
            for y in range(n_s + 1)
        )
        assert total <= 1 + 1e-9

    @given(
        make=directions,
        n_c=st.integers(1, 40),
        n_s=st.integers(1, 40),
        share=st.floats(0, 1),
    )
    @examples(60)
    def test_for_fixed_outcomes_that_random_routing_deals_to_the_arms(
        self, make: Direction, n_c: int, n_s: int, share: float
    ) -> None:
        """However clustered the failures:
        given their number, the canary's share is hypergeometric.
        """
        bad = round(share * (n_c + n_s))
        test = make(Tolerance(ratio=1.0, points=0.0))
        low, high = max(0, bad - n_s), min(bad, n_c)
        for design in range(len(test.designs)):
            total = math.fsum(
                hypergeom.pmf(x, n_c + n_s, bad, n_c)
                * math.exp(test.update(interval(n_c, x, n_s, bad - x)).log_e[design])
                for x in range(low, high + 1)
            )
            assert total <= 1 + 1e-9

    @given(limit=st.floats(1e-4, 0.9), inside=st.just(1.0) | st.floats(0, 1), n=sizes)
    def test_for_a_guardrail(self, limit: float, inside: float, n: int) -> None:
        guard = Guardrail(limit=limit)
        rows = zip(
            guard.update(ArmCounts(total=1, bad=0)).log_e,
            guard.update(ArmCounts(total=1, bad=1)).log_e,
            strict=True,
        )
        p = limit * inside
        for good, bad in rows:
            assert n * math.log((1 - p) * math.exp(good) + p * math.exp(bad)) <= 1e-12 * (1 + n)

    @given(
        make=directions,
        line=tolerances,
        p_s=rates,
        n_c=st.integers(1, 500),
        n_s=st.integers(1, 500),
        group=st.integers(2, 9),
    )
    def test_for_requests_that_fail_in_groups_no_larger_than_the_dispersion(
        self, make: Direction, line: Tolerance, p_s: float, n_c: int, n_s: int, group: int
    ) -> None:
        p_c = under_null(make, line, p_s, 0)
        test = make(line)
        for design in range(len(test.designs)):
            base, log_a, log_b = log_factors(test, n_c * group, n_s * group, design)
            # A whole group is bad at once: group * log_a, read divided by the dispersion, is log_a.
            expectation = (
                base / group
                + log_binomial_mean(n_c, p_c, log_a)
                + log_binomial_mean(n_s, p_s, log_b)
            )
            assert expectation <= 1e-12 * (1 + n_c + n_s) * group


class TestWhatBreaksTheBound:
    """Limits that docs/explanation/decisions.md warns of;
    they document, they are not wished for.
    """

    def test_a_breaker_that_ejects_the_canary_at_its_first_error(self) -> None:
        """Equal arms, 1 % errors, 100 requests each;
        the canary gets none after its first bad one.
        """
        p, cap, n_s = 0.01, 100, 100
        test = EProcess.regression(Tolerance(ratio=1.0, points=0.0))
        design = 4
        expectation = 0.0
        for n_c in range(1, cap + 1):
            base, log_a, log_b = log_factors(test, n_c, n_s, design)
            stable = math.exp(base + log_binomial_mean(n_s, p, log_b))
            expectation += (1 - p) ** (n_c - 1) * p * math.exp(log_a) * stable
            expectation += (1 - p) ** cap * stable if n_c == cap else 0.0
        assert test.designs[design] == 5
        assert expectation == pytest.approx(1.296, abs=1e-3)

    def test_such_a_breaker_makes_most_analyses_roll_back_a_healthy_canary(self) -> None:
        draw = np.random.default_rng(6)

        def play(_: float) -> Interval:
            before_error = draw.geometric(0.01)
            n_c, x = (before_error, 1) if before_error <= 100 else (100, 0)
            return interval(n_c, x, 100, draw.binomial(100, 0.01))

        test = EProcess.regression(Tolerance(ratio=1.0, points=0.0))
        assert sum(crosses(test, play, 360, alpha=0.01) for _ in range(60)) > 30

    @pytest.mark.parametrize(("lag", "share"), [(0, 0.0), (2, 0.17), (5, 0.81), (9, 1.0)])
    def test_an_outage_that_stable_shows_later_unless_a_shifted_plan_must_confirm(
        self, lag: float, share: float
    ) -> None:
        """Both arms go from 0.1 % to 20 % errors; stable's counts are `lag` seconds older."""
        draw = np.random.default_rng(7)
        plan = Restarts.plan(EProcess.regression(Tolerance(ratio=1.0, points=0.0)), planned=1)
        fooled, confirmed = 0, 0
        for _ in range(100):
            play, again = (outage(draw, onset, lag) for onset in [draw.uniform(20, 30)] * 2)
            fooled += crosses(plan, play, 30, alpha=0.01)
            confirmed += crosses(Confirmed.by_shift(plan), again, 30, alpha=0.01)
        assert fooled / 100 == pytest.approx(share, abs=0.13)
        assert confirmed <= binom.isf(0.001, 100, 0.01)

    def test_groups_of_three_that_stick_to_an_arm_without_dispersion(self) -> None:
        assert self.crossings(dispersion=1) > MOST_CROSSINGS
        assert self.crossings(dispersion=3) <= MOST_CROSSINGS

    @staticmethod
    def crossings(dispersion: float) -> int:
        draw = np.random.default_rng(5)
        test = EProcess.regression(Tolerance(ratio=1.0, points=0.0), dispersion=dispersion)

        def play(_: float) -> Interval:
            return interval(201, 3 * draw.binomial(67, 0.01), 1800, 3 * draw.binomial(600, 0.01))

        return sum(crosses(test, play, 100) for _ in range(RUNS))

    def test_pooling_intervals_of_different_weights(self) -> None:
        """Simpson: an outage while the canary had more traffic looks like its fault once pooled."""
        test = EProcess.regression(Tolerance(ratio=1.0, points=0.0))
        calm, outage = interval(100, 0, 1900, 2), interval(1000, 200, 1000, 200)
        pooled = interval(1100, 200, 2900, 202)
        assert test.update(calm).update(outage).log_value < 0
        assert test.update(pooled).progress(100) == 1


def crosses(
    test: EProcess | Restarts | Confirmed,
    play: Callable[[float], Interval],
    looks: int,
    alpha: float = ALPHA,
) -> bool:
    """Whether the evidence reaches 1/alpha at any look;
    `play` chooses the next interval knowing it.
    """
    for _ in range(looks):
        test = test.update(play(test.log_value))
        if test.log_value >= -math.log(alpha):
            return True
    return False


def outage(draw: np.random.Generator, onset: float, lag: float) -> Callable[[float], Interval]:
    """200 requests a second, a tenth to the canary, intervals of 10 seconds;
    four minutes of outage.
    """
    end = 0.0

    def rate(until: float) -> float:
        overlap = min(until, onset + 240) - max(until - 10, onset)
        return 0.001 + 0.199 * max(0.0, overlap) / 10

    def play(_: float) -> Interval:
        nonlocal end
        end += 10
        return interval(
            200, draw.binomial(200, rate(end)), 1800, draw.binomial(1800, rate(end - lag))
        )

    return play


def adversary(draw: np.random.Generator, line: Tolerance) -> Callable[[float], Interval]:
    """Keep the canary on the line while outages,
    weights and sizes change with the evidence so far.
    """
    step = 0

    def play(log_value: float) -> Interval:
        nonlocal step
        step += 1
        rate = (0.03 if step % 17 < 3 else 0.001) * draw.uniform(0.5, 1.5)
        weight = (0.05, 0.1, 0.25, 0.5)[step // 20 % 4]
        requests = int(draw.integers(5, 60)) if log_value > 1 else int(draw.integers(100, 3000))
        n_c = int(draw.binomial(requests, weight))
        n_s = requests - n_c
        bad = draw.binomial(n_c, min(1.0, line.ratio * rate + line.points))
        return interval(n_c, bad, n_s, draw.binomial(n_s, rate))

    return play


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(Tolerance(ratio=1.0, points=0.0), id="equal arms"),
        pytest.param(Tolerance(ratio=1.1, points=0.0005), id="on the default tolerance"),
        pytest.param(Tolerance(ratio=1.25, points=0.0025), id="on the default margin"),
    ],
)
class TestNoScheduleFoolsTheTest:
    def test_into_a_rollback(self, line: Tolerance) -> None:
        draw = np.random.default_rng(11)
        test = EProcess.regression(line)
        assert sum(crosses(test, adversary(draw, line), 120) for _ in range(RUNS)) <= MOST_CROSSINGS

    def test_into_a_promotion(self, line: Tolerance) -> None:
        draw = np.random.default_rng(12)
        test = EProcess.non_inferiority(line)
        assert sum(crosses(test, adversary(draw, line), 120) for _ in range(RUNS)) <= MOST_CROSSINGS

    def test_into_a_rollback_by_restarting_when_it_looks_best(self, line: Tolerance) -> None:
        draw = np.random.default_rng(13)
        crossings = 0
        for _ in range(RUNS // 2):
            plan, play = Restarts.plan(EProcess.regression(line), planned=4), adversary(draw, line)
            for _ in range(80):
                plan = plan.update(play(plan.log_value))
                if plan.remaining and plan.copies[-1].log_value < -1:
                    plan = plan.start_next()
                if plan.log_value >= -math.log(ALPHA):
                    crossings += 1
                    break
        assert crossings <= int(binom.isf(0.001, RUNS // 2, ALPHA))


def test_several_metrics_together_keep_one_alpha() -> None:
    draw = np.random.default_rng(14)
    line = Tolerance(ratio=1.0, points=0.0)
    crossings = 0
    for _ in range(RUNS // 3):
        tests = [EProcess.regression(line)] * 4
        for _ in range(80):
            tests = [
                t.update(interval(100, draw.binomial(100, 0.02), 900, draw.binomial(900, 0.02)))
                for t in tests
            ]
            if combine((0.25, t.log_value) for t in tests) >= -math.log(ALPHA):
                crossings += 1
                break
    assert crossings <= int(binom.isf(0.001, RUNS // 3, ALPHA))


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    n_c, n_s = draw(st.integers(0, 10**9)), draw(st.integers(0, 10**9))
    return interval(n_c, draw(st.integers(0, n_c)), n_s, draw(st.integers(0, n_s)))


class TestEvidence:
    @given(make=directions, line=tolerances, seen=st.lists(intervals(), max_size=4))
    def test_survives_storage_as_json_exactly(
        self, make: Direction, line: Tolerance, seen: list[Interval]
    ) -> None:
        test = make(line)
        for one in seen:
            test = test.update(one)
        stored = json.dumps(test.to_state(), allow_nan=False)
        assert make(line).from_state(json.loads(stored)) == test

    @given(make=directions, line=tolerances, seen=st.lists(intervals(), max_size=4))
    def test_is_never_nan_nor_infinite(
        self, make: Direction, line: Tolerance, seen: list[Interval]
    ) -> None:
        test = make(line)
        for one in seen:
            test = test.update(one)
            assert math.isfinite(test.log_value)
            assert 0 <= test.progress(1 / ALPHA) <= 1

    @given(make=directions, line=tolerances, first=intervals(), second=intervals())
    def test_does_not_depend_on_the_order_of_intervals(
        self, make: Direction, line: Tolerance, first: Interval, second: Interval
    ) -> None:
        test = make(line)
        one, other = test.update(first).update(second), test.update(second).update(first)
        assert one.log_e == pytest.approx(other.log_e, rel=1e-9)

    @given(
        make=directions,
        line=tolerances,
        n_c=sizes,
        n_s=sizes,
        times=st.integers(2, 9),
        bad=st.integers(0, 5),
    )
    def test_is_the_same_for_intervals_of_one_weight_merged(
        self, make: Direction, line: Tolerance, n_c: int, n_s: int, times: int, bad: int
    ) -> None:
        x, y = min(bad, n_c), min(bad, n_s)
        apart = make(line)
        for _ in range(times):
            apart = apart.update(interval(n_c, x, n_s, y))
        merged = make(line).update(interval(n_c * times, x * times, n_s * times, y * times))
        assert merged.log_e == pytest.approx(apart.log_e, rel=1e-9, abs=1e-9)

    @given(line=tolerances, seen=intervals())
    def test_against_the_canary_never_falls_when_it_has_one_error_more(
        self, line: Tolerance, seen: Interval
    ) -> None:
        assume(seen.canary.bad < seen.canary.total)
        worse = Interval(
            canary=ArmCounts(total=seen.canary.total, bad=seen.canary.bad + 1), stable=seen.stable
        )
        assert (
            EProcess.regression(line).update(worse).log_value
            >= EProcess.regression(line).update(seen).log_value
        )
        assert (
            EProcess.non_inferiority(line).update(worse).log_value
            <= EProcess.non_inferiority(line).update(seen).log_value
        )

    @given(line=tolerances, seen=intervals())
    def test_against_the_canary_never_grows_when_stable_has_one_error_more(
        self, line: Tolerance, seen: Interval
    ) -> None:
        assume(seen.stable.bad < seen.stable.total)
        shared = Interval(
            canary=seen.canary, stable=ArmCounts(total=seen.stable.total, bad=seen.stable.bad + 1)
        )
        assert (
            EProcess.regression(line).update(shared).log_value
            <= EProcess.regression(line).update(seen).log_value
        )

    @given(seen=intervals(), line=tolerances, points=st.floats(0, 0.2))
    def test_against_the_canary_never_grows_with_the_tolerance(
        self, seen: Interval, line: Tolerance, points: float
    ) -> None:
        wider = Tolerance(ratio=line.ratio, points=line.points + points)
        assert (
            EProcess.regression(wider).update(seen).log_value
            <= EProcess.regression(line).update(seen).log_value
        )

    @given(seen=intervals(), line=tolerances, larger=st.floats(1, 50), smaller=st.floats(1, 50))
    def test_read_with_more_dispersion_never_reaches_a_threshold_that_less_does_not(
        self, seen: Interval, line: Tolerance, larger: float, smaller: float
    ) -> None:
        """So a dispersion that is estimated anew at each look is safe as long as it is never too
        small.
        """
        low, high = sorted((larger, smaller))
        more = EProcess.regression(line, dispersion=high).update(seen).log_value
        less = EProcess.regression(line, dispersion=low).update(seen).log_value
        assert more <= max(0.0, less) + 1e-9 * abs(less) + 1e-9
