"""Releases on a fake clock: chance has exact laws, the world is as it says,
decisions are the real ones.
"""

import math
from collections import Counter as Tally
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from random import Random
from statistics import mean
from typing import Any

import pytest
from scipy import stats

from modelrelease_contract.metrics import duration_buckets
from modelrelease_operator.core.analysis.assumptions import BINS, BadShares, Shift, Values, grown
from modelrelease_operator.core.statistics.eprocess import ArmCounts
from modelrelease_operator.core.statistics.random_variates import binomial, poisson
from modelrelease_operator.core.whatif.end import End
from modelrelease_operator.core.whatif.fleet import Chance, Course, Group, Scrapes, groups_of
from modelrelease_operator.core.whatif.forecast import forecast
from modelrelease_operator.core.whatif.simulation import (
    LatencyModel,
    Scenario,
    SimulatedRun,
    simulate,
)
from testbed.builders import a_spec

SIZES = [
    (1, 0.3),
    (10, 0.5),
    (40, 0.02),
    (40, 0.97),
    (200, 0.3),
    (2_000, 0.01),
    (5_000, 0.4),
    (100_000, 0.9),
]
MEANS = [0.01, 0.7, 5.0, 29.9, 31.0, 250.0, 12_345.6]


def p_value(drawn: list[int], law: Any) -> float:
    """Compare draws with the exact law, in cells of at least twenty expected draws."""
    counts, cells = Tally(drawn), [[0.0, 0.0]]
    for value in range(int(law.ppf(1e-9)), int(law.isf(1e-9)) + 1):
        cells[-1][0] += counts.pop(value, 0)
        cells[-1][1] += len(drawn) * float(law.pmf(value))
        if cells[-1][1] >= 20:
            cells.append([0.0, 0.0])
    assert not counts, f"impossible values: {counts}"
    last = cells.pop()
    cells[-1] = [cells[-1][0] + last[0], cells[-1][1] + last[1]]
    if len(cells) == 1:
        return 1.0
    seen, expected = zip(*cells, strict=True)
    scale = sum(seen) / sum(expected)
    return float(stats.chisquare(seen, [scale * value for value in expected]).pvalue)


@pytest.mark.parametrize(("count", "share"), SIZES)
def test_binomial_numbers_have_the_exact_law(count: int, share: float):
    random = Random(5)
    assert (
        p_value([binomial(random, count, share) for _ in range(4_000)], stats.binom(count, share))
        > 1e-3
    )


@pytest.mark.parametrize("expected", MEANS)
def test_poisson_numbers_have_the_exact_law(expected: float):
    random = Random(6)
    assert (
        p_value([poisson(random, expected) for _ in range(4_000)], stats.poisson(expected)) > 1e-3
    )


@pytest.mark.parametrize(
    ("draw", "value"),
    [
        (lambda random: binomial(random, 0, 0.5), 0),
        (lambda random: binomial(random, 7, 0.0), 0),
        (lambda random: binomial(random, 7, 1.0), 7),
        (lambda random: binomial(random, 10**9, 1.0), 10**9),
        (lambda random: poisson(random, 0.0), 0),
    ],
    ids=["no trials", "no chance", "certainty", "certainty at any size", "nobody comes"],
)
def test_there_is_no_chance_at_the_ends(draw: Callable[[Random], int], value: int):
    assert draw(Random(1)) == value


def test_a_thousand_million_trials_take_no_longer_than_a_few():
    drawn = [binomial(Random(seed), 10**9, 0.001) for seed in range(200)]
    assert abs(mean(drawn) - 10**6) < 5 * 1_000 / math.sqrt(200)


def test_latency_is_lognormal_between_its_two_figures():
    law = LatencyModel(median=0.08, p99=0.256)
    assert law.within(0.08) == pytest.approx(0.5)
    assert law.within(0.256) == pytest.approx(0.99)
    assert law.within(0.16, stretch=2) == pytest.approx(0.5)
    assert law.within(math.inf) == 1


@pytest.mark.parametrize(("median", "p99"), [(0.0, 1.0), (0.2, 0.2), (0.3, 0.2)])
def test_a_latency_whose_figures_contradict_each_other_is_refused(median: float, p99: float):
    with pytest.raises(
        ValueError, match="the median must be above 0 and below the 99th percentile"
    ):
        LatencyModel(median=median, p99=p99)


def a_scenario(**changes: Any) -> Scenario:
    return Scenario(
        **{
            "rps": 200.0,
            "stable_errors": 0.01,
            "canary_errors": 0.01,
            "bounds": duration_buckets(),
            **changes,
        }
    )


SPEC = a_spec(canary={"weight": 50}, serving={"replicas": 2})


def outcomes(scenario: Scenario, *, runs: int = 12, spec: Any = SPEC) -> list[SimulatedRun]:
    return [simulate(spec, scenario, Random(f"7/{run}")) for run in range(runs)]


