"""Probes: what stands in for users where there are none, or few."""

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from modelrelease_operator.api.durations import PositiveDuration, parse_duration


class Probe(BaseModel):
    """Reference rows that a prober in the cluster sends to both revisions while the canary is judged."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    rate: float = Field(default=10, ge=0.1, le=200)
    """Probes a second, half of them to each revision."""
    timeout: PositiveDuration = "5s"
    """After which a probe counts as failed."""

    @property
    def patience(self) -> timedelta:
        """The time-out."""
        return parse_duration(self.timeout)
