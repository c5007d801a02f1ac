"""All that one look asks Prometheus: the predictor's counters, and the gates' own queries."""

import asyncio

from modelrelease_operator.api.spec import Gate, ReleaseSpec
from modelrelease_operator.api.status import Verdict
from modelrelease_operator.core.answers import Answer, NoAnswer
from modelrelease_operator.core.queries import Place, answer_of, query_of, shown
from modelrelease_operator.core.state import Metrics, MetricsUnavailable
from modelrelease_operator.runtime.prometheus import MetricSource


async def measure(source: MetricSource, spec: ReleaseSpec, place: Place) -> tuple[Metrics, dict[str, Answer]]:
    """Ask everything at once: a look must not outlast its interval by one slow query after another."""
    asked = [(gate, query) for gate in spec.analysis.gates if (query := query_of(gate, place))]
    arms = (place.canary.revision, place.stable.revision)
    metrics, answers = await asyncio.gather(
        source.read(
            namespace=place.namespace,
            release=place.release,
            revisions=arms,
            predictions=any(gate.predictions for gate in spec.analysis.gates),
            probes=spec.analysis.probe is not None,
        ),
        asyncio.gather(*(_answer(source, gate, query, place) for gate, query in asked)),
    )
    return metrics, {gate.name: answer for (gate, _), answer in zip(asked, answers, strict=True)}


async def _answer(source: MetricSource, gate: Gate, query: str, place: Place) -> Answer:
    result = await source.ask(query)
    if isinstance(result, MetricsUnavailable):
        message = f"{shown(gate)}: {result.message}"
        return NoAnswer(verdict=Verdict.UNAVAILABLE, message=message)
    return answer_of(gate, place, result)


def not_answered(spec: ReleaseSpec, place: Place, why: MetricsUnavailable) -> dict[str, Answer]:
    """Return the answers of every gate with a query of its own when there was no time for any."""
    return {
        gate.name: NoAnswer(verdict=Verdict.UNAVAILABLE, message=f"{shown(gate)}: {why.message}")
        for gate in spec.analysis.gates
        if query_of(gate, place)
    }
