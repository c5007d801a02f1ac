"""What many releases ask of one server at the same moment, as one query.

The query names the namespaces, releases and revisions of all of them, so it may select a series
that nobody asked for: each series goes to the release that its own labels name, and to no other.
What one release's series break (a value that is no number, an answer that is too large) is its own
trouble: whoever shared a query that failed is asked for alone, unless the server answers nobody.
"""

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from modelrelease_contract import metrics as words
from modelrelease_operator.core.drift.windows import BinSample
from modelrelease_operator.core.measurement.queries import KIND
from modelrelease_operator.core.observed import Counter, MetricsUnavailable
from modelrelease_operator.runtime.metric_sources.prometheus.samples import TargetLabels
from modelrelease_operator.runtime.metric_sources.prometheus.series import (
    CounterRows,
    bin_sample,
    bins_query_of_many,
    counters_query_of_many,
)
from modelrelease_operator.runtime.metric_sources.source import Revisions
from modelrelease_operator.runtime.namespaced_name import NamespacedName
from modelrelease_operator.serving_runtimes.metrics import PROCESS_START

GATHER_SECONDS = 0.02
"""How long others are waited for: looks that are due together ask within milliseconds."""
MOST_SERIES = 5_000
"""Series that one query is expected to bring at most: fewer than make an answer large."""
MOST_CHARACTERS = 2_000
"""Of the names in one query, which has them up to four times: so it still fits into an address,
where a server takes no other form."""
FIRST_GUESS = 250
"""Series of a release that was never asked for: two pods' with the predictor's buckets."""
MOST_REMEMBERED = 10_000
"""Releases of which it is remembered how many series they have."""
ALONE_SECONDS = 60.0
"""How long releases whose common query failed are asked for alone."""
SOON_SECONDS = 1.0
"""A common query that failed within so long leaves the time to ask for each alone."""
AT_ONCE = 4
"""Common queries that are open at the same time; others wait for their turn."""
TURN_SECONDS = 10.0
"""How long a common query waits for its turn at most: at a server that is slow for long, what waits
would only grow, and what is asked at last would have nobody left to tell it to.
"""
SLOW = f"is slow: it has more questions open than it answers within {TURN_SECONDS:g} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class NobodyAnswered(MetricsUnavailable):
    """The server answers nobody now: to ask it for each release would only be more questions."""


Take = Callable[[Any], None]
Ask = Callable[[str, Take], Awaitable[MetricsUnavailable | None]]
"""Asks a query and gives each series to a function; returns why there is no answer."""
Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)


class SharedRows(Protocol[Answer_co]):
    """Takes the series of a common answer, and gives each release its own."""

    def take(self, row: Any) -> None:
        """Take one; raises LookupError, ValueError or TypeError for what is nobody's fault."""

    def of(self, release: NamespacedName) -> tuple[Answer_co, int] | None:
        """Return what a release asked for and of how many series, None where they are broken."""


class CounterParts:
    """The counters of many releases."""

    def __init__(self, asked: Sequence[Revisions]) -> None:
        same: dict[Any, Any] = {}
        self._starts: dict[TargetLabels, float] = {}
        """When processes began. Their series name no release: the target's labels tell whose."""
        self._parts = {
            (of.namespace, of.release): CounterRows(starts=self._starts, same=same) for of in asked
        }
        self._nobodys = CounterRows(starts=self._starts, same=same)
        self._revisions = {(of.namespace, of.release): frozenset(of.metrics) for of in asked}
        self._broken: set[NamespacedName] = set()
        self._odd_pods: set[tuple[str, str]] = set()
        """By namespace and name: pods whose process began at what is no time."""

    def take(self, row: Any) -> None:
        """Take one."""
        labels = row["metric"]
        if labels.get("__name__") == PROCESS_START:
            self._take_start(row, labels)
            return
        release = (labels.get(words.NAMESPACE), labels.get(words.RELEASE))
        part = self._parts.get(release)
        foreign = KIND not in labels and labels.get(words.REVISION) not in self._revisions.get(
            release, ()
        )
        if part is None or foreign:
            return
        try:
            part.take(row)
        except (LookupError, ValueError, TypeError):
            self._broken.add(release)

    def of(self, release: NamespacedName) -> tuple[tuple[Counter, ...], int] | None:
        """Return a release's counters."""
        part = self._parts[release]
        if release in self._broken:
            return None
        counters = part.counters()
        if self._odd_pods and any((release[0], each.pod) in self._odd_pods for each in counters):
            return None
        return counters, len(part)

    def _take_start(self, row: Any, labels: Mapping[str, str]) -> None:
        try:
            self._nobodys.take(row)
        except (LookupError, ValueError, TypeError):
            pod = labels.get(words.POD) or labels.get("instance", "")
            self._odd_pods.add((labels.get(words.NAMESPACE, ""), pod))


