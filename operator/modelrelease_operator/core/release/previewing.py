"""Previewing: the canary is at full strength in the dark, before every request moves at once.

Blue/green: what can be known of it is known without users. The shadow was before this, probes are
asked now where the release has them, a person where it says so. Users' requests are counted for
stable alone: what it did is what the new version is watched against once it has every client.
"""

from dataclasses import replace

from modelrelease_operator.api.spec import Approval, OnInsufficientEvidence
from modelrelease_operator.api.status import Reason, Verdict
from modelrelease_operator.core.analysis.judge import Judgement
from modelrelease_operator.core.analysis.probes import is_of_probes
from modelrelease_operator.core.desired import REQUEUE_SOON, Decision, Desired
from modelrelease_operator.core.observed import NotDue
from modelrelease_operator.core.release.deadline import decided_by_deadline, policy_at_deadline
from modelrelease_operator.core.release.desired_state import side_by_side
from modelrelease_operator.core.release.holding import hold, why_held
from modelrelease_operator.core.release.looks import (
    judged,
    proven_worse,
    until_next_look,
    with_judgement,
    without_look,
)
from modelrelease_operator.core.release.starting import may_open
from modelrelease_operator.core.release.transitions import begin_shadow, promote, reject
from modelrelease_operator.core.scope import Scope


def previewing(scope: Scope, *, ready: bool) -> Decision:
    """Try the canary without users: back, every request to it, or wait."""
    scope = _without_stale_shadow(scope)
    if _lacks_comparison(scope):
        return begin_shadow(scope)
    desired = side_by_side(scope, canary_replicas=scope.split.canary, opened=False)
    scope = _with_time(scope, ready=ready)
    if scope.canary.step_since is None:
        return _await_pods(scope, desired)
    if isinstance(scope.observed.metrics, NotDue):
        return without_look(scope).decision(desired, requeue=until_next_look(scope))
    judgement = _without_users(scope, judged(scope))
    scope = with_judgement(scope, judgement)
    return _act_on(scope, judgement, desired)


def _without_stale_shadow(scope: Scope) -> Scope:
    """Forget a comparison that proved nothing, where the spec asks for none: should it ask again,
    there is one.
    """
    known = scope.canary.shadow
    stale = known is not None and not known.passed and scope.spec.canary.shadow is None
    return scope.with_canary(shadow=None) if stale else scope


def _lacks_comparison(scope: Scope) -> bool:
    """Return whether the spec asks for the shadow, and the canary came here past it: by weights, or
    because stable was down.
    """
    if scope.spec.canary.shadow is None or not scope.stable_serves:
        return False
    known = scope.canary.shadow
    return known is None or not (known.passed or known.left)


def _with_time(scope: Scope, *, ready: bool) -> Scope:
    """Begin when all of its pods are ready and nobody but stable has clients; then count time."""
    canary = scope.canary
    alone = scope.observed.routed == frozenset({scope.stable.revision}) and not scope.strangers
    if canary.step_since is None and ready and alone:
        evidence = scope.status.evidence
        begun = evidence.next_step().but(copies=evidence.copies)
        return scope.with_canary(step_since=scope.now).with_status(evidence=begun)
    if canary.step_since is None:
        return scope.with_canary(waiting_seconds=canary.waiting_seconds + scope.passed)
    return scope.with_canary(step_seconds=canary.step_seconds + scope.passed)


def _await_pods(scope: Scope, desired: Desired) -> Decision:
    canary = scope.canary
    ready, wanted = scope.ready_pods(canary.revision), scope.split.canary
    message = f"canary {canary.version} grows in the dark: {ready} of {wanted} pods are ready"
    if scope.strangers:
        message = f"{message}; pods of revision {', '.join(scope.strangers)} must go first"
    for why in (canary.blocked, scope.observed.route_problem):
        message = f"{message}; {why}" if why else message
    return scope.with_status(message=message).decision(desired, requeue=REQUEUE_SOON)


