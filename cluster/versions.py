"""Reads `versions.toml`, the only place that names a version."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("versions.toml")


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
