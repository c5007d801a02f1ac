"""The worlds that a decision can ask for."""

from modelrelease_contract.shadow import ShadowSettings
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Phase, Target
from modelrelease_operator.core.analysis.shadow import slower_of, warm_up_of
from modelrelease_operator.core.desired import (
    Desired,
    DesiredBudgets,
    DesiredComparison,
    DesiredProber,
    DesiredWorkload,
)
from modelrelease_operator.core.scope import JUDGED, Scope
from modelrelease_operator.serving_runtimes import asks_examples
from modelrelease_operator.traffic.registry import provider_of


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
    desired = desired.but(running=(*desired.running, kept))
    if answers_alone(scope, previous.revision):
        return desired.but(routed=frozenset({previous.revision, scope.stable.revision}))
    return desired


def answers_alone(scope: Scope, revision: str) -> bool:
    """Return whether clients are led to another revision than stable, which answers, and no pod of
    stable could: nobody is taken from there before one can.
    """
    led = revision in (scope.observed.routed or frozenset())
    return led and bool(scope.ready_pods(revision)) and not scope.ready_pods(scope.stable.revision)


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


def pods_at_step(scope: Scope) -> int:
    """Return the canary's pods at its step: as many as its share needs.

    By a gateway no fewer than there are until that share is seen in effect: one that served
    everybody has them until what leads them elsewhere is made, which may be refused.
    """
    needed = scope.split.canary
    if scope.canary.step_since is not None or not provider_of(scope.spec).leads_to_arms:
        return needed
    return max(needed, scope.canary_pods_wanted)


def growing(scope: Scope) -> Desired:
    """Stable beside a canary that grows to full strength, to become stable then.

    One that was tried in the dark stays there, unless nobody but it can answer. Clients that it
    has by a weight stay: that the spec wants a switch by now is no reason to move them twice.
    """
    canary = scope.canary
    answers_alone = scope.canary_serves and not scope.stable_serves
    opened = not scope.spec.canary.switches or canary.requested_weight > 0 or answers_alone
    return side_by_side(scope, canary_replicas=scope.replicas, opened=opened)


def _weight(scope: Scope) -> int:
    """Return the canary's share: what was asked for, and more while stable cannot carry the rest.

    Until all of stable's pods are back, the pods that are ready share the requests evenly, as they
    do behind one Service. Before the weight is in effect the canary has no more than its pods can
    carry, and none while none of them is ready: a gateway would send requests to nobody.
    """
    asked_for = scope.canary.requested_weight
    canary, stable = (scope.ready_pods(arm.revision) for arm in (scope.canary, scope.stable))
    if not canary:
        return 0
    if not stable or scope.canary.alone:
        return max(asked_for, round(100 * canary / (canary + stable)))
    if scope.canary.step_since is not None:
        return 0 if _came_back_just_now(scope) else asked_for
    strength = min(scope.replicas, stable)
    return min(asked_for, 100 * canary // strength)


def _came_back_just_now(scope: Scope) -> bool:
    """Return whether no pod was ready in the middle of a step, and a gateway may not know yet that
    they are again.
    """
    delay = provider_of(scope.spec).endpoints_delay.total_seconds()
    return scope.observed.routed_weight == 0 and scope.canary.ready_seconds < delay


def closed(scope: Scope) -> Desired:
    """Stable has every client, and the canary keeps the pods that it has."""
    return side_by_side(scope, canary_replicas=scope.canary_pods_wanted, opened=False)


def taken_back(scope: Scope) -> Desired:
    """Stable has every client, also those that a gateway still sends by the canary's Service; as
    soon as it can answer one: until then they stay with a canary that does.
    """
    if answers_alone(scope, scope.canary.revision):
        return side_by_side(scope, canary_replicas=scope.canary_pods_wanted, opened=True)
    return closed(scope).but(canary=None)


def withdrawn(scope: Scope) -> Desired:
    """A canary that left the Service waits warm, at least as strong as its weight needs when it
    comes back: a release that is scaled up meanwhile scales it, too.

    By a gateway its own Service leads to stable meanwhile, because a gateway may be late with the
    weights; not where a prober asks by it, which would take stable's answers for the canary's.
    """
    replicas = max(scope.split.canary, scope.canary_pods_wanted)
    warm = side_by_side(scope, canary_replicas=replicas, opened=False)
    return warm.but(canary=None) if leads_away(scope) else warm


def leads_away(scope: Scope) -> bool:
    """Return whether the Service of a canary that has left leads to stable."""
    return provider_of(scope.spec).leads_to_arms and scope.spec.analysis.probe is None


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


def budgets_of(scope: Scope, desired: Desired) -> DesiredBudgets | None:
    """Return how many pods of a revision with clients a drain may take at once, where a budget is
    to say it: beside another owner's, which selects the same pods, none could be evicted at all.
    """
    budget, others = scope.spec.serving.disruption_budget, scope.observed.others_budgets
    if not budget.enabled or others is None:
        return None
    running = frozenset(workload.target.revision for workload in desired.running)
    alone = (running & desired.routed) - others
    return DesiredBudgets(max_unavailable=budget.max_unavailable, revisions=alone)


def prober_of(scope: Scope) -> DesiredProber | None:
    """Return the prober that should exist:
    where the release asks for one, while its canary is judged.
    """
    probe = scope.spec.analysis.probe
    if probe is None or scope.status.phase not in JUDGED:
        return None
    return DesiredProber(stable=scope.stable.target, canary=scope.canary.target, settings=probe)


def comparison_of(scope: Scope) -> DesiredComparison | None:
    """Return the prober that should exist in the shadow: where no pod of stable copies requests,
    until the canary may go on.
    """
    settings = shadow_of(scope.spec)
    if settings is None or scope.status.phase is not Phase.SHADOWING:
        return None
    stable, canary = scope.stable.target, scope.canary.target
    known = scope.canary.shadow
    done = scope.canary.approved or scope.canary.unproven or (known and known.passed)
    if done or not asks_examples(stable, canary):
        return None
    return DesiredComparison(stable=stable, canary=canary, settings=settings)
