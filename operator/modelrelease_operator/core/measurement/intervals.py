"""From looks to intervals of evidence: what is counted, and when it is given to the tests.

Counting begins at a step with a first sample of every process that was taken at the step's weight.
From then on each look adds what is new to the open interval; nothing is dropped while it stays
open. It is closed when the samples reach far enough (`samples.Sight.reaches_beyond`) and both arms
answered something. Only then do the tests see it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from modelrelease_operator.api.status import Evidence
from modelrelease_operator.core.immutable import Value, immutable
from modelrelease_operator.core.measurement.counters import Lives, advance_to
from modelrelease_operator.core.measurement.indicators import (
    Increments,
    Indicator,
    increments_of,
    names_of,
    own_values_of,
)
from modelrelease_operator.core.measurement.losses import SETTLED_SECONDS, settled
from modelrelease_operator.core.measurement.retention import remembered, returned, without_absent
from modelrelease_operator.core.measurement.samples import (
    SLOWEST_SCRAPE,
    Newest,
    Shown,
    Sight,
    began_anew,
    is_new,
    measured_gap,
    values_of,
)
from modelrelease_operator.core.measurement.series import (
    BOUND,
    PREDICTOR,
    PROBE,
    TOTAL,
    parse,
    process_name,
    process_of,
    source_of_name,
)
from modelrelease_operator.core.query_results import CounterSample

ARRIVALS = "arrivals"
"""Ends the name under which it is remembered that a gateway's counts have begun."""
FAR_AHEAD = 86_400.0
"""Seconds by which a time that was counted may be ahead of every new sample's."""
PATIENCE = 1.125
"""Scrape intervals to wait for a pod's first sample before counting begins without it."""

Own = tuple[Indicator, tuple[CounterSample, ...] | None]
"""An indicator of a gate's own queries with what they gave; None where they could not be asked."""


@immutable
class Moment:
    """When a look is made, and of what."""

    canary: str
    stable: str
    """The revisions that are compared."""
    buckets: frozenset[str]
    """The names of those that are read."""
    waited: timedelta
    """How long the present weight has been in effect."""
    now: datetime


@immutable
class Counted(Value):
    """What one look came to."""

    evidence: Evidence
    increments: Increments
    """What was counted since the last look."""
    closed: Mapping[str, Increments]
    """By source: what the interval that closed at this look counted. Others stay open."""
    left_out: frozenset[str]
    """Sources whose counts so far are left out: counting began at this look, or an arm was away."""
    saw_canary: bool
    """Whether there was a new sample of the canary."""
    before: Increments = field(default_factory=dict)
    """What was counted before counting began, at whatever weight; where it began at this look."""


@dataclass(slots=True, kw_only=True)
class _Tally:
    """Raw counters on their way from one look to the next."""

    evidence: Evidence
    """As it was after the last look."""
    counters: dict[str, int]
    begun: list[str]
    """Indicators of gates' own queries that are counted."""
    deltas: dict[str, int]
    shown: dict[str, int]
    """Every series of this look, with its value."""
    unasked: set[str]
    restarted: frozenset[str] = frozenset()
    """Processes of predictors and probers that began anew since their last sample."""

    def take(self, values: Mapping[str, int], *, known: bool, lives: Lives) -> None:
        self.counters, grown = advance_to(
            self.counters, values, known_start=known, process_of=process_of, lives=lives
        )
        self.deltas = {**self.deltas, **grown} if self.deltas else grown


def count(
    evidence: Evidence,
    newest: Newest,
    sight: Sight,
    own: Iterable[Own],
    moment: Moment,
) -> Counted:
    """Advance the raw counters by one look, and close what can be closed.

    `newest` is empty where the predictor's counters could not be read.
    """
    tally = _Tally(
        evidence=evidence, counters=evidence.counters, begun=list(evidence.begun),
        deltas={}, shown={}, unasked=set(),
    )  # fmt: skip
    fresh: dict[str, Shown] = {}
    if newest.processes:
        fresh = _take_predictors(tally, newest, sight, moment.buckets)
    else:
        tally.unasked.add(PREDICTOR)
    asked = tuple(own)
    own_grown = _take_own(tally, asked, moment.now)
    increments = increments_of(tally.deltas)
    evidence = _advanced(tally, increments, sight, fresh, moment)
    if not evidence.started:
        increments = _without(increments, (PREDICTOR, PROBE))
    seen = {shown.revision for shown in fresh.values() if not shown.probe}
    counted = Counted(
        evidence=evidence,
        increments=increments,
        closed={},
        left_out=frozenset(),
        saw_canary=moment.canary in seen,
    )
    if not newest.processes:
        pass
    elif evidence.started:
        counted = _closed(counted, sight, fresh, moment)
    else:
        counted = _begun(counted, sight, moment)
    counted = _own_closed(counted, own_grown, moment)
    for indicator, _ in asked:
        if indicator.delay:
            counted = _with_losses(counted, indicator.key)
    return counted


