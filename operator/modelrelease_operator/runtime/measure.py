"""All that one look asks a source of metrics: the servers' counters, and the gates' own queries."""

import asyncio
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from modelrelease_operator.api.spec import Gate, ReleaseSpec
from modelrelease_operator.api.status import Status, Target, Verdict
from modelrelease_operator.core.analysis.gates.registry import kind_of, shown
from modelrelease_operator.core.measurement.queries import QueryScope
from modelrelease_operator.core.observed import Metrics, MetricsUnavailable, PairCounters
from modelrelease_operator.core.query_results import NotMeasured, QueryResult, QueryResults
from modelrelease_operator.runtime.metric_sources.source import MetricSource, Revisions
from modelrelease_operator.runtime.namespaced_name import NamespacedName
from modelrelease_operator.serving_runtimes import ServerMetrics, runtime_of
from modelrelease_operator.traffic.counted_by import gateway_of

AT_ONCE = 4
"""Queries of one release that are open at the same time: its gates may be slow, and others wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one look brought."""

    metrics: Metrics
    answers: QueryResults = field(default_factory=dict)
    """What the gates' own queries gave, by the gate's name."""
    hint: str | None = None
    """Why the source does not show a ready pod, where that could be told."""


def revisions_of(namespace: str, release: str, *targets: Target) -> Revisions:
    """Return whose counters are meant, each under the names of the server that it runs."""
    metrics = {target.revision: runtime_of(target.recipe).metrics for target in targets}
    return Revisions(namespace=namespace, release=release, metrics=metrics)


def asked_of(arms: Revisions, spec: ReleaseSpec) -> dict[str, ServerMetrics]:
    """Return what is read of each revision's server: no more than the gates ask for."""
    asks = {gate.settings.asks for gate in spec.analysis.gates}
    return {revision: metrics.asked_by(asks) for revision, metrics in arms.metrics.items()}


async def measure(
    source: MetricSource,
    spec: ReleaseSpec,
    query_scope: QueryScope,
    *,
    pods: Mapping[str, Collection[str]] | None = None,
    after: float | None = None,
) -> Measured:
    """Ask everything at once: a look must not outlast its interval by one slow query after another.

    `pods` are the ready ones of each revision: of those that are not shown it is asked why, of the
    canary's first. `after` is the time of the newest sample that was ever counted, in unix seconds.
    """
    arms = revisions_of(
        query_scope.namespace, query_scope.release, query_scope.canary, query_scope.stable
    )
    arms = replace(arms, metrics=asked_of(arms, spec), after=after, gateway=gateway_of(spec))
    gates = list(_with_queries(spec))
    room = asyncio.Semaphore(AT_ONCE)
    metrics, answers = await asyncio.gather(
        source.read_counters(
            arms,
            predictions=any(kind_of(gate).reads_bins for gate in spec.analysis.gates),
            probes=spec.analysis.probe is not None,
        ),
        asyncio.gather(*(_answer(source, gate, query_scope, room) for gate in gates)),
    )
    return Measured(
        metrics=metrics,
        answers={gate.name: answer for gate, answer in zip(gates, answers, strict=True)},
        hint=await _hint(source, spec, arms, metrics, pods or {}),
    )


async def measure_pairs(
    source: MetricSource, release: NamespacedName, status: Status
) -> PairCounters:
    """Ask for what stable's pods compared with the canary's answers."""
    canary, stable = status.canary, status.stable
    if canary is None or stable is None:
        return ()
    arms = revisions_of(*release, canary, stable)
    return await source.read_pairs(arms, canary=canary.revision, stable=stable.revision)


def not_answered(spec: ReleaseSpec, why: MetricsUnavailable) -> dict[str, QueryResult]:
    """Return the answers of every gate with a query of its own when there was no time for any."""
    return {gate.name: _unavailable(gate, why.message) for gate in _with_queries(spec)}


def _with_queries(spec: ReleaseSpec) -> Iterator[Gate]:
    """Yield the gates that servers' own counters do not answer."""
    return (gate for gate in spec.analysis.gates if kind_of(gate).own_queries)


async def _hint(
    source: MetricSource,
    spec: ReleaseSpec,
    arms: Revisions,
    metrics: Metrics,
    pods: Mapping[str, Collection[str]],
) -> str | None:
    """Ask why a ready pod of either arm is missing, where any gate waits for it."""
    waits = any(not kind_of(gate).own_queries for gate in spec.analysis.gates)
    if not waits or arms.gateway or isinstance(metrics, MetricsUnavailable):
        return None
    shown = {counter.pod for counter in metrics}
    for revision in arms.metrics:
        missing = set(pods.get(revision, ())) - shown
        if not missing:
            continue
        if why := await source.explain_missing(arms, revision=revision, pods=missing):
            return why
    return None


async def _answer(
    source: MetricSource, gate: Gate, query_scope: QueryScope, room: asyncio.Semaphore
) -> QueryResult:
    if why := kind_of(gate).unasked(gate.settings, query_scope):
        message = f"gate {gate.name}: {why}"
        return NotMeasured(verdict=Verdict.UNAVAILABLE, message=message)
    try:
        # The wait for others of this release counts: ten slow gates take no longer than the slowest
        # may.
        async with asyncio.timeout(source.patience_seconds), room:
            return await source.answer(gate, query_scope)
    except TimeoutError:
        return _unavailable(gate, f"this release's other queries took all of {source.seconds:g} s")


def _unavailable(gate: Gate, why: str) -> NotMeasured:
    return NotMeasured(verdict=Verdict.UNAVAILABLE, message=f"{shown(gate)}: {why}")
