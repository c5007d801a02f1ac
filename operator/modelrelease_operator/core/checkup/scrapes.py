"""How often pods are scraped, and by how many servers: told from the times of raw samples."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, pairwise
from statistics import median
from typing import Any

Row = Mapping[str, Any]
"""A series of a matrix: `metric`, and `values` as pairs of a unix time and a text."""
Times = dict[frozenset[tuple[str, str]], tuple[float, ...]]
"""By target: when it was scraped, in unix seconds, the oldest first."""


def times_of(rows: Iterable[Row]) -> Times:
    """Return when each target was scraped; raises LookupError, TypeError or ValueError for what is
    no matrix.
    """
    return {
        frozenset(row["metric"].items()): tuple(float(moment) for moment, _ in row["values"])
        for row in rows
    }


def scrape_seconds(times: Times) -> float | None:
    """Return the time between two scrapes of most targets, in seconds; None before a second one."""
    gaps = [later - earlier for scraped in times.values() for earlier, later in pairwise(scraped)]
    return median(gaps) if gaps else None


def several_servers(answers: Sequence[Times]) -> bool:
    """Return whether two answers cannot be of one server: where both look, they see other scrapes.

    A server that is asked twice shows the same scrapes, but for those that came or went between.
    """
    return any(_differ(one, other) for one, other in combinations(answers, 2))


def _differ(one: Times, other: Times) -> bool:
    return any(_in_both(one[target], other[target]) for target in one.keys() & other.keys())


def _in_both(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether two lists of scrapes differ in the time that both cover."""
    if not one or not other:
        return False
    first, last = max(one[0], other[0]), min(one[-1], other[-1])
    within = [{moment for moment in times if first <= moment <= last} for times in (one, other)]
    return within[0] != within[1]
