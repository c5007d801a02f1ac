"""Whether the canary answers the share of the requests that its weight says.

Where a gateway deals out requests one by one, the canary's share is known beforehand. Counts that
say otherwise (a *sample ratio mismatch*) mean that the two arms are not compared on alike requests,
or that some are in no counter: of a pod that died with them, of a connection that was refused. No
gate sees those. So nothing goes on while the mismatch is proven; it takes nothing back, and what is
proven against a canary still does (docs/explanation/decisions.md, "The share is checked").

Each step is a try of its own. The k-th has the part 6/(pi k)^2 of the probability of a false alarm:
together at most all of it, however many there are.
"""

import math
from datetime import timedelta

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import ShareCounts, ShareStatus
from modelrelease_operator.core.statistics.eprocess import Interval
from modelrelease_operator.core.statistics.shares import (
    Band,
    Dealt,
    either,
    enough,
    no_excess,
    to_prove_outside,
    too_few,
    too_many,
)
from modelrelease_operator.core.steps import bake_of, last_alike
from modelrelease_operator.traffic.registry import provider_of

ROOM = 0.2
"""By how much of the smaller arm's share the counted one may be off: a gateway whose turns, retries
and late changes bias it by less is never blamed.
"""
FALSE_ALARM = 0.01
"""Most probable that a release whose gateway keeps within the room is ever held for its share."""
FALSE_ALL_CLEAR = 0.05
"""Most probable that a mismatch which goes on is taken to be over, each time that it was proven."""
INTERVALS = 6
"""Scrape intervals that the last step lasts at least: one to begin in, and five of which an edge is
left out and the rest says whether the canary has half of its weight.
"""
SETTLED = timedelta(seconds=10)
"""Time at each weight before the share counts: a data plane follows its route a bit later."""


def is_checked(spec: ReleaseSpec) -> bool:
    """Return whether a release's requests are dealt out one by one, and the share is to be held
    against the weight.
    """
    shared = spec.canary.share_check and not spec.canary.switches
    return shared and provider_of(spec).deals_by_request(spec.canary)


def time_of(spec: ReleaseSpec, index: int, scrape_seconds: float) -> timedelta:
    """Return how long a step lasts at least: it bakes, and nothing is promoted before a share that
    is far off could be proven.
    """
    bake = bake_of(spec, index)
    is_last = last_alike(spec, index) + 1 >= len(spec.canary.plan)
    if not (is_last and is_checked(spec)):
        return bake
    return max(bake, SETTLED + INTERVALS * timedelta(seconds=scrape_seconds))


def advanced(
    known: ShareCounts | None, *, weight: int | None, interval: Interval | None, cut: bool
) -> ShareCounts | None:
    """Return the counts after a look.

    `weight` is what a gateway deals out to the canary now, in percent; None while nobody does, or
    not yet. `interval` is what closed at this look, and `cut` says that one ended that compares
    nothing. One in which the weight was not in effect at every look is left out.
    """
    if weight is None:
        return known and known.but(spoiled=True)
    fresh = known or ShareCounts()
    if fresh.weight != weight:
        fresh = fresh.next_try().but(weight=weight)
    if cut:
        return fresh.but(spoiled=False)
    if interval is None:
        return fresh
    if fresh.spoiled:
        return fresh.but(spoiled=False)
    return _with_interval(fresh, Dealt(interval.canary.total, interval.stable.total))


def _with_interval(known: ShareCounts, newest: Dealt) -> ShareCounts:
    begins = not sum(known.counts)
    return known.but(
        tries=known.tries + (begins and known.mismatch is None),
        counts=Dealt(*known.counts).plus(newest),
        first=newest if begins else known.first,
        newest=newest,
    )


def unchecked(known: ShareCounts) -> ShareCounts:
    """Return the counts of a share that nobody asks about: nothing but how many tries there were,
    so that no false alarm gets likelier when it is asked about again.
    """
    return known.next_try().but(spoiled=True)


