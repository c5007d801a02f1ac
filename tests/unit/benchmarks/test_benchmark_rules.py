"""What the decisions benchmark rests on:
the vectorized form equals the product, the rivals are as in their sources.
"""

import dataclasses
import json
import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binom, poisson, rankdata

from benchmarks.decisions import (
    bounds,
    conditions,
    kayenta,
    product,
    release,
    rules,
    tuning,
    vectorized,
)
from benchmarks.decisions.cells import measure
from benchmarks.decisions.missed_detections import examine
from benchmarks.decisions.report import as_json, as_tables
from benchmarks.decisions.run import Report, whole
from benchmarks.decisions.targets import missed_cells, targets
from benchmarks.decisions.traffic import Cell, Counts, Floats, Ints, draw
from benchmarks.decisions.vectorized import NEVER
from benchmarks.doc_markers import between_marks
from modelrelease_operator.api.status import Evidence
from modelrelease_operator.core.analysis.gates.registry import gate_tests_of
from modelrelease_operator.core.statistics.eprocess import (
    ArmCounts,
    Confirmed,
    EProcess,
    Interval,
    Restarts,
    Tolerance,
)
from testbed.builders import a_spec

LINES = [
    Tolerance(ratio=1.0, points=0.0),
    Tolerance(ratio=1.1, points=0.0005),
    Tolerance(ratio=1.25, points=0.05),
]


def a_schedule(seed: int, runs: int = 3, polls: int = 40) -> Counts:
    """Draw counts as adverse as they come: arms that fall silent, rates from none to all."""
    random = np.random.default_rng(seed)
    n_c = random.integers(0, random.choice([3, 50, 2000]), (runs, polls)) * random.integers(
        0, 2, (runs, polls)
    )
    n_s = random.integers(0, random.choice([3, 500, 20000]), (runs, polls))
    p_c, p_s = random.choice([0.0, 0.001, 0.05, 0.5, 1.0], 2)
    return Counts(n_c=n_c, x=random.binomial(n_c, p_c), n_s=n_s, y=random.binomial(n_s, p_s))


def constant(canary: list[int], bad: list[int]) -> Counts:
    """Give one run's canary, beside a stable arm that never fails."""
    n_c, x = np.array([canary]), np.array([bad])
    return Counts(n_c=n_c, x=x, n_s=np.full_like(n_c, 1000), y=np.zeros_like(n_c))


def interval_of(counts: Counts, run: int, poll: int) -> Interval:
    n_c, x, n_s, y = (int(part[run, poll]) for part in (counts.n_c, counts.x, counts.n_s, counts.y))
    return Interval(canary=ArmCounts(total=n_c, bad=x), stable=ArmCounts(total=n_s, bad=y))


class TestTheTwinEqualsTheProduct:
    @pytest.mark.parametrize("seed", range(12))
    @pytest.mark.parametrize("line", LINES)
    def test_in_the_evidence_for_a_rollback(self, seed: int, line: Tolerance) -> None:
        counts = a_schedule(seed)
        logs = vectorized.regression_logs(counts, line)
        plan = vectorized.plan_logs(counts, line)
        for run in range(counts.runs):
            test = Confirmed.by_shift(Restarts.plan(EProcess.regression(line), planned=1))
            for poll in range(counts.polls):
                test = test.update(interval_of(counts, run, poll))
                assert logs[run, poll] == pytest.approx(test.log_value, rel=1e-9, abs=1e-9)
                assert plan[run, poll] == pytest.approx(test.plan.log_value, rel=1e-9, abs=1e-9)

    @pytest.mark.parametrize("seed", range(12))
    @pytest.mark.parametrize("line", LINES)
    def test_in_the_evidence_for_a_promotion(self, seed: int, line: Tolerance) -> None:
        counts = a_schedule(seed)
        logs = vectorized.promotion_logs(counts, line)
        for run in range(counts.runs):
            test = EProcess.non_inferiority(line)
            for poll in range(counts.polls):
                test = test.update(interval_of(counts, run, poll))
                assert logs[run, poll] == pytest.approx(test.log_value, rel=1e-9, abs=1e-9)

    def test_when_groups_of_requests_fail_together(self) -> None:
        counts, line = a_schedule(3), LINES[1]
        logs = vectorized.plan_logs(counts, line, dispersion=4.0)
        test = EProcess.regression(line, dispersion=4.0)
        for poll in range(counts.polls):
            test = test.update(interval_of(counts, 0, poll))
        assert logs[0, -1] == pytest.approx(test.log_value, rel=1e-9, abs=1e-9)

    @pytest.mark.parametrize(
        ("base", "ratio"), [(0.001, 20), (0.01, 1), (0.01, 2), (0.05, 1.5), (0.05, 20)]
    )
    def test_in_every_decision_with_the_defaults_of_a_release(
        self, base: float, ratio: float
    ) -> None:
        counts = draw(Cell(rps=10, base=base, ratio=ratio, weight=0.2), 4, seed=5)
        policy = vectorized.default_policy()
        rolled_back, promoted = (
            vectorized.rollback_polls(counts, policy),
            vectorized.promotion_polls(counts, policy),
        )
        for run in range(counts.runs):
            assert (rolled_back[run], promoted[run]) == product.looks(counts, run)

    def test_in_the_margin_before_each_weight(self) -> None:
        spec = a_spec(analysis=product.ERRORS_ALONE)
        for weight in (10, 25, 50, 100):
            _, (question,) = gate_tests_of(spec, Evidence(), (), ("canary", "stable"), weight)
            (test,) = question.comparisons
            assert test.promote
            assert vectorized.default_policy().margin_before(weight / 100) == test.promote.tolerance


