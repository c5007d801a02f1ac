"""Shadowing: the canary answers copies of requests in the dark, before the first user meets it."""

from modelrelease_contract.shadow import BUSY, LATE, REFUSED, UNREACHABLE
from modelrelease_operator.api.shadow import Shadow
from modelrelease_operator.api.spec import OnInsufficientEvidence
from modelrelease_operator.api.status import Reason, ShadowStatus, Verdict
from modelrelease_operator.core.analysis.shadow import (
    COPIED,
    EXAMPLE,
    ShadowJudgement,
    counted,
    judge_pairs,
)
from modelrelease_operator.core.desired import REQUEUE_SOON, Decision
from modelrelease_operator.core.observed import MetricsUnavailable, NotDue, PairCounter
from modelrelease_operator.core.release.commands import approval_of
from modelrelease_operator.core.release.desired_state import comparison_of, side_by_side
from modelrelease_operator.core.release.looks import (
    proven_by_crashes,
    timed,
    unready_for,
    until_next_look,
    with_pods,
)
from modelrelease_operator.core.release.starting import held_by_person, may_open
from modelrelease_operator.core.release.transitions import (
    back_from_unwanted,
    enter_step,
    promote_by_hand,
    reject,
)
from modelrelease_operator.core.release.words import not_ready
from modelrelease_operator.core.scope import Scope
from modelrelease_operator.core.steps import last_alike
from modelrelease_operator.serving_runtimes import asks_examples, why_nobody_compares

SOON_SHOWN = 90.0
"""Seconds after which pairs should be shown: a warm-up, a question for copies and some scrapes."""


def shadowing(scope: Scope) -> Decision:
    """Compare both arms' answers: back, on to the first users, or wait."""
    if back := back_from_unwanted(scope):
        return back
    scope = timed(scope)
    if scope.canary.by_hand and may_open(scope):
        return promote_by_hand(scope)
    shadow = scope.spec.canary.shadow
    if shadow is None:
        return _first_step(scope, "canary.shadow was taken out of the spec")
    wanted = scope.split.canary
    ready = scope.observed.ready(scope.canary.revision, wanted)
    scope = with_pods(scope, ready=ready, wanted=wanted)
    if back := _unfit(scope):
        return back
    if scope.canary_serves and not scope.stable_serves and not scope.spec.paused:
        # Whoever may answer at all is needed by users now.
        why = f"no pod of stable {scope.stable.version} is ready; it is compared once they are"
        return _first_step(scope, why, left=False)
    scope = _with_time(scope)
    if scope.canary.approved:
        return _first_step(scope, "a person let it pass in the shadow without a verdict")
    if scope.canary.unproven:
        return _first_step(scope, scope.canary.unproven)
    pairs = scope.observed.pairs
    if isinstance(pairs, NotDue):
        return _in_the_dark(scope)
    scope = scope.with_canary(next_look=scope.now + scope.spec.analysis.period)
    if isinstance(pairs, MetricsUnavailable):
        # Nobody could have decided in the time since the last look.
        scope = scope.with_canary(unjudged_seconds=0.0).with_status(verdict=Verdict.UNAVAILABLE)
        return _wait(scope, shadow, pairs.message, measured=False)
    scope, judgement = _judged(scope, pairs)
    return _act_on(scope, shadow, judgement)


def _unfit(scope: Scope) -> Decision | None:
    """Reject a canary that crashes, or that was not ready for too long, without any user."""
    if worse := proven_by_crashes(scope):
        return reject(scope, Reason.REGRESSION, worse)
    waited = unready_for(scope.canary)
    if waited <= scope.spec.canary.start_deadline.span:
        return None
    return reject(scope, Reason.CANARY_NOT_READY, not_ready(scope, scope.split.canary, waited))


def _with_time(scope: Scope) -> Scope:
    """Count the time in which pairs could come; the next look that can be used adds it."""
    if scope.spec.paused or not (scope.canary_serves and scope.stable_serves):
        return scope
    return scope.with_canary(unjudged_seconds=scope.canary.unjudged_seconds + scope.passed)


