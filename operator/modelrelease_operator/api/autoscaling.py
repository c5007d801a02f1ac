"""What a person asks for where load decides how many pods serve."""

from typing import Self

from pydantic import Field, model_validator

from modelrelease_operator.api.model import Model


class Autoscaling(Model):
    """A HorizontalPodAutoscaler of the release's own, which sets `spec.serving.replicas`."""

    min_replicas: int = Field(default=3, ge=1, le=1000)
    max_replicas: int = Field(default=10, ge=1, le=1000)
    target_cpu_utilization_percent: int = Field(
        default=70, ge=1, le=1000, alias="targetCPUUtilizationPercent"
    )
    """CPU that the predictors use, in percent of what they request."""

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if self.min_replicas > self.max_replicas:
            msg = (
                f"minReplicas must not be above maxReplicas, got {self.min_replicas} and "
                f"{self.max_replicas}"
            )
            raise ValueError(msg)
        return self
