"""Gates with `errorRate`: the share of prediction requests answered with 5xx."""

from collections.abc import Iterator, Mapping, Sequence

from typing_extensions import override

from modelrelease_operator.api.spec import ErrorRate
from modelrelease_operator.core.analysis.gate_tests import Question, Terms
from modelrelease_operator.core.analysis.gates.kind import GateKind, WatchedShare
from modelrelease_operator.core.analysis.gates.share import NOTABLE, limits, share_question
from modelrelease_operator.core.measurement.streams import ERRORS

FAILS = "fails"


class ErrorRateKind(GateKind[ErrorRate]):
    """The share of requests that fail."""

    @override
    def question(
        self, name: str, settings: ErrorRate, bounds: tuple[str, ...], terms: Terms, unready: str | None
    ) -> Question:
        return share_question(name, settings, ERRORS, FAILS, terms)

    @override
    def watched(
        self, name: str, settings: ErrorRate, evidence: Mapping[str, Sequence[int]]
    ) -> Iterator[WatchedShare]:
        yield WatchedShare(key=ERRORS.key, what=FAILS, notable=NOTABLE, limits=limits(settings.max_percent))


KIND = ErrorRateKind()
