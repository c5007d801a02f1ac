"""How soon a gateway that does not deal out its weight is noticed, and how often a good one is.

    python -m benchmarks.share [--runs N] [--hours N] [-o json] [--into FILE]

Requests of six simulated hours at one weight, dealt out in several ways and scraped as pods are:
each arm at moments of its own, so that the windows of an interval overlap in part only. They are
given to the check of the operator (core/analysis/sample_ratio.py). A good gateway that is blamed in
more runs than its bound allows, or a bad one that is not noticed in all, ends the program with 1.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from statistics import median

from benchmarks.doc_markers import put
from modelrelease_operator.api.status import ShareCounts
from modelrelease_operator.core.analysis import sample_ratio
from modelrelease_operator.core.statistics.eprocess import ArmCounts, Interval
from modelrelease_operator.core.statistics.random_variates import binomial, poisson

SCRAPES = 15.0
"""Seconds between two samples of a pod."""
DAY = 3600.0
"""Seconds of a wave of the traffic: between a fifth of the middle and nearly twice it."""
DEVIATIONS = 3.0
"""By how many standard deviations more runs than the bound says may be blamed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """How requests are dealt out."""

    name: str
    weight: int
    share: float
    """What the canary gets, of 1."""
    rps: float = 20.0
    in_turn: bool = False
    """By weighted turns, and not by chance."""
    waves: bool = False
    """Whether traffic comes and goes."""

    @property
    def good(self) -> bool:
        """Whether the share is near enough to the weight."""
        band = sample_ratio.band_of(self.weight)
        return band.low <= self.share <= band.high


