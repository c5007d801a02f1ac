"""The command line: run the operator, check a manifest, say why a release is where it is."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from modelrelease_operator import __version__
from modelrelease_operator.api import names
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.errors import Invalid
from modelrelease_operator.settings import Settings

EXAMPLES = """\
examples:
  modelrelease run                      run the operator (in a cluster: the chart does this)
  modelrelease validate release.yaml    check manifests without a cluster
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="modelrelease",
        description="Release machine-learning models, and decide from evidence whether they stay.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"modelrelease {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("run", help="run the operator until it is told to stop")
    validate = commands.add_parser("validate", help="check ModelRelease manifests without a cluster")
    validate.add_argument("file", type=Path, nargs="+", help="YAML file with one or more manifests")
    parsed = parser.parse_args(arguments)
    if parsed.command == "validate":
        return _validate(parsed.file)
    return _run()


def _run() -> int:
    from modelrelease_operator.runtime.handlers import run  # noqa: PLC0415 - the other commands need no kopf

    run(Settings())
    return 0


def _validate(files: Sequence[Path]) -> int:
    """Check every manifest of our kind; say what is wrong with each."""
    wrong = checked = 0
    for file in files:
        try:
            documents = list(yaml.safe_load_all(file.read_text()))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
            print(f"{file}: cannot be read: {problem}", file=sys.stderr)
            wrong += 1
            continue
        for document in documents:
            if not isinstance(document, dict) or document.get("kind") != names.KIND:
                continue
            checked += 1
            name = (document.get("metadata") or {}).get("name", "?")
            try:
                ReleaseSpec.parse(document.get("spec") or {})
                print(f"{file}: {names.KIND} {name} is valid")
            except Invalid as problem:
                wrong += 1
                print(f"{file}: {names.KIND} {name}: {problem}", file=sys.stderr)
    if not checked and not wrong:
        print(f"no {names.KIND} was found in {', '.join(map(str, files))}", file=sys.stderr)
        return 2
    return 1 if wrong else 0
