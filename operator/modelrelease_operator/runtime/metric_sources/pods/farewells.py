"""The last pages of pods on their way out.

A pod that was told to go still answers for a while, and what it counts between the last look and
its end would be lost. So from the first look that sees it go, it is read every second until it
answers no more, and its last page is given to the next look.
"""

import asyncio
from collections import OrderedDict

from modelrelease_operator.runtime.metric_sources.pods.reader import POD_SECONDS, Ask, PageReader
from modelrelease_operator.runtime.metric_sources.pods.readings import Page
from modelrelease_operator.runtime.namespaced_name import NamespacedName

EVERY = 1.0
"""Seconds between two readings of one pod."""
LONGEST = 600.0
"""Seconds after which a pod that does not go is followed no more."""
MOST_PODS = 200
"""Pods of which the last page is kept."""


class Farewells:
    """Follows pods of all releases to their end."""

    def __init__(self, reader: PageReader, *, every: float = EVERY) -> None:
        self._reader = reader
        self._every = every
        self._last: OrderedDict[str, tuple[Ask, Page]] = OrderedDict()
        """By run of a pod: its newest page."""
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def close(self) -> None:
        """Follow nobody any more."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def follow(self, ask: Ask) -> None:
        """Read a pod until it is gone, from now on."""
        uid = ask.pod.uid
        if uid in self._tasks or uid in self._last:
            return
        task = asyncio.create_task(self._until_gone(ask), name=f"last page of {ask.pod.name}")
        self._tasks[uid] = task
        task.add_done_callback(lambda _: self._tasks.pop(uid, None))

    def take(self, release: NamespacedName, revision: str) -> list[tuple[Ask, Page]]:
        """Return the last pages of a revision's pods that have gone: each is given once."""
        gone = [
            uid
            for uid, (ask, _) in self._last.items()
            if ask.release == release and ask.pod.revision == revision and uid not in self._tasks
        ]
        return [self._last.pop(uid) for uid in gone]

    async def _until_gone(self, ask: Ask) -> None:
        async with asyncio.timeout(LONGEST):
            while (read := await self._reader.read([ask], within=POD_SECONDS)).pages:
                self._last[ask.pod.uid] = read.pages[0]
                self._last.move_to_end(ask.pod.uid)
                while len(self._last) > MOST_PODS:
                    self._last.popitem(last=False)
                await asyncio.sleep(self._every)
