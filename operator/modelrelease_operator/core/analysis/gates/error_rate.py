"""Gates with `errorRate`: the share of prediction requests answered with 5xx."""

from collections.abc import Iterator, Mapping, Sequence

from typing_extensions import override

from modelrelease_operator.api.spec import ErrorRateGate
from modelrelease_operator.core.analysis.gate_tests import GateTest, TestParameters
from modelrelease_operator.core.analysis.gates.kind import GateKind, WatchedShare
from modelrelease_operator.core.analysis.gates.share import NOTABLE, limits, share_test
from modelrelease_operator.core.measurement.indicators import ERRORS

FAILS = "fails"


class ErrorRateKind(GateKind[ErrorRateGate]):
    """The share of requests that fail."""

    @override
    def gate_test(
        self,
        name: str,
        settings: ErrorRateGate,
        bounds: tuple[str, ...],
        parameters: TestParameters,
        unready: str | None,
    ) -> GateTest:
        return share_test(name, settings, ERRORS, FAILS, parameters)

    @override
    def watched(
        self, name: str, settings: ErrorRateGate, evidence: Mapping[str, Sequence[int]]
    ) -> Iterator[WatchedShare]:
        yield WatchedShare(
            key=ERRORS.key, what=FAILS, notable=NOTABLE, limits=limits(settings.max_percent)
        )


KIND = ErrorRateKind()
