"""Whether to retrain: on sustained drift of what serves, with a cool-down, one at a time.

A request is written to status before its Job is made, and the Job is named after it. So a crash at
any point leaves at most one Job for each request: the next pass finds the request without a Job and
makes it, or finds the Job and waits.
"""

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta

from modelrelease_contract.drift import DriftVerdict
from modelrelease_operator.api.drift import DriftStatus
from modelrelease_operator.api.durations import format_duration
from modelrelease_operator.api.retrain import Retrain, RetrainCause, RetrainOutcome, RetrainStatus
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Phase, Reason, StableStatus, Status
from modelrelease_operator.core.desired import REQUEUE_SOON, Decision, DesiredRetraining, Notice
from modelrelease_operator.core.immutable import immutable
from modelrelease_operator.core.observed import Commands, Observed, ObservedJob
from modelrelease_operator.core.scope import Scope

RUNNING_LOOK = timedelta(minutes=1)
"""Between looks at a Job that runs: an event that got lost costs no more than this."""
NO_COOLDOWN = (RetrainOutcome.CANCELLED,)


@immutable
class RetrainingStep:
    """What following a retraining comes to in one pass."""

    scope: Scope
    retraining: DesiredRetraining | None = None
    """The retraining whose Job is to be made now."""
    requeue: timedelta | None = None


def update_retraining(scope: Scope) -> RetrainingStep:
    """Follow the retraining that is under way, or ask for one."""
    spec, last, stable = scope.spec.retrain, scope.status.retrain, scope.status.stable
    if last and last.under_way:
        return _follow(scope, last)
    if spec is None or stable is None:
        return RetrainingStep(scope=scope)
    if last:
        last = _refreshed(last, spec, scope.observed.commands)
        scope = scope.with_status(retrain=last)
    if in_the_way(scope.spec, scope.status, scope.observed):
        return RetrainingStep(scope=scope)
    if _asks(scope.observed.commands, stable, last):
        return _request(scope, spec, RetrainCause.ASKED)
    if not sustained(scope.spec, scope.status):
        return RetrainingStep(scope=scope)
    wait = last.next_allowed - scope.now if last and last.next_allowed else timedelta(0)
    if wait > timedelta(0):
        return RetrainingStep(scope=scope, requeue=wait)
    return _request(scope, spec, RetrainCause.DRIFTED)


def sustained(spec: ReleaseSpec, status: Status) -> bool:
    """Return whether the newest window of what serves drifted, and enough of the last ones did."""
    drift, need = status.drift, spec.drift.sustained.at_least
    return (
        drift is not None
        and status.stable is not None
        and drift.revision == status.stable.revision
        and drift.drifted
        and drift.windows.endswith("D")
        and drift.windows.count("D") >= need
    )


def in_the_way(spec: ReleaseSpec, status: Status, observed: Observed) -> str | None:
    """Return why no retraining may start now, whoever asks, or None."""
    if spec.paused:
        return "spec.paused holds it back"
    if status.phase is not Phase.STABLE or status.canary is not None:
        return "a release is going on"
    if running := next((job.name for job in observed.jobs.values() if job.outcome is None), None):
        return f"Job {running} still runs"
    return None


def _asks(commands: Commands, stable: StableStatus, known: RetrainStatus | None) -> bool:
    seen_before = known.asked_seen if known else None
    return Commands.names(commands.retrain, stable) and commands.retrain != seen_before


def _refreshed(known: RetrainStatus, settings: Retrain, commands: Commands) -> RetrainStatus:
    """Return the record as today's spec and annotations make it."""
    cooled = None if known.outcome in NO_COOLDOWN else known.since + settings.cooldown.span
    heard = known.asked_seen if commands.retrain is not None else None
    return known.but(next_allowed=cooled, asked_seen=heard)


