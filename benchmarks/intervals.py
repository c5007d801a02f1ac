"""The interval that a gate shows: whether it holds at every look at once, and how wide it is.

`python -m benchmarks.intervals` draws the cells of `benchmarks.decisions`, an hour with a look
every 10 s each, and situations in which rates and weights move. A run is a miss when the interval
leaves out the truth at any look. Beside it stands Newcombe's (1998, method 10, from Wilson's) of
the same counts and confidence, which is made for one look. The sums are made on arrays; some runs
go through the product's class too, and must give the same. The guard by sums (`Pooled`) is left out
of the coverage: it only widens.
"""

import argparse
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist

import numpy as np

from benchmarks.decisions.cells import cells
from benchmarks.decisions.traffic import Cell, Counts, Floats, draw, draw_with, generator
from benchmarks.doc_markers import put
from modelrelease_operator.core.statistics.difference import (
    BELOW,
    EXCESSES,
    DifferenceEvidence,
    DifferenceInterval,
)

ALPHA = 0.01
SHOWN_WEIGHT = 0.1
LEAST = 100
"""Canary requests before Newcombe's interval is looked at: `analysis.minRequests`."""
Z = NormalDist().inv_cdf(1 - ALPHA / 2)
K = np.asarray(EXCESSES)
PRICE = float(np.log(2 * (len(EXCESSES) + 1) / ALPHA))
LOG_RATIOS = np.log(np.concatenate([1 + K[: len(BELOW)], [1.0], 1 + K[len(BELOW) :]]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Traffic with the truth about it at every poll."""

    name: str
    cell: Cell
    p_c: Floats
    p_s: Floats
    weight: Floats
    constant: bool = False

    def counts(self, runs: int, seed: int) -> Counts:
        """Draw both arms' counts."""
        if self.constant:
            return draw(self.cell, runs, seed)
        random = generator(seed, "intervals", self.name)
        return draw_with(self.cell, runs, random, self.p_c, self.p_s, self.weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What came of one situation."""

    situation: Situation
    covered: float
    """Share of the runs whose difference was inside at every look."""
    ratio_covered: float
    repeated: float
    """The same of Newcombe's interval, looked at as often."""
    width: float
    """Median at the end, in points."""
    fixed_width: float
    ratio: tuple[float, float]
    """Median of either end, at the end."""


class Sums:
    """`DifferenceEvidence` of many runs: runs by designs."""

    def __init__(self, runs: int) -> None:
        self.bad = np.zeros((runs, 1))
        self.stable_bad = np.zeros((runs, 1))
        self.log_shares = np.zeros((runs, len(K)))
        self.exposures = np.zeros((runs, len(K)))
        self.weighed = np.zeros((runs, len(K)))
        """Exposures times the true difference."""

    def add(self, counts: Sequence[Floats], difference: float) -> None:
        """Add one poll of every run."""
        n_c, x, n_s, y = (part[:, None] for part in counts)
        both = (n_c > 0) & (n_s > 0)
        share = n_c / np.maximum(1, n_c + n_s)
        mixed = 1 + K * share
        self.bad += np.where(both, x, 0)
        self.stable_bad += np.where(both, y, 0)
        self.log_shares += np.where(both, (x + y) * np.log(mixed), 0)
        gained = np.where(both, n_s * share / mixed, 0)
        self.exposures += gained
        self.weighed += gained * difference

    @property
    def logs(self) -> Floats:
        """Return each design's log-likelihood ratio to a ratio of 1."""
        return np.asarray(self.bad * np.log1p(K) - self.log_shares)

    def difference(self) -> tuple[Floats, Floats]:
        """Return both ends of the difference."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = (self.logs - PRICE) / (K * self.exposures)
        below = len(BELOW)
        ends = np.where(self.exposures > 0, ends, np.where(K > 0, -np.inf, np.inf))
        return (
            np.maximum(-1.0, ends[:, below:].max(axis=1)),
            np.minimum(1.0, ends[:, :below].min(axis=1)),
        )

    def misses(self) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Return the runs whose interval leaves out every weighted average of the difference."""
        with np.errstate(divide="ignore", invalid="ignore"):
            averages = self.weighed / self.exposures
        lower, upper = self.difference()
        known = self.exposures[:, 0] > 0
        below = len(BELOW)
        too_high = lower > averages[:, below:].max(axis=1) + 1e-12
        too_low = upper < averages[:, :below].min(axis=1) - 1e-12
        return np.asarray(known & (too_high | too_low))

    def evidence(self, run: int) -> DifferenceEvidence:
        """Return one run's sums as the product has them."""
        return DifferenceEvidence(
            bad=float(self.bad[run, 0]),
            stable_bad=float(self.stable_bad[run, 0]),
            log_shares=tuple(map(float, self.log_shares[run])),
            exposures=tuple(map(float, self.exposures[run])),
        )

    def rejects(
        self, ratio: float, *, above: bool
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Return the runs whose interval may leave out a ratio, by the chords' level or closer.

        A necessary condition on the neighbours; the product's class decides for those runs.
        """
        logs = np.insert(self.logs, len(BELOW), 0.0, axis=1)
        level = logs.max(axis=1) - PRICE
        near = int(np.searchsorted(LOG_RATIOS, np.log(ratio)))
        edge = logs[:, max(0, near - 1)] if above else logs[:, min(len(LOG_RATIOS) - 1, near)]
        return np.asarray(edge <= level)


def newcombe(n_c: Floats, x: Floats, n_s: Floats, y: Floats, z: float = Z) -> tuple[Floats, Floats]:
    """Return both ends of Newcombe's hybrid score interval of a difference."""
    p_c, p_s = x / np.maximum(1, n_c), y / np.maximum(1, n_s)
    low_c, high_c = _wilson(n_c, x, z)
    low_s, high_s = _wilson(n_s, y, z)
    return (
        p_c - p_s - np.sqrt((p_c - low_c) ** 2 + (high_s - p_s) ** 2),
        p_c - p_s + np.sqrt((high_c - p_c) ** 2 + (p_s - low_s) ** 2),
    )


def _wilson(n: Floats, x: Floats, z: float) -> tuple[Floats, Floats]:
    n = np.maximum(1, n)
    centre = (x + z * z / 2) / (n + z * z)
    spread = z * np.sqrt(x * (n - x) / n + z * z / 4) / (n + z * z)
    return centre - spread, centre + spread


def situations() -> Iterator[Situation]:
    """Return the benchmark's cells, then those that move."""
    for cell in cells():
        rates = np.ones(cell.polls)
        yield Situation(
            name=cell.name, cell=cell, p_c=rates * cell.canary_rate, p_s=rates * cell.base,
            weight=rates * cell.weight, constant=True,
        )  # fmt: skip
    yield from moving()


def moving() -> Iterator[Situation]:
    """Return an hour at 200 requests a second in which something moves."""
    cell = Cell(rps=200, base=0.01, ratio=1.0, weight=0.1)
    ones, polls = np.ones(cell.polls), np.arange(cell.polls)
    base, weight = ones * cell.base, ones * cell.weight
    steps = np.asarray([0.05, 0.1, 0.25, 0.5])[polls * 4 // cell.polls]
    outage = np.where((polls >= 120) & (polls < 150), 0.2, 0.01)
    drift = cell.base * 10 ** (polls / cell.polls)
    late = np.where(polls >= 180, 5.0, 1.0)
    wave = 1 + np.sin(polls / 20)
    moves: dict[str, tuple[Floats, Floats, Floats]] = {
        "both fail 20 % for five minutes": (outage, outage, weight),
        "the same, canary x2": (2 * outage, outage, weight),
        "both rise tenfold, canary x1.5": (1.5 * drift, drift, weight),
        "canary x5 from half an hour on": (late * base, base, weight),
        "canary swings between x0 and x2": (wave * base, base, weight),
        "weights 5, 10, 25, 50 %, canary x1.5": (1.5 * base, base, steps),
        "weights, canary x5 from half an hour on": (late * base, base, steps),
        "weights, both rise tenfold, canary x1.5": (1.5 * drift, drift, steps),
    }
    for name, (p_c, p_s, share) in moves.items():
        yield Situation(name=name, cell=cell, p_c=p_c, p_s=p_s, weight=share)


def measure(situation: Situation, *, runs: int, seed: int) -> Figures:
    """Look at every run at every poll."""
    counts = situation.counts(runs, seed)
    parts = [part.astype(np.float64) for part in (counts.n_c, counts.x, counts.n_s, counts.y)]
    totals = [part.cumsum(axis=1) for part in parts]
    sums = Sums(runs)
    missed, fixed_missed, ratio_missed = (np.zeros(runs, dtype=bool) for _ in range(3))
    ratios = situation.p_c / situation.p_s
    for poll in range(counts.polls):
        difference = float(situation.p_c[poll] - situation.p_s[poll])
        sums.add([part[:, poll] for part in parts], difference)
        missed |= sums.misses()
        highest, lowest = float(ratios[: poll + 1].max()), float(ratios[: poll + 1].min())
        ratio_missed |= _ratio_misses(sums, ratio_missed, lowest, highest)
        n_c, x, n_s, y = (total[:, poll] for total in totals)
        average = sums.weighed[:, 0] / np.maximum(1e-300, sums.exposures[:, 0])
        lower, upper = newcombe(n_c, x, n_s, y)
        fixed_missed |= (n_c >= LEAST) & ((lower > average) | (upper < average))
    _check(situation, counts, sums)
    lower, upper = sums.difference()
    n_c, x, n_s, y = (total[:, -1] for total in totals)
    fixed = newcombe(n_c, x, n_s, y)
    ends = [_interval(sums, run) for run in range(min(runs, 100))]
    return Figures(
        situation=situation, covered=float(1 - missed.mean()),
        ratio_covered=float(1 - ratio_missed.mean()), repeated=float(1 - fixed_missed.mean()),
        width=100 * float(np.median(upper - lower)),
        fixed_width=100 * float(np.median(fixed[1] - fixed[0])),
        ratio=(
            float(np.median([end.ratio_lower for end in ends])),
            float(np.median([end.ratio_upper for end in ends])),
        ),
    )  # fmt: skip


def _ratio_misses(
    sums: Sums,
    known: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    lowest: float,
    highest: float,
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return the runs whose ratio lies above the highest or below the lowest true one so far."""
    may = sums.rejects(highest, above=True)
    if lowest > 0:
        may |= sums.rejects(lowest, above=False)
    misses = np.zeros(len(may), dtype=bool)
    for run in np.flatnonzero(may & ~known):
        interval = _interval(sums, int(run))
        misses[run] = interval.ratio_lower > highest * (
            1 + 1e-12
        ) or interval.ratio_upper < lowest * (1 - 1e-12)
    return misses


def _interval(sums: Sums, run: int) -> DifferenceInterval:
    interval = sums.evidence(run).interval(alpha=ALPHA)
    if interval is None:
        msg = f"the interval's ends cross in run {run}; see difference.py"
        raise ValueError(msg)
    return interval


def _check(situation: Situation, counts: Counts, sums: Sums) -> None:
    """Raise AssertionError unless the product's class sums up one run alike."""
    evidence = DifferenceEvidence()
    for poll in range(counts.polls):
        parts = (counts.n_c, counts.x, counts.n_s, counts.y)
        evidence = evidence.update(*(int(part[0, poll]) for part in parts))
    state, arrays = (
        np.asarray(each.to_state(), dtype=np.float64) for each in (evidence, sums.evidence(0))
    )
    np.testing.assert_allclose(state, arrays, err_msg=situation.name)


def as_table(measured: Sequence[Figures], *, runs: int, seed: int) -> str:
    """Return the figures as text."""
    constant = [one for one in measured if one.situation.constant]
    moved = [one for one in measured if not one.situation.constant]
    worst = min(one.covered for one in measured)
    worst_ratio = min(one.ratio_covered for one in measured)
    head = (
        f"python -m benchmarks.intervals --seed {seed}: {runs} runs of each of {len(measured)} "
        f"situations; Python {platform.python_version()}, numpy {np.__version__}\n"
        f"inside at every look at once ({100 * (1 - ALPHA):g} % wanted; the least of all weights "
        "is shown): difference "
        f"{100 * worst:.1f} %, ratio {100 * worst_ratio:.1f} % of runs at the least\n"
    )
    columns = "                  inside at every look, %                  width after an hour\n"
    names = "difference  ratio  Newcombe    points  Newcombe  times  ratio from, to"
    rows = [f"{'an hour at constant rates':<44}{names}", *map(_row, _worst_by_weight(constant))]
    rows += ["", f"{'rates or weights move':<44}{names}", *map(_row, moved)]
    return head + "\n" + f"{'':<26}{columns}" + "\n".join(rows)


def _worst_by_weight(measured: Sequence[Figures]) -> Iterator[Figures]:
    """Return the cells of weight 10 %, with what is inside least often of all weights."""
    for one in measured:
        cell = one.situation.cell
        if cell.weight == SHOWN_WEIGHT:
            alike = [
                other
                for other in measured
                if replace(other.situation.cell, weight=SHOWN_WEIGHT) == cell
            ]
            yield replace(
                one,
                covered=min(other.covered for other in alike),
                ratio_covered=min(other.ratio_covered for other in alike),
                repeated=min(other.repeated for other in alike),
            )


def _row(one: Figures) -> str:
    low, high = one.ratio
    shown = f"{low:.2f}, {high:.2f}" if np.isfinite(high) else f"{low:.2f}, no end"
    return (
        f"{one.situation.name:<44}{100 * one.covered:>10.1f}{100 * one.ratio_covered:>7.1f}"
        f"{100 * one.repeated:>10.1f}{one.width:>10.3f}{one.fixed_width:>10.3f}"
        f"{one.width / one.fixed_width:>7.1f}  {shown}"
    )


def main() -> int:
    """Measure and print; 1 when an interval does not hold as often as it says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.intervals", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="runs of each situation (1000)")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other runs (1)")
    parser.add_argument("--into", type=Path, help="put the table between this file's marks as well")
    options = parser.parse_args()
    measured = [
        measure(situation, runs=options.runs, seed=options.seed) for situation in situations()
    ]
    table = as_table(measured, runs=options.runs, seed=options.seed)
    print(table)
    if options.into:
        put(options.into, f"```text\n{table}\n```", mark="intervals")
    worst = min(min(one.covered, one.ratio_covered) for one in measured)
    return 0 if worst >= 1 - ALPHA else 1


if __name__ == "__main__":
    sys.exit(main())
