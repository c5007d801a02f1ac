"""The gates in the shadow: which verdict pairs lead to, and in which words."""

import math
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from modelrelease_contract import shadow as words
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import ShadowStatus, Verdict
from modelrelease_operator.core.analysis.shadow import (
    ANSWERS,
    EXAMPLE,
    FAILURES,
    LATENCY,
    bar_of,
    counted,
    judge_pairs,
    slower_of,
    warm_up_of,
)
from modelrelease_operator.core.observed import PairCounter
from modelrelease_operator.core.statistics.random_variates import binomial
from testbed.builders import START, a_spec


def a_shadow(**changes: Any) -> ShadowStatus:
    counts = {name: changes.pop(name) for name in words.SHADOW_RESULTS if name in changes}
    pairs = sum(
        counts.get(result, 0)
        for result in (
            words.SAME, words.DIFFERENT, words.CANARY_FAILED, words.STABLE_FAILED,
            words.BOTH_FAILED,
        )
    )  # fmt: skip
    return ShadowStatus(since=START, counts=counts, pairs=pairs, begun=True, **changes)


def spec_with(shadow: dict[str, Any] | None = None, **analysis: Any) -> ReleaseSpec:
    return a_spec(canary={"shadow": shadow or {}}, analysis=analysis)


def rows(process: str, **values: int) -> list[PairCounter]:
    return [
        PairCounter(process=process, result=name, value=count) for name, count in values.items()
    ]


def test_pairs_without_a_fault_pass():
    judgement = judge_pairs(spec_with(), a_shadow(same=3000), "2")
    assert judgement.verdict is Verdict.PASS
    assert [gate.name for gate in judgement.gates] == [FAILURES, LATENCY]
    assert "within the margin with 95 % confidence" in judgement.message


def test_too_few_pairs_do_not_pass_however_clean():
    judgement = judge_pairs(spec_with({"pairs": 5000}), a_shadow(same=4000), "2")
    assert judgement.verdict is Verdict.INSUFFICIENT
    assert judgement.message.endswith("4,000 of the 5,000 pairs needed")


def test_enough_pairs_that_prove_too_little_are_told_how_far_they_are():
    judgement = judge_pairs(spec_with(), a_shadow(same=1000, canary_failed=2), "2")
    assert judgement.verdict is Verdict.INSUFFICIENT
    assert judgement.message.endswith("% of the evidence needed to go on")


def test_a_canary_that_fails_alone_is_convicted_with_both_arms_figures():
    judgement = judge_pairs(spec_with(), a_shadow(same=900, canary_failed=60), "2")
    failures = judgement.gates[0]
    assert judgement.verdict is failures.verdict is Verdict.FAIL
    assert (failures.canary_total, failures.canary_bad, failures.stable_bad) == (960, 60, 0)
    assert judgement.message == (
        "canary 2 fails 6.2 % of 960 copied requests, stable 0.0 % of the same: more than 1.1 "
        "times stable's plus 0.05 points, with 99 % confidence"
    )


def test_requests_on_which_both_fail_speak_for_the_canary():
    judgement = judge_pairs(spec_with(), a_shadow(same=900, both_failed=100), "2")
    assert judgement.verdict is Verdict.PASS


def test_answers_above_the_limit_convict_and_below_it_pass_with_their_bound():
    spec = spec_with({"maxDisagreementPercent": 1})
    above = judge_pairs(spec, a_shadow(same=900, different=60), "2")
    assert above.verdict is Verdict.FAIL
    assert "above the limit of 1 %, with 99 % confidence" in above.message
    below = judge_pairs(spec, a_shadow(same=3000, different=3), "2")
    answers = next(gate for gate in below.gates if gate.name == ANSWERS)
    assert answers.verdict is Verdict.PASS
    assert "otherwise than stable: at most 0." in answers.message


def test_the_same_model_is_not_blamed_for_what_stable_differs_from_itself_by():
    spec, random = spec_with({"maxDisagreementPercent": 1}), Random(3)
    for _ in range(40):
        counts = dict.fromkeys((words.SAME, words.DIFFERENT), 0)
        again = dict.fromkeys((words.NOISE_SAME, words.NOISE_DIFFERENT), 0)
        for look in range(40):
            different, differs = binomial(random, 100, 0.03), binomial(random, 10, 0.03)
            counts[words.DIFFERENT] += different
            counts[words.SAME] += 100 - different
            again[words.NOISE_DIFFERENT] += differs
            again[words.NOISE_SAME] += 10 - differs
            judgement = judge_pairs(spec, a_shadow(**counts, **again), "2")
            assert judgement.verdict is not Verdict.FAIL, f"look {look}: {judgement.message}"


def test_one_that_differs_by_much_more_than_stable_from_itself_is_convicted():
    spec = spec_with({"maxDisagreementPercent": 1})
    sure = a_shadow(same=3800, different=200, noise_same=400)
    assert judge_pairs(spec, sure, "2").verdict is Verdict.FAIL


def test_a_canary_that_refused_more_copies_than_it_took_does_not_go_on():
    judgement = judge_pairs(spec_with(), a_shadow(same=3000, busy=9000), "2")
    assert judgement.verdict is Verdict.INSUFFICIENT
    assert judgement.message == "the canary was too busy for 9,000 copies and took 3,000"


