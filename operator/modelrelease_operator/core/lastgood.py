"""The spec that a canary is judged by while the one that a person wrote last cannot be read."""

from typing import Any

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Reason, Status
from modelrelease_operator.core.state import Problem
from modelrelease_operator.errors import Invalid

PARTS = ("canary", "analysis", "drift", "paused")


def with_last_good(status: Status, spec: ReleaseSpec) -> Status:
    """Remember what judges while there is something to judge; forget it when there is not."""
    if status.canary is None and status.previous is None:
        return status.model_copy(update={"judged_by": None})
    raw = spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
    kept = {name: raw[name] for name in PARTS if name in raw}
    kept["serving"] = {"replicas": spec.serving.replicas}
    return status.model_copy(update={"judged_by": kept})


def judging_spec(status: Status, refusal: Invalid) -> tuple[ReleaseSpec, Problem] | None:
    """Return the last good spec and the problem that stands in the way of going on; None without one.

    To be decided by with `Seen(target=None, problem=problem)`: nothing goes forward, a proven regression
    and a command still take the canary back.
    """
    if status.judged_by is None or (status.canary is None and status.previous is None):
        return None
    # No candidate is read from it: the target is None.
    raw: dict[str, Any] = {"model": {"uri": "http://unread/"}, **status.judged_by}
    try:
        spec = ReleaseSpec.parse(raw)
    except Invalid:
        # Remembered by an operator with other rules.
        return None
    return spec, Problem(reason=Reason.SPEC_INVALID, message=str(refusal))
