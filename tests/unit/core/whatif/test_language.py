"""What is taken of a language model's server in plan and simulate, where nobody has said it."""

from typing import Any

import pytest

from modelrelease_operator.core.observed import Counter
from modelrelease_operator.core.whatif.language import (
    measures_more,
    shown_beside,
    taken_for_granted,
)
from testbed.builders import a_spec

SHOWN = (
    Counter(revision="rev2", pod="a", code="200", value=90),
    Counter(revision="rev2", pod="a", code="503", value=10),
    Counter(revision="rev2", pod="a", bound="2.0", value=80),
    Counter(revision="rev2", pod="a", bound="+Inf", value=100),
)


def beside(*gates: dict[str, Any]) -> list[Counter]:
    named = [{"name": f"gate-{index}", **gate} for index, gate in enumerate(gates)]
    return list(shown_beside(a_spec(analysis={"gates": named}), SHOWN))


@pytest.mark.parametrize(
    ("gate", "bound"),
    [
        ({"latency": {"metric": "timeToFirstToken"}}, "0.2"),
        ({"latency": {"metric": "timePerOutputToken"}}, "0.02"),
        ({"answerTokens": {}}, "2000.0"),
    ],
)
def test_each_metric_is_a_part_of_the_time_to_answer(gate: dict[str, Any], bound: str):
    found = beside(gate)
    assert [(each.bound, each.value) for each in found] == [(bound, 80), ("+Inf", 100)]
    assert {each.metric for each in found} == {
        gate.get("latency", {}).get("metric", "answerTokens")
    }


def test_answers_end_badly_as_often_as_they_fail():
    found = beside({"finishReasons": {"bad": ["length", "abort"]}})
    assert [(each.reason, each.value) for each in found] == [("stop", 90), ("length", 10)]


def test_other_releases_show_nothing_beside():
    assert beside({"errorRate": {}}, {"latency": {}}) == []
    assert not measures_more(a_spec())


def test_what_is_taken_for_each_gate_is_said():
    gates = [
        {"name": "ttft", "latency": {"metric": "timeToFirstToken"}},
        {"name": "ends", "finishReasons": {"bad": ["length", "abort"]}},
        {"name": "tokens", "answerTokens": {}},
        {"name": "errors", "errorRate": {}},
    ]
    assert list(taken_for_granted(a_spec(analysis={"gates": gates}))) == [
        "gate ttft: timeToFirstToken is 0.1 s for each second of an answer (assumed)",
        "gate ends: answers end by length or abort as often as requests fail (assumed)",
        "gate tokens: an answer has 1000 tokens for each second that it takes (assumed)",
    ]
