"""What the API server holds of our releases, as watches tell it: passes ask for nothing.

A list fills a store, a watch keeps it, and whatever breaks a watch (a silence, an error, a version
that is too old) makes it begin again with a list, which also finds what was deleted meanwhile.
While nothing is heard, a store is not believed: reading it raises Unavailable, as a question to the
API server would.

The answers to our own writes are put in at once, and older news does not undo them. So a pass never
acts twice on what it has just changed, however late the watch is.

Releases themselves are told by kopf, and listed by the slow resync of the workers.
"""

import asyncio
import hashlib
import json
import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from pydantic_core import to_json
from typing_extensions import override

from modelrelease_operator.api import names
from modelrelease_operator.core.memo import Memo
from modelrelease_operator.errors import Conflict, Gone, Invalid, ReleaseError, Unavailable
from modelrelease_operator.manifests.autoscaler import HPA
from modelrelease_operator.manifests.disruption import PDB
from modelrelease_operator.runtime.kube import Kube, Object, Objects
from modelrelease_operator.runtime.namespaced_name import NamespacedName
from modelrelease_operator.runtime.observe import what_passes_read, what_signs
from modelrelease_operator.runtime.routing_conflicts import RoutingConflicts
from modelrelease_operator.runtime.shard import Shard
from modelrelease_operator.traffic.claims import Conflict as RoutingConflict
from modelrelease_operator.traffic.inference_pools import INFERENCE_POOL
from modelrelease_operator.traffic.provider import Edit

log = logging.getLogger("modelrelease.operator")

WATCHED = ("Deployment", "Service", "Pod", "Job")
"""Kinds that releases own, watched by the label that everything of a release carries."""
OPTIONAL = ("HTTPRoute", INFERENCE_POOL, PDB, HPA)
"""Kinds that not every cluster serves or lets us see: watched from when it does."""
REMEDIES = {
    "HTTPRoute": "install the Gateway API, or take spec.canary.routing out",
    INFERENCE_POOL: "install the inference extension, or take existingRoute.pools out",
    HPA: "take spec.serving.autoscaling out",
    PDB: "set spec.serving.disruptionBudget.enabled to false",
}
"""By optional kind: what to do where the cluster does not serve it."""
OF_OTHERS = frozenset({"HTTPRoute", INFERENCE_POOL})
"""Kinds of which objects without our label are watched, too: a release may name one."""
OPTIONAL_PAUSE_SECONDS = 60.0
"""Between two questions whether it does by now."""
BELIEVED_SECONDS = 120.0
"""How long a store is believed after the API server's last word: longer than a bookmark takes."""
LONGEST_PAUSE_SECONDS = 30.0
KEPT_OF_A_POD = ("nodeName",)
KEPT_OF_A_CONTAINER = ("name", "restartPolicy")
HASHES_KEPT = 4096
"""Each with the object that it is of, and only while its release moves."""

Wake = Callable[[NamespacedName], None]


@dataclass(slots=True)
class _Entry:
    obj: Object
    release: NamespacedName | None
    """None: of somebody else."""
    digest: str
    read: tuple[Any, ...]
    """What of it a release has to be looked at for."""


