"""Measures a fitted model on rows that it has not seen. Returns numbers; whoever asked decides."""

from typing import Any, Final

import numpy as np
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from modelrelease_training.data import Data, Floats, Labels, Texts

SMALLEST_SEGMENT: Final = 20
"""Rows below which a segment's figures would say more of chance than of the model."""


def evaluate(model: Any, held_out: Data) -> dict[str, float]:
    """Return accuracy, log loss, area under the ROC curve and row count of `held_out`."""
    figures = measure(held_out.labels, score(model, held_out))
    return {**figures, "held_out_rows": float(len(held_out.labels))}


def score(model: Any, data: Data) -> Floats:
    """Return the probability of label 1 for each row, shape (rows,)."""
    return np.asarray(model.predict_proba(data.rows)[:, 1], dtype=np.float64)


def measure(labels: Labels, probabilities: Floats) -> dict[str, float]:
    """Return accuracy, log loss and, where both labels occur, area under the ROC curve."""
    figures = {
        "accuracy": accuracy_score(labels, probabilities > 0.5),
        "log_loss": log_loss(labels, probabilities, labels=[0, 1]),
    }
    if len(np.unique(labels)) == 2:
        figures["roc_auc"] = roc_auc_score(labels, probabilities)
    # Ten digits: enough for any comparison, and blind to the last bit of another processor.
    return {name: round(float(value), 10) for name, value in figures.items()}


def evaluate_segments(
    labels: Labels, probabilities: Floats, segments: Texts
) -> dict[str, dict[str, float]]:
    """Return the figures of each segment with enough rows, and its row count, by name in order."""
    by_segment = {}
    for name in np.unique(segments).tolist():
        mask = segments == name
        if int(mask.sum()) >= SMALLEST_SEGMENT:
            figures = measure(labels[mask], probabilities[mask])
            by_segment[str(name)] = {**figures, "held_out_rows": float(mask.sum())}
    return by_segment


def quantile_segments(values: Floats, *, name: str, parts: int = 4) -> Texts:
    """Return in which of `parts` equal parts of a feature's values each row is; NaN is apart.

    With few different values some parts are empty, as their edges are the same.
    """
    edges = np.nanquantile(values, np.linspace(0, 1, parts + 1)[1:-1])
    bins = np.searchsorted(edges, values, side="right")
    labels = np.array([f"{name} part {index + 1} of {parts}" for index in range(parts)])
    return np.where(np.isnan(values), f"{name} missing", labels[np.minimum(bins, parts - 1)])
