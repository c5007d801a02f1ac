"""What one decision costs: `decide()` for a release with five gates and four steps.

The limit is 1 ms: a thousand releases that are looked at every 10 s must leave the operator idle.
Every decision is of another look, so that nothing is known from the last one but what a release
remembers. Prints the figures and their ratio to the limit; run it with `python -m
benchmarks.decide`.
"""

import json
import platform
import statistics
import time
from collections.abc import Iterator
from datetime import datetime

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


def looks(bounds: tuple[float, ...], *, late: bool) -> Iterator[tuple[Status, Observed, datetime]]:
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
    for _ in range(LOOKS):
        yield (
            Status.parse(json.loads(json.dumps(world.status.to_dict()))),
            world.observed,
            world.now,
        )
        world.step()


def measure(name: str, bounds: tuple[float, ...], *, late: bool) -> None:
    """Time a decision at every look, several times over, in processor time:
    neighbours do not count.
    """
    prepared = list(looks(bounds, late=late))
    times = []
    for _ in range(ROUNDS):
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


def main() -> None:
    """Measure early and late in a release, with few buckets and with all that the predictor has."""
    print(
        f"Python {platform.python_version()}, pydantic {pydantic.VERSION}, five gates, four steps"
    )
    for buckets, bounds in (
        ("few buckets", BOUNDS),
        ("the predictor's buckets", duration_buckets()),
    ):
        measure(f"early, {buckets}", bounds, late=False)
        measure(f"late, {buckets}", bounds, late=True)


if __name__ == "__main__":
    main()
