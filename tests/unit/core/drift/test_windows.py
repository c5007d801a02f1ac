"""Windows of bins: counted once, closed in time, judged against the baseline that came along."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from modelrelease_contract.drift import DriftVerdict
from modelrelease_operator.api.drift import Drift
from modelrelease_operator.core.drift.windows import (
    KEPT_WINDOWS,
    PREDICTIONS,
    STARTED,
    BinSample,
    Memory,
    calibration,
    look,
)
from modelrelease_operator.core.observed import Window
from testbed.builders import START

MINUTE = timedelta(minutes=1)
EVEN = (1000,) * 10
AS_TRAINED = (100,) * 10
DRIFTING = (10, 20, 40, 60, 80, 100, 130, 160, 190, 210)
ASKED = Drift(window="10m")


def counted(pod: str, counts: Sequence[float], feature: str = "age") -> list[BinSample]:
    return [
        BinSample(revision="rev1", pod=pod, feature=feature, bin=str(index), value=value)
        for index, value in enumerate(counts)
    ]


def baseline(feature: str = "age", counts: Sequence[int] = EVEN) -> list[BinSample]:
    found = [
        BinSample(revision="rev1", pod=None, feature=feature, bin=str(index), value=value)
        for index, value in enumerate(counts)
    ]
    return [*found, BinSample(revision="rev1", pod=None, feature=feature, bin="missing", value=0)]


def began(pod: str, at: float) -> BinSample:
    return BinSample(revision="rev1", pod=pod, feature=STARTED, bin="", value=at)


def looks(
    *rounds: Iterable[BinSample], asked: Drift = ASKED, every: timedelta = 10 * MINUTE
) -> Memory:
    """Look at each round, `every` so often, the first one when the window opens."""
    memory = Memory(opened=START)
    for index, samples in enumerate(rounds):
        memory = look(memory, samples, settings=asked, now=START + index * every)
    return memory


def only(memory: Memory) -> Window:
    (window,) = memory.windows
    return window


def test_the_first_look_only_records_because_what_came_before_it_is_of_no_window():
    memory = looks(counted("a", (900,) * 10), every=MINUTE)
    assert memory.sums == {}
    assert memory.windows == ()


def test_a_window_holds_what_every_pod_grew_by():
    window = only(
        looks(
            [*counted("a", (100,) * 10), *counted("b", (0,) * 10)],
            [*baseline(), *counted("a", (160,) * 10), *counted("b", (40,) * 10)],
        )
    )
    (age,) = window.features
    assert (age.name, age.n, age.verdict) == ("age", 1000, DriftVerdict.STABLE)


def test_looks_inside_a_window_add_up():
    rounds = [[*baseline(), *counted("a", (10 * index,) * 10)] for index in range(11)]
    (age,) = only(looks(*rounds, every=MINUTE)).features
    assert age.n == 1000


def test_a_pod_that_restarted_counts_from_nought():
    rounds = [
        counted("a", (0,) * 10),
        counted("a", (90,) * 10),
        [*baseline(), *counted("a", (30,) * 10)],
    ]
    (age,) = only(looks(*rounds, every=5 * MINUTE)).features
    assert age.n == 1200


def test_a_pod_that_prometheus_missed_for_a_look_is_counted_once_when_it_is_back():
    rounds = [
        [*counted("a", (0,) * 10), *counted("b", (50,) * 10)],
        counted("a", (10,) * 10),
        [*baseline(), *counted("a", (20,) * 10), *counted("b", (80,) * 10)],
    ]
    (age,) = only(looks(*rounds, every=5 * MINUTE)).features
    assert age.n == 500


def test_a_pod_that_is_gone_for_a_whole_window_is_forgotten():
    rounds = [[*counted("a", (1,) * 10), *counted("b", (1,) * 10)], counted("a", (2,) * 10)]
    assert {series[0] for series in looks(*rounds).counters} == {"a", "b"}
    rounds.append(counted("a", (3,) * 10))
    assert {series[0] for series in looks(*rounds).counters} == {"a"}


def test_two_jobs_that_scrape_the_same_pod_count_it_once():
    twice = [*baseline(), *counted("a", (100,) * 10), *counted("a", (101,) * 10)]
    (age,) = only(looks(counted("a", (0,) * 10), twice)).features
    assert age.n == 1010


def test_a_drifted_feature_is_named_and_comes_first():
    window = only(
        looks(
            [*counted("a", (0,) * 10, "age"), *counted("a", (0,) * 10, "income")],
            [
                *baseline("age"), *baseline("income"),
                *counted("a", (100,) * 10, "age"), *counted("a", DRIFTING, "income"),
            ],
        )
    )  # fmt: skip
    assert window.verdict is DriftVerdict.DRIFTED
    assert [each.name for each in window.drifted] == ["income"]
    assert [each.name for each in window.features] == ["income", "age"]
    assert window.drifted[0].psi > 0.3


def test_predictions_drift_like_any_feature():
    window = only(
        looks(
            counted("a", (0,) * 10, PREDICTIONS),
            [*baseline(PREDICTIONS), *counted("a", DRIFTING, PREDICTIONS)],
        )
    )
    assert [each.name for each in window.drifted] == [PREDICTIONS]


def test_missing_values_are_a_bin_like_any_other():
    missing = BinSample(revision="rev1", pod="a", feature="age", bin="missing", value=500)
    before = BinSample(revision="rev1", pod="a", feature="age", bin="missing", value=0)
    window = only(
        looks(
            [*counted("a", (0,) * 10), before], [*baseline(), *counted("a", (100,) * 10), missing]
        )
    )
    assert window.verdict is DriftVerdict.DRIFTED
    assert window.features[0].n == 1500


@pytest.mark.parametrize(
    ("rounds", "what"),
    [
        ([counted("a", (0,) * 10), [*baseline(), *counted("a", (49,) * 10)]], "490 values"),
        ([counted("a", (0,) * 10), []], "Prometheus does not answer"),
        ([counted("a", (0,) * 10), counted("a", (100,) * 10)], "no baseline"),
        ([baseline(), baseline()], "no counts"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_window_that_cannot_be_judged_is_insufficient(rounds: Any, what: str):
    assert only(looks(*rounds)).verdict is DriftVerdict.INSUFFICIENT


NONSENSE = (0.5, -1.0, math.nan, math.inf, -math.inf, 1e300)


@pytest.mark.parametrize("value", NONSENSE)
def test_a_pod_whose_value_is_no_count_is_left_out_and_named(value: float):
    start = [*counted("a", (0,) * 10), *counted("b", (0,) * 10)]
    broken = [*baseline(), *counted("a", (100,) * 10), *counted("b", (*AS_TRAINED[:9], value))]
    window = only(looks(start, broken))
    assert (window.verdict, window.features[0].n) == (DriftVerdict.STABLE, 1000)
    assert window.problem == (
        f"feature age, bin 9 of pod b has the value {value}, and a whole number of rows from 0 up "
        "is needed: it was left out"
    )


@pytest.mark.parametrize("value", NONSENSE)
def test_a_baseline_that_is_no_count_makes_its_feature_unavailable_and_no_other(value: float):
    broken = [*baseline("age", (*EVEN[:9], value)), *baseline("income")]  # type: ignore[arg-type]
    grown = [*counted("a", DRIFTING, "age"), *counted("a", AS_TRAINED, "income")]
    start = [*counted("a", (0,) * 10, "age"), *counted("a", (0,) * 10, "income")]
    window = only(looks(start, [*broken, *grown]))
    assert [each.name for each in window.features] == ["income"]
    assert "feature age, bin 9 of the baseline has the value" in window.problem


def test_a_baseline_that_was_read_before_is_kept_when_nonsense_comes():
    rounds = [
        [*baseline(), *counted("a", (0,) * 10)],
        [*baseline("age", (math.inf,) * 10), *counted("a", DRIFTING)],  # type: ignore[arg-type]
    ]
    assert only(looks(*rounds)).verdict is DriftVerdict.DRIFTED


def test_bins_of_any_name_are_taken():
    strange = [
        BinSample(revision="rev1", pod=None, feature="age", bin=each, value=5) for each in "²x٣"
    ]
    assert only(looks([*baseline(), *strange], [])).features[0].name == "age"


def test_only_so_many_windows_are_remembered():
    assert len(looks(*([()] * 40)).windows) == KEPT_WINDOWS


@pytest.mark.parametrize(("window", "count"), [("10m", 144), ("7m", 206), ("1d", 1), ("2d", 1)])
def test_the_false_alarms_of_a_day_share_the_probability(window: str, count: int):
    assert calibration(Drift(window=window)).windows == count


def test_bins_come_in_any_order():
    shuffled = [*reversed(baseline()), *reversed(counted("a", DRIFTING))]
    ordered = [*baseline(), *counted("a", DRIFTING)]
    start = counted("a", (0,) * 10)
    assert only(looks(start, shuffled)) == only(looks(start, ordered))


def test_nothing_that_is_given_is_changed():
    memory = looks(counted("a", (1,) * 10))
    before: Mapping[str, Any] = {pod: counts[:] for pod, counts in memory.counters.items()}
    look(memory, counted("a", (9,) * 10), settings=ASKED, now=START + MINUTE)
    assert memory.counters == before
    assert memory.sums == {}


def test_an_older_view_of_a_pod_by_another_server_counts_nothing_twice():
    start, now = 1_790_000_000.25, [1_000.0] * 10
    older, newer = [900.0] * 10, [1_100.0] * 10
    rounds = (now, older, newer, older, newer)
    memory = looks(*([*counted("a", values), began("a", start)] for values in rounds), every=MINUTE)
    assert sum(memory.sums.values()) == 10 * 100


def test_a_process_that_began_anew_counts_from_0_also_where_it_has_outgrown_the_old_one():
    first = [*counted("a", [5.0] * 10), began("a", 1_790_000_000.0)]
    second = [*counted("a", [7.0] * 10), began("a", 1_790_000_600.0)]
    assert sum(looks(first, second, every=MINUTE).sums.values()) == 10 * 7
