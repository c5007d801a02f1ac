"""What one process remembers of a release between passes; all can be lost without harm."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Phase, Status
from modelrelease_operator.core.desired import POLL_PODS
from modelrelease_operator.core.observed import Problem

PATIENT = timedelta(seconds=30)
"""The longest time between looks at something that is awaited and that wakes us when it comes."""
SHOWN_AFTER_FAILURES = 3
SHOWN_AFTER_SECONDS = 30.0
"""A failure is shown when it has happened so often or lasted so long, whichever is first."""
ROUTE_PATIENCE = timedelta(seconds=30)
"""How long a gateway may refuse a route, or not answer, before a person is told of it."""
CONTESTED_TIMES = 5
CONTESTED_WITHIN = timedelta(minutes=10)
"""Weights that are undone so often within so long have another writer, and no person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A failure that lasts."""

    message: str
    new: bool
    """Whether it was not shown yet."""


@dataclass(slots=True)
class Troubles:
    """How often and how long something has failed without a success between."""

    clock: Callable[[], float] = time.monotonic
    count: int = 0
    since: float = 0.0
    shown: str | None = None

    def note(self, problem: Exception | None) -> Trouble | None:
        """Take in a failure, or None for a success; return it when people should hear of it."""
        if problem is None:
            self.count, self.shown = 0, None
            return None
        self.since = self.since if self.count else self.clock()
        self.count += 1
        lasted = self.clock() - self.since
        if self.count < SHOWN_AFTER_FAILURES and lasted < SHOWN_AFTER_SECONDS:
            return None
        message = (
            f"{str(problem) or type(problem).__name__} (tried {SHOWN_AFTER_FAILURES} times and "
            "more)"
        )
        new, self.shown = message != self.shown, message
        return Trouble(message=message, new=new)


@dataclass(slots=True)
class Patience:
    """Grows the time between looks at what is awaited: a change of it wakes us anyway."""

    looks: int = 0

    def stretched(
        self,
        spec: ReleaseSpec,
        status: Status,
        requeue: timedelta | None,
        *,
        moved: bool,
        now: datetime,
    ) -> timedelta | None:
        """Return when to look again: the later, the longer nothing moved, but for deadlines."""
        if moved or requeue is None or requeue > POLL_PODS or not _awaits(status):
            self.looks = 0
            return requeue
        self.looks += 1
        grown = min(PATIENT, requeue * float(2 ** min(self.looks, 10)))
        left = _until_judged(spec, status, now)
        return grown if left is None else max(requeue, min(grown, left))


@dataclass(slots=True)
class Contest:
    """Whether somebody else goes on writing the weights that a release sets."""

    route: object = None
    """The route of others, and its rule, that this is about."""
    wanted: object = None
    """What was set last."""
    by: str = ""
    """Who wrote the route last beside the operator."""
    undone: deque[datetime] = field(default_factory=lambda: deque(maxlen=CONTESTED_TIMES))

    def about(self, route: object) -> None:
        """Forget what was undone in another route than the one that the release names now."""
        if route != self.route:
            self.route, self.wanted = route, None
            self.undone.clear()

    def set(self, wanted: object, by: str, now: datetime) -> None:
        """Take in that weights were written; the same ones again had been undone by somebody."""
        if wanted == self.wanted:
            self.undone.append(now)
            self.by = by
        self.wanted = wanted

    def lasts(self, now: datetime) -> bool:
        """Return whether they were undone so often within so long that a person should know."""
        often = len(self.undone) == CONTESTED_TIMES
        return often and now - self.undone[0] <= CONTESTED_WITHIN


@dataclass(slots=True)
class Memory:
    """What is remembered of one release."""

    uid: str
    last_good: dict[str, Any] | None = None
    """The last spec that could be followed."""
    read: tuple[dict[str, Any] | None, Status] | None = None
    """The stored status that was read or written last, the very object, and what it says."""
    parsed: tuple[int, dict[str, Any], ReleaseSpec] | None = None
    """The spec that was read last: its generation, as it is stored, and what it says."""
    patience: Patience = field(default_factory=Patience)
    troubles: Troubles = field(default_factory=Troubles)
    unwritten: tuple[dict[str, Any] | None, Status] | None = None
    """What could not be written, with what is stored in its place: decisions go on from there."""
    route_refused_since: datetime | None = None
    contest: Contest = field(default_factory=Contest)
    unread: tuple[str, Problem] | None = None
    """By the revision without a digest: why a pod could not read its artifact the last time."""

    def rest(self) -> None:
        """Keep nothing that can be read again from the release: the next look is not soon.

        The last spec that could be followed is for what is under way, and nothing is.
        """
        self.read = self.parsed = self.last_good = None

    @property
    def stored(self) -> frozenset[str]:
        """The revisions that the stored status names, where what was decided since could not be
        written: a process that begins anew knows no others.
        """
        status = (self.unwritten and self.unwritten[0]) or {}
        arms = (status.get(arm) for arm in ("stable", "canary", "previous"))
        return frozenset(arm["revision"] for arm in arms if arm)

    def is_long_refused(self, refused: bool, now: datetime) -> bool:
        """Take in whether a gateway refuses the route now; return whether it has for long."""
        self.route_refused_since = (self.route_refused_since or now) if refused else None
        return (
            self.route_refused_since is not None
            and now - self.route_refused_since >= ROUTE_PATIENCE
        )

    def spec_of(self, raw: dict[str, Any], *, generation: int) -> ReleaseSpec:
        """Return what a spec asks for; raise Invalid where it cannot be followed."""
        known = self.parsed
        # By both: Python calls 1 and true equal, and new defaults of the CRD count no generation.
        if known is not None and known[0] == generation and known[1] == raw:
            return known[2]
        spec = ReleaseSpec.parse(raw)
        self.parsed = (generation, raw, spec)
        return spec

    def status_of(self, release: dict[str, Any]) -> Status:
        """Return the status that decisions go on from.

        While it cannot be written (it is too large, the right is missing), the evidence against a
        canary must not begin anew at every look.
        """
        stored = release.get("status")
        if self.unwritten is not None and self.unwritten[0] == stored:
            return self.unwritten[1]
        self.unwritten = None
        if self.read is None or self.read[0] is not stored:
            self.read = stored, Status.parse(stored)
        status = self.read[1]
        uid: str = release["metadata"]["uid"]
        if status.uid not in (None, uid):
            # Of another object, brought back with a backup. What serves is found on the cluster.
            status = Status(history=status.history, rejections=status.rejections)
        return status.but(uid=uid)


def _awaits(status: Status) -> bool:
    """Return whether Kubernetes has to do something first, which its watches tell of."""
    if status.phase in (Phase.PROGRESSING, Phase.PAUSED):
        return status.canary is not None and status.canary.step_since is None
    return status.phase is not Phase.STABLE


def _until_judged(spec: ReleaseSpec, status: Status, now: datetime) -> timedelta | None:
    """Return how long until a canary has had its time to start; None after, or without one."""
    if status.canary is None:
        return None
    left = status.canary.since + spec.canary.start_deadline.span - now
    return left if left > timedelta(0) else None
