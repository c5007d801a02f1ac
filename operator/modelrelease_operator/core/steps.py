"""The steps of a canary as its pods give them: steps that come out as the same pods are one."""

import math
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from itertools import pairwise

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.traffic.provider import Split
from modelrelease_operator.traffic.registry import provider_of, split_of


def last_alike(spec: ReleaseSpec, index: int) -> int:
    """Return the last of the steps from one on that come out as the same pods:
    they are one step.
    """
    return _alike(spec, index)[-1]


def _alike(spec: ReleaseSpec, index: int) -> range:
    """Return the steps around one that come out as the same pods."""
    runs = _runs_of(spec)
    return runs[index] if index < len(runs) else range(index, index + 1)


def _runs_of(spec: ReleaseSpec) -> tuple[range, ...]:
    return _runs(provider_of(spec).split, spec.canary.weights, spec.serving.replicas)


@lru_cache(maxsize=1024)
def _runs(
    split: Callable[..., Split], weights: tuple[int, ...], replicas: int
) -> tuple[range, ...]:
    """Return for each step those that come out as the same pods.
    Kept, because each look asks for them several times.
    """
    runs = [range(1)]
    for index, pair in enumerate(pairwise(weights), 1):
        before, after = (split(weight=weight, replicas=replicas) for weight in pair)
        if before == after:
            runs[-1] = range(runs[-1].start, index + 1)
        else:
            runs.append(range(index, index + 1))
    return tuple(run for run in runs for _ in run)


def bake_of(spec: ReleaseSpec, index: int) -> timedelta:
    """Return how long a step lasts at least:
    as long as the longest of those that are the same pods.
    """
    alike = _alike(spec, index)
    return max([step.bake.span for step in spec.canary.plan[alike.start : alike.stop]])


def alike_note(spec: ReleaseSpec, index: int) -> str | None:
    """Say which steps were left out because they are the same pods, or None."""
    plan, first = spec.canary.plan, _alike(spec, index)[0]
    if first == index:
        return None
    weights = ", ".join(f"{step.weight} %" for step in plan[first : index + 1])
    pods = split_of(spec, plan[index].weight).canary
    return f"{weights} are the same {pods} canary replicas, and one step"


def share_words(spec: ReleaseSpec, weight: int) -> str:
    """Say which share a weight gives: `5 → 25 %` where pods cannot express the one asked for.

    A weight of 0 is none, however many pods there are: the canary is in the dark.
    """
    provider, replicas = provider_of(spec), spec.serving.replicas
    if weight == 0 or provider.note(weight=weight, replicas=replicas) is None:
        return f"{weight} %"
    return f"{weight} → {split_of(spec, weight).weight:.0f} %"


def next_weight(spec: ReleaseSpec, step: int) -> int:
    """Return the weight after the present step, in percent, as its pods give it;
    100 is promotion.
    """
    runs = _runs_of(spec)
    following = runs[min(step, len(runs) - 1)].stop
    if following >= len(runs):
        return 100
    weight = spec.canary.weights[runs[following][-1]]
    # Rounded up: the smaller of two margins.
    return math.ceil(split_of(spec, weight).weight - 1e-9)
