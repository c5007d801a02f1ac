"""The worlds that a decision can ask for."""

from dataclasses import replace

from modelrelease_contract.shadow import ShadowSettings
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Target
from modelrelease_operator.core.analysis.shadow import slower_of, warm_up_of
from modelrelease_operator.core.desired import Desired, DesiredProber, DesiredWorkload
from modelrelease_operator.core.scope import JUDGED, Scope


def only(target: Target, replicas: int) -> Desired:
    """One revision serves alone."""
    stable = DesiredWorkload(target=target, replicas=replicas, track="stable")
    return Desired(running=(stable,), routed=frozenset({target.revision}), stable=target.revision)


def steady(scope: Scope) -> Desired:
    """Stable serves, and the previous revision is kept warm for as long as status says."""
    desired = only(scope.stable.target, scope.replicas)
    previous = scope.status.previous
    if previous is None:
        return desired
    kept = DesiredWorkload(target=previous.target, replicas=scope.replicas, track="previous")
    return replace(desired, running=(*desired.running, kept))


def side_by_side(scope: Scope, *, canary_replicas: int, opened: bool) -> Desired:
    """Stable at full strength beside the canary;
    `opened` says whether clients reach the canary too.
    """
    stable, canary = scope.stable, scope.canary
    return Desired(
        running=(
            DesiredWorkload(target=stable.target, replicas=scope.replicas, track="stable"),
            DesiredWorkload(target=canary.target, replicas=canary_replicas, track="canary"),
        ),
        routed=scope.arms if opened else frozenset({stable.revision}),
        stable=stable.revision,
        canary=canary.revision,
        weight=_weight(scope) if opened else 0,
    )


def _weight(scope: Scope) -> int:
    """Return the canary's share: what was asked for, and more while stable cannot carry the rest.

    Until all of stable's pods are back, the pods that are ready share the requests evenly, as they
    do behind one Service.
    """
    asked_for = scope.canary.requested_weight
    canary, stable = (scope.ready_pods(arm.revision) for arm in (scope.canary, scope.stable))
    if not canary or (stable and not scope.canary.alone):
        return asked_for
    return max(asked_for, round(100 * canary / (canary + stable)))


def closed(scope: Scope) -> Desired:
    """Stable has every client, and the canary keeps the pods that it has."""
    return side_by_side(scope, canary_replicas=scope.canary_pods_wanted, opened=False)


def taken_back(scope: Scope) -> Desired:
    """Stable has every client, also those that a gateway still sends by the canary's Service."""
    return replace(closed(scope), canary=None)


def shadow_of(spec: ReleaseSpec) -> ShadowSettings | None:
    """Return which copies a canary of this release wants while it is in the dark."""
    shadow = spec.canary.shadow
    if shadow is None:
        return None
    ratio, seconds = slower_of(spec)
    return ShadowSettings(
        share=shadow.share / 100,
        per_second=shadow.copies_per_second,
        noise_share=shadow.noise_percent / 100,
        tolerance=shadow.tolerance,
        warm_up_seconds=warm_up_of(spec).total_seconds(),
        slower_ratio=ratio,
        slower_seconds=seconds,
    )


def prober_of(scope: Scope) -> DesiredProber | None:
    """Return the prober that should exist:
    where the release asks for one, while its canary is judged.
    """
    probe = scope.spec.analysis.probe
    if probe is None or scope.status.phase not in JUDGED:
        return None
    return DesiredProber(stable=scope.stable.target, canary=scope.canary.target, settings=probe)
