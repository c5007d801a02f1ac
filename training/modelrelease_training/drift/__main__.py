"""The drift command: reads arguments, calls the other modules in order, prints what came out.

Exit code 0 without drift, 1 with drift, 2 and one sentence when the request cannot be met.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from modelrelease_contract.drift import PRACTICAL_PSI
from modelrelease_training import alerts, wandb_runs
from modelrelease_training.commands.common import Parser, last_resort
from modelrelease_training.drift import baseline, numeric, report, text
from modelrelease_training.drift.encoder import (
    DEFAULT_MODEL,
    MODEL_VARIABLE,
    SentenceEncoder,
    model_name,
)
from modelrelease_training.drift.errors import DriftError
from modelrelease_training.drift.tables import read_columns, read_texts

EXIT_NONE: Final = 0
EXIT_DRIFT: Final = 1
EXIT_ERROR: Final = 2
EXIT_INTERRUPTED: Final = 130

RULES: Final = ("either", "calibrated", "threshold")

_EXAMPLES: Final = """\
examples:
  Remember what texts looked like, one a line; then check a batch, and tell Slack if it drifted:
    modelrelease-drift baseline --input-file texts.txt --output-file baseline.npz
    modelrelease-drift check --baseline baseline.npz --input-texts new.txt --threshold 0.12 \\
      --slack-webhook "$SLACK_WEBHOOK_URL"

  Texts of one column of a table, and another encoder (a name, or a folder where there is no network):
    EMB_MODEL=all-MiniLM-L6-v2 modelrelease-drift baseline --input-file tickets.parquet --column body \\
      --output-file baseline.npz

  Numbers, against the baseline that came with a model, or one of their own:
    modelrelease-drift check --baseline artifacts/qna/1/manifest.json --input-file rows.csv
    modelrelease-drift baseline --kind numeric --input-file rows.csv --output-file baseline.json

  Take the figures from the machine-readable answer:
    modelrelease-drift check --baseline baseline.npz --input-texts new.txt --format json \\
      | jq .centroid_distance

  Watch the texts that predictors sample (docs/reference/drift.md has the settings):
    TEXT_BASELINE=baseline.npz modelrelease-drift serve

exit codes: 0 no drift; 1 drift; 2 the request cannot be met. An alert that fails changes none of them.
"""  # noqa: E501


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Return the exit code."""
    command_line = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args([_hyphenated(argument) for argument in command_line])
    try:
        return int(options.run(options))
    except DriftError as error:
        return _complain(str(error))
    except OSError as error:
        return _complain(
            f"cannot write {error.filename or 'the answer'}: {error.strerror or error}"
        )
    except KeyboardInterrupt:
        _complain("interrupted; nothing was written")
        return EXIT_INTERRUPTED
    except Exception as error:
        return _complain(last_resort(error))


def _hyphenated(argument: str) -> str:
    """Return `--input_file=x_y` as `--input-file=x_y`: both spellings of an option are the same."""
    name, equals, value = argument.partition("=")
    return f"{name.replace('_', '-')}{equals}{value}" if name.startswith("--") else argument


def _baseline(options: argparse.Namespace) -> int:
    if options.kind == "numeric":
        histograms = numeric.make(read_columns(options.input_file, encoding=options.encoding))
        options.output_file.write_text(
            histograms.model_dump_json(indent=1, exclude_none=True) + "\n"
        )
        figures = {"rows": histograms.rows, "features": list(histograms.features)}
        _print_written(options, figures, f"{histograms.rows:,} rows")
        return EXIT_NONE
    texts = read_texts(options.input_file, column=options.column, encoding=options.encoding)
    encoder = _encoder(options, len(texts.texts))
    text_baseline = baseline.make(
        texts.texts, encoder, column=texts.column, seed=options.seed, progress=sys.stderr.isatty()
    )
    baseline.save(text_baseline, options.output_file)
    about = text_baseline.about
    figures = {
        "encoder": about.encoder,
        "dimension": about.dimension,
        "given": about.given,
        "kept": about.kept,
    }
    words = f"{about.kept:,} of {about.given:,} texts, encoded by {about.encoder}"
    _print_written(options, {**figures, "empty": texts.empty}, words)
    return EXIT_NONE


