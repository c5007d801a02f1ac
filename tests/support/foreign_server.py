"""A model server that is not ours, in a release's own words."""

from typing import Any

from modelrelease_operator.api.status import Recipe
from modelrelease_operator.serving_runtimes import runtime_for

FOREIGN_IMAGE = "registry.example.com/foreign-server:2.1"
FETCH_IMAGE = "modelrelease-serving:test"

RUNTIME: dict[str, Any] = {
    "args": ["--model=$(MODEL_PATH)", "--name=$(MODELRELEASE_RELEASE)", "--json={}"],
    "port": 9000,
    "readinessPath": "/v2/health/ready",
    "livenessPath": "/v2/health/live",
    "startupSeconds": 900,
    "modelDirectory": "/mnt/model",
    "metrics": {
        "path": "/v2/metrics",
        "port": 9002,
        "requests": [{"name": "foreign_requests_total", "codeLabel": "status"}],
        "duration": {"name": "foreign_latency_seconds"},
    },
    "drain": {"graceSeconds": 120, "preStopSeconds": 15},
}
FOREIGN = runtime_for(RUNTIME)
THEIRS = Recipe(image=FOREIGN_IMAGE, runtime=RUNTIME, fetch_image=FETCH_IMAGE)
