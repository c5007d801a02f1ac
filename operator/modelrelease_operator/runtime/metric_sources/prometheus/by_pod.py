"""Series of servers that are not ours: they name no release, so their pods tell whose they are.

A server's own labels and those of its target cannot be told apart by their names. `up` has those of
the target alone, and is written at each scrape, also of a server that counted no request yet.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from modelrelease_contract import metrics as words
from modelrelease_operator.api import names
from modelrelease_operator.core.measurement.queries import KIND
from modelrelease_operator.core.observed import Counter
from modelrelease_operator.runtime.metric_sources.prometheus.samples import (
    SAMPLE_TIME,
    TargetLabels,
    moment_of,
    sampled_at,
    short_name,
)
from modelrelease_operator.runtime.metric_sources.source import Revisions
from modelrelease_operator.serving_runtimes import ServerMetrics
from modelrelease_operator.serving_runtimes.metrics import (
    NOTHING_YET,
    PROCESS_START,
    Reading,
    Sample,
)

ANY_REVISION = "(?P<revision>[a-z0-9]+)"
"""In a pattern of pods' names. Go and Python read it alike."""


def query(namespace: str, pods: str, metrics: ServerMetrics) -> str:
    """Return the query for these pods' counters, when each was scraped, and when it began.

    Of `up` only those that are 1: a scrape that failed shows nothing. `timestamp()` tells a
    sample's own time around a plain selector alone, so that comes second.
    """
    matchers = f'{words.NAMESPACE}="{namespace}",{words.POD}=~"{pods}"'
    series = "|".join((*metrics.names, PROCESS_START))
    scraped = f"timestamp(up{{{matchers}}}) and up{{{matchers}}} == 1"
    return "\nor\n".join(
        (
            f'{{__name__=~"{series}",{matchers}}}',
            f'label_replace({scraped}, "{KIND}", "{SAMPLE_TIME}", "", "")',
        )
    )


@dataclass(frozen=True)
class PodsOfOthers:
    """Which pods' servers are not ours, by patterns of their names: revision and what it counts."""

    patterns: tuple[tuple[str, str | None, ServerMetrics], ...]
    """Pattern, revision, names; without a revision the pattern has a group of that name."""

    @classmethod
    def of(cls, revisions: Revisions) -> "PodsOfOthers | None":
        """Return those of a look, or None where every server is ours."""
        others = [each for each in revisions.metrics.items() if not each[1].labelled]
        patterns = [
            (names.pods_pattern(revisions.release, revision), revision, metrics)
            for revision, metrics in others
        ]
        return cls(tuple(patterns)) if patterns else None

    @classmethod
    def of_any_revision(cls, release: str, metrics: ServerMetrics) -> "PodsOfOthers | None":
        """Return those of a release's whole past, or None where its server is ours."""
        if metrics.labelled:
            return None
        return cls(((names.pods_pattern(release, ANY_REVISION), None, metrics),))

    @cached_property
    def _known(self) -> dict[str, tuple[str, ServerMetrics] | None]:
        return {}

    def owner(self, pod: str) -> tuple[str, ServerMetrics] | None:
        """Return the revision of a pod and what its server counts, or None for any other pod."""
        if pod not in self._known:
            self._known[pod] = next(self._owners(pod), None)
        return self._known[pod]

    def _owners(self, pod: str) -> Iterator[tuple[str, ServerMetrics]]:
        for pattern, revision, metrics in self.patterns:
            if match := re.fullmatch(pattern, pod):
                yield revision or match["revision"], metrics


class PodRows:
    """Takes the series of servers that are not ours, and keeps them until all are there."""

    def __init__(self, pods: PodsOfOthers) -> None:
        self._pods = pods
        self._samples: dict[str, list[Sample]] = defaultdict(list)
        """By pod."""
        self._times: dict[str, dict[TargetLabels, float]] = defaultdict(dict)
        """By pod: its targets, and when each was scraped."""
        self._starts: list[tuple[Mapping[str, str], float]] = []

    def __len__(self) -> int:
        return sum(map(len, self._samples.values()))

    def take(self, row: Any) -> bool:
        """Take one if it is of such a pod, and return whether it is."""
        labels = row["metric"]
        pod = labels.get(words.POD)
        if pod is None or self._pods.owner(pod) is None:
            return False
        if labels.get(KIND) == SAMPLE_TIME:
            target = frozenset(item for item in labels.items() if item[0] != KIND)
            self._times[pod][target] = sampled_at(row)
        elif labels["__name__"] == PROCESS_START:
            self._starts.append((labels, moment_of(row)))
        else:
            self._samples[pod].append((labels["__name__"], labels, float(row["value"][1])))
        return True

    def counters(self) -> Iterator[Counter]:
        """Yield the counters, each with the times of its target."""
        for pod in sorted({*self._samples, *self._times}):
            owner = self._pods.owner(pod)
            if owner:
                yield from self._of_pod(pod, *owner)

    def _of_pod(self, pod: str, revision: str, metrics: ServerMetrics) -> Iterator[Counter]:
        samples: dict[TargetLabels, list[Sample]] = {target: [] for target in self._times[pod]}
        for sample in self._samples[pod]:
            samples.setdefault(self._target(pod, sample[1]), []).append(sample)
        totals = {target: metrics.totals(shown) for target, shown in samples.items()}
        for target, counted in _of_the_server(totals).items():
            source, at, started = (
                short_name(target),
                self._times[pod].get(target),
                self._start(target),
            )
            for reading, value in counted.items():
                yield Counter(
                    revision=revision, pod=pod, source=source, at=at, started=started, value=value,
                    **reading._asdict(),
                )  # fmt: skip

    def _target(self, pod: str, labels: Mapping[str, str]) -> TargetLabels:
        """Return the target that a series is of: the one whose labels it has, or most of them."""
        own = labels.items()
        alone = frozenset({(words.POD, pod)})
        return max(self._times[pod], key=lambda target: len(target & own), default=alone)

    def _start(self, target: TargetLabels) -> float | None:
        own = (began for labels, began in self._starts if target <= labels.items())
        return next(own, None)


def _of_the_server(
    totals: Mapping[TargetLabels, dict[Reading, float]],
) -> Mapping[TargetLabels, dict[Reading, float]]:
    """Return the targets that are the server: of a pod that counts, those that show counters.

    A sidecar that is scraped too counts nothing, and would stand for a server that does.
    """
    nothing = Reading(code=NOTHING_YET)
    counting = {target: counted for target, counted in totals.items() if nothing not in counted}
    return counting or totals