def judged(known: ShareCounts, *, dispersion: float) -> ShareCounts:
    """Return the counts with what they prove: that the share is outside of its band,
    or that it is inside again.
    """
    if not sum(known.counts):
        return known
    band = band_of(known.weight)
    # The arms' windows are of different moments: whatever speaks for the claim is cut at an edge.
    less_stable, less_canary = _without_edges(known)
    outside = either(
        too_few(less_stable, band, dispersion=dispersion),
        too_many(less_canary, band, dispersion=dispersion),
    )
    if outside >= _bar(known.tries):
        # Once more while it lasts, so that what is mended is not held against its past.
        return known.next_try().but(mismatch=known.counts)
    if known.mismatch is None:
        return known
    well = min(
        enough(less_canary, band, dispersion=dispersion),
        no_excess(less_stable, band, dispersion=dispersion),
    )
    over = well >= -math.log(FALSE_ALL_CLEAR)
    return known.next_try() if over else known


def _without_edges(known: ShareCounts) -> tuple[Dealt, Dealt]:
    """Return the counts without stable's larger outer interval, and without the canary's."""
    counts, first, newest = Dealt(*known.counts), Dealt(*known.first), Dealt(*known.newest)
    return (
        counts._replace(stable=counts.stable - max(first.stable, newest.stable)),
        counts._replace(canary=counts.canary - max(first.canary, newest.canary)),
    )


def _bar(tries: int) -> float:
    """Return the logarithm of the evidence that the present try needs for an alarm."""
    return 2 * math.log(math.pi * tries) - math.log(6 * FALSE_ALARM)


def band_of(weight: int) -> Band:
    """Return the shares that are near enough to a weight in percent."""
    return Band.around(weight / 100, ROOM)


def status_of(known: ShareCounts | None, version: str) -> ShareStatus | None:
    """Return what a person is shown; None where no share was counted."""
    if known is None or not (sum(known.counts) or known.mismatch):
        return None
    counts = Dealt(*(known.mismatch or known.counts))
    return ShareStatus(
        weight=known.weight,
        percent=round(100 * counts.canary / counts.total, 2),
        requests=counts.total,
        mismatch=known.mismatch is not None,
        message=_message(known, counts, version),
    )


def _message(known: ShareCounts, counts: Dealt, version: str) -> str:
    text = f"canary {version} {_answered(counts)}, at a weight of {known.weight} %"
    if known.mismatch is None:
        return text
    sure = 100 * (1 - FALSE_ALARM)
    points = 100 * (band_of(known.weight).high - known.weight / 100)
    off = f"more than {points:.3g} points off, with {sure:g} % confidence"
    text = f"{text}: {off}, so nothing goes on. {_causes(counts, known.weight)}"
    if not sum(known.counts):
        return text
    return f"{text}; since then it {_answered(Dealt(*known.counts))}"


def _answered(counts: Dealt) -> str:
    share = 100 * counts.canary / counts.total
    return f"answered {share:.2f} % of {counts.total:,} requests"


def _causes(counts: Dealt, weight: int) -> str:
    """Say what such counts can come from."""
    if counts.canary < weight / 100 * counts.total:
        return (
            "Its requests are lost before they are counted (crashes, refused connections), the "
            "gateway sends it fewer, or callers reach stable past the gateway "
            "(canary.shareCheck: false, if they shall)"
        )
    return (
        "Stable's requests are lost before they are counted, the gateway sends the canary more, or "
        "callers reach the canary past the gateway"
    )


def requests_to_notice(weight: int, share: float, *, dispersion: float, step: int = 0) -> float:
    """Return the requests of both arms after which a share (in [0, 1]) is expected to be proven
    wrong at a step; infinity where it is near enough.
    """
    return to_prove_outside(share, band_of(weight), _bar(step + 1), dispersion=dispersion)
