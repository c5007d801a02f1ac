"""`modelrelease-train feedback`."""

import argparse
import csv
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from modelrelease_contract import ArtifactManifest
from modelrelease_contract.events import SampledEvent
from modelrelease_training.commands.common import (
    Commands,
    add_command,
    at_least_one,
    print_answer,
    say,
    share,
)
from modelrelease_training.decay import MARGIN, MINIMUM, Key, join, judge
from modelrelease_training.errors import DataError, TrainingError
from modelrelease_training.labels import Classes

if TYPE_CHECKING:
    from modelrelease_training.decay import Decay

EXIT_DECAYED = 1
_LISTED = 20
"""Lines that are refused one by one; the rest is counted."""
_LONGEST = 40
_EPILOG = """\
The predictor samples its answers as CloudEvents (SAMPLE_URL, SAMPLE_SHARE). Keep them one a line, and join
the labels when they come: by the X-Request-ID that clients sent, and by the row where a request had several.

examples:
  printf 'id,label\\norder-1,0\\norder-2,1\\n' > labels.csv
  modelrelease-train feedback --predictions events.jsonl --labels labels.csv --artifact models:/qna@champion
  modelrelease-train feedback --predictions events.jsonl --labels labels.csv --artifact artifacts/qna/1 \\
    --slack-webhook "$SLACK_WEBHOOK_URL" -o json

Exit codes: 0 no decay (or too few labels to say), 1 decayed, 2 the request cannot be met.
"""  # noqa: E501


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "feedback",
        run,
        summary="join late labels with predictions, and say whether the model got worse",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--predictions",
        required=True,
        type=Path,
        metavar="FILE",
        help="sampled events, one JSON object a line",
    )
    parser.add_argument(
        "--labels",
        required=True,
        type=Path,
        metavar="FILE",
        help="CSV with the columns id and label, and maybe row",
    )
    parser.add_argument(
        "--artifact",
        required=True,
        metavar="FOLDER",
        help="of the model, or models:/name@alias: what was recorded",
    )
    parser.add_argument(
        "--mlflow", metavar="URI", help="tracking server (default: $MLFLOW_TRACKING_URI)"
    )
    parser.add_argument(
        "--margin",
        type=share,
        default=MARGIN,
        help="accuracy that may be lost, as a share (default: %(default)s)",
    )
    parser.add_argument(
        "--minimum",
        type=at_least_one,
        default=MINIMUM,
        help="labels needed to say anything (default: %(default)s)",
    )
    parser.add_argument(
        "--slack-webhook",
        "--slack_webhook",
        metavar="URL",
        help="to tell of decay (default: $SLACK_WEBHOOK_URL)",
    )


def run(options: argparse.Namespace) -> int:
    """Join, judge, and tell."""
    from modelrelease_training.alerts import Alert, notify, webhooks  # noqa: PLC0415 (see the package)

    manifest = _manifest(options.artifact, options.mlflow)
    recorded = manifest.metrics.get("accuracy")
    if recorded is None:
        msg = (
            f"{options.artifact} records no accuracy to compare with: train it with this version, "
            "or newer"
        )
        raise TrainingError(msg)
    predictions = read_answers(options.predictions, manifest)
    labels = read_labels(options.labels, _classes(manifest, predictions))
    joined = join(predictions, labels)
    decay = judge(joined, recorded=recorded, margin=options.margin, minimum=options.minimum)
    print_answer(
        options,
        {"model": manifest.name, "version": manifest.version, **asdict(decay)},
        _text(manifest, decay),
    )
    if not decay.decayed:
        return 0
    text = f"{manifest.name} {manifest.version} answers worse than at training: {decay.reason}"
    alert = Alert(kind="decay", subject=f"{manifest.name}/{manifest.version}", text=text)
    for problem in notify(alert, webhooks(options.slack_webhook)):
        say(problem)
    return EXIT_DECAYED


