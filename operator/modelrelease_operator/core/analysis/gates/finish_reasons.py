"""Gates with `finishReasons`: the share of answers that ended for one of some reasons."""

from collections.abc import Iterator, Mapping, Sequence

from typing_extensions import override

from modelrelease_operator.api.spec import FinishReasonsGate
from modelrelease_operator.core.analysis.gate_tests import GateTest, TestParameters
from modelrelease_operator.core.analysis.gates.kind import GateKind, WatchedShare
from modelrelease_operator.core.analysis.gates.share import limits, notable, share_test
from modelrelease_operator.core.measurement.indicators import Indicator, ended_indicator
from modelrelease_operator.core.observed import Counter

COUNTED = "reasons"
"""Stands in the evidence for that both arms have shown why answers end."""


class FinishReasonsKind(GateKind[FinishReasonsGate]):
    """The share of answers that ended badly, as a server of language models counts them."""

    fixes_bounds = True

    @override
    def bounds(
        self, settings: FinishReasonsGate, counters: Sequence[Counter], arms: tuple[str, str]
    ) -> list[str]:
        """Begin once both arms show it: what they counted before is not of the open interval."""
        showing = {counter.revision for counter in counters if counter.reason is not None}
        return [COUNTED] if showing.issuperset(arms) else []

    @override
    def gate_test(
        self,
        name: str,
        settings: FinishReasonsGate,
        bounds: tuple[str, ...],
        parameters: TestParameters,
        unready: str | None,
    ) -> GateTest:
        test = share_test(name, settings, _indicator(settings), _ends(settings), parameters)
        return test if bounds else test.waiting_for(f"no finish reason of {name} is shown yet")

    @override
    def watched(
        self, name: str, settings: FinishReasonsGate, evidence: Mapping[str, Sequence[int]]
    ) -> Iterator[WatchedShare]:
        yield WatchedShare(
            key=_indicator(settings).key,
            what=_ends(settings),
            notable=notable(settings.tolerated) if settings.compare_with_stable else None,
            limits=limits(settings.max_percent),
        )


KIND = FinishReasonsKind()


def _indicator(settings: FinishReasonsGate) -> Indicator:
    return ended_indicator(settings.bad)


def _ends(settings: FinishReasonsGate) -> str:
    return f"ends by {' or '.join(settings.bad)} for"