class BinParts:
    """The bins of many releases."""

    def __init__(self, asked: Sequence[Revisions]) -> None:
        self._parts: dict[NamespacedName, list[BinSample]] = {
            (of.namespace, of.release): [] for of in asked
        }
        self._revisions = {(of.namespace, of.release): frozenset(of.metrics) for of in asked}
        self._broken: set[NamespacedName] = set()

    def take(self, row: Any) -> None:
        """Take one."""
        labels = row["metric"]
        release = (labels.get(words.NAMESPACE), labels.get(words.RELEASE))
        if labels.get(words.REVISION) not in self._revisions.get(release, ()):
            return
        try:
            self._parts[release].append(bin_sample(row))
        except (LookupError, ValueError, TypeError):
            self._broken.add(release)

    def of(self, release: NamespacedName) -> tuple[tuple[BinSample, ...], int] | None:
        """Return the samples of a release's bins."""
        part = self._parts[release]
        return None if release in self._broken else (tuple(part), len(part))


@dataclass(frozen=True, slots=True)
class CountersAsked:
    """The question for counters. Releases that ask alike may share it."""

    predictions: bool
    probes: bool

    def query(self, asked: Sequence[Revisions]) -> str:
        """Return the query for all of them."""
        return counters_query_of_many(asked, predictions=self.predictions, probes=self.probes)

    def rows(self, asked: Sequence[Revisions]) -> SharedRows[tuple[Counter, ...]]:
        """Return what takes the answer."""
        return CounterParts(asked)


@dataclass(frozen=True, slots=True)
class BinsAsked:
    """The question for bins and baselines."""

    def query(self, asked: Sequence[Revisions]) -> str:
        """Return the query for all of them."""
        return bins_query_of_many(asked)

    def rows(self, asked: Sequence[Revisions]) -> SharedRows[tuple[BinSample, ...]]:
        """Return what takes the answer."""
        return BinParts(asked)


class Question(Protocol[Answer_co]):
    """What is asked of every release of a common query."""

    def query(self, asked: Sequence[Revisions]) -> str:
        """Return the query for all of them."""

    def rows(self, asked: Sequence[Revisions]) -> SharedRows[Answer_co]:
        """Return what takes the answer."""


def can_share(of: Revisions) -> bool:
    """Return whether a release's series name it: those of our own predictor do."""
    ours = all(metrics.labelled and metrics.counts_bins for metrics in of.metrics.values())
    return ours and of.gateway is None and bool(of.metrics)


@dataclass(slots=True)
class _Waiting:
    question: Question[Any]
    of: Revisions
    answer: asyncio.Future[Any]

    @property
    def release(self) -> NamespacedName:
        return (self.of.namespace, self.of.release)

    @property
    def characters(self) -> int:
        names = (self.of.namespace, self.of.release, *self.of.metrics)
        return sum(map(len, names)) + len(names)