def _check(options: argparse.Namespace) -> int:
    check = _check_texts if _holds_texts(options.baseline) else _check_numbers
    figures, sentence, lines = check(options)
    problems = _alert_and_record(options, figures, sentence)
    for problem in problems:
        print(f"modelrelease-drift: {problem}", file=sys.stderr)
    if options.format == "json":
        print(json.dumps({**figures, "sentence": sentence, "problems": problems}))
    else:
        print(f"{_verdict(figures)}: {sentence}\n{lines}")
    return EXIT_DRIFT if figures["drift"] else EXIT_NONE


def _verdict(figures: dict[str, Any]) -> str:
    if figures["drift"]:
        return "DRIFT"
    return "Undecided" if figures.get("insufficient") else "No drift"


def _check_texts(options: argparse.Namespace) -> tuple[dict[str, Any], str, str]:
    text_baseline = baseline.load(options.baseline)
    texts = read_texts(
        options.input_file,
        column=options.column or text_baseline.about.column,
        encoding=options.encoding,
    )
    encoder = _encoder(options, len(texts.texts))
    baseline.check_encoder(text_baseline, encoder)
    vectors = encoder.encode(texts.texts, progress=sys.stderr.isatty())
    alpha = text.ALPHA if options.alpha is None else options.alpha
    drift = text.compare(
        text_baseline.reference, texts.texts, vectors, threshold=options.threshold, alpha=alpha
    )
    verdicts = {"calibrated": drift.calibrated, "threshold": drift.over_threshold}
    verdicts["either"] = any(verdicts.values())
    figures = {
        "drift": verdicts[options.rule],
        "rule": options.rule,
        "encoder": encoder.name,
        "empty": texts.empty,
    }
    return (
        {**figures, **report.text_figures(drift)},
        report.text_sentence(drift),
        report.table(drift.features),
    )


def _check_numbers(options: argparse.Namespace) -> tuple[dict[str, Any], str, str]:
    histograms = baseline.read_numbers(options.baseline)
    texts = [name for name, bins in histograms.features.items() if bins.labels]
    columns = read_columns(options.input_file, encoding=options.encoding, texts=texts)
    alpha = numeric.ALPHA if options.alpha is None else options.alpha
    drift = numeric.compare(histograms, columns, alpha=alpha, practical=options.practical_psi)
    figures = {"drift": bool(drift.found_by), **report.numeric_figures(drift)}
    return figures, report.numeric_sentence(drift), report.table(drift.features)


def _alert_and_record(
    options: argparse.Namespace, figures: dict[str, Any], sentence: str
) -> list[str]:
    """Send alerts and records. Return a sentence for each that failed."""
    problems = []
    if figures["drift"]:
        subject = str(options.baseline)
        alert = alerts.Alert(
            kind="drift", subject=subject, text=f"Drift against {subject}: {sentence}."
        )
        problems += alerts.notify(alert, alerts.webhooks(options.slack_webhook))
    if options.wandb_project:
        scalars = {
            name: value for name, value in figures.items() if isinstance(value, bool | int | float)
        }
        by_feature = {f"psi/{feature['name']}": feature["psi"] for feature in figures["features"]}
        problem = wandb_runs.log(
            options.wandb_project, job="drift-check", figures={**scalars, **by_feature}
        )
        if problem:
            problems.append(problem)
    return problems


def _serve(_options: argparse.Namespace) -> int:
    from modelrelease_training.drift.server import run  # noqa: PLC0415 - the other commands need no FastAPI

    return run()


def _holds_texts(path: Path) -> bool:
    """Return whether a baseline is of texts (a zip of arrays) and not of numbers (JSON)."""
    try:
        with path.open("rb") as file:
            return file.read(2) == b"PK"
    except OSError as error:
        fault = f"the baseline {path} cannot be read ({error.strerror})"
        msg = f"{fault}: make one with `modelrelease-drift baseline`"
        raise DriftError(msg) from error


def _encoder(options: argparse.Namespace, texts: int) -> SentenceEncoder:
    name = model_name(options.model)
    print(f"encoding {texts:,} texts with {name} …", file=sys.stderr)
    return SentenceEncoder(name)


