"""`modelrelease validate`: check manifests without a cluster."""

import argparse
import sys
from pathlib import Path

from modelrelease_operator.api import names
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.cli.common import Commands, command, name_of, releases_in
from modelrelease_operator.core.cautions import about_trust
from modelrelease_operator.errors import Invalid

DETAILS = """\
Every ModelRelease in the files is checked by the rules of the API server;
other kinds are left alone. Remarks, on standard error, change nothing. Ends
with 1 when one is invalid, with 2 when there was none.

example:
  modelrelease validate examples/releases/*.yaml
  kustomize build overlays/prod | modelrelease validate -
"""


def add(commands: Commands) -> None:
    """Add the command."""
    made = command(commands, "validate", "check ModelRelease manifests without a cluster", DETAILS)
    made.add_argument(
        "file",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="YAML with one or more manifests; - for standard input",
    )
    made.set_defaults(run=_validate)


def _validate(parsed: argparse.Namespace) -> int:
    """Check every manifest of our kind; say what is wrong with each."""
    wrong = checked = 0
    for file in parsed.file:
        try:
            found = releases_in(file)
        except Invalid as problem:
            print(problem, file=sys.stderr)
            wrong += 1
            continue
        for document in found:
            checked += 1
            name = name_of(document)
            try:
                spec = ReleaseSpec.parse(document.get("spec") or {})
                print(f"{file}: {names.KIND} {name} is valid")
                for remark in about_trust(spec):
                    print(f"{file}: {names.KIND} {name}: remark: {remark}", file=sys.stderr)
            except Invalid as problem:
                wrong += 1
                print(f"{file}: {names.KIND} {name}: {problem}", file=sys.stderr)
    if not checked and not wrong:
        print(f"no {names.KIND} was found in {', '.join(map(str, parsed.file))}", file=sys.stderr)
        return 2
    return 1 if wrong else 0
