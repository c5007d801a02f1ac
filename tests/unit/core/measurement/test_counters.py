"""How raw counters become the counts of an interval."""

import pytest

from modelrelease_operator.core.measurement.counters import advance_to


def look(**values: int) -> dict[str, int]:
    return values


def pod_of(series: str) -> str:
    return series.split("_", maxsplit=1)[0]


@pytest.mark.parametrize(
    ("state", "seen", "deltas", "kept"),
    [
        pytest.param(
            {"a": 10}, look(a=15), {"a": 5}, {"a": 15}, id="a series grows by the difference"
        ),
        pytest.param(
            {"a": 10}, look(a=10), {"a": 0}, {"a": 10}, id="a series that stands still grows by 0"
        ),
        pytest.param(
            {"a": 10}, look(a=3), {"a": 3}, {"a": 3}, id="a series that fell counts from 0"
        ),
        pytest.param(
            {"a": 10}, look(a=0), {"a": 0}, {"a": 0}, id="a series that fell to 0 adds nothing"
        ),
        pytest.param(
            {"a": 10},
            look(a=10, b=1),
            {"a": 0, "b": 1},
            {"a": 10, "b": 1},
            id="a first error counts",
        ),
        pytest.param(
            {"a": 10, "b": 2},
            look(a=11),
            {"a": 1},
            {"a": 11, "b": 2},
            id="a missing series is kept",
        ),
        pytest.param({"a": 10}, look(), {}, {"a": 10}, id="an empty look changes nothing"),
    ],
)
def test_after_the_first_look(
    state: dict[str, int], seen: dict[str, int], deltas: dict[str, int], kept: dict[str, int]
) -> None:
    assert advance_to(state, seen, known_start=True) == (kept, deltas)


def test_the_first_look_only_records() -> None:
    state, deltas = advance_to({}, look(a=1000, b=7), known_start=False)
    assert deltas == {}
    assert advance_to(state, look(a=1001, b=7), known_start=True)[1] == {"a": 1, "b": 0}


def test_a_scrape_gap_neither_loses_nor_counts_twice() -> None:
    state = {"a": 10}
    counted = 0
    for seen in (look(a=12), look(), look(), look(a=20), look(a=21)):
        state, deltas = advance_to(state, seen, known_start=True)
        counted += sum(deltas.values())
    assert counted == 11


def test_the_state_given_is_not_changed() -> None:
    state = {"a": 10}
    advance_to(state, look(a=12, b=1), known_start=True)
    assert state == {"a": 10}


def test_a_restarted_process_counts_all_its_series_from_zero() -> None:
    state = {"pod1_200": 100, "pod1_500": 1, "pod2_200": 100}
    kept, deltas = advance_to(
        state, look(pod1_200=20, pod1_500=3, pod2_200=105), known_start=True, process_of=pod_of
    )
    assert deltas == {"pod1_200": 20, "pod1_500": 3, "pod2_200": 5}
    assert kept == {"pod1_200": 20, "pod1_500": 3, "pod2_200": 105}


def test_the_first_error_after_a_restart_counts_even_when_the_old_process_had_as_many() -> None:
    state = {"pod1_200": 100, "pod1_500": 1}
    state, _ = advance_to(state, look(pod1_200=20), known_start=True, process_of=pod_of)
    assert advance_to(state, look(pod1_200=25, pod1_500=1), known_start=True, process_of=pod_of)[
        1
    ] == {
        "pod1_200": 5,
        "pod1_500": 1,
    }