def ends(found: list[SimulatedRun]) -> set[End]:
    return {it.end for it in found}


def test_a_canary_as_good_as_stable_is_promoted():
    assert ends(outcomes(a_scenario())) == {End.PROMOTED}


def test_a_canary_that_fails_three_times_as_often_is_rolled_back():
    found = outcomes(a_scenario(canary_errors=0.03))
    assert ends(found) == {End.ROLLED_BACK}
    assert "canary new fails " in found[0].message
    assert "worse than 1.1 times stable's plus 0.05 points" in found[0].message


def test_a_canary_that_is_slower_is_rolled_back_for_its_latency():
    found = outcomes(a_scenario(latency_ratio=1.5))
    assert ends(found) == {End.ROLLED_BACK}
    assert "worse than stable's latency times 1.2" in found[0].message


def test_a_canary_between_tolerance_and_margin_waits_for_a_person_at_the_deadline():
    spec = a_spec(canary={"weight": 50, "progressDeadline": "5m"}, serving={"replicas": 2})
    (found,) = outcomes(a_scenario(canary_errors=0.0149, rps=20.0), runs=1, spec=spec)
    assert found.end is End.INCONCLUSIVE
    # The deadline counts from the first client on, without the time that pods took to start.
    assert 310 <= found.seconds <= 330


def test_a_canary_that_becomes_worse_after_its_promotion_is_promoted():
    late = a_scenario(canary_errors=0.5, onset=timedelta(hours=5))
    assert ends(outcomes(late)) == {End.PROMOTED}


def test_a_late_onset_is_caught_after_it_and_not_before():
    spec = a_spec(canary={"steps": [{"weight": 50, "bake": "1h"}]}, serving={"replicas": 2})
    for found in outcomes(
        a_scenario(canary_errors=0.2, onset=timedelta(minutes=30)), runs=4, spec=spec
    ):
        assert found.end is End.ROLLED_BACK
        assert 1800 < found.seconds < 2400


def test_arms_that_are_scraped_at_different_moments_change_nothing_for_a_healthy_canary():
    lagging = a_scenario(scrapes=Scrapes(interval=60.0), stable_errors=0.05, canary_errors=0.05)
    assert ends(outcomes(lagging)) == {End.PROMOTED}


@pytest.mark.parametrize("every", [2.0, 15.0, 120.0])
def test_a_canary_that_fails_is_rolled_back_within_three_scrapes_and_half_a_minute(every: float):
    found = outcomes(a_scenario(canary_errors=1.0, scrapes=Scrapes(interval=every)))
    assert ends(found) == {End.ROLLED_BACK}
    assert all(it.seconds <= 10 + 3 * every + 30 for it in found)


def test_a_shared_outage_seen_by_two_servers_with_restarts_blames_nobody():
    outage = Course(((0, 0.001), (90, 0.001), (90, 0.2), (400, 0.2), (400, 0.001)))
    scene = a_scenario(
        shared=outage, pods_restart=50.0, servers_restart=110.0,
        scrapes=Scrapes(interval=30.0, servers=2, jitter=5.0, missed=0.1),
    )  # fmt: skip
    assert End.ROLLED_BACK not in ends(outcomes(scene))


def test_a_course_has_the_mean_of_its_lines_and_jumps():
    course = Course(((10, 0.0), (20, 0.2), (20, 0.5), (30, 0.5), (30, 0.1)))
    assert course.at(15) == pytest.approx(0.1)
    assert (course.at(0), course.at(20), course.at(99)) == (0.0, 0.5, 0.1)
    assert course.mean(0, 20) == pytest.approx(0.05)
    assert course.mean(15, 25) == pytest.approx((0.75 + 2.5) / 10)
    assert course.mean(25, 40) == pytest.approx((2.5 + 1.0) / 15)


def test_hundreds_of_pods_are_scraped_in_a_few_groups():
    assert [list(groups_of(pods)) for pods in (1, 3, 5, 300)] == [
        [1],
        [1] * 3,
        [2, 1, 1, 1],
        [75] * 4,
    ]


def test_a_scrape_shows_the_counters_of_its_moment_and_no_later_ones():
    random = Random(1)
    group = Group(name="stable-1", size=1, ready_at=0.0, born=0.0, until=0.0)
    scrapes = Scrapes(interval=30.0, servers=2)
    group.begin_scrapes(scrapes, random, 0.0)

    def draw(it: Group, until: float) -> None:
        it.counters = {("code", "200"): int(until)}

    group.scrape_before(100.0, draw, Chance(scrapes, random))
    assert {counters["code", "200"] for _, _, counters in group.shown.values()} == {
        int(at) for at, _, _ in group.shown.values()
    }
    assert all(70 < at <= 100 for at, _, _ in group.shown.values())
    group.restart(100.0)
    group.scrape_before(131.0, lambda *_: None, Chance(scrapes, random))
    assert all(
        born == 100.0 and counters == {("code", "200"): 0}
        for _, born, counters in group.shown.values()
    )


