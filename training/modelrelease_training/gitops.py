"""Releases a version by a commit to `spec.model` of a ModelRelease that a Git repository holds.

Editing is pure and keeps the rest of the file as it was, comments too. Committing calls `git`,
which brings its own credentials; a push that comes second starts again from what is there now.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
class Location:
    """Where a ModelRelease stands."""

    repository: str
    """Anything that `git clone` takes."""
    file: str
    """Path inside the repository."""
    branch: str = "main"
    onto: str | None = None
    """Another branch, which the change is proposed on: it is made of `branch` each time."""
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
    """Return a manifest's text with another `spec.model`. Raises GitOpsError without a release."""
    key, value = _model_node(text, name)
    # A block mapping's own end is where the next token starts, beyond comments; its last leaf's is
    # exact.
    return f"{text[: key.end_mark.index]}: {model.text()}{text[_last(value).end_mark.index :]}"


def _model_node(text: str, name: str | None) -> tuple[yaml.Node, yaml.Node]:
    """Return the key and the value of `spec.model` of the one release in a text."""
    try:
        documents = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        msg = f"it is not YAML: {error}"
        raise GitOpsError(msg) from error
    releases = [node for node in documents if _is_release(node, name)]
    if len(releases) != 1:
        expected = "one ModelRelease (name it where there are several)"
        if name:
            expected = f"a ModelRelease {name!r}"
        msg = f"it must hold {expected}, found {len(releases)}"
        raise GitOpsError(msg)
    key, value = _entry(_entry(releases[0], "spec")[1], "model")
    if key is None or value is None:
        msg = "the ModelRelease has no spec.model to change"
        raise GitOpsError(msg)
    return key, value


def model_in(text: str, *, name: str | None = None) -> Model:
    """Return the `spec.model` of a manifest. Raises GitOpsError without a release."""
    model = yaml.safe_load(yaml.serialize(_model_node(text, name)[1])) or {}
    fields = {key: str(model[key]) for key in ("uri", "version", "sha256") if model.get(key)}
    if "uri" not in fields:
        msg = "the ModelRelease has no spec.model.uri"
        raise GitOpsError(msg)
    return Model(**fields)


def version_of(model: Model) -> str:
    """Return what people call a model's version: its own word, or the end of its address."""
    return model.version or model.uri.rstrip("/").rpartition("/")[2]


def content_of(location: Location) -> str:
    """Return a file of a repository. Raises GitOpsError, naming both, when it cannot."""
    with _cloned(location) as clone:
        return _file_in(clone, location).read_text()


def commit(location: Location, model: Model, *, message: str) -> str | None:
    """Change the release in its repository. Return the commit's id, or None without a change.

    A branch that the change is proposed on (`onto`) is replaced where it differs from that change.
    Raises GitOpsError, naming the repository and the file, when it cannot.
    """
    problem = ""
    target = f"HEAD:refs/heads/{location.onto or location.branch}"
    force = ("--force",) if location.onto else ()
    for _ in range(ATTEMPTS):
        with _cloned(location) as clone:
            if not _changed(clone, location, model):
                return None
            _git(clone, location, "commit", "--quiet", "--message", message, "--", location.file)
            commit_id = _git(clone, location, "rev-parse", "HEAD").strip()
            try:
                _git(clone, location, "push", "--quiet", *force, "origin", target)
            except GitOpsError as error:
                problem = str(error)
                continue
            return commit_id
    raise GitOpsError(problem)


@contextmanager
def _cloned(location: Location) -> Iterator[Path]:
    """Give a clone of the newest commit of a branch for a while."""
    with tempfile.TemporaryDirectory(prefix="modelrelease-git-") as folder:
        clone = Path(folder) / "clone"
        branch = f"--branch={location.branch}"
        arguments = ("--quiet", "--depth=1", branch, "--", location.repository, str(clone))
        _git(Path(folder), location, "clone", *arguments)
        yield clone


def _file_in(clone: Path, location: Location) -> Path:
    path = clone / location.file
    if not path.resolve().is_relative_to(clone.resolve()) or not path.is_file():
        msg = f"{location.repository}, branch {location.branch}: there is no file {location.file}"
        raise GitOpsError(msg)
    return path


def _changed(clone: Path, location: Location, model: Model) -> bool:
    path = _file_in(clone, location)
    before = path.read_text()
    try:
        after = edited(before, model, name=location.name)
    except GitOpsError as error:
        msg = f"{location.repository}: {location.file} cannot be changed: {error}"
        raise GitOpsError(msg) from error
    path.write_text(after)
    return after != before


def _git(folder: Path, location: Location, *arguments: str) -> str:
    author = {f"GIT_AUTHOR_{key}": value for key, value in _AUTHOR.items()}
    committer = {f"GIT_COMMITTER_{key}": value for key, value in _AUTHOR.items()}
    # A prompt would wait for an answer that nobody gives.
    environment = {**author, **committer, **os.environ, "GIT_TERMINAL_PROMPT": "0"}
    try:
        process = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        fault = f"git {arguments[0]} did not run ({type(error).__name__})"
        msg = f"{location.repository}: {fault}; install git"
        raise GitOpsError(msg) from error
    if process.returncode != 0:
        lines = (process.stderr or process.stdout).strip().splitlines()
        reason = lines[-1] if lines else process.returncode
        msg = f"{location.repository}: git {arguments[0]} failed: {reason}"
        raise GitOpsError(msg)
    return process.stdout


def _is_release(node: yaml.Node, name: str | None) -> bool:
    kind = _entry(node, "kind")[1]
    release_name = _entry(_entry(node, "metadata")[1], "name")[1]
    is_release = isinstance(kind, yaml.ScalarNode) and kind.value == "ModelRelease"
    return is_release and (
        name is None or (isinstance(release_name, yaml.ScalarNode) and release_name.value == name)
    )


def _entry(node: yaml.Node | None, key: str) -> tuple[yaml.Node | None, yaml.Node | None]:
    """Return key and value of one entry of a mapping, or nothing."""
    for name, value in _entries(node):
        if isinstance(name, yaml.ScalarNode) and name.value == key:
            return name, value
    return None, None


def _entries(node: yaml.Node | None) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        yield from node.value


def _last(node: yaml.Node) -> yaml.Node:
    """Return the node that ends last in the text; a flow mapping ends where it says."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return _last(node.value[-1][1])
    return node
