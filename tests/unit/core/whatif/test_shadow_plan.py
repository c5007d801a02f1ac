"""What a plan and a simulation say of the time before the first user."""

from datetime import timedelta
from random import Random
from typing import Any

import pytest

from modelrelease_contract.metrics import duration_buckets
from modelrelease_operator.core.whatif.end import IN_SHADOW, End
from modelrelease_operator.core.whatif.planning import Conditions, Plan, plan
from modelrelease_operator.core.whatif.simulation import Scenario, SimulatedRun, simulate
from testbed.builders import a_spec


def planned(shadow: dict[str, Any] | None = None, **conditions: Any) -> Plan:
    canary = {} if shadow is None else {"shadow": shadow}
    fields = {"rps": 20, "stable_errors": 0.01, "bounds": duration_buckets(), **conditions}
    return plan(a_spec(canary=canary), Conditions(**fields))


def simulated(shadow: dict[str, Any], seed: int = 1, **parts: Any) -> SimulatedRun:
    fields = {"rps": 20, "stable_errors": 0.01, "canary_errors": 0.01, **parts}
    scenario = Scenario(bounds=duration_buckets(), **fields)
    return simulate(a_spec(canary={"shadow": shadow}), scenario, Random(seed))


def test_a_release_without_a_shadow_has_none_planned():
    assert planned().shadow is None


def test_a_healthy_canary_takes_the_shadow_s_time_more():
    with_shadow, without = planned({}), planned()
    assert with_shadow.shadow
    in_the_dark = with_shadow.shadow.of(1.0).time
    assert in_the_dark
    assert with_shadow.journeys[0].time - without.journeys[0].time == in_the_dark


def test_one_that_fails_twice_as_often_ends_in_the_shadow_with_no_request_of_a_user():
    doubled = next(journey for journey in planned({}).journeys if journey.ratio == 2)
    assert (doubled.end, doubled.step) == (End.ROLLED_BACK, IN_SHADOW)
    assert (doubled.requests, doubled.bad_answers) == (0, 0)


def test_a_deadline_too_short_for_the_pairs_ends_without_a_verdict():
    healthy = planned({"deadline": "1m"}).journeys[0]
    assert (healthy.end, healthy.step) == (End.INCONCLUSIVE, IN_SHADOW)
    assert healthy.time == timedelta(seconds=70)


def test_copies_are_bounded_by_the_traffic_and_by_the_pods():
    slow, fast = planned({"share": 50}), planned({"copiesPerSecond": 2})
    assert slow.shadow
    assert fast.shadow
    assert (slow.shadow.copies_per_second, fast.shadow.copies_per_second) == (10, 6)


def test_example_requests_come_whatever_users_send_and_however_many_pods_there_are():
    serving = {"image": "mlserver:1", "runtime": {"profile": "mlserver"}}
    spec = a_spec(canary={"shadow": {"copiesPerSecond": 8}}, serving=serving)
    rare = Conditions(rps=0.5, stable_errors=0.01, bounds=duration_buckets())
    found = plan(spec, rare).shadow
    assert found
    assert (found.copies_per_second, found.by_examples) == (8, True)
    run = simulate(spec, Scenario(bounds=duration_buckets(), rps=0.5, stable_errors=0.0,
                                  canary_errors=0.3), Random(1))  # fmt: skip
    assert (run.end, run.step) == (End.ROLLED_BACK, IN_SHADOW)


def test_more_pairs_than_the_evidence_needs_are_waited_for():
    few, many = planned({}, stable_errors=1e-6), planned({"pairs": 50_000}, stable_errors=1e-6)
    assert few.shadow
    assert many.shadow
    assert few.shadow.of(1.0).pairs < many.shadow.of(1.0).pairs == 50_000


@pytest.mark.parametrize(
    "parts",
    [{"canary_errors": 0.05}, {"disagreement": 0.05}, {"latency_ratio": 3.0}],
    ids=["fails", "answers otherwise", "slow"],
)
def test_a_simulated_canary_that_is_bad_meets_nobody(parts: dict[str, float]):
    for seed in range(3):
        run = simulated({"maxDisagreementPercent": 1}, seed, **parts)
        assert (run.end, run.step, run.canary_requests) == (End.ROLLED_BACK, IN_SHADOW, 0)


def test_a_simulated_canary_that_is_good_is_promoted_after_the_shadow():
    run = simulated({}, rps=200, stable_errors=0.0, canary_errors=0.0)
    assert run.end is End.PROMOTED
    assert run.with_clients < run.seconds


def test_a_canary_that_becomes_worse_with_its_users_passes_the_shadow_and_is_caught_later():
    run = simulated({}, rps=200, canary_errors=0.2, onset=timedelta(minutes=1))
    assert run.end is End.ROLLED_BACK
    assert run.step >= 0