GATEWAYS = (
    Gateway(name="by chance", weight=10, share=0.1),
    Gateway(name="by chance, traffic in waves", weight=10, share=0.1, rps=200, waves=True),
    Gateway(name="by chance", weight=50, share=0.5, rps=200),
    Gateway(name="in turn", weight=10, share=0.1, in_turn=True),
    Gateway(name="a fifth too few, the edge", weight=10, share=0.08),
    Gateway(name="a fifth too many, the edge", weight=10, share=0.12),
    Gateway(name="half of it", weight=10, share=0.05),
    Gateway(name="half of it", weight=10, share=0.05, rps=200),
    Gateway(name="half of it, traffic in waves", weight=10, share=0.05, rps=200, waves=True),
    Gateway(name="half of it", weight=5, share=0.025),
    Gateway(name="half of it", weight=1, share=0.005, rps=200),
    Gateway(name="two thirds of it", weight=10, share=0.0667),
    Gateway(name="twice as many", weight=10, share=0.2),
    Gateway(name="none at all", weight=10, share=0.0),
    Gateway(name="half of it", weight=50, share=0.25),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What came of one gateway."""

    gateway: str
    weight: int
    share: float
    rps: float
    good: bool
    runs: int
    noticed: int
    """Runs in which a mismatch was ever proven."""
    minutes: float | None
    """Median until then, from when the weight is in effect."""
    slowest: float | None
    requests: float | None
    """Median, of both arms."""

    @property
    def right(self) -> bool:
        """Whether the check kept its promise."""
        if not self.good:
            return self.noticed == self.runs
        bound = sample_ratio.FALSE_ALARM
        spread = math.sqrt(self.runs * bound * (1 - bound))
        return self.noticed <= self.runs * bound + DEVIATIONS * spread


def rows(runs: int, hours: float) -> Iterator[Row]:
    """Try every gateway."""
    for gateway in GATEWAYS:
        seen = [_noticed(gateway, Random(f"{gateway}/{run}"), hours) for run in range(runs)]
        alarms = [alarm for alarm in seen if alarm is not None]
        yield Row(
            gateway=gateway.name, weight=gateway.weight, share=gateway.share, rps=gateway.rps,
            good=gateway.good, runs=runs, noticed=len(alarms),
            minutes=median(seconds for seconds, _ in alarms) / 60 if alarms else None,
            slowest=max(seconds for seconds, _ in alarms) / 60 if alarms else None,
            requests=median(requests for _, requests in alarms) if alarms else None,
        )  # fmt: skip


def _noticed(gateway: Gateway, random: Random, hours: float) -> tuple[float, int] | None:
    """Return after how many seconds and requests a mismatch was proven, or None."""
    traffic = _Traffic(gateway, random)
    known: ShareCounts | None = None
    # The first scrapes begin to count, and the time until the data plane is let settle is left out.
    begins = sample_ratio.SETTLED.total_seconds() + SCRAPES
    for look in range(1, int(hours * 3600 / SCRAPES)):
        closed = traffic.interval(begins + look * SCRAPES)
        known = sample_ratio.advanced(known, weight=gateway.weight, interval=closed, cut=look == 1)
        if known is None:
            continue
        known = sample_ratio.judged(known, dispersion=1)
        if known.mismatch:
            return begins + (look + 1) * SCRAPES, sum(known.mismatch)
    return None


class _Traffic:
    """Requests as they come, and what scrapes of both arms show of them."""

    def __init__(self, gateway: Gateway, random: Random) -> None:
        self._gateway = gateway
        self._random = random
        self._lags = (random.uniform(0, SCRAPES), random.uniform(0, SCRAPES))
        """Seconds by which each arm's scrape comes after an interval's begin."""
        self._turns = random.random()
        self._late = (0, 0)
        """What each arm answered after its scrape of the interval before."""

    def interval(self, start: float) -> Interval:
        """Return what the scrapes of one interval show to have been counted since the last ones."""
        early, late = zip(*self._by_scrape(start), strict=True)
        canary, stable = (
            old + new for old, new in zip(self._late, (early[0], early[1]), strict=True)
        )
        self._late = (late[0], late[1])
        return Interval(
            canary=ArmCounts(total=canary, bad=0), stable=ArmCounts(total=stable, bad=0)
        )

    def _by_scrape(self, start: float) -> list[tuple[int, int]]:
        """Return for each arm what it answered before its scrape and after it."""
        first, second = sorted(self._lags)
        spans = (first, second - first, SCRAPES - second)
        parts = [self._dealt(start, seconds) for seconds in spans]
        scraped_at = [1 + (lag > first) for lag in self._lags]
        return [
            (sum(part[arm] for part in parts[:at]), sum(part[arm] for part in parts[at:]))
            for arm, at in enumerate(scraped_at)
        ]

    def _dealt(self, at: float, seconds: float) -> tuple[int, int]:
        rate = self._gateway.rps
        if self._gateway.waves:
            rate *= 1 + 0.8 * math.sin(2 * math.pi * at / DAY)
        requests = poisson(self._random, rate * seconds)
        if not self._gateway.in_turn:
            canary = binomial(self._random, requests, self._gateway.share)
            return canary, requests - canary
        turns = self._turns + requests * self._gateway.share
        canary, self._turns = int(turns), turns - int(turns)
        return canary, requests - canary


def as_markdown(table: Sequence[Row]) -> str:
    """Return the rows as a table."""
    lines = [
        "| dealt out | weight | share | requests a second | noticed | minutes, median | slowest | "
        "requests of both arms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in table:
        figures = ["", "", ""]
        if row.minutes is not None and row.slowest is not None and row.requests is not None:
            figures = [f"{row.minutes:.1f}", f"{row.slowest:.1f}", f"{row.requests:,.0f}"]
        lines.append(
            f"| {row.gateway} | {row.weight} % | {100 * row.share:g} % | {row.rps:g} | "
            f"{row.noticed} of {row.runs} | {' | '.join(figures)} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Print the table; return 1 where the check did not keep its promise."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.share", description=__doc__)
    parser.add_argument("--runs", type=int, default=300, help="of each gateway (default: 300)")
    parser.add_argument("--hours", type=float, default=6.0, help="at one weight (default: 6)")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    parser.add_argument("--into", type=Path, metavar="FILE", help="put the table there, too")
    options = parser.parse_args()
    table = list(rows(options.runs, options.hours))
    if options.output == "json":
        print(json.dumps([asdict(row) for row in table]))
    else:
        print(as_markdown(table))
    if options.into:
        put(options.into, as_markdown(table), mark="share")
    return 0 if all(row.right for row in table) else 1


if __name__ == "__main__":
    sys.exit(main())
