"""Somebody's BentoML service: a scikit-learn model behind one endpoint."""

import os
from pathlib import Path

import bentoml
import joblib


@bentoml.service(workers=1)
class Qna:
    """Answers the probability of the second class."""

    def __init__(self) -> None:
        self.model = joblib.load(Path(os.environ["MODEL_PATH"]) / "model.joblib")

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, features: list[float]) -> float:
        """Answer one row."""
        return float(self.model.predict_proba([features])[0, 1])