def _advanced(
    tally: _Tally, increments: Increments, sight: Sight, fresh: Mapping[str, Shown], moment: Moment
) -> Evidence:
    """Return the evidence with what was taken at this look, before any interval is closed."""
    evidence = tally.evidence
    scraped = {process: shown.at for process, shown in fresh.items() if shown.at is not None}
    born = {process: shown.started for process, shown in fresh.items() if shown.started is not None}
    evidence = evidence.but(
        counters=tally.counters,
        begun=tally.begun,
        scraped={**evidence.scraped, **scraped},
        born={**evidence.born, **born},
        scrape_seconds=measured_gap(evidence, sight.shown),
        resets=_resets(evidence, [fresh[process] for process in tally.restarted], moment),
        pending=_added(evidence.pending, increments),
    )
    return without_absent(evidence, tally.shown.keys(), unasked=tally.unasked, now=moment.now)


def _take_predictors(
    tally: _Tally, newest: Newest, sight: Sight, buckets: frozenset[str]
) -> dict[str, Shown]:
    """Take the new samples of predictors and probers; return whose they are."""
    evidence = tally.evidence
    strangers = sight.strangers(evidence)
    scraped = evidence.scraped
    fresh = {
        process: shown
        for process, shown in sight.shown.items()
        if process not in strangers and is_new(scraped.get(process), shown)
    }
    values = tally.shown = values_of(newest.processes, buckets)
    if len(fresh) < len(sight.shown):
        values = values_of(
            [process for process in newest.processes if process.name in fresh], buckets
        )
    lives = _lives(tally, values, fresh)
    tally.restarted = lives.restarted
    tally.take(values, known=True, lives=lives)
    return fresh


def _lives(tally: _Tally, values: Mapping[str, int], fresh: Mapping[str, Shown]) -> Lives:
    """Return what is known of the processes that show something new."""
    evidence = tally.evidence
    known_starts = fresh.keys() & evidence.born.keys()
    anew = {process: began_anew(evidence, process, fresh[process]) for process in known_starts}
    restarted = frozenset([process for process, is_anew in anew.items() if is_anew])
    steady = frozenset([process for process, is_anew in anew.items() if is_anew is False])
    back = returned(evidence, values)
    if values.keys() <= tally.counters.keys():
        return Lives(returned=back, restarted=restarted, steady=steady)
    known = {process_of(series) for series in tally.counters}
    older = {
        process
        for process, shown in fresh.items()
        if process not in known
        and (shown.lasting or not evidence.started or _served_before(shown, evidence.counts_from))
    }
    unknown = [series for series in values if series not in tally.counters]
    keys = ((series, parse(series)) for series in unknown)
    first_buckets = frozenset(
        series for series, key in keys if key.kind == BOUND and key.process in known - restarted
    )
    return Lives(
        returned=back | older, restarted=restarted, steady=steady, first_seen=first_buckets
    )


def _served_before(process: Shown, began: float | None) -> bool:
    """Return whether an unknown process may have answered before counting began,
    as far as it is told.
    """
    return process.started is not None and began is not None and process.started < began


def _take_own(tally: _Tally, own: Iterable[Own], now: datetime) -> dict[str, bool]:
    """Take the counters of the gates' own queries;
    return by indicator whether every pod's have grown.
    """
    grown = {}
    for indicator, answer in own:
        if answer is None:
            tally.unasked.add(indicator.key)
            continue
        tally.shown.update(own_values_of(answer, indicator))
        if indicator.delay:
            _take_beside_a_gateway(tally, indicator, answer, now)
        else:
            _take_counted(tally, indicator, answer, indicator.key)
        pods = {sample.pod for sample in answer if not (sample.bad or sample.by_server)}
        counted = [parse(series) for series in tally.deltas if tally.deltas[series]]
        moved = {
            key.pod.rpartition("~")[0]
            for key in counted
            if key.kind == TOTAL and key.source == indicator.key
        }
        grown[indicator.key] = pods <= moved
    return grown


