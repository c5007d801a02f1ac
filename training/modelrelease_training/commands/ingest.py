"""`modelrelease-train ingest`."""

import argparse
from pathlib import Path

from modelrelease_training.commands.common import (
    Commands,
    add_command,
    add_schema,
    print_answer,
    say,
    seed,
    table,
)
from modelrelease_training.errors import DataError

_EPILOG = """\
examples:
  modelrelease-train ingest --input export.csv --output data/monday.parquet
  modelrelease-train ingest --generate --rows 20000 --seed 7 --output data/usual.parquet
  modelrelease-train ingest --generate --seed 8 --shift feature_03=+2.0 --output data/drifted.parquet

The fingerprint is the sha256 of the file: `sha256sum` prints the same. The same rows give the same bytes.
"""  # noqa: E501


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "ingest",
        run,
        summary="copy a table, or draw a made-up one, to a Parquet file with a fingerprint",
        epilog=_EPILOG,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", type=Path, metavar="FILE", help="a .csv or .parquet file")
    source.add_argument(
        "--generate", action="store_true", help="draw rows of the demo's world from a seed"
    )
    parser.add_argument(
        "--output", required=True, type=Path, metavar="FILE", help="the .parquet file to write"
    )
    parser.add_argument("--encoding", default="utf-8", help="of a CSV file (default: %(default)s)")
    parser.add_argument("--rows", default=5000, type=int, help="to draw (default: %(default)s)")
    parser.add_argument(
        "--seed", default=7, type=seed, help="which rows are drawn (default: %(default)s)"
    )
    parser.add_argument(
        "--shift",
        action="append",
        default=[],
        metavar="FEATURE=DEVIATIONS",
        help="move a drawn feature by so many of its standard deviations; may be repeated",
    )
    parser.add_argument("--force", action="store_true", help="replace the output if it exists")
    add_schema(parser)


def run(options: argparse.Namespace) -> int:
    """Write the file, and say what is in it."""
    from modelrelease_training import ingest  # noqa: PLC0415 (see the package)
    from modelrelease_training.schema import load_schema  # noqa: PLC0415

    if options.generate:
        try:
            shifts = dict(ingest.parse_shift(text) for text in options.shift)
        except ValueError as error:
            raise DataError(f"--shift {error}") from error
        say(f"drawing {options.rows} rows with seed {options.seed}")
        frame = ingest.generate(rows=options.rows, seed=options.seed, shifts=shifts)
        written = ingest.write_table(frame, options.output, force=options.force)
    else:
        if options.shift:
            raise DataError("--shift moves drawn rows: it goes with --generate, not with --input")
        texts = load_schema(options.schema).texts
        say(f"reading {options.input}")
        written = ingest.ingest(
            options.input,
            options.output,
            texts=texts,
            encoding=options.encoding,
            force=options.force,
        )
    fields = {"path": str(written.path), "fingerprint": written.fingerprint, "rows": written.rows}
    text = table(
        f"Wrote {written.path}", {"rows": written.rows, "fingerprint": written.fingerprint}
    )
    print_answer(options, {**fields, "columns": list(written.columns)}, text)
    return 0
