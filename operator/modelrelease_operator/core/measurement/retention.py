"""Which counters may be forgotten, so that status does not grow with every pod that ever ran.

What a counter grew by has long been added to the totals of its arm; its last raw value is kept only
to subtract from the next. So the values of a process that has not been shown for long are dropped,
and that it was known is remembered, in eight characters: should it come back, its first values are
recorded and not counted. That way no count is ever added twice, and only what such a process did in
its absence is lost. Of more processes than are worth remembering nothing is remembered one by one:
whoever is unknown then is taken to have been known before.
"""

import zlib
from collections.abc import Collection, Iterable, Set
from datetime import datetime, timedelta

from modelrelease_operator.api.status import Evidence
from modelrelease_operator.core.measurement.series import process_of, source_of_process

GONE_AFTER = timedelta(minutes=15)
"""Prometheus shows a target for five minutes after its last scrape:
three times that is no hiccup.
"""
MAX_REMEMBERED = 500
"""About 6 kB of status."""
ALL = "*"
"""Stands for all processes that are not known now."""


def returned(evidence: Evidence, series: Iterable[str]) -> frozenset[str]:
    """Return the processes of these series that were forgotten and are back,
    so far as it can be told.
    """
    if not evidence.forgotten:
        return frozenset()
    fresh = {process_of(name) for name in series if name not in evidence.counters}
    unknown = fresh and fresh - {process_of(name) for name in evidence.counters}
    if ALL in evidence.forgotten:
        return frozenset(unknown)
    return frozenset(process for process in unknown if fingerprint(process) in evidence.forgotten)


def without_absent(
    evidence: Evidence, shown: Set[str], *, unasked: Collection[str], now: datetime
) -> Evidence:
    """Return evidence without the counters of processes that no look has shown for long.

    `shown` are the series of this look. Of the sources in `unasked` (`SeriesKey.source`) it had
    none, so it says nothing about their processes.
    """
    if not evidence.absent and evidence.counters.keys() <= shown:
        return evidence
    missing = evidence.counters.keys() - shown
    absent = {process_of(series) for series in missing} - {process_of(series) for series in shown}
    unseen = {process for process in absent if source_of_process(process) not in unasked}
    waited = unseen | (absent & evidence.absent.keys())
    since = {process: evidence.absent.get(process, now) for process in waited}
    gone = {process for process in unseen if now - since[process] >= GONE_AFTER}
    if not gone:
        return evidence.but(absent=since)
    counters = {
        series: value
        for series, value in evidence.counters.items()
        if process_of(series) not in gone
    }
    kept = {process_of(series) for series in counters}
    times = {
        "scraped": {process: at for process, at in evidence.scraped.items() if process in kept},
        "born": {process: at for process, at in evidence.born.items() if process in kept},
    }
    update = {**times, "counters": counters, "forgotten": remembered(evidence.forgotten, gone)}
    waiting = {process: at for process, at in since.items() if process not in gone}
    return evidence.but(**update, absent=waiting)


def remembered(before: list[str], gone: Iterable[str]) -> list[str]:
    """Return the marks with those of some more processes, or the one that stands for everybody."""
    if ALL in before:
        return before
    marks = sorted({*before, *map(fingerprint, gone)})
    return marks if len(marks) <= MAX_REMEMBERED else [ALL]


def fingerprint(process: str) -> str:
    """Return a name in eight characters;
    that two share one costs the second its first values, no more.
    """
    return f"{zlib.crc32(process.encode()):08x}"
