"""From raw counters to the counts of one interval.

Prometheus' increase() extrapolates to fractions and loses the first increment of a series that
appears with value 1, typically a canary's first error (prometheus issue 3746). So the operator
keeps the last raw value of every series and subtracts by itself.

The state is a mapping from series to its last raw value. It grows with every pod that ever
answered: the caller drops the series of pods that no longer exist with `forget`
(core/measurement/retention.py).
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from modelrelease_operator.core.statistics.eprocess import ArmCounts

ONE_PROCESS = 1.0
"""Seconds by which two readings of one process's start may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The value of one counter, as Prometheus keeps it;
    `series` names pod and labels, always in one way.
    """

    series: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lives:
    """What is known of processes beside the values of their counters."""

    returned: frozenset[str] = frozenset()
    """Processes whose past is not to be counted, or was already:
    their first values are recorded.
    """
    restarted: frozenset[str] = frozenset()
    """Processes that began anew, although no value may have fallen."""
    steady: frozenset[str] = frozenset()
    """Processes that did not: a value of theirs that fell adds nothing."""
    first_seen: frozenset[str] = frozenset()
    """Series that are read for the first time, and may be old: their first values are recorded."""


NOT_TOLD = Lives()


def _itself(series: str) -> str:
    return series


def advance(
    state: Mapping[str, int],
    samples: Iterable[Sample],
    *,
    known_start: bool,
    process_of: Callable[[str], str] = _itself,
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the new state and what each series of this look grew by since the last one.

    `known_start` is false for the first look of a release: it only records, and the deltas are
    empty. That look must hold every pod that runs, since a series first seen later is taken to have
    started at 0. A series missing from a look keeps its last value, so what happened meanwhile is
    counted once, when it comes back.

    A value that fell means that its process restarted: all series that `process_of` maps to the
    same process then count from 0, also those whose new value has passed the old one. Two restarts
    between looks, or one that every series of the process has outgrown, cannot be seen and lose
    counts.

    Raises ValueError, naming the series, for a value that is no whole number of events and for a
    series given twice.
    """
    return advance_to(
        state, _whole_numbers(samples), known_start=known_start, process_of=process_of
    )


def advance_to(
    state: Mapping[str, int],
    values: Mapping[str, int],
    *,
    known_start: bool,
    process_of: Callable[[str], str] = _itself,
    lives: Lives = NOT_TOLD,
) -> tuple[dict[str, int], dict[str, int]]:
    """Do what `advance` does, for values that are known to be whole numbers,
    and with what else is known.
    """
    if not known_start:
        return {**state, **values}, {}
    grown = {series: value - state.get(series, 0) for series, value in values.items()}
    fell = {process_of(series) for series, more in grown.items() if more < 0}
    anew = (fell - lives.steady) | lives.restarted
    if not (fell or anew or lives.returned or lives.first_seen):
        return {**state, **values}, grown
    last = dict(state)
    if anew:
        last.update({series: 0 for series in state if process_of(series) in anew})
    if lives.returned:
        last.update(
            {series: values[series] for series in values if process_of(series) in lives.returned}
        )
    if lives.first_seen:
        last.update({series: values[series] for series in lives.first_seen})
    deltas = {series: max(0, value - last.get(series, 0)) for series, value in values.items()}
    last.update(values)
    return last, deltas


def is_another_process(before: float | None, now: float | None) -> bool | None:
    """Return whether two starts of a process, in unix seconds, are of two;
    None where one is not told.
    """
    return None if before is None or now is None else now > before + ONE_PROCESS


def forget(state: Mapping[str, int], keep: Callable[[str], bool]) -> dict[str, int]:
    """Return the state without the series that `keep` refuses.

    Only for pods that cannot come back: a forgotten series that does is counted from 0 again.
    """
    return {series: value for series, value in state.items() if keep(series)}


def tally(deltas: Mapping[str, int], is_bad: Callable[[str], bool]) -> ArmCounts:
    """Sum one arm's deltas, each series being all good or all bad (by its status code, say)."""
    bad = sum(delta for series, delta in deltas.items() if is_bad(series))
    return ArmCounts(total=sum(deltas.values()), bad=bad)


def _whole_numbers(samples: Iterable[Sample]) -> dict[str, int]:
    values: dict[str, int] = {}
    for sample in samples:
        if not (
            math.isfinite(sample.value) and sample.value >= 0 and float(sample.value).is_integer()
        ):
            msg = (
                f"series {sample.series!r}: a counter must be a whole number from 0 up, got "
                f"{sample.value}"
            )
            raise ValueError(msg)
        if sample.series in values:
            msg = f"series {sample.series!r} was given twice in one look"
            raise ValueError(msg)
        values[sample.series] = int(sample.value)
    return values
