"""What a simulated server of language models shows beside errors and the time to answer.

Nobody knows beforehand, so it is taken from what is assumed of both: its other times, and the
tokens of an answer, are parts of the time that the answer takes, and answers end badly as often as
they fail.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from modelrelease_operator.api.spec import LatencyMetric, ReleaseSpec
from modelrelease_operator.core.analysis.gates.registry import kind_of
from modelrelease_operator.core.measurement.indicators import ANSWER_TOKENS
from modelrelease_operator.core.measurement.series import INFINITY
from modelrelease_operator.core.observed import Counter

OF_A_SECOND: Mapping[str, float] = {
    LatencyMetric.TIME_TO_FIRST_TOKEN: 0.1,
    LatencyMetric.TIME_PER_OUTPUT_TOKEN: 0.01,
    ANSWER_TOKENS: 1000.0,
}
"""How much a metric is taken to be for each second that an answer takes."""
GOOD = "stop"


def measures_more(spec: ReleaseSpec) -> bool:
    """Return whether a gate asks for a histogram beside that of the time to answer."""
    return bool(_metrics(spec))


def taken_for_granted(spec: ReleaseSpec) -> Iterator[str]:
    """Say of each gate with such a metric what is taken for it."""
    for gate in spec.analysis.gates:
        lead = f"gate {gate.name}: "
        metric = kind_of(gate).metric(gate.settings)
        if gate.finish_reasons:
            reasons = " or ".join(gate.finish_reasons.bad)
            yield f"{lead}answers end by {reasons} as often as requests fail (assumed)"
        elif metric == ANSWER_TOKENS:
            tokens = f"{of_a_second(metric):g} tokens"
            yield f"{lead}an answer has {tokens} for each second that it takes (assumed)"
        elif metric:
            seconds = f"{of_a_second(metric):g} s"
            yield f"{lead}{metric} is {seconds} for each second of an answer (assumed)"


def shown_beside(spec: ReleaseSpec, counters: Iterable[Counter]) -> Iterator[Counter]:
    """Yield what the gates ask for of servers that show these counters of requests."""
    metrics, bad = _metrics(spec), _bad_reasons(spec)
    for counter in counters:
        if counter.bound is not None:
            for metric in metrics:
                yield replace(counter, metric=metric, bound=_bound(metric, counter.bound))
        elif counter.code is not None:
            for reason in bad if counter.code.startswith("5") else (GOOD,) if bad else ():
                yield replace(counter, code=None, reason=reason)


def _metrics(spec: ReleaseSpec) -> tuple[str, ...]:
    metrics = (kind_of(gate).metric(gate.settings) for gate in spec.analysis.gates)
    return tuple(dict.fromkeys(filter(None, metrics)))


def _bad_reasons(spec: ReleaseSpec) -> tuple[str, ...]:
    """Return a bad reason of each gate that has any."""
    gates = (gate.finish_reasons for gate in spec.analysis.gates)
    return tuple(dict.fromkeys(gate.bad[0] for gate in gates if gate))


def of_a_second(metric: str) -> float:
    """Return how much a metric is taken to be for each second that an answer takes."""
    return OF_A_SECOND.get(metric, 1.0)


def _bound(metric: str, bound: str) -> str:
    return bound if bound == INFINITY else str(round(float(bound) * of_a_second(metric), 9))
