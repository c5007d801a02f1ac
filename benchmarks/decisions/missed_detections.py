"""Why a regression that should be caught is not:
what each part of the rule costs, and what is possible.
"""

from dataclasses import dataclass, replace

import numpy as np

from benchmarks.decisions.bounds import most_that_can_be_caught
from benchmarks.decisions.cells import Measured
from benchmarks.decisions.conditions import unconfirmed
from benchmarks.decisions.rules import OURS
from benchmarks.decisions.traffic import Cell, draw
from benchmarks.decisions.vectorized import NEVER, Policy, rollback_polls
from modelrelease_operator.api.durations import parse_duration
from modelrelease_operator.api.spec import Canary
from modelrelease_operator.core.statistics.eprocess import Tolerance

EVEN = Tolerance(ratio=1.0, points=0.0)
DEADLINE = int(parse_duration(Canary().progress_deadline).total_seconds())


@dataclass(frozen=True, slots=True, kw_only=True)
class MissedDetection:
    """A cell whose x5 is not caught, with what would have been. Shares of the runs."""

    cell: str
    expected_errors: float
    caught: float
    promoted: float
    instead: dict[str, float]
    """Caught by the same rule with one thing changed."""
    possible: float
    """What the best test of the same hypothesis finds at one look that knows stable's rate."""
    possible_strict: float
    """The same without the tolerance."""


def examine(result: Measured, runs: int, seed: int) -> MissedDetection:
    """Show the cell's traffic to variants of our rule, and to the best of all tests."""
    cell, figures = result.cell, result.by_rule["ours"]
    counts = draw(cell, runs, seed)
    longer = replace(cell, seconds=DEADLINE)
    instead = {
        "no tolerance": _caught(cell, runs, seed, replace(OURS, tolerated=EVEN)),
        "one copy": _caught(cell, runs, seed, replace(OURS, first_copy=1.0)),
        "unconfirmed": float((unconfirmed(counts) < NEVER).mean()),
        "alpha 5 %": _caught(cell, runs, seed, replace(OURS, alpha=0.05)),
        f"{DEADLINE // 3600} hours": _caught(longer, min(runs, 300), seed, OURS),
        "two gates": result.by_rule["ours, two gates"].rolled_back,
    }
    return MissedDetection(
        cell=cell.name,
        expected_errors=result.expected_errors,
        caught=figures.rolled_back,
        promoted=figures.promoted,
        instead=instead,
        possible=_possible(result, OURS.tolerated),
        possible_strict=_possible(result, EVEN),
    )


def _caught(cell: Cell, runs: int, seed: int, policy: Policy) -> float:
    return float(np.mean(rollback_polls(draw(cell, runs, seed), policy) < NEVER))


def _possible(result: Measured, line: Tolerance) -> float:
    tolerated = result.cell.canary_requests * (line.ratio * result.cell.base + line.points)
    return most_that_can_be_caught(
        expected_bad=result.expected_errors, tolerated_bad=tolerated, alpha=OURS.alpha
    )