@pytest.mark.parametrize(
    "errors", [{"dryRun": True}, {"errorRate": {"compareWithStable": False, "maxPercent": 50}}]
)
def test_failures_convict_nobody_where_no_gate_of_the_owner_s_compares_them(errors: dict[str, Any]):
    gates = [{"name": "errors", "errorRate": {}, **errors}, {"name": "latency", "latency": {}}]
    judgement = judge_pairs(spec_with(gates=gates), a_shadow(same=900, canary_failed=300), "2")
    assert judgement.verdict is Verdict.INSUFFICIENT


def test_processes_that_are_long_gone_are_forgotten():
    known = a_shadow()
    for pod in range(1200):
        known = counted(known, rows(f"pod-{pod}", same=1))
    assert known.pairs == 1200
    assert len(known.processes) == 500


def test_nobody_is_blamed_where_stable_differs_from_itself():
    spec = spec_with({"maxDisagreementPercent": 1})
    noisy = a_shadow(same=900, different=100, noise_same=180, noise_different=20)
    judgement = judge_pairs(spec, noisy, "2")
    assert judgement.verdict is Verdict.INSUFFICIENT
    assert "stable itself breaks the limit of 1 %, so nobody is blamed" in judgement.message


def test_a_canary_that_is_the_slower_one_too_often_is_convicted():
    slow = a_shadow(same=1000, canary_slower=40, stable_slower=1, alike=60)
    judgement = judge_pairs(spec_with(), slow, "2")
    assert judgement.verdict is Verdict.FAIL
    assert "was the slower one on 40 of 101 copied requests" in judgement.message


def test_a_canary_that_only_is_colder_than_stable_is_not_convicted_on_example_requests():
    cold = a_shadow(same=50_000, canary_slower=440, stable_slower=190, alike=49_780)
    assert judge_pairs(spec_with(), cold, "2").verdict is Verdict.FAIL
    judgement = judge_pairs(spec_with(), cold, "2", asked=EXAMPLE)
    assert judgement.verdict is Verdict.PASS
    slow = a_shadow(same=1000, canary_slower=40, stable_slower=1, alike=60)
    judgement = judge_pairs(spec_with(), slow, "2", asked=EXAMPLE)
    assert judgement.verdict is Verdict.FAIL
    assert "40 of 101 example requests" in judgement.message
    assert "more often than stable plus 2 points" in judgement.message


def test_being_slower_as_often_as_stable_holds_nothing_up():
    alike = a_shadow(same=3000, canary_slower=50, stable_slower=50, alike=100)
    assert judge_pairs(spec_with(), alike, "2").verdict is Verdict.PASS


def test_a_release_without_a_gate_on_latency_compares_none():
    spec = spec_with(gates=[{"name": "errors", "errorRate": {}}])
    slow = a_shadow(same=3000, canary_slower=200)
    assert judge_pairs(spec, slow, "2").verdict is Verdict.PASS
    assert warm_up_of(spec).total_seconds() == 0


def test_the_lines_are_those_of_the_release_s_own_gates():
    spec = spec_with(
        gates=[
            {"name": "e", "errorRate": {"tolerated": {"ratio": 1, "points": 20},
             "margin": {"ratio": 1, "points": 30}}},
            {"name": "l", "latency": {"tolerated": {"ratio": 3, "milliseconds": 40},
             "warmUp": "1m"}},
        ]
    )  # fmt: skip
    assert judge_pairs(spec, a_shadow(same=2700, canary_failed=300), "2").verdict is Verdict.PASS
    assert slower_of(spec) == (3, 0.04)
    assert warm_up_of(spec).total_seconds() == 60


def test_the_shadow_s_bar_leaves_the_release_its_one_budget():
    assert math.exp(bar_of(spec_with())) == pytest.approx((100 - 0.8) / 0.2)


def test_what_the_first_look_shows_is_only_recorded():
    known = counted(ShadowStatus(since=START), rows("a", same=70))
    assert (known.pairs, known.begun) == (0, True)
    known = counted(known, [*rows("a", same=90), *rows("b", same=5)])
    assert known.pairs == 25


def test_an_older_sample_of_another_server_takes_nothing_back_and_adds_nothing():
    known = counted(a_shadow(processes={}), rows("a", same=100))
    known = counted(known, rows("a", same=80))
    known = counted(known, rows("a", same=120))
    assert known.pairs == 120


def test_a_process_that_two_targets_show_is_counted_once():
    known = counted(a_shadow(), [*rows("a", same=50), *rows("a", same=45)])
    assert known.pairs == 50


def test_a_process_that_began_anew_adds_its_own():
    known = counted(a_shadow(), rows("pod/1", same=50))
    known = counted(known, [*rows("pod/1", same=50), *rows("pod/2", same=7)])
    assert known.pairs == 57


def test_a_result_that_only_a_newer_predictor_knows_is_left_out():
    assert counted(a_shadow(), rows("a", same=5, sideways=9)).pairs == 5


def test_dropped_and_unreachable_copies_are_no_pairs():
    known = counted(a_shadow(), rows("a", dropped=5, unreachable=9))
    assert known.pairs == 0
    assert known.counts[words.UNREACHABLE] == 9


def test_a_status_in_the_shadow_is_read_as_it_was_written():
    known = a_shadow(same=5, processes={"pod/1": [1] * 14}, rollback_log=-0.5)
    again = ShadowStatus.model_validate(known.model_dump(mode="json", by_alias=True))
    assert again == known
    assert known.since == datetime(2026, 11, 1, 12, tzinfo=UTC)
