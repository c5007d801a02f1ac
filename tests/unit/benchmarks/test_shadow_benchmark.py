"""The shadow benchmark's own sums: quantiles, ratios of neighbours, and the table."""

import math

from benchmarks.shadow import Arm, _as_markdown, _quantile


def test_a_quantile_is_one_of_the_values_and_nothing_of_none():
    values = [float(number) for number in range(1, 101)]
    assert (_quantile(values, 0.5), _quantile(values, 0.99)) == (51, 100)
    assert math.isnan(_quantile([], 0.5))


def test_ratios_are_those_of_neighbours_in_a_round():
    copying = Arm("copying", 1, p50_ms=[2.0, 6.0, 2.0], p99_ms=[9.0, 9.0, 9.0], failed=3)
    off = Arm("off", 2, p50_ms=[1.0, 2.0, 4.0], p99_ms=[3.0, 9.0, 9.0])
    *_, first, second = _as_markdown([copying, off]).splitlines()
    assert first == "| copying | 2.00 | 9.00 | 2.00 (0.50-3.00) | 1.00 (1.00-3.00) | 3 |"
    assert second == "| off | 2.00 | 9.00 | 1.00 (1.00-1.00) | 1.00 (1.00-1.00) | 0 |"
