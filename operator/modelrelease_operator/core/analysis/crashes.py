"""Containers that end abnormally: a gate that every release has.

Requests that die with their process are in no counter of the predictor. So the ends themselves are
counted, by pod, as the kubelet reports them. Over a span the two arms' ends are two Poisson counts
with the pods' time as exposure; given their sum, the canary's is binomial with its share of the
time (Przyborowski and Wilenski 1940). That is the law that `EProcess` was made for, with seconds of
ready pods in the place of requests.
"""

import math
from collections.abc import Mapping
from datetime import timedelta

from modelrelease_operator.api.durations import format_duration
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Crashes
from modelrelease_operator.core.observed import Workload
from modelrelease_operator.core.statistics.eprocess import (
    ArmCounts,
    EProcess,
    Interval,
    Tolerance,
    carried_on,
)

TOLERATED = Tolerance(ratio=1.0, points=1 / timedelta(days=1).total_seconds())
"""Never rolled back: stable's rate, and one end a day and pod more."""
FRESH = EProcess.regression(TOLERATED)
SHARE = 0.1
"""Of falseRollbackProbability, on top of it: what this gate may take back wrongly."""
QUIET_TIME = timedelta(minutes=10)
"""After which a canary may go on. The kubelet forgets its back-off after as long."""


def counted(
    known: Crashes, canary: Workload | None, stable: Workload | None, span: float
) -> Crashes:
    """Add what happened since the last pass.
    What stable's pods did before the first one is not counted.
    """
    seen, of_canary, of_stable = known.seen, _of(canary), _of(stable)
    now = {**of_canary, **of_stable}
    if not known.begun:
        return known.but(begun=True, seen=now)
    ended = (_grown(seen, of_canary), _grown(seen, of_stable))
    lived = (span * _ready(canary), span * _ready(stable))
    interval = Interval(canary=_arm(lived[0], ended[0]), stable=_arm(lived[1], ended[1]))
    all_ready = canary is not None and canary.ready >= max(1, canary.wanted)
    after = known.but(
        seen=now,
        canary_seconds=known.canary_seconds + lived[0],
        stable_seconds=known.stable_seconds + lived[1],
        processes=_process(known).update(interval).to_state(),
        quiet_seconds=0.0 if ended[0] else known.quiet_seconds + span * all_ready,
    )
    if not any(ended):
        return after
    return after.but(
        canary=known.canary + ended[0],
        newly=known.newly + ended[0],
        stable=known.stable + ended[1],
        words=canary.crash if ended[0] and canary else known.words,
    )


def convicts(known: Crashes, spec: ReleaseSpec) -> bool:
    """Return whether the canary's containers are proven to end more often than stable's."""
    if not known.canary:
        # Without an end every second speaks for it.
        return False
    return _process(known).log_value >= -math.log(SHARE * spec.analysis.false_rollback_probability)


def unquiet(known: Crashes, version: str) -> str | None:
    """Say why a canary whose container ended may not go on yet, or None."""
    if not known.canary:
        return None
    left = QUIET_TIME.total_seconds() - known.quiet_seconds
    if left <= 0:
        return None
    return (
        f"{crash_figures(known, version)}; it goes on after "
        f"{format_duration(timedelta(seconds=left))} "
        "without"
    )


def crash_figures(known: Crashes, version: str) -> str:
    """Return both arms' figures in words."""
    times = f"{known.canary} time{'s' * (known.canary != 1)}"
    text = (
        f"containers of canary {version} ended abnormally {times} in {_time(known.canary_seconds)} "
        f"of pod time, stable's {known.stable} in {_time(known.stable_seconds)}"
    )
    return f"{text} ({known.words})" if known.words else text


def _process(known: Crashes) -> EProcess:
    return carried_on(FRESH, known.processes) if known.processes else FRESH


def _of(workload: Workload | None) -> Mapping[str, int]:
    return workload.crashes if workload else {}


def _ready(workload: Workload | None) -> int:
    return workload.ready if workload else 0


def _grown(seen: Mapping[str, int], now: Mapping[str, int]) -> int:
    return sum([max(0, count - seen.get(pod, 0)) for pod, count in now.items()])


def _arm(lived: float, ended: int) -> ArmCounts:
    # Each end is one of the seconds, at most.
    return ArmCounts(total=max(round(lived), ended), bad=ended)


def _time(seconds: float) -> str:
    return format_duration(timedelta(seconds=seconds))
