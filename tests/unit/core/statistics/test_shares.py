"""The evidence that requests are not dealt out by their weight: its bound, and its power."""

import math
from random import Random

import pytest

from modelrelease_operator.core.statistics.random_variates import binomial
from modelrelease_operator.core.statistics.shares import (
    Band,
    Dealt,
    either,
    enough,
    no_excess,
    to_prove_outside,
    too_few,
    too_many,
)

WEIGHTS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
ONE = (Dealt(1, 0), Dealt(0, 1))


def alarm(dealt: Dealt, band: Band) -> float:
    return either(too_few(dealt, band), too_many(dealt, band))


def expected_factor(evidence: tuple[float, ...], share: float) -> float:
    """Return what one request multiplies the evidence by, on average."""
    canary, stable = evidence
    return share * math.exp(canary) + (1 - share) * math.exp(stable)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_a_request_never_adds_to_the_evidence_on_average_while_the_share_is_in_its_band(
    weight: float,
):
    band = Band.around(weight, 0.2)
    few, many = (tuple(ask(one, band) for one in ONE) for ask in (too_few, too_many))
    for step in range(101):
        share = band.low + step / 100 * (band.high - band.low)
        assert expected_factor(few, share) <= 1 + 1e-12
        assert expected_factor(many, share) <= 1 + 1e-12


@pytest.mark.parametrize("weight", WEIGHTS)
def test_nor_to_the_all_clear_while_the_share_is_outside(weight: float):
    band = Band.around(weight, 0.2)
    clear, no_more = (tuple(ask(one, band) for one in ONE) for ask in (enough, no_excess))
    for step in range(1, 100):
        below, above = band.low * step / 100, 1 - (1 - band.high) * step / 100
        assert expected_factor(clear, below) <= 1 + 1e-12
        assert expected_factor(no_more, above) <= 1 + 1e-12


def ever_alarmed(random: Random, share: float, band: Band, *, looks: int, requests: int) -> bool:
    """Look after every so many requests, and say whether the evidence ever reached 100."""
    dealt = Dealt(0, 0)
    for _ in range(looks):
        canary = binomial(random, requests, share)
        dealt = dealt.plus(Dealt(canary, requests - canary))
        if alarm(dealt, band) >= math.log(100):
            return True
    return False


@pytest.mark.parametrize("weight", [0.05, 0.5])
def test_a_gateway_at_the_edge_of_the_band_is_hardly_ever_blamed_however_often_it_is_looked_at(
    weight: float,
):
    band, random = Band.around(weight, 0.2), Random("shares")
    runs = 300
    for share in (band.low, weight, band.high):
        alarms = sum(
            ever_alarmed(random, share, band, looks=200, requests=200) for _ in range(runs)
        )
        # The bound is 1 %: 3 of 300, and 9 would be three deviations more.
        assert alarms <= 8


@pytest.mark.parametrize(("weight", "share"), [(0.1, 0.05), (0.1, 0.2), (0.5, 0.25), (0.9, 0.95)])
def test_a_share_outside_is_proven_after_about_as_many_requests_as_are_expected(
    weight: float, share: float
):
    band, random = Band.around(weight, 0.2), Random("power")
    expected = to_prove_outside(share, band, math.log(100))
    needed = []
    for _ in range(41):
        dealt, requests = Dealt(0, 0), max(1, round(expected / 50))
        while alarm(dealt, band) < math.log(100):
            canary = binomial(random, requests, share)
            dealt = dealt.plus(Dealt(canary, requests - canary))
        needed.append(dealt.total)
    median = sorted(needed)[20]
    assert 0.5 * expected < median < 1.5 * expected


def test_a_share_inside_the_band_is_never_expected_to_be_proven_wrong():
    assert to_prove_outside(0.1, Band.around(0.1, 0.2), math.log(100)) == math.inf


@pytest.mark.parametrize(("weight", "room"), [(0, 0.2), (1, 0.2), (0.1, 0), (0.1, 1)])
def test_a_weight_that_leaves_an_arm_without_requests_has_no_band(weight: float, room: float):
    with pytest.raises(ValueError, match=r"must be in \(0, 1\)"):
        Band.around(weight, room)