@dataclass(slots=True)
class Store:
    """The objects of one kind."""

    kind: str
    scopes: frozenset[str | None]
    """Namespaces that are watched; None for all of them."""
    _entries: dict[NamespacedName, _Entry] = field(default_factory=dict)
    _of_release: dict[NamespacedName, set[NamespacedName]] = field(
        default_factory=lambda: defaultdict(set)
    )
    _deleted: dict[str, float] = field(default_factory=dict)
    """By uid: what we deleted, until the watch has surely heard of it."""
    heard: dict[str | None, float] = field(default_factory=dict)
    """By scope: when the API server last said something about it."""

    def believed(self, namespace: str) -> None:
        """Raise Unavailable unless this is what the API server has, as far as can be known."""
        scope = namespace if namespace in self.scopes else None
        since = time.monotonic() - self.heard.get(scope, float("-inf"))
        if since > BELIEVED_SECONDS:
            silent = f"for {since:.0f} s" if scope in self.heard else "yet"
            msg = (
                f"nothing was heard of {self.kind}s in {namespace} {silent}: the watch cannot be "
                "opened"
            )
            raise Unavailable(msg)

    def get(self, key: NamespacedName) -> Object | None:
        """Return an object that belongs to some release of ours, or None."""
        entry = self._entries.get(key)
        return entry.obj if entry else None

    def digest(self, key: NamespacedName) -> str | None:
        """Return what tells whether anybody changed what is asked of an object."""
        entry = self._entries.get(key)
        return entry.digest if entry else None

    def of_release(self, release: NamespacedName) -> list[Object]:
        """Return the objects that carry a release's label."""
        return [self._entries[key].obj for key in sorted(self._of_release.get(release, ()))]

    def put(self, obj: Object) -> bool:
        """Take in what an object is now; return whether that was news."""
        meta = obj["metadata"]
        key, release = (meta["namespace"], meta["name"]), release_of(obj)
        before = self._entries.get(key)
        if release is None and self.kind not in OF_OTHERS:
            return self.drop(obj)
        if meta["uid"] in self._deleted:
            return False
        if before and not _is_news(meta, before.obj["metadata"]):
            return False
        if before and before.release != release:
            self._unlink(key, before)
        slim = _slim(obj)
        digest = _digest(slim)
        read = (digest, *_read_of(slim))
        self._entries[key] = _Entry(obj=slim, release=release, digest=digest, read=read)
        if release is not None:
            self._of_release[release].add(key)
        return before is None or before.read != read

    def drop(self, obj: Object) -> bool:
        """Forget an object that is gone; return whether that was news."""
        meta = obj["metadata"]
        key = (meta["namespace"], meta["name"])
        self._deleted.pop(meta["uid"], None)
        before = self._entries.get(key)
        if before is None or before.obj["metadata"]["uid"] != meta["uid"]:
            return False
        self.forget(key)
        return True

    def deleted(self, key: NamespacedName, uid: str) -> None:
        """Forget an object that we deleted, before the watch tells it."""
        entry = self._entries.get(key)
        if entry and entry.obj["metadata"]["uid"] == uid:
            self.forget(key)
        now = time.monotonic()
        self._deleted = {
            name: at for name, at in self._deleted.items() if now - at < BELIEVED_SECONDS
        }
        self._deleted[uid] = now

    def forget(self, key: NamespacedName) -> None:
        """Forget an object that is not what it was."""
        if entry := self._entries.pop(key, None):
            self._unlink(key, entry)

    def replace(self, scope: str | None, objects: Iterable[Object]) -> Objects:
        """Take in a list; return the objects that it told something new of."""
        listed = {(obj["metadata"]["namespace"], obj["metadata"]["name"]): obj for obj in objects}
        news = []
        for key, entry in list(self._entries.items()):
            if key not in listed and scope in (None, key[0]):
                self.drop(entry.obj)
                news.append(entry.obj)
        return news + [obj for obj in listed.values() if self.put(obj)]

    def _unlink(self, key: NamespacedName, entry: _Entry) -> None:
        if entry.release is None:
            return
        mine = self._of_release[entry.release]
        mine.discard(key)
        if not mine:
            del self._of_release[entry.release]

    def __len__(self) -> int:
        return len(self._entries)


