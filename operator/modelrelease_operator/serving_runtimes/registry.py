"""Every serving runtime, in the order in which an image is compared with their patterns."""

from modelrelease_operator.serving_runtimes.predictor import PREDICTOR
from modelrelease_operator.serving_runtimes.runtime import ServingRuntime

SERVING_RUNTIMES: tuple[ServingRuntime, ...] = (PREDICTOR,)
"""The predictor takes every image that no other has taken, so it stays the last."""


def runtime_of(image: str) -> ServingRuntime:
    """Return the server that an image is."""
    return next(runtime for runtime in SERVING_RUNTIMES if runtime.runs(image))
