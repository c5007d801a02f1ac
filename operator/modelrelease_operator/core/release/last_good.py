"""The spec that a canary is judged by while the one that a person wrote last cannot be read."""

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Status


def with_last_good(status: Status, spec: ReleaseSpec) -> Status:
    """Remember what judges while there is something to judge; forget it when there is not."""
    kept = spec.judging if status.canary or status.previous else None
    return status if kept == status.judged_by else status.but(judged_by=kept)
