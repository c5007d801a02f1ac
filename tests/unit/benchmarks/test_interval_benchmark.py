"""What the benchmark of intervals measures with: the rival, the arrays, and what it counts."""

import numpy as np
import pytest

from benchmarks.decisions.traffic import Cell
from benchmarks.intervals import ALPHA, Situation, Sums, as_table, measure, moving, newcombe


def constant(ratio: float = 2.0) -> Situation:
    cell = Cell(rps=200, base=0.01, ratio=ratio, weight=0.1, seconds=600)
    ones = np.ones(cell.polls)
    return Situation(
        name=cell.name, cell=cell, p_c=ones * cell.canary_rate, p_s=ones * cell.base,
        weight=ones * cell.weight, constant=True,
    )  # fmt: skip


def test_the_rival_is_newcombes_by_his_own_example():
    n_c, x, n_s, y = (np.asarray([float(count)]) for count in (70, 56, 80, 48))
    lower, upper = newcombe(n_c, x, n_s, y, 1.959964)
    assert (float(lower[0]), float(upper[0])) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_arrays_give_what_the_products_class_gives():
    sums = Sums(3)
    counts = [
        np.asarray(part, dtype=float) for part in ([200, 0, 90], [9, 0, 1], [1800] * 3, [18] * 3)
    ]
    for _ in range(20):
        sums.add(counts, 0.0)
    lower, upper = sums.difference()
    for run in range(3):
        interval = sums.evidence(run).interval(alpha=ALPHA)
        assert interval
        assert (lower[run], upper[run]) == pytest.approx((interval.lower, interval.upper))


def test_a_wrong_truth_is_missed_and_the_right_one_is_not():
    right, other = constant(2.0), constant(6.0)
    wrong = Situation(
        name=right.name, cell=other.cell, p_c=right.p_c, p_s=right.p_s, weight=right.weight,
        constant=True,
    )  # fmt: skip
    covered, missed = (measure(each, runs=10, seed=1) for each in (right, wrong))
    assert (covered.covered, covered.ratio_covered) == (1.0, 1.0)
    assert (missed.covered, missed.ratio_covered) == (0.0, 0.0)


def test_every_situation_that_moves_has_a_name_and_rates_for_each_poll():
    situations = list(moving())
    assert len({each.name for each in situations}) == len(situations)
    for each in situations:
        assert len(each.p_c) == len(each.p_s) == len(each.weight) == each.cell.polls


def test_the_table_names_its_command_and_the_least_that_was_inside():
    table = as_table([measure(constant(), runs=4, seed=1)], runs=4, seed=1)
    assert table.startswith("python -m benchmarks.intervals --seed 1: 4 runs of each of 1 ")
    assert "difference 100.0 %, ratio 100.0 % of runs at the least" in table
