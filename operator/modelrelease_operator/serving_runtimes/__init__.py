"""Model servers that a revision may run: what each looks like to Kubernetes and to Prometheus.

`runtime.py` says what is known of one, one module each describes it, `registry.py` lists them.
docs/how-to/add-a-serving-runtime.md says how another is added.
"""

from modelrelease_operator.serving_runtimes.registry import runtime_of
from modelrelease_operator.serving_runtimes.runtime import (
    ArtifactDelivery,
    Drain,
    HttpProbe,
    ServerMetrics,
    ServingRuntime,
)

__all__ = [
    "ArtifactDelivery",
    "Drain",
    "HttpProbe",
    "ServerMetrics",
    "ServingRuntime",
    "runtime_of",
]
