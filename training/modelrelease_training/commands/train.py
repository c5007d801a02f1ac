"""`modelrelease-train train`."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from modelrelease_training.commands.common import (
    Commands,
    add_command,
    add_schema,
    print_answer,
    say,
    seed,
    table,
    version_label,
)
from modelrelease_training.commands.register import add_registry, register
from modelrelease_training.commands.register import text as as_text
from modelrelease_training.errors import RegistryError, TrainingError

if TYPE_CHECKING:
    from modelrelease_training.pipeline import Order, Trained
    from modelrelease_training.registry import Registered
    from modelrelease_training.wandb_runs import Run

EPILOG = """\
examples:
  Train version 1 and look at what was written:
    modelrelease-train train --version 1 --output artifacts
    cat artifacts/qna/1/manifest.json

  Train a good successor: other rows of the same world, or a stricter penalty:
    modelrelease-train train --version 2 --seed 8 --output artifacts
    modelrelease-train train --version 3 --regularization 0.1 --output artifacts

  Train on a file, in 2000 steps of 32 rows:
    modelrelease-train ingest --generate --rows 20000 --seed 7 --output data/monday.parquet
    modelrelease-train train --version 4 --data data/monday.parquet --max-steps 2000 --batch-size 32 \\
      --output artifacts

  Take the digest, which a release pins as spec.model.sha256, from the machine-readable answer:
    modelrelease-train train --version 5 --output artifacts --format json | jq -r .digest

