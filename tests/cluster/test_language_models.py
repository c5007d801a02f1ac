"""Language models are released by what their server counts of tokens.

The server is a stub that speaks vLLM's names (tests/support/vllm_stub.py): this cluster has no GPU.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from examples import fixtures
from testbed.releases import FAST, Release, rejected
from tests.support import vllm_stub

BEHAVIOUR = {"3": {"first": 0.6}, "4": {"cut": 0.3}, "7": {"tokens": 400}}
"""By version of the model: a late first token, answers that are cut off, and long ones."""
SERVING: dict[str, Any] = {
    "image": "modelrelease-serving:dev",
    "replicas": 2,
    "env": [{"name": "BEHAVIOUR", "value": json.dumps(BEHAVIOUR)}],
    "runtime": {
        "profile": "vllm",
        "command": ["python", "/stub/vllm_stub.py"],
        "args": [],
        "drain": {"graceSeconds": 20, "preStopSeconds": 5},
    },
    "volumes": [{"name": "stub", "configMap": {"name": "vllm-stub"}}],
    "volumeMounts": [{"name": "stub", "mountPath": "/stub", "readOnly": True}],
}
GATES: list[dict[str, Any]] = [
    {"name": "errors", "errorRate": {"margin": {"ratio": 1.25, "points": 2}}},
    {"name": "ttft", "latency": {"metric": "timeToFirstToken", "warmUp": "5s"}},
    {"name": "ends", "finishReasons": {"bad": ["length"], "margin": {"ratio": 1.5, "points": 5}}},
    {"name": "tokens", "answerTokens": {}},
]


@pytest.fixture
def chat(release: Release) -> Release:
    """Version 1 serves, clients chat, and its pods are read by the operator itself."""
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "vllm-stub", "namespace": release.space},
        "data": {"vllm_stub.py": Path(vllm_stub.__file__).read_text()},
    }
    fixtures.apply(release.cluster, config)
    analysis = {"interval": "3s", "source": "Pods", "gates": GATES}
    release.spec = {"serving": SERVING, "canary": FAST["canary"], "analysis": analysis}
    release.begins("1")
    release.load(rps=60, path="/v1/chat/completions")
    return release


def test_a_version_that_answers_alike_is_promoted_and_one_with_a_late_first_token_is_not(
    chat: Release,
) -> None:
    chat.apply("2")
    chat.serves("2")
    gates = {gate["name"]: gate for gate in chat.status()["gates"]}
    assert {name: gate["verdict"] for name, gate in gates.items()} == {
        "errors": "Pass", "ttft": "Pass", "ends": "Pass", "tokens": "Pass",
    }  # fmt: skip
    chat.apply("3")
    is_taken_back(chat, "3", says="canary 3 has timeToFirstToken over")


@pytest.mark.parametrize(
    ("version", "says"),
    [("4", "canary 4 ends by length for"), ("7", "canary 7 has answerTokens over")],
)
def test_a_version_that_ends_or_says_otherwise_is_taken_back(
    chat: Release, version: str, says: str
) -> None:
    chat.apply(version)
    is_taken_back(chat, version, says=says)


def is_taken_back(chat: Release, version: str, *, says: str) -> None:
    status = chat.wait(f"version {version} to be rejected", rejected(version))
    assert status["rejected"]["reason"] == "Regression"
    assert says in status["rejected"]["message"]
