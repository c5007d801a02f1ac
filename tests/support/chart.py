"""The chart, rendered by the real Helm; no cluster is asked."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from cluster import toolchain

CHART = Path(__file__).parents[2] / "charts/modelrelease"
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
VALUES_FILES = sorted((CHART / "ci").glob("*-values.yaml"))
POLICIES = "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy"
"""What a cluster tells Helm from Kubernetes 1.30 on."""


def helm(*arguments: str | Path, values: Mapping[str, Any] | None = None) -> tuple[int, str, str]:
    """Run Helm, with `values` by path, such as `image.tag`; return its code and what it printed."""
    done = subprocess.run(
        [toolchain.helm(), *arguments, *(["--values", "-"] if values else [])],
        input=json.dumps(nested(values or {})), capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def rendered(values: Mapping[str, Any] | None = None, *arguments: str | Path) -> str:
    """Return what Helm makes of the chart, in the namespace `operator`, as the release `mr`."""
    code, printed, complained = helm(
        "template", "mr", CHART, "--namespace", "operator", "--api-versions", POLICIES, *arguments,
        values=values,
    )  # fmt: skip
    assert code == 0, complained
    return printed


def refused(values: Mapping[str, Any]) -> str:
    """Return why Helm makes nothing of the chart with these values."""
    code, _, complained = helm("template", "mr", CHART, values=values)
    assert code != 0, f"{values} were taken"
    return complained


def notes(values: Mapping[str, Any]) -> str:
    """Return what Helm tells a person after it installed the chart.

    It takes the cluster for one without ValidatingAdmissionPolicies.
    """
    code, printed, complained = helm(
        "install", "mr", CHART, "--namespace", "operator", "--dry-run=client", values=values
    )
    assert code == 0, complained
    return printed.partition("\nNOTES:\n")[2]


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by path as the tree that a values file has."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *folders, name = path.split(".")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = value
    return tree


@cache
def options() -> dict[str, dict[str, Any]]:
    """Return what the schema says of each option, by its path; `global` is Helm's own."""
    return {path: rule for path, rule in _options(SCHEMA) if path != "global"}


def _options(schema: dict[str, Any], before: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, rule in schema["properties"].items():
        path = f"{before}{name}"
        if "properties" in rule:
            yield from _options(rule, f"{path}.")
        else:
            yield path, rule


def default(path: str) -> Any:
    """Return an option's value in values.yaml; KeyError where it is not there."""
    value: Any = VALUES
    for name in path.split("."):
        value = value[name]
    return value