def _take_counted(
    tally: _Tally, indicator: Indicator, answer: Iterable[CounterSample], begins: str
) -> None:
    """Take counters of which nothing tells since when they count: what an unknown pod shows is its
    start. `begins` is remembered once they have been recorded.
    """
    values = own_values_of(answer, indicator)
    strange = frozenset(process_of(series) for series in values) - _known_processes(tally)
    lives = Lives(returned=returned(tally.evidence, values) | strange)
    _take_begun(tally, values, lives, begins)


def _take_begun(tally: _Tally, values: Mapping[str, int], lives: Lives, begins: str) -> None:
    tally.take(values, known=begins in tally.begun, lives=lives)
    if begins not in tally.begun:
        tally.begun.append(begins)


def _take_beside_a_gateway(
    tally: _Tally, indicator: Indicator, answer: Sequence[CounterSample], now: datetime
) -> None:
    """Take what servers failed at first; a gateway's counts begin when they are of a later time.

    A server's pod that is unknown counts from 0: too many of its failures hide a loss, too few
    would make one up.
    """
    key = indicator.key
    failed = own_values_of([each for each in answer if each.by_server and each.bad], indicator)
    lives = Lives(returned=returned(tally.evidence, failed))
    _take_begun(tally, failed, lives, key)
    since = tally.evidence.opened.get(key)
    late = timedelta(seconds=indicator.delay + SETTLED_SECONDS)
    begins = f"{key}/{ARRIVALS}"
    if begins in tally.begun or (since is not None and now - since >= late):
        others = [each for each in answer if not (each.by_server and each.bad)]
        _take_counted(tally, indicator, others, begins)


def _known_processes(tally: _Tally) -> set[str]:
    return {process_of(series) for series in tally.counters}


def _resets(evidence: Evidence, restarted: Iterable[Shown], moment: Moment) -> list[int]:
    """Count the processes of each arm that began anew since their last sample."""
    resets = [*evidence.resets, 0, 0][:2]
    for shown in restarted:
        if not shown.probe:
            resets[0 if shown.revision == moment.canary else 1] += 1
    return resets if any(resets) else []


def is_of_another_time(evidence: Evidence, sight: Sight) -> bool:
    """Return whether what was counted has times that new samples do not reach for days: nobody's
    clock was right then, and waiting for them would end the analysis.
    """
    if sight.newest is None or not evidence.scraped:
        return False
    return max(evidence.scraped.values()) > sight.newest + FAR_AHEAD


def with_horizon(evidence: Evidence, sight: Sight) -> Evidence:
    """Return evidence that knows which samples were there at a step's first look:
    of another weight.
    """
    if evidence.started or evidence.horizon is not None or sight.newest is None:
        return evidence
    return evidence.but(horizon=sight.newest)


def _begun(counted: Counted, sight: Sight, moment: Moment) -> Counted:
    """Begin to count when there is a sample of each process that was taken at this weight."""
    evidence = counted.evidence
    patience = PATIENCE * max(SLOWEST_SCRAPE, evidence.scrape_seconds or 0.0)
    missing = {process_name(moment.canary, pod) for pod in sight.canary.missing}
    missing |= {process_name(moment.stable, pod) for pod in sight.stable.missing}
    waits = bool(missing) and moment.waited < timedelta(seconds=patience)
    if waits or not sight.reaches_beyond(evidence.horizon):
        return counted
    update = {
        "started": True,
        "horizon": sight.newest,
        "counts_from": sight.newest,
        "pending": _without(evidence.pending, (PREDICTOR, PROBE)),
        "uneven": False,
        "recut": [],
        # Whoever is shown later had begun before: what it counted by then is not of this step.
        "forgotten": remembered(evidence.forgotten, missing),
    }
    return counted.but(
        evidence=evidence.but(**update),
        left_out=frozenset({PREDICTOR, PROBE}),
        before=evidence.pending,
    )