def read_answers(path: Path, manifest: ArtifactManifest) -> dict[Key, str]:
    """Return the class that was answered, by prediction id and row, for this model's version.

    Raises DataError, with the line, for a file that holds something else.
    """
    predictions: dict[Key, str] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            event = SampledEvent.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "the line"
            msg = f"{path}, line {number} is no sampled prediction: {field}: {first['msg']}"
            raise DataError(msg) from error
        if event.modelversion in ("", manifest.version):
            name = event.predictionid or event.id
            for row, value in enumerate(event.data.predictions):
                if isinstance(value, tuple):
                    msg = (
                        f"{path}, line {number}: row {row} was answered with {len(value)} values, "
                        "and only models that answer one class a row are judged"
                    )
                    raise DataError(msg)
                predictions[(name, row)] = _class(value, manifest)
    return predictions


def read_labels(path: Path, classes: Classes) -> list[tuple[Key, str]]:
    """Return prediction id, row and true class of each line. Raises DataError with what is none."""
    reader = csv.DictReader(_lines(path))
    labels, refusals = [], []
    try:
        missing = {"id", "label"} - set(reader.fieldnames or ())
        if missing:
            msg = (
                f"{path} lacks the column {min(missing)!r}: it must have id and label, and may "
                "have row"
            )
            raise DataError(msg)
        for line in reader:
            name, text, row = (str(line.get(key) or "").strip() for key in ("id", "label", "row"))
            label = classes.of(text) if text else None
            if not name or not text or not re.fullmatch(r"[0-9]{0,9}", row):
                cells = ", ".join(str(line.get(key))[:_LONGEST] for key in reader.fieldnames or ())
                rule = "needs an id, a label and a whole row number"
                refusals.append(f"line {reader.line_num}: {rule}, got {cells}")
            elif label is None:
                refusals.append(
                    f"line {reader.line_num}: {text[:_LONGEST]!r} is not {classes.rule}"
                )
            else:
                labels.append(((name, int(row or 0)), label))
    except csv.Error as error:
        msg = f"{path}, line {reader.line_num} is no CSV: {error}"
        raise DataError(msg) from error
    if refusals:
        more = f"; and {len(refusals) - _LISTED} more" if len(refusals) > _LISTED else ""
        fault = f"{path}, {'; '.join(refusals[:_LISTED])}{more}"
        msg = (
            f"{fault}. Nothing was judged: correct such lines ({len(refusals)} in all), or leave "
            "them out"
        )
        raise DataError(msg)
    return labels


def _classes(manifest: ArtifactManifest, predictions: Mapping[Key, str]) -> Classes:
    """Return how labels are read: as what the manifest says that the model answers."""
    return Classes(
        manifest.output,
        numbers=bool(predictions)
        and all(_is_number(prediction) for prediction in predictions.values()),
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield from stream
    except UnicodeError as error:
        msg = f"{path} is not UTF-8: {error}"
        raise DataError(msg) from error
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror or error}"
        raise DataError(msg) from error


def _class(value: float | str, manifest: ArtifactManifest) -> str:
    """Return the class that an answer means: a probability is of the second of two."""
    output = manifest.output
    if output.probability and not isinstance(value, str):
        return output.classes[int(value > 0.5)]
    return Classes(output).of(value) or str(value)


def _manifest(artifact: str, uri: str | None) -> ArtifactManifest:
    from modelrelease_training.load import read_artifact  # noqa: PLC0415

    if not artifact.startswith("models:"):
        return read_artifact(Path(artifact))[0]
    from modelrelease_training.registry import Registry  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="modelrelease-") as scratch:
        return read_artifact(Registry(uri).download(artifact, Path(scratch)))[0]


def _text(manifest: ArtifactManifest, decay: "Decay") -> str:
    unanswered = f"; {decay.unanswered} labels without a prediction" if decay.unanswered else ""
    return f"{manifest.name} {manifest.version}: {_verdict(decay)}: {decay.reason}{unanswered}"


def _verdict(decay: "Decay") -> str:
    if decay.decayed:
        return "decayed"
    return "no decay" if decay.enough else "too few labels"
