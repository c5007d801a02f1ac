"""Whatever the OpenAPI document allows gets an answer that it describes, and nothing gets a 5xx."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from modelrelease_serving.app import create_app
from modelrelease_serving.model import Model
from tests.serving.support import settings as serving
from tests.support.examples import examples

ASKED = 60
"""Requests for each operation and mode: seconds, not minutes."""

OPERATIONS = [
    "GET /health",
    "GET /metrics",
    "GET /ping",
    "GET /ready",
    "GET /shadow",
    "GET /v2",
    "GET /v2/health/live",
    "GET /v2/health/ready",
    "GET /v2/models/{name}",
    "GET /v2/models/{name}/ready",
    "GET /v2/models/{name}/versions/{version}",
    "GET /v2/models/{name}/versions/{version}/ready",
    "GET /version",
    "POST /invocations",
    "POST /predict",
    "POST /probe",
    "POST /shadow/infer",
    "POST /shadow/invocations",
    "POST /shadow/predict",
    "POST /v2/models/{name}/infer",
    "POST /v2/models/{name}/versions/{version}/infer",
]


@pytest.fixture(scope="module")
def operations(loaded: Model) -> dict[str, Any]:
    document = schemathesis.openapi.from_asgi("/openapi.json", create_app(loaded, serving()))
    operations: list[Any] = list(document.get_all_operations())
    return {each.ok().label: each.ok() for each in operations}


def test_every_operation_is_asked(operations: dict[str, Any]) -> None:
    assert sorted(operations) == OPERATIONS


@pytest.mark.parametrize(
    "mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"]
)
@pytest.mark.parametrize("label", OPERATIONS)
def test_answers_are_as_documented(
    operations: dict[str, Any], label: str, mode: GenerationMode
) -> None:
    operation = operations[label]
    if mode is GenerationMode.NEGATIVE and label.startswith("GET") and "{" not in label:
        return  # A request without parameters cannot be wrong.

    excluded: list[Any] = []
    if label.endswith("/infer"):
        # That a tensor has as many values as its shape says is beyond JSON Schema: such requests
        # get a 4xx.
        excluded = [positive_data_acceptance]
    if label.endswith("/invocations"):
        # More is answered than documented, as by MLflow: columns in any order, and more of them.
        excluded = [negative_data_rejection]

    @given(operation.as_strategy(generation_mode=mode))
    @examples(ASKED, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    def ask(case: Any) -> None:
        answer = case.call()
        # Too many rows are refused by 413, which schemathesis does not take for a refusal.
        too_many = [negative_data_rejection] if answer.status_code == 413 else []
        case.validate_response(answer, excluded_checks=excluded + too_many)

    ask()
