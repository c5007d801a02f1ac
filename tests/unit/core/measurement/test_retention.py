"""Counters of pods that are long gone are dropped,
and what such a pod counted is never counted again.
"""

from datetime import datetime, timedelta
from typing import Any

import pytest

from modelrelease_operator.api.status import CanaryStatus, Evidence, StableStatus, Status, Verdict
from modelrelease_operator.core.analysis.judge import judge
from modelrelease_operator.core.measurement.retention import (
    ALL,
    GONE_AFTER,
    MAX_REMEMBERED,
    without_absent,
)
from modelrelease_operator.core.observed import Counter, Metrics, MetricsUnavailable
from modelrelease_operator.core.query_results import CounterSample, NotMeasured, QueryResult
from testbed.builders import START, a_spec, a_target, seconds

ERRORS = {"name": "errors", "errorRate": {}}
REFUNDS = {
    "name": "refunds",
    "counts": {"bad": "x{r='{{revision}}'}", "total": "y{r='{{revision}}'}"},
}
TEN = seconds(10)
Shown = dict[str, tuple[int, int]]
"""By pod: requests, and how many of them were bad."""


class Looks:
    """Looks at counters by pod (`rev2-a` is of revision rev2), remembering through JSON."""

    def __init__(self, *gates: dict[str, Any]) -> None:
        self.spec = a_spec(analysis={"gates": list(gates or (ERRORS,))})
        self.now = START
        self.status = Status(
            stable=StableStatus(**a_target("1").parts(), since=START),
            canary=CanaryStatus(**a_target("2").parts(), since=START),
        )

    @property
    def evidence(self) -> Evidence:
        return self.status.evidence

    def look(
        self, shown: Shown | None, own: Shown | None = None, *, after: timedelta = TEN
    ) -> "Looks":
        self.now += after
        metrics: Metrics = MetricsUnavailable(message="down")
        if shown is not None:
            metrics = tuple(one for pod, counts in shown.items() for one in counters(pod, *counts))
        answer: QueryResult = NotMeasured(verdict=Verdict.UNAVAILABLE, message="down")
        if own is not None:
            answer = tuple(one for pod, counts in own.items() for one in tallies(pod, *counts))
        found = judge(
            spec=self.spec, status=self.status, metrics=metrics, answers={"refunds": answer},
            next_weight=50, now=self.now,
        )  # fmt: skip
        self.status = Status.parse(
            self.status.model_copy(update={"evidence": found.evidence}).to_dict()
        )
        return self

    def pods(self) -> set[str]:
        return {series.split("|")[1] for series in self.evidence.counters}

    def counted(self, stream: str = "errors") -> list[int]:
        """Return [canary total, canary bad, stable total, stable bad]."""
        return next(
            counts for key, counts in self.evidence.release.items() if key.startswith(stream)
        )


def counters(pod: str, total: int, bad: int) -> list[Counter]:
    revision = pod.split("-", maxsplit=1)[0]
    codes = {"200": total - bad, "500": bad}
    return [
        Counter(revision=revision, pod=pod, code=code, value=count) for code, count in codes.items()
    ]


def tallies(pod: str, total: int, bad: int) -> list[CounterSample]:
    revision = pod.split("-", maxsplit=1)[0]
    return [
        CounterSample(revision=revision, bad=kind, pod=pod, labels="", value=value)
        for kind, value in ((False, total), (True, bad))
    ]


STABLE: Shown = {"rev1-a": (0, 0)}
LATER = GONE_AFTER + seconds(10)


def test_a_pod_that_is_long_gone_is_dropped_and_what_it_counted_stays():
    looks = Looks().look({**STABLE, "rev2-a": (0, 0)}).look({**STABLE, "rev2-a": (70, 7)})
    looks.look({**STABLE, "rev2-b": (5, 1)})
    assert looks.pods() == {"rev1-a", "rev2-a", "rev2-b"}
    looks.look({**STABLE, "rev2-b": (5, 1)}, after=LATER)
    assert looks.pods() == {"rev1-a", "rev2-b"}
    assert looks.counted() == [75, 8, 0, 0]
    assert looks.evidence.absent == {}


def test_a_pod_that_comes_back_in_time_is_counted_as_if_it_had_never_been_away():
    looks = (
        Looks().look({**STABLE, "rev2-a": (0, 0)}).look({**STABLE, "rev2-a": (70, 7)}).look(STABLE)
    )
    looks.look({**STABLE, "rev2-a": (90, 9)}, after=LATER)
    assert looks.counted() == [90, 9, 0, 0]


