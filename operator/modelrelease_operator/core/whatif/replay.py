"""The decisions that would have been taken over a recorded past: the same `decide`, one pass a
look.

What cannot be replayed: the weights. The traffic was split as it was split then; steps that the
decision takes here change nothing in the recording. Pods are taken to be ready from their first
sample.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from modelrelease_operator.api.spec import Approval, ReleaseSpec
from modelrelease_operator.api.status import Phase, Recipe, StableStatus, Status, Target
from modelrelease_operator.core.observed import Counter, Observed, Workload
from modelrelease_operator.core.release.decide import decide
from modelrelease_operator.core.whatif.end import End, Watch, end_of, unwatched
from modelrelease_operator.core.whatif.recording import Look, Recording
from modelrelease_operator.errors import Invalid

MAX_PASSES = 6
"""Most passes at one look: starting, opening,
entering a step and promoting take seconds, not looks.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedEvent:
    """Something that the operator would have told."""

    at: datetime
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """What would have been done."""

    stable: Target
    canary: Target
    end: End
    began: datetime
    at: datetime
    events: tuple[ReplayedEvent, ...]
    status: Status
    """With the gates of the last look."""


def arms_of(recording: Recording, stable: str | None, canary: str | None) -> tuple[str, str]:
    """Return the revisions of stable and canary, found from the recording where they are not given.

    Stable is the one that had answered most when the recording starts, the canary is the other that
    answered in it. Raises Invalid, naming what was seen, when that leaves more than one or none.
    """
    recorded = list(recording.versions)
    for given in (stable, canary):
        if given is not None and given not in recorded:
            msg = (
                f"revision {given} was not recorded in this time; these were: "
                f"{_named(recording, recorded)}"
            )
            raise Invalid(msg)
    stable = stable or _busiest(
        recording, [revision for revision in recorded if revision != canary]
    )
    candidates = [
        revision
        for revision in recorded
        if revision != stable and (revision == canary or _answered(recording, revision))
    ]
    if stable is None or not candidates or stable == canary:
        msg = f"two revisions are needed; recorded was only {_named(recording, recorded)}"
        raise Invalid(msg)
    if canary is None and len(candidates) > 1:
        names = _named(recording, candidates)
        msg = f"more than one revision may be the canary, name one with --canary: {names}"
        raise Invalid(msg)
    return stable, canary or candidates[0]


def _busiest(recording: Recording, revisions: list[str]) -> str | None:
    """Return the revision that had answered most at the first look that shows anything."""
    first = next(index for index, look in enumerate(recording.looks) if look.counters)
    return max(revisions, key=lambda revision: recording.requests_at(revision, first), default=None)


def _answered(recording: Recording, revision: str) -> bool:
    """Return whether a revision answered anything in the recorded time."""
    values = (recording.requests_at(revision, index) for index in range(len(recording.looks)))
    return len({value for value in values if value}) > 1


def _named(recording: Recording, revisions: list[str]) -> str:
    names = [f"{revision} (version {recording.versions[revision]})" for revision in revisions]
    return ", ".join(names) or "none"


def replay(
    spec: ReleaseSpec,
    recording: Recording,
    *,
    stable: str,
    canary: str,
    watch: Watch = unwatched,
) -> ReplayResult:
    """Decide at every look from the canary's first to its last;
    nobody pauses, who is asked approves. `watch` is told every status on the way.
    """
    # What was compared in the shadow is no part of the recording, which is of users' requests.
    if spec.canary.switches:
        msg = (
            "spec.canary.weight is 100, so the arms never have users at once: there is nothing to "
            "replay; give weights below 100 to see what they would have decided"
        )
        raise Invalid(msg)
    automatic = spec.canary.but(approval=Approval.AUTOMATIC, shadow=None)
    spec = spec.but(paused=False, canary=automatic)
    kept = recording.until_last_of(canary)
    first = kept.first(canary)
    if first is None:
        msg = f"revision {canary} was not recorded in this time"
        raise Invalid(msg)
    arms = [recorded_target(spec, recording, revision) for revision in (stable, canary)]
    run = _Run(spec=spec, stable=arms[0], canary=arms[1], began=kept.looks[first].at)
    for look in kept.looks[first:]:
        run.look(look)
        watch(look.at, run.status)
        if run.end:
            break
    return run.result()


def recorded_target(spec: ReleaseSpec, recording: Recording, revision: str) -> Target:
    """Return a recorded revision as a target; what was not recorded of it decides nothing."""
    return Target(
        revision=revision,
        version=recording.versions[revision],
        uri=spec.model.uri,
        sha256="0" * 64,
        recipe=Recipe(image=""),
    )


class _Run:
    """One replay on its way."""

    def __init__(
        self, *, spec: ReleaseSpec, stable: Target, canary: Target, began: datetime
    ) -> None:
        self._spec = spec
        self._stable = stable
        self._canary = canary
        self._began = self._now = began
        self.status = Status(phase=Phase.STABLE, stable=StableStatus(**stable.parts(), since=began))
        self._routed = frozenset({stable.revision})
        self._events: list[ReplayedEvent] = []

    @property
    def end(self) -> End | None:
        return end_of(self.status, canary=self._canary.revision)

    def look(self, look: Look) -> None:
        """Pass until the counters of this moment were judged;
        a second judgement would count a look twice.
        """
        self._now = look.at
        for _ in range(MAX_PASSES):
            if self._pass(look) or self.end:
                return

    def result(self) -> ReplayResult:
        return ReplayResult(
            stable=self._stable,
            canary=self._canary,
            end=self.end or End.UNDECIDED,
            began=self._began,
            at=self._now,
            events=tuple(self._events),
            status=self.status,
        )

    def _pass(self, look: Look) -> bool:
        """Make one pass; return whether there is nothing more to do before the next look."""
        seen = Observed(
            generation=1,
            target=self._canary,
            workloads=dict(self._workloads(look.counters)),
            routed=self._routed,
            metrics=look.counters,
            answers=look.answers,
        )
        decision = decide(spec=self._spec, status=self.status, observed=seen, now=self._now)
        self.status = decision.status
        self._routed = decision.desired.routed
        for notice in decision.notices:
            self._events.append(
                ReplayedEvent(at=self._now, reason=notice.reason, message=notice.message)
            )
        waits: timedelta | None = decision.requeue
        return waits is None or waits >= self._spec.analysis.period

    def _workloads(self, counters: tuple[Counter, ...]) -> Iterator[tuple[str, Workload]]:
        replicas = self._spec.serving.replicas
        for revision in (self._stable.revision, self._canary.revision):
            pods = frozenset(counter.pod for counter in counters if counter.revision == revision)
            yield (
                revision,
                Workload(
                    revision=revision,
                    wanted=replicas,
                    ready=replicas,
                    pods=replicas,
                    ready_names=pods,
                ),
            )
