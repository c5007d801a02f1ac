"""What rare scrapes cost and whom they blame: whole releases by `decide()`, beside simulated
Prometheuses.

`python -m benchmarks.decisions.scrapes` prints how soon bad canaries are rolled back at each scrape
interval, and how often a healthy one is when both arms fail together. Every pod is scraped at a
moment of its own.
"""

import argparse
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain, product
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import pydantic

from benchmarks.doc_markers import put
from modelrelease_contract.metrics import duration_buckets
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.core.whatif.end import End
from modelrelease_operator.core.whatif.fleet import Course, Scrapes
from modelrelease_operator.core.whatif.simulation import Scenario, SimulatedRun, simulate

RPS = 100.0
INTERVALS = (15.0, 30.0, 60.0, 120.0)
REPLICAS = (1, 2, 3, 10)
SERVERS = (1, 2)
STEPS = [{"weight": 10, "bake": "1m"}, {"weight": 50, "bake": "1m"}]
SPARE = 30.0
"""Seconds beside three scrape intervals within which a canary that fails all must be rolled
back.
"""
BOUND = 0.01
"""False rollbacks that the default settings allow."""
CANARIES: dict[str, dict[str, Any]] = {
    "fails all": {"canary_errors": 1.0},
    "fails 10 % beside 1 %": {"canary_errors": 0.1},
    "3 times as slow": {"latency_ratio": 3.0},
    "healthy": {},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One line of a table."""

    name: str
    interval: float
    replicas: int
    servers: int = 1
    canary: str = "healthy"
    course: str = ""
    base: float = 0.01
    world: str = "calm"


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """How the runs of a cell ended."""

    cell: Cell
    outcomes: tuple[SimulatedRun, ...]

    def ended(self, end: End) -> list[int]:
        """Return the runs that ended so."""
        return [run for run, run_end in enumerate(self.outcomes) if run_end.end is end]


def spec_of(cell: Cell) -> ReleaseSpec:
    """Return a release with two steps and a deadline that leaves an hour."""
    return ReleaseSpec.parse(
        {
            "model": {"uri": "https://models.example/any/2", "version": "2", "sha256": "0" * 64},
            "serving": {"replicas": cell.replicas},
            "canary": {"steps": STEPS, "progressDeadline": "1h"},
        }
    )


def course_of(cell: Cell, random: Random) -> Course:
    """Return what fails in both arms alike, with a beginning of its own in each run."""
    base, begins = cell.base, random.uniform(0, 300)
    if cell.course == "jumps to 20 %":
        points = [(begins, base), (begins, 0.2), (begins + 180, 0.2), (begins + 180, base)]
    elif cell.course == "rises twentyfold a minute":
        top = min(1.0, 20 * base)
        points = [(begins, base), (begins + 60, top), (begins + 240, top), (begins + 300, base)]
    else:
        points = []
        for pause in range(10):
            start = begins + 60 * pause + random.uniform(0, 50)
            points += [(start, base), (start, 0.5), (start + 10, 0.5), (start + 10, base)]
    return Course(tuple(points))


WORLDS: dict[str, dict[str, float]] = {
    "calm": {},
    "two servers": {"servers": 2},
    "jitter, 1 in 10 scrapes missed": {"jitter": 5.0, "missed": 0.1},
    "pods restart": {"pods_restart": 45.0},
    "servers restart": {"servers": 2, "servers_restart": 100.0},
    "all of these": {
        "servers": 2, "jitter": 5.0, "missed": 0.1, "pods_restart": 45.0, "servers_restart": 100.0,
    },
}  # fmt: skip
COURSES = ("jumps to 20 %", "rises twentyfold a minute", "10 s of 50 % a minute")


def scenario_of(cell: Cell, random: Random) -> Scenario:
    """Return the world of one run."""
    settings = dict(WORLDS[cell.world])
    restarts: dict[str, Any] = {
        name: settings.pop(name) for name in ("pods_restart", "servers_restart") if name in settings
    }
    servers = int(settings.pop("servers", cell.servers))
    canary: dict[str, Any] = {"canary_errors": cell.base, **CANARIES[cell.canary]}
    return Scenario(
        rps=RPS, stable_errors=cell.base, bounds=duration_buckets(), **canary, **restarts,
        shared=course_of(cell, random) if cell.course else None,
        scrapes=Scrapes(interval=cell.interval, servers=servers, **settings),
    )  # fmt: skip


def measure(cell: Cell, runs: int, seed: int) -> CellResult:
    """Release many times."""
    spec, outcomes = spec_of(cell), []
    for run in range(runs):
        random = Random(f"{seed}/{cell}/{run}")
        outcomes.append(simulate(spec, scenario_of(cell, random), random))
    return CellResult(cell=cell, outcomes=tuple(outcomes))


def speed_cells() -> Iterator[Cell]:
    """Yield every canary at every scrape interval, with one server and with two."""
    for canary in CANARIES:
        for interval in INTERVALS:
            for replicas in REPLICAS:
                for servers in SERVERS:
                    yield Cell(
                        name=canary,
                        interval=interval,
                        replicas=replicas,
                        servers=servers,
                        canary=canary,
                    )


def blame_cells() -> Iterator[Cell]:
    """Yield every shared outage in every world, at two base rates and two scrape intervals."""
    for course in COURSES:
        for world in WORLDS:
            for interval in (15.0, 60.0):
                for base in (0.001, 0.02):
                    yield Cell(
                        name=course,
                        interval=interval,
                        replicas=3,
                        course=course,
                        base=base,
                        world=world,
                    )


def _job(job: tuple[Cell, int, int]) -> CellResult:
    return measure(*job)


def run_all(jobs: Iterable[tuple[Cell, int, int]], processes: int) -> list[CellResult]:
    """Measure every cell, several at a time; say on standard error how far it is."""
    cells, results = list(jobs), []
    with ProcessPoolExecutor(processes) as pool:
        for result in pool.map(_job, cells):
            results.append(result)
            if len(results) % 16 == 0:
                print(f"{len(results)} of {len(cells)} cells", file=sys.stderr)
    return results


def as_tables(speed: list[CellResult], blame: list[CellResult], *, first_line: str) -> str:
    """Return both tables as markdown."""
    parts = [first_line, "", *_speed_table(speed), "", *_blame_table(blame)]
    unexpected = list(chain.from_iterable(map(_unexpected_ends, (*speed, *blame))))
    return "\n".join([*parts, "", *(unexpected or ["Every run ended as it should."])])


def _speed_table(results: list[CellResult]) -> Iterator[str]:
    yield (
        "Seconds from a canary's first user to its end (median, slowest), over 1, 2, 3 and 10 "
        "replicas:"
    )
    yield ""
    yield "| canary | servers | " + " | ".join(f"{interval:g} s" for interval in INTERVALS) + " |"
    yield "|---|---|" + "---|" * len(INTERVALS)
    by_cell: dict[tuple[str, int, float], list[CellResult]] = defaultdict(list)
    for result in results:
        by_cell[result.cell.canary, result.cell.servers, result.cell.interval].append(result)
    for canary, servers in product(CANARIES, SERVERS):
        row = [_ends(by_cell[canary, servers, interval]) for interval in INTERVALS]
        yield f"| {canary} | {servers} | " + " | ".join(row) + " |"


def _ends(results: list[CellResult]) -> str:
    expected = End.PROMOTED if results[0].cell.canary == "healthy" else End.ROLLED_BACK
    run_ends = list(chain.from_iterable(result.outcomes for result in results))
    times = [run_end.with_clients for run_end in run_ends if run_end.end is expected]
    counts = f"{len(times)} of {len(run_ends)}"
    return f"{counts}: {median(times):.0f}, {max(times):.0f}" if times else counts


def _blame_table(results: list[CellResult]) -> Iterator[str]:
    yield "False rollbacks of healthy canaries while both arms fail alike, at 3 replicas:"
    yield ""
    yield "| world | " + " | ".join(COURSES) + " |"
    yield "|---|" + "---|" * len(COURSES)
    for world in WORLDS:
        row = []
        for course in COURSES:
            cells = [
                result
                for result in results
                if (result.cell.world, result.cell.course) == (world, course)
            ]
            back = sum(len(result.ended(End.ROLLED_BACK)) for result in cells)
            row.append(f"{back} of {sum(len(result.outcomes) for result in cells)}")
        yield f"| {world} | " + " | ".join(row) + " |"


def _unexpected_ends(result: CellResult) -> Iterator[str]:
    """Name every run that did not end as it should."""
    cell = result.cell
    if cell.course:
        unexpected = result.ended(End.ROLLED_BACK)
    else:
        expected = End.PROMOTED if cell.canary == "healthy" else End.ROLLED_BACK
        unexpected = [
            run for run, run_end in enumerate(result.outcomes) if run_end.end is not expected
        ]
    for run in unexpected:
        yield f"* {result.outcomes[run].end.value}: run {run} of {cell}"
    if cell.canary == "fails all":
        for run, run_end in enumerate(result.outcomes):
            if run_end.with_clients > 3 * cell.interval + SPARE:
                yield f"* late: run {run} of {cell} took {run_end.with_clients:.0f} s"


def main() -> int:
    """Measure and print; 1 when a canary is missed, or late,
    or too many healthy ones are blamed.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.decisions.scrapes", description=__doc__
    )
    parser.add_argument(
        "--runs", type=int, default=100, help="runs of each cell of the first table (100)"
    )
    parser.add_argument(
        "--blamed", type=int, default=100, help="runs of each cell of the second one (100)"
    )
    parser.add_argument("--seed", type=int, default=1, help="another seed, other runs (1)")
    parser.add_argument("--processes", type=int, default=2, help="cells at a time (2)")
    parser.add_argument(
        "--into", type=Path, help="put the tables between the marks of this file as well"
    )
    options = parser.parse_args()
    began = time.monotonic()
    speed = run_all(
        ((cell, options.runs, options.seed) for cell in speed_cells()), options.processes
    )
    blame = run_all(
        ((cell, options.blamed, options.seed) for cell in blame_cells()), options.processes
    )
    took = timedelta(seconds=round(time.monotonic() - began))
    tables = as_tables(speed, blame, first_line=(
        f"`python -m benchmarks.decisions.scrapes --runs {options.runs} --blamed {options.blamed} "
        f"--seed {options.seed}`, {took}; Python {platform.python_version()}, pydantic "
        f"{pydantic.VERSION}; {RPS:g} requests a second, steps of 10 and 50 %"
    ))  # fmt: skip
    print(tables)
    if options.into:
        put(options.into, tables, mark="scrapes")
    blamed = sum(len(result.ended(End.ROLLED_BACK)) for result in blame)
    within = blamed <= BOUND * sum(len(result.outcomes) for result in blame)
    unexpected = any(any(_unexpected_ends(result)) for result in speed)
    return 0 if within and not unexpected else 1


if __name__ == "__main__":
    sys.exit(main())
