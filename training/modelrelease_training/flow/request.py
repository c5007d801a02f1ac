"""What one retraining is asked to do: everything that decides its outcome, and nothing else."""

import hashlib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Name = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=63)
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Drawn(_Strict):
    """Rows drawn from a seed, for trying the loop without anyone's records."""

    rows: int = Field(default=5000, ge=200, le=10_000_000)
    seed: int = Field(default=7, ge=0, lt=2**32)
    shifts: dict[str, float] = Field(default_factory=dict)
    """Feature to standard deviations by which it moved."""


class How(_Strict):
    """How the model is fitted. What is left open is chosen as by `modelrelease-train train`."""

    estimator: Literal["logistic", "sgd", "forest"] | None = None
    regularization: float = Field(default=1.0, gt=0)
    max_steps: int | None = Field(default=None, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    seed: int = Field(default=7, ge=0, lt=2**32)


class Acceptance(_Strict):
    """When the challenger may take the champion's place."""

    metric: Literal["roc_auc", "accuracy", "log_loss"] = "roc_auc"
    margin: float = Field(default=0.01, ge=0)
    """How much worse than the champion it may be, in the metric's own unit."""
    confidence: float = Field(default=0.95, ge=0.5, lt=1)
    floor: float | None = None
    """The worst that is accepted whatever the champion does: a maximum for log loss."""


class GitRelease(_Strict):
    """A ModelRelease in a Git repository, released by a commit."""

    repository: str
    file: str
    branch: str = "main"
    name: str | None = None


class Request(_Strict):
    """One retraining. Asked again with the same content, it goes on where it stopped."""

    id: Name = ""
    """Names the request; a Kubernetes Job and every record of the run carry it. Left out, the run
    of the deployment names it, by its time."""
    model: Name = "qna"
    version: Name | None = None
    """What people will call the new version; the request's id when left out."""
    data: Path | None = None
    """A .csv or .parquet file. Without one, rows are `drawn`."""
    drawn: Drawn | None = None
    schema_file: Path | None = None
    how: How = How()
    accept: Acceptance = Acceptance()
    release: Literal["alias", "git", "none"] = "alias"
    """Move the alias `candidate`, commit to Git, or only register."""
    git: GitRelease | None = None
    workdir: Path = Path("retrain")
    """Everything that the run writes goes below it."""

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.data is not None and self.drawn is not None:
            msg = "give either data (a file) or drawn (a seed), not both"
            raise ValueError(msg)
        if (self.release == "git") != (self.git is not None):
            msg = "release: git needs git (repository and file), and git needs release: git"
            raise ValueError(msg)
        return self

    def named(self, name: str) -> Self:
        """Return the request under its own id, or under `name` where it has none."""
        return self if self.id else self.model_validate({**self.model_dump(), "id": name})

    @property
    def label(self) -> str:
        """The version that is made."""
        return self.version or self.id

    @property
    def folder(self) -> Path:
        """Where this request keeps its files."""
        return self.workdir / self.id

    @property
    def key(self) -> str:
        """Equal for requests that mean the same: one need not repeat what another finished."""
        return f"{self.id}-{hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]}"
