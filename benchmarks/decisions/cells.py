"""One hour at a constant weight: what each rule does with the same counts, cell by cell."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.decisions.product import looks
from benchmarks.decisions.rules import OURS, RULES
from benchmarks.decisions.traffic import POLL, Cell, Counts, Ints, draw
from benchmarks.decisions.vectorized import NEVER

RPS = (10, 200)
BASES = (0.001, 0.01, 0.05)
WEIGHTS = (0.05, 0.1, 0.2)
RATIOS = (1.0, 1.5, 2.0, 5.0, 20.0)
BAKE_POLLS = 60 // POLL
"""A step lasts at least a minute, by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a rule did with the runs of one cell.
    Medians are over all runs; None: most never came to it.
    """

    rolled_back: float
    promoted: float
    """Promoted before anything was held against it;
    without evidence for it, at the end of the hour.
    """
    seconds: float | None
    requests: float | None
    """Canary requests until the rollback."""
    bad: float
    """Bad answers of the canary until the rollback, or in the whole hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One cell with the figures of every rule."""

    cell: Cell
    by_rule: dict[str, Figures]
    replayed: int
    """Runs that went through the product's own classes too."""
    equal: int
    """Those of them in which the product and arrays decided alike, at the same polls."""

    @property
    def beyond(self) -> bool:
        """Whether the canary is at its margin or worse, so that it must not be promoted."""
        margin = OURS.margin_before(1.0)
        line = margin.ratio * self.cell.base + margin.points
        return self.cell.canary_rate >= line - 1e-12

    @property
    def expected_errors(self) -> float:
        """Bad canary answers that are expected in the hour."""
        return self.cell.canary_requests * self.cell.canary_rate


def cells(*, quick: bool = False) -> Iterator[Cell]:
    """Return the cells in the order of the tables."""
    for rps in RPS:
        for base in BASES:
            for weight in (0.1,) if quick else WEIGHTS:
                for ratio in RATIOS:
                    yield Cell(rps=rps, base=base, ratio=ratio, weight=weight)


def measure(cell: Cell, *, runs: int, seed: int, replays: int) -> Measured:
    """Show one cell's traffic to every rule."""
    counts = draw(cell, runs, seed)
    by_rule = {}
    polls: tuple[Ints, Ints] | None = None
    for rule in RULES:
        when = rule.rollback(counts, cell)
        proven = None
        if rule.promotion:
            proven = np.maximum(rule.promotion(counts), BAKE_POLLS - 1)
            polls = polls or (when, proven)
        by_rule[rule.name] = figures(counts, when, proven)
    equal = sum(_alike(counts, run, polls) for run in range(replays)) if polls else 0
    return Measured(cell=cell, by_rule=by_rule, replayed=replays, equal=equal)


def figures(counts: Counts, when: Ints, proven: Ints | None) -> Figures:
    """Sum up when each run was rolled back, and when it had been promoted if that takes proof."""
    back = when < NEVER
    last = np.minimum(when, counts.polls - 1)
    rows = np.arange(counts.runs)
    requests = np.where(back, np.cumsum(counts.n_c, axis=1)[rows, last], np.inf)
    promoted = ~back if proven is None else (proven < NEVER) & (proven < when)
    return Figures(
        rolled_back=float(back.mean()),
        promoted=float(promoted.mean()),
        seconds=_median(np.where(back, (when + 1.0) * POLL, np.inf)),
        requests=_median(requests),
        bad=float(np.median(np.cumsum(counts.x, axis=1)[rows, last])),
    )


def _median(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float | None:
    middle = float(np.quantile(values, 0.5, method="higher"))
    return middle if np.isfinite(middle) else None


def _alike(counts: Counts, run: int, vectorized: tuple[Ints, Ints]) -> bool:
    convicted, proven = looks(counts, run)
    return (convicted, max(proven, BAKE_POLLS - 1)) == (
        int(vectorized[0][run]),
        int(vectorized[1][run]),
    )
