"""The canary's share of the requests beside its weight: what counts, and what is said of it."""

from typing import Any

import pytest

from modelrelease_operator.api.status import ShareCounts
from modelrelease_operator.core.analysis import sample_ratio
from modelrelease_operator.core.statistics.eprocess import ArmCounts, Interval
from testbed.builders import a_spec

GATEWAY = {"routing": {"gatewayAPI": {"parentRefs": [{"name": "public"}]}}}


def an_interval(canary: int, stable: int) -> Interval:
    return Interval(canary=ArmCounts(total=canary, bad=0), stable=ArmCounts(total=stable, bad=0))


def seen(
    known: ShareCounts | None, *intervals: tuple[int, int], weight: int = 10
) -> ShareCounts | None:
    """Return the counts after looks that closed an interval each, and what they prove."""
    for canary, stable in intervals:
        known = sample_ratio.advanced(
            known, weight=weight, interval=an_interval(canary, stable), cut=False
        )
        assert known
        known = sample_ratio.judged(known, dispersion=1)
    return known


def counting(*intervals: tuple[int, int], weight: int = 10) -> ShareCounts:
    """Return counts whose first interval, which is left out, is behind them."""
    known = seen(None, (1, 9), *intervals, weight=weight)
    assert known
    return known


def test_the_share_is_checked_where_a_gateway_deals_out_the_requests():
    assert sample_ratio.is_checked(a_spec(canary=GATEWAY))
    assert not sample_ratio.is_checked(a_spec())
    assert not sample_ratio.is_checked(a_spec(canary={**GATEWAY, "shareCheck": False}))


@pytest.mark.parametrize(
    "gateway",
    [
        {
            "parentRefs": [{"name": "public"}],
            "cohort": {"headers": [{"name": "x-tester", "value": "1"}]},
        },
        {"existingRoute": {"name": "front", "rule": "predict"}},
    ],
    ids=["a cohort", "a route of others"],
)
def test_it_is_not_where_somebody_else_sends_requests_to_an_arm(gateway: dict[str, Any]):
    spec = a_spec(canary={"routing": {"gatewayAPI": gateway}})
    assert not sample_ratio.is_checked(spec)


def test_nothing_is_counted_while_no_weight_is_dealt_out():
    first = sample_ratio.advanced(None, weight=None, interval=an_interval(5, 95), cut=False)
    assert first is None
    assert sample_ratio.status_of(first, "2") is None


def test_an_interval_in_which_the_weight_was_not_in_effect_is_left_out():
    known = sample_ratio.advanced(counting((10, 90)), weight=None, interval=None, cut=False)
    assert known
    assert known.spoiled
    assert counting((10, 90)).counts == (10, 90)
    after = seen(known, (0, 500), (10, 90))
    assert after
    assert after.counts == (20, 180)


def test_an_interval_that_compares_nothing_is_left_out_and_the_next_one_counts():
    known = sample_ratio.advanced(counting((10, 90)), weight=10, interval=None, cut=True)
    after = seen(known, (10, 90))
    assert after
    assert after.counts == (20, 180)


def test_half_of_the_weight_is_proven_a_mismatch_and_both_shares_are_named():
    known = counting(*[(15, 285)] * 12)
    assert known.mismatch
    status = sample_ratio.status_of(known, "2")
    assert status
    assert (status.mismatch, status.weight, status.percent) == (True, 10, 5.0)
    assert "canary 2 answered 5.00 % of" in status.message
    assert "at a weight of 10 %: more than 2 points off, with 99 % confidence" in status.message
    assert "callers reach stable past the gateway" in status.message


def test_too_many_requests_are_a_mismatch_too_with_other_causes():
    status = sample_ratio.status_of(counting(*[(60, 240)] * 12), "2")
    assert status
    assert status.mismatch
    assert "the gateway sends the canary more" in status.message


def test_a_bias_within_the_room_is_none_however_long_it_lasts():
    known = counting(*[(170, 1830)] * 2000)
    assert known.mismatch is None
    status = sample_ratio.status_of(known, "2")
    assert status
    assert not status.mismatch
    assert status.message == "canary 2 answered 8.50 % of 4,000,000 requests, at a weight of 10 %"


def test_a_window_of_one_arm_that_is_an_interval_longer_proves_nothing():
    """The arms are scraped at different moments: stable's counts reach beyond the canary's."""
    known = counting((0, 1800), (200, 1800), (200, 1800))
    assert known.mismatch is None
    known = counting((200, 1800), (200, 1800), (0, 1800))
    assert known.mismatch is None


def test_an_alarm_needs_two_intervals_at_least():
    assert counting((0, 100_000)).mismatch is None
    assert counting((0, 100_000), (0, 100_000)).mismatch


def test_a_mismatch_lasts_until_the_share_is_proven_right_again():
    known = counting(*[(15, 285)] * 12)
    still = seen(known, *[(30, 270)] * 3)
    assert still
    assert still.mismatch
    status = sample_ratio.status_of(still, "2")
    assert status
    assert "; since then it answered" in status.message
    over = seen(still, *[(30, 270)] * 40)
    assert over
    assert over.mismatch is None


def test_what_was_mended_is_not_held_against_hours_before():
    known = counting(*[(15, 285)] * 2000)
    assert known.mismatch
    assert known.tries == 1
    over = seen(known, *[(30, 270)] * 40)
    assert over
    assert over.mismatch is None


def test_each_further_try_needs_more_evidence_so_that_all_of_them_keep_the_bound():
    assert counting((30, 270)).tries == 1
    again = counting((30, 270)).next_try()
    later = seen(again, (30, 270))
    assert later
    assert later.tries == 2
    bars = [sample_ratio.requests_to_notice(10, 0.05, dispersion=1, step=step) for step in range(4)]
    assert bars == sorted(bars)


def test_another_weight_is_counted_anew():
    known = seen(counting((30, 270)), (150, 150), weight=50)
    assert known
    assert known.counts == (150, 150)
    assert known.tries == 2


def test_a_weight_above_half_is_held_to_what_stable_has():
    assert counting(*[(285, 15)] * 30, weight=90).mismatch
    assert counting(*[(270, 30)] * 30, weight=90).mismatch is None
