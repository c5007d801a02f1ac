"""The shadow benchmark's own sums: quantiles, ratios over all rounds, and the table."""

import math

from benchmarks.shadow import Arm, _as_markdown, _quantile


def test_a_quantile_is_one_of_the_values_and_nothing_of_none():
    values = [float(number) for number in range(1, 101)]
    assert (_quantile(values, 0.5), _quantile(values, 0.99)) == (51, 100)
    assert math.isnan(_quantile([], 0.5))


def test_ratios_are_those_of_all_rounds_together():
    copying = Arm("copying", 1, rounds_ms=[[2.0, 2.0, 9.0], [2.0, 2.0, 3.0]], failed=3)
    off = Arm("off", 2, rounds_ms=[[1.0, 1.0, 3.0], [1.0, 1.0, 3.0]])
    *_, first, second = _as_markdown([copying, off]).splitlines()
    assert first == "| copying | 2.00 | 9.00 | 2.00 (2.00-2.00) | 3.00 (1.00-3.00) | 3 |"
    assert second == "| off | 1.00 | 3.00 | 1.00 (1.00-1.00) | 1.00 (1.00-1.00) | 0 |"


def test_what_befalls_one_round_befalls_both_arms_of_it():
    slow = [[1.0] * 9, [50.0] * 9]
    *_, first, _ = _as_markdown(
        [Arm("a", 1, rounds_ms=slow), Arm("b", 2, rounds_ms=slow)]
    ).splitlines()
    assert first.count("1.00 (1.00-1.00)") == 2