def _asks_examples(scope: Scope) -> bool:
    return asks_examples(scope.stable, scope.canary)


def _asked_in(scope: Scope) -> str:
    """Return which kind of requests the arms are asked."""
    return EXAMPLE if _asks_examples(scope) else COPIED


def _known(scope: Scope) -> ShadowStatus:
    return scope.canary.shadow or ShadowStatus(since=scope.now)


def _judged(scope: Scope, rows: tuple[PairCounter, ...]) -> tuple[Scope, ShadowJudgement]:
    """Add what the pods have counted, and ask every gate."""
    known = _known(scope)
    seconds = known.seconds + scope.canary.unjudged_seconds
    known = counted(known, rows)
    judgement = judge_pairs(scope.spec, known, scope.canary.version, asked=_asked_in(scope))
    known = known.but(
        seconds=seconds,
        rollback_log=judgement.rollback_log,
        message=judgement.message,
        passed=judgement.verdict is Verdict.PASS,
    )
    scope = scope.with_canary(shadow=known, unjudged_seconds=0.0)
    return scope.with_status(gates=judgement.gates, verdict=judgement.verdict), judgement


def _act_on(scope: Scope, shadow: Shadow, judgement: ShadowJudgement) -> Decision:
    if judgement.verdict is Verdict.FAIL:
        return reject(scope, Reason.REGRESSION, f"in the shadow, {judgement.message}")
    if judgement.verdict is Verdict.PASS and not scope.spec.paused:
        of = " of answers to example requests" if _asks_examples(scope) else ""
        why = f"it passed in the shadow on {_known(scope).pairs:,} pairs{of}"
        if may_open(scope) and not _prober_leaves(scope):
            message = f"canary {scope.canary.version}: {why}: {judgement.message}"
            scope = scope.noticing(Reason.SHADOW_PASSED, message)
        return _first_step(scope, why)
    return _wait(scope, shadow, judgement.message, measured=True)


def _wait(scope: Scope, shadow: Shadow, why: str, *, measured: bool) -> Decision:
    """Stay in the dark; when that lasts too long, do what the spec says of thin evidence."""
    known, version = _known(scope), scope.canary.version
    if measured and (nothing := _no_pairs(scope)):
        why = nothing
    if scope.spec.paused:
        message = f"spec.paused holds canary {version} in the shadow; {why}"
        return _in_the_dark(_unasked(scope).with_status(message=message))
    late = known.seconds > shadow.deadline.span.total_seconds()
    if not late and not scope.canary.inconclusive:
        message = f"canary {version} is compared in the shadow: {why}"
        return _in_the_dark(_unasked(scope).with_status(message=message))
    policy = scope.spec.analysis.on_insufficient_evidence
    if policy is not OnInsufficientEvidence.PAUSE and measured and not scope.canary.inconclusive:
        return _by_deadline(scope, shadow, policy, why)
    return _asked(scope, shadow, why)


def _no_pairs(scope: Scope) -> str | None:
    """Say why there is no pair at all, as far as that is told, or return None."""
    known = _known(scope)
    if known.pairs:
        return None
    if nobody := why_nobody_compares(scope.stable, scope.canary):
        return nobody
    return _no_examples(scope, known) if _asks_examples(scope) else _no_copies(known)


def _no_examples(scope: Scope, known: ShadowStatus) -> str | None:
    """Say why no example request became a pair."""
    if scope.observed.hint:
        return f"the prober that asks both arms example rows does not run: {scope.observed.hint}"
    if refused := known.counts.get(REFUSED):
        return (
            f"stable answers no example request: {refused:,} were tried. Say in "
            "spec.serving.runtime.exampleRequests what it takes: path, body and the members of its "
            "answer"
        )
    if not known.processes and known.seconds >= SOON_SHOWN:
        return (
            "nobody shows pairs counted by the prober that asks both arms example rows. A network "
            "policy keeps it from them, or shadow_pairs_total of its pod is not scraped"
        )
    return _no_copies(known)


