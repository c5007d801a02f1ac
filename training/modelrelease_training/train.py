"""Fits the model. Pure apart from the library: data, parameters and a seed in, a fitted estimator out."""

from typing import Any, Final

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from modelrelease_training.data import Data

REGULARIZATION: Final = 1.0
"""scikit-learn's C: the inverse of the penalty's strength, so that smaller is stricter."""


def fit(data: Data, *, regularization: float = REGULARIZATION, seed: int = 0) -> Any:
    """Return a scaler and a logistic regression fitted to `data`, as one scikit-learn Pipeline.

    Raises ValueError when `regularization` is not above zero.
    """
    if not regularization > 0:
        msg = f"regularization must be above 0 (scikit-learn's C, smaller is stricter), got {regularization}"
        raise ValueError(msg)
    model = Pipeline(
        [
            ("scale", StandardScaler()),
            ("classify", LogisticRegression(C=regularization, max_iter=1000, random_state=seed)),
        ]
    )
    return model.fit(data.rows, data.labels)
