"""Asking the Prometheus of a release from a person's machine."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from modelrelease_contract import metrics as words
from modelrelease_operator.api import names
from modelrelease_operator.core.checkup.prometheus import Scraped
from modelrelease_operator.core.checkup.scrapes import (
    Times,
    scrape_seconds,
    several_servers,
    times_of,
)
from modelrelease_operator.core.observed import MetricsUnavailable
from modelrelease_operator.runtime.credentials import Credentials
from modelrelease_operator.runtime.metric_sources.prometheus.history import proxy_for
from modelrelease_operator.runtime.metric_sources.prometheus.source import PrometheusSource
from modelrelease_operator.runtime.metric_sources.source import Revisions
from modelrelease_operator.runtime.web import Reach, Web

TIMEOUT_SECONDS: Final = 5.0
ASKED_TIMES: Final = 4
"""By a connection of its own each: two servers behind one address are met with 7 of 8."""
WINDOW: Final = "10m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A Prometheus, and what it is shown."""

    url: str
    credentials: Credentials
    reach: Reach | None = None
    """Which addresses it may have; None: any."""

    def source(self) -> PrometheusSource:
        """Return a client with a connection of its own."""
        return PrometheusSource(
            self.url,
            timeout_seconds=TIMEOUT_SECONDS,
            credentials=self.credentials,
            web=Web(
                reach=self.reach,
                credentials=self.credentials,
                proxy=None if self.reach else proxy_for(self.url),
            ),
        )


async def scraped(
    server: Server, of: Revisions, ready: Mapping[str, Collection[str]] | None
) -> Scraped | MetricsUnavailable:
    """Ask a server for a release's pods; `ready` are those of each revision, None: not known."""
    source = server.source()
    try:
        counters = await source.read_counters(of)
        if isinstance(counters, MetricsUnavailable):
            return counters
        shown = {counter.pod for counter in counters}
        why = await _why_missing(source, of, ready or {}, shown)
    finally:
        await source.close()
    answers = await asyncio.gather(*(_times(server, of) for _ in range(ASKED_TIMES)))
    told = [times for times in answers if times]
    return Scraped(
        url=server.url,
        shown=shown,
        ready=None if ready is None else {pod for pods in ready.values() for pod in pods},
        why_missing=why,
        seconds=scrape_seconds(told[0]) if told else None,
        several=several_servers(told),
    )


async def _why_missing(
    source: PrometheusSource,
    of: Revisions,
    ready: Mapping[str, Collection[str]],
    shown: Collection[str],
) -> str | None:
    """Ask why ready pods are not shown, of the first revision that lacks any."""
    for revision, pods in ready.items():
        missing = set(pods) - set(shown)
        if missing and revision in of.metrics:
            return await source.explain_missing(of, revision=revision, pods=missing)
    return None


async def _times(server: Server, of: Revisions) -> Times:
    """Return when each pod was scraped of late; nothing where the answer is of no use."""
    pods = "|".join(names.pods_pattern(of.release, revision) for revision in of.metrics)
    source = server.source()
    try:
        rows: list[Any] | MetricsUnavailable = await source.query(
            f'up{{{words.NAMESPACE}="{of.namespace}",{words.POD}=~"{pods}"}}[{WINDOW}]'
        )
    finally:
        await source.close()
    if isinstance(rows, MetricsUnavailable):
        return {}
    try:
        return times_of(rows)
    except (LookupError, TypeError, ValueError, AttributeError):
        return {}
