"""What is looked for after a promotion, while the predecessor is warm.

The predecessor has no clients any more, so nothing can be proven against it: an outage that both
would share would look like the new version's fault. So a suspicion does not take a version back. It
opens the Service to both again and lets the concurrent comparison decide (docs/decisions/0021).
Only where every request moved at once (canary weight 100) there is no such comparison: there it
does take the version back (docs/decisions/0049).
"""

import math
from collections.abc import Iterator
from dataclasses import replace

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import CanaryStatus, Crashes, Evidence, Previous, StableStatus
from modelrelease_operator.core.analysis.gates.kind import WatchedShare
from modelrelease_operator.core.analysis.gates.registry import kind_of
from modelrelease_operator.core.analysis.gates.share import NOTABLE
from modelrelease_operator.core.measurement.indicators import ERRORS
from modelrelease_operator.core.release.looks import judged, with_crashes
from modelrelease_operator.core.scope import Scope
from modelrelease_operator.core.statistics.eprocess import (
    ArmCounts,
    EProcess,
    Guardrail,
    Interval,
    Tolerance,
)

LEAST = 100
"""Requests of either version, below which nothing is said."""
CRASHES = 2
"""Ends of containers that are suspicious."""


def as_pair(scope: Scope) -> Scope:
    """Return the scope as if the new version were still the canary beside its predecessor."""
    stable, previous = scope.stable, scope.status.previous
    if previous is None:
        msg = "there is nothing to watch without a previous version"
        raise ValueError(msg)
    plan = scope.spec.canary.plan
    canary = CanaryStatus(
        **stable.parts(),
        step=len(plan) - 1,
        steps=len(plan),
        requested_weight=plan[-1].weight,
        since=stable.since,
        asked_since=stable.since,
        step_since=stable.since,
        step_seconds=_watched_for(scope.spec, previous),
        shadow=previous.shadow,
    )
    before = StableStatus(**previous.parts(), since=stable.since)
    return scope.with_status(canary=canary, stable=before)


def watched(scope: Scope, passed: float) -> tuple[Scope, str | None]:
    """Go on counting what the new version does,
    and say what is suspicious about it, if anything is.
    """
    pair = with_crashes(as_pair(scope).but(passed=passed))
    judgement = judged(pair)
    # Nothing is proven without a concurrent arm: the tests stay as they were when there was one.
    before = scope.status.evidence
    evidence = judgement.evidence.but(processes=before.processes, bounds=before.bounds)
    crashes = pair.status.crashes
    scope = scope.with_status(evidence=evidence, crashes=crashes)
    return scope, suspicion(scope.spec, evidence, crashes)


def _watched_for(spec: ReleaseSpec, previous: Previous) -> float:
    """Return the seconds since the promotion, summed from pass to pass."""
    kept = spec.canary.keep_previous.span.total_seconds()
    return max(0.0, kept - (kept if previous.left_seconds is None else previous.left_seconds))


def suspicion(spec: ReleaseSpec, evidence: Evidence, crashes: Crashes) -> str | None:
    """Say what is suspicious about the new version, or None."""
    if crashes.newly >= CRASHES:
        words = f" ({crashes.words})" if crashes.words else ""
        return f"{crashes.newly} of its containers ended abnormally{words}"
    return next(_beyond(spec, evidence), None) or next(_out_of_limits(spec, evidence), None)


def _watched_shares(spec: ReleaseSpec, evidence: Evidence) -> list[WatchedShare]:
    """Return every share that is counted for the new version and was for its predecessor: errors
    always.
    """
    shares = {ERRORS.key: WatchedShare(key=ERRORS.key, what="fails", notable=NOTABLE)}
    for gate in spec.analysis.gates:
        if gate.dry_run:
            continue
        for share in kind_of(gate).watched(gate.name, gate.settings, evidence.step):
            known = shares.setdefault(share.key, share)
            limits = dict.fromkeys((*known.limits, *share.limits))
            shares[share.key] = replace(known, limits=tuple(limits))
    return [share for share in shares.values() if share.key in evidence.step]


def _beyond(spec: ReleaseSpec, evidence: Evidence) -> Iterator[str]:
    watched = _watched_shares(spec, evidence)
    # The bound is shared out: more gates make no suspicion likelier.
    tests = sum(share.tests for share in watched)
    bar = math.log(max(1, tests)) - math.log(spec.analysis.false_rollback_probability)
    for share in watched:
        new, old = _arms(evidence, share.key)
        if min(new.total, old.total) < LEAST:
            continue
        suspicious = shows(share.notable, new, old, bar) or (
            share.both_ways and shows(share.notable, old, new, bar)
        )
        if suspicious or _beyond_limit(share.limits, new, old, bar):
            yield f"it {share.what} {_share(new)}, its predecessor {_share(old)}"


def _arms(evidence: Evidence, key: str) -> tuple[ArmCounts, ArmCounts]:
    """Return what the new version did since its promotion,
    and what its predecessor did in the release.
    """
    new, released = evidence.step[key], evidence.release.get(key, [0, 0, 0, 0])
    return ArmCounts(total=new[0], bad=new[1]), ArmCounts(total=released[2], bad=released[3])


def shows(notable: Tolerance | None, more: ArmCounts, less: ArmCounts, bar: float) -> bool:
    """Return whether one share is shown to be beyond what is notable beside another."""
    if notable is None:
        return False
    return EProcess.regression(notable).update(Interval(canary=more, stable=less)).log_value >= bar


def _beyond_limit(limits: tuple[float, ...], new: ArmCounts, old: ArmCounts, bar: float) -> bool:
    return any(
        (old.rate or 0.0) <= share and Guardrail(limit=share).update(new).log_value >= bar
        for share in limits
    )


def _out_of_limits(spec: ReleaseSpec, evidence: Evidence) -> Iterator[str]:
    """Yield the gates whose number was beyond its limits for as many looks in a row as they ask
    for.
    """
    for gate in spec.analysis.gates:
        broken = kind_of(gate).broken(gate.name, gate.settings, evidence.streaks)
        if broken and not gate.dry_run:
            yield broken


def _share(counts: ArmCounts) -> str:
    return f"{100 * (counts.rate or 0.0):.2f} % of {counts.total:,} requests"
