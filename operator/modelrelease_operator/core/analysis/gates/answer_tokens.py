"""Gates with `answerTokens`: whether answers have become longer, or shorter, than stable's."""

from collections.abc import Iterator, Mapping, Sequence

from typing_extensions import override

from modelrelease_operator.api.spec import AnswerTokensGate
from modelrelease_operator.core.analysis.gate_tests import (
    Comparison,
    GateTest,
    Reads,
    TestParameters,
)
from modelrelease_operator.core.analysis.gates.kind import GateKind, WatchedShare
from modelrelease_operator.core.analysis.gates.latency import NO_WORSE, SLOW_MARGIN
from modelrelease_operator.core.analysis.gates.share import NOTABLE
from modelrelease_operator.core.measurement.indicators import (
    ANSWER_TOKENS,
    bounds_shown,
    choose_bounds,
    of_metric,
    slow_indicator,
)
from modelrelease_operator.core.measurement.series import BoundPair, pair_of
from modelrelease_operator.core.observed import Counter


class AnswerTokensKind(GateKind[AnswerTokensGate]):
    """The share of answers above one number of tokens, as latency is cut; in both directions."""

    cuts_histograms = True
    fixes_bounds = True

    @override
    def metric(self, settings: AnswerTokensGate) -> str:
        return ANSWER_TOKENS

    @override
    def bounds(
        self, settings: AnswerTokensGate, counters: Sequence[Counter], arms: tuple[str, str]
    ) -> list[str]:
        canary, stable = arms
        shown = of_metric(counters, ANSWER_TOKENS)
        if not any(revision == canary for revision, _ in bounds_shown(shown)):
            return []
        ratio, more = settings.tolerated.ratio, settings.tolerated.tokens
        pairs = [
            pair
            for shorter in (False, True)
            for pair in choose_bounds(shown, stable, ratio=ratio, more=more, shorter=shorter)
        ]
        return [pair.text for pair in pairs]

    @override
    def gate_test(
        self,
        name: str,
        settings: AnswerTokensGate,
        bounds: tuple[str, ...],
        parameters: TestParameters,
        unready: str | None,
    ) -> GateTest:
        comparisons = tuple(_comparison(pair_of(bound), parameters) for bound in bounds)
        ratio = settings.tolerated.ratio
        return GateTest(
            name=name, bad="is long for", alpha=parameters.alpha, comparisons=comparisons,
            allowed=f"stable's answers times {ratio:g}, or divided by it",
            limit=None, reads=Reads.of(name, comparisons, None), ready=bool(bounds),
        )  # fmt: skip

    @override
    def watched(
        self, name: str, settings: AnswerTokensGate, evidence: Mapping[str, Sequence[int]]
    ) -> Iterator[WatchedShare]:
        for key in evidence:
            if key.startswith(f"{ANSWER_TOKENS}/"):
                what = f"has over {key.split('/')[1]} tokens for"
                yield WatchedShare(key=key, what=what, notable=NOTABLE, both_ways=True)


KIND = AnswerTokensKind()


def _comparison(pair: BoundPair, parameters: TestParameters) -> Comparison:
    """Compare both arms' shares of answers above a pair of bounds.

    Where the canary's is the lower one, stable may not have more above its own: then the canary's
    answers are shorter. One answer's length says nothing about the next, as one's time does, so the
    evidence is not divided.
    """
    stable, canary = pair.stable or pair.canary, pair.canary
    shorter = float(canary) < float(stable)
    indicator = slow_indicator(canary, stable, ANSWER_TOKENS)
    test = parameters.comparison(indicator, NO_WORSE, SLOW_MARGIN)
    return test.but(exchanged=True, difference=None) if shorter else test
