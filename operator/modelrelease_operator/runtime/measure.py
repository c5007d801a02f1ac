"""All that one look asks Prometheus: the predictor's counters, and the gates' own queries."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

from modelrelease_operator.api.spec import Gate, ReleaseSpec
from modelrelease_operator.api.status import Verdict
from modelrelease_operator.core.answers import Answer, Answers, NoAnswer
from modelrelease_operator.core.observed import Metrics, MetricsUnavailable
from modelrelease_operator.core.queries import Place, answer_of, query_of, shown
from modelrelease_operator.runtime.prometheus import QUEUE_SECONDS, MetricSource

AT_ONCE = 4
"""Queries of one release that are open at the same time: its gates may be slow, and others wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one look brought."""

    metrics: Metrics
    answers: Answers = field(default_factory=dict)
    """What the gates' own queries gave, by the gate's name."""
    hint: str | None = None
    """Why Prometheus does not show a ready pod, where that could be told."""


async def measure(
    source: MetricSource, spec: ReleaseSpec, place: Place, *, pods: Collection[str] = ()
) -> Measured:
    """Ask everything at once: a look must not outlast its interval by one slow query after another.

    `pods` are the canary's ready ones: of those that are not shown it is asked why.
    """
    asked = [(gate, query) for gate in spec.analysis.gates if (query := query_of(gate, place))]
    room = asyncio.Semaphore(AT_ONCE)
    metrics, answers = await asyncio.gather(
        _counters(source, spec, place),
        asyncio.gather(*(_answer(source, gate, query, place, room) for gate, query in asked)),
    )
    return Measured(
        metrics=metrics,
        answers={gate.name: answer for (gate, _), answer in zip(asked, answers, strict=True)},
        hint=await _hint(source, spec, place, metrics, pods),
    )


async def _counters(source: MetricSource, spec: ReleaseSpec, place: Place) -> Metrics:
    return await source.read(
        namespace=place.namespace,
        release=place.release,
        revisions=(place.canary.revision, place.stable.revision),
        predictions=any(gate.predictions for gate in spec.analysis.gates),
        probes=spec.analysis.probe is not None,
    )


async def _hint(
    source: MetricSource, spec: ReleaseSpec, place: Place, metrics: Metrics, pods: Collection[str]
) -> str | None:
    """Ask why a ready pod is missing, where any gate waits for it."""
    waits = any(gate.error_rate or gate.latency or gate.predictions for gate in spec.analysis.gates)
    if not waits or isinstance(metrics, MetricsUnavailable):
        return None
    missing = set(pods) - {counter.pod for counter in metrics}
    if not missing:
        return None
    return await source.diagnose(
        namespace=place.namespace, release=place.release, revision=place.canary.revision, pods=missing
    )


async def _answer(
    source: MetricSource, gate: Gate, query: str, place: Place, room: asyncio.Semaphore
) -> Answer:
    try:
        # The wait for others of this release counts: ten slow gates take no longer than the slowest may.
        async with asyncio.timeout(source.seconds + 2 * QUEUE_SECONDS), room:
            result = await source.ask(query)
    except TimeoutError:
        message = f"{shown(gate)}: this release's other queries took all of {source.seconds:g} s"
        return NoAnswer(verdict=Verdict.UNAVAILABLE, message=message)
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
