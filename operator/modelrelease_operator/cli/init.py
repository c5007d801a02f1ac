"""`modelrelease init`: a first manifest of a model, which passes `validate`."""

import argparse
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from modelrelease_contract import MANIFEST_NAME, ArtifactManifest, manifest_digest, schemes
from modelrelease_operator.api import names
from modelrelease_operator.api.pod_policy import Allowed
from modelrelease_operator.cli.common import Commands, command
from modelrelease_operator.cli.traffic import whole
from modelrelease_operator.cli.validate import checked
from modelrelease_operator.errors import Invalid

DETAILS = """\
MODEL is what spec.model.uri takes, or a folder with a manifest.json: then its
version and digest are put in, and --at says where the pods find a copy of it.
What is written passes `modelrelease validate`; nothing is changed anywhere.

examples:
  modelrelease init models:/qna@champion > release.yaml
  modelrelease init artifacts/qna/7 --at s3://models/qna/7 --replicas 9
  modelrelease init hf://me/qna@v7 --gateway infra/public | kubectl apply -f -
"""
NAMELESS: Final = re.compile(r"(v?\d[\w.-]*|latest|main|model|models|artifacts?)")
"""Parts of an address that name a version or nothing, and no model."""
PLACES: Final = ("http://", "https://", "oci://", "oci+http://", "runs:/")
"""Whose first part is a server or a run."""
ALIAS: Final = (
    "The alias is looked up in MLflow (chart value mlflow.trackingUri). When it moves, what it",
    "names then is the next canary.",
)
ABOUT_MODEL: Final = {
    schemes.Reader.REGISTRY: (
        "It is looked up in MLflow (chart value mlflow.trackingUri). Another version is another",
        "address here, and begins as a canary.",
    ),
    schemes.Reader.HUB: ("The revision is resolved to one commit, which stays.",),
    schemes.Reader.POD: (
        "Only pods can read this place: without version and sha256 here, a Job of the release",
        "finds out both once.",
    ),
    schemes.Reader.OPERATOR: ("Another version is another address here, and begins as a canary.",),
}
"""By who reads a place: what its uri means for the next version."""
SERVING: Final = """\
  # serving:
  #   replicas: 3                  # pods that serve, and a canary beside them
"""
CANARY: Final = """\
  # canary:
  #   steps:                       # shares of the requests, in percent
  #     - {weight: 5, bake: 60s}   # each lasts so long at least, and until every gate passes
  #     - {weight: 10, bake: 60s}
  #     - {weight: 25, bake: 60s}
  #     - {weight: 50, bake: 60s}
  #   approval: Automatic          # Manual: a person is asked before the canary becomes stable
"""
ANALYSIS: Final = """\
  # analysis:
  #   interval: 10s                # between two looks; without a Prometheus the pods are read
  #   gates:                       # what a canary is compared with stable by
  #     - {name: errors, errorRate: {}}
  #     - {name: latency, latency: {}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is known of a model."""

    uri: str
    name: str | None
    version: str | None = None
    sha256: str | None = None


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "init", "write a first manifest of a model", DETAILS)
    parser.add_argument("model", metavar="MODEL", help="its URI, or a folder with a manifest.json")
    parser.add_argument(
        "--at", metavar="URI", help="where the pods find what is in the folder MODEL"
    )
    parser.add_argument("--name", metavar="NAME", help="of the release (default: the model's)")
    parser.add_argument(
        "-n", "--namespace", metavar="NAMESPACE", help="(default: none, so kubectl's)"
    )
    parser.add_argument("--model-version", metavar="VERSION", help="what people call it")
    parser.add_argument("--sha256", metavar="DIGEST", help="of its manifest.json")
    parser.add_argument("--replicas", type=whole, metavar="N", help="pods (default: 3)")
    parser.add_argument(
        "--gateway", metavar="[NAMESPACE/]NAME",
        help="the Gateway whose weights follow the release (default: shares of pods)",
    )  # fmt: skip
    parser.add_argument("--prometheus", metavar="URL", help="where metrics are read")
    parser.set_defaults(run=_init)


def _init(parsed: argparse.Namespace) -> int:
    found = _found(parsed)
    text = manifest_of(found, parsed, _name(found, parsed.name))
    checked(yaml.safe_load(text), Allowed.parse("scheduling"))
    print(text, end="")
    return 0


