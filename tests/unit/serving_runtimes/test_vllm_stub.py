"""The stub that stands in for vLLM on the cluster counts under the names that the profile reads."""

import threading
import urllib.request
from collections.abc import Iterator

import pytest

from modelrelease_operator.serving_runtimes import runtime_for
from modelrelease_operator.serving_runtimes.metrics import Reading
from tests.support.vllm_stub import Behaviour, Model, serve
from tests.unit.serving_runtimes.test_profiles import samples

METRICS = runtime_for({"profile": "vllm"}).metrics


@pytest.fixture
def address() -> Iterator[str]:
    server = serve(Model(Behaviour(first=0.3, tokens=400, cut=1.0), seed=1), 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def asked(address: str, path: str, body: bytes | None = None) -> str:
    with urllib.request.urlopen(f"{address}{path}", data=body) as answer:  # noqa: S310 - our own
        text: str = answer.read().decode()
        return text


def test_what_it_counts_is_read_by_the_profile(address: str):
    for _ in range(10):
        assert '"finish_reason": "length"' in asked(address, "/v1/chat/completions", b"{}")
    asked(address, "/health")
    totals = METRICS.totals(samples(asked(address, "/metrics")))
    assert totals[Reading(code="200")] == 10, "a health check is no prediction"
    assert totals[Reading(reason="length")] == 10
    assert totals[Reading(reason="stop")] == 0
    assert totals[Reading(bound="0.1", metric="timeToFirstToken")] == 0
    for metric in ("timeToFirstToken", "timePerOutputToken", "answerTokens", ""):
        assert totals[Reading(bound="+Inf", metric=metric)] == 10


def test_a_version_behaves_as_it_is_told():
    told = '{"3": {"first": 0.5}}'
    assert Behaviour.of("3", told) == Behaviour(first=0.5)
    assert Behaviour.of("2", told) == Behaviour()
    assert Behaviour.of("2", "") == Behaviour()
