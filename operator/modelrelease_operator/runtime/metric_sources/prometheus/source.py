"""Prometheus as a source of metrics: whatever it answers, or does not, becomes a sentence."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Collection
from typing import Any

from modelrelease_operator.api.prometheus import Source
from modelrelease_operator.api.spec import Gate
from modelrelease_operator.api.status import Verdict
from modelrelease_operator.core.analysis.gates.registry import answer_of, query_of, shown
from modelrelease_operator.core.drift.windows import BinSample
from modelrelease_operator.core.measurement.queries import QueryScope
from modelrelease_operator.core.observed import (
    Metrics,
    MetricsUnavailable,
    PairCounter,
    PairCounters,
)
from modelrelease_operator.core.query_results import NotMeasured, QueryResult
from modelrelease_operator.runtime.credentials import Credentials
from modelrelease_operator.runtime.metric_sources.prometheus import by_gateway, diagnose
from modelrelease_operator.runtime.metric_sources.prometheus.by_gateway import GatewayRows
from modelrelease_operator.runtime.metric_sources.prometheus.by_pod import PodsOfOthers
from modelrelease_operator.runtime.metric_sources.prometheus.client import (
    LONGEST_REASON,
    QUEUE_SECONDS,
    Lane,
    Limits,
    PrometheusClient,
    PrometheusError,
    Query,
    ServerAway,
)
from modelrelease_operator.runtime.metric_sources.prometheus.series import (
    CounterRows,
    bin_sample,
    bins_query,
    counters_query,
    pair_counter,
    pairs_query,
)
from modelrelease_operator.runtime.metric_sources.prometheus.shared import (
    SLOW,
    BinsAsked,
    CountersAsked,
    NobodyAnswered,
    Take,
    Together,
    can_share,
)
from modelrelease_operator.runtime.metric_sources.source import Bins, Revisions
from modelrelease_operator.runtime.web import Web
from modelrelease_operator.traffic.gateway_counters import GatewayCounters

MAX_BYTES = 32 * 1024 * 1024
SETTING = "MODELRELEASE_PROMETHEUS_MAX_BYTES, chart value prometheus.maxBytes"
LEAST_ROW = 256
"""Bytes of a series with the labels of a pod: so many series fit into the limit on bytes."""
MOST_OWN_ROWS = 10_000
"""Series that a person's own query may give: they are kept whole until they are understood."""
MANY = 5_000
"""Counters that take a thread to put together: fewer take no longer than the thread."""
ASK_WHY_EVERY = 60.0
"""Seconds between two questions why a release's pods are not shown."""
MOST_REASONS = 1000
"""Revisions of which it is remembered why their pods are not shown."""


