"""What a release will take: worked out from the tests that it uses,
and held against simulated releases.
"""

import math
from collections.abc import Iterable
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from modelrelease_contract.metrics import duration_buckets
from modelrelease_operator.core.statistics.eprocess import (
    EProcess,
    Guardrail,
    Tolerance,
    expected_requests,
)
from modelrelease_operator.core.statistics.sample_size import to_breach, to_reach, to_stay_below
from modelrelease_operator.core.whatif.end import IN_SHADOW
from modelrelease_operator.core.whatif.forecast import forecast
from modelrelease_operator.core.whatif.planning import Conditions, Journey, Limiter, Plan, plan
from modelrelease_operator.core.whatif.simulation import Scenario, simulate
from modelrelease_operator.core.whatif.warnings import warnings_of
from testbed.builders import a_spec

ERRORS = {"name": "errors", "errorRate": {}}
LATENCY = {"name": "latency", "latency": {}}


def conditions(**changes: Any) -> Conditions:
    return Conditions(
        **{"rps": 20.0, "stable_errors": 0.01, "bounds": duration_buckets(), **changes}
    )


def planned(spec: Any = None, **changes: Any) -> Plan:
    return plan(spec or a_spec(), conditions(**changes))


def warned(spec: Any = None, **changes: Any) -> str:
    spec, given = spec or a_spec(), conditions(**changes)
    return "\n".join(warnings_of(spec, given, plan(spec, given)))


def test_probes_are_announced_as_traffic_and_share_the_probability_of_a_false_rollback():
    probed = a_spec(analysis={"probe": {"rate": 20}})
    assert "probes add 20 requests a second to the 20 of users" in warned(probed)
    assert "probes" not in warned()
    with_probes, without = planned(probed).steps[0], planned().steps[0]
    assert with_probes.requests == without.requests
    assert with_probes.catches[0].requests > without.catches[0].requests


def journey(made: Plan, ratio: float) -> Journey:
    return next(it for it in made.journeys if it.ratio == ratio)


def gates(*given: dict[str, Any], **analysis: Any) -> Any:
    return a_spec(analysis={"gates": list(given), **analysis})


def test_steps_have_the_weight_that_pods_can_give():
    assert [(step.weight, round(step.effective), step.replicas) for step in planned().steps] == [
        (25, 25, 1), (50, 50, 3),
    ], "5, 10 and 25 % are the same pods, and one step"  # fmt: skip


def test_a_later_step_needs_more_because_what_it_lets_through_reaches_more_users():
    needs = [step.requests for step in planned().steps]
    assert needs == sorted(needs)


def test_time_adds_up_over_the_steps():
    made = planned()
    times = [step.time for step in made.steps if step.time is not None]
    assert made.steps[-1].so_far == timedelta(seconds=10) + sum(times, timedelta(0))


def test_more_traffic_brings_the_same_requests_sooner():
    slow, fast = planned(rps=20.0).steps[0], planned(rps=200.0).steps[0]
    assert slow.requests == pytest.approx(fast.requests, rel=0.01)
    assert slow.time is not None
    assert fast.time is not None
    assert slow.time > fast.time


def test_a_long_bake_is_what_a_step_waits_for():
    spec = a_spec(canary={"steps": [{"weight": 50, "bake": "2h"}]})
    (step,) = planned(spec).steps
    assert step.limiter is Limiter.BAKE
    assert step.time == timedelta(hours=2, seconds=1)


def test_a_high_minimum_of_requests_is_what_a_step_waits_for():
    (step,) = planned(a_spec(canary={"weight": 50}, analysis={"minRequests": 50_000})).steps
    assert (step.limiter, step.requests) == (Limiter.MIN_REQUESTS, 50_000)


@pytest.mark.parametrize("every", [15, 30, 60, 120])
def test_a_step_begins_closes_and_confirms_by_scrapes(every: int):
    at_once = a_spec(canary={"steps": [{"weight": 50, "bake": "0s"}]})
    made = planned(at_once, rps=20_000.0, scrape_interval=timedelta(seconds=every))
    assert made.steps[0].time == timedelta(seconds=1 + 2 * every)
    assert made.steps[0].catches[-1].time == timedelta(seconds=1 + 3 * every)


