"""The model card: what a person should know of a version before it serves, with plots.

It lies beside the manifest and is no part of it: the card names the digest, and another version of
the plotting library must not give the same model another one. The same inputs and libraries give
the same bytes all the same. After Mitchell et al., "Model Cards for Model Reporting", FAT* 2019.
"""

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.inspection import permutation_importance

from modelrelease_contract import ArtifactManifest, Histogram
from modelrelease_training.data import Data, Floats, Labels
from modelrelease_training.evaluate import score

FOLDER: Final = "card"
_IMPORTANCE_ROWS: Final = 2000
"""Of the held-out rows: each feature is permuted five times, which a forest answers slowly."""
_REPEATS: Final = 5
_MOST_FEATURES: Final = 20
_BINS: Final = 10
_ACROSS: Final = 4
_INK: Final = "#1f5a96"
_PALE: Final = "#c9d7e6"
_WARM: Final = "#c0504d"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What the card is about."""

    manifest: ArtifactManifest
    digest: str
    model: Any
    held_out: Data
    training: dict[str, Any]
    """What training.json says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """Predicted and seen shares of label 1 in bins, with 95 % Wilson intervals, shape (bins,)."""

    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats
    rows: Floats

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of observed from predicted, by rows."""
        return float(np.average(np.abs(self.predicted - self.observed), weights=self.rows))


def make_card(subject: Subject) -> dict[str, bytes]:
    """Return the card's files by their path in the artifact."""
    reliability = calibration(subject.held_out.labels, score(subject.model, subject.held_out))
    plots = {
        "calibration.png": _draw_calibration(reliability),
        "importance.png": _draw_importance(subject),
        "drift-bins.png": _draw_bins(subject),
    }
    files = {name: _png(figure) for name, figure in plots.items()}
    files["model-card.md"] = _text(subject, reliability).encode()
    return {f"{FOLDER}/{name}": content for name, content in files.items()}


def calibration(labels: Labels, probabilities: Floats) -> Reliability:
    """Return how often label 1 came where it was predicted, in up to ten bins of equal rows."""
    edges = np.unique(np.quantile(probabilities, np.linspace(0, 1, _BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, probabilities, side="right")
    rows = np.bincount(bins, minlength=len(edges) + 1).astype(np.float64)
    filled = rows > 0
    rows = rows[filled]
    predicted = np.bincount(bins, probabilities, len(edges) + 1)[filled] / rows
    observed = np.bincount(bins, labels, len(edges) + 1)[filled] / rows
    low, high = _wilson(observed, rows)
    return Reliability(predicted=predicted, observed=observed, low=low, high=high, rows=rows)


def _wilson(shares: Floats, rows: Floats) -> tuple[Floats, Floats]:
    """Return the 95 % interval of Wilson (1927), which stays between 0 and 1."""
    z = 1.959964
    middle = (shares + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * np.sqrt(shares * (1 - shares) / rows + z**2 / (4 * rows**2))
    return middle - half, middle + half


def _draw_calibration(reliability: Reliability) -> Figure:
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes: Axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1, label="perfect")
    errors = np.abs(
        np.vstack([reliability.observed - reliability.low, reliability.high - reliability.observed])
    )
    axes.errorbar(
        reliability.predicted,
        reliability.observed,
        yerr=errors,
        color=_INK,
        marker="o",
        capsize=3,
        label="held-out rows",
    )
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1),
        xlabel="predicted probability",
        ylabel="share of label 1 that was seen",
    )
    axes.set_title(
        f"Calibration (expected error {reliability.error:.3f}, 95 % intervals)", fontsize=10
    )
    axes.legend(loc="upper left", frameon=False)
    return figure


def _draw_importance(subject: Subject) -> Figure:
    data = subject.held_out.take(slice(0, _IMPORTANCE_ROWS))
    importances = permutation_importance(
        subject.model, data.rows, data.labels, scoring="roc_auc", n_repeats=_REPEATS, random_state=0
    )
    means, spreads = importances["importances_mean"], importances["importances_std"]
    order = np.argsort(means, kind="stable")[-_MOST_FEATURES:]
    figure = Figure(figsize=(6, 1.2 + 0.28 * len(order)), layout="constrained")
    axes: Axes = figure.subplots()
    names = [data.names[index] for index in order]
    axes.barh(names, means[order], xerr=spreads[order], color=_INK, ecolor="0.4", height=0.7)
    axes.axvline(0, color="0.6", linewidth=1)
    axes.set_xlabel("loss of ROC AUC when the feature is shuffled")
    axes.set_title(
        f"Importance ({len(data.labels)} held-out rows, {_REPEATS} shuffles)", fontsize=10
    )
    return figure