class PrometheusSource:
    """A Prometheus server; `trouble` stands for one that cannot even be asked."""

    source = Source.PROMETHEUS
    reads_anew = False

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float,
        credentials: Credentials | None = None,
        trouble: str | None = None,
        web: Web | None = None,
        lane: Lane | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._trouble = trouble
        self._max_bytes = max_bytes
        self._client = PrometheusClient(
            url,
            limits=Limits(seconds=timeout_seconds, max_bytes=max_bytes, setting=SETTING),
            credentials=credentials,
            web=web,
            lane=lane,
        )
        self.seconds = timeout_seconds
        """For the whole of one answer."""
        self._reasons: OrderedDict[tuple[str, str, str], tuple[float, str | None]] = OrderedDict()
        """By namespace, release and revision: when it was last asked why it shows none, and why."""
        self._together = Together(self._shared, self._client.sentence(SLOW))

    @property
    def patience_seconds(self) -> float:
        """For one answer, and the wait for a place in the lane and among the large answers."""
        return self.seconds + 2 * QUEUE_SECONDS

    async def close(self) -> None:
        """Close the connections; what is being asked is answered first."""
        await self._together.close()
        await self._client.close()

    async def read_counters(
        self, of: Revisions, *, predictions: bool = False, probes: bool = False
    ) -> Metrics:
        """Return every counter of these revisions, or why there is none to be had.

        Bins of predictions only where a gate asks for them: they are a fifth more series.
        """
        if of.gateway:
            return await self._read_gateway(of, of.gateway)
        if self._can_share(of):
            asked = CountersAsked(predictions=predictions, probes=probes)
            shared = await self._together.read(asked, of)
            if shared is not None:
                return shared
        query = counters_query(of, predictions=predictions, probes=probes)
        rows = CounterRows(PodsOfOthers.of(of))
        problem = await self._ask(self._request(query, rows.take))
        if isinstance(problem, MetricsUnavailable):
            return problem
        if len(rows) > MANY:
            return await asyncio.to_thread(rows.counters)
        return rows.counters()

    async def _read_gateway(self, of: Revisions, gateway: GatewayCounters) -> Metrics:
        """Return what a gateway counted of both arms, or why there is nothing to be had."""
        rows = GatewayRows(of, gateway)
        problem = await self._ask(self._request(by_gateway.query(of, gateway), rows.take))
        if isinstance(problem, MetricsUnavailable):
            return problem
        return rows.counters() or MetricsUnavailable(message=by_gateway.nothing_of(of, gateway))

    async def read_pairs(self, of: Revisions, *, canary: str, stable: str) -> PairCounters:
        """Return every counter of pairs with stable, or why there is none to be had."""
        pairs: list[PairCounter] = []
        query = pairs_query(of, canary=canary, stable=stable)
        request = self._request(query, lambda row: pairs.append(pair_counter(row)))
        problem = await self._ask(request)
        return problem if isinstance(problem, MetricsUnavailable) else tuple(pairs)

    async def read_bins(self, of: Revisions) -> Bins:
        """Return all counts of these revisions' bins, and baselines, or why there are none."""
        query = bins_query(of)
        if query is None:
            return ()
        if self._can_share(of):
            shared = await self._together.read(BinsAsked(), of)
            if shared is not None:
                return shared
        samples: list[BinSample] = []
        problem = await self._ask(self._request(query, lambda row: samples.append(bin_sample(row))))
        return problem if isinstance(problem, MetricsUnavailable) else tuple(samples)

    async def answer(self, gate: Gate, query_scope: QueryScope) -> QueryResult:
        """Return what a gate's own queries give."""
        rows = await self.query(query_of(gate, query_scope) or "")
        if isinstance(rows, MetricsUnavailable):
            return NotMeasured(
                verdict=Verdict.UNAVAILABLE, message=f"{shown(gate)}: {rows.message}"
            )
        answer = answer_of(gate, query_scope, rows)
        if isinstance(answer, NotMeasured):
            # What is not understood is quoted, and may quote the credentials.
            return NotMeasured(verdict=answer.verdict, message=self._client.hidden(answer.message))
        return answer

    async def query(self, query: str) -> list[Any] | MetricsUnavailable:
        """Return the result of a person's own query as Prometheus gave it, or MetricsUnavailable.

        An answer that may lack a part is none: what is missing may be what is bad.
        """
        rows: list[Any] = []
        request = Query(
            path="query",
            fields={"query": query},
            take=rows.append,
            max_series=MOST_OWN_ROWS,
            own=True,
        )
        envelope = await self._ask(request)
        if isinstance(envelope, MetricsUnavailable):
            return envelope
        if partial := _partial(envelope):
            # Hidden before it is cut: half of a secret would not be found.
            reason = self._client.hidden(partial)[:LONGEST_REASON]
            what = f"answered in part only, so its answer is not used: {reason}"
            return MetricsUnavailable(message=self._client.sentence(what))
        return rows

    async def explain_missing(
        self, of: Revisions, *, revision: str, pods: Collection[str]
    ) -> str | None:
        """Return why no counters of these ready pods are shown, or None where that cannot be told.

        Asked once a minute at most for each release; in between the last sentence holds.
        """
        now = time.monotonic()
        key = (of.namespace, of.release, revision)
        known = self._reasons.get(key)
        if known and now - known[0] < ASK_WHY_EVERY:
            return known[1]
        reason = await self._reason(of, revision, pods)
        self._reasons[key] = (now, reason)
        while len(self._reasons) > MOST_REASONS:
            self._reasons.popitem(last=False)
        return reason

    async def _reason(self, of: Revisions, revision: str, pods: Collection[str]) -> str | None:
        rows = await self.query(diagnose.query_of(of, revision=revision, pods=pods))
        if isinstance(rows, MetricsUnavailable):
            return rows.message
        try:
            reason = diagnose.diagnosis_of(rows, of, revision=revision, pods=pods)
        except (LookupError, ValueError, TypeError, AttributeError):
            return None
        return self._client.hidden(reason)

    def _can_share(self, of: Revisions) -> bool:
        return not self._trouble and can_share(of)

    async def _shared(self, query: str, take: Take) -> MetricsUnavailable | None:
        """Ask for counters or bins of many releases; return why there are none to be had."""
        try:
            await self._client.ask(self._request(query, take))
        except ServerAway as problem:
            return NobodyAnswered(message=str(problem))
        except PrometheusError as problem:
            return MetricsUnavailable(message=str(problem))
        return None

    def _request(self, query: str, take: Take) -> Query:
        """Return a question for counters."""
        return Query(
            path="query",
            fields={"query": query},
            take=take,
            max_series=self._max_bytes // LEAST_ROW,
            setting=SETTING,
        )

    async def _ask(self, request: Query) -> dict[str, Any] | MetricsUnavailable:
        """Ask; return the answer without its series, which the question has taken."""
        if self._trouble:
            return MetricsUnavailable(message=self._trouble)
        try:
            return await self._client.ask(request)
        except PrometheusError as problem:
            return MetricsUnavailable(message=str(problem))


def _partial(envelope: dict[str, Any]) -> str | None:
    """Return why an answer may lack a part, or None. Remarks on the query itself are no reason."""
    if envelope.get("isPartial") is True:
        return "it says isPartial"
    warnings = envelope.get("warnings") or []
    texts = [str(text) for text in warnings] if isinstance(warnings, list) else [str(warnings)]
    serious = [text for text in texts if not text.startswith(("PromQL info:", "PromQL warning:"))]
    return " ".join(serious[0].split()) if serious else None
