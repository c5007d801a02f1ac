"""What Prometheus remembers of a release: its raw counters at every look of a span of time."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from modelrelease_contract import metrics as words
from modelrelease_operator.api.spec import Gate, ReleaseSpec
from modelrelease_operator.api.status import Verdict
from modelrelease_operator.core.analysis.gates.registry import answer_of, query_of, shown
from modelrelease_operator.core.measurement.queries import QueryScope
from modelrelease_operator.core.observed import Counter
from modelrelease_operator.core.query_results import NotMeasured, QueryResult
from modelrelease_operator.core.whatif.recording import Look, Recording
from modelrelease_operator.errors import Invalid
from modelrelease_operator.runtime.credentials import Credentials
from modelrelease_operator.runtime.metric_sources.prometheus.by_pod import PodsOfOthers
from modelrelease_operator.runtime.metric_sources.prometheus.client import (
    Limits,
    PrometheusClient,
    PrometheusError,
    Query,
    QueryRefused,
)
from modelrelease_operator.runtime.metric_sources.prometheus.series import (
    counters_of,
    history_query,
)
from modelrelease_operator.runtime.web import Web
from modelrelease_operator.serving_runtimes import ServerMetrics
from modelrelease_operator.serving_runtimes.predictor import PREDICTOR

MOST_POINTS = 10_000
"""Prometheus refuses to answer more than 11,000 points for each series at once."""
MOST_LOOKS = 100_000
"""More do not fit into memory beside their series."""
MAX_BYTES = 8 * 1024**3
"""Of one answer: the person who asks has the memory of a machine of their own."""
MAX_SERIES = 1_000_000
TIMEOUT_SECONDS = 300.0
"""For one answer. A person waits, and a day of many pods is a large answer."""

T = TypeVar("T")
ByMoment = dict[int, list[dict[str, Any]]]
"""Rows as instant queries give them, by the number of their moment."""


class PrometheusHistory:
    """A Prometheus server that a person asks for the past, and who is told all that it says."""

    def __init__(
        self,
        url: str,
        *,
        credentials: Credentials | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        metrics: ServerMetrics = PREDICTOR.metrics,
    ) -> None:
        shown_to_it = credentials or Credentials()
        self._metrics = metrics
        self._client = PrometheusClient(
            url,
            # No answer counts as large: nobody else needs this process' memory.
            limits=Limits(seconds=timeout_seconds, max_bytes=MAX_BYTES, large=MAX_BYTES),
            credentials=shown_to_it,
            web=Web(credentials=shown_to_it, proxy=proxy_for(url)),
            quotes=True,
        )

    async def read(
        self,
        *,
        namespace: str,
        release: str,
        start: datetime,
        end: datetime,
        interval: timedelta,
        predictions: bool = False,
    ) -> Recording:
        """Return every revision's counters at every interval, with bins of predictions on request.

        Raises Unavailable when the server does not answer, Invalid when there is nothing to be had.
        """
        looks = int((end - start) / interval) + 1
        if looks > MOST_LOOKS:
            msg = (
                f"{looks:,} looks lie between --start and --end, more than {MOST_LOOKS:,}: replay "
                "less"
            )
            raise Invalid(msg)
        pods = PodsOfOthers.of_any_revision(release, self._metrics)
        table: dict[int, tuple[Counter, ...]] = {}
        versions: dict[str, str] = {}
        query = history_query(namespace, release, self._metrics, predictions=predictions)
        moments = [start + index * interval for index in range(looks)]
        async for first, rows in self._parts(query, moments, interval):
            by_moment = self._understood(partial(_by_moment, rows, first, moments, interval))
            table |= self._understood(partial(_counters, by_moment, pods))
            for revision, version in self._understood(lambda: tuple(_versions(rows, pods))):  # noqa: B023
                versions.setdefault(revision, version)
        if not versions:
            msg = (
                f"{self._client.sentence('has')} no {self._metrics.names[0]} of release "
                f"{namespace}/{release} in this time: check --namespace, --start and --end"
            )
            raise Invalid(msg)
        kept = (Look(at=at, counters=table.get(index, ())) for index, at in enumerate(moments))
        return Recording(looks=tuple(kept), versions=versions)

    async def with_answers(
        self, recording: Recording, spec: ReleaseSpec, query_scope: QueryScope
    ) -> Recording:
        """Return a recording with what the gates' own queries would have given at each look.

        A query that Prometheus refuses leaves its gate unmeasured, as it would have been then.
        """
        queries = [
            (gate, query) for gate in spec.analysis.gates if (query := query_of(gate, query_scope))
        ]
        columns = await asyncio.gather(
            *(self._answers(gate, query, query_scope, recording) for gate, query in queries)
        )
        by_gate = {gate.name: column for (gate, _), column in zip(queries, columns, strict=True)}
        looks = []
        for index, look in enumerate(recording.looks):
            answers = {name: column[index] for name, column in by_gate.items()}
            looks.append(replace(look, answers=answers))
        return replace(recording, looks=tuple(looks))

    async def _answers(
        self, gate: Gate, query: str, query_scope: QueryScope, recording: Recording
    ) -> list[QueryResult]:
        """Return a gate's answer at every look: what is missing in a range is an empty answer."""
        moments = [look.at for look in recording.looks]
        by_moment: ByMoment = {}
        try:
            async for first, rows in self._parts(query, moments, query_scope.interval):
                by_moment |= self._understood(
                    partial(_by_moment, rows, first, moments, query_scope.interval)
                )
        except QueryRefused as refused:
            unmeasured = NotMeasured(
                verdict=Verdict.UNAVAILABLE, message=f"{shown(gate)}: {refused}"
            )
            return [unmeasured] * len(moments)
        return [
            self._answer(gate, query_scope, by_moment.get(index, []))
            for index in range(len(moments))
        ]

    def _answer(
        self, gate: Gate, query_scope: QueryScope, rows: list[dict[str, Any]]
    ) -> QueryResult:
        answer = answer_of(gate, query_scope, rows)
        if isinstance(answer, NotMeasured):
            # What is not understood is quoted, and may quote the credentials.
            return replace(answer, message=self._client.hidden(answer.message))
        return answer

    async def _parts(
        self, query: str, moments: list[datetime], interval: timedelta
    ) -> AsyncIterator[tuple[int, list[dict[str, Any]]]]:
        """Ask a query at every moment; yield its rows in parts, with each first moment's number."""
        for first in range(0, len(moments), MOST_POINTS):
            part = moments[first : first + MOST_POINTS]
            yield first, await self._ask(query, part[0], part[-1], interval)

    async def _ask(
        self, query: str, start: datetime, end: datetime, interval: timedelta
    ) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        fields = {
            "query": query,
            "start": f"{start.timestamp():.0f}",
            "end": f"{end.timestamp():.0f}",
            "step": f"{interval.total_seconds():.0f}s",
            # VictoriaMetrics moves 50 looks or more to multiples of the step otherwise, into the
            # future of some. Others do not know the word.
            "nocache": "1",
        }
        request = Query(path="query_range", fields=fields, take=rows.append, max_series=MAX_SERIES)
        try:
            await self._client.ask(request)
        finally:
            # Nobody has to close a history: each question leaves nothing open.
            await self._client.close()
        return rows

    def _understood(self, read: Callable[[], T]) -> T:
        """Return what an answer means.

        Raises PrometheusError, and not from what was raised: that may quote the answer.
        """
        try:
            return read()
        except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as problem:
            nonsense = type(problem).__name__
        raise PrometheusError(self._client.sentence(f"answered nonsense ({nonsense})"))


