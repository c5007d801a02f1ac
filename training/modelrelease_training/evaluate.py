"""Measures a fitted model on rows that it has not seen. Returns numbers; whoever asked decides."""

from typing import Any

from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from modelrelease_training.data import Data


def evaluate(model: Any, held_out: Data) -> dict[str, float]:
    """Return accuracy, log loss and area under the ROC curve of `model` on `held_out`, and its row count."""
    probabilities = model.predict_proba(held_out.rows)[:, 1]
    figures = {
        "accuracy": accuracy_score(held_out.labels, probabilities > 0.5),
        "log_loss": log_loss(held_out.labels, probabilities),
        "roc_auc": roc_auc_score(held_out.labels, probabilities),
        "held_out_rows": len(held_out.labels),
    }
    # Ten digits: enough for any comparison, and blind to the last bit of another processor.
    return {name: round(float(value), 10) for name, value in figures.items()}
