"""The worlds that a decision can ask for, and the words to speak of a release."""

import math
from dataclasses import replace
from datetime import datetime, timedelta

from modelrelease_operator.api.durations import format_duration, parse_duration
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import (
    CanaryStatus,
    HistoryEntry,
    Phase,
    Reason,
    StableStatus,
    Status,
    Target,
)
from modelrelease_operator.core.split import Split, split
from modelrelease_operator.core.state import Desired, Probing, Running, Seen

SOON = timedelta(seconds=1)
"""Until something that was just asked for can be seen."""
JUDGED = (Phase.PROGRESSING, Phase.PAUSED, Phase.PROMOTING)
"""Phases in which a canary has clients, or waits to have them again."""
WATCH = timedelta(seconds=2)
"""Between looks at pods that start: a container's refusal raises no event on what is watched."""


def only(target: Target, replicas: int) -> Desired:
    """One revision serves alone."""
    stable = Running(target=target, replicas=replicas, track="stable")
    return Desired(running=(stable,), routed=frozenset({target.revision}), stable=target.revision)


def steady(spec: ReleaseSpec, status: Status) -> Desired:
    """Stable serves, and the previous revision is kept warm for as long as status says."""
    desired = only(stable_of(status).target, spec.serving.replicas)
    if status.previous is None:
        return desired
    kept = Running(target=status.previous.target, replicas=spec.serving.replicas, track="previous")
    return replace(desired, running=(*desired.running, kept))


def side_by_side(spec: ReleaseSpec, status: Status, *, canary_replicas: int, opened: bool) -> Desired:
    """Stable at full strength beside the canary; `opened` says whether clients reach the canary too."""
    stable, canary = stable_of(status), canary_of(status)
    return Desired(
        running=(
            Running(target=stable.target, replicas=spec.serving.replicas, track="stable"),
            Running(target=canary.target, replicas=canary_replicas, track="canary"),
        ),
        routed=pair_of(status) if opened else frozenset({stable.revision}),
        stable=stable.revision,
        canary=canary.revision,
    )


def probing_of(spec: ReleaseSpec, status: Status) -> Probing | None:
    """Return the prober that should exist: where the release asks for one, while its canary is judged."""
    if spec.analysis.probe is None or status.phase not in JUDGED:
        return None
    stable, canary = stable_of(status).target, canary_of(status).target
    return Probing(stable=stable, canary=canary, asked=spec.analysis.probe)


def probed_steps(canary: CanaryStatus) -> str | None:
    """Say which steps were passed without users, or return None."""
    if not canary.probed_steps:
        return None
    which = ", ".join(map(str, canary.probed_steps))
    return f"probes and not users proved step{'s' * (len(canary.probed_steps) > 1)} {which} of {canary.steps}"


def pair_of(status: Status) -> frozenset[str]:
    """Return the revisions of stable and canary."""
    return frozenset({stable_of(status).revision, canary_of(status).revision})


def judged_pair(status: Status) -> tuple[Target, Target] | None:
    """Return canary and stable where evidence is read: also after a promotion, while the old one is warm."""
    if status.stable is None:
        return None
    if status.phase in JUDGED and status.canary:
        return status.canary, status.stable
    if status.phase is Phase.STABLE and status.previous and status.previous.proven:
        return status.stable, status.previous
    return None


def split_of(spec: ReleaseSpec, canary: CanaryStatus) -> Split:
    """Return the pods for the weight that was asked for, or for the first step's before any was."""
    weight = canary.requested_weight or spec.canary.plan[last_alike(spec, 0)].weight
    return split(weight=weight, replicas=spec.serving.replicas)


def last_alike(spec: ReleaseSpec, index: int) -> int:
    """Return the last of the steps from one on that come out as the same pods: they are one step."""
    plan = spec.canary.plan
    pods = [split(weight=step.weight, replicas=spec.serving.replicas).canary for step in plan]
    while index + 1 < len(plan) and pods[index + 1] == pods[index]:
        index += 1
    return index


def bake_of(spec: ReleaseSpec, index: int) -> timedelta:
    """Return how long a step lasts at least: as long as the longest of those that are the same pods."""
    alike = [at for at in range(len(spec.canary.plan)) if last_alike(spec, at) == last_alike(spec, index)]
    return max(parse_duration(spec.canary.plan[at].bake) for at in alike)


def alike_note(spec: ReleaseSpec, index: int) -> str | None:
    """Say which steps were left out because they are the same pods, or None."""
    first = next(at for at in range(index + 1) if last_alike(spec, at) == last_alike(spec, index))
    if first == index:
        return None
    weights = ", ".join(f"{step.weight} %" for step in spec.canary.plan[first : index + 1])
    pods = split(weight=spec.canary.plan[index].weight, replicas=spec.serving.replicas).canary
    return f"{weights} are the same {pods} canary replicas, and one step"


def ready_of(seen: Seen, revision: str) -> int:
    """Return how many pods of a revision are ready."""
    workload = seen.workloads.get(revision)
    return workload.ready if workload else 0


def others_of(status: Status, seen: Seen) -> list[str]:
    """Return the revisions beside stable and canary that have pods: an open Service would reach them."""
    return sorted(
        name for name, other in seen.workloads.items() if other.pods and name not in pair_of(status)
    )


def next_weight(spec: ReleaseSpec, step: int) -> int:
    """Return the weight after the present step, in percent, as its pods give it; 100 is promotion."""
    following = last_alike(spec, min(step, len(spec.canary.plan) - 1)) + 1
    if following >= len(spec.canary.plan):
        return 100
    weight = spec.canary.plan[last_alike(spec, following)].weight
    # Rounded up: the smaller of two margins.
    return math.ceil(split(weight=weight, replicas=spec.serving.replicas).weight - 1e-9)


def stable_of(status: Status) -> StableStatus:
    """Return stable, which every phase but the first has."""
    if status.stable is None:
        msg = f"status.stable is missing in phase {status.phase}: set status.phase to Pending to start over"
        raise ValueError(msg)
    return status.stable


def canary_of(status: Status) -> CanaryStatus:
    """Return the canary, which every phase of a release that goes on has."""
    if status.canary is None:
        msg = f"status.canary is missing in phase {status.phase}: set status.phase to Stable to start over"
        raise ValueError(msg)
    return status.canary


def say(status: Status, message: str) -> Status:
    """Return the status with its sentence replaced."""
    return status.but(message=message)


def entry(target: Target, outcome: Reason, message: str, now: datetime) -> HistoryEntry:
    """Return a line of history."""
    return HistoryEntry(
        revision=target.revision, version=target.version, outcome=outcome, message=message, at=now
    )


def not_ready(canary: CanaryStatus, seen: Seen, replicas: int, waited: timedelta) -> str:
    """Say how many pods were ready after how long, and what the pods say."""
    workload = seen.workloads.get(canary.revision)
    ready = workload.ready if workload else 0
    text = f"canary {canary.version}: {ready} of {replicas} pods were ready after {format_duration(waited)}"
    trouble = workload and (workload.refused or workload.problem)
    return f"{text}; {trouble}" if trouble else text