class TestTraffic:
    def test_is_the_same_for_the_same_seed_and_another_for_another(self) -> None:
        cell = Cell(rps=10, base=0.01, ratio=2, weight=0.1)
        assert (draw(cell, 5, 1).n_c == draw(cell, 5, 1).n_c).all()
        assert (draw(cell, 5, 1).n_c != draw(cell, 5, 2).n_c).any()

    def test_has_the_rates_that_were_asked_for(self) -> None:
        counts = draw(Cell(rps=200, base=0.01, ratio=5, weight=0.2), 50, 1)
        assert counts.x.sum() / counts.n_c.sum() == pytest.approx(0.05, rel=0.02)
        assert counts.y.sum() / counts.n_s.sum() == pytest.approx(0.01, rel=0.02)
        assert counts.n_c.sum() / (counts.n_c.sum() + counts.n_s.sum()) == pytest.approx(
            0.2, rel=0.01
        )


class TestFlagger:
    def test_rolls_back_one_tick_after_the_fifth_failed_check(self) -> None:
        counts = constant([10] * 60, [1] * 60)
        assert rules.flagger(counts, 0.01).tolist() == [35]

    def test_never_forgets_a_failed_check(self) -> None:
        bad = ([1] * 6 + [0] * 6) * 6
        assert rules.flagger(constant([10] * 72, bad), 0.01).tolist() == [59]

    def test_takes_silence_for_failure(self) -> None:
        assert rules.flagger(constant([0] * 60, [0] * 60), 0.01).tolist() == [35]

    def test_passes_what_is_just_at_its_limit(self) -> None:
        assert rules.flagger(constant([100] * 60, [1] * 60), 0.01).tolist() == [NEVER]


class TestArgo:
    def test_aborts_at_the_fourth_failed_measurement(self) -> None:
        assert rules.argo(constant([10] * 360, [1] * 360), 0.05, window=1).tolist() == [119]

    def test_sees_only_the_last_scrape_with_irate(self) -> None:
        bad = ([10] * 29 + [0]) * 12
        assert rules.argo(constant([10] * 360, bad), 0.05, window=1).tolist() == [NEVER]
        assert rules.argo(constant([10] * 360, bad), 0.05, window=30).tolist() == [119]


class TestTunedLimits:
    @pytest.mark.parametrize(("checks", "failures"), [(59, 5), (12, 4)])
    def test_let_a_check_fail_as_often_as_the_level_allows(
        self, checks: int, failures: int
    ) -> None:
        share = tuning.failing_share(checks, failures, 0.01)
        assert binom.sf(failures - 1, checks, share) == pytest.approx(0.01, rel=1e-6)

    def test_lie_above_the_base_rate_and_come_closer_with_more_traffic(self) -> None:
        limits = [
            tuning.limit_for(
                Cell(rps=rps, base=0.01, ratio=1, weight=0.1),
                polls=6,
                checks=59,
                failures=5,
                level=0.01,
            )
            for rps in (10, 200)
        ]
        assert limits[0] > limits[1] > 0.01


