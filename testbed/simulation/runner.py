"""Many seeds, on every core, with a word about each that failed."""

import gc
import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import dataclass

from testbed.simulation.audit import Violation
from testbed.simulation.run import Simulation, simulated

COLLECT_EVERY = 100
"""Seeds between two looks for cycles."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one seed."""

    seed: int
    passes: int
    violation: Violation | None

    @property
    def held(self) -> bool:
        return self.violation is None

    @property
    def words(self) -> str:
        """Say what did not hold, and how to see it again."""
        if self.violation is None:
            return f"seed {self.seed} held"
        again = f"python -m benchmarks.faults --story {self.seed}"
        return f"seed {self.seed}: {self.violation.invariant}: {self.violation.words} ({again})"


def outcome_of(seed: int) -> Outcome:
    """Run a seed; an error of the simulation itself is one that did not hold, too."""
    try:
        simulation = simulated(seed)
    except Exception as problem:
        words = f"{type(problem).__name__}: {problem}"
        return Outcome(seed, 0, Violation("the simulation works", words))
    outcome = judged(simulation)
    simulation.take_apart()
    if seed % COLLECT_EVERY == 0:
        gc.collect()
    return outcome


def judged(simulation: Simulation) -> Outcome:
    """Return what became of a simulation that was run."""
    first = next(iter(simulation.audit.violations), None)
    return Outcome(simulation.seed, simulation.turns, first)


def outcomes_of(seeds: range, processes: int) -> Iterator[Outcome]:
    """Run seeds on so many cores; yield what became of each as it is known."""
    spawning = multiprocessing.get_context("spawn")
    with spawning.Pool(processes, initializer=prepare_process) as pool:
        yield from pool.imap_unordered(outcome_of, seeds, chunksize=10)


def prepare_process() -> None:
    """Leave cycles alone between seeds, as the operator's own process mostly does; and leave it to
    whoever started this process to end it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    gc.disable()
