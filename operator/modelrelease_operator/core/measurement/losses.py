"""Requests that an arm's server could not count: failures at the gateway that are none of its own.

A gateway counts each request that it sent to an arm, also one that died with its process, was
refused, or was given up before the server had answered. In the server's counters those are missing,
or are right answers. So what is lost are the 5xx that the gateway counts beyond those that the
server counts itself. Both count at the end of a request, but are scraped at different moments:

* The gateway's counters are read as they were some time ago, longer than two scrapes of a server
  are apart. So every failure of the server's that is in them is in the server's newest sample, too.
* The server's counters are recorded first, and the gateway's begin that much later. So none of the
  server's failures that are counted of the gateway lies before the server's count.

Then what the gateway has beyond the server's count, at any moment, is lost for sure, and the
largest such difference so far is what is counted: `settled` adds up to that maximum, from interval
to interval. A failure of the server's that the gateway has not shown yet is carried on.

All requests alike (the gateway's minus the server's) would say less and be wrong more often: what a
process has answered since its last sample goes with it, and at the edges a whole scrape interval of
requests is in one of the two counts alone (docs/explanation/decisions.md, "What a server cannot
count").
"""

from collections.abc import Mapping
from typing import Final

from modelrelease_operator.core.immutable import immutable
from modelrelease_operator.core.measurement.series import BAD, FAILED, LARGEST, SERVED, TOTAL

UNNOTICED: Final = 0.05
"""Share of an arm's requests that may come past the gateway without being told."""
EDGES: Final = 3
"""Of the largest interval so far, how many times its requests the two counts may be apart because
they are scraped at different moments.
"""
FEW: Final = 50
"""Requests past the gateway that say nothing, however few the gateway sends."""
SETTLED_SECONDS: Final = 10.0
"""At each weight before losses count: a data plane follows its route, and learns of pods, a bit
later.
"""

Names = Mapping[str, int]
"""By name of series: how much it grew, over all pods (`Increments` of one revision)."""


@immutable
class Settlement:
    """What an interval of one arm comes to."""

    counted: Names
    """The requests that the gateway sent, and those that are lost."""
    carried: Names
    """What the next interval begins with."""


def settled(names: Names, key: str) -> Settlement:
    """Return what is lost for sure of an arm's open interval of an indicator."""
    total = names.get(f"{TOTAL}={key}", 0)
    bad, failed = names.get(f"{BAD}={key}", 0), names.get(f"{FAILED}={key}", 0)
    carried = {
        FAILED: max(0, failed - bad),
        SERVED: _past(names, key),
        LARGEST: max(total, names.get(f"{LARGEST}={key}", 0)),
    }
    return Settlement(
        counted={f"{TOTAL}={key}": total, f"{BAD}={key}": max(0, bad - failed)},
        carried={f"{name}={key}": count for name, count in carried.items() if count},
    )


def come_past(names: Names, key: str) -> bool:
    """Return whether an arm's server is known to answer more than the gateway sends it."""
    total = names.get(f"{TOTAL}={key}", 0)
    largest = max(total, names.get(f"{LARGEST}={key}", 0))
    return _past(names, key) > max(FEW, EDGES * largest)


def _past(names: Names, key: str) -> int:
    """Return the requests that the server has beyond the gateway's, without a few."""
    total, served = names.get(f"{TOTAL}={key}", 0), names.get(f"{SERVED}={key}", 0)
    return max(0, served - total - int(UNNOTICED * total))
