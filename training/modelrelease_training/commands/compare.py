"""`modelrelease-train compare`."""

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from modelrelease_training.commands.common import (
    Commands,
    add_command,
    add_schema,
    print_answer,
    say,
    table,
)
from modelrelease_training.errors import EXIT_REFUSED, TrainingError

if TYPE_CHECKING:
    from modelrelease_training.compare import Comparison

_EPILOG = """\
examples:
  modelrelease-train compare --champion artifacts/qna/1 --challenger artifacts/qna/2 --data monday.parquet
  modelrelease-train compare --champion models:/qna@champion --challenger artifacts/qna/2 \\
    --data monday.parquet --metric log_loss --margin 0.005 --floor 0.5 -o json

The challenger is accepted where the lower bound of the confidence interval of its gain over the champion,
on the same held-out rows, is above -margin, and its own metric is not worse than the floor.
Exit codes: 0 accepted, 2 cannot be compared, 3 the data breaks its schema, 4 refused.
"""  # noqa: E501


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "compare",
        run,
        summary="decide whether a challenger may replace the champion",
        epilog=_EPILOG,
    )
    for role in ("champion", "challenger"):
        parser.add_argument(
            f"--{role}",
            required=True,
            metavar="ARTIFACT",
            help="a folder, or models:/NAME@ALIAS of MLflow",
        )
    parser.add_argument(
        "--data", required=True, type=Path, metavar="FILE", help="a .parquet or .csv file"
    )
    parser.add_argument(
        "--all-rows",
        action="store_true",
        help="measure on every row: for a file that nobody was trained on",
    )
    parser.add_argument("--metric", choices=("roc_auc", "accuracy", "log_loss"), default="roc_auc")
    parser.add_argument(
        "--margin", default=0.01, type=float, help="how much worse it may be (default: %(default)s)"
    )
    parser.add_argument("--floor", type=float, help="worst metric that is ever accepted")
    parser.add_argument(
        "--confidence",
        default=0.95,
        type=float,
        help="of the two-sided interval (default: %(default)s)",
    )
    parser.add_argument(
        "--mlflow", metavar="URI", help="MLflow server (default: MLFLOW_TRACKING_URI)"
    )
    add_schema(parser)


def run(options: argparse.Namespace) -> int:
    """Compare, and say what was decided."""
    from modelrelease_training.accept import Rule  # noqa: PLC0415 (see the package)
    from modelrelease_training.compare import compare  # noqa: PLC0415
    from modelrelease_training.schema import load_schema  # noqa: PLC0415

    try:
        rule = Rule(
            metric=options.metric,
            margin=options.margin,
            floor=options.floor,
            confidence=options.confidence,
        )
    except ValueError as error:
        raise TrainingError(str(error)) from error
    with tempfile.TemporaryDirectory(prefix="modelrelease-") as scratch:
        comparison = compare(
            champion=_folder(options.champion, options.mlflow, Path(scratch, "champion")),
            challenger=_folder(options.challenger, options.mlflow, Path(scratch, "challenger")),
            data=options.data,
            schema=load_schema(options.schema),
            rule=rule,
            whole=options.all_rows,
        )
    print_answer(options, asdict(comparison), _text(comparison))
    return 0 if comparison.acceptance.accepted else EXIT_REFUSED


def _folder(artifact: str, uri: str | None, scratch: Path) -> Path:
    """Return the folder of an artifact, after fetching a registered one."""
    if not artifact.startswith("models:"):
        return Path(artifact)
    from modelrelease_training.registry import Registry  # noqa: PLC0415

    say(f"fetching {artifact}")
    return Registry(uri).download(artifact, scratch)


def _figure(figures: dict[str, float], metric: str) -> str:
    return f"{figures[metric]:.4f}" if metric in figures else "-"


def _text(comparison: "Comparison") -> str:
    champion, challenger, acceptance = (
        comparison.champion,
        comparison.challenger,
        comparison.acceptance,
    )
    verdict = "Accepted" if acceptance.accepted else "Refused"
    rows: dict[str, object] = {"because": acceptance.reason, "held-out rows": acceptance.rows}
    for metric, value in champion.metrics.items():
        rows[metric] = f"{value:.4f} -> {challenger.metrics[metric]:.4f}"
    for name, figures in challenger.segments.items():
        before = _figure(champion.segments[name], acceptance.metric)
        after = _figure(figures, acceptance.metric)
        rows[f"in {name}"] = f"{acceptance.metric} {before} -> {after}"
    title = (
        f"{verdict}: {challenger.name} {challenger.version} against {champion.name} "
        f"{champion.version}"
    )
    return table(title, rows)
