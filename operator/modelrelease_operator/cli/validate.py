"""`modelrelease validate`: check manifests without a cluster."""

import argparse
import sys
from pathlib import Path
from typing import Any

from modelrelease_operator.api import names
from modelrelease_operator.api.pod_policy import Allowed
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.cli.common import Commands, command, name_of, releases_in
from modelrelease_operator.core.whatif.warnings import about_autoscaling, about_source, about_trust
from modelrelease_operator.errors import Invalid
from modelrelease_operator.serving_runtimes import refusal_of_runtime
from modelrelease_operator.traffic.counted_by import refusal_of_counting

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
    parser = command(
        commands, "validate", "check ModelRelease manifests without a cluster", DETAILS
    )
    parser.add_argument(
        "file",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="YAML with one or more manifests; - for standard input",
    )
    parser.add_argument(
        "--pod-templates",
        type=_pod_templates,
        default="scheduling",
        metavar="ALLOWED",
        help="what a pod template may set, as the operator's chart value podTemplates.allowed "
        "says: none, "
        "scheduling (the default), all, or paths separated by commas",
    )
    parser.set_defaults(run=_validate)


def _check(document: dict[str, Any], allowed: Allowed) -> ReleaseSpec:
    """Return a manifest's spec; raise Invalid where the API server or operator would refuse it."""
    meta = document.get("metadata")
    name = meta.get("name") if isinstance(meta, dict) else None
    # One with generateName has no name yet.
    if isinstance(name, str) and (problem := names.problem_of(name)):
        raise Invalid(problem)
    spec = ReleaseSpec.parse(document.get("spec") or {}, strict=True)
    refusal = (
        allowed.refusal_of_serving(spec) or refusal_of_runtime(spec) or refusal_of_counting(spec)
    )
    if refusal:
        raise Invalid(refusal)
    if spec.retrain:
        allowed.check_retrain(spec.retrain)
    return spec


def _pod_templates(text: str) -> str:
    try:
        Allowed.parse(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from problem
    return text


def _validate(parsed: argparse.Namespace) -> int:
    """Check every manifest of our kind; say what is wrong with each."""
    wrong = checked = 0
    allowed = Allowed.parse(parsed.pod_templates)
    for file in parsed.file:
        try:
            releases = releases_in(file)
        except Invalid as problem:
            print(problem, file=sys.stderr)
            wrong += 1
            continue
        for document in releases:
            checked += 1
            name = name_of(document)
            try:
                spec = _check(document, allowed)
                print(f"{file}: {names.KIND} {name} is valid")
                for remark in (*about_trust(spec), *about_autoscaling(spec), *about_source(spec)):
                    print(f"{file}: {names.KIND} {name}: remark: {remark}", file=sys.stderr)
            except Invalid as problem:
                wrong += 1
                print(f"{file}: {names.KIND} {name}: {problem}", file=sys.stderr)
    if not checked and not wrong:
        print(f"no {names.KIND} was found in {', '.join(map(str, parsed.file))}", file=sys.stderr)
        return 2
    return 1 if wrong else 0
