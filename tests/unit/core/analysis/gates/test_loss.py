"""What the loss gate asks, and what it makes of the answer."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from modelrelease_operator.api.spec import Gate
from modelrelease_operator.api.status import CanaryStatus, Recipe, StableStatus, Verdict
from modelrelease_operator.core.analysis.gates.registry import answer_of, kind_of, query_of
from modelrelease_operator.core.measurement.queries import QueryScope
from modelrelease_operator.core.query_results import CounterSample, NotMeasured
from modelrelease_operator.errors import Invalid
from testbed.builders import START, a_spec, a_target

PLACE = QueryScope(
    namespace="ml", release="qna", interval=timedelta(seconds=10),
    stable=StableStatus(**a_target("1").parts(), since=START),
    canary=CanaryStatus(**a_target("2").parts(), since=START),
    controllers=("traefik.io/gateway-controller",),
)  # fmt: skip
ROUTING = {"gatewayAPI": {"parentRefs": [{"name": "public"}]}}


def a_gate(**loss: Any) -> Gate:
    spec = a_spec(canary={"routing": ROUTING}, analysis={"gates": [{"name": "loss", "loss": loss}]})
    return spec.analysis.gates[0]


def row(arm: str, kind: str, value: float, **labels: str) -> dict[str, Any]:
    marks = {"modelrelease_arm": arm, "modelrelease_kind": kind, "pod": "traefik-a"}
    return {"metric": {**marks, **labels}, "value": [0, str(value)]}


def test_the_gateways_counts_are_asked_as_they_were_and_the_servers_failures_as_they_are():
    query = query_of(a_gate(delay="45s"), PLACE)
    assert query is not None
    gateway = (
        "traefik_service_requests_total"
        '{service=~"httproute-ml-.*-svc-ml-qna-canary-[0-9]+@kubernetesgateway"'
    )
    assert f"{gateway}}} offset 45s" in query
    assert f'{gateway},code=~"5.."}} offset 45s' in query
    servers = 'predictions_total{namespace="ml",release="qna",revision="rev2"'
    assert f"{servers}}} offset 45s" in query
    assert f'\n{servers},code=~"5.."}}\n' in query
    assert "svc-ml-qna-stable-" in query


def test_a_gateway_that_is_named_is_asked_whoever_has_the_route():
    query = query_of(a_gate(gateway="Istio"), PLACE)
    assert query is not None
    assert 'destination_service_name="qna-canary"' in query
    assert "traefik" not in query


@pytest.mark.parametrize(
    ("controllers", "words"),
    [
        ((), "no gateway has taken the route yet"),
        (("example.com/gw",), "taken by example.com/gw, whose counters are not known here"),
        (
            ("gateway.envoyproxy.io/gatewayclass-controller",),
            "counts all backends of a rule as one, so the arms cannot be told apart",
        ),
        (("io.cilium/gateway-controller",), "its counters name no backend"),
    ],
)
def test_a_gateway_that_cannot_be_asked_is_told_with_the_reason(
    controllers: tuple[str, ...], words: str
):
    gate = a_gate()
    why = kind_of(gate).unasked(gate.settings, replace(PLACE, controllers=controllers))
    assert why is not None
    assert words in why
    assert kind_of(gate).unasked(gate.settings, PLACE) is None


def test_a_server_that_is_not_ours_is_told_with_what_to_do():
    recipe = Recipe(image="mlserver:1", runtime={"profile": "mlserver"})
    mlserver = CanaryStatus(**a_target("2", recipe=recipe).parts(), since=START)
    gate = a_gate()
    why = kind_of(gate).unasked(gate.settings, replace(PLACE, canary=mlserver))
    assert why is not None
    assert "version 2 is served by mlserver: take the gate out" in why


def test_the_four_counts_of_an_arm_are_told_apart():
    rows = [
        row("canary", "sent", 9, code="200"), row("canary", "failed", 2, code="502"),
        row("canary", "served", 7, pod="qna-2"), row("canary", "admitted", 1, pod="qna-2"),
        row("stable", "sent", 90, code="200"), row("canary", "age", 3, pod=""),
    ]  # fmt: skip
    answer = answer_of(a_gate(), PLACE, rows)
    assert isinstance(answer, tuple)
    assert [(each.pod, each.bad, each.by_server, each.value) for each in answer] == [
        ("traefik-a", False, False, 9),
        ("traefik-a", True, False, 2),
        ("qna-2/earlier", False, True, 7),
        ("qna-2", True, True, 1),
        ("traefik-a", False, False, 90),
    ]
    assert all(isinstance(each, CounterSample) for each in answer)


@pytest.mark.parametrize(
    ("rows", "verdict", "words"),
    [
        ([], Verdict.INSUFFICIENT, "`traefik_service_requests_total` shows nothing for stable 1"),
        (
            [row("stable", "sent", 9), row("canary", "age", 61.2)],
            Verdict.INSUFFICIENT,
            "the newest sample of a server of canary 2 is 61 s old, and loss.delay is 60 s",
        ),
        (
            [row("stable", "sent", 9.5)],
            Verdict.UNAVAILABLE,
            "the loss gate gives 9.5, which is no number of requests",
        ),
        ([row("nobody", "sent", 9)], Verdict.UNAVAILABLE, "answered nonsense"),
    ],
)
def test_what_is_no_evidence_says_so(rows: list[dict[str, Any]], verdict: Verdict, words: str):
    answer = answer_of(a_gate(), PLACE, rows)
    assert isinstance(answer, NotMeasured)
    assert answer.verdict is verdict
    assert words in answer.message


def test_a_loss_gate_without_a_gateway_is_refused():
    with pytest.raises(Invalid, match=r"gate loss with loss .* set canary.routing.gatewayAPI"):
        a_spec(analysis={"gates": [{"name": "loss", "loss": {}}]})


def test_a_delay_of_more_than_ten_minutes_is_refused():
    with pytest.raises(Invalid, match="must be at most 10m, got '11m'"):
        a_gate(delay="11m")
