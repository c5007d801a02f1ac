"""Reading the pages of many pods: so many at once, for so long, and what went wrong by pod."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from modelrelease_operator.core.measurement.counters import ONE_PROCESS
from modelrelease_operator.runtime.metric_sources.pods.addresses import PodAddress
from modelrelease_operator.runtime.metric_sources.pods.clock import Clock
from modelrelease_operator.runtime.metric_sources.pods.page import FOR_COUNTERS, Lines, Room, Series
from modelrelease_operator.runtime.metric_sources.pods.readings import (
    Page,
    check_whose,
    page_of,
)
from modelrelease_operator.runtime.namespaced_name import NamespacedName
from modelrelease_operator.runtime.web import NotAllowed, Reach, Trouble, Web

POD_SECONDS = 2.0
"""For the whole of one page."""
AT_ONCE = 20
"""Pages of one release that are read at the same time."""
MOST_AT_ONCE = 100
"""Pages of all releases."""
TEXT = {"Accept": "text/plain;version=0.0.4"}
SILENT = "does not answer"
"""Begins what is said of a server that cannot be reached."""
MAX_BYTES = 8 * 1024 * 1024
"""Of one page: sixty times what a model with 150 features shows."""
LARGE = 16 * 1024
"""Bytes that take a thread to understand: so many take 20 milliseconds at worst, and a look at
sixty series (6,000 bytes) takes four.
"""
THREADS = 2
"""Of all releases: pages that are understood at the same time, by nobody's executor but ours."""
MOST_STARTS = 10_000
"""Runs of containers of which it is remembered when their process began."""
Part = TypeVar("Part")
HOW = "docs/how-to/read-pods-without-prometheus.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Which page is wanted of a pod, and what of it."""

    release: NamespacedName
    pod: PodAddress
    port: int
    path: str
    names: tuple[str, ...]
    """Of series."""
    room: Room = FOR_COUNTERS
    """For these series."""

    @property
    def url(self) -> str:
        """Where the page is."""
        return self.pod.url(self.port, self.path)


@dataclass(slots=True, kw_only=True)
class Understood(Generic[Part]):
    """What pages mean."""

    parts: list[Part] = field(default_factory=list)
    """One of each page."""
    problems: dict[str, str] = field(default_factory=dict)
    """By pod: the sentence on why its page is not used."""


@dataclass(slots=True)
class Read:
    """What came of asking pods."""

    pages: list[tuple[Ask, Page]] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    """By pod: the sentence on why its page is not used."""

    def refuse(self, ask: Ask, problem: str) -> None:
        """Remember why a page is not used."""
        self.problems[ask.pod.name] = f"pod {ask.pod.name} at {ask.url} {problem}"

    def understood(
        self, understand: Callable[[Page], Part], whose: Mapping[str, str] | None = None
    ) -> Understood[Part]:
        """Return what the pages mean; `whose` are the labels by which a page says whose it is."""
        understood = Understood[Part](problems=self.problems)
        for ask, page in self.pages:
            try:
                check_whose(page, whose or {})
                understood.parts.append(understand(page))
            except Trouble as problem:
                self.refuse(ask, str(problem))
            except (LookupError, ValueError, ArithmeticError) as problem:
                # Not its text, which may quote the page.
                self.refuse(ask, f"shows nonsense ({type(problem).__name__})")
        return understood


class PageReader:
    """Reads pages for all releases."""

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        seconds: float = POD_SECONDS,
        reach: Reach | None = None,
    ) -> None:
        """`reach`: addresses come from the API server, so no list of allowed servers is asked; but
        a pod's status can be forged, and no pod is at an address of the machine itself.
        """
        self.clock = clock or Clock()
        self._seconds = seconds
        self._web = Web(reach=reach or Reach())
        self._everybody = asyncio.Semaphore(MOST_AT_ONCE)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="pages")
        self._starts: OrderedDict[str, float] = OrderedDict()
        """By run of a pod's containers: when the youngest process began that was seen of it."""

    async def close(self) -> None:
        """Close the connections; what is being asked is answered first."""
        await self._web.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def read(self, asks: Collection[Ask], *, within: float) -> Read:
        """Return the pages that come within so many seconds, and why others do not."""
        read = Read()
        if not asks:
            return read
        room = asyncio.Semaphore(AT_ONCE)
        tasks = {asyncio.create_task(self._page(ask, room)): ask for ask in asks}
        try:
            await asyncio.wait(tasks, timeout=within)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task, ask in tasks.items():
            if task.cancelled():
                read.refuse(ask, f"was not read: the release's pods took more than {within:g} s")
            elif (problem := task.exception()) is None:
                read.pages.append((ask, task.result()))
            elif isinstance(problem, Trouble):
                read.refuse(ask, str(problem))
            else:
                raise problem
        return read

    async def _page(self, ask: Ask, room: asyncio.Semaphore) -> Page:
        """Return a pod's page; raises Trouble."""
        async with room, self._everybody:
            at = self.clock.now(ask.release)
            # No more pages are asked for than can be understood, so none piles up.
            series = await self._understood(await self._lines(ask))
        page = page_of(ask.pod, series, at)
        self._check_alone(page)
        return page

    async def _understood(self, lines: Lines) -> tuple[Series, ...]:
        if lines.size <= LARGE:
            return lines.series()
        return await asyncio.get_running_loop().run_in_executor(self._threads, lines.series)

    async def _lines(self, ask: Ask) -> Lines:
        lines = Lines(ask.names, ask.room)
        try:
            async with self._web.ask("GET", ask.url, seconds=self._seconds, headers=TEXT) as answer:
                if answer.status != 200:
                    msg = f"answered with HTTP status {answer.status}, and no page of metrics"
                    raise Trouble(msg)
                async for piece in answer.pieces(MAX_BYTES):
                    lines.feed(piece)
        except NotAllowed as problem:
            msg = "is not asked: it leads elsewhere, or is no address that a pod can have"
            raise Trouble(msg) from problem
        except Trouble as problem:
            if str(problem).startswith(SILENT):
                msg = f"{problem}: it must listen there, and NetworkPolicies let the operator in"
                raise Trouble(f"{msg} ({HOW})") from problem
            raise
        return lines

    def _check_alone(self, page: Page) -> None:
        """Raise Trouble where processes take turns at one address: each has counters of its own."""
        if page.started is None:
            return
        youngest = max(page.started, self._starts.get(page.pod.uid, page.started))
        self._starts[page.pod.uid] = youngest
        self._starts.move_to_end(page.pod.uid)
        while len(self._starts) > MOST_STARTS:
            self._starts.popitem(last=False)
        if page.started < youngest - ONE_PROCESS:
            msg = (
                "is answered by several processes in turn, whose counters cannot be told apart: "
                "run one process in a pod, or let Prometheus read one that sums them up"
            )
            raise Trouble(msg)
