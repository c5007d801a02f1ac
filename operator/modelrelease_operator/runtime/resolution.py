"""What a release's model source means at this pass: kept while it holds, else looked up."""

from dataclasses import dataclass, replace

from modelrelease_operator.api.registry import ModelRef, model_ref
from modelrelease_operator.api.spec import ModelSource, ReleaseSpec
from modelrelease_operator.api.status import Reason, Resolved, Status, Target
from modelrelease_operator.core.observed import AliasStatus, Problem
from modelrelease_operator.errors import Invalid, Unavailable
from modelrelease_operator.policy import ANYTHING, Policy
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
class _Found:
    """What looking a source up came to."""

    resolved: Resolved | None
    """None: it means nothing."""
    problem: Problem | None = None
    """Why it means nothing, or nothing new."""
    unread: Place | None = None


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
    looked = watch.found(key, ref)
    found = await _found(spec.model, status.resolved, looked, watch, namespace=key[0])
    resolved = found.resolved
    if resolved is None:
        following = _alias_status(ref, None, found.problem)
        return Resolution(
            resolved=status.resolved, problem=found.problem, following=following,
            unread=found.unread,
        )  # fmt: skip
    version = resolved.registered.version if resolved.registered else None
    watch.subscribe(key, ref, version)
    trouble = found.problem or (looked.problem if looked else None)
    target = target_for_release(
        spec, resolved, status, default_image=default_image, signing_keys=policy.signing_keys,
        renewed=renewed_image == default_image,
    )  # fmt: skip
    known = Resolution(
        resolved=resolved.but(
            image=target.recipe.image, named_image=_named_image(spec, status.resolved)
        ),
        following=_alias_status(ref, version, trouble),
    )
    # What a running revision sets was judged when it began.
    judged_by = ANYTHING if target.revision in _running(status) else policy
    if refusal := judged_by.refusal(spec):
        return replace(known, problem=Problem(reason=Reason.SPEC_INVALID, message=refusal))
    return replace(known, target=target, delayed=found.problem, unread=found.unread)


async def _found(
    source: ModelSource,
    before: Resolved | None,
    looked: AliasLook | None,
    watch: RegistryWatch,
    *,
    namespace: str,
) -> _Found:
    """Return what a source means, looked up where that is due."""
    known = before if is_current(before, source) else None
    if not _is_due(known, looked):
        return _Found(resolved=known)
    try:
        resolved = await resolve(source, watch.registry, stores=watch.stores, namespace=namespace)
    except NeedsPod as needed:
        waits = None if known else _problem(Reason.MODEL_UNAVAILABLE, needed)
        return _Found(resolved=known, problem=waits, unread=needed.place)
    except Invalid as problem:
        if known and isinstance(problem, Missing):
            return _Found(resolved=known, problem=_problem(Reason.ALIAS_MISSING, problem))
        return _Found(resolved=None, problem=_problem(Reason.MODEL_INVALID, problem))
    except Unavailable as problem:
        reason = Reason.REGISTRY_UNAVAILABLE if known else Reason.MODEL_UNAVAILABLE
        return _Found(resolved=known, problem=_problem(reason, problem))
    return _Found(resolved=resolved)


def _named_image(spec: ReleaseSpec, before: Resolved | None) -> str | None:
    """Return the image that this spec names, or else the last one that did."""
    return spec.serving.image or (before.named_image if before else None)


def _running(status: Status) -> frozenset[str]:
    """Return the revisions that serve or are tried: what they set was judged when they began."""
    held = (status.stable, status.canary, status.previous)
    return frozenset(target.revision for target in held if target)


def _is_due(known: Resolved | None, looked: AliasLook | None) -> bool:
    """Return whether the source must be resolved: it never was, or its alias has moved."""
    if known is None or known.registered is None:
        return known is None
    return looked is not None and looked.version not in (None, known.registered.version)


def _alias_status(
    ref: ModelRef | None, version: str | None, problem: Problem | None
) -> AliasStatus | None:
    if ref is None or ref.alias is None:
        return None
    return AliasStatus(alias=f"models:/{ref.name}@{ref.alias}", version=version, problem=problem)


def _problem(reason: Reason, problem: Exception) -> Problem:
    return Problem(reason=reason, message=str(problem))
