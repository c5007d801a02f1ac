"""The training command line: from raw data to a registered model.

Decides nothing about data or models. A request that cannot be met is one sentence on standard error
and an exit code: docs/reference/training.md lists them.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from modelrelease_training.commands import (
    compare,
    export,
    feedback,
    ingest,
    pack,
    register,
    train,
    validate,
)
from modelrelease_training.commands.common import Parser, last_resort
from modelrelease_training.errors import EXIT_USAGE, TrainingError

_COMMANDS: Final = (ingest, validate, train, export, pack, compare, register, feedback)
_EPILOG = """\
a whole way from data to a released model:
  modelrelease-train ingest --generate --rows 20000 --seed 7 --output data/monday.parquet
  modelrelease-train validate --data data/monday.parquet
  modelrelease-train train --version 1 --data data/monday.parquet --output artifacts
  modelrelease-train register artifacts/qna/1 --alias candidate --alias champion

`modelrelease-train export` makes an artifact of a model that you fitted yourself.
`modelrelease-train pack` makes an artifact of files for a server that is not ours.
`modelrelease-train feedback` joins late labels with predictions, and says whether the model got worse.
`modelrelease-train drift` is the command modelrelease-drift: whether data moved away from a baseline.
`modelrelease-train COMMAND --help` shows examples of each command.
exit codes: 0 done, 2 the request cannot be met, 3 the data breaks its schema, 4 the challenger is refused
"""  # noqa: E501


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Return the exit code."""
    command_line = sys.argv[1:] if arguments is None else list(arguments)
    if command_line[:1] == ["drift"]:
        from modelrelease_training.drift.__main__ import main as drift  # noqa: PLC0415 - its own imports

        return drift(command_line[1:])
    options = _parser().parse_args(command_line)
    try:
        return int(options.run(options))
    except TrainingError as error:
        print(f"modelrelease-train: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("modelrelease-train: stopped; what was not finished was not written", file=sys.stderr)
        return 130
    except Exception as error:
        print(f"modelrelease-train: {last_resort(error)}", file=sys.stderr)
        return EXIT_USAGE


def _parser() -> Parser:
    parser = Parser(
        prog="modelrelease-train",
        description=(
            "From raw data to a registered model: ingest, validate, train, compare, register; or "
            "export a model of your own."
        ),
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add(commands)
    return parser


__all__ = ["EXIT_USAGE", "main"]

if __name__ == "__main__":
    sys.exit(main())
