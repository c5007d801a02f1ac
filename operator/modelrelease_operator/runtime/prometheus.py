"""Questions to Prometheus: the newest raw counters of a release's two revisions, or of their bins.

Nothing here raises for what a server does: whatever it answers, or does not, becomes a sentence.
"""

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from modelrelease_operator.core.drift_windows import BinSample
from modelrelease_operator.core.observed import Metrics, MetricsUnavailable
from modelrelease_operator.runtime import diagnose
from modelrelease_operator.runtime.credentials import Credentials
from modelrelease_operator.runtime.series import (
    CounterRows,
    bin_sample,
    bins_query,
    counter_names,
    counters_query,
    labels_of,
)
from modelrelease_operator.runtime.vectors import Rows
from modelrelease_operator.runtime.web import Answer, Trouble, Web

Bins = tuple[BinSample, ...] | MetricsUnavailable
MAX_BYTES = 32 * 1024 * 1024
SETTING = "MODELRELEASE_PROMETHEUS_MAX_BYTES, chart value prometheus.maxBytes"
LARGE = 2 * 1024 * 1024
"""Bytes from which an answer is large: some 60 pods."""
MOST_LARGE = 4
"""Large answers that are read at the same time, from all servers: together they must fit into memory."""
LEAST_ROW = 256
"""Bytes of a series with the labels of a pod: so many series fit into the limit on bytes."""
MOST_OWN_ROWS = 10_000
"""Series that a person's own query may give: they are kept whole until they are understood."""
MANY = 5_000
"""Counters that take a thread to put together: fewer take no longer than the thread."""
QUEUE_SECONDS = 1.0
"""A question that finds no room at its server for so long is given up: the next look asks again."""
REFUSED = (400, 422)
"""Status codes with which Prometheus refuses a query, and says why."""
NO_POST = (405, 501)
"""Status codes of servers that take questions in the address only."""
LONGEST_SENTENCE = 200
"""Characters of a server's own words that are repeated."""
ASK_WHY_EVERY = 60.0
"""Seconds between two questions why a release's pods are not shown."""


class Lane:
    """How many questions one server is asked at the same time.

    Counters and people's own queries wait apart: those may be slow, and everybody needs the counters.
    """

    def __init__(self, *, counters: int = 20, own: int = 12, large: asyncio.Semaphore | None = None) -> None:
        self._counters = asyncio.Semaphore(counters)
        self._own = asyncio.Semaphore(own)
        self.large = large or asyncio.Semaphore(MOST_LARGE)
        """Places for large answers, shared by all servers."""

    @asynccontextmanager
    async def slot(self, *, own: bool) -> AsyncIterator[None]:
        """Wait for room; raises Trouble when there is none for long."""
        room = self._own if own else self._counters
        slow = f"is slow: it has more questions open than it answers within {QUEUE_SECONDS:g} s"
        async with _place_in(room, slow):
            yield


@asynccontextmanager
async def _place_in(room: asyncio.Semaphore, full: str) -> AsyncIterator[None]:
    """Take a place; raises Trouble with a sentence when none gets free for long."""
    try:
        await asyncio.wait_for(room.acquire(), QUEUE_SECONDS)
    except TimeoutError as problem:
        raise Trouble(full) from problem
    try:
        yield
    finally:
        room.release()