The same data, seed, recipe and library versions give the same bytes, so the same digest.
"""  # noqa: E501


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "train",
        run,
        summary="fit a model, measure it on rows held out, and export one version",
        epilog=EPILOG,
    )
    parser.add_argument(
        "--version",
        required=True,
        type=version_label,
        help="what people call this model, such as 7",
    )
    parser.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="write to DIR/<name>/<version>"
    )
    parser.add_argument(
        "--name", default="qna", type=version_label, help="name of the model (default: %(default)s)"
    )
    parser.add_argument(
        "--created", metavar="TIME", help="RFC 3339 time to record; without it, bytes repeat"
    )
    parser.add_argument("--force", action="store_true", help="replace this version if it exists")
    parser.add_argument(
        "--model-format",
        choices=("joblib", "skops"),
        default="joblib",
        help="of the file that is served; the artifact has both (default: %(default)s)",
    )
    parser.add_argument(
        "--no-card", action="store_true", help="write no model card: it takes a few seconds"
    )
    _add_data(parser)
    _add_recipe(parser)
    parser.add_argument(
        "--register", action="store_true", help="register with MLflow, as `register` does"
    )
    add_registry(parser)
    parser.add_argument(
        "--wandb-project",
        "--wandb_project",
        metavar="PROJECT",
        help="log to Weights & Biases (default: only where WANDB_API_KEY is set)",
    )


def _add_data(parser: argparse.ArgumentParser) -> None:
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="a .parquet or .csv file; without one, rows are drawn",
    )
    data.add_argument(
        "--seed", default=7, type=seed, help="of rows and of the fit (default: %(default)s)"
    )
    data.add_argument(
        "--rows", default=5000, type=int, help="to draw, at least 200 (default: %(default)s)"
    )
    data.add_argument(
        "--segment-by",
        metavar="FEATURE",
        help="tell figures by quarters of this feature (default: by the schema's segment column)",
    )
    add_schema(data)


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    recipe = parser.add_argument_group("recipe")
    recipe.add_argument(
        "--estimator",
        choices=("logistic", "sgd", "forest"),
        help="(default: logistic, or sgd where steps or a batch size are given)",
    )
    recipe.add_argument(
        "--regularization",
        default=1.0,
        type=float,
        metavar="C",
        help="inverse strength of the penalty, above 0; smaller is stricter (default: %(default)s)",
    )
    recipe.add_argument(
        "--max-steps",
        "--max_steps",
        type=int,
        metavar="N",
        help="mini-batches for sgd to learn from (default: 500)",
    )
    recipe.add_argument(
        "--batch-size",
        "--batch_size",
        type=int,
        metavar="N",
        help="rows in a mini-batch (default: 64)",
    )


def run(options: argparse.Namespace) -> int:
    """Train, and say what came out."""
    from modelrelease_training import pipeline  # noqa: PLC0415 (see the package)

    try:
        order = _order(options)
        with _watched(options, order) as watch:
            trained = pipeline.run(order, say=say, progress=watch.progress)
            watch.done(trained)
    except ValueError as error:
        raise TrainingError(str(error)) from error
    except OSError as error:
        reason = error.strerror or error
        msg = f"cannot write to {options.output}: {reason}; choose another --output"
        raise TrainingError(msg) from error
    registered = _register(options, trained.exported.path)
    fields, text = _fields(trained), _text(trained)
    if registered:
        fields["registered"] = asdict(registered)
        text = f"{text}\n{as_text(registered)}"
    print_answer(options, fields, text)
    return 0


def _register(options: argparse.Namespace, folder: Path) -> "Registered | None":
    """Register if that was asked for. The artifact stays on disk whatever MLflow does."""
    if not options.register:
        return None
    try:
        return register(options, folder)
    except RegistryError as error:
        msg = (
            f"{error}. The artifact is kept in {folder}: `modelrelease-train register {folder}` "
            "tries again"
        )
        raise RegistryError(msg) from error


def _order(options: argparse.Namespace) -> "Order":
    from modelrelease_training.export import Label  # noqa: PLC0415
    from modelrelease_training.pipeline import Order, Source  # noqa: PLC0415
    from modelrelease_training.schema import load_schema  # noqa: PLC0415
    from modelrelease_training.train import Recipe, usual_estimator  # noqa: PLC0415

    usual = usual_estimator(max_steps=options.max_steps, batch_size=options.batch_size)
    schema = load_schema(options.schema) if options.data else None
    return Order(
        label=Label(name=options.name, version=options.version, created=options.created),
        output=options.output,
        source=Source(path=options.data, schema=schema, seed=options.seed, rows=options.rows),
        recipe=Recipe(
            estimator=options.estimator or usual,
            regularization=options.regularization,
            max_steps=options.max_steps,
            batch_size=options.batch_size,
            seed=options.seed,
        ),
        segment_by=options.segment_by,
        model_format=options.model_format,
        card=not options.no_card,
        force=options.force,
    )


class _Watch:
    """Tells a person of progress, and Weights & Biases where that was asked for."""

    def __init__(self, run: "Run | None") -> None:
        self._run = run

    def progress(self, steps_done: int, steps: int, loss: float) -> None:
        """Tell of a step."""
        say(f"step {steps_done} of {steps}, log loss {loss:.4f}")
        if self._run:
            self._run.log({"training/log_loss": loss}, step=steps_done)

    def done(self, trained: "Trained") -> None:
        """Tell of the end."""
        if self._run:
            self._run.log({**trained.metrics, "digest": trained.exported.digest})


@contextmanager
def _watched(options: argparse.Namespace, order: "Order") -> Iterator[_Watch]:
    from modelrelease_training.wandb_runs import Run, project_of  # noqa: PLC0415

    project = project_of(options.wandb_project)
    if project is None:
        yield _Watch(None)
        return
    recipe = {**order.recipe.parameters(), "name": order.label.name, "version": order.label.version}
    run = Run(project, job="train", recipe=recipe)
    try:
        yield _Watch(run)
    finally:
        if failure := run.finish():
            say(failure)


def _fields(trained: "Trained") -> dict[str, object]:
    manifest = trained.exported.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "path": str(trained.exported.path),
        "digest": trained.exported.digest,
        "metrics": trained.metrics,
        "segments": trained.segments,
        "data": trained.training["data"],
    }


def _text(trained: "Trained") -> str:
    manifest = trained.exported.manifest
    rows: dict[str, object] = {"folder": trained.exported.path, "digest": trained.exported.digest}
    rows |= {name: f"{value:g}" for name, value in trained.metrics.items()}
    for name, figures in trained.segments.items():
        shown = ", ".join(f"{metric} {value:.4g}" for metric, value in figures.items())
        rows[f"in {name}"] = shown
    return table(f"Trained {manifest.name} version {manifest.version}", rows)
