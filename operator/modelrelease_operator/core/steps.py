"""The steps of a canary as its pods give them: steps that come out as the same pods are one."""

import math
from datetime import timedelta

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.traffic.registry import split_of


def last_alike(spec: ReleaseSpec, index: int) -> int:
    """Return the last of the steps from one on that come out as the same pods: they are one step."""
    plan = spec.canary.plan
    splits = [split_of(spec, step.weight) for step in plan]
    while index + 1 < len(plan) and splits[index + 1] == splits[index]:
        index += 1
    return index


def bake_of(spec: ReleaseSpec, index: int) -> timedelta:
    """Return how long a step lasts at least: as long as the longest of those that are the same pods."""
    last = last_alike(spec, index)
    alike = [step for at, step in enumerate(spec.canary.plan) if last_alike(spec, at) == last]
    return max(step.bake.span for step in alike)


def alike_note(spec: ReleaseSpec, index: int) -> str | None:
    """Say which steps were left out because they are the same pods, or None."""
    plan, last = spec.canary.plan, last_alike(spec, index)
    first = next(at for at in range(index + 1) if last_alike(spec, at) == last)
    if first == index:
        return None
    weights = ", ".join(f"{step.weight} %" for step in plan[first : index + 1])
    pods = split_of(spec, plan[index].weight).canary
    return f"{weights} are the same {pods} canary replicas, and one step"


def next_weight(spec: ReleaseSpec, step: int) -> int:
    """Return the weight after the present step, in percent, as its pods give it; 100 is promotion."""
    plan = spec.canary.plan
    following = last_alike(spec, min(step, len(plan) - 1)) + 1
    if following >= len(plan):
        return 100
    weight = plan[last_alike(spec, following)].weight
    # Rounded up: the smaller of two margins.
    return math.ceil(split_of(spec, weight).weight - 1e-9)