@dataclass(slots=True)
class Together:
    """Puts questions of one moment to one server together."""

    ask: Ask
    busy: str = f"Prometheus {SLOW}"
    """What is told where a common query does not get its turn."""
    clock: Callable[[], float] = time.monotonic
    _waiting: list[_Waiting] = field(default_factory=list)
    _sizes: OrderedDict[tuple[Question[Any], NamespacedName], int] = field(
        default_factory=OrderedDict
    )
    """By question and release: how many series it had the last time."""
    _alone: dict[NamespacedName, float] = field(default_factory=dict)
    """By release: until when it is asked for alone."""
    _open: set[asyncio.Task[None]] = field(default_factory=set)
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def read(
        self, question: Question[Answer], of: Revisions
    ) -> Answer | MetricsUnavailable | None:
        """Return a release's part of a common answer, or None where it is to be asked for alone."""
        waiting = _Waiting(question, of, asyncio.get_running_loop().create_future())
        if self._is_alone(waiting.release):
            return None
        if not self._waiting:
            asyncio.get_running_loop().call_later(GATHER_SECONDS, self._send)
        self._waiting.append(waiting)
        answer: Answer | MetricsUnavailable | None = await waiting.answer
        return answer

    async def close(self) -> None:
        """Let go of whoever waits; what is being asked is answered first."""
        self._send()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _is_alone(self, release: NamespacedName) -> bool:
        until = self._alone.get(release)
        if until is not None and self.clock() >= until:
            del self._alone[release]
            return False
        return until is not None

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        alike: dict[Question[Any], list[_Waiting]] = defaultdict(list)
        for each in waiting:
            alike[each.question].append(each)
        for group in alike.values():
            for batch in self._packed(group):
                task = asyncio.create_task(self._answered(batch), name="common query")
                self._open.add(task)
                task.add_done_callback(self._open.discard)

    def _packed(self, group: list[_Waiting]) -> list[list[_Waiting]]:
        """Return batches that are short enough to ask, with answers that are small enough."""
        batches: list[list[_Waiting]] = [[]]
        characters = series = 0
        for each in group:
            size = self._sizes.get((each.question, each.release), FIRST_GUESS)
            characters, series = characters + each.characters, series + size
            is_full = characters > MOST_CHARACTERS or series > MOST_SERIES
            if is_full or any(each.release == other.release for other in batches[-1]):
                batches.append([])
                characters, series = each.characters, size
            batches[-1].append(each)
        return [batch for batch in batches if batch]

    async def _answered(self, batch: list[_Waiting]) -> None:
        """Give each of a batch its own; None, which is to ask alone, where that cannot be had."""
        try:
            if len(batch) > 1:
                await self._ask_in_turn(batch)
        finally:
            for each in batch:
                _give(each, None)

    async def _ask_in_turn(self, batch: list[_Waiting]) -> None:
        """Ask for those of a batch who still wait when it has its turn."""
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            for each in batch:
                _give(each, MetricsUnavailable(message=self.busy))
            return
        try:
            patient = [each for each in batch if not each.answer.done()]
            if len(patient) > 1:
                await self._ask_for(patient)
        finally:
            self._turn.release()

    async def _ask_for(self, batch: list[_Waiting]) -> None:
        question, asked = batch[0].question, [each.of for each in batch]
        rows = question.rows(asked)
        began = self.clock()
        problem = await self.ask(question.query(asked), rows.take)
        if problem is None:
            for each in batch:
                _give(each, self._part(rows, each))
            return
        if isinstance(problem, NobodyAnswered):
            for each in batch:
                _give(each, problem)
            return
        for each in batch:
            self._alone[each.release] = self.clock() + ALONE_SECONDS
            if self.clock() - began > SOON_SECONDS:
                # No time is left to ask once more at this look.
                _give(each, problem)

    def _part(self, rows: SharedRows[Any], waiting: _Waiting) -> Any:
        part = rows.of(waiting.release)
        if part is None:
            self._alone[waiting.release] = self.clock() + ALONE_SECONDS
            return None
        answer, size = part
        key = (waiting.question, waiting.release)
        self._sizes[key] = size
        self._sizes.move_to_end(key)
        if len(self._sizes) > MOST_REMEMBERED:
            self._sizes.popitem(last=False)
        return answer


def _give(waiting: _Waiting, answer: Any) -> None:
    if not waiting.answer.done():
        waiting.answer.set_result(answer)
