"""What one decision costs: `decide()` for a release with five gates and four steps.

The limit is 1 ms: a thousand releases that are looked at every 10 s must leave the operator idle.
Prints the figures and their ratio to the limit; run it with `python -m benchmarks.decide`.
"""

import json
import platform
import statistics
import time

from modelrelease_operator.api.status import Phase, Status
from modelrelease_operator.core.decide import decide
from modelrelease_operator.core.state import MetricsUnavailable
from tests.support.builders import a_spec, a_target
from tests.support.world import World

LIMIT_MICROSECONDS = 1000
GATES = [
    {"name": "errors", "errorRate": {}},
    {"name": "slo", "errorRate": {"compareWithStable": False, "maxPercent": 5}},
    {"name": "latency", "latency": {}},
    {"name": "latency-limit", "latency": {"compareWithStable": False, "maxSeconds": 0.5}},
    {"name": "both", "errorRate": {"maxPercent": 10}},
]
STEPS = [{"weight": weight, "bake": "60s"} for weight in (5, 10, 25, 50)]


def main() -> None:
    """Bring a release into its first step, then time the same decision many times."""
    spec = a_spec(canary={"steps": STEPS}, analysis={"gates": GATES}, serving={"replicas": 20})
    world = World(spec=spec, target=a_target("1"))
    world.run()
    world.release(a_target("2")).run(until=Phase.PROGRESSING)
    for _ in range(6):
        world.step()
    seen, status = world.seen, Status.parse(json.loads(json.dumps(world.status.to_dict())))
    times = []
    for _ in range(3000):
        began = time.perf_counter()
        decide(spec=spec, status=status, seen=seen, now=world.now)
        times.append(1e6 * (time.perf_counter() - began))
    series = 0 if isinstance(seen.metrics, MetricsUnavailable) else len(seen.metrics)
    median, worst = statistics.median(times), statistics.quantiles(times, n=100)[98]
    print(f"Python {platform.python_version()}, five gates, four steps, {series} series")
    print(f"decide(): median {median:.0f} us, 99th percentile {worst:.0f} us")
    print(f"of the limit of {LIMIT_MICROSECONDS} us: {median / LIMIT_MICROSECONDS:.2f} at the median")


if __name__ == "__main__":
    main()
