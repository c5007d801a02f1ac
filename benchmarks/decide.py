"""What one decision costs: `decide()` for a release with five gates and four steps.

The limit is 1 ms: a thousand releases that are looked at every 10 s must leave the operator idle.
Every decision is of another look, so that nothing is known from the last one but what a release
remembers. Prints the figures and their ratio to the limit; run it with `python -m
benchmarks.decide`. With `--bytecodes` it counts instead, which no neighbour changes.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from types import FrameType
from typing import Any

import pydantic

from modelrelease_contract.metrics import duration_buckets
from modelrelease_operator.api.status import Phase, Status
from modelrelease_operator.core.analysis.restart_schedule import EVERY
from modelrelease_operator.core.observed import Observed
from modelrelease_operator.core.release.decide import decide
from testbed.builders import a_spec, a_target
from testbed.world import BOUNDS, World

LIMIT_MICROSECONDS = 1000
GATES = [
    {"name": "errors", "errorRate": {}},
    {"name": "slo", "errorRate": {"compareWithStable": False, "maxPercent": 5}},
    {"name": "latency", "latency": {}},
    {"name": "latency-limit", "latency": {"compareWithStable": False, "maxSeconds": 0.5}},
    {"name": "both", "errorRate": {"maxPercent": 10}},
]
STEPS = [{"weight": weight, "bake": "1d"} for weight in (5, 10, 25, 50)]
"""Each bakes for as long as it is looked at."""
SPEC = a_spec(
    canary={"steps": STEPS, "progressDeadline": "7d"},
    analysis={"gates": GATES},
    serving={"replicas": 20},
)
LOOKS, ROUNDS = 200, 5
CASES = {
    "early, few buckets": (BOUNDS, False),
    "late, few buckets": (BOUNDS, True),
    "early, the predictor's buckets": (duration_buckets(), False),
    "late, the predictor's buckets": (duration_buckets(), True),
}
"""Early and late in a release, with few buckets and with all that the predictor has."""

Look = tuple[Status, Observed, datetime]


def looks(bounds: tuple[float, ...], *, late: bool) -> Iterator[Look]:
    """Live through a release; yield what is remembered and seen at each look of its first step."""
    world = World(spec=SPEC, target=a_target("1"), bounds=bounds)
    world.run()
    world.release(a_target("2")).run(until=Phase.PROGRESSING)
    for _ in range(6):
        world.step()
    while late and world.status.evidence.copies < world.status.evidence.planned - len(STEPS) + 1:
        long_ago = world.status.evidence.but(copy_since=world.now - EVERY)
        world.status = world.status.but(evidence=long_ago)
        world.step()
    while True:
        yield (
            Status.parse(json.loads(json.dumps(world.status.to_dict()))),
            world.observed,
            world.now,
        )
        world.step()


def measure(name: str, prepared: Sequence[Look], rounds: int) -> None:
    """Time a decision at every look, several times over, in processor time:
    neighbours do not count.
    """
    times = []
    for _ in range(rounds):
        for status, observed, now in prepared:
            began = time.thread_time()
            decide(spec=SPEC, status=status, observed=observed, now=now)
            times.append(1e6 * (time.thread_time() - began))
    status, observed, _ = prepared[-1]
    series = len(observed.metrics) if isinstance(observed.metrics, tuple) else 0
    deciles = statistics.quantiles(times, n=10)
    median = statistics.median(times)
    print(
        f"{name:<30} {series:>5} series  {status.evidence.copies} copies  "
        f"fastest tenth {deciles[0]:>4.0f} us  median {median:>4.0f} us  "
        f"slowest tenth {deciles[-1]:>4.0f} us  median of the limit "
        f"{median / LIMIT_MICROSECONDS:.2f}"
    )


def count(name: str, prepared: Sequence[Look]) -> None:
    """Count the bytecodes that the interpreter runs for a decision, in Python's own code."""
    counted = 0

    def trace(frame: FrameType, event: str, _: Any) -> Callable[..., Any]:
        nonlocal counted
        frame.f_trace_opcodes = True
        counted += event == "opcode"
        return trace

    # At first without, so that what is kept from look to look is known.
    for tracing in (None, trace):
        for status, observed, now in prepared:
            sys.settrace(tracing)
            decide(spec=SPEC, status=status, observed=observed, now=now)
            sys.settrace(None)
    print(f"{name:<30} {counted / len(prepared):>8,.0f} bytecodes")


def main() -> None:
    """Measure each case, or those that are named."""
    parser = argparse.ArgumentParser(description="what one decision costs")
    parser.add_argument("--case", action="append", choices=CASES, help="only this (repeatable)")
    parser.add_argument("--looks", type=int, default=LOOKS, help="one after the other")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="over the same looks")
    parser.add_argument("--bytecodes", action="store_true", help="count these instead of time")
    options = parser.parse_args()
    print(
        f"Python {platform.python_version()}, pydantic {pydantic.VERSION}, five gates, four steps"
    )
    for name in options.case or CASES:
        bounds, late = CASES[name]
        prepared = list(islice(looks(bounds, late=late), options.looks))
        if options.bytecodes:
            count(name, prepared)
        else:
            measure(name, prepared, options.rounds)


if __name__ == "__main__":
    main()
