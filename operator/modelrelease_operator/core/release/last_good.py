"""The spec that a canary is judged by while the one that a person wrote last cannot be read."""

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Status

PARTS = {"canary", "analysis", "drift", "paused"}


def with_last_good(status: Status, spec: ReleaseSpec) -> Status:
    """Remember what judges while there is something to judge; forget it when there is not."""
    if status.canary is None and status.previous is None:
        return status.but(judged_by=None)
    kept = spec.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude_unset=True, include=PARTS
    )
    kept["serving"] = {"replicas": spec.serving.replicas}
    return status if kept == status.judged_by else status.but(judged_by=kept)
