"""All measurements, one after the other, in one process."""

import itertools
import platform
import sys
import time
from dataclasses import dataclass

import numpy as np

from benchmarks.decisions import product, release
from benchmarks.decisions.cells import BASES, RATIOS, RPS, Measured, cells, measure
from benchmarks.decisions.conditions import COMPARED_RULES, at_the_edge, conditions, false_rollbacks
from benchmarks.decisions.missed_detections import MissedDetection, examine
from benchmarks.decisions.release import ReleaseSummary, Situation
from benchmarks.decisions.rules import ARGO_LIMIT, FLAGGER_LIMIT
from benchmarks.decisions.targets import Target, missed_cells, targets
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
    releases: dict[Situation, dict[str, ReleaseSummary]]
    conditions: dict[str, dict[str, float]]
    edge: float
    by_decide: dict[str, str]
    silent: dict[str, str]
    missed: list[MissedDetection]
    targets: list[Target]


def run(*, runs: int, seed: int, quick: bool) -> Report:
    """Measure; tell how far it is on stderr."""
    began = time.monotonic()
    all_cells = list(cells(quick=quick))
    results = []
    for number, cell in enumerate(all_cells, start=1):
        _progress(f"cell {number} of {len(all_cells)}: {cell.name}")
        results.append(measure(cell, runs=runs, seed=seed, replays=min(runs, REPLAYS)))
    _progress("whole releases")
    releases = {situation: whole(situation, runs, seed) for situation in situations()}
    _progress("harder conditions")
    by_condition = {}
    for condition in conditions():
        shares = false_rollbacks(condition, runs, seed)
        by_condition[condition.name] = {
            name: shares[name]
            for name in ("ours", "ours, unconfirmed", "ours, told of groups", *COMPARED_RULES[1:])
        }
    edge = at_the_edge(runs, seed)
    _progress("decide()")
    by_decide, silent = decided(5 if quick else 40, seed), silence(seed)
    _progress("what was missed")
    examined = [examine(result, runs, seed) for result in missed_cells(results)]
    return Report(
        runs=runs,
        seed=seed,
        seconds=time.monotonic() - began,
        versions={"Python": platform.python_version(), "numpy": np.__version__},
        cells=results,
        releases=releases,
        conditions=by_condition,
        edge=edge,
        by_decide=by_decide,
        silent=silent,
        missed=examined,
        targets=targets(results, releases, silent),
    )


def situations() -> list[Situation]:
    """Return the traffic of the whole releases."""
    cells = itertools.product(RPS, BASES, RATIOS)
    return [Situation(rps=rps, base=base, ratio=ratio) for rps, base, ratio in cells]


def whole(situation: Situation, runs: int, seed: int) -> dict[str, ReleaseSummary]:
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
    by_canary = {}
    for name, ratio in (("healthy", 1.0), ("x2", 2.0)):
        ends = [
            product.release(rps=200, base=0.01, ratio=ratio, seed=seed * 1000 + number)
            for number in range(runs)
        ]
        promoted, back = sum(end.promoted for end in ends), sum(end.rolled_back for end in ends)
        minutes = float(np.median([end.seconds for end in ends])) / 60
        by_canary[name] = (
            f"{promoted} promoted, {back} rolled back of {runs}, median {minutes:.1f} minutes"
        )
    return by_canary


def silence(seed: int) -> dict[str, str]:
    """Let decide() release while nobody calls, from the start and from each step on."""
    by_start = {}
    for step in range(len(DEFAULT_STEPS)):
        rps = 200 if step else 0
        end = product.release(rps=rps, base=0.01, ratio=1, seed=seed, stops_after=70.0 * step)
        by_start[f"silent from {70 * step} s"] = _end_in_words(end)
    return by_start


def _end_in_words(end: product.Release) -> str:
    if end.promoted:
        return "promoted"
    return "rolled back" if end.rolled_back else "held to the deadline"


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
