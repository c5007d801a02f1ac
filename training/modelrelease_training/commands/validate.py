"""`modelrelease-train validate`."""

import argparse
from dataclasses import asdict
from pathlib import Path

from modelrelease_training.commands.common import Commands, add_command, add_schema, print_answer
from modelrelease_training.errors import EXIT_INVALID

_EPILOG = """\
examples:
  modelrelease-train validate --data data/monday.parquet
  modelrelease-train validate --data export.csv --schema my-schema.yaml --limit 100
  modelrelease-train validate --data data/monday.parquet -o json | jq '.violations[0]'

Exit codes: 0 every rule holds, 2 the file cannot be read, 3 the data breaks its schema.
Rows are counted from 1, without the header.
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands, "validate", run, summary="check a table against its schema", epilog=_EPILOG
    )
    parser.add_argument(
        "--data", required=True, type=Path, metavar="FILE", help="a .parquet or .csv file"
    )
    parser.add_argument("--encoding", default="utf-8", help="of a CSV file (default: %(default)s)")
    parser.add_argument(
        "--limit",
        default=20,
        type=int,
        help="violations to list (default: %(default)s)",
    )
    add_schema(parser)


def run(options: argparse.Namespace) -> int:
    """Check, and list what is broken."""
    from modelrelease_training.schema import load_schema, validate  # noqa: PLC0415 (see the package)

    report = validate(
        options.data,
        load_schema(options.schema),
        limit=max(0, options.limit),
        encoding=options.encoding,
    )
    if report.valid:
        text = f"{report.path} is valid: {report.rows} rows, fingerprint {report.fingerprint}"
    else:
        lines = [f"  {violation.sentence()}" for violation in report.violations]
        unlisted = report.total - len(lines)
        if unlisted:
            lines.append(f"  and {unlisted} more (--limit shows more)")
        text = "\n".join([f"{report.path} breaks its schema in {report.total} places", *lines])
    fields = asdict(report) | {"path": str(report.path), "valid": report.valid}
    print_answer(options, fields, text)
    return 0 if report.valid else EXIT_INVALID