def _no_copies(known: ShadowStatus) -> str | None:
    """Say what keeps requests from becoming pairs."""
    if not known.processes and known.seconds < SOON_SHOWN:
        return "no pair is shown yet: new pods are let warm up, and their counters must be read"
    if not known.processes:
        return (
            "nobody shows pairs counted by stable's pods. They or the canary's run an "
            "older predictor or began before canary.shadow was set; copying is switched off; a "
            "network policy keeps them from each other; somebody calls the canary; or "
            "shadow_pairs_total is not scraped"
        )
    missed = {
        "could not be sent, for want of a connection": known.counts.get(UNREACHABLE, 0),
        "met a canary that was busy (503)": known.counts.get(BUSY, 0),
        "were not answered in time": known.counts.get(LATE, 0),
    }
    sentences = [f"{count:,} copies {what}" for what, count in missed.items() if count]
    return f"there is no pair yet: {', '.join(sentences)}" if sentences else None


def _by_deadline(
    scope: Scope, shadow: Shadow, policy: OnInsufficientEvidence, why: str
) -> Decision:
    text = (
        f"the deadline of {shadow.deadline} in the shadow decided and not the evidence "
        f"(analysis.onInsufficientEvidence is {policy}): {why}"
    )
    if policy is OnInsufficientEvidence.ROLL_BACK:
        return reject(scope, Reason.INCONCLUSIVE, text)
    # Kept before the first user comes: it lets the prober go, for which that waits.
    return _first_step(scope.with_canary(unproven=text), text)


def _asked(scope: Scope, shadow: Shadow, why: str) -> Decision:
    """Ask a person, once, whether users may meet a canary that the shadow proved nothing of."""
    canary = scope.canary
    answer = approval_of(scope.status, scope.observed, canary)
    message = (
        f"no verdict in the shadow within {shadow.deadline}: {why}; annotate approve={answer} to "
        f"let users meet canary {canary.version}, or abort={canary.revision}"
    )
    if canary.question is not Reason.INCONCLUSIVE:
        scope = scope.noticing(Reason.INCONCLUSIVE, message, warning=True)
        scope = scope.with_canary(asked_at=scope.now)
    scope = scope.with_canary(question=Reason.INCONCLUSIVE, inconclusive=True)
    return _in_the_dark(scope.with_status(message=message))


def _unasked(scope: Scope) -> Scope:
    if scope.canary.question is None:
        return scope
    return scope.with_canary(question=None, asked_at=None)


def _first_step(scope: Scope, why: str, *, left: bool = True) -> Decision:
    """Let the first users meet the canary. What the pairs said stays; their counters go when the
    shadow was `left` for good.
    """
    if not may_open(scope):
        return _in_the_dark(scope.with_status(message=f"{why}; {_in_the_way(scope)}"))
    if _prober_leaves(scope):
        waits = f"{why}; the prober must go before users come"
        return _in_the_dark(scope.with_canary(next_look=scope.now).with_status(message=waits))
    known = scope.canary.shadow
    summary = known.but(processes={}, left=True) if known and left else known
    # Kept until a gate proves it: a switch has nothing else to go by.
    unproven = why if left and not (known and known.passed) else None
    scope = scope.with_canary(shadow=summary, inconclusive=False, unproven=unproven).with_status(
        gates=(), verdict=None
    )
    return enter_step(scope, last_alike(scope.spec, 0), why=why)


def _prober_leaves(scope: Scope) -> bool:
    """Return whether a prober is still there that is not wanted any more: a server that is not ours
    would count what it asks among users' requests.
    """
    gone = comparison_of(scope) is None
    return gone and bool(scope.observed.probers) and _asks_examples(scope)


def _in_the_way(scope: Scope) -> str:
    """Say what keeps users from a canary that may have them."""
    if held := held_by_person(scope):
        return held
    if scope.strangers:
        return f"pods of revision {', '.join(scope.strangers)} must go first"
    return "the Service is not seen to lead to stable alone yet"


def _in_the_dark(scope: Scope) -> Decision:
    desired = side_by_side(scope, canary_replicas=scope.split.canary, opened=False)
    return scope.decision(desired, requeue=max(REQUEUE_SOON, until_next_look(scope)))