def test_a_worse_regression_is_caught_sooner_and_meets_fewer_users():
    catches = planned().steps[0].catches
    assert [catch.ratio for catch in catches] == [1.5, 2.0, 5.0]
    for worse, bad in zip(catches[1:], catches, strict=False):
        assert worse.time is not None
        assert bad.time is not None
        assert worse.time < bad.time
        assert worse.bad_answers < bad.bad_answers


def test_a_regression_within_the_tolerance_is_never_caught():
    catch = planned(stable_errors=0.0005).steps[0].catches[0]
    assert (catch.requests, catch.time) == (math.inf, None)


def test_gates_share_alpha_so_one_gate_alone_catches_sooner():
    alone = planned(gates(ERRORS)).steps[0].catches[0].requests
    assert alone < planned(gates(ERRORS, LATENCY)).steps[0].catches[0].requests


def test_evidence_against_a_canary_adds_up_over_the_steps():
    found = journey(planned(), 1.5)
    assert (found.end, found.step) == ("rolled_back", 2)
    assert found.requests > planned().steps[0].requests


def test_a_healthy_canary_is_promoted_when_all_its_steps_are_done():
    made = planned()
    found = journey(made, 1.0)
    assert found.end == "promoted"
    assert made.steps[-1].so_far is not None
    assert timedelta(0) <= found.time - made.steps[-1].so_far <= timedelta(seconds=1)


def test_a_release_that_is_too_slow_for_its_deadline_ends_at_it():
    spec = a_spec(canary={"progressDeadline": "10m"})
    found = journey(planned(spec), 1.0)
    assert (found.end, found.time) == ("inconclusive", timedelta(minutes=10))


def test_a_stable_that_never_fails_is_planned_for_too():
    made = planned(stable_errors=0.0)
    assert journey(made, 1.0).end == "promoted"
    assert all(catch.time is None for catch in made.steps[0].catches)


def test_a_canary_that_always_fails_is_the_worst_there_is():
    assert journey(planned(stable_errors=0.5), 5.0).end == "rolled_back"


def test_an_absolute_limit_catches_what_breaks_it_and_waits_for_what_keeps_it():
    limit = {"name": "limit", "errorRate": {"compareWithStable": False, "maxPercent": 3}}
    made = planned(gates(limit))
    caught = {catch.ratio: catch.requests for catch in made.steps[0].catches}
    assert caught[2.0] == math.inf
    assert caught[5.0] < 2_000
    assert 50 < made.steps[0].requests < 1_000


def test_a_limit_that_stable_itself_breaks_lets_nothing_pass():
    limit = {"name": "limit", "errorRate": {"maxPercent": 0.5}}
    assert planned(gates(limit)).steps[0].limiter is Limiter.NEVER
    assert "step 3 never passes at a stable error rate of 1 %" in warned(gates(limit))


def test_the_mean_of_the_designs_is_reached_no_later_than_its_best_design_alone():
    for test in (EProcess.regression(Tolerance(ratio=1.1, points=0.0005)),
                 EProcess.non_inferiority(Tolerance(ratio=1.25, points=0.005))):  # fmt: skip
        ratio = 3.0 if test.designs[0] > 1.25 else 1.0
        given: dict[str, float] = {"stable_rate": 0.01, "ratio": ratio, "weight": 0.1}
        alone = expected_requests(test, **given, alpha=0.01)
        assert 0.5 * alone < to_reach(test, **given, probability=0.01) <= alone


def test_what_does_not_grow_is_never_reached():
    test = EProcess.regression(Tolerance(ratio=1.1, points=0.0005))
    assert to_reach(test, stable_rate=0.01, ratio=1.0, weight=0.1, probability=0.01) == math.inf
    assert to_breach(Guardrail(limit=0.05), 0.04, 0.01) == math.inf
    margin = EProcess.non_inferiority(Tolerance(ratio=1.0, points=0.05))
    assert to_stay_below(margin, 0.06, 0.05) == math.inf
    assert to_stay_below(margin, 0.0, 0.05) < 200


