"""What is looked for after a promotion, while the predecessor is warm.

The predecessor has no clients any more, so nothing can be proven against it: an outage that both would share
would look like the new version's fault. So a suspicion does not take a version back. It opens the Service to
both again and lets the concurrent comparison decide (docs/decisions/0021).
"""

import math
from collections.abc import Iterator
from dataclasses import replace

from modelrelease_operator.api.durations import parse_duration
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import CanaryStatus, Crashes, Evidence, Previous, StableStatus
from modelrelease_operator.core.evidence import ArmCounts, EProcess, Guardrail, Interval, Tolerance
from modelrelease_operator.core.release.looks import judged, with_crashes
from modelrelease_operator.core.scope import Scope
from modelrelease_operator.core.streams import ERRORS

NOTABLE = Tolerance(ratio=2.0, points=0.01)
"""Suspicious: shown to be beyond twice what the predecessor had during the release, plus a point."""
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
    )
    before = StableStatus(**previous.parts(), since=stable.since)
    return scope.with_status(canary=canary, stable=before)


def watched(scope: Scope, passed: float) -> tuple[Scope, str | None]:
    """Go on counting what the new version does, and say what is suspicious about it, if anything is."""
    pair = with_crashes(replace(as_pair(scope), passed=passed))
    judgement = judged(pair)
    # Nothing is proven without a concurrent arm: the tests stay as they were when there was one.
    before = scope.status.evidence
    evidence = judgement.evidence.but(processes=before.processes, bounds=before.bounds)
    crashes = pair.status.crashes
    scope = scope.with_status(evidence=evidence, crashes=crashes)
    return scope, suspicion(scope.spec, evidence, crashes)


def _watched_for(spec: ReleaseSpec, previous: Previous) -> float:
    """Return the seconds since the promotion, summed from pass to pass."""
    kept = parse_duration(spec.canary.keep_previous).total_seconds()
    return max(0.0, kept - (kept if previous.left_seconds is None else previous.left_seconds))


def suspicion(spec: ReleaseSpec, evidence: Evidence, crashes: Crashes) -> str | None:
    """Say what is suspicious about the new version, or None."""
    if crashes.newly >= CRASHES:
        words = f" ({crashes.words})" if crashes.words else ""
        return f"{crashes.newly} of its containers ended abnormally{words}"
    return next(_beyond(spec, evidence), None)


def _beyond(spec: ReleaseSpec, evidence: Evidence) -> Iterator[str]:
    bar = -math.log(spec.analysis.false_rollback_probability)
    for key, counts in evidence.step.items():
        if key != ERRORS.key and not key.startswith("slow/"):
            continue
        new = ArmCounts(total=counts[0], bad=counts[1])
        released = evidence.release.get(key, [0, 0, 0, 0])
        old = ArmCounts(total=released[2], bad=released[3])
        if min(new.total, old.total) < LEAST:
            continue
        found = EProcess.regression(NOTABLE).update(Interval(canary=new, stable=old)).log_value >= bar
        what = "fails" if key == ERRORS.key else f"takes over {key.split('/')[1]} s for"
        if found or (key == ERRORS.key and _beyond_limit(spec, new, old, bar)):
            yield f"it {what} {_share(new)}, its predecessor {_share(old)}"


def _beyond_limit(spec: ReleaseSpec, new: ArmCounts, old: ArmCounts, bar: float) -> bool:
    limits = [gate.error_rate.max_percent for gate in spec.analysis.gates if gate.error_rate]
    shares = [limit / 100 for limit in limits if limit is not None]
    return any(
        (old.rate or 0.0) <= share and Guardrail(limit=share).update(new).log_value >= bar for share in shares
    )


def _share(counts: ArmCounts) -> str:
    return f"{100 * (counts.rate or 0.0):.2f} % of {counts.total:,} requests"
