"""The operator's own client and cache, with the socket taken out and the watches told by hand."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, cast

import aiohttp
from pydantic_core import from_json, to_json
from typing_extensions import override

from modelrelease_operator.api import names
from modelrelease_operator.errors import ReleaseError
from modelrelease_operator.runtime.cache import (
    OPTIONAL,
    OPTIONAL_PAUSE_SECONDS,
    WATCHED,
    Cached,
    Wake,
)
from modelrelease_operator.runtime.kube import Kube, Object
from modelrelease_operator.runtime.namespaced_name import NamespacedName
from modelrelease_operator.traffic.provider import Edit
from testbed.simulation.cluster import SPACE, Cluster, Request, parsed
from testbed.simulation.leader import Leader
from testbed.simulation.story import Tell
from testbed.simulation.virtual_time import Timeline
from testbed.simulation.weather import CODES, Fault, Spell, Weather


class Died(BaseException):
    """The operator's process ends here: nothing may catch this."""


@dataclass(slots=True)
class Answer:
    """What the client reads of an answer."""

    status: int
    body: Object
    """As the API server holds it: nobody changes what was read."""

    async def text(self, **_: Any) -> str:
        return to_json(self.body).decode()

    async def __aenter__(self) -> "Answer":
        return self

    async def __aexit__(self, *_: object) -> None:
        """There is nothing to close."""


@dataclass
class Way:
    """The way to the API server, on which everything goes wrong; it outlives the processes."""

    cluster: Cluster
    weather: Weather
    timeline: Timeline
    tell: Tell
    writes: int = 0
    leader: Leader | None = None
    """Where the process that acts may be frozen."""
    trouble: int = 0
    """Requests of which something else became than what was asked."""

    def ask(self, request: Request) -> Answer:
        """Ask, and have happen to it what the weather says."""
        now, fault = self.timeline.now, self.weather.of_request(request, self.timeline.now)
        if self.weather.stormy(now) and self.weather.random.random() < 0.1:
            self.timeline.run_until(now + self.weather.random.choice((0.01, 0.1, 1.0)))
        if fault is None:
            return self._answered(request)
        self.trouble += 1
        self.tell("  {}: {}", request.words, fault)
        match fault:
            case Fault.DIES_BEFORE:
                raise Died
            case Fault.DIES_AFTER:
                self._answered(request)
                raise Died
            case Fault.LOST:
                raise TimeoutError
            case Fault.LATE:
                self._answered(request)
                raise TimeoutError
            case _:
                code, message = CODES[fault], str(fault)
                return Answer(code, {"code": code, "message": message})

    def _answered(self, request: Request) -> Answer:
        code, body = self.cluster.answer(request)
        if request.writes:
            self.writes += 1
            if self.leader is not None:
                self.leader.writes()
            self.tell("  {} -> {}", request.words, code)
        return Answer(code, body)


@dataclass(slots=True)
class _Watch:
    at: int = 0
    """How much of the log was told."""
    broken: bool = False


