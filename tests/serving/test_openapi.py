"""Whatever the OpenAPI document allows gets an answer that it describes, and nothing gets a 5xx."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from modelrelease_serving.app import create_app
from modelrelease_serving.model import Model
from tests.serving.support import settings as serving

ASKED = 60
"""Requests for each operation and mode: seconds, not minutes."""

OPERATIONS = [
    "GET /health",
    "GET /metrics",
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
    "POST /predict",
    "POST /probe",
    "POST /shadow/infer",
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

    @given(operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=ASKED,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        # That a tensor has as many values as its shape says is beyond JSON Schema: such requests
        # get a 4xx.
        case.call_and_validate(
            excluded_checks=[positive_data_acceptance] if label.endswith("/infer") else []
        )

    ask()