class Cached(Kube):
    """The API server as passes see it: reads from what watches told, writes that are seen at once.

    What is the same as it was when it was last applied is not applied again.
    """

    def __init__(
        self,
        kube: Kube,
        namespaces: Iterable[str] = (),
        wake: Wake = lambda _: None,
        *,
        shard: Shard | None = None,
    ) -> None:
        """`wake` is called with the release about which there is news.

        Of namespaces that are another shard's nothing is kept but which requests releases claim.
        """
        super().__init__(kube.api)
        self._wake = wake
        self.shard = shard or Shard()
        self.scopes = frozenset[str | None](namespaces) or frozenset({None})
        self.stores = {kind: Store(kind, self.scopes) for kind in WATCHED}
        self.absent = set(OPTIONAL)
        """Kinds that the cluster does not serve, as far as is known."""
        self._unfollowed: dict[str, ReleaseError] = {
            kind: Unavailable(f"{kind}s are not listed yet") for kind in OPTIONAL
        }
        """By kind that it may serve: why that cannot be known."""
        self._releases: dict[NamespacedName, Object] = {}
        self._routing = RoutingConflicts(wake)
        self._applied: dict[tuple[str, NamespacedName], tuple[str, str]] = {}
        self._hashes: Memo[str] = Memo(HASHES_KEPT)
        """Of what is asked for: the same from pass to pass."""
        self._standing: Memo[tuple[Object, Object]] = Memo(HASHES_KEPT)
        """What was asked for and what was there then, where nothing was to be done."""
        self._tasks: list[asyncio.Task[None]] = []
        self._filled = asyncio.Event()
        self._asked_for = {kind: asyncio.Event() for kind in OPTIONAL}
        """Set for a kind once the cluster answered whether it serves it, or that it will not."""

    def start(self) -> None:
        """Begin to watch."""
        self._tasks = [
            asyncio.create_task(
                self._follow(kind, scope), name=f"watch of {kind} in {scope or 'all'}"
            )
            for kind, scope in product(WATCHED, self.scopes)
        ]
        self._tasks += [
            asyncio.create_task(self._follow_once_served(kind), name=kind) for kind in OPTIONAL
        ]

    async def stop(self) -> None:
        """End the watches."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def filled(self, patience: float) -> None:
        """Wait, not for ever, until everything was listed once: passes say what is missing."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._filled.wait()
                for asked_for in self._asked_for.values():
                    await asked_for.wait()

    def silence(self) -> float:
        """Return the seconds since the quietest watch last spoke; infinite before it ever did."""
        now = time.monotonic()
        watches = product(self.stores.values(), self.scopes)
        heard = (store.heard.get(scope, float("-inf")) for store, scope in watches)
        return now - min(heard, default=now)

    def release_told(self, obj: Object) -> None:
        """Take in a release as kopf tells it."""
        meta = obj["metadata"]
        key, before = (
            (meta["namespace"], meta["name"]),
            self._releases.get((meta["namespace"], meta["name"])),
        )
        if before is not None and not _is_news(meta, before["metadata"]):
            return
        if self._is_ours(obj):
            signed = {**meta, "managedFields": what_signs(meta)}
            self._releases[key] = {**obj, "metadata": signed}
        if before is None or not _asks_the_same(obj, before):
            self._routing.take(obj)

    def release_gone(self, key: NamespacedName, uid: str | None) -> None:
        """Forget a release that was deleted."""
        known = self._releases.get(key)
        others = known is None and not self.shard.holds(key[0])
        if others or (known is not None and uid in (None, known["metadata"]["uid"])):
            self._forget_release(key)

    def _is_ours(self, obj: Object) -> bool:
        return self.shard.holds(obj["metadata"]["namespace"])

    async def releases(self) -> Objects:
        """List every release, and forget those that are gone: what no watch told is found here.

        Those of other shards are not returned.
        """
        releases: Objects = []
        for scope in self.scopes:
            items, _ = await self.list_all(names.KIND, scope, "")
            releases += items
        there = {(item["metadata"]["namespace"], item["metadata"]["name"]) for item in releases}
        for key in (set(self._releases) | self._routing.known()) - there:
            self._forget_release(key)
        for item in releases:
            self.release_told(item)
        self._routing.listed()
        return [item for item in releases if self._is_ours(item)]

    def _forget_release(self, key: NamespacedName) -> None:
        self._releases.pop(key, None)
        self._routing.drop(key)

    @override
    async def routing_conflict(self, key: NamespacedName) -> RoutingConflict | None:
        """Return why a release may not have its requests: an older one has them."""
        if not self._routing.complete:
            await self.releases()
        return self._routing.of(key)

    @override
    async def get(self, kind: str, namespace: str, name: str) -> Object:
        """Return an object; raise Gone when there is none. Only others' objects cost a request."""
        key = (namespace, name)
        if kind in self.stores:
            self.stores[kind].believed(namespace)
            known = self.stores[kind].get(key)
        else:
            known = self._releases.get(key) if kind == names.KIND else None
        if known is not None:
            return known
        self._require_followed(kind)
        try:
            obj = await super().get(kind, namespace, name)
        except Gone:
            if kind == names.KIND:
                self._forget_release(key)
            raise
        if kind == names.KIND:
            self.release_told(obj)
        return obj

    @override
    async def known(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return a release's object, or None where the watch tells of none: costs no request."""
        if kind in self.absent:
            return None
        found = self._told(kind, namespace, name)
        return found if found and release_of(found) else None

    def _require_followed(self, kind: str) -> None:
        """Raise what was refused where a kind may be served and cannot be listed."""
        if problem := self._unfollowed.get(kind):
            raise type(problem)(str(problem))

    def _told(self, kind: str, namespace: str, name: str) -> Object | None:
        self.stores[kind].believed(namespace)
        return self.stores[kind].get((namespace, name))

    @override
    async def borrowed(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return an object of somebody else as watches tell it, or None when there is none.

        Raises Gone where the cluster does not serve the kind, and what was refused where the
        operator may not list it.
        """
        self._require_followed(kind)
        if kind in self.absent:
            where = f"{kind} {namespace}/{name}"
            asked = f"asked once in {OPTIONAL_PAUSE_SECONDS:.0f} s"
            msg = f"{where}: this cluster does not serve its kind ({asked}); {REMEDIES[kind]}"
            raise Gone(msg)
        return self._told(kind, namespace, name)

    @override
    async def edit(self, live: Object, edits: Sequence[Edit]) -> Object:
        """Change single fields of an object; one that is not as expected is read again."""
        kind, meta = live["kind"], live["metadata"]
        try:
            edited = await super().edit(live, edits)
        except (Gone, Conflict, Invalid):
            await self._look_again(self.stores[kind], (meta["namespace"], meta["name"]))
            raise
        self.stores[kind].put({"kind": kind, **edited})
        return edited

    async def read_again(self, namespace: str, name: str) -> None:
        """Read a release anew, because a write said that what is here is old."""
        self._releases.pop((namespace, name), None)
        await self.get(names.KIND, namespace, name)

    @override
    async def list(self, kind: str, namespace: str, labels: Mapping[str, str]) -> Objects:
        """Return the objects that carry all the labels."""
        release = labels.get(names.LABEL_RELEASE)
        if kind in self.absent and release is not None:
            return []
        if kind not in self.stores or release is None:
            return await super().list(kind, namespace, labels)
        self.stores[kind].believed(namespace)
        objects = self.stores[kind].of_release((namespace, release))
        return [obj for obj in objects if labels.items() <= obj["metadata"]["labels"].items()]

    @override
    async def apply(self, obj: Object, *, dry_run: bool = False) -> Object:
        """Apply an object, unless it and what is asked of it are as when that was last done."""
        kind, meta = obj["kind"], obj["metadata"]
        key, store = (meta["namespace"], meta["name"]), self.stores.get(kind)
        if kind in self.absent:
            return await self._apply_unserved(obj)
        if store is None or dry_run:
            return await super().apply(obj, dry_run=dry_run)
        # Without the uid: what was made just now is applied with it from the next look on.
        without_uid = {name: part for name, part in meta.items() if name != "uid"}
        asked = {**obj, "metadata": without_uid}
        wanted = self._hashes.of((kind, key), asked, lambda: _hash(_in_order(asked)))
        live = store.get(key)
        if live is not None and self._applied.get((kind, key)) == (wanted, store.digest(key)):
            return live
        try:
            applied = await super().apply(obj)
        except (Gone, Conflict):
            # It was deleted, or is another: what is here is old.
            self._applied.pop((kind, key), None)
            await self._look_again(store, key)
            raise
        store.put(applied)
        if (digest := store.digest(key)) is not None:
            self._applied[kind, key] = (wanted, digest)
        return applied

    @override
    def stands(self, obj: Object) -> bool:
        """Return whether this very object was found to be applied, and nothing has changed since.

        Raises Unavailable where that is not known.
        """
        kind, key, store = _key_of(obj, self.stores)
        if store is None:
            return False
        store.believed(key[0])
        return self._standing.knows((kind, key), (id(obj), id(store.get(key))))

    @override
    def found_standing(self, obj: Object) -> None:
        """Take in that an object was applied, and that this changed nothing."""
        kind, key, store = _key_of(obj, self.stores)
        live = store.get(key) if store else None
        if live is not None:
            # Both are kept, so that nothing else is ever told by their ids.
            self._standing.keep((kind, key), (id(obj), id(live)), (obj, live))

    async def _apply_unserved(self, obj: Object) -> Object:
        """Apply an object of a kind that was not served when it was last asked for.

        Not one that could never be read back: nothing would be seen of what became of it.
        """
        kind, meta = obj["kind"], obj["metadata"]
        self._require_followed(kind)
        try:
            return await super().apply(obj)
        except Gone as problem:
            msg = (
                f"{kind} {meta['namespace']}/{meta['name']} cannot be made: this cluster does not "
                f"serve {obj['apiVersion']}; {REMEDIES[kind]}"
            )
            raise Invalid(msg) from problem

    async def _look_again(self, store: Store, key: NamespacedName) -> None:
        """Read an object of which a write said that it is not what it was."""
        try:
            store.put({**await super().get(store.kind, *key), "kind": store.kind})
        except Gone:
            store.forget(key)

    @override
    async def adopt(self, obj: Object, owner: Object) -> Object:
        """Make one owner the only one of an object."""
        adopted = await super().adopt(obj, owner)
        if store := self.stores.get(obj["kind"]):
            store.put(adopted)
        return adopted

    @override
    async def apply_status(self, release: Object, status: Object) -> Object:
        """Replace the status of a release as it was read."""
        written = await super().apply_status(release, status)
        self.release_told(written)
        return written

    @override
    async def delete(self, kind: str, namespace: str, name: str, *, uid: str) -> None:
        """Delete an object, if it is still the one with this uid."""
        await super().delete(kind, namespace, name, uid=uid)
        self._applied.pop((kind, (namespace, name)), None)
        self._forget_made((kind, (namespace, name)))
        if store := self.stores.get(kind):
            store.deleted((namespace, name), uid)

    def forget(self, key: NamespacedName) -> None:
        """Forget what was applied of a release that is gone."""
        gone = [
            (kind, known)
            for kind, known in self._applied
            # A kind that is not served any more has no store.
            if known[0] == key[0] and (kind not in self.stores or not self.stores[kind].get(known))
        ]
        for applied in gone:
            del self._applied[applied]

    def let_go(self, key: NamespacedName) -> None:
        """Keep nothing for the next look at a release that is not soon."""
        for kind, store in self.stores.items():
            for obj in store.of_release(key):
                meta = obj["metadata"]
                self._forget_made((kind, (meta["namespace"], meta["name"])))

    def _forget_made(self, which: tuple[str, NamespacedName]) -> None:
        self._hashes.forget(which)
        self._standing.forget(which)

    async def _follow(self, kind: str, scope: str | None) -> None:
        """Keep one store true for ever, or until the cluster does not serve an optional kind."""
        failures = 0
        while kind not in self.absent:
            began = time.monotonic()
            try:
                await self._list_and_watch(kind, scope)
            except Exception as problem:
                if isinstance(problem, Gone) and kind in OPTIONAL:
                    self.absent.add(kind)
                    return
                # One that held for a while had worked: what ended it is no reason to wait long.
                failures = 1 if time.monotonic() - began > LONGEST_PAUSE_SECONDS else failures + 1
                ours = isinstance(problem, ReleaseError)
                log.warning(
                    "what is watched will be listed again: %s",
                    problem,
                    exc_info=None if ours else problem,
                )
            pause = min(LONGEST_PAUSE_SECONDS, 0.25 * 2.0 ** min(failures, 10))
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))

    async def _follow_once_served(self, kind: str) -> None:
        """Wait until the cluster serves a kind, then keep its store true for as long as it does."""
        while True:
            opened = await self._opened(kind)
            if opened is not None:
                self.stores[kind] = opened
                self.absent.discard(kind)
            self._asked_for[kind].set()
            if opened is None:
                await asyncio.sleep(OPTIONAL_PAUSE_SECONDS)
                continue
            await asyncio.gather(*(self._follow(kind, scope) for scope in self.scopes))
            del self.stores[kind]
            self._applied = {
                applied: what for applied, what in self._applied.items() if applied[0] != kind
            }

    async def _opened(self, kind: str) -> Store | None:
        """Return a store with all that there is of a kind, None where the cluster serves none."""
        store = Store(kind, self.scopes)
        try:
            for scope in self.scopes:
                items, _ = await self.list_all(kind, scope, _selector(kind))
                ours = [{"kind": kind, **item} for item in items if self._is_ours(item)]
                store.replace(scope, ours)
                store.heard[scope] = time.monotonic()
        except Gone:
            self._unfollowed.pop(kind, None)
            return None
        except ReleaseError as problem:
            self._unfollowed[kind] = problem
            log.warning("%ss are not followed, and asked for again in a minute: %s", kind, problem)
            return None
        self._unfollowed.pop(kind, None)
        return store

    async def _list_and_watch(self, kind: str, scope: str | None) -> None:
        """Fill a store and keep it, until something breaks that."""
        store = self.stores[kind]
        items, version = await self.list_all(kind, scope, _selector(kind))
        items = [item for item in items if self._is_ours(item)]
        for item in items:
            item.setdefault("kind", kind)
        news = store.replace(scope, items)
        store.heard[scope] = time.monotonic()
        if self.silence() < float("inf"):
            self._filled.set()
        for changed in news:
            self._wake_readers(kind, changed)
        while True:
            seen = version
            async for change, obj in self.watch(kind, scope, _selector(kind), version):
                version = obj["metadata"]["resourceVersion"]
                store.heard[scope] = time.monotonic()
                if change == "BOOKMARK" or not self._is_ours(obj):
                    continue
                if store.drop(obj) if change == "DELETED" else store.put(obj):
                    self._wake_readers(kind, obj)
            if version == seen:
                msg = f"the watch of {kind}s ended without a word"
                raise Unavailable(msg)

    def _wake_readers(self, kind: str, obj: Object) -> None:
        """Have those releases looked at that own an object, or name it."""
        release, meta = release_of(obj), obj["metadata"]
        owners = {release} if release else set[NamespacedName]()
        named = self._routing.naming((meta["namespace"], meta["name"]))
        for key in owners | (named if kind in OF_OTHERS else set()):
            self._wake(key)


def _selector(kind: str) -> str:
    return "" if kind in OF_OTHERS else names.LABEL_RELEASE


def release_of(obj: Object) -> NamespacedName | None:
    """Return the release that an object says it belongs to."""
    name = (obj["metadata"].get("labels") or {}).get(names.LABEL_RELEASE)
    return (obj["metadata"]["namespace"], name) if name else None


def _asks_the_same(release: Object, before: Object) -> bool:
    """Return whether a release asks for what it did: most news are of its status."""
    meta, old = release["metadata"], before["metadata"]
    of_meta = all(meta.get(key) == old.get(key) for key in ("uid", "deletionTimestamp"))
    return of_meta and release.get("spec") == before.get("spec")


def _key_of(obj: Object, stores: Mapping[str, Store]) -> tuple[str, NamespacedName, Store | None]:
    """Return an object's kind, its namespace with its name, and where its like are kept."""
    kind, meta = obj["kind"], obj["metadata"]
    return kind, (meta["namespace"], meta["name"]), stores.get(kind)


def _is_news(meta: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Return whether one state may say what another does not: it is none of the same object that is
    older, by versions, which are numbers that grow, nor the very same.

    A watch tells each of our own writes once more; what was read of the answer is kept then.
    """
    new, old = str(meta.get("resourceVersion", "")), str(before.get("resourceVersion", ""))
    if not (new.isdigit() and old.isdigit()):
        return True
    return int(new) > int(old) or (new == old and meta.get("uid") != before.get("uid"))


def _slim(obj: Object) -> Object:
    """Return what somebody reads of an object: a thousand pods' specs would be most of memory."""
    meta = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    if obj.get("kind") != "Pod":
        return {**obj, "metadata": meta}
    spec = {
        kind: [_slim_container(each) for each in obj.get("spec", {}).get(kind) or ()]
        for kind in ("containers", "initContainers")
    }
    return {**obj, "metadata": meta, "spec": spec}


def _slim_container(container: Object) -> Object:
    """Return what explains how a container ended: whether it lasts, and its limit of memory."""
    slim = {key: container[key] for key in KEPT_OF_A_CONTAINER if key in container}
    limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    return {**slim, "resources": {"limits": {"memory": limit}}} if limit else slim


def _read_of(obj: Object) -> tuple[Any, ...]:
    """Return what a release has to be looked at for; what cannot be read is its own trouble."""
    try:
        return what_passes_read(obj)
    except (LookupError, TypeError, AttributeError, ValueError):
        return (obj["metadata"].get("labels"), obj.get("status"))


def _digest(obj: Object) -> str:
    """Return what changes when anybody changes what is asked of an object: not its status."""
    if obj.get("kind") == "Pod":
        return ""
    meta = obj["metadata"]
    known = {key: meta.get(key) for key in ("uid", "labels", "ownerReferences")}
    notes = meta.get("annotations") or {}
    known["annotations"] = {key: text for key, text in notes.items() if key.startswith(names.GROUP)}
    # The API server writes an object's fields in one order, whoever changed it.
    return _hash(to_json({"metadata": known, "spec": obj.get("spec")}))


def _in_order(value: Any) -> bytes:
    """Return what is asked for as text: the same whatever the order of its keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _hash(text: bytes) -> str:
    return hashlib.blake2b(text, digest_size=16).hexdigest()
