"""Measures two artifacts on the same held-out rows, and asks the accept rule."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelrelease_training.accept import Acceptance, Rule, accept
from modelrelease_training.data import Data, split_by_content
from modelrelease_training.errors import ArtifactError, DataError
from modelrelease_training.evaluate import evaluate_segments, measure, score
from modelrelease_training.load import load_model
from modelrelease_training.schema import DataSchema, load_data


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two models, and how it did."""

    name: str
    version: str
    metrics: dict[str, float]
    segments: dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Both sides, and the decision."""

    champion: Side
    challenger: Side
    acceptance: Acceptance


def compare(
    *,
    champion: Path,
    challenger: Path,
    data: Path,
    schema: DataSchema,
    rule: Rule,
    whole: bool = False,
) -> Comparison:
    """Compare two artifact folders on the rows of `data` that `train --data` holds out.

    `whole`: on all rows, for a file that neither model was trained on. Raises DataError,
    InvalidDataError, and ArtifactError for a folder that holds no model for these rows.
    """
    try:
        table = load_data(data, schema)
        rows = table if whole else split_by_content(table).held_out
    except ValueError as error:
        msg = f"{data}: {error}"
        raise DataError(msg) from error
    sides, probabilities = {}, {}
    for role, folder in (("champion", champion), ("challenger", challenger)):
        sides[role], probabilities[role] = _measure(folder, rows)
    try:
        acceptance = accept(
            rows.labels, probabilities["champion"], probabilities["challenger"], rule
        )
    except ValueError as error:
        msg = f"{challenger} cannot be compared with {champion} on {data}: {error}"
        raise DataError(msg) from error
    return Comparison(
        champion=sides["champion"], challenger=sides["challenger"], acceptance=acceptance
    )


def _measure(folder: Path, rows: Data) -> tuple[Side, Any]:
    model, manifest = load_model(folder)
    names = tuple(feature.name for feature in manifest.features)
    if names != rows.names:
        fact = (
            f"{folder} takes the features {', '.join(names)}, but the data has "
            f"{', '.join(rows.names)}"
        )
        msg = f"{fact}: compare on data of the model's own schema"
        raise ArtifactError(msg)
    try:
        probabilities = score(model, rows)
    except Exception as error:
        msg = f"{folder} fails on the held-out rows ({type(error).__name__}: {error})"
        raise ArtifactError(msg) from error
    segments = {}
    if rows.segments is not None:
        segments = evaluate_segments(rows.labels, probabilities, rows.segments)
    metrics = measure(rows.labels, probabilities)
    return Side(
        name=manifest.name, version=manifest.version, metrics=metrics, segments=segments
    ), probabilities