def test_a_scrape_that_takes_no_time_is_refused():
    with pytest.raises(ValueError, match="must be above 0, got 0 s, 1"):
        Scrapes(interval=0)


def test_the_same_chance_gives_the_same_release():
    assert outcomes(a_scenario(), runs=3) == outcomes(a_scenario(), runs=3)


def test_neither_a_pause_nor_an_approval_stops_a_simulation():
    held = SPEC.model_copy(
        update={"paused": True, "canary": SPEC.canary.model_copy(update={"approval": "Manual"})}
    )
    assert ends(outcomes(a_scenario(), runs=2, spec=held)) == {End.PROMOTED}


def test_requests_and_bad_answers_are_those_that_the_canary_got():
    for found in outcomes(a_scenario(canary_errors=0.03)):
        due = found.canary_requests * 0.03
        assert abs(found.bad_answers - due) < 5 * math.sqrt(due)
        assert found.canary_requests < 200 * found.seconds * 0.6


def test_pods_that_take_too_long_are_given_up():
    slow = a_scenario(pod_start=timedelta(minutes=11))
    (found,) = outcomes(slow, runs=1)
    assert found.end is End.ROLLED_BACK
    assert "pods were ready" in found.message
    assert found.canary_requests == 0


@pytest.mark.parametrize(
    "changes",
    [{"rps": 0.0}, {"latency_ratio": 0.0}, {"canary_errors": 1.5}, {"stable_errors": -0.1}],
    ids=str,
)
def test_a_world_that_cannot_be_is_refused(changes: dict[str, float]):
    with pytest.raises(ValueError, match="must be"):
        a_scenario(**changes)


COUNTS = {
    "name": "refunds",
    "counts": {"bad": "x{r='{{revision}}'}", "total": "y{r='{{revision}}'}"},
}
ANSWERS = {"name": "answers", "predictions": {}}
QUEUE = {"name": "queue", "threshold": {"query": "z", "max": 0.5, "consecutive": 3}}
OWN = a_spec(
    canary={"weight": 50}, serving={"replicas": 2}, analysis={"gates": [COUNTS, ANSWERS, QUEUE]}
)


def own(**given: Any) -> list[SimulatedRun]:
    return outcomes(a_scenario(given=given), spec=OWN)


def test_gates_of_ones_own_promote_a_canary_of_which_nothing_bad_is_said():
    assert ends(own()) == {End.PROMOTED}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"refunds": BadShares(stable=0.01, canary=0.05)},
            "canary new is bad by gate refunds for ",
        ),
        ({"answers": Shift(share=0.3)}, "canary new predicts in bin "),
        (
            {"queue": Values(values=(0.4, 0.9))},
            "gate queue: 0.9 is not at most 0.5, 3 of 3 looks in a row",
        ),
    ],
    ids=["counts", "predictions", "threshold"],
)
def test_a_gate_of_ones_own_rolls_back_for_what_it_is_given_to_see(given: Any, sentence: str):
    found = own(**given)
    assert ends(found) == {End.ROLLED_BACK}
    assert all(it.message.startswith(sentence) for it in found)


def test_counts_go_bad_as_often_as_requests_fail_unless_somebody_says_otherwise():
    scene = a_scenario(canary_errors=0.05, given={"answers": Shift(share=0.1)})
    assert scene.assumptions(OWN) == {
        "refunds": BadShares(stable=0.01, canary=0.05),
        "answers": Shift(share=0.1),
        "queue": Values(values=(0.5,)),
    }
    assert ends(outcomes(a_scenario(canary_errors=0.05), spec=OWN)) == {End.ROLLED_BACK}


def test_what_gates_are_given_sets_in_with_everything_else():
    given = {"queue": Values(values=(0.9,))}
    late = a_scenario(given=given, onset=timedelta(hours=5))
    assert ends(outcomes(late, spec=OWN)) == {End.PROMOTED}


@pytest.mark.parametrize("values", [(0.9, 0.9, 0.4), (0.4, 0.9, 0.9, 0.4)])
def test_a_threshold_sees_one_value_a_look_and_the_last_one_stays(values: tuple[float, ...]):
    assert ends(own(queue=Values(values=values))) == {End.PROMOTED}
    assert ends(own(queue=Values(values=(*values[:-1], 0.9)))) == {End.ROLLED_BACK}


