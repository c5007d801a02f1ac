"""Probes: what stands in for users where there are none, or few."""

from datetime import timedelta

from pydantic import Field

from modelrelease_operator.api.durations import Duration, PositiveDuration
from modelrelease_operator.api.model import Model


class Probe(Model):
    """Reference rows that a prober in the cluster sends to both revisions while the canary is
    judged.
    """

    rate: float = Field(default=10, ge=0.1, le=200)
    """Probes a second, half of them to each revision."""
    timeout: PositiveDuration = Duration("5s")
    """After which a probe counts as failed."""

    @property
    def patience(self) -> timedelta:
        """The time-out."""
        return self.timeout.span
