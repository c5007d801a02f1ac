"""What a person asks of a comparison in the shadow, before the first user meets a canary."""

from pydantic import Field

from modelrelease_operator.api.durations import Duration, PositiveDuration
from modelrelease_operator.api.model import Model


class Shadow(Model):
    """Copies of requests that stable answers are asked of the canary in the dark,
    and the answers compared.
    """

    share: int = Field(default=100, ge=1, le=100)
    """Percent of the answered requests that is copied."""
    pairs: int = Field(default=1000, ge=1, le=10**7)
    """Pairs that are needed at least before the first user meets the canary."""
    max_disagreement_percent: float | None = Field(default=None, ge=0.0001, lt=100)
    """Share of the answers that may differ; None: it is shown and decides nothing."""
    tolerance: float | None = Field(default=None, ge=0)
    """Up to which two numbers are the same answer; None: that of stable's manifest."""
    copies_per_second: int = Field(default=20, ge=1, le=1000)
    """Most copies a second of each of stable's pods."""
    noise_percent: int = Field(default=10, ge=0, le=100)
    """Percent of the copies that stable is asked again, too."""
    deadline: PositiveDuration = Duration("1h")
    """Time without a verdict after which `analysis.onInsufficientEvidence` decides."""
