"""The product itself on the same traffic: its gate's tests, and whole releases by `decide()`.

The bulk of the benchmark is counted on arrays (`vectorized`). Here a sample of the very same runs
goes through the classes that an operator uses, set up from the defaults of a release, so that
arrays that stray are noticed where their figures are printed.
"""

import math
from dataclasses import dataclass
from datetime import timedelta

from benchmarks.decisions.traffic import POLL, Counts
from benchmarks.decisions.vectorized import NEVER
from modelrelease_operator.api.durations import parse_duration
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Evidence, Phase
from modelrelease_operator.core.analysis.gate_tests import GateTest
from modelrelease_operator.core.analysis.gates.registry import gate_tests_of
from modelrelease_operator.core.statistics.eprocess import ArmCounts, Interval, combine
from testbed.builders import a_spec, a_target
from testbed.world import Behaviour, World

ERRORS_ALONE = {"gates": [{"name": "errors", "errorRate": {}}]}
REPLICAS = 19
"""The fewest pods with which a weight of 5 % can be had without a gateway."""


def the_gate(spec: ReleaseSpec) -> GateTest:
    """Return the only gate's question before promotion, as the operator sets it up."""
    _, gate_tests = gate_tests_of(spec, Evidence(), (), ("canary", "stable"), 100)
    return gate_tests[0]


def looks(counts: Counts, run: int) -> tuple[int, int]:
    """Return the polls at which the product convicts one run's canary and at which it has proven
    it.
    """
    spec = a_spec(analysis=ERRORS_ALONE)
    gate_test, analysis = the_gate(spec), spec.analysis
    convicted = proven = NEVER
    requests = 0
    for poll in range(counts.polls):
        n_c, x, n_s, y = (
            int(part[run, poll]) for part in (counts.n_c, counts.x, counts.n_s, counts.y)
        )
        interval = Interval(canary=ArmCounts(total=n_c, bad=x), stable=ArmCounts(total=n_s, bad=y))
        gate_test = gate_test.update({"errors": interval})
        requests += n_c
        strength = gate_test.strength()
        evidence = combine([(1.0, strength.rollback_log)])
        if convicted == NEVER and evidence >= -math.log(analysis.false_rollback_probability):
            convicted = poll
        enough = requests >= analysis.min_requests
        if proven == NEVER and enough:
            passed = strength.promotion_log >= -math.log(analysis.false_promotion_probability)
            proven = poll if passed else NEVER
    return convicted, proven


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """How a release by `decide()` ended."""

    promoted: bool = False
    rolled_back: bool = False
    seconds: float = 0.0
    message: str = ""


def release(
    *, rps: float, base: float, ratio: float, seed: int, stops_after: float = math.inf
) -> Release:
    """Release version 2 beside version 1 with every default, until it ends or its deadline has
    passed.

    `stops_after` is when clients fall silent, in seconds after the canary was asked for.
    """
    world = World(
        spec=a_spec(serving={"replicas": REPLICAS}), target=a_target("1"), rps=rps, seed=seed
    )
    world.run()
    rates = {"rev1": base, "rev2": base * ratio}
    world.behaviours.update({name: Behaviour(error_rate=rate) for name, rate in rates.items()})
    world.release(a_target("2"))
    began = world.now
    deadline = parse_duration(world.spec.canary.progress_deadline) + timedelta(seconds=20 * POLL)
    while world.now - began < deadline:
        if (world.now - began).total_seconds() >= stops_after:
            world.rps = 0
        world.step()
        took = (world.now - began).total_seconds()
        if world.status.phase in (Phase.PROMOTING, Phase.ROLLING_BACK):
            back = world.status.phase is Phase.ROLLING_BACK
            return Release(
                promoted=not back, rolled_back=back, seconds=took, message=world.status.message
            )
    return Release(seconds=(world.now - began).total_seconds(), message=world.status.message)
