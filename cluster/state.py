"""What is remembered of a cluster between two commands, in one folder that `down` removes.

The folder is found from the cluster's name alone, so another checkout finds the same cluster.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import cache


def root() -> Path:
    """Find the folder that holds one folder for each cluster, below XDG_STATE_HOME."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "modelrelease" / "clusters"


@dataclass(frozen=True)
class State:
    """The folder of one cluster."""

    name: str

    @property
    def folder(self) -> Path:
        """Where it is."""
        return root() / self.name

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig that the host uses."""
        return self.folder / "kubeconfig"

    def exists(self) -> bool:
        """Tell whether anything is remembered of this cluster."""
        return self.folder.is_dir()

    def create(self) -> None:
        """Make the folder, for this user alone: it holds keys."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def read(self, record: str) -> dict[str, Any]:
        """Read a small JSON record; none is an empty one."""
        try:
            content: dict[str, Any] = json.loads((self.folder / f"{record}.json").read_text())
        except FileNotFoundError:
            return {}
        return content

    def write(self, record: str, values: Mapping[str, Any]) -> None:
        """Write a small JSON record, whole or not at all."""
        temporary = self.folder / f".{record}.json"
        temporary.write_text(json.dumps(values, indent=2))
        temporary.rename(self.folder / f"{record}.json")

    def remove(self) -> None:
        """Forget the cluster, and the empty folders above it."""
        cache.remove(self.folder)
        for folder in (root(), root().parent):
            try:
                folder.rmdir()
            except OSError:
                return


def all_clusters() -> list[State]:
    """List every cluster that something is remembered of."""
    if not root().is_dir():
        return []
    return [State(folder.name) for folder in sorted(root().iterdir()) if folder.is_dir()]
