"""The one client of Prometheus' HTTP API: limits on time, bytes and series, and one map of errors.

Whatever a server does becomes a `PrometheusError`, whose text is a sentence that names the server.
No credentials are in it, nor in what it was raised from: a server may repeat them in any answer.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from modelrelease_operator.errors import Unavailable
from modelrelease_operator.runtime.credentials import Credentials
from modelrelease_operator.runtime.metric_sources.prometheus.rows import Rows
from modelrelease_operator.runtime.web import Answer, Away, Trouble, Web

QUEUE_SECONDS = 1.0
"""A query that finds no room at its server for so long is given up: the next look asks again."""
LARGE = 2 * 1024 * 1024
"""Bytes from which an answer is large: some 60 pods."""
MOST_LARGE = 4
"""Large answers that are read at the same time, from all servers: together they fit in memory."""
REFUSED = (400, 422)
"""Status codes with which Prometheus refuses a query, and says why."""
WANTS_CREDENTIALS = (401, 403)
NEWEST = "5s"
"""Age from which VictoriaMetrics shows samples, which it has after two seconds: it leaves out those
of the last 30 s unless it is told so. Others do not know the word."""
NOT_READY = 503
"""Status code of a server that begins or ends, where it has no sentence about the query."""
NO_POST = (405, 501)
"""Status codes of servers that take questions in the address only."""
LONGEST_REASON = 200
"""Characters of Prometheus' own words that are repeated where others may read them."""
LONGEST_QUOTE = 500
"""Characters of a server's words that are repeated to the person who has asked."""


class PrometheusError(Unavailable):
    """A server could not be used. The text is a sentence without credentials."""


class ServerAway(PrometheusError):
    """The server answers nobody now: another question would end like this one."""


class QueryRefused(PrometheusError):
    """The server is there, and refuses a query."""


class Lane:
    """How many questions one server is asked at the same time.

    Counters and people's own queries wait apart: those may be slow, and everybody needs the
    counters.
    """

    def __init__(
        self, *, counters: int = 20, own: int = 12, large: asyncio.Semaphore | None = None
    ) -> None:
        self._counters = asyncio.Semaphore(counters)
        self._own = asyncio.Semaphore(own)
        self.large = large or asyncio.Semaphore(MOST_LARGE)
        """Places for large answers, shared by all servers."""

    @asynccontextmanager
    async def slot(self, *, own: bool) -> AsyncIterator[None]:
        """Wait for room; raises Away when there is none for long."""
        room = self._own if own else self._counters
        slow = f"is slow: it has more questions open than it answers within {QUEUE_SECONDS:g} s"
        async with _place_in(room, Away(slow)):
            yield


