"""Gates with `latency`: the share of requests slower than stable's own quantiles,
or than a limit.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from typing_extensions import override

from modelrelease_operator.api.spec import LatencyGate
from modelrelease_operator.core.analysis.gate_tests import GateTest, Reads, TestParameters
from modelrelease_operator.core.analysis.gates.kind import GateKind, WatchedShare
from modelrelease_operator.core.analysis.gates.share import NOTABLE
from modelrelease_operator.core.measurement.indicators import (
    SLOW,
    bounds_of,
    slow_indicator,
)
from modelrelease_operator.core.measurement.series import pair_of
from modelrelease_operator.core.observed import Counter
from modelrelease_operator.core.statistics.eprocess import Tolerance

SLOW_MARGIN = Tolerance(ratio=1.25, points=0.01)
"""Promotion: the share of slow requests may be so much larger."""
NO_WORSE = Tolerance(ratio=1.0, points=0.0)
SLOW_TOGETHER = 10.0
"""Slow requests come in groups: all that wait behind one stall of a pod are slow with it. This
divides the evidence for a rollback (docs/explanation/decisions.md, "What breaks it"); a canary that
is slow throughout is still found at once."""


class LatencyKind(GateKind[LatencyGate]):
    """The share of requests that are slow."""

    cuts_histograms = True
    fixes_bounds = True

    @override
    def metric(self, settings: LatencyGate) -> str:
        return settings.metric or ""

    @override
    def bounds(
        self, settings: LatencyGate, counters: Sequence[Counter], arms: tuple[str, str]
    ) -> list[str]:
        return bounds_of(settings, counters, canary=arms[0], stable=arms[1])

    @override
    def gate_test(
        self,
        name: str,
        settings: LatencyGate,
        bounds: tuple[str, ...],
        parameters: TestParameters,
        unready: str | None,
    ) -> GateTest:
        pairs = [pair_of(bound) for bound in bounds]
        compared = [(pair.stable, pair.canary) for pair in pairs if pair.stable is not None]
        limits = [pair.canary for pair in pairs if pair.stable is None]
        tail = {stable for stable, _ in compared[-2:]}
        comparisons = []
        for stable, canary in compared:
            indicator = slow_indicator(canary, stable, self.metric(settings))
            margin = SLOW_MARGIN if stable in tail else None
            comparisons.append(
                parameters.comparison(indicator, NO_WORSE, margin, together=SLOW_TOGETHER)
            )
        limit = None
        if limits:
            line = f"the limit of {settings.max_percent:g} % above {settings.max_seconds:g} s"
            indicator = slow_indicator(limits[0], limits[0], self.metric(settings))
            limit = parameters.limit(indicator, settings.max_percent, line)
        allowed = f"stable's {settings.metric or 'latency'} times {settings.tolerated.ratio:g}"
        return GateTest(
            name=name, bad="is slow for", allowed=allowed, alpha=parameters.alpha,
            comparisons=tuple(comparisons), limit=limit,
            reads=Reads.of(name, comparisons, limit), ready=bool(bounds),
        )  # fmt: skip

    @override
    def warm_up(self, settings: LatencyGate) -> timedelta:
        return settings.warms_for

    @override
    def watched(
        self, name: str, settings: LatencyGate, evidence: Mapping[str, Sequence[int]]
    ) -> Iterator[WatchedShare]:
        what = f"has {settings.metric} over" if settings.metric else "takes over"
        for key in evidence:
            if key.startswith(f"{settings.metric or SLOW}/"):
                yield WatchedShare(
                    key=key, what=f"{what} {key.split('/')[1]} s for", notable=NOTABLE
                )

    @override
    def telling_seconds(self, settings: LatencyGate) -> float | None:
        return settings.max_seconds


KIND = LatencyKind()
