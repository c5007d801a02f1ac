"""The training command: reads arguments, calls the other modules in order, prints what came out.

Decides nothing about data or models. Exit code 2 and one sentence when the request cannot be met.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from typing_extensions import override

from modelrelease_training.data import MINIMUM_ROWS, make_data, split
from modelrelease_training.evaluate import evaluate
from modelrelease_training.export import ExistsError, Exported, Label, export_artifact
from modelrelease_training.train import REGULARIZATION, fit

EXIT_USAGE: Final = 2

_EPILOG = """\
examples:
  Train version 1 and look at what was written:
    modelrelease-train train --version 1 --output artifacts
    cat artifacts/qna/1/manifest.json

  Train a good successor: other rows of the same world, or a stricter penalty:
    modelrelease-train train --version 2 --seed 8 --output artifacts
    modelrelease-train train --version 3 --regularization 0.1 --output artifacts

  Take the digest, which a release pins as spec.model.sha256, from the machine-readable answer:
    modelrelease-train train --version 4 --output artifacts --format json | jq -r .digest

The same seed, rows, regularization and library versions give the same bytes, so the same digest.
"""


class Parser(argparse.ArgumentParser):
    """Answers a bad argument with one sentence; the usage is one `--help` away."""

    @override
    def error(self, message: str) -> NoReturn:
        """Print `message` on standard error and leave with exit code 2."""
        self.exit(EXIT_USAGE, f"{self.prog}: {message} (--help shows examples)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Return the exit code: 0, or 2 when the request cannot be met."""
    options = _parser().parse_args(arguments)
    try:
        exported = _train(options)
    except (ExistsError, ValueError) as error:
        return _complain(str(error))
    except OSError as error:
        return _complain(
            f"cannot write to {options.output}: {error.strerror or error}; choose another --output"
        )
    print(_as_json(exported) if options.format == "json" else _as_text(exported))
    return 0


def version_label(text: str) -> str:
    """Return `text` if it can be a version: it becomes a folder, a label in Kubernetes and in metrics."""
    if not re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", text):
        rule = "must be 1 to 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends"
        msg = f"{rule}, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return text


def _parser() -> Parser:
    parser = Parser(
        prog="modelrelease-train",
        description="Train a model on made-up data and export it as an artifact that the predictor serves.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train = commands.add_parser(
        "train",
        help="make data, fit, evaluate and export one version",
        description="Make data from a seed, fit, evaluate on held-out rows, and export one version.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_options(train)
    return parser


def _add_options(train: argparse.ArgumentParser) -> None:
    train.add_argument(
        "--version", required=True, type=version_label, help="what people call this model, such as 7"
    )
    train.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="write to DIR/<name>/<version>"
    )
    train.add_argument(
        "--name", default="qna", type=version_label, help="name of the model (default: %(default)s)"
    )
    train.add_argument("--seed", default=7, type=_seed, help="which rows are drawn (default: %(default)s)")
    train.add_argument(
        "--rows", default=5000, type=int, help=f"rows to draw, at least {MINIMUM_ROWS} (default: %(default)s)"
    )
    train.add_argument(
        "--regularization",
        default=REGULARIZATION,
        type=float,
        metavar="C",
        help="inverse strength of the penalty, above 0; smaller is stricter (default: %(default)s)",
    )
    train.add_argument(
        "--created", metavar="TIME", help="RFC 3339 time to record; without it the bytes repeat"
    )
    train.add_argument("--force", action="store_true", help="replace this version if it exists")
    train.add_argument("--format", choices=("text", "json"), default="text", help="of the answer")


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        msg = f"must be a whole number from 0 to 4294967295, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _train(options: argparse.Namespace) -> Exported:
    data = split(make_data(seed=options.seed, rows=options.rows))
    model = fit(data.training, regularization=options.regularization, seed=options.seed)
    return export_artifact(
        model,
        label=Label(name=options.name, version=options.version, created=options.created),
        data=data,
        metrics=evaluate(model, data.held_out),
        output=options.output,
        force=options.force,
    )


def _as_json(exported: Exported) -> str:
    manifest = exported.manifest
    return json.dumps(
        {
            "name": manifest.name,
            "version": manifest.version,
            "path": str(exported.path),
            "digest": exported.digest,
            "metrics": manifest.metrics,
        }
    )


def _as_text(exported: Exported) -> str:
    manifest = exported.manifest
    metrics = [f"  {name:<13} {value:g}" for name, value in manifest.metrics.items()]
    return "\n".join(
        [
            f"Trained {manifest.name} version {manifest.version}",
            f"  {'folder':<13} {exported.path}",
            f"  {'digest':<13} {exported.digest}",
            *metrics,
        ]
    )


def _complain(sentence: str) -> int:
    print(f"modelrelease-train: {sentence}", file=sys.stderr)
    return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
