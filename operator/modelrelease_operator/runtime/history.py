"""What Prometheus remembers of a release: its raw counters at every look of a span of time."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util import Retry

from modelrelease_contract import metrics as words
from modelrelease_operator.core.state import Counter
from modelrelease_operator.errors import Invalid, Unavailable

MOST_POINTS = 10_000
"""Prometheus refuses to answer more than 11,000 points for each series at once."""
MOST_LOOKS = 100_000
"""More do not fit into memory beside their series."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Every counter at one moment."""

    at: datetime
    counters: tuple[Counter, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What was recorded of one release, all revisions."""

    looks: tuple[Look, ...]
    versions: dict[str, str]
    """By revision, in the order of appearance: the model version that its pods told."""

    def requests_at(self, revision: str, look: int) -> int:
        """Return what the counters of a revision had reached at a look."""
        return int(sum(it.value for it in self.looks[look].counters if it.revision == revision and it.code))

    def first(self, revision: str) -> int | None:
        """Return the first look that shows a revision; None when no look does."""
        return next((index for index, look in enumerate(self.looks) if _shows(look, revision)), None)

    def until_last_of(self, revision: str) -> "Recording":
        """Return the recording without what comes after a revision was last seen."""
        last = max((index for index, look in enumerate(self.looks) if _shows(look, revision)), default=-1)
        return Recording(looks=self.looks[: last + 1], versions=self.versions)


def _shows(look: Look, revision: str) -> bool:
    return any(counter.revision == revision for counter in look.counters)


class History:
    """A Prometheus server that is asked for the past."""

    def __init__(self, url: str, *, timeout_seconds: float = 60.0) -> None:
        self._url = url
        # A person waits: they are told at once, and try again by themselves.
        self._client = PrometheusConnect(
            url=url.rstrip("/"), timeout=timeout_seconds, retry=Retry(total=0, raise_on_status=False)
        )

    async def read(
        self, *, namespace: str, release: str, start: datetime, end: datetime, interval: timedelta
    ) -> Recording:
        """Return the counters of every revision at every interval.

        Raises Unavailable when the server does not answer, Invalid when there is nothing to be had.
        """
        looks = int((end - start) / interval) + 1
        if looks > MOST_LOOKS:
            msg = f"{looks:,} looks lie between --start and --end, more than {MOST_LOOKS:,}: replay less"
            raise Invalid(msg)
        table: dict[int, list[Counter]] = defaultdict(list)
        versions: dict[str, str] = {}
        for first in range(0, looks, MOST_POINTS):
            begin = start + first * interval
            stop = start + min(looks - 1, first + MOST_POINTS - 1) * interval
            rows = await self._ask(_query(namespace, release), begin, stop, interval)
            try:
                for index, counter, version in _counters(rows, begin, interval):
                    table[first + index].append(counter)
                    versions.setdefault(counter.revision, version)
            except (LookupError, ValueError, TypeError) as problem:
                msg = f"Prometheus at {self._url} answered nonsense: {problem!r}"
                raise Unavailable(msg) from problem
        if not versions:
            msg = (
                f"Prometheus at {self._url} has no {words.PREDICTIONS_TOTAL} of release "
                f"{namespace}/{release} in this time: check --namespace, --start and --end"
            )
            raise Invalid(msg)
        kept = (Look(at=start + index * interval, counters=tuple(table[index])) for index in range(looks))
        return Recording(looks=tuple(kept), versions=versions)

    async def _ask(
        self, query: str, start: datetime, end: datetime, interval: timedelta
    ) -> list[dict[str, Any]]:
        step = f"{int(interval.total_seconds())}s"
        try:
            rows = await asyncio.to_thread(self._client.custom_query_range, query, start, end, step)
        except PrometheusApiClientException as problem:
            msg = f"Prometheus at {self._url} answered with an error: {problem}"
            raise Unavailable(msg) from problem
        except requests.RequestException as problem:
            msg = f"Prometheus at {self._url} does not answer ({type(problem).__name__})"
            raise Unavailable(msg) from problem
        except (LookupError, ValueError, TypeError) as problem:
            msg = f"Prometheus at {self._url} answered nonsense: {problem!r}"
            raise Unavailable(msg) from problem
        return list(rows or ())


def _query(namespace: str, release: str) -> str:
    labels = f'{words.NAMESPACE}="{namespace}",{words.RELEASE}="{release}",{words.REVISION}!=""'
    return f'{{__name__=~"{words.PREDICTIONS_TOTAL}|{words.PREDICTION_DURATION_SECONDS}_bucket",{labels}}}'


def _counters(
    rows: Iterable[dict[str, Any]], start: datetime, interval: timedelta
) -> Iterable[tuple[int, Counter, str]]:
    """Yield each value of each series with the number of its look and the version on its label."""
    for row in rows:
        labels = row["metric"]
        bucket = labels["__name__"] != words.PREDICTIONS_TOTAL
        revision = labels[words.REVISION]
        version = labels.get(words.MODEL_VERSION, revision)
        for moment, value in row["values"]:
            counter = Counter(
                revision=revision,
                pod=labels.get(words.POD) or labels["instance"],
                code=None if bucket else labels[words.CODE],
                bound=labels["le"] if bucket else None,
                value=float(value),
            )
            yield round((float(moment) - start.timestamp()) / interval.total_seconds()), counter, version