def proxy_for(url: str) -> str | None:
    """Return the proxy of an address by HTTPS_PROXY, HTTP_PROXY and NO_PROXY."""
    try:
        parts = urlsplit(url)
    except ValueError:
        # No address, as whoever asks there is told.
        return None
    if proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)


def _counters(by_moment: ByMoment, pods: PodsOfOthers | None) -> dict[int, tuple[Counter, ...]]:
    return {index: counters_of(rows, pods) for index, rows in by_moment.items()}


def _versions(
    rows: Iterable[dict[str, Any]], pods: PodsOfOthers | None
) -> Iterator[tuple[str, str]]:
    """Yield each revision with the version on its label; other servers' series have none."""
    for row in rows:
        labels = row["metric"]
        owner = pods.owner(labels.get(words.POD, "")) if pods else None
        if owner:
            yield owner[0], owner[0]
        elif revision := labels.get(words.REVISION):
            yield revision, labels.get(words.MODEL_VERSION, revision)


def _by_moment(
    rows: Iterable[dict[str, Any]], first: int, moments: Sequence[datetime], interval: timedelta
) -> ByMoment:
    """Return a part's rows as instant queries give them; `first` numbers its first moment."""
    by_moment: ByMoment = defaultdict(list)
    for index, row in _instants(rows, moments[first], interval):
        by_moment[first + index].append(row)
    return by_moment


def _instants(
    rows: Iterable[dict[str, Any]], start: datetime, interval: timedelta
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each value of each series as an instant query gives it, with the number of its look."""
    for row in rows:
        for moment, value in row["values"]:
            index = round((float(moment) - start.timestamp()) / interval.total_seconds())
            yield index, {"metric": row["metric"], "value": [moment, value]}
