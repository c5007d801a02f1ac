"""Gates with `predictions`: the share of predictions in each bin, more and less than stable's."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from typing_extensions import override

from modelrelease_operator.api.spec import PredictionsGate
from modelrelease_operator.core.analysis.assumptions import BINS, Assumption, Shift
from modelrelease_operator.core.analysis.gate_tests import GateTest, Reads, TestParameters
from modelrelease_operator.core.analysis.gates.kind import GateKind, WatchedShare
from modelrelease_operator.core.analysis.gates.share import notable, tolerance
from modelrelease_operator.core.analysis.prediction_shift import (
    bin_indicators,
    prediction_bins,
    why_not,
)
from modelrelease_operator.core.observed import Counter

BIN = "bin/"
"""Begins the keys of the indicators of predictions."""


class PredictionsKind(GateKind[PredictionsGate]):
    """The share of answers in each bin."""

    reads_bins = True
    fixes_bounds = True
    form = "SHIFT, the share of the canary's answers that move to one bin, such as 0.1"

    @override
    def bounds(
        self, settings: PredictionsGate, counters: Sequence[Counter], arms: tuple[str, str]
    ) -> list[str]:
        return prediction_bins(counters)

    @override
    def unready(self, settings: PredictionsGate, counters: Sequence[Counter]) -> str | None:
        return why_not(counters)

    @override
    def gate_test(
        self,
        name: str,
        settings: PredictionsGate,
        bounds: tuple[str, ...],
        parameters: TestParameters,
        unready: str | None,
    ) -> GateTest:
        """Compare the share of each bin. A model answers alike all day: no test starts late."""
        parameters = replace(parameters, planned=1, copies=1)
        tolerated, margin = tolerance(settings.tolerated), tolerance(settings.margin)
        more = [
            replace(parameters.comparison(indicator, tolerated, margin), difference=None)
            for indicator in bin_indicators(bounds)
        ]
        less = [replace(test, exchanged=True) for test in more]
        comparisons = (*more, *less)
        line = settings.tolerated
        return GateTest(
            name=name,
            bad="predicts",
            allowed=f"{line.ratio:g} times the other's share plus {line.points:g} points",
            alpha=parameters.alpha,
            ready=bool(bounds),
            unready=unready,
            comparisons=comparisons,
            limit=None,
            reads=Reads.of(name, comparisons, None),
        )

    @override
    def watched(
        self, name: str, settings: PredictionsGate, evidence: Mapping[str, Sequence[int]]
    ) -> Iterator[WatchedShare]:
        line = notable(settings.tolerated)
        for key in evidence:
            if key.startswith(BIN):
                what = f"predicts {key.removeprefix(BIN)} for"
                yield WatchedShare(key=key, what=what, notable=line, both_ways=True)

    @override
    def assumed(
        self, settings: PredictionsGate, *, stable_errors: float, canary_errors: float
    ) -> Shift:
        return Shift()

    @override
    def read_assumption(
        self, text: str, share: Callable[[str], float], number: Callable[[str], float]
    ) -> Assumption:
        return Shift(share=share(text))

    @override
    def plan_words(
        self, settings: PredictionsGate, look: timedelta, requests: Callable[[], str], errors: str
    ) -> str:
        taken = f"both versions are taken to answer alike, in {BINS} equal bins"
        return f"needs canary requests, {requests()}; {taken}"


KIND = PredictionsKind()
