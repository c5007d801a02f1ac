"""What a person asks for where nodes are drained."""

from pydantic import Field

from modelrelease_operator.api.model import Model


class DisruptionBudget(Model):
    """A PodDisruptionBudget for each revision that has clients.

    At least one pod may always go: a budget of none would hold up a drain for ever.
    """

    enabled: bool = True
    max_unavailable: int = Field(default=1, ge=1, le=1000)
    """Pods of one revision that may be missing while nodes are drained."""
