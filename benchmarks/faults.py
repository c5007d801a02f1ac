"""The whole loop under faults, a seed after another: how many held, and which did not.

`python -m benchmarks.faults --seeds 10000 --first 0 -o json` runs seeds on every core and prints
`held`, a count, and `failed`, a list of seeds. `--story SEED` runs one and tells all of it.
docs/explanation/simulation.md says what misbehaves and what must hold.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from testbed.simulation.run import simulated
from testbed.simulation.runner import Outcome, judged, outcomes_of

TOLD_EVERY = 5.0
"""Seconds between two lines about how far it has come."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return 1 where something did not hold."""
    asked = _parsed(arguments)
    if asked.story is not None:
        return _tell(asked.story)
    outcomes = _run(range(asked.first, asked.first + asked.seeds), asked.processes)
    failed = sorted((each for each in outcomes if not each.held), key=lambda each: each.seed)
    if asked.output == "json":
        held = len(outcomes) - len(failed)
        print(json.dumps({"held": held, "failed": [each.seed for each in failed]}))
    else:
        print("\n".join([each.words for each in failed] + [_summary(outcomes, failed)]))
    return 1 if failed else 0


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--story", type=int, metavar="SEED", help="run one, and tell all of it")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    return parser.parse_args(arguments)


def _run(seeds: range, processes: int) -> list[Outcome]:
    """Run seeds until all are done or somebody has had enough: what was done is kept."""
    outcomes: list[Outcome] = []
    told = began = time.monotonic()
    with suppress(KeyboardInterrupt):
        for outcome in outcomes_of(seeds, processes):
            outcomes.append(outcome)
            if not outcome.held:
                print(outcome.words, file=sys.stderr)
            now = time.monotonic()
            if now - told > TOLD_EVERY:
                told = now
                spent = now - began
                print(f"{len(outcomes)} of {len(seeds)} in {spent:.0f} s", file=sys.stderr)
    return outcomes


def _summary(outcomes: Sequence[Outcome], failed: Sequence[Outcome]) -> str:
    passes = sum(each.passes for each in outcomes)
    return f"{len(outcomes) - len(failed)} of {len(outcomes)} seeds held, in {passes} passes"


def _tell(seed: int) -> int:
    simulation = simulated(seed)
    print(simulation.story.told())
    outcome = judged(simulation)
    print(outcome.words if not outcome.held else f"seed {seed} held")
    return 0 if outcome.held else 1


if __name__ == "__main__":
    sys.exit(main())