class TestKayenta:
    def test_agrees_with_a_search_for_the_ends_of_the_interval(self) -> None:
        random = np.random.default_rng(1)
        same = cases = 0
        for ratio in (1.0, 1.5, 2.0, 4.0):
            for size in (10, 60):
                for requests in (60, 1200):
                    canary = 100 * random.poisson(0.02 * ratio * requests, (10, size)) / requests
                    stable = 100 * random.poisson(0.02 * 9 * requests, (10, size)) / (9 * requests)
                    fast = kayenta.is_high(canary, stable)
                    same += sum(
                        high == by_search(*pair)
                        for high, *pair in zip(fast, canary, stable, strict=True)
                    )
                    cases += len(fast)
        # What is left are ties: the search stops a little beside a step of the score.
        assert same >= 0.97 * cases

    def test_passes_identical_series(self) -> None:
        series = np.tile(np.arange(10.0), (1, 1))
        assert not kayenta.is_high(series, series).any()

    def test_waits_for_its_judgement(self) -> None:
        counts = draw(Cell(rps=200, base=0.01, ratio=20, weight=0.1), 3, 1)
        assert kayenta.judged(counts, minutes=10).tolist() == [59] * 3
        assert kayenta.judged(counts, minutes=60).tolist() == [359] * 3


class TestTheRepeatedZTest:
    def test_is_not_moved_by_arms_without_failures(self) -> None:
        assert rules.z_test(constant([10] * 9, [0] * 9), 0.01).tolist() == [NEVER]

    def test_can_be_told_to_wait_for_errors(self) -> None:
        counts = constant([10] * 9, [1] * 9)
        assert rules.z_test(counts, 0.01).tolist() == [0]
        assert rules.z_test(counts, 0.01, errors=5).tolist() == [4]


class TestTheMostThatCanBeCaught:
    def test_is_the_power_of_refusing_the_largest_numbers(self) -> None:
        for alpha, last in ((poisson.sf(7, 3.0), 7), (poisson.sf(2, 3.0), 2)):
            found = bounds.most_that_can_be_caught(
                expected_bad=9.0, tolerated_bad=3.0, alpha=float(alpha)
            )
            assert found == pytest.approx(poisson.sf(last, 9.0))

    def test_spends_all_of_alpha(self) -> None:
        same = bounds.most_that_can_be_caught(expected_bad=3.0, tolerated_bad=3.0, alpha=0.01)
        assert same == pytest.approx(0.01)


class TestWholeReleases:
    def test_of_a_healthy_canary_go_through_and_of_a_sick_one_do_not(self) -> None:
        healthy = release.ours(release.Situation(rps=200, base=0.01, ratio=1), 20, seed=1)
        sick = release.ours(release.Situation(rps=200, base=0.01, ratio=20), 20, seed=1)
        assert (healthy.promoted, sick.rolled_back) == (1, 1)

    def test_without_traffic_end_undecided_for_us_and_in_a_rollback_for_flagger(self) -> None:
        silent = release.Situation(rps=0, base=0.01, ratio=1)
        assert release.ours(silent, 3, seed=1).undecided == 1
        assert release.flagger(silent, 3, 1, 0.01).rolled_back == 1

    def test_have_the_evidence_of_the_product_with_all_its_copies(self) -> None:
        """At a rate of rollback and promotion so slow that steps and hours both start copies."""
        world = release.VectorizedRelease(release.Situation(rps=3, base=0.02, ratio=1.4), 6, seed=3)
        plan = Restarts.plan(
            EProcess.regression(rules.OURS.tolerated), planned=len(release.COPY_WEIGHTS)
        )
        tests = [Confirmed.by_shift(plan) for _ in range(6)]
        for poll in range(1500):
            rows = np.flatnonzero(world.outcome == release.OPEN)
            steps = world.step.copy()
            assert world.look(poll)
            for place, row in enumerate(rows):
                begun = world.copies[row] - (world.step[row] > steps[row])
                tests[row] = (
                    tests[row].running(int(begun)).update(interval_of(world.newest, 0, place))
                )
                assert world.evidence[row] == pytest.approx(
                    tests[row].log_value, rel=1e-9, abs=1e-9
                )
                if world.step[row] > steps[row]:
                    tests[row] = dataclasses.replace(tests[row], last=ArmCounts(total=0, bad=0))
        assert world.copies.max() > 4

    def test_take_flagger_five_minutes_and_argo_forty_when_nothing_fails(self) -> None:
        calm = release.Situation(rps=200, base=0.0, ratio=1)
        assert release.flagger(calm, 3, 1, 0.01).minutes == 5
        assert release.argo(calm, 3, 1, 0.05).minutes == 40

    def test_end_for_flagger_on_the_tick_after_the_fifth_failure(self) -> None:
        doomed = release.Situation(rps=200, base=0.5, ratio=2)
        ended = release.flagger(doomed, 3, 1, 0.01)
        assert (ended.rolled_back, ended.minutes) == (1, 6)


