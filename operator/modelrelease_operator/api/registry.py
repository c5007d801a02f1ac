"""References to an MLflow registry, as `spec.model.uri` may hold them, and what they were found to
mean.

`models:/qna@champion` follows an alias, `models:/qna/7` names a version, `runs:/RUN/path` a folder
of a run.
"""

import re
from dataclasses import dataclass

from typing_extensions import override

from modelrelease_contract import schemes
from modelrelease_operator.api.model import Model

CHAMPION = "champion"
"""The alias of the version that serves."""

TAG_DIGEST = "modelrelease.digest"
"""Tag of a model version: sha256 of its manifest.json."""
TAG_VERSION = "modelrelease.version"
"""Tag of a model version: the version in its manifest.
Needed only where the operator cannot read that.
"""


class Registered(Model):
    """A version of a registered model: never changes what it is."""

    name: str
    version: str

    @override
    def __str__(self) -> str:
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """What `models:/…` names: a version, or an alias that may move."""

    name: str
    version: str | None = None
    alias: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRef:
    """What `runs:/…` names: a folder among a run's artifacts."""

    run: str
    path: str


def model_ref(uri: str) -> ModelRef | None:
    """Read `models:/name@alias` or `models:/name/version`; None for anything else."""
    if not re.fullmatch(schemes.MODELS.pattern, uri):
        return None
    rest = uri.removeprefix(schemes.MODELS.prefix)
    if "@" in rest:
        name, alias = rest.split("@")
        return ModelRef(name=name, alias=alias)
    name, version = rest.split("/")
    return ModelRef(name=name, version=version)


def run_ref(uri: str) -> RunRef | None:
    """Read `runs:/run/path`; None for anything else."""
    if not re.fullmatch(schemes.RUNS.pattern, uri):
        return None
    run, _, path = uri.removeprefix(schemes.RUNS.prefix).partition("/")
    return RunRef(run=run, path=path)


def followed_alias(uri: str) -> str | None:
    """Return the alias that a model source follows, or None where it names something that stays."""
    ref = model_ref(uri)
    return ref.alias if ref else None
