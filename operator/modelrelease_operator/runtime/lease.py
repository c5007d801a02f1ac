"""One operator acts: the one that holds the Lease of what it watches. Others wait, caches full.

Two that act would answer each other's writes for ever. So every replica, and every other install
that watches the same namespaces, contends for one Lease (coordination.k8s.io) in a place that all
of them know. The holder renews it every few seconds. Whoever waits takes it when it was given back,
or when it was not renewed for as long as it says, by the waiting one's own clock. Every change is
made to the version that was read, so of two that try one fails.

A holder that could not renew in time stops before anybody else may begin: before every write is
asked how long it may take, none goes on for longer than the Lease is good, and the process ends,
because nothing that it remembers is worth more than being sure. That holds for one that was frozen,
too: the clock goes on while a process is stopped or its machine sleeps. It does not go on in a
virtual machine that its host has paused: the next pass of the other operator mends what such a one
wrote in its first moment.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from modelrelease_operator.api import names
from modelrelease_operator.errors import Conflict, Gone, ReleaseError
from modelrelease_operator.runtime.kube import Kube, Object
from modelrelease_operator.runtime.metrics import LEADER

log = logging.getLogger("modelrelease.operator")

DURATION_SECONDS = 10
"""After which without a renewal another may take it."""
RENEW_SECONDS = 3.0
TRUSTED_SECONDS = 7.0
"""How long the holder believes itself after a renewal was asked for: less than others wait."""
RETRY_SECONDS = 1.5
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""It goes on while the machine sleeps. Not every desk's system has it; clusters' nodes have."""


class Lease:
    """What one process holds or waits for."""

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        identity: str,
        *,
        name: str = names.FIELD_MANAGER,
        shared: bool = False,
        without: Sequence[str] = (),
    ) -> None:
        """`shared`: others hold it by the same identity, so nobody gives it back for them all.

        `without`: what its holder may not do, for whoever reads the Lease.
        """
        self._kube, self._namespace, self._identity = kube, namespace, identity
        self._name, self._shared = name, shared
        self._without = "\n".join(without)
        self._renewed: float | None = None
        self._seen: tuple[str, float] | None = None
        """The version that was seen last, and since when by our clock."""
        self._said = ""

    @property
    def where(self) -> str:
        """Return how people find it."""
        return f"Lease {self._namespace}/{self._name}"

    def is_held(self) -> bool:
        """Return whether this process may write now."""
        return self.write_seconds() > 0

    def write_seconds(self) -> float:
        """Return within how many seconds a write must be over, 0 where none may be made."""
        if self._renewed is None:
            return 0.0
        age = _now() - self._renewed
        return DURATION_SECONDS - age if age < TRUSTED_SECONDS else 0.0

    async def acquire(self) -> None:
        """Wait until the Lease is ours."""
        LEADER.set(0)
        while not await self._try():  # noqa: ASYNC110 - the API server tells nobody of an expiry
            await asyncio.sleep(RETRY_SECONDS)
        LEADER.set(1)
        log.info("%s is held by this operator, %s", self.where, self._identity)

    async def keep(self, lost: Callable[[], None]) -> None:
        """Renew it until that fails for too long or somebody else has it; then call `lost`."""
        while self.is_held():
            await asyncio.sleep(RENEW_SECONDS)
            if self.is_held() and not await self._try():
                log.warning("%s could not be renewed, and will be tried again", self.where)
        LEADER.set(0)
        log.error("%s is lost: this operator ends", self.where)
        lost()

    async def give_back(self) -> None:
        """Let another take it at once."""
        if self._renewed is None:
            return
        self._renewed = None
        if self._shared:
            return
        try:
            lease = await self._kube.get("Lease", self._namespace, self._name)
            if lease["spec"].get("holderIdentity") == self._identity:
                await self._kube.replace({**lease, "spec": {**lease["spec"], "holderIdentity": ""}})
        except ReleaseError as problem:
            log.warning("%s could not be given back: %s", self.where, problem)

    async def _try(self) -> bool:
        """Take or renew it if that may be done; return whether it is ours."""
        tried_at = _now()
        try:
            async with asyncio.timeout(RENEW_SECONDS):
                ours = await self._taken()
        except (ReleaseError, TimeoutError) as problem:
            self._say(f"{self.where} cannot be had: {problem or 'no answer in time'}")
            return False
        if ours:
            self._renewed = tried_at
        return ours

    async def _taken(self) -> bool:
        try:
            lease = await self._kube.get("Lease", self._namespace, self._name)
        except Gone:
            return await self._written(self._kube.create, {}, {})
        holder = lease["spec"].get("holderIdentity") or ""
        if holder not in ("", self._identity) and not self._has_expired(lease):
            self._say(f"this operator waits: {self.where} is held by {holder}")
            return False
        return await self._written(self._kube.replace, lease, lease["spec"])

    async def _written(
        self, write: Callable[[Object], Awaitable[Object]], lease: Object, spec: Object
    ) -> bool:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        same = spec.get("holderIdentity") == self._identity
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": self._described(lease.get("metadata") or {}),
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": DURATION_SECONDS,
                "acquireTime": spec.get("acquireTime", now) if same else now,
                "renewTime": now,
                "leaseTransitions": spec.get("leaseTransitions", 0) + (0 if same else 1),
            },
        }
        try:
            await write(body)
        except Conflict:
            return self._shared and await self._is_named()  # Another was quicker.
        return True

    async def _is_named(self) -> bool:
        """Return whether the Lease names this identity: whoever was quicker may have it, too, and
        then renewed it for all of them, later than when it was read here.
        """
        lease = await self._kube.get("Lease", self._namespace, self._name)
        return bool(lease["spec"].get("holderIdentity") == self._identity)

    def _described(self, metadata: Object) -> Object:
        """Return a Lease's metadata with what this holder may not do, and not its predecessor."""
        told = dict(metadata.get("annotations") or {})
        told.pop(names.ANNOTATION_WITHOUT, None)
        if self._without:
            told[names.ANNOTATION_WITHOUT] = self._without
        described = {"name": self._name, "namespace": self._namespace, **metadata}
        described["annotations"] = told
        return described

    def _has_expired(self, lease: Object) -> bool:
        """Return whether the Lease has not changed for as long as it is good, by our own clock."""
        version, now = lease["metadata"]["resourceVersion"], _now()
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, now)
        duration = lease["spec"].get("leaseDurationSeconds") or DURATION_SECONDS
        return now - self._seen[1] > float(duration)

    def _say(self, text: str) -> None:
        """Log what is waited for, once."""
        if text != self._said:
            log.warning(text)
            self._said = text


def _now() -> float:
    return time.clock_gettime(_CLOCK)
