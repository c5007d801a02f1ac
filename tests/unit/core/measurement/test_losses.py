"""What is lost for sure between a gateway's counts and a server's that are of another moment."""

from collections.abc import Iterable

import pytest

from modelrelease_operator.core.measurement.losses import come_past, settled

KEY = "counts/loss-1"


def names(**counts: int) -> dict[str, int]:
    return {f"{name}={KEY}": count for name, count in counts.items()}


def lost(*intervals: dict[str, int]) -> list[int]:
    """Settle intervals one after the other; return what each counts as lost."""
    carried: dict[str, int] = {}
    counted = []
    for interval in intervals:
        keys = {*carried, *interval}
        whole = {key: carried.get(key, 0) + interval.get(key, 0) for key in keys}
        part = settled(whole, KEY)
        counted.append(part.counted[f"bad={KEY}"])
        carried = dict(part.carried)
    return counted


def test_what_both_count_is_not_lost():
    assert lost(names(total=100, bad=3, failed=3)) == [0]


def test_what_only_the_gateway_counts_is_lost():
    assert lost(names(total=100, bad=5, failed=3)) == [2]


def test_a_failure_that_the_gateway_shows_later_is_carried_until_it_does():
    assert lost(names(total=100, failed=4), names(total=100, bad=4), names(total=9, bad=1)) == [
        0,
        0,
        1,
    ]


@pytest.mark.parametrize(
    "differences", [(3, -5, 4, 2, -1, 7), (-2, -2, 9, -9, 9), (1, 1, 1), (-4, 4, -4, 4)]
)
def test_what_is_counted_is_the_largest_difference_so_far(differences: tuple[int, ...]):
    intervals = [
        names(total=50, bad=max(0, change), failed=max(0, -change)) for change in differences
    ]
    sums = [sum(differences[: place + 1]) for place in range(len(differences))]
    assert sum(lost(*intervals)) == max(0, *sums)


def past(intervals: Iterable[dict[str, int]]) -> bool:
    carried: dict[str, int] = {}
    for interval in intervals:
        whole = {key: carried.get(key, 0) + interval.get(key, 0) for key in {*carried, *interval}}
        if come_past(whole, KEY):
            return True
        carried = dict(settled(whole, KEY).carried)
    return False


def test_a_server_that_goes_on_answering_more_than_it_is_sent_has_other_callers():
    assert past([names(total=100, served=150)] * 20)


def test_counts_that_are_only_scraped_at_other_moments_say_nothing():
    apart = [names(total=100, served=200), names(total=200, served=100)]
    assert not past(apart * 50)


def test_a_few_callers_past_the_gateway_say_nothing():
    assert not past([names(total=1000, served=1040)] * 500)
