"""What a person asks about drift, and what is remembered of it: parts of spec and of status."""

from datetime import datetime, timedelta
from typing import Self

from pydantic import Field, model_validator

from modelrelease_operator.api.durations import Duration, WindowDuration
from modelrelease_operator.api.model import Model

WORST_FEATURES = 5
"""Features that status names: the rest is in Prometheus."""


class Sustained(Model):
    """How many of the last windows must drift, the newest among them, before anything is said."""

    windows: int = Field(default=5, ge=1, le=20)
    at_least: int = Field(default=2, ge=1, le=20)

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        if self.at_least > self.windows:
            msg = f"atLeast must be at most windows, got {self.at_least} of {self.windows}"
            raise ValueError(msg)
        return self


class Drift(Model):
    """How the data that stable meets is compared with what it was trained on."""

    enabled: bool = True
    window: WindowDuration = Duration("10m")
    min_samples: int = Field(default=500, ge=1, le=10**9)
    threshold: float = Field(default=0.1, gt=0, le=100)
    false_alarm_probability: float = Field(default=0.01, gt=0, lt=0.5)
    repeats: float = Field(default=1, ge=1, le=1000000)
    sustained: Sustained = Sustained()
    hold_promotion: bool = True

    @property
    def span(self) -> timedelta:
        """The time that a window lasts."""
        return self.window.span


class FeatureStatus(Model):
    """One feature in the newest window."""

    name: str
    psi: float
    threshold: float
    values: int
    """Counted in the window. Not `n`, which YAML 1.1 reads as false:
    Helm would refuse the schema.
    """
    verdict: str


class DriftStatus(Model):
    """What the last windows of one revision said."""

    revision: str
    drifted: bool = False
    baseline: bool = True
    """False once a window has closed without a baseline to compare with."""
    windows: str = ""
    """A letter for each of the last windows, newest last: `D`rifted, `S`table, `I`nsufficient."""
    at: datetime | None = None
    """End of the window that `features` are of.
    While nothing changes, newer windows are not written.
    """
    features: tuple[FeatureStatus, ...] = ()
    """The worst ones, worst first."""
    message: str = ""
