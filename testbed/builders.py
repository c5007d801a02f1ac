"""Values with defaults, so that a test states only what it is about."""

from datetime import UTC, datetime, timedelta
from typing import Any

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Reason, Recipe, Target
from modelrelease_operator.core.observed import Problem

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


def a_target(version: str, **changes: Any) -> Target:
    fields = {
        "revision": f"rev{version}",
        "version": version,
        "uri": f"http://store/qna/{version}",
        "sha256": f"{int(version):064d}",
        "recipe": Recipe(image="serving:test"),
    }
    return Target(**(fields | changes))


def a_spec(**parts: Any) -> ReleaseSpec:
    """Build a spec from its camelCase parts, such as `canary={"weight": 20}`."""
    return ReleaseSpec.parse({"model": {"uri": "http://store/qna/1"}, **parts}, strict=True)


def a_problem(**changes: Any) -> Problem:
    return Problem(
        **{"reason": Reason.MODEL_INVALID, "message": "http://store/qna/9 answered 404", **changes}
    )


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)