@asynccontextmanager
async def _place_in(room: asyncio.Semaphore, full: Trouble) -> AsyncIterator[None]:
    """Take a place; raises what is given for when none gets free for long."""
    try:
        await asyncio.wait_for(room.acquire(), QUEUE_SECONDS)
    except TimeoutError as problem:
        raise full from problem
    try:
        yield
    finally:
        room.release()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of a server is put up with."""

    seconds: float
    """For the whole of one answer, from the connection to the last byte."""
    max_bytes: int
    setting: str = ""
    """What raises the limit on bytes, for the sentence."""
    large: int = LARGE
    """Bytes from which an answer needs a place among the large ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query, and what is to be done with the series of its answer."""

    path: str
    """`query` or `query_range`."""
    fields: Mapping[str, str]
    take: Callable[[Any], None]
    """Called with each series, as soon as it is complete."""
    max_series: int
    setting: str = ""
    """What raises the limit on series, for the sentence."""
    own: bool = False
    """Written by a person, so it may be slow."""

    @property
    def too_many(self) -> str:
        """What a server does that gives more series."""
        how = f" ({self.setting})" if self.setting else ""
        return f"answered with more than {self.max_series:,} series{how}"


class PrometheusClient:
    """One server."""

    def __init__(
        self,
        url: str,
        *,
        limits: Limits,
        credentials: Credentials | None = None,
        web: Web | None = None,
        lane: Lane | None = None,
        quotes: bool = False,
    ) -> None:
        """`quotes`: a server's error is repeated, for the person who named the server.

        Otherwise only Prometheus' own reason for refusing a query is: who may name a server in a
        release could use the operator to read what others would not show them.
        """
        self.url = url
        self._limits = limits
        self._credentials = credentials or Credentials()
        self._web = web or Web(credentials=self._credentials)
        self._lane = lane or Lane()
        self._quotes = quotes

    async def close(self) -> None:
        """Close the connections; what is being asked is answered first."""
        await self._web.close()

    async def ask(self, query: Query) -> dict[str, Any]:
        """Give each series of the answer to `take`; return the answer without them.

        Raises PrometheusError: QueryRefused where the query is wrong, ServerAway where nobody is
        answered.
        """
        error: type[PrometheusError] = PrometheusError
        try:
            async with self._lane.slot(own=query.own):
                return await self._answer_to(query)
        except _Refusal as problem:
            error = QueryRefused
            failure = str(problem)
        except Away as problem:
            error = ServerAway
            failure = str(problem)
        except Trouble as problem:
            failure = str(problem)
        except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as problem:
            # Not its text, which may quote the answer.
            failure = f"answered nonsense ({type(problem).__name__})"
        # Raised here, so that no cause hangs on it: that may quote the answer, too.
        raise error(self.sentence(failure))

    def sentence(self, what: str) -> str:
        """Return a sentence about the server, without credentials that it may have repeated."""
        return f"Prometheus at {self.url} {self.hidden(what)}"

    def hidden(self, text: str) -> str:
        """Return a text without the credentials."""
        return self._credentials.hidden_in(text)

    async def _answer_to(self, query: Query) -> dict[str, Any]:
        """Ask in the body, where a query may be long, or in the address, if a server wants it."""
        # Prometheus gives up when nobody waits any more.
        timeout = f"{max(1, round(self._limits.seconds * 1000))}ms"
        fields = {**query.fields, "timeout": timeout, "latency_offset": NEWEST}
        if self._credentials.fence:
            # Last, so that no question says another.
            parameter, value = self._credentials.fence
            fields[parameter] = value
        url = f"{self.url.rstrip('/')}/api/v1/{query.path}"
        rows = Rows(query.take, most=query.max_series, too_many=query.too_many)
        async with self._web.ask("POST", url, seconds=self._limits.seconds, data=fields) as answer:
            if answer.status not in NO_POST:
                return await self._read(answer, rows)
        async with self._web.ask("GET", url, seconds=self._limits.seconds, params=fields) as answer:
            return await self._read(answer, rows)

    async def _read(self, answer: Answer, rows: Rows) -> dict[str, Any]:
        if answer.status != 200:
            raise await self._error_in(answer)
        limits = self._limits
        size = 0
        async with AsyncExitStack() as large:
            async for piece in answer.pieces(limits.max_bytes, limits.setting):
                if size <= limits.large < size + len(piece):
                    full = (
                        f"answered with more than {LARGE:,} bytes, as {MOST_LARGE} others do at "
                        "this moment"
                    )
                    place = _place_in(self._lane.large, Trouble(full))
                    await large.enter_async_context(place)
                size += len(piece)
                rows.feed(piece)
        return rows.end()

    async def _error_in(self, answer: Answer) -> Trouble:
        """Return what an answer means that is an error."""
        status = f"HTTP status {answer.status}"
        body = await answer.error()
        refused = answer.status in REFUSED
        reason = _reason(body)
        if refused and reason:
            # Hidden before it is cut: half of a secret would not be found.
            failure = self.hidden(reason)[:LONGEST_REASON]
            return _Refusal(f"answered with an error: it cannot run the query, {status}: {failure}")
        if self._quotes:
            text = reason or " ".join(body.decode(errors="replace").split())
            failure = f"answered with an error: {status}: {self.hidden(text)[:LONGEST_QUOTE]}"
            return _Refusal(failure)
        if answer.status in WANTS_CREDENTIALS:
            return Away(
                f"answered with an error: {status}: it wants other credentials "
                "(spec.analysis.prometheus)"
            )
        if answer.status == NOT_READY and not reason:
            return Away(f"answered with an error: {status}")
        return Trouble(f"answered with an error: {status}")


class _Refusal(Trouble):
    """A server refuses a query."""


def _reason(body: bytes) -> str | None:
    """Return the sentence of an error that is in Prometheus' own form."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    match document:
        case {"status": "error", "error": str(reason)}:
            return " ".join(reason.split())
        case _:
            return None
