"""Model servers that a revision may run: what each looks like to Kubernetes and to Prometheus.

`runtime.py` says what is known of one, `predictor.py` describes ours, the data files in `profiles/`
describe others, `registry.py` tells which one a revision runs.
docs/how-to/add-a-serving-runtime.md says how another is added.
"""

from modelrelease_operator.serving_runtimes.examples import (
    asks_examples,
    example_forms,
    why_nobody_compares,
)
from modelrelease_operator.serving_runtimes.metrics import (
    DurationHistogram,
    RequestSeries,
    ServerMetrics,
)
from modelrelease_operator.serving_runtimes.refusals import refusal_of_runtime, refusal_of_signing
from modelrelease_operator.serving_runtimes.registry import runtime_for, runtime_of
from modelrelease_operator.serving_runtimes.runtime import (
    ArtifactDelivery,
    Drain,
    HttpProbe,
    ServingRuntime,
)

__all__ = [
    "ArtifactDelivery",
    "Drain",
    "DurationHistogram",
    "HttpProbe",
    "RequestSeries",
    "ServerMetrics",
    "ServingRuntime",
    "asks_examples",
    "example_forms",
    "refusal_of_runtime",
    "refusal_of_signing",
    "runtime_for",
    "runtime_of",
    "why_nobody_compares",
]
