"""Reads `versions.toml`, the only place that names a version."""

from __future__ import annotations

import os
import tomllib
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("versions.toml")
WANTED = "MODELRELEASE_KUBERNETES"
"""Variable that names the minor version of Kubernetes that kind is to run, such as 1.34."""


@cache
def _all() -> dict[str, dict[str, str]]:
    return tomllib.loads(FILE.read_text())


def native(name: str) -> str:
    """Version of a part of the native cluster."""
    return _all()["native"][name]


def tool(name: str) -> str:
    """Version of a program used on the host."""
    return _all()["tools"][name]


def kind_nodes() -> dict[str, str]:
    """Images of kind's nodes, by Kubernetes minor version."""
    return _all()["kind-nodes"]


def wanted_kubernetes() -> str:
    """Minor version that the environment asks for; empty for kind's own."""
    return os.environ.get(WANTED, "")