def test_a_pod_that_comes_back_after_it_was_dropped_is_counted_from_what_it_shows_then():
    looks = Looks().look({**STABLE, "rev2-a": (0, 0)}).look({**STABLE, "rev2-a": (70, 7)})
    looks.look(STABLE).look(STABLE, after=LATER)
    assert looks.pods() == {"rev1-a"}
    assert looks.look({**STABLE, "rev2-a": (90, 9)}).counted() == [70, 7, 0, 0]
    assert looks.look({**STABLE, "rev2-a": (100, 10)}).counted() == [80, 8, 0, 0]


def test_a_new_pod_still_counts_from_its_first_request():
    looks = Looks().look({**STABLE, "rev2-a": (0, 0)}).look(STABLE).look(STABLE, after=LATER)
    assert looks.look({**STABLE, "rev2-b": (30, 3)}).counted() == [30, 3, 0, 0]


def test_a_series_that_is_missing_while_its_pod_is_there_is_kept():
    looks = Looks().look({**STABLE, "rev2-a": (70, 7)})
    for _ in range(3):
        looks.now += LATER
        metrics = (*counters("rev1-a", 0, 0), counters("rev2-a", 70, 7)[0])
        found = judge(
            spec=looks.spec, status=looks.status, metrics=metrics, next_weight=50, now=looks.now
        )
        looks.status = looks.status.model_copy(update={"evidence": found.evidence})
    assert "rev2|rev2-a|code=500" in looks.evidence.counters


def test_an_outage_of_prometheus_makes_nobody_absent():
    looks = Looks(ERRORS, REFUNDS)
    both = {**STABLE, "rev2-a": (0, 0)}
    looks.look(both, both)
    for _ in range(4):
        looks.look(None, both, after=LATER)
        looks.look(both, None, after=LATER)
    assert looks.look({**STABLE, "rev2-a": (40, 4)}, {**STABLE, "rev2-a": (9, 2)}).counted() == [
        40,
        4,
        0,
        0,
    ]
    assert looks.counted("counts/refunds") == [9, 2, 0, 0]


def test_a_gates_own_counters_are_dropped_by_what_its_own_queries_show():
    looks = Looks(ERRORS, REFUNDS)
    both = {**STABLE, "rev2-a": (0, 0)}
    looks.look(both, both).look(both, STABLE | {"rev2-b": (9, 2)})
    looks.look(both, STABLE | {"rev2-b": (9, 2)}, after=LATER)
    assert [
        one.split("~")[0] for one in looks.evidence.counters if "rev2-a" in one and "~" in one
    ] == []
    assert "rev2|rev2-a|code=200" in looks.evidence.counters


def test_counters_of_a_query_that_was_edited_away_go_too():
    looks = Looks(ERRORS, REFUNDS)
    both = {**STABLE, "rev2-a": (0, 0)}
    looks.look(both, both)
    looks.spec = a_spec(analysis={"gates": [ERRORS]})
    looks.look(both).look(both, after=LATER)
    assert not any("counts/" in series for series in looks.evidence.counters)


def test_a_release_of_many_pods_remembers_a_bounded_number_and_then_counts_no_stranger_from_zero():
    looks = Looks().look({**STABLE, "rev2-a": (0, 0)})
    for number in range(2):
        crowd = {f"rev2-{number}-{serial}": (1, 0) for serial in range(MAX_REMEMBERED // 2)}
        looks.look({**STABLE, **crowd}).look(STABLE).look(STABLE, after=LATER)
    assert looks.evidence.forgotten == [ALL]
    assert looks.counted()[0] == MAX_REMEMBERED
    looks.look({**STABLE, "rev2-0-0": (1, 0), "rev2-new": (6, 0)})
    assert looks.counted()[0] == MAX_REMEMBERED
    looks.look({**STABLE, "rev2-0-0": (2, 0), "rev2-new": (7, 0)})
    assert looks.counted()[0] == MAX_REMEMBERED + 2


@pytest.mark.parametrize("absent", [{}, {"rev2|gone": START}], ids=["nobody", "somebody"])
def test_nothing_changes_while_everybody_is_there(absent: dict[str, datetime]):
    evidence = Evidence(counters={"rev2|rev2-a|code=200": 7}, absent=absent)
    found = without_absent(evidence, {"rev2|rev2-a|code=200"}, unasked=(), now=START)
    assert found == Evidence(counters=evidence.counters)