def test_answers_are_dealt_to_bins_by_their_shares():
    shift = Shift(share=0.2)
    found = grown(Random(3), {"answers": shift}, 200_000, canary=True)
    counts = [found["bin", str(place)] for place in range(BINS)]
    assert sum(counts) == 200_000
    assert stats.chisquare(counts, [200_000 * share for share in shift.bins]).pvalue > 1e-3
    assert sum(shift.bins) == pytest.approx(1)
    assert grown(Random(3), {"answers": Shift(share=1.0)}, 70, canary=True)["bin", "0"] == 70


PROBED = a_spec(
    canary={"weight": 50, "progressDeadline": "30m"},
    serving={"replicas": 2},
    analysis={"probe": {"rate": 40}, "gates": [{"name": "errors", "errorRate": {}}]},
)


def test_without_users_a_release_ends_by_its_probes():
    assert ends(outcomes(a_scenario(rps=0.001), spec=PROBED)) == {End.PROMOTED}
    assert ends(outcomes(a_scenario(rps=0.001, canary_errors=0.05), spec=PROBED)) == {
        End.ROLLED_BACK
    }


def test_probes_are_no_requests_of_a_simulated_canary():
    (found,) = outcomes(a_scenario(rps=0.001), spec=PROBED, runs=1)
    assert found.canary_requests < 10


AN_END = SimulatedRun(
    end=End.PROMOTED,
    seconds=10.0,
    canary_requests=100,
    bad_answers=1,
    step=1,
    message="version 2 serves",
)


def test_a_forecast_counts_ends_and_takes_medians():
    slow = replace(AN_END, seconds=30.0, canary_requests=300, bad_answers=3)
    bad = replace(AN_END, end=End.ROLLED_BACK, seconds=5.0, step=0, message="worse")
    found = forecast([AN_END, slow, slow, bad], steps=2)
    assert found.ends[End.PROMOTED].share == 0.75
    assert found.ends[End.INCONCLUSIVE].share == 0
    assert found.overall.seconds == 20
    assert found.by_end[End.PROMOTED].seconds == 30
    assert found.by_step == {End.PROMOTED: [0, 3], End.ROLLED_BACK: [1, 0]}
    assert found.reasons[End.ROLLED_BACK] == "worse"
    assert End.INCONCLUSIVE not in found.by_end


def test_few_runs_give_a_wide_interval():
    sure = forecast([AN_END] * 4, steps=2).ends[End.ROLLED_BACK].interval
    assert (sure.lower, round(sure.upper, 2)) == (0.0, 0.49)
    assert ArmCounts(total=4, bad=0).rate == 0


def test_a_forecast_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one run"):
        forecast([], steps=1)


def test_by_a_gateway_the_canary_has_its_weight_of_the_requests_and_not_its_pods_share():
    canary = {
        "steps": [{"weight": 1, "bake": "5m"}],
        "routing": {"gatewayAPI": {"parentRefs": [{"name": "public"}]}},
    }
    spec = a_spec(serving={"replicas": 3}, canary=canary)
    scenario = a_scenario(rps=1000.0)
    run = simulate(spec, scenario, Random(1))
    share = run.canary_requests / (run.with_clients * scenario.rps)
    assert run.canary_requests > 1000
    assert share == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("rps", [20.0, 500.0], ids=["little traffic", "much traffic"])
def test_a_gateway_that_deals_out_half_of_the_weight_promotes_nothing(rps: float):
    canary = {
        "steps": [{"weight": 10}, {"weight": 50}],
        "progressDeadline": "1h",
        "routing": {"gatewayAPI": {"parentRefs": [{"name": "public"}]}},
    }
    scenario = a_scenario(rps=rps, share_ratio=0.5)
    run = simulate(a_spec(serving={"replicas": 3}, canary=canary), scenario, Random(1))
    assert run.end is End.INCONCLUSIVE
    assert "points off, with 99 % confidence" in run.message
    unchecked = a_spec(serving={"replicas": 3}, canary={**canary, "shareCheck": False})
    assert simulate(unchecked, scenario, Random(1)).end is End.PROMOTED


def test_a_share_that_no_gateway_can_give_is_refused():
    with pytest.raises(ValueError, match="the share's ratio must be in"):
        a_scenario(share_ratio=-1.0)


@pytest.mark.parametrize(
    ("parts", "end", "met"),
    [
        ({}, End.PROMOTED, True),
        ({"canary_errors": 0.05}, End.ROLLED_BACK, False),
        ({"canary_errors": 0.2, "onset": timedelta(seconds=1)}, End.ROLLED_BACK, True),
    ],
    ids=["a healthy one", "a bad one", "one that is bad with users alone"],
)
def test_a_switch_is_simulated_until_the_way_back_is_closed(
    parts: dict[str, Any], end: End, met: bool
):
    canary = {"weight": 100, "shadow": {}, "keepPrevious": "3m"}
    run = simulate(a_spec(canary=canary), a_scenario(rps=50.0, **parts), Random(1))
    assert run.end is end
    assert bool(run.canary_requests) is met