def _closed(counted: Counted, sight: Sight, fresh: Mapping[str, Shown], moment: Moment) -> Counted:
    """Close the predictor's and the prober's intervals, if they can be."""
    evidence = counted.evidence
    closed: dict[str, Increments] = {}
    left_out: frozenset[str] = frozenset()
    update: dict[str, object] = {}
    users = names_of(PREDICTOR, evidence.pending)
    ended = bool(fresh) and sight.reaches_beyond(evidence.horizon)
    if ended and (evidence.uneven or _compares(users, moment)):
        update = {"horizon": sight.newest, "uneven": False}
        if evidence.uneven:
            left_out = frozenset({PREDICTOR})
        else:
            closed[PREDICTOR] = users
    # Both arms' probes are counted by one process, so each of its samples ends an interval.
    if any(shown.probe for shown in fresh.values()):
        probes = names_of(PROBE, evidence.pending)
        if _compares(probes, moment):
            closed[PROBE] = probes
    if not (closed or left_out):
        return counted
    update["pending"] = _without(evidence.pending, (*closed, *left_out))
    return counted.but(evidence=evidence.but(**update), closed=closed, left_out=left_out)


def _own_closed(counted: Counted, own_grown: Mapping[str, bool], moment: Moment) -> Counted:
    """Close the intervals of the gates' own queries, whose answers tell no time.

    They close with the predictor's; or when every pod's count has grown, so that each was scraped;
    or when a scrape interval has gone by.
    """
    if not own_grown:
        return counted
    evidence, closed = counted.evidence, dict(counted.closed)
    opened = dict(evidence.opened)
    wait = timedelta(seconds=min(SLOWEST_SCRAPE, evidence.scrape_seconds or SLOWEST_SCRAPE))
    for key, all_grown in own_grown.items():
        mine = names_of(key, evidence.pending)
        since = opened.setdefault(key, moment.now)
        # A clock that was set back waits for nobody.
        waited = not timedelta(0) <= moment.now - since < wait
        ended = all_grown or PREDICTOR in counted.closed or waited
        if ended and _answered(mine, key, moment):
            closed[key], opened[key] = mine, moment.now
    update = {"pending": _without(evidence.pending, closed), "opened": opened}
    return counted.but(evidence=evidence.but(**update), closed=closed)


def _compares(counted: Increments, moment: Moment) -> bool:
    """Return whether stable has answered something: the canary's counts wait for that.

    What stable answers while the canary answers nothing is compared with nothing: kept, it would be
    held against a canary's request that comes later, when both may have begun to fail.
    """
    return bool(counted.get(moment.stable))


def _answered(counted: Increments, key: str, moment: Moment) -> bool:
    """Return whether stable has answered something by the counters of a gate's own queries."""
    return bool(counted.get(moment.stable, {}).get(f"{TOTAL}={key}"))


def _with_losses(counted: Counted, key: str) -> Counted:
    """Settle what a gateway counts beside the servers: only what is lost for sure is counted, when
    its interval closes, and what is not settled is carried on.
    """
    evidence, mine = counted.evidence, counted.closed.get(key)
    of_others = _without(counted.increments, (key,))
    if mine is None:
        return counted.but(increments=of_others)
    parts = {revision: settled(names, key) for revision, names in mine.items()}
    losses = {revision: dict(part.counted) for revision, part in parts.items()}
    carried = {revision: dict(part.carried) for revision, part in parts.items()}
    return counted.but(
        evidence=evidence.but(pending=_added(evidence.pending, carried)),
        increments=_added(of_others, losses),
        closed={**counted.closed, key: losses},
    )


def _without(pending: Increments, sources: Iterable[str]) -> dict[str, dict[str, int]]:
    gone = set(sources)
    kept: dict[str, dict[str, int]] = {}
    for revision, names in pending.items():
        others = {name: n for name, n in names.items() if source_of_name(name) not in gone}
        if others:
            kept[revision] = others
    return kept


def _added(before: Increments, increments: Increments) -> dict[str, dict[str, int]]:
    total = {revision: dict(names) for revision, names in before.items()}
    for revision, names in increments.items():
        mine = total.setdefault(revision, {})
        for name, grown in names.items():
            mine[name] = mine.get(name, 0) + grown
    return total


def unready_arms(pods: Mapping[str, Collection[str]], arms: tuple[str, str]) -> bool:
    """Return whether one arm has no ready pod, where ready pods are known at all."""
    return bool(pods) and not all(pods.get(arm) for arm in arms)
