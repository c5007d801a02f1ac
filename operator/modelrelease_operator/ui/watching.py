"""Every release of a cluster as it is now, kept by watching, and who wants to hear of changes."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from modelrelease_operator.api import names
from modelrelease_operator.api.status import Status
from modelrelease_operator.core.explain import spec_of
from modelrelease_operator.errors import Invalid, ReleaseError
from modelrelease_operator.ui.moments import Moment, Past, Pasts

log = logging.getLogger("modelrelease.ui")

Object = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name."""
UNREADABLE: Final = "what the API server tells of releases cannot be read"
PAUSES: Final = (1.0, 2.0, 5.0, 15.0, 30.0)
"""Seconds until a broken watch is tried again; the last one from then on."""


class Lists(Protocol):
    """Lists and watches objects, as `runtime.kube.Kube` does."""

    async def list_all(
        self, kind: str, namespace: str | None, selector: str
    ) -> tuple[list[Object], str]:
        """Return objects and the list's version."""

    def watch(
        self, kind: str, namespace: str | None, selector: str, since: str
    ) -> AsyncIterator[tuple[str, Object]]:
        """Yield what happens."""


@dataclass(slots=True, eq=False)
class Listener:
    """Somebody who looks: which releases have changed since it was last told.

    Names alone, so that one who reads slowly makes nothing grow.
    """

    changed: set[Key] = field(default_factory=set)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, keys: set[Key]) -> None:
        """Say that releases have changed, or with none of them that something else has."""
        self.changed |= keys
        self.news.set()

    async def wait(self, seconds: float) -> set[Key]:
        """Return what has changed, after so many seconds at the latest."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.news.wait()
        self.news.clear()
        changed, self.changed = self.changed, set()
        return changed


@dataclass(slots=True)
class Releases:
    """What is known of all releases, and their past as far as it was seen."""

    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    by_key: dict[Key, Object] = field(default_factory=dict)
    pasts: Pasts = field(default_factory=Pasts)
    troubles: dict[str | None, str] = field(default_factory=dict)
    """By namespace (None: all): why it cannot be watched now."""
    unseen: set[str | None] = field(default_factory=set)
    """Namespaces that were never listed yet."""
    _listeners: set[Listener] = field(default_factory=set)

    @property
    def trouble(self) -> str | None:
        """Why what is shown may be old, if it may."""
        return next(iter(self.troubles.values()), None)

    def past(self, key: Key) -> Past:
        """Return what was seen of a release."""
        return self.pasts.of(_uid(self.by_key[key]))

    def put(self, release: Object) -> None:
        """Take up a release as it is now."""
        key = _key(release)
        before = self.by_key.get(key)
        if before and _uid(before) != _uid(release):
            self.pasts.forget(_uid(before))
        self.by_key[key] = release
        # A status that cannot be read is told where it is shown, and has no figures.
        with suppress(Invalid):
            status = Status.parse(release.get("status"))
            spec, _ = spec_of(release)
            self.pasts.add(_uid(release), Moment.of(spec, status, self.clock()))
        self._tell({key})

    def drop(self, key: Key) -> None:
        """Forget a release that is gone."""
        release = self.by_key.pop(key, None)
        if release:
            self.pasts.forget(_uid(release))
            self._tell({key})

    def replace(self, namespace: str | None, releases: Sequence[Object]) -> None:
        """Take up a whole list of a namespace, or of all."""
        listed = {_key(release) for release in releases}
        for key in [key for key in self.by_key if namespace in (None, key[0])]:
            if key not in listed:
                self.drop(key)
        for release in releases:
            before = self.by_key.get(_key(release))
            if before is None or _version(before) != _version(release):
                self.put(release)
        self.troubles.pop(namespace, None)
        self.unseen.discard(namespace)
        self._tell(set())

    def fail(self, namespace: str | None, why: str) -> None:
        """Say that a namespace cannot be watched now."""
        self.troubles[namespace] = why
        self._tell(set())

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        """Hear of what changes."""
        listener = Listener()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def _tell(self, keys: set[Key]) -> None:
        for listener in self._listeners:
            listener.tell(keys)


@asynccontextmanager
async def watched(
    kube: Lists, releases: Releases, namespaces: Sequence[str | None]
) -> AsyncIterator[None]:
    """Keep releases up to date, those of some namespaces or, with None, of all."""
    releases.unseen.update(namespaces)
    tasks = [asyncio.create_task(_watch(kube, releases, namespace)) for namespace in namespaces]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _watch(kube: Lists, releases: Releases, namespace: str | None) -> None:
    failures = 0
    while True:
        try:
            items, version = await kube.list_all(names.KIND, namespace, "")
            releases.replace(namespace, [_whole(item) for item in items])
            failures = 0
            await _follow(kube, releases, namespace, version)
        except Exception as problem:
            # Whatever it was: a page that goes on showing what was must not look like what is.
            ours = isinstance(problem, ReleaseError)
            if not ours:
                log.exception("releases are listed again: %s", problem)
            releases.fail(namespace, str(problem) if ours else f"{UNREADABLE}: {problem!r}")
            await asyncio.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
            failures += 1


async def _follow(kube: Lists, releases: Releases, namespace: str | None, version: str) -> None:
    """Take up what happens, until the watch breaks or cannot go on from where it ended."""
    while True:
        ended_at = version
        async for happened, release in kube.watch(names.KIND, namespace, "", version):
            version = _version(release) or version
            if happened == "DELETED":
                releases.drop(_key(release))
            elif happened != "BOOKMARK":
                releases.put(_whole(release))
        if version == ended_at:
            # It ended without a word: the list tells what was missed. Not at once again.
            await asyncio.sleep(PAUSES[0])
            return


def _whole(release: Mapping[str, Any]) -> Object:
    """Return a release with the kind that items of a list lack, without what nobody looks at."""
    meta = {key: value for key, value in release["metadata"].items() if key != "managedFields"}
    return {**release, "kind": names.KIND, "metadata": meta}


def _key(release: Mapping[str, Any]) -> Key:
    meta = release["metadata"]
    return meta["namespace"], meta["name"]


def _uid(release: Mapping[str, Any]) -> str:
    return str(release["metadata"].get("uid") or "/".join(_key(release)))


def _version(release: Mapping[str, Any]) -> str:
    return str(release["metadata"].get("resourceVersion") or "")
