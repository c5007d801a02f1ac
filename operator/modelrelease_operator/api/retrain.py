"""What is to be started on sustained drift, and what is remembered of it:
parts of spec and of status.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from modelrelease_operator.api.durations import Duration, DurationText, PositiveDuration
from modelrelease_operator.api.model import Model
from modelrelease_operator.api.pods import Env, ObjectName, PodTemplate, Resources


class Retrain(Model):
    """The Job that retrains, and how often it may run."""

    image: Annotated[str, StringConstraints(min_length=1)]
    command: tuple[str, ...] = Field(default=(), max_length=100)
    args: tuple[str, ...] = Field(default=(), max_length=100)
    env: Env = ()
    resources: Resources = Resources()
    service_account_name: ObjectName | None = None
    pod_template: PodTemplate = Field(default_factory=dict)
    cooldown: DurationText = Duration("24h")
    deadline: PositiveDuration = Duration("6h")
    retries: int = Field(default=0, ge=0, le=10)


class RetrainCause(StrEnum):
    """Who asked."""

    DRIFTED = "Drifted"
    ASKED = "Asked"


class RetrainOutcome(StrEnum):
    """How a retraining ended."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    LOST = "Lost"
    """Its Job was deleted before it ended."""
    CANCELLED = "Cancelled"
    """It was not needed any more before its Job was started."""


class RetrainStatus(Model):
    """The last retraining that was asked for."""

    request: str
    """Names it, and its Job: written before the Job is made, so that a crash cannot make two."""
    cause: Annotated[RetrainCause | str, Field(union_mode="left_to_right")]
    revision: str
    """What served when it was asked for."""
    version: str
    features: tuple[str, ...] = ()
    """What had drifted, the worst first."""
    since: datetime
    job: str | None = None
    """The Job's name, once it was seen."""
    ended: datetime | None = None
    outcome: Annotated[RetrainOutcome | str, Field(union_mode="left_to_right")] | None = None
    """None while it is under way."""
    message: str = ""
    next_allowed: datetime | None = None
    """Drift starts no other before; a person may."""
    asked_seen: str | None = None
    """The annotation that was followed: the same one does not count twice."""

    @property
    def under_way(self) -> bool:
        """Return whether it has not ended yet."""
        return self.outcome is None
