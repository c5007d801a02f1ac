"""What a release's model source means at this pass: kept while it holds, else looked up."""

from dataclasses import dataclass, replace

from modelrelease_operator.api.pod_policy import EVERYTHING, Allowed
from modelrelease_operator.api.registry import ModelRef, model_ref
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Reason, Resolved, Status, Target
from modelrelease_operator.core.observed import AliasStatus, Problem
from modelrelease_operator.errors import Invalid, Unavailable
from modelrelease_operator.runtime.mlflow import Missing
from modelrelease_operator.runtime.namespaced_name import NamespacedName
from modelrelease_operator.runtime.registry_watch import AliasLook, RegistryWatch
from modelrelease_operator.runtime.resolve import (
    NeedsPod,
    Place,
    is_current,
    resolve,
    target_for_release,
)
from modelrelease_operator.serving_runtimes import refusal_of_runtime, refusal_of_signing
from modelrelease_operator.traffic.counted_by import refusal_of_counting


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What the spec means now."""

    resolved: Resolved | None
    target: Target | None = None
    problem: Problem | None = None
    """Why there is no target."""
    following: AliasStatus | None = None
    """The alias that is followed, if any."""
    delayed: Problem | None = None
    """Why the alias's new version is not meant yet: it is to be looked up again."""
    unread: Place | None = None
    """What only a pod of the release can tell the version and the digest of."""

    def but_for(self, problem: Problem) -> "Resolution":
        """Return this where what is not known yet stays so, and why."""
        if self.target is not None:
            return replace(self, delayed=problem)
        return replace(self, problem=problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What whoever installed the operator wants of revisions that begin from now on."""

    allowed: Allowed = EVERYTHING
    """What a pod template may set."""
    signing_keys: str = ""
    """Public keys, PEM, with one of which an artifact must be signed; empty: with none."""

    def refusal(self, spec: ReleaseSpec, target: Target) -> str | None:
        """Return why a revision may not begin, or None."""
        return self.allowed.refusal_of_serving(spec) or refusal_of_signing(target.recipe)


ANYTHING = Policy()


async def resolution_of(
    spec: ReleaseSpec,
    status: Status,
    *,
    key: NamespacedName,
    watch: RegistryWatch,
    default_image: str,
    renewed_image: str | None = None,
    policy: Policy = ANYTHING,
) -> Resolution:
    """Return what the spec means. An alias that cannot be looked up goes on meaning what it meant.

    `renewed_image` is the default image that a person asked for, `policy` what whoever installed
    the operator wants of new revisions.
    """
    ref = model_ref(spec.model.uri)
    known = status.resolved if is_current(status.resolved, spec.model) else None
    looked = watch.found(key, ref)
    trouble, delayed = looked.problem if looked else None, None
    unread: Place | None = None
    try:
        resolved = known
        if _is_due(known, looked):
            resolved = await resolve(
                spec.model, watch.registry, stores=watch.stores, namespace=key[0]
            )
    except NeedsPod as needed:
        resolved, unread = known, needed.place
        if known is None:
            waits = _problem(Reason.MODEL_UNAVAILABLE, needed)
            return replace(_without_target(status, ref, waits), unread=unread)
    except Invalid as problem:
        if known is None or not isinstance(problem, Missing):
            return _without_target(status, ref, _problem(Reason.MODEL_INVALID, problem))
        resolved, trouble = known, (delayed := _problem(Reason.ALIAS_MISSING, problem))
    except Unavailable as problem:
        if known is None:
            return _without_target(status, ref, _problem(Reason.MODEL_UNAVAILABLE, problem))
        resolved, trouble = known, (delayed := _problem(Reason.REGISTRY_UNAVAILABLE, problem))
    if resolved is None:
        return Resolution(resolved=status.resolved)
    version = resolved.registered.version if resolved.registered else None
    watch.subscribe(key, ref, version)
    following = _alias_status(ref, version, trouble)
    target = target_for_release(
        spec, resolved, status, default_image=default_image, signing_keys=policy.signing_keys,
        renewed=renewed_image == default_image,
    )  # fmt: skip
    resolved = resolved.but(image=target.recipe.image)
    if refusal := _refusal(spec, target, status, policy):
        refused = Problem(reason=Reason.SPEC_INVALID, message=refusal)
        return Resolution(resolved=resolved, problem=refused, following=following)
    return Resolution(
        resolved=resolved, target=target, following=following, delayed=delayed, unread=unread
    )


def _refusal(spec: ReleaseSpec, target: Target, status: Status, policy: Policy) -> str | None:
    """Say why a spec cannot be followed. What a running revision sets is not judged again."""
    known = refusal_of_runtime(spec) or refusal_of_counting(spec)
    if known or target.revision in _running(status):
        return known
    return policy.refusal(spec, target)


def _running(status: Status) -> frozenset[str]:
    """Return the revisions that serve or are tried: what they set was judged when they began."""
    held = (status.stable, status.canary, status.previous)
    return frozenset(target.revision for target in held if target)


def _is_due(known: Resolved | None, looked: AliasLook | None) -> bool:
    """Return whether the source must be resolved: it never was, or its alias has moved."""
    if known is None or known.registered is None:
        return known is None
    return looked is not None and looked.version not in (None, known.registered.version)


def _without_target(status: Status, ref: ModelRef | None, problem: Problem) -> Resolution:
    return Resolution(
        resolved=status.resolved, problem=problem, following=_alias_status(ref, None, problem)
    )


def _alias_status(
    ref: ModelRef | None, version: str | None, problem: Problem | None
) -> AliasStatus | None:
    if ref is None or ref.alias is None:
        return None
    return AliasStatus(alias=f"models:/{ref.name}@{ref.alias}", version=version, problem=problem)


def _problem(reason: Reason, problem: Exception) -> Problem:
    return Problem(reason=reason, message=str(problem))
