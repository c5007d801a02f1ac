"""The lines that a gate draws, as a picture shows them: nothing is decided by these.

A test draws `canary = ratio * stable + points`. Beside what stable does at the moment that is one
difference: the canary is rolled back only for more than what is tolerated, and goes on only when it
is proven to be less than the margin.
"""

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import GateStatus, Status
from modelrelease_operator.core.analysis.gate_tests import GateTest
from modelrelease_operator.core.analysis.gates.registry import gate_tests_of
from modelrelease_operator.core.analysis.intervals import difference_at
from modelrelease_operator.core.immutable import immutable
from modelrelease_operator.core.steps import next_weight

NO_ARMS = ("", "")
"""No counters are read here, so nobody's."""


@immutable
class Lines:
    """What the canary less stable is held against, in percentage points; None where it is not."""

    tolerated: float | None = None
    margin: float | None = None
    limit: float | None = None
    """Of either arm's own share, percent."""


def lines_of(spec: ReleaseSpec, status: Status) -> dict[str, Lines]:
    """Return by gate the lines that its last evidence was held against."""
    step = status.canary.step if status.canary else len(spec.canary.plan) - 1
    _, tests = gate_tests_of(spec, status.evidence, (), NO_ARMS, next_weight(spec, step))
    by_name = {test.name: test for test in tests}
    return {
        gate.name: _lines(by_name[gate.name], gate) for gate in status.gates if gate.name in by_name
    }


def _lines(test: GateTest, gate: GateStatus) -> Lines:
    limit = None
    if test.limit:
        limit = _percent(test.limit.promote.tolerance.points)
    if not test.comparisons or gate.stable_percent is None:
        return Lines(limit=limit)
    # The comparisons of a gate differ by what they count, not by their lines.
    first, stable = test.comparisons[0], gate.stable_percent / 100
    margin = difference_at(first.promote.tolerance, stable) if first.promote else None
    return Lines(
        tolerated=_percent(difference_at(first.rollback.plan.template.tolerance, stable)),
        margin=None if margin is None else _percent(margin),
        limit=limit,
    )


def _percent(share: float) -> float:
    return round(100 * share, 6)
