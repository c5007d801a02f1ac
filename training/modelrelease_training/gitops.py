"""Releases a version by a commit: changes `spec.model` of a ModelRelease that a Git repository
holds.

Editing is pure and keeps the rest of the file as it was, comments too. Committing calls `git`,
which brings its own credentials; a push that comes second starts again from what is there now.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

ATTEMPTS: Final = 3
TIMEOUT_SECONDS: Final = 120
_AUTHOR: Final = {"NAME": "modelrelease", "EMAIL": "modelrelease@localhost"}


class GitOpsError(Exception):
    """The release could not be written to the repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a ModelRelease stands."""

    repository: str
    """Anything that `git clone` takes."""
    file: str
    """Path inside the repository."""
    branch: str = "main"
    name: str | None = None
    """`metadata.name`; needed where the file holds several releases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What `spec.model` becomes."""

    uri: str
    version: str | None = None
    sha256: str | None = None

    def text(self) -> str:
        """Return it as a YAML flow mapping. JSON's strings are YAML's."""
        parts = {"uri": self.uri, "version": self.version, "sha256": self.sha256}
        return (
            "{"
            + ", ".join(f"{key}: {json.dumps(value)}" for key, value in parts.items() if value)
            + "}"
        )


def edited(text: str, model: Model, *, name: str | None = None) -> str:
    """Return a manifest's text with another `spec.model`.
    Raises GitOpsError where no such release is.
    """
    try:
        documents = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        msg = f"it is not YAML: {error}"
        raise GitOpsError(msg) from error
    found = [node for node in documents if _is_release(node, name)]
    if len(found) != 1:
        wanted = (
            f"a ModelRelease {name!r}"
            if name
            else "one ModelRelease (name it where there are several)"
        )
        msg = f"it must hold {wanted}, found {len(found)}"
        raise GitOpsError(msg)
    key, value = _entry(_entry(found[0], "spec")[1], "model")
    if key is None or value is None:
        msg = "the ModelRelease has no spec.model to change"
        raise GitOpsError(msg)
    # A block mapping's own end is where the next token starts, beyond comments; its last leaf's is
    # exact.
    return f"{text[: key.end_mark.index]}: {model.text()}{text[_last(value).end_mark.index :]}"


def commit(place: Place, model: Model, *, message: str) -> str | None:
    """Change the release in its repository. Return the commit's id, or None when it said so
    already.

    Raises GitOpsError, naming the repository and the file, when it cannot.
    """
    problem = ""
    for _ in range(ATTEMPTS):
        with tempfile.TemporaryDirectory(prefix="modelrelease-git-") as folder:
            clone = Path(folder) / "clone"
            arguments = ("--quiet", "--depth=1", f"--branch={place.branch}", "--", place.repository)
            _git(Path(folder), place, "clone", *arguments, str(clone))
            if not _changed(clone, place, model):
                return None
            _git(clone, place, "commit", "--quiet", "--message", message, "--", place.file)
            made = _git(clone, place, "rev-parse", "HEAD").strip()
            try:
                _git(clone, place, "push", "--quiet", "origin", f"HEAD:{place.branch}")
            except GitOpsError as error:
                problem = str(error)
                continue
            return made
    raise GitOpsError(problem)


def _changed(clone: Path, place: Place, model: Model) -> bool:
    path = clone / place.file
    if not path.resolve().is_relative_to(clone.resolve()) or not path.is_file():
        msg = f"{place.repository}, branch {place.branch}: there is no file {place.file}"
        raise GitOpsError(msg)
    before = path.read_text()
    try:
        after = edited(before, model, name=place.name)
    except GitOpsError as error:
        msg = f"{place.repository}: {place.file} cannot be changed: {error}"
        raise GitOpsError(msg) from error
    path.write_text(after)
    return after != before


def _git(folder: Path, place: Place, *arguments: str) -> str:
    who = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in _AUTHOR.items()
    }
    # A prompt would wait for an answer that nobody gives.
    environment = {**who, **os.environ, "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = (
            f"{place.repository}: git {arguments[0]} did not run ({type(error).__name__}); install "
            "git"
        )
        raise GitOpsError(msg) from error
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()
        msg = (
            f"{place.repository}: git {arguments[0]} failed: "
            f"{words[-1] if words else done.returncode}"
        )
        raise GitOpsError(msg)
    return done.stdout


def _is_release(node: yaml.Node, name: str | None) -> bool:
    kind = _entry(node, "kind")[1]
    called = _entry(_entry(node, "metadata")[1], "name")[1]
    right = isinstance(kind, yaml.ScalarNode) and kind.value == "ModelRelease"
    return right and (
        name is None or (isinstance(called, yaml.ScalarNode) and called.value == name)
    )


def _entry(node: yaml.Node | None, key: str) -> tuple[yaml.Node | None, yaml.Node | None]:
    """Return key and value of one entry of a mapping, or nothing."""
    for found, value in _entries(node):
        if isinstance(found, yaml.ScalarNode) and found.value == key:
            return found, value
    return None, None


def _entries(node: yaml.Node | None) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        yield from node.value


def _last(node: yaml.Node) -> yaml.Node:
    """Return the node that ends last in the text; a flow mapping ends where it says."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return _last(node.value[-1][1])
    return node