def _without_users(scope: Scope, judgement: Judgement) -> Judgement:
    """Return what can be known without users: gates that probes answer, where the release has any.

    What is proven against the canary stays proven, and while nothing can be measured nothing moves:
    a version that has every client must be seen.
    """
    probed = tuple(gate for gate in judgement.gates if is_of_probes(gate.name))
    failed = tuple(gate for gate in judgement.gates if gate.verdict is Verdict.FAIL)
    shown = replace(judgement, gates=probed or failed)
    if judgement.verdict in (Verdict.FAIL, Verdict.UNAVAILABLE):
        return shown
    if not judgement.evidence.started:
        return replace(shown, verdict=Verdict.INSUFFICIENT)
    waiting = next((gate for gate in probed if gate.verdict is not Verdict.PASS), None)
    if waiting:
        return replace(shown, verdict=Verdict.INSUFFICIENT, message=waiting.message)
    proof = [how for how, holds in _proofs(scope, probed=bool(probed)) if holds]
    if not proof and scope.canary.unproven:
        proof = [f"nothing proved it ({scope.canary.unproven})"]
    if not proof:
        message = f"nothing has proved canary {scope.canary.version} yet: no gate asks probes"
        return replace(shown, verdict=Verdict.INSUFFICIENT, message=message)
    why = f"{' and '.join(proof)}; no user meets canary {scope.canary.version}"
    return replace(shown, verdict=Verdict.PASS, message=why, by_probes=why)


def _proofs(scope: Scope, *, probed: bool) -> tuple[tuple[str, bool], ...]:
    """Return what can speak for a canary without users, and whether it does.

    That its pods repeat their recorded answers says that they run: it is enough where a person
    decides.
    """
    shadow = scope.canary.shadow
    by_person = scope.spec.canary.approval is Approval.MANUAL
    return (
        ("the shadow passed", shadow is not None and shadow.passed),
        ("every gate passes on probes", probed),
        ("its pods repeat their recorded answers", by_person and not probed and not shadow),
    )


def _act_on(scope: Scope, judgement: Judgement, desired: Desired) -> Decision:
    """Turn a judgement into the switch, into a rollback, or into waiting."""
    if worse := proven_worse(scope, judgement):
        return reject(scope, Reason.REGRESSION, worse)
    policy = policy_at_deadline(judgement, scope.spec, scope.canary)
    if policy is OnInsufficientEvidence.ROLL_BACK:
        return reject(scope, Reason.INCONCLUSIVE, decided_by_deadline(judgement, scope.spec))
    if held := why_held(scope, judgement):
        return hold(scope, desired, *held)
    if not may_open(scope):
        message = "the Service is not seen to lead to stable alone yet"
        return hold(scope, desired, Reason.HOLDING, scope.observed.route_problem or message)
    if not scope.observed.ready(scope.canary.revision, scope.replicas):
        return hold(scope, desired, Reason.HOLDING, _too_weak(scope))
    return promote(_with_caveat(scope, judgement, policy))


def _too_weak(scope: Scope) -> str:
    """Say that not all of its pods are ready: every request is to move to them in one pass."""
    canary = scope.canary
    ready = scope.ready_pods(canary.revision)
    message = (
        f"canary {canary.version} may have every request once all of its pods are ready: "
        f"{ready} of {scope.replicas} are"
    )
    return f"{message}; {canary.blocked}" if canary.blocked else message


def _with_caveat(
    scope: Scope, judgement: Judgement, policy: OnInsufficientEvidence | None
) -> Scope:
    """Keep for the record what no evidence decided."""
    canary = scope.canary
    if policy is OnInsufficientEvidence.PROMOTE:
        return scope.with_canary(unproven=decided_by_deadline(judgement, scope.spec))
    if canary.approved and canary.inconclusive:
        return scope.with_canary(unproven="a person let it pass without a verdict")
    return scope
