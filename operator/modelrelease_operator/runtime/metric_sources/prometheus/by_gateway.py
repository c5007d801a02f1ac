"""What a gateway counts of both arms, where the servers count nothing.

A gateway's processes outlive releases, and so do their counters of an arm's Service: what one shows
first is of the past. They stand where a server's pods do: an arm is seen as long as the gateway is.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from modelrelease_contract import metrics as words
from modelrelease_operator.api import names
from modelrelease_operator.core.analysis.own_counters import marked
from modelrelease_operator.core.measurement.queries import ARM, KIND, NO_IDENTITY
from modelrelease_operator.core.observed import Counter
from modelrelease_operator.runtime.metric_sources.prometheus.samples import sampled_at
from modelrelease_operator.runtime.metric_sources.source import Revisions
from modelrelease_operator.serving_runtimes.metrics import NOTHING_YET, Reading
from modelrelease_operator.traffic.gateway_counters import GatewayCounters

REQUESTS, BUCKETS, TIMES = "requests", "buckets", "times"
"""Marks of what a part of the query selects."""
Series = tuple[Reading, frozenset[tuple[str, str]]]
"""What a series tells, and the labels that tell it from others that tell the same."""


def services_of(of: Revisions) -> dict[str, str]:
    """Return the Service of each revision: of the canary, which comes first, and of stable."""
    _, stable, canary = names.service_names(of.release)
    return dict(zip(of.metrics, (canary, stable), strict=False))


def query(of: Revisions, gateway: GatewayCounters) -> str:
    """Return the query for what the gateway sent to each arm, and when it was scraped."""
    return "\nor\n".join(
        marked(asked, revision, kind)
        for revision, service in services_of(of).items()
        for kind, asked in _parts(of.namespace, service, gateway)
    )


def _parts(namespace: str, service: str, gateway: GatewayCounters) -> Iterator[tuple[str, str]]:
    requests = gateway.requests(namespace, service)
    yield REQUESTS, requests
    yield BUCKETS, gateway.durations(namespace, service)
    yield TIMES, f"timestamp({requests})"


def nothing_of(of: Revisions, gateway: GatewayCounters) -> str:
    """Say that the gateway shows nothing of a release."""
    services = " and ".join(services_of(of).values())
    return (
        f"`{gateway.requests_total}` shows nothing of Services {services} in {of.namespace} yet; "
        f"it is read from {gateway.how}, which Prometheus must scrape"
    )


class GatewayRows:
    """Takes an answer's series one by one, and sums those that tell the same of one process."""

    def __init__(self, of: Revisions, gateway: GatewayCounters) -> None:
        self._of = of
        self._gateway = gateway
        self._values: dict[tuple[str, str], dict[Series, float]] = defaultdict(dict)
        """By process of the gateway and revision."""
        self._times: dict[str, float] = {}
        """By process: when it was scraped last."""

    def take(self, row: Any) -> None:
        """Take one; raises LookupError, ValueError or TypeError for what is none of a gateway's.

        Two scrapes of one process show the same counters, of which the larger is the newer.
        """
        labels: Mapping[str, str] = row["metric"]
        process = labels.get(words.POD) or labels["instance"]
        if labels[KIND] == TIMES:
            self._times[process] = max(sampled_at(row), self._times.get(process, 0.0))
            return
        reading = self._reading(labels)
        if reading is None:
            return
        identity = frozenset(item for item in labels.items() if item[0] not in NO_IDENTITY)
        values, series = self._values[process, labels[ARM]], (reading, identity)
        values[series] = max(float(row["value"][1]), values.get(series, 0.0))

    def _reading(self, labels: Mapping[str, str]) -> Reading | None:
        if labels[KIND] == REQUESTS:
            return Reading(code=self._gateway.code_of(labels))
        bound = self._gateway.duration.bound_of(labels)
        return None if bound is None else Reading(bound=bound)

    def counters(self) -> tuple[Counter, ...]:
        """Return what each process counted of each arm: of one that it sent nothing, so much."""
        processes = sorted({process for process, _ in self._values})
        return tuple(
            Counter(
                revision=revision, pod=process, value=value, at=self._times.get(process),
                lasting=True, **reading._asdict(),
            )
            for process in processes
            for revision in self._of.metrics
            for reading, value in self._totals(process, revision).items()
        )  # fmt: skip

    def _totals(self, process: str, revision: str) -> dict[Reading, float]:
        totals: dict[Reading, float] = {}
        for (reading, _), value in self._values.get((process, revision), {}).items():
            totals[reading] = totals.get(reading, 0.0) + value
        if not any(reading.code for reading in totals):
            totals[Reading(code=NOTHING_YET)] = 0.0
        return totals