@pytest.mark.parametrize(
    ("spec", "changes", "sentence"),
    [
        (a_spec(), {"rps": 0.1}, "progressDeadline (6h) is too short for this traffic"),
        (a_spec(canary={"progressDeadline": "40m"}), {}, (
            "an unlucky one would pause as "
            "inconclusive"
        )),
        (a_spec(), {"stable_errors": 0.001}, "twice as often (0.2 %) is promoted, not caught"),
        (a_spec(canary={"weight": 50, "progressDeadline": "5m"}), {}, (
            "not caught within "
            "progressDeadline"
        )),
        (a_spec(), {}, "5 % becomes 25 %, 10 % becomes 25 %; 19 replicas would allow 5 %"),
        (a_spec(canary={"weight": 80}), {}, "80 % becomes 50 %; stable keeps all its pods"),
        (a_spec(paused=True), {}, "spec.paused is true"),
        (gates(LATENCY), {}, "no gate looks at errors"),
    ],
    ids=["too little traffic", "a close call", "a regression that passes", (
        "a regression that is not "
        "proven"
    ),
         "few pods", "more than half", "paused", "blind to errors"],
)  # fmt: skip
def test_what_will_disappoint_is_said_with_what_to_change(
    spec: Any, changes: dict[str, float], sentence: str
):
    assert sentence in warned(spec, **changes)


QUEUE = {"name": "queue", "threshold": {"query": "z", "max": 0.5, "consecutive": 100}}
COUNTS = {
    "name": "refunds",
    "counts": {"bad": "x{r='{{revision}}'}", "total": "y{r='{{revision}}'}"},
}


def test_a_threshold_makes_a_step_last_as_many_looks_as_it_needs_in_a_row():
    made = planned(gates(ERRORS, QUEUE), rps=2000.0, scrape_interval=timedelta(seconds=10))
    assert {step.limiter for step in made.steps} == {Limiter.LOOKS}
    assert made.steps[0].time == timedelta(seconds=991)
    # Two looks within one scrape see the same: at 15 s every second look counts.
    assert planned(gates(ERRORS, QUEUE), rps=2000.0).steps[0].time == timedelta(seconds=1981)
    shown = planned(gates(ERRORS, {**QUEUE, "dryRun": True}), rps=2000.0)
    assert Limiter.LOOKS not in {step.limiter for step in shown.steps}


def test_predictions_that_are_alike_pass_and_are_waited_for():
    (first, *_) = planned(gates({"name": "answers", "predictions": {}})).steps
    assert 100 <= first.by_gate["answers"] == first.requests < math.inf
    assert "no gate looks at errors" in warned(gates({"name": "answers", "predictions": {}}))


def test_counts_of_ones_own_need_what_errors_need():
    (first, *_) = planned(gates(ERRORS, COUNTS)).steps
    assert first.by_gate["refunds"] == first.by_gate["errors"] == first.requests


def test_a_gate_that_is_only_shown_is_waited_for_by_nothing():
    strict = {"name": "limit", "errorRate": {"maxPercent": 0.5}, "dryRun": True}
    assert planned(gates(ERRORS, strict)) == planned(gates(ERRORS))


def test_a_release_of_thresholds_alone_has_a_plan():
    made = planned(gates(QUEUE))
    assert journey(made, 5.0).end == "promoted"
    assert made.blind


def test_a_plan_that_will_do_has_no_warnings():
    spec = a_spec(serving={"replicas": 9}, canary={"steps": [{"weight": 10}, {"weight": 50}]})
    assert warned(spec) == ""


def simulated(spec: Any, canary_errors: float, runs: int = 40) -> Any:
    scenario = Scenario(
        rps=200.0, stable_errors=0.01, canary_errors=canary_errors, bounds=duration_buckets()
    )
    return forecast([simulate(spec, scenario, Random(f"9/{run}")) for run in range(runs)], steps=1)