def _draw_bins(subject: Subject) -> Figure:
    """Draw where the drift bins lie: a value between two lines is counted in that bin."""
    baseline = subject.manifest.baseline
    panels: list[tuple[str, Floats, Histogram]] = []
    if baseline is not None:
        columns = zip(subject.held_out.names, subject.held_out.rows.T, strict=True)
        panels = [(name, column, baseline.features[name]) for name, column in columns][
            :_MOST_FEATURES
        ]
        if baseline.prediction is not None:
            panels.append(
                ("prediction", score(subject.model, subject.held_out), baseline.prediction)
            )
    down = max(1, math.ceil(len(panels) / _ACROSS))
    figure = Figure(figsize=(10, 1.7 * down + 0.5), layout="constrained")
    grid = figure.subplots(down, _ACROSS, squeeze=False).ravel()
    for axes, (name, values, histogram) in zip(grid, panels, strict=False):
        axes.hist(values[~np.isnan(values)], bins=30, color=_PALE)
        for edge in histogram.edges:
            axes.axvline(edge, color=_WARM, linewidth=0.7)
        axes.set_title(name, fontsize=8)
        axes.tick_params(labelsize=6)
        axes.set_yticks([])
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    figure.suptitle("Held-out values (blue) and the edges of the drift bins (red)", fontsize=10)
    return figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # matplotlib writes its own name and version unless it is told not to.
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()


def _text(subject: Subject, reliability: Reliability) -> str:
    manifest, training = subject.manifest, subject.training
    request = json.dumps({"features": list(manifest.examples.rows[0])})
    parts = [
        f"# {manifest.name} {manifest.version}",
        "A binary classifier: it answers with the probability of label 1.",
        _table(["what", "value"], _facts(subject)),
        "## How good it is",
        f"On {len(subject.held_out.labels)} rows that it was not fitted to. A segment with fewer "
        "than 20 rows is not listed, and one with a single label has no ROC AUC.",
        _figures({"all": manifest.metrics, **training["segments"]}),
        "## Are its probabilities right",
        f"Expected calibration error {reliability.error:.4f}; Brier score "
        f"{_brier(subject):.4f} (0 is perfect, 0.25 is a coin).",
        "![calibration](calibration.png)",
        "## What it listens to",
        "![importance](importance.png)",
        "## What drift is measured against",
        "The shares of the held-out rows between these edges are the baseline of the manifest.",
        "![drift bins](drift-bins.png)",
        "## Ask it",
        (
            "```\ncurl -s http://localhost:8000/predict -H 'content-type: application/json' -d "
            f"'{request}'\n```"
        ),
        f"It answered {manifest.examples.predictions[0]} when it was exported.",
        "## Limits",
        "Measured on rows of the same source as it was fitted to, so nothing here speaks of rows "
        "from elsewhere or from later. Segments are told apart only where the data names them.",
    ]
    return "\n\n".join(parts) + "\n"


def _facts(subject: Subject) -> list[Sequence[object]]:
    manifest, training = subject.manifest, subject.training
    rows: list[Sequence[object]] = [
        ("digest", f"`{subject.digest}`"),
        ("served file", f"{manifest.model_file} ({manifest.format})"),
        ("features", len(manifest.features)),
        ("rows fitted to", training["training_rows"]),
        *(
            (f"data: {key.replace('_', ' ')}", f"`{value}`")
            for key, value in training["data"].items()
        ),
        *((key.replace("_", " "), value) for key, value in training["parameters"].items()),
        (
            "libraries",
            ", ".join(f"{name} {version}" for name, version in sorted(manifest.libraries.items())),
        ),
    ]
    if manifest.created:
        rows.append(("created", manifest.created))
    return rows


def _figures(segments: dict[str, dict[str, float]]) -> str:
    names = ["held_out_rows", "roc_auc", "accuracy", "log_loss"]
    rows = []
    for segment, figures in segments.items():
        cells = (f"{figures[name]:.4g}" if name in figures else "-" for name in names)
        rows.append([segment, *cells])
    return _table(["segment", "rows", "ROC AUC", "accuracy", "log loss"], rows)


def _brier(subject: Subject) -> float:
    return float(np.mean((score(subject.model, subject.held_out) - subject.held_out.labels) ** 2))


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