class Client(Cached):
    """One process' client: real but for the socket and for when watches tell what."""

    def __init__(self, way: Way, wake: Wake) -> None:
        super().__init__(Kube(None), wake=wake)
        self._way = way
        self._watches: dict[str, _Watch] = {}
        self._optional_at = way.timeline.now + OPTIONAL_PAUSE_SECONDS
        self._fingerprint: tuple[object, ...] | None = None
        if way.leader is not None:
            self.write_seconds = way.leader.lease.write_seconds

    @override
    async def _proof(self) -> dict[str, str]:
        if self._way.leader is not None:
            await self._way.leader.asks()
        return {}

    @override
    def _open(  # type: ignore[override] # one that opens and closes nothing is enough
        self, method: str, path: str, query: Mapping[str, str] | None,
        body: Object | Sequence[Edit] | None, content: str, seconds: float | None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:  # fmt: skip
        # A status is of JSON's types already; of the rest, nothing is shared with who sends it.
        plain = body is None or path.endswith("/status")
        sent = body if plain else from_json(to_json(body))
        answer = self._way.ask(parsed(method, path, query or {}, sent, content))
        return cast("AbstractAsyncContextManager[aiohttp.ClientResponse]", answer)

    @override
    async def _read(self, answer: aiohttp.ClientResponse) -> Object:
        return cast("Answer", answer).body

    def told(self, release: NamespacedName) -> Object | None:
        """Return a release as this process knows it, None where it knows none."""
        return self._releases.get(release)

    async def begin(self) -> None:
        """List everything once, as a process does before its first pass. Raises ReleaseError."""
        for kind in WATCHED:
            await self._list_again(kind)
        for kind in OPTIONAL:
            await self._begin_optional(kind)
        for release in await self.releases():
            self._tell_release(release)
        self._watches[names.KIND] = _Watch(at=len(self._way.cluster.log[names.KIND]))

    async def hear(self) -> None:
        """Let the watches tell what they tell by now."""
        for kind in (*WATCHED, *OPTIONAL):
            if kind in self.stores and not self._hears_nothing(kind):
                await self._hear(kind)
        self._hear_releases()
        now = self._way.timeline.now
        missing = self._missing()
        if missing and now >= self._optional_at:
            self._optional_at = now + OPTIONAL_PAUSE_SECONDS
            for kind in missing:
                await self._begin_optional(kind)

    def _missing(self) -> list[str]:
        """Return the kinds that the cluster serves and that are not followed."""
        late = sorted(self.absent & self._way.cluster.served - set(self._unfollowed))
        return [*self._unfollowed, *late]

    def is_behind(self) -> bool:
        """Return whether there is something that a watch has not told yet."""
        log = self._way.cluster.log
        return bool(self._missing()) or any(
            watch.broken or watch.at < len(log[kind]) for kind, watch in self._watches.items()
        )

    async def _begin_optional(self, kind: str) -> None:
        """As the cache does once a minute until the kind is served."""
        at = len(self._way.cluster.log.get(kind, ()))
        opened = await self._opened(kind)
        if opened is not None:
            self.stores[kind] = opened
            self.absent.discard(kind)
            self._watches[kind] = _Watch(at=at)

    async def _list_again(self, kind: str) -> None:
        """As the cache does whenever a watch broke."""
        at = len(self._way.cluster.log[kind])
        items, _ = await self.list_all(kind, None, names.LABEL_RELEASE)
        store = self.stores[kind]
        news = store.replace(None, [{"kind": kind, **item} for item in items])
        store.heard[None] = self._way.timeline.now
        self._watches[kind] = _Watch(at=at)
        for changed in news:
            self._wake_readers(kind, changed)

    def _hears_nothing(self, kind: str) -> bool:
        """Return whether a watch that works has nothing to tell."""
        watch = self._watches[kind]
        if watch.broken or self._way.weather.spells or watch.at < len(self._way.cluster.log[kind]):
            return False
        self.stores[kind].heard[None] = self._way.timeline.now
        return True

    async def _hear(self, kind: str) -> None:
        watch, weather, now = self._watches[kind], self._way.weather, self._way.timeline.now
        if weather.has(Spell.WATCH_BROKEN, now, kind) or weather.has(Spell.API_DOWN, now):
            watch.broken = True
            return
        if watch.broken:
            try:
                await self._list_again(kind)
            except ReleaseError:
                return
        self.stores[kind].heard[None] = now
        if weather.has(Spell.WATCH_LATE, now, kind):
            return
        for change, obj in self._next_events(kind):
            self._take(kind, change, obj)

    def _take(self, kind: str, change: str, obj: Object) -> None:
        if names.LABEL_RELEASE not in (obj["metadata"].get("labels") or {}):
            # The selector of the watch: an object that lost its label is told as deleted.
            change = "DELETED"
        store = self.stores[kind]
        if store.drop(obj) if change == "DELETED" else store.put(obj):
            self._wake_readers(kind, obj)

    def _next_events(self, kind: str) -> list[tuple[str, Object]]:
        """Return what a watch tells next: all, or the first of it; twice; others' in another
        order.
        """
        watch, log = self._watches[kind], self._way.cluster.log[kind]
        events, end = log[watch.at :], len(log)
        if not events:
            return []
        if self._way.weather.stormy(self._way.timeline.now):
            match self._way.weather.random.randrange(8):
                case 0:
                    end = self._way.weather.random.randint(watch.at, end)
                    events = log[watch.at : end]
                case 1:
                    events = [event for event in events for _ in range(2)]
                case 2:
                    events = _of_others_first(events)
                case _:
                    pass
        watch.at = end
        return events

    def _hear_releases(self) -> None:
        weather, now = self._way.weather, self._way.timeline.now
        if weather.has(Spell.API_DOWN, now) or weather.has(Spell.WATCH_LATE, now, names.KIND):
            return
        for change, obj in self._next_events(names.KIND):
            if change == "DELETED":
                self.release_gone((SPACE, obj["metadata"]["name"]), obj["metadata"]["uid"])
                self._fingerprint = None
                self._wake((SPACE, obj["metadata"]["name"]))
            else:
                self.release_told(obj)
                self._tell_release(obj)

    def _tell_release(self, obj: Object) -> None:
        """Wake for a release as kopf's handler does: for what people change."""
        meta = obj["metadata"]
        notes = tuple(sorted((meta.get("annotations") or {}).items()))
        seen = (meta["uid"], meta["generation"], notes, meta.get("deletionTimestamp"))
        if seen != self._fingerprint:
            self._fingerprint = seen
            self._wake((SPACE, meta["name"]))


def _of_others_first(events: list[tuple[str, Object]]) -> list[tuple[str, Object]]:
    """Return events in another order, but those of each object in theirs."""
    return sorted(events, key=lambda event: event[1]["metadata"]["name"], reverse=True)