def _print_written(options: argparse.Namespace, figures: dict[str, Any], words: str) -> None:
    path = str(options.output_file)
    if options.format == "json":
        print(json.dumps({"path": path, **figures}))
    else:
        print(f"Wrote {path}: {words}")


def _parser() -> Parser:
    shape: Any = {"epilog": _EXAMPLES, "formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = Parser(
        prog="modelrelease-drift",
        description="Say whether texts, or rows of numbers, have moved away from a baseline.",
        **shape,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    make = commands.add_parser("baseline", help="remember what data looks like", **shape)
    make.set_defaults(run=_baseline)
    make.add_argument(
        "--kind", choices=("text", "numeric"), default="text", help="default: %(default)s"
    )
    make.add_argument("--input-file", required=True, type=Path, metavar="FILE", help=_INPUT)
    make.add_argument(
        "--output-file", required=True, type=Path, metavar="FILE", help="where to write it"
    )
    make.add_argument(
        "--seed", type=int, default=0, help="of the sample and the topics (default: %(default)s)"
    )
    _add_common(make)
    check = commands.add_parser("check", help="compare a batch with a baseline", **shape)
    check.set_defaults(run=_check)
    _add_check(check)
    _add_common(check)
    serve = commands.add_parser("serve", help="watch the texts that predictors sample", **shape)
    serve.set_defaults(run=_serve)
    return parser


_INPUT: Final = "texts: .txt (one a line), .csv, .jsonl or .parquet; numbers: .csv or .parquet"


def _add_check(check: argparse.ArgumentParser) -> None:
    check.add_argument(
        "--baseline",
        required=True,
        type=Path,
        metavar="FILE",
        help="of `baseline`, or a manifest.json",
    )
    check.add_argument(
        "--input-file", "--input-texts", required=True, type=Path, metavar="FILE", help=_INPUT
    )
    check.add_argument(
        "--threshold",
        type=_share,
        default=text.THRESHOLD,
        help="cosine distance of centroids (default: %(default)s)",
    )
    check.add_argument(
        "--rule",
        choices=RULES,
        default="either",
        help="which answer about texts counts (default: %(default)s)",
    )
    check.add_argument(
        "--alpha", type=_alpha, metavar="P",
        help=(
            f"probability of a false alarm (default: {text.ALPHA} for texts, {numeric.ALPHA} for "
            "numbers)"
        ),
    )  # fmt: skip
    check.add_argument(
        "--practical-psi", type=_positive, default=PRACTICAL_PSI, metavar="PSI",
        help="shifts of numbers below this are never drift (default: %(default)s)",
    )  # fmt: skip
    check.add_argument(
        "--slack-webhook", metavar="URL", help="tell of drift here (default: SLACK_WEBHOOK_URL)"
    )
    check.add_argument(
        "--wandb-project", metavar="NAME", help="record the figures in Weights & Biases"
    )


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--column", help="column with the texts (default: text, or the only one that holds texts)"
    )
    command.add_argument(
        "--encoding", default="utf-8", help="of .txt, .csv and .jsonl (default: %(default)s)"
    )
    command.add_argument(
        "--model", help=f"the encoder (default: {MODEL_VARIABLE}, or {DEFAULT_MODEL})"
    )
    command.add_argument("--format", choices=("text", "json"), default="text", help="of the answer")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        msg = f"must be a number, got {text!r}"
        raise argparse.ArgumentTypeError(msg) from error


def _positive(argument: str) -> float:
    if not 0 < (value := _number(argument)) < float("inf"):
        msg = f"must be above 0, got {argument!r}"
        raise argparse.ArgumentTypeError(msg)
    return value


def _share(argument: str) -> float:
    if not 0 < (value := _number(argument)) <= 2:
        msg = f"must be above 0 and at most 2, as cosine distances are, got {argument!r}"
        raise argparse.ArgumentTypeError(msg)
    return value


def _alpha(argument: str) -> float:
    if not text.SMALLEST_ALPHA <= (value := _number(argument)) < 0.5:
        msg = f"must be from {text.SMALLEST_ALPHA} to 0.5, got {argument!r}"
        raise argparse.ArgumentTypeError(msg)
    return value


def _complain(sentence: str) -> int:
    print(f"modelrelease-drift: {sentence}", file=sys.stderr)
    return EXIT_ERROR


if __name__ == "__main__":
    sys.exit(main())
