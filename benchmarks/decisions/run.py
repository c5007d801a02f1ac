"""All measurements, one after the other, in one process."""

import platform
import sys
import time
from dataclasses import dataclass

import numpy as np

from benchmarks.decisions import product, release
from benchmarks.decisions.cells import BASES, RATIOS, RPS, Measured, cells, measure
from benchmarks.decisions.conditions import SHOWN, at_the_edge, conditions, false_rollbacks
from benchmarks.decisions.missed import Missed, examine
from benchmarks.decisions.release import Ended, Situation
from benchmarks.decisions.rules import ARGO_LIMIT, FLAGGER_LIMIT
from benchmarks.decisions.targets import Target, missed, targets
from modelrelease_operator.api.spec import DEFAULT_STEPS

REPLAYS = 5
"""Runs of each cell that go through the product's classes too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that was measured."""

    runs: int
    seed: int
    seconds: float
    versions: dict[str, str]
    cells: list[Measured]
    releases: dict[Situation, dict[str, Ended]]
    conditions: dict[str, dict[str, float]]
    edge: float
    by_decide: dict[str, str]
    silent: dict[str, str]
    missed: list[Missed]
    targets: list[Target]


def run(*, runs: int, seed: int, quick: bool) -> Report:
    """Measure; tell how far it is on stderr."""
    began = time.monotonic()
    wanted = list(cells(quick=quick))
    results = []
    for number, cell in enumerate(wanted, start=1):
        _tell(f"cell {number} of {len(wanted)}: {cell.name}")
        results.append(measure(cell, runs=runs, seed=seed, replays=min(runs, REPLAYS)))
    _tell("whole releases")
    releases = {situation: whole(situation, runs, seed) for situation in situations()}
    _tell("harder conditions")
    hard = {}
    for condition in conditions():
        shares = false_rollbacks(condition, runs, seed)
        hard[condition.name] = {
            name: shares[name]
            for name in ("ours", "ours, unconfirmed", "ours, told of groups", *SHOWN[1:])
        }
    edge = at_the_edge(runs, seed)
    _tell("decide()")
    by_decide, silent = decided(5 if quick else 40, seed), silence(seed)
    _tell("what was missed")
    gone = [examine(result, runs, seed) for result in missed(results)]
    return Report(
        runs=runs,
        seed=seed,
        seconds=time.monotonic() - began,
        versions={"Python": platform.python_version(), "numpy": np.__version__},
        cells=results,
        releases=releases,
        conditions=hard,
        edge=edge,
        by_decide=by_decide,
        silent=silent,
        missed=gone,
        targets=targets(results, releases, silent),
    )


def situations() -> list[Situation]:
    """Return the traffic of the whole releases."""
    return [
        Situation(rps=rps, base=base, ratio=ratio)
        for rps in RPS
        for base in BASES
        for ratio in RATIOS
    ]


def whole(situation: Situation, runs: int, seed: int) -> dict[str, Ended]:
    """Release one situation by each tool's own steps."""
    return {
        "ours": release.ours(situation, runs, seed),
        "Flagger": release.flagger(situation, runs, seed, FLAGGER_LIMIT),
        "Flagger, 2x base": release.flagger(situation, runs, seed, 2 * situation.base),
        "Argo": release.argo(situation, runs, seed, ARGO_LIMIT),
        "Argo, 2x base": release.argo(situation, runs, seed, 2 * situation.base),
    }


def decided(runs: int, seed: int) -> dict[str, str]:
    """Let decide() release with every default:
    a healthy canary and one that fails twice as often.
    """
    found = {}
    for name, ratio in (("healthy", 1.0), ("x2", 2.0)):
        ends = [
            product.release(rps=200, base=0.01, ratio=ratio, seed=seed * 1000 + number)
            for number in range(runs)
        ]
        promoted, back = sum(end.promoted for end in ends), sum(end.rolled_back for end in ends)
        minutes = float(np.median([end.seconds for end in ends])) / 60
        found[name] = (
            f"{promoted} promoted, {back} rolled back of {runs}, median {minutes:.1f} minutes"
        )
    return found


def silence(seed: int) -> dict[str, str]:
    """Let decide() release while nobody calls, from the start and from each step on."""
    found = {}
    for step, stops_after in enumerate(
        [0.0, *(70.0 * (number + 1) for number in range(len(DEFAULT_STEPS) - 1))]
    ):
        end = product.release(
            rps=0 if not step else 200, base=0.01, ratio=1, seed=seed, stops_after=stops_after
        )
        what = (
            "promoted"
            if end.promoted
            else "rolled back"
            if end.rolled_back
            else "held to the deadline"
        )
        found[f"silent from {stops_after:g} s"] = what
    return found


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
