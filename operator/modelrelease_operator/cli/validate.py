"""`modelrelease validate`: check manifests without a cluster."""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from modelrelease_operator.api import names
from modelrelease_operator.api.pod_policy import Allowed
from modelrelease_operator.api.spec import ReleaseSpec, problems_of
from modelrelease_operator.cli.common import Commands, command, line_of, located_in, name_of
from modelrelease_operator.core.whatif.warnings import (
    about_autoscaling,
    about_pulls,
    about_source,
    about_trust,
)
from modelrelease_operator.errors import Invalid
from modelrelease_operator.policy import Policy

FIELD = re.compile(r"\b(spec|metadata)(\.[A-Za-z]\w*|\.\d+|\[\d+\])+")
"""A field as sentences name it."""
NAMESPACE = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
DETAILS = """\
Every ModelRelease in the files is checked by the rules of the API server;
other kinds are left alone. What is wrong is said with the line of its field.
Remarks, on standard error, change nothing. Ends with 1 when one is invalid,
with 2 when there was none.

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


def checked(document: dict[str, Any], allowed: Allowed) -> ReleaseSpec:
    """Return a manifest's spec; raise Invalid where the API server or operator would refuse it."""
    spec = ReleaseSpec.parse(document.get("spec") or {}, strict=True)
    if problem := _problem_of_head(document):
        raise Invalid(problem)
    if refusal := Policy(allowed=allowed).refusal(spec):
        raise Invalid(refusal)
    if spec.retrain:
        allowed.check_retrain(spec.retrain)
    return spec


def _problem_of_head(document: dict[str, Any]) -> str | None:
    """Return what is wrong with a manifest's version, name or namespace, or None."""
    version, meta = document.get("apiVersion"), document.get("metadata")
    if version != names.API_VERSION:
        return f"apiVersion must be {names.API_VERSION}, got {version!r}"
    if not isinstance(meta, dict):
        return f"metadata must be a mapping with a name, got {meta!r}"
    name, namespace = meta.get("name"), meta.get("namespace", "")
    # One with generateName has no name yet.
    if name is None and not meta.get("generateName"):
        return "metadata.name is missing"
    for field, value in (("name", name or ""), ("namespace", namespace)):
        if not isinstance(value, str):
            return f"metadata.{field} must be text, got {value!r}: put it in quotes"
    if namespace and not re.fullmatch(NAMESPACE, namespace):
        return (
            "metadata.namespace must be at most 63 characters, hold only a-z, 0-9 and '-', and "
            f"neither start nor end with '-', got {namespace!r}"
        )
    return names.problem_of(name) if name else None


def _pod_templates(text: str) -> str:
    try:
        Allowed.parse(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from problem
    return text


def _validate(parsed: argparse.Namespace) -> int:
    """Check every manifest of our kind; say what is wrong with each."""
    wrong = found = 0
    allowed = Allowed.parse(parsed.pod_templates)
    for file in parsed.file:
        try:
            releases = located_in(file)
        except Invalid as problem:
            print(problem, file=sys.stderr)
            wrong += 1
            continue
        found += len(releases)
        valid = [_is_valid(file, document, node, allowed) for document, node in releases]
        wrong += valid.count(False)
    if not found and not wrong:
        print(f"no {names.KIND} was found in {', '.join(map(str, parsed.file))}", file=sys.stderr)
        return 2
    return 1 if wrong else 0


def _is_valid(file: Path, document: dict[str, Any], node: yaml.Node, allowed: Allowed) -> bool:
    """Print what is to be said of one manifest, each with the line that it is about."""
    about = f"{names.KIND} {name_of(document)}"
    try:
        spec = checked(document, allowed)
    except Invalid as problem:
        for path, sentence in _problems(problem):
            print(f"{file}:{line_of(node, path)}: {about}: {sentence}", file=sys.stderr)
        return False
    print(f"{file}: {about} is valid")
    for remark in _remarks(spec):
        line = line_of(node, _path_in(remark))
        print(f"{file}:{line}: {about}: remark: {remark}", file=sys.stderr)
    return True


def _remarks(spec: ReleaseSpec) -> Iterator[str]:
    """Yield what a person should hear of a valid spec."""
    for about in (about_trust, about_pulls, about_autoscaling, about_source):
        yield from about(spec)


def _problems(problem: Invalid) -> list[tuple[tuple[str | int, ...], str]]:
    """Return each problem with the path of the field that it is about."""
    if isinstance(problem.__cause__, ValidationError):
        return problems_of(problem.__cause__)
    return [(_path_in(str(problem)), str(problem))]


def _path_in(sentence: str) -> tuple[str | int, ...]:
    """Return the path of the first field that a sentence names."""
    named = FIELD.search(sentence)
    parts = re.findall(r"[^.\[\]]+", named[0]) if named else []
    return tuple(int(part) if part.isdigit() else part for part in parts)
