"""One training from data to artifact: what the command line and the retrain flow do alike."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from modelrelease_contract import ArtifactManifest, manifest_digest
from modelrelease_contract.artifact import Format
from modelrelease_training.data import Data, Split, Texts, make_data, split, split_by_content
from modelrelease_training.errors import DataError
from modelrelease_training.evaluate import evaluate, evaluate_segments, quantile_segments, score
from modelrelease_training.export import (
    TRAINING_NAME,
    Exported,
    Label,
    describe,
    dump,
    encode,
    make_room,
    write,
)
from modelrelease_training.ingest import fingerprint
from modelrelease_training.schema import DataSchema, load_data
from modelrelease_training.train import Progress, Recipe, fit_recipe

Say = Callable[[str], None]
"""Told one line when something longer than a moment begins."""
_FORMATS: Final[dict[Format, tuple[Format, ...]]] = {
    "joblib": ("joblib", "skops"),
    "skops": ("skops", "joblib"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the rows come from: a file with its schema, or a seed."""

    path: Path | None = None
    schema: DataSchema | None = None
    seed: int = 7
    rows: int = 5000

    def load(self) -> Split:
        """Return the rows, split. The same source gives the same split. Raises DataError."""
        try:
            if self.path is not None and self.schema is not None:
                return split_by_content(load_data(self.path, self.schema))
            return split(make_data(seed=self.seed, rows=self.rows))
        except ValueError as error:
            raise DataError(f"{self.path}: {error}" if self.path else str(error)) from error

    def describe(self) -> dict[str, Any]:
        """Return what says which rows they were."""
        if self.path is not None and self.schema is not None:
            return {"fingerprint": fingerprint(self.path), "schema_version": self.schema.version}
        return {"seed": self.seed, "rows": self.rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One version to be made."""

    label: Label
    output: Path
    source: Source
    recipe: Recipe
    segment_by: str | None = None
    """A feature whose quartiles are the segments; None: the segments that the data brings."""
    model_format: Format = "joblib"
    """The format that is served. The artifact has both."""
    card: bool = True
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """An exported version, and what was measured on the way."""

    exported: Exported
    metrics: dict[str, float]
    segments: dict[str, dict[str, float]]
    training: dict[str, Any]
    """What training.json says."""

    @property
    def fingerprint(self) -> str | None:
        """The sha256 of the file that the rows came from; None for rows from a seed."""
        fingerprint = self.training["data"].get("fingerprint")
        return None if fingerprint is None else str(fingerprint)


def run(order: Order, *, say: Say, progress: Progress | None = None) -> Trained:
    """Load, fit, measure held-out rows, and export. Raises TrainingError, ValueError, OSError."""
    if order.source.path:
        say(f"reading {order.source.path}")
    data = order.source.load()
    make_room(order.output, order.label, force=order.force)
    say(f"fitting {order.recipe.estimator} to {len(data.training.labels)} rows")
    model = fit_recipe(data.training, order.recipe, progress=progress)
    say(f"measuring on {len(data.held_out.labels)} rows held out")
    metrics = evaluate(model, data.held_out)
    segments = _segments(model, data.held_out, order.segment_by)
    training = {
        "data": order.source.describe(),
        "held_out_rows": len(data.held_out.labels),
        "parameters": order.recipe.parameters(),
        "segments": segments,
        "training_rows": len(data.training.labels),
    }
    files = dump(model, _FORMATS[order.model_format])
    files[TRAINING_NAME] = json.dumps(training, indent=1, sort_keys=True).encode() + b"\n"
    manifest = describe(model, files, label=order.label, data=data, metrics=metrics)
    card = _card(manifest, model, data, training, say) if order.card else {}
    say(f"writing version {order.label.version}")
    exported = write(manifest, files, beside=card, output=order.output, force=order.force)
    return Trained(exported=exported, metrics=metrics, segments=segments, training=training)


def _card(
    manifest: ArtifactManifest, model: Any, data: Split, training: dict[str, Any], say: Say
) -> dict[str, bytes]:
    from modelrelease_training.card import Subject, make_card  # noqa: PLC0415 - plots take long to import

    say("drawing the model card")
    digest = manifest_digest(encode(manifest))
    subject = Subject(
        manifest=manifest, digest=digest, model=model, held_out=data.held_out, training=training
    )
    return make_card(subject)


def _segments(model: Any, data: Data, by: str | None) -> dict[str, dict[str, float]]:
    """Return the figures by segment; none when the data brings none and no feature was named."""
    names = _segment_names(data, by)
    return {} if names is None else evaluate_segments(data.labels, score(model, data), names)


def _segment_names(data: Data, by: str | None) -> Texts | None:
    if by is None:
        return data.segments
    if by not in data.names:
        msg = f"--segment-by {by!r} is not one of the features {', '.join(data.names)}"
        raise ValueError(msg)
    return quantile_segments(data.rows[:, data.names.index(by)], name=by)
