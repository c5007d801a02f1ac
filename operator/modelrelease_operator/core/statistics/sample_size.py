"""How many canary requests a test is expected to need until it decides."""

import math
from dataclasses import replace

from modelrelease_operator.core.statistics.eprocess import (
    REGRESSION_GRID,
    EProcess,
    Guardrail,
    expected_requests,
)


def to_reach(
    test: EProcess, *, stable_rate: float, ratio: float, weight: float, probability: float
) -> float:
    """Return the canary requests until the mean over the designs is expected to reach 1 /
    probability.

    `expected_requests` pays for all designs and lets one grow; near the end its neighbours help,
    and that is up to a third. So each design's speed is asked for alone, and their mean is
    followed.
    """
    ask = {"stable_rate": stable_rate, "ratio": ratio, "weight": weight}
    alone = [
        expected_requests(replace(test, designs=(design,), log_e=(0.0,)), **ask, alpha=math.exp(-1))
        for design in test.designs
    ]
    speeds = [1 / requests for requests in alone if 0 < requests < math.inf]
    enough = expected_requests(test, **ask, alpha=probability)
    if not speeds or enough == math.inf:
        return math.inf
    price = len(test.designs) / probability
    low, high = 0.0, enough
    while high - low > max(0.5, 0.001 * high):
        middle = (low + high) / 2
        reached = math.fsum(math.exp(min(700.0, middle * speed)) for speed in speeds) >= price
        low, high = (low, middle) if reached else (middle, high)
    return high


def to_breach(guard: Guardrail, rate: float, alpha: float) -> float:
    """Return the requests until an absolute limit is proven broken."""
    broken_rates = [min(q * guard.limit, (1 + guard.limit) / 2) for q in REGRESSION_GRID]
    growth = max(
        rate * math.log(p1 / guard.limit)
        + (1 - rate) * (math.log1p(-p1) - math.log1p(-guard.limit))
        for p1 in broken_rates
    )
    price = guard.dispersion * (math.log(len(REGRESSION_GRID)) - math.log(alpha))
    return price / growth if growth > 0 else math.inf


def to_stay_below(test: EProcess, rate: float, beta: float) -> float:
    """Return the requests until a rate is proven to be below a limit:
    beside an arm without end or fault.
    """
    faultless, alone = 1e-12, 1e-6
    ratio = max(rate, faultless) / faultless
    return to_reach(test, stable_rate=faultless, ratio=ratio, weight=alone, probability=beta)
