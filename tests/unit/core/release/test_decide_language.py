"""Language models: a canary is judged by its first token, by why answers end, and their length.

The world's server counts as vLLM does; tests/unit/serving_runtimes shows that its names are read.
"""

from typing import Any

import pytest

from modelrelease_operator.api.status import Phase, Reason, Recipe, Target
from modelrelease_operator.serving_runtimes import refusal_of_runtime
from testbed.builders import a_spec, a_target
from testbed.world import Behaviour, World, a_world

VLLM: dict[str, Any] = {"profile": "vllm", "args": ["$(MODEL_PATH)"]}
RECIPE = Recipe(image="vllm/vllm-openai:v0.11", runtime=VLLM, fetch_image="serving:test")
GATES: list[dict[str, Any]] = [
    {"name": "errors", "errorRate": {}},
    {"name": "ttft", "latency": {"metric": "timeToFirstToken", "warmUp": "15s"}},
    {"name": "ends", "finishReasons": {"bad": ["length", "abort"]}},
    {"name": "tokens", "answerTokens": {}},
]


def version(number: str) -> Target:
    return a_target(number, recipe=RECIPE)


def releasing(canary: Behaviour, gates: list[dict[str, Any]] | None = None) -> World:
    """Build a world in which vLLM serves version 1 and version 2 is asked for."""
    analysis = {"interval": "5s", "gates": gates or GATES}
    world = a_world(target=version("1"), analysis=analysis).run().release(version("2"))
    world.behaviours["rev2"] = canary
    return world


def test_a_canary_that_answers_as_stable_does_is_promoted():
    world = releasing(Behaviour())
    world.run(until=Phase.PROMOTING)
    assert {gate.name: gate.verdict.value for gate in world.status.gates} == {
        "errors": "Pass", "ttft": "Pass", "ends": "Pass", "tokens": "Pass",
    }  # fmt: skip
    assert world.run().stable.version == "2"


@pytest.mark.parametrize(
    ("canary", "says"),
    [
        pytest.param(
            Behaviour(first_token=0.3),
            "canary 2 has timeToFirstToken over 100 ms for 100.0 %",
            id="its first token is late",
        ),
        pytest.param(
            Behaviour(cut_short=0.2), "canary 2 ends by length or abort for", id="it is cut short"
        ),
        pytest.param(
            Behaviour(tokens=400),
            "canary 2 has answerTokens over 200 for 100.0 %",
            id="its answers are longer",
        ),
        pytest.param(
            Behaviour(tokens=10),
            "canary 2 has answerTokens over 20 for 0.0 %",
            id="its answers are shorter",
        ),
    ],
)
def test_a_canary_that_answers_otherwise_is_taken_back_and_it_is_said_why(
    canary: Behaviour, says: str
):
    world = releasing(canary).run()
    assert world.stable.version == "1"
    assert world.status.rejected
    assert world.status.rejected.reason is Reason.REGRESSION
    assert says in world.status.rejected.message


@pytest.mark.parametrize(("warm_up", "ends_as"), [(None, "2"), ("0s", "1")])
def test_a_cold_prefix_cache_is_not_held_against_a_canary_that_may_warm_up(
    warm_up: str | None, ends_as: str
):
    latency = {"metric": "timeToFirstToken", **({"warmUp": warm_up} if warm_up else {})}
    world = releasing(
        Behaviour(cold_seconds=90), [{"name": "errors", "errorRate": {}},
                                     {"name": "ttft", "latency": latency}]
    )  # fmt: skip
    world.run(until=Phase.PROGRESSING).steps(3)
    waiting = "timeToFirstToken counts in" in str([gate.message for gate in world.status.gates])
    assert waiting is (warm_up is None)
    assert world.run().stable.version == ends_as


def test_a_histogram_that_no_server_shows_holds_the_release_and_is_said():
    """A version of vLLM without it, say: the profile names it, and nothing comes."""
    latency = {"metric": "timePerOutputToken"}
    world = releasing(
        Behaviour(),
        [{"name": "errors", "errorRate": {}}, {"name": "tpot", "latency": latency}],
    )
    world.run(until=Phase.PROGRESSING).steps(30)
    assert world.status.phase is Phase.PROGRESSING
    told = {gate.name: gate.message for gate in world.status.gates}
    assert "no server shows a histogram of timePerOutputToken yet" in told["tpot"]


def test_what_nobody_asks_for_is_not_kept():
    world = releasing(Behaviour(), [{"name": "errors", "errorRate": {}}])
    world.run(until=Phase.PROGRESSING).steps(5)
    kept = world.status.evidence.counters
    assert not [series for series in kept if "timeToFirstToken" in series]


@pytest.mark.parametrize(
    ("runtime", "gate", "says"),
    [
        (None, {"latency": {"metric": "timeToFirstToken"}}, "predictor: it answers with no tokens"),
        (
            {"profile": "sglang"},
            {"latency": {"metric": "timePerOutputToken"}},
            "gate it of kind latency with metric timePerOutputToken cannot be answered by the "
            "counters of serving runtime sglang: `sglang:inter_token_latency_seconds` counts each "
            "token by itself",
        ),
        ({"profile": "tgi"}, {"finishReasons": {"bad": ["length"]}}, "without the reason"),
        (
            {"profile": "mlserver"},
            {"answerTokens": {}},
            "spec.serving.runtime.metrics.answerTokens names none",
        ),
        (
            {"port": 1, "readinessPath": "/", "metrics": {"answerTokens": {"name": "tokens"}}},
            {"answerTokens": {}},
            None,
        ),
    ],
)
def test_what_a_server_does_not_count_is_refused_with_the_reason(
    runtime: dict[str, Any] | None, gate: dict[str, Any], says: str | None
):
    serving = {"image": "server:1", "runtime": runtime} if runtime else {}
    refusal = refusal_of_runtime(
        a_spec(serving=serving, analysis={"gates": [{"name": "it", **gate}]})
    )
    assert says in str(refusal) if says else refusal is None