def _request(scope: Scope, settings: Retrain, cause: RetrainCause) -> RetrainingStep:
    """Write a request down. Its Job follows in the next pass,
    when this one cannot be lost any more.
    """
    last, stable, now = scope.status.retrain, scope.stable, scope.now
    seed = f"{stable.revision}/{now.isoformat()}/{last.request if last else ''}"
    name = hashlib.sha256(seed.encode()).hexdigest()[:8]
    features = _drifted_features(scope.status.drift)
    why = (
        f"{', '.join(features) or 'data'} drifted"
        if cause is RetrainCause.DRIFTED
        else "a person asked"
    )
    message = f"retraining of version {stable.version} is requested ({name}): {why}"
    asked_seen = last.asked_seen if last else None
    if cause is RetrainCause.ASKED:
        asked_seen = scope.observed.commands.retrain
    request = RetrainStatus(
        request=name,
        cause=cause,
        revision=stable.revision,
        version=stable.version,
        features=features,
        since=now,
        message=message,
        next_allowed=now + settings.cooldown.span,
        asked_seen=asked_seen,
    )
    scope = scope.with_status(retrain=request).noticing(Reason.RETRAIN_REQUESTED, message)
    return RetrainingStep(scope=scope, requeue=REQUEUE_SOON)


def _follow(scope: Scope, retrain: RetrainStatus) -> RetrainingStep:
    job = scope.observed.jobs.get(retrain.request)
    if job is None:
        return _without_job(scope, retrain)
    retrain = retrain.but(job=job.name)
    if job.outcome is None:
        retrain = retrain.but(message=f"Job {job.name} retrains version {retrain.version}")
        return RetrainingStep(scope=scope.with_status(retrain=retrain), requeue=RUNNING_LOOK)
    return _ended(scope, retrain, job.outcome, _last_words(job, retrain, scope.now))


def _without_job(scope: Scope, retrain: RetrainStatus) -> RetrainingStep:
    """A request without a Job: it was deleted, it is not wanted any more,
    or it is still to be made.
    """
    if retrain.job:
        message = f"Job {retrain.job} was deleted before it ended"
        return _ended(scope, retrain, RetrainOutcome.LOST, message)
    spec, stable = scope.spec.retrain, scope.status.stable
    if spec is None:
        return _ended(scope, retrain, RetrainOutcome.CANCELLED, "spec.retrain is gone")
    if (
        stable is None
        or stable.revision != retrain.revision
        or scope.status.phase is not Phase.STABLE
    ):
        message = "a release began before the Job was started"
        return _ended(scope, retrain, RetrainOutcome.CANCELLED, message)
    if scope.spec.paused:
        return RetrainingStep(scope=scope)
    retraining = DesiredRetraining(settings=spec, request=retrain, stable=stable.target)
    return RetrainingStep(scope=scope, retraining=retraining, requeue=REQUEUE_SOON)


def refused(decision: Decision, retraining: DesiredRetraining, why: str, now: datetime) -> Decision:
    """Return the decision after the API server would not have the Job."""
    message = f"the Job of retraining {retraining.request.request} was refused: {why}"
    failed, notice = _end(retraining.request, RetrainOutcome.FAILED, message, now)
    status = decision.status.but(retrain=failed)
    return replace(decision, status=status, notices=(*decision.notices, notice))


def _ended(
    scope: Scope, retrain: RetrainStatus, outcome: RetrainOutcome, message: str
) -> RetrainingStep:
    ended, notice = _end(retrain, outcome, message, scope.now)
    scope = replace(scope.with_status(retrain=ended), notices=(*scope.notices, notice))
    return RetrainingStep(scope=scope, requeue=REQUEUE_SOON)


def _end(
    retrain: RetrainStatus, outcome: RetrainOutcome, message: str, now: datetime
) -> tuple[RetrainStatus, Notice]:
    reason, warning = _TOLD[outcome]
    ended = retrain.but(outcome=outcome, ended=now, message=message)
    return ended, Notice(reason=reason, message=message, warning=warning)


_TOLD = {
    RetrainOutcome.SUCCEEDED: (Reason.RETRAIN_SUCCEEDED, False),
    RetrainOutcome.FAILED: (Reason.RETRAIN_FAILED, True),
    RetrainOutcome.LOST: (Reason.RETRAIN_FAILED, True),
    RetrainOutcome.CANCELLED: (Reason.RETRAIN_CANCELLED, False),
}


def _last_words(job: ObservedJob, known: RetrainStatus, now: datetime) -> str:
    took = format_duration(now - known.since)
    words = f": {job.message}" if job.message else ""
    return f"Job {job.name} {str(job.outcome).lower()} after {took}{words}"


def _drifted_features(drift: DriftStatus | None) -> tuple[str, ...]:
    features = drift.features if drift else ()
    return tuple(feature.name for feature in features if feature.verdict == DriftVerdict.DRIFTED)
