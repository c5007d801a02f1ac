"""The interval that a gate shows of the difference between both arms, beside its verdict.

It is made from the same intervals of counts as the verdict, by the same test with other lines. So
the two may differ: the verdict knows the gate's lines and shares its alpha with other gates. One
that would contradict the verdict is withheld.
"""

import math

from modelrelease_operator.api.status import GateInterval, Verdict
from modelrelease_operator.core.analysis.gate_tests import Comparison, GateTest
from modelrelease_operator.core.measurement.indicators import Indicator
from modelrelease_operator.core.statistics.difference import DifferenceInterval
from modelrelease_operator.core.statistics.eprocess import Tolerance

CROSSED = "its two ends cross, so no one difference fits all that was counted"
WITHIN = (
    "it would lie within what is tolerated at stable's rate, and the evidence of all gates is "
    "against the canary"
)
BEYOND = (
    "it would lie beyond the margin at stable's rate since the canary began, and the evidence of "
    "this step is that the canary is within it"
)


def shown_interval(
    gate_test: GateTest, indicator: Indicator, verdict: Verdict, stable_rate: float
) -> tuple[GateInterval | None, str | None]:
    """Return the interval to show of an indicator, or why it is withheld; neither where nothing is
    compared or excluded.

    `stable_rate` is the share of stable's requests that is shown beside it. The comparisons of a
    gate share alpha, for the one to show is chosen by its evidence.
    """
    comparisons = [test for test in gate_test.comparisons if test.difference]
    of_indicator = [test for test in comparisons if test.indicator.key == indicator.key]
    test = of_indicator[0] if of_indicator else None
    if test is None or test.difference is None or test.rollback.sums is None:
        return None, None
    if not test.difference.began:
        return None, None
    interval = test.difference.interval(
        alpha=gate_test.alpha / len(comparisons),
        dispersion=test.rollback.plan.template.dispersion,
        pooled=test.rollback.sides(),
    )
    if interval is None:
        return None, CROSSED
    if interval.excludes_nothing:
        return None, None
    if contradiction := contradicted(interval, test, verdict, stable_rate):
        return None, contradiction
    return _rounded(interval, confidence=100 * (1 - gate_test.alpha)), None


def contradicted(
    interval: DifferenceInterval, test: Comparison, verdict: Verdict, stable_rate: float
) -> str | None:
    """Return what of a verdict the interval contradicts, if it does, with stable at this rate.

    A gate that fails has one that reaches beyond what is tolerated, and one that passes has one
    that reaches below the margin, by the difference and by the ratio.
    """
    if verdict is Verdict.FAIL:
        tolerated = difference_at(test.rollback.plan.template.tolerance, stable_rate)
        by_ratio = _of_ratio(interval.ratio_upper, stable_rate)
        return WITHIN if min(interval.upper, by_ratio) <= tolerated else None
    if verdict is Verdict.PASS and test.promote:
        margin = difference_at(test.promote.tolerance, stable_rate)
        by_ratio = _of_ratio(interval.ratio_lower, stable_rate)
        return BEYOND if max(interval.lower, by_ratio) >= margin else None
    return None


def difference_at(line: Tolerance, stable_rate: float) -> float:
    """Return the difference of two shares at which a line is reached, stable's being as given."""
    return (line.ratio - 1) * stable_rate + line.points


def _of_ratio(ratio: float, stable_rate: float) -> float:
    """Return the difference that a ratio comes to."""
    return math.inf if ratio == math.inf else (ratio - 1) * stable_rate


def _rounded(interval: DifferenceInterval, *, confidence: float) -> GateInterval:
    """Return the interval in points, rounded outwards."""
    ratio_upper = interval.ratio_upper
    return GateInterval(
        lower=math.floor(interval.lower * 1e6) / 1e4,
        upper=math.ceil(interval.upper * 1e6) / 1e4,
        ratio_lower=math.floor(interval.ratio_lower * 1e3) / 1e3,
        ratio_upper=None if ratio_upper == math.inf else math.ceil(ratio_upper * 1e3) / 1e3,
        confidence=round(confidence, 6),
    )
