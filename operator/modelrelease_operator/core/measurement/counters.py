"""From raw counters to the counts of one interval.

Prometheus' increase() extrapolates to fractions and loses the first increment of a series that
appears with value 1, typically a canary's first error (prometheus issue 3746). So the operator
keeps the last raw value of every series and subtracts by itself.

The state is a mapping from series to its last raw value. It grows with every pod that ever
answered, until core/measurement/retention.py drops the series of pods that no longer exist.
"""

from collections.abc import Callable, Mapping

from modelrelease_operator.core.immutable import immutable

ONE_PROCESS = 1.0
"""Seconds by which two readings of one process's start may differ."""


@immutable
class Lives:
    """What is known of processes beside the values of their counters."""

    returned: frozenset[str] = frozenset()
    """Processes whose past is not to be counted, or was: their first values are recorded."""
    restarted: frozenset[str] = frozenset()
    """Processes that began anew, although no value may have fallen."""
    steady: frozenset[str] = frozenset()
    """Processes that did not: a value of theirs that fell adds nothing."""
    first_seen: frozenset[str] = frozenset()
    """Series that are read for the first time, and may be old: their first values are recorded."""


NOT_TOLD = Lives()


def _itself(series: str) -> str:
    return series


def advance_to(
    state: Mapping[str, int],
    values: Mapping[str, int],
    *,
    known_start: bool,
    process_of: Callable[[str], str] = _itself,
    lives: Lives = NOT_TOLD,
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the new state and what each series of this look grew by since the last one.

    `known_start` is false for the first look of a release: it only records, and the deltas are
    empty. That look must hold every pod that runs, since a series first seen later is taken to have
    started at 0. A series missing from a look keeps its last value, so what happened meanwhile is
    counted once, when it comes back.

    A value that fell means that its process restarted: all series that `process_of` maps to the
    same process then count from 0, also those whose new value has passed the old one. Two restarts
    between looks, or one that every series of the process has outgrown, cannot be seen by values
    and lose counts, unless `lives` tells of them.
    """
    if not known_start:
        return {**state, **values}, {}
    grown = {series: value - state.get(series, 0) for series, value in values.items()}
    fell = _shrunk(grown, process_of)
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


def _shrunk(grown: Mapping[str, int], process_of: Callable[[str], str]) -> set[str]:
    """Return the processes of which a value fell: none at nearly every look."""
    if min(grown.values(), default=0) >= 0:
        return set()
    return {process_of(series) for series, more in grown.items() if more < 0}


def is_another_process(before: float | None, now: float | None) -> bool | None:
    """Return whether two starts, in unix seconds, are of two processes; None without both."""
    if before is None or now is None:
        return None
    return now > before + ONE_PROCESS