def near(figures: Iterable[tuple[float, float]]) -> None:
    for worked_out, seen in figures:
        assert 0.75 * seen < worked_out < 1.5 * seen


@pytest.mark.parametrize("ratio", [1.0, 2.0])
def test_medians_of_simulated_releases_lie_near_the_plan(ratio: float):
    spec = a_spec(canary={"weight": 25})
    found = journey(planned(spec, rps=200.0), ratio)
    seen = simulated(spec, 0.01 * ratio)
    assert {end.value: it.share for end, it in seen.ends.items()}[found.end] > 0.9
    near(
        [
            (found.requests, seen.overall.canary_requests),
            (found.bad_answers, seen.overall.bad_answers),
        ]
    )


GATEWAY = {"gatewayAPI": {"parentRefs": [{"name": "public"}]}}


def test_a_plan_says_when_a_share_that_is_off_is_noticed_where_a_gateway_deals():
    canary = {"steps": [{"weight": 10}, {"weight": 50}], "routing": GATEWAY}
    first, second = planned(a_spec(canary=canary)).share
    assert first.requests > second.requests > 100
    assert timedelta(minutes=1) < second.time < first.time < timedelta(minutes=4)
    assert planned(a_spec(canary={**canary, "shareCheck": False})).share == ()
    assert planned(a_spec(canary={"steps": canary["steps"]})).share == ()


def test_the_last_step_lasts_until_the_share_could_be_proven_wrong():
    canary = {"steps": [{"weight": 10, "bake": "0s"}, {"weight": 50, "bake": "0s"}]}
    settings = {"rps": 10_000.0, "stable_errors": 0.0}
    checked = planned(a_spec(canary={**canary, "routing": GATEWAY}), **settings).steps
    unchecked = planned(
        a_spec(canary={**canary, "routing": GATEWAY, "shareCheck": False}), **settings
    ).steps
    assert checked[0].time == unchecked[0].time
    assert checked[1].time
    assert unchecked[1].time
    assert checked[1].time >= timedelta(seconds=10 + 6 * 15) > unchecked[1].time


SWITCH = {"steps": [{"weight": 100, "bake": "5m"}], "shadow": {}, "keepPrevious": "10m"}


def test_a_switch_takes_a_version_back_that_is_far_worse_than_what_was_before():
    made = planned(a_spec(canary=SWITCH), rps=50.0, stable_errors=0.02)
    (step,) = made.steps
    assert step.effective == 100
    assert step.requests == 0
    assert step.time
    assert step.time >= timedelta(minutes=5)
    twice, five = step.catches[1], step.catches[2]
    assert twice.time is None, "beside the past, twice as many are not suspicious"
    assert five.time
    assert five.time < timedelta(minutes=10)
    assert five.bad_answers > 0


def test_a_healthy_version_switches_without_a_request_before():
    made = planned(a_spec(canary=SWITCH), rps=50.0)
    healthy = journey(made, 1.0)
    assert (healthy.end, healthy.requests) == ("promoted", 0)
    assert journey(made, 2.0).end == "rolled_back"
    assert journey(made, 2.0).step == IN_SHADOW


def test_without_a_shadow_what_a_switch_cannot_find_is_said():
    canary = {"weight": 100, "approval": "Manual"}
    said = warned(a_spec(canary=canary), rps=50.0)
    assert "a version that fails twice as often (2 %) is not taken back after the switch" in said
    assert "canary.shadow finds it" in said
    assert "shares of pods" not in said


def test_an_autoscaler_without_anything_to_compare_with_is_announced():
    limits = {"limits": {"memory": "1Gi"}}
    spec = a_spec(serving={"autoscaling": {}, "resources": limits})
    assert "set spec.serving.resources.requests.cpu" in warned(spec)
    assert "requests.cpu" not in warned(a_spec(serving={"autoscaling": {}}))