def _found(parsed: argparse.Namespace) -> Found:
    folder = Path(parsed.model)
    if not folder.is_dir():
        if parsed.at:
            msg = f"--at belongs to a folder, and {parsed.model} is none"
            raise Invalid(msg)
        return Found(
            uri=parsed.model, name=_named_in(parsed.model),
            version=parsed.model_version, sha256=parsed.sha256,
        )  # fmt: skip
    manifest, digest = _manifest_in(folder)
    if parsed.sha256 not in (None, digest):
        msg = f"{folder / MANIFEST_NAME} has sha256 {digest}, not {parsed.sha256}"
        raise Invalid(msg)
    if not parsed.at:
        msg = (
            f"pods cannot read {folder} on this machine: copy it to where they can, and name the "
            f"place with --at, which takes {schemes.fetched_forms()}"
        )
        raise Invalid(msg)
    version = parsed.model_version or manifest.version
    return Found(uri=parsed.at, name=manifest.name, version=version, sha256=digest)


def _manifest_in(folder: Path) -> tuple[ArtifactManifest, str]:
    """Return the manifest of a folder and its digest; raise Invalid where there is none."""
    path = folder / MANIFEST_NAME
    try:
        raw = path.read_bytes()
        return ArtifactManifest.model_validate_json(raw), manifest_digest(raw)
    except OSError as problem:
        msg = (
            f"{path} cannot be read ({problem.strerror}): `modelrelease-train export` makes an "
            "artifact of a model"
        )
        raise Invalid(msg) from problem
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "it"
        msg = f"{path} is no manifest of ours: {where}: {first['msg']}"
        raise Invalid(msg) from problem


def _named_in(uri: str) -> str | None:
    """Return what a URI calls its model: the last part that is neither version nor file."""
    place = re.sub(r"^[a-z+0-9]+:/*", "", uri)
    place = re.sub(r"@.*$|:[^/]*$", "", place)
    parts = [part for part in place.split("/") if part]
    if uri.startswith(PLACES):
        parts = parts[1:]
    return next((part for part in reversed(parts) if not NAMELESS.fullmatch(part)), None)


def _name(found: Found, wanted: str | None) -> str:
    """Return the release's name: the one that is wanted, or the model's as names are written."""
    if wanted:
        return wanted
    name = re.sub(r"[^a-z0-9]+", "-", (found.name or "").lower()).strip("-")[:50].rstrip("-")
    if not name or names.problem_of(name):
        msg = f"{found.uri} tells no name for a release: give --name"
        raise Invalid(msg)
    return name


def manifest_of(found: Found, parsed: argparse.Namespace, name: str) -> str:
    """Return the manifest: what was asked for, and the defaults as comments."""
    metadata = {"name": name, "namespace": parsed.namespace}
    model = {"uri": found.uri, "version": found.version, "sha256": found.sha256}
    parts = [
        "# What it takes, and what it would catch: modelrelease plan FILE --rps REQUESTS\n",
        f"apiVersion: {names.API_VERSION}\nkind: {names.KIND}\n",
        "metadata:\n",
        *_fields(metadata, 2),
        "spec:\n  model:\n",
        *(f"    # {line}\n" for line in _about(found.uri)),
        *_fields(model, 4),
        *_asked_for(parsed),
    ]
    return "".join(parts)


def _about(uri: str) -> tuple[str, ...]:
    """Return what a place means for the next version, in lines of a comment."""
    scheme = schemes.scheme_of(uri)
    if scheme is None:
        return ()
    is_alias = scheme is schemes.MODELS and "@" in uri
    return ALIAS if is_alias else ABOUT_MODEL[scheme.read_by]


def _asked_for(parsed: argparse.Namespace) -> list[str]:
    """Return the rest of the spec; a part that nobody asked for is a comment with its defaults."""
    serving = _fields({"replicas": parsed.replicas}, 4)
    prometheus = _fields({"url": parsed.prometheus}, 6)
    given = [
        "".join(["  serving:\n", *serving]) if serving else SERVING,
        _routing(parsed.gateway) if parsed.gateway else CANARY,
        "".join(["  analysis:\n    prometheus:\n", *prometheus]) if prometheus else ANALYSIS,
    ]
    asked = [part for part in given if not part.startswith("  #")]
    defaults = [part for part in given if part.startswith("  #")]
    lead = ["  # The rest has defaults. These are what people change first:\n"] if defaults else []
    return [*asked, *lead, *defaults]


def _routing(gateway: str) -> str:
    namespace, slash, name = gateway.rpartition("/")
    ref: dict[str, Any] = {"name": name, **({"namespace": namespace} if slash else {})}
    written = ", ".join(f"{key}: {json.dumps(value)}" for key, value in ref.items())
    return (
        "  canary:\n"
        "    routing:\n"
        "      gatewayAPI:    # an HTTPRoute of the release's own follows its weights\n"
        f"        parentRefs: [{{{written}}}]\n"
    )


def _fields(values: dict[str, Any], indent: int) -> list[str]:
    """Write the fields that have a value, as YAML that is JSON on the right."""
    return [
        f"{' ' * indent}{key}: {json.dumps(value, ensure_ascii=False)}\n"
        for key, value in values.items()
        if value is not None
    ]
