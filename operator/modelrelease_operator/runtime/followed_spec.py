"""What a spec asks for, and what goes on being asked for while a newer spec cannot be followed.

The API server's schema lets through what the models refuse. A canary that has users must not be
left alone because of that: it goes on being judged by the last spec that could be followed, which
status keeps with it. What the refused spec says of the model and of the pause is still heard, as
far as it can be read by itself: a person who takes a version back is not to be stopped by a slip in
another line.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Reason, Resolved, Status
from modelrelease_operator.core.observed import Problem
from modelrelease_operator.errors import Invalid
from modelrelease_operator.runtime.kube import Object
from modelrelease_operator.runtime.resolution import Resolution
from modelrelease_operator.runtime.resolve import target_for_spec

HEARD = ("model", "paused")
"""What of a refused spec is heard by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedSpec:
    """The spec that is followed."""

    raw: dict[str, Any]
    spec: ReleaseSpec | None
    """None where the release has no canary and its spec cannot be followed: then nothing moves."""
    problem: Invalid | None = None
    """Why the present spec is not the one that is followed."""


def followed_spec(
    release: Object,
    before: Status,
    last_good: dict[str, Any] | None,
    parse: Callable[[dict[str, Any]], ReleaseSpec] = ReleaseSpec.parse,
) -> FollowedSpec:
    """Return the spec to follow: the present one, or for a canary the last that could be.

    `parse` reads the present one, or remembers what it says.
    """
    stored = release.get("spec")
    # Another version of the schema may have let through what is no mapping.
    raw: dict[str, Any] = stored if isinstance(stored, dict) else {}
    try:
        return FollowedSpec(raw=raw, spec=parse(raw))
    except Invalid as problem:
        kept = last_good or _kept_of(before)
        if (before.canary is None and before.previous is None) or kept is None:
            return FollowedSpec(raw=raw, spec=None, problem=problem)
        return FollowedSpec(raw=raw, spec=_salvaged(kept, raw), problem=problem)


def as_followed(
    resolution: Resolution,
    following: FollowedSpec,
    spec: ReleaseSpec,
    before: Status,
    *,
    default_image: str,
) -> Resolution:
    """Return the meaning as far as it is followed.

    Going back needs no artifact: a source that means what serves means it also while its store is
    down. A refused spec may take a canary back, but begins nothing.
    """
    canary, stable = before.canary, before.stable
    if canary is None or stable is None:
        return resolution
    if resolution.problem is not None and _is_stable_again(spec, before, default_image):
        return replace(resolution, target=stable.target, problem=None)
    if following.problem is not None and (
        resolution.target is None or resolution.target.revision != stable.revision
    ):
        refused = Problem(reason=Reason.SPEC_INVALID, message=str(following.problem))
        return replace(resolution, target=canary.target, problem=refused)
    return resolution


def _kept_of(before: Status) -> dict[str, Any] | None:
    """Return a spec from what status keeps, or None where an older operator kept nothing."""
    judged = before.canary or before.stable
    if judged is None or before.judged_by is None:
        return None
    model = {"uri": judged.uri, "version": judged.version, "sha256": judged.sha256}
    return {"model": model, **before.judged_by}


def _salvaged(kept: dict[str, Any], raw: dict[str, Any]) -> ReleaseSpec | None:
    """Return the kept spec with what can be heard of the refused one."""
    heard = kept
    for part in HEARD:
        tried = {**heard, part: raw[part]} if part in raw else heard
        heard = tried if _can_be_followed(tried) else heard
    return ReleaseSpec.parse(heard) if _can_be_followed(heard) else None


def _can_be_followed(raw: dict[str, Any]) -> bool:
    try:
        ReleaseSpec.parse(raw)
    except Invalid:
        return False
    return True


def _is_stable_again(spec: ReleaseSpec, before: Status, default_image: str) -> bool:
    stable, source = before.stable, spec.model
    if stable is None or source.uri not in (stable.uri, str(stable.registered)):
        return False
    if source.version not in (None, stable.version) or source.sha256 not in (None, stable.sha256):
        return False
    resolved = Resolved(
        uri=source.uri, version=stable.version, sha256=stable.sha256, location=stable.uri,
        registered=stable.registered,
    )  # fmt: skip
    return target_for_spec(spec, resolved, default_image=default_image).revision == stable.revision
