"""What the decisions must show, and whether they did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.decisions.cells import Measured
from benchmarks.decisions.release import ReleaseSummary, Situation
from benchmarks.decisions.rules import OURS

FALSE_ROLLBACKS = OURS.alpha
WRONG_PROMOTIONS = OURS.beta
CAUGHT = 0.95
"""A regression counts as caught in a cell when this share of its runs is rolled back."""
EXPECTED_ERRORS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One promise and what was measured."""

    text: str
    met: bool
    measured: str


def is_beyond(situation: Situation) -> bool:
    """Return whether a release's canary is at its last margin or worse."""
    margin = OURS.margin_before(1.0)
    return situation.canary_rate >= margin.ratio * situation.base + margin.points - 1e-12


def missed_cells(results: Sequence[Measured]) -> list[Measured]:
    """Return the cells in which x5 should be caught and is not."""
    return [result for result in _owed(results) if result.by_rule["ours"].rolled_back < CAUGHT]


def _owed(results: Sequence[Measured]) -> list[Measured]:
    return [
        result
        for result in results
        if result.cell.ratio == 5 and result.expected_errors >= EXPECTED_ERRORS - 1e-9
    ]


def _at_most(share: float) -> str:
    return f"at most {100 * share:.1f} %"


def targets(
    results: Sequence[Measured],
    releases: Mapping[Situation, Mapping[str, ReleaseSummary]],
    silent: Mapping[str, str],
) -> list[Target]:
    """Hold the figures against what was promised."""
    healthy = {
        result.cell.name: result.by_rule["ours"] for result in results if result.cell.ratio == 1
    }
    worst = max(healthy, key=lambda name: healthy[name].rolled_back)
    at_worst = healthy[worst].rolled_back
    well = max(
        ends["ours"].rolled_back for situation, ends in releases.items() if situation.ratio == 1
    )
    beyond = {result.cell.name: result.by_rule["ours"] for result in results if result.beyond}
    worst_beyond = max(beyond, key=lambda name: beyond[name].promoted)
    at_worst_beyond = beyond[worst_beyond].promoted
    ill = max(ends["ours"].promoted for situation, ends in releases.items() if is_beyond(situation))
    owed, not_caught = _owed(results), missed_cells(results)
    return [
        Target(
            text="at most 1 % false rollbacks in every healthy cell, and in whole healthy releases",
            met=max(at_worst, well) <= FALSE_ROLLBACKS,
            measured=(
                f"{_at_most(at_worst)} of a cell's runs ({worst.strip()}); releases: "
                f"{_at_most(well)}"
            ),
        ),
        Target(
            text="at most 5 % promotions of a canary beyond its margin",
            met=max(at_worst_beyond, ill) <= WRONG_PROMOTIONS,
            measured=(
                f"{_at_most(at_worst_beyond)} of a cell's runs ({worst_beyond.strip()}); releases: "
                f"{_at_most(ill)}"
            ),
        ),
        Target(
            text="x5 is caught in every cell with at least 5 expected canary errors",
            met=not not_caught,
            measured=(
                f"at least {100 * CAUGHT:.0f} % caught in {len(owed) - len(not_caught)} of "
                f"{len(owed)} cells"
            ),
        ),
        Target(
            text="nothing is promoted on silence",
            met=all(end.startswith("held") for end in silent.values()),
            measured="; ".join(f"{name}: {end}" for name, end in silent.items()),
        ),
    ]
