"""The steps of a canary as its pods give them: steps that come out as the same pods are one."""

import math
from datetime import timedelta

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.traffic.registry import split_of


def last_alike(spec: ReleaseSpec, index: int) -> int:
    """Return the last of the steps from one on that come out as the same pods:
    they are one step.
    """
    while _is_like_the_next(spec, index):
        index += 1
    return index


def _first_alike(spec: ReleaseSpec, index: int) -> int:
    """Return the first of the steps up to one that come out as the same pods."""
    while index > 0 and _is_like_the_next(spec, index - 1):
        index -= 1
    return index


def _is_like_the_next(spec: ReleaseSpec, index: int) -> bool:
    """Return whether a step and the one after it come out as the same pods."""
    plan = spec.canary.plan
    if index + 1 >= len(plan):
        return False
    return split_of(spec, plan[index].weight) == split_of(spec, plan[index + 1].weight)


def bake_of(spec: ReleaseSpec, index: int) -> timedelta:
    """Return how long a step lasts at least:
    as long as the longest of those that are the same pods.
    """
    alike = spec.canary.plan[_first_alike(spec, index) : last_alike(spec, index) + 1]
    return max(step.bake.span for step in alike)


def alike_note(spec: ReleaseSpec, index: int) -> str | None:
    """Say which steps were left out because they are the same pods, or None."""
    plan, first = spec.canary.plan, _first_alike(spec, index)
    if first == index:
        return None
    weights = ", ".join(f"{step.weight} %" for step in plan[first : index + 1])
    pods = split_of(spec, plan[index].weight).canary
    return f"{weights} are the same {pods} canary replicas, and one step"


def next_weight(spec: ReleaseSpec, step: int) -> int:
    """Return the weight after the present step, in percent, as its pods give it;
    100 is promotion.
    """
    plan = spec.canary.plan
    following = last_alike(spec, min(step, len(plan) - 1)) + 1
    if following >= len(plan):
        return 100
    weight = plan[last_alike(spec, following)].weight
    # Rounded up: the smaller of two margins.
    return math.ceil(split_of(spec, weight).weight - 1e-9)
