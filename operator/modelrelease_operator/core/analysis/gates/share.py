"""What gates on a share of bad requests have in common."""

from modelrelease_operator.api.spec import Line, ShareGate
from modelrelease_operator.core.analysis.gate_tests import (
    Comparison,
    GateTest,
    Reads,
    TestParameters,
)
from modelrelease_operator.core.measurement.indicators import Indicator
from modelrelease_operator.core.statistics.eprocess import Tolerance

NOTABLE = Tolerance(ratio=2.0, points=0.01)
"""Suspicious: shown to be beyond twice what the predecessor had during the release, plus a
point.
"""


def tolerance(line: Line) -> Tolerance:
    """Return a line of the spec, which has percentage points, for a test, which has shares."""
    return Tolerance(ratio=line.ratio, points=line.points / 100)


def share_test(
    name: str,
    settings: ShareGate,
    indicator: Indicator,
    bad: str,
    parameters: TestParameters,
    *,
    together: float = 1,
) -> GateTest:
    """Compare the share of an indicator that is bad, and hold it against a limit,
    as the gate asks. About `together` requests go bad at once.
    """
    comparisons: tuple[Comparison, ...] = ()
    allowed = (
        f"{settings.tolerated.ratio:g} times stable's plus {settings.tolerated.points:g} points"
    )
    if settings.compare_with_stable:
        comparisons = (
            parameters.comparison(
                indicator,
                tolerance(settings.tolerated),
                parameters.widened(settings.margin),
                together=together,
            ),
        )
    limit = None
    if settings.max_percent is not None:
        limit = parameters.limit(
            indicator, settings.max_percent, f"the limit of {settings.max_percent:g} %"
        )
    return GateTest(
        name=name,
        bad=bad,
        allowed=allowed,
        alpha=parameters.alpha,
        comparisons=comparisons,
        limit=limit,
        reads=Reads.of(name, comparisons, limit),
    )


def notable(tolerated: Line) -> Tolerance:
    """Return what is suspicious: never less than what the gate tolerates of two that answer side by
    side.
    """
    return Tolerance(
        ratio=max(NOTABLE.ratio, tolerated.ratio),
        points=max(NOTABLE.points, tolerated.points / 100),
    )


def limits(*percents: float | None) -> tuple[float, ...]:
    """Return limits in percent as shares, without those that are not set."""
    return tuple(percent / 100 for percent in percents if percent is not None)