class MetricSource:
    """A Prometheus server; `trouble` stands for one that cannot even be asked."""

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
        self._url, self._trouble = url, trouble
        self.seconds = timeout_seconds
        """For the whole of one answer."""
        self._credentials = credentials or Credentials()
        self._web = web or Web(credentials=self._credentials)
        self._lane = lane or Lane()
        self._max_bytes = max_bytes
        self._why: OrderedDict[tuple[str, str, str], tuple[float, str | None]] = OrderedDict()
        """By release and revision: when it was asked last why nothing is shown, and what was found."""

    async def close(self) -> None:
        """Close the connections; what is being asked is answered first."""
        await self._web.close()

    async def read(
        self,
        *,
        namespace: str,
        release: str,
        revisions: Iterable[str],
        predictions: bool = False,
        probes: bool = False,
    ) -> Metrics:
        """Return every counter of these revisions, or why there is none to be had.

        Bins of predictions only where a gate asks for them: they are a fifth more series.
        """
        names = counter_names(predictions=predictions, probes=probes)
        query = counters_query(names, namespace=namespace, labels=labels_of(namespace, release, revisions))
        found = CounterRows()
        problem = await self._ask(query, found.take)
        if isinstance(problem, MetricsUnavailable):
            return problem
        return await asyncio.to_thread(found.counters) if len(found) > MANY else found.counters()

    async def read_bins(self, *, namespace: str, release: str, revisions: Iterable[str]) -> Bins:
        """Return every count of a bin of these revisions, and their baselines, or why there is none."""
        found: list[BinSample] = []
        query = bins_query(namespace, release, revisions)
        problem = await self._ask(query, lambda row: found.append(bin_sample(row)))
        return problem if isinstance(problem, MetricsUnavailable) else tuple(found)

    async def ask(self, query: str) -> Any:
        """Return the result of a person's own query as Prometheus gave it, or MetricsUnavailable.

        An answer that may lack a part is none: what is missing may be what is bad.
        """
        found: list[Any] = []
        envelope = await self._ask(query, found.append, own=True)
        if isinstance(envelope, MetricsUnavailable):
            return envelope
        if partial := _partial(envelope):
            told = self._credentials.hidden_in(partial)[:LONGEST_SENTENCE]
            return self._unavailable(f"answered in part only, so its answer is not used: {told}")
        return found

    async def diagnose(
        self, *, namespace: str, release: str, revision: str, pods: Collection[str]
    ) -> str | None:
        """Return why no counters of these ready pods are shown, or None where that cannot be told.

        Asked once a minute at most for each release; in between the last sentence holds.
        """
        key, now = (namespace, release, revision), time.monotonic()
        known = self._why.get(key)
        if known and now - known[0] < ASK_WHY_EVERY:
            return known[1]
        query = diagnose.query_of(namespace=namespace, revision=revision, pods=pods)
        rows = await self.ask(query)
        why: str | None
        if isinstance(rows, MetricsUnavailable):
            why = rows.message
        else:
            why = self._understood(
                lambda: diagnose.meaning_of(
                    rows, namespace=namespace, release=release, revision=revision, pods=pods
                )
            )
        self._why[key] = (now, why)
        while len(self._why) > 1000:
            self._why.popitem(last=False)
        return why

    def _understood(self, read: Callable[[], str]) -> str | None:
        try:
            return read()
        except (LookupError, ValueError, TypeError, AttributeError):
            return None

    async def _ask(
        self, query: str, take: Callable[[Any], None], *, own: bool = False
    ) -> dict[str, Any] | MetricsUnavailable:
        """Give each series of an answer to `take`; return the answer without them."""
        if self._trouble:
            return MetricsUnavailable(message=self._trouble)
        try:
            async with self._lane.slot(own=own):
                return await self._answer_to(query, self._rows(take, own=own))
        except Trouble as problem:
            return self._unavailable(str(problem))
        except (LookupError, ValueError, TypeError, AttributeError) as problem:
            # Not its text, which may quote the answer.
            return self._unavailable(f"answered nonsense ({type(problem).__name__})")

    def _rows(self, take: Callable[[Any], None], *, own: bool) -> Rows:
        most = MOST_OWN_ROWS if own else self._max_bytes // LEAST_ROW
        too_many = f"answered with more than {most:,} series" + ("" if own else f" ({SETTING})")
        return Rows(take, most=most, too_many=too_many)

    async def _answer_to(self, query: str, rows: Rows) -> dict[str, Any]:
        """Ask in the body, where a query may be long, or in the address, where a server wants that."""
        # Prometheus gives up when nobody waits any more.
        asked = {"query": query, "timeout": f"{max(1, round(self.seconds * 1000))}ms"}
        url = f"{self._url.rstrip('/')}/api/v1/query"
        async with self._web.ask("POST", url, seconds=self.seconds, data=asked) as answer:
            if answer.status not in NO_POST:
                return await self._read(answer, rows)
        async with self._web.ask("GET", url, seconds=self.seconds, params=asked) as answer:
            return await self._read(answer, rows)

    async def _read(self, answer: Answer, rows: Rows) -> dict[str, Any]:
        if answer.status != 200:
            raise Trouble(await self._refusal(answer))
        seen = 0
        async with AsyncExitStack() as large:
            async for piece in answer.pieces(self._max_bytes, SETTING):
                if seen <= LARGE < seen + len(piece):
                    full = (
                        f"answered with more than {LARGE:,} bytes, as {MOST_LARGE} others do at this moment"
                    )
                    await large.enter_async_context(_place_in(self._lane.large, full))
                seen += len(piece)
                rows.feed(piece)
        return rows.end()

    async def _refusal(self, answer: Answer) -> str:
        """Return what an error means. Only Prometheus' own reason for refusing a query is repeated."""
        status = f"HTTP status {answer.status}"
        if answer.status in REFUSED and (reason := _reason(await answer.error())):
            # Hidden before it is cut: half of a secret would not be found.
            told = self._credentials.hidden_in(reason)[:LONGEST_SENTENCE]
            return f"answered with an error: it cannot run the query, {status}: {told}"
        if answer.status in (401, 403):
            return f"answered with an error: {status}: it wants other credentials (spec.analysis.prometheus)"
        return f"answered with an error: {status}"

    def _unavailable(self, what: str) -> MetricsUnavailable:
        """Return the sentence, without what a server may have repeated of the credentials."""
        return MetricsUnavailable(message=f"Prometheus at {self._url} {self._credentials.hidden_in(what)}")


def _reason(body: bytes) -> str | None:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    match said:
        case {"status": "error", "error": str(reason)}:
            return " ".join(reason.split())
        case _:
            return None


def _partial(envelope: dict[str, Any]) -> str | None:
    """Return why an answer may lack a part, or None. Remarks on the query itself are no reason."""
    if envelope.get("isPartial") is True:
        return "it says isPartial"
    warnings = envelope.get("warnings") or []
    said = [str(one) for one in warnings] if isinstance(warnings, list) else [str(warnings)]
    real = [one for one in said if not one.startswith(("PromQL info:", "PromQL warning:"))]
    return " ".join(real[0].split()) if real else None
