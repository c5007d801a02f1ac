"""What a comparison in the shadow will take: pairs and time, and what it catches.

Worked out like the steps (`planning`), for failures that are independent of each other: requests
that are hard for both arms make it shorter.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from modelrelease_operator.api.shadow import Shadow
from modelrelease_operator.api.spec import ErrorRateGate, ReleaseSpec
from modelrelease_operator.core.analysis.gates.share import tolerance
from modelrelease_operator.core.analysis.shadow import (
    bar_of,
    by_examples,
    errors_of,
    pairs_per_second,
    tests_in,
    warm_up_of,
)
from modelrelease_operator.core.statistics.pairs import (
    PairRates,
    to_prove_below,
    to_prove_within,
    to_prove_worse,
)

LONGEST = timedelta(days=3650)
"""Stands for any time that does not end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowEnd:
    """How a canary leaves the shadow that fails `ratio` times as often as stable."""

    ratio: float
    caught: bool
    """Taken back, or let on to the first users."""
    pairs: float
    time: timedelta | None
    """None: neither, within any time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowPlan:
    """The step before the first user."""

    copies_per_second: float
    """Or example requests."""
    by_examples: bool
    """Whether the prober asks them, because the server copies none."""
    ends: tuple[ShadowEnd, ...]
    """Of a healthy canary first."""

    def of(self, ratio: float) -> ShadowEnd:
        """Return how a canary leaves it that fails so much more often than stable."""
        return next(end for end in self.ends if end.ratio == ratio)


def shadow_plan(
    spec: ReleaseSpec,
    shadow: Shadow,
    *,
    rps: float,
    stable_errors: float,
    scrape_interval: timedelta,
    ratios: Iterable[float],
) -> ShadowPlan:
    """Work out how canaries leave the shadow."""
    rate = pairs_per_second(spec, shadow, rps)
    ends = []
    for ratio in ratios:
        rates = PairRates(canary=min(1.0, ratio * stable_errors), stable=stable_errors)
        passing, caught = _to_pass(spec, shadow, rates), _to_catch(spec, rates)
        pairs = min(passing, caught)
        ends.append(
            ShadowEnd(
                ratio=ratio,
                caught=caught < passing,
                pairs=pairs,
                time=_time(spec, pairs / rate, scrape_interval),
            )
        )
    return ShadowPlan(copies_per_second=rate, by_examples=by_examples(spec), ends=tuple(ends))


def _to_catch(spec: ReleaseSpec, rates: PairRates) -> float:
    # Each of the tests has its share of the evidence.
    errors = errors_of(spec)
    if errors is None:
        return math.inf
    needed = bar_of(spec) + math.log(tests_in(spec))
    line = tolerance(errors.tolerated)
    return to_prove_worse(rates, line, needed, dispersion=spec.analysis.dispersion)


def _to_pass(spec: ReleaseSpec, shadow: Shadow, rates: PairRates) -> float:
    needed = -math.log(spec.analysis.false_promotion_probability)
    line, dispersion = (
        tolerance((errors_of(spec) or ErrorRateGate()).margin),
        spec.analysis.dispersion,
    )
    pairs = max(shadow.pairs, to_prove_within(rates, line, needed, dispersion=dispersion))
    if shadow.max_disagreement_percent is None:
        return pairs
    limit = shadow.max_disagreement_percent / 100
    return max(pairs, to_prove_below(limit, needed, dispersion=dispersion))


def _time(spec: ReleaseSpec, seconds: float, scrape_interval: timedelta) -> timedelta | None:
    """Return the time until so many seconds of pairs were seen:
    the pods are warm, a scrape is there to count from, and a look sees the last one.
    """
    if seconds > LONGEST.total_seconds():
        return None
    look = max(spec.analysis.period, scrape_interval)
    looks = math.ceil(seconds / look.total_seconds())
    return warm_up_of(spec) + scrape_interval + (looks + 1) * look