class TestHarderConditions:
    @pytest.mark.parametrize(
        "condition", conditions.conditions(), ids=lambda condition: condition.name
    )
    def test_leave_both_arms_equally_sick(self, condition: conditions.Condition) -> None:
        counts = condition.draw(20, np.random.default_rng(1))
        assert counts.n_c.shape == (20, condition.cell.polls)
        assert (counts.x <= counts.n_c).all()
        assert (counts.y <= counts.n_s).all()
        stable = counts.y.sum() / counts.n_s.sum()
        if "weight" not in condition.name:
            assert counts.x.sum() / counts.n_c.sum() == pytest.approx(stable, rel=0.1)


class TestTheReport:
    def test_names_a_target_that_is_missed(self) -> None:
        results = [
            measure(Cell(rps=10, base=0.001, ratio=ratio, weight=0.1), runs=20, seed=1, replays=1)
            for ratio in (1.0, 5.0)
        ]
        ends = {
            release.Situation(rps=200, base=0.01, ratio=ratio): whole(
                release.Situation(rps=200, base=0.01, ratio=ratio), 5, 1
            )
            for ratio in (1.0, 2.0)
        }
        found = targets(results, ends, {"silent from 0 s": "held to the deadline"})
        assert [target.met for target in found] == [True, True, False, True]
        gone = examine(missed_cells(results)[0], runs=20, seed=1)
        assert gone.caught < 0.95 < gone.possible_strict
        report = Report(
            runs=20, seed=1, seconds=1.0, versions={}, cells=results, releases=ends, edge=0.0,
            conditions={"calm": {"ours": 0.0}}, by_decide={}, silent={}, missed=[gone],
            targets=found,
        )  # fmt: skip
        assert "MISSED  x5 is caught" in as_tables(report)
        assert (
            json.loads(json.dumps(as_json(report)))["cells"][1]["ours"]["rolled_back"]
            == gone.caught
        )

    def test_replaces_only_what_is_between_the_marks(self) -> None:
        text = "before <!-- printed: begin --> old <!-- printed: end --> after"
        once = between_marks(text, "new", mark="printed")
        assert once.startswith("before")
        assert "new" in once
        assert "old" not in once
        assert once.endswith(" after")
        assert between_marks(once, "new", mark="printed") == once

    def test_is_not_put_into_a_file_without_marks(self) -> None:
        with pytest.raises(ValueError, match="must hold the lines"):
            between_marks("nothing here", "new", mark="printed")


class TestSilence:
    def test_is_never_promoted_nor_blamed_by_decide(self) -> None:
        ended = product.release(rps=40, base=0.01, ratio=1, seed=1, stops_after=60)
        assert not ended.promoted
        assert not ended.rolled_back
        assert "no verdict within 6h" in ended.message


def by_search(canary: Floats, stable: Floats) -> bool:
    """Classify as Kayenta's source does: by searching the interval's lower end and the estimate."""
    lowest, highest = canary.min() - stable.max(), canary.max() - stable.min()

    def score(shift: float, quantile: float) -> float:
        size, other = len(canary), len(stable)
        ranks = rankdata(np.concatenate([canary - shift, stable]))
        beyond = ranks[:size].sum() - size * (size + 1) / 2 - size * other / 2
        groups: Ints = np.unique(ranks, return_counts=True)[1]
        ties = float((groups**3 - groups).sum())
        spread = (
            size * other / 12 * (size + other + 1 - ties / ((size + other) * (size + other - 1)))
        )
        return float((beyond - 0.5 * np.sign(beyond)) / math.sqrt(spread)) - quantile

    def root(quantile: float) -> float:
        if score(lowest, quantile) <= 0:
            return float(lowest)
        if score(highest, quantile) >= 0:
            return float(highest)
        return float(brentq(score, lowest, highest, args=(quantile,), xtol=1e-9))

    return root(NormalDist().inv_cdf(0.99)) > 0.25 * abs(root(0.0))
