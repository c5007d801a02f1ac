"""One model as BentoML services: as its documentation begins, and with what it offers for speed."""

import os

import bentoml
import joblib
import numpy as np


@bentoml.service
class Plain:
    """Every default."""

    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL_FILE"])

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return the probabilities of each row."""
        return np.asarray(self.model.predict_proba(rows))


@bentoml.service(logging={"access": {"enabled": False}})
class Tuned:
    """Adaptive batching, and no line in the log for each request."""

    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL_FILE"])

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=1000)  # type: ignore[untyped-decorator]
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return the probabilities of each row."""
        return np.asarray(self.model.predict_proba(rows))
