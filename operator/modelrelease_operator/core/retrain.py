"""Whether to retrain: on sustained drift of what serves, with a cool-down, one at a time.

A request is written to status before its Job is made, and the Job is named after it. So a crash at any
point leaves at most one Job for each request: the next pass finds the request without a Job and makes
it, or finds the Job and waits.
"""

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta

from modelrelease_contract.drift import DriftVerdict
from modelrelease_operator.api.drift import DriftStatus
from modelrelease_operator.api.durations import format_duration, parse_duration
from modelrelease_operator.api.retrain import Retrain, RetrainCause, RetrainOutcome, RetrainStatus
from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Phase, Reason, StableStatus, Status
from modelrelease_operator.core.state import Commands, Decision, Heeded, JobSeen, Notice, Retraining, Seen
from modelrelease_operator.core.worlds import SOON

RUNNING_LOOK = timedelta(minutes=1)
"""Between looks at a Job that runs: an event that got lost costs no more than this."""
NO_COOLDOWN = (RetrainOutcome.CANCELLED,)


def heed(spec: ReleaseSpec, status: Status, seen: Seen, now: datetime) -> Heeded:
    """Follow the retraining that is under way, or ask for one."""
    found = status.retrain
    if found and found.under_way:
        return _follow(spec, status, found, seen, now)
    stable = status.stable
    if spec.retrain is None or stable is None:
        return Heeded(status=status)
    if found:
        found = _refreshed(found, spec.retrain, seen.commands)
        status = status.but(retrain=found)
    if in_the_way(spec, status, seen):
        return Heeded(status=status)
    if _asks(seen.commands, stable, found):
        return _request(spec.retrain, status, stable, RetrainCause.ASKED, seen, now)
    if not sustained(spec, status):
        return Heeded(status=status)
    wait = found.next_allowed - now if found and found.next_allowed else timedelta(0)
    if wait > timedelta(0):
        return Heeded(status=status, requeue=wait)
    return _request(spec.retrain, status, stable, RetrainCause.DRIFTED, seen, now)


def sustained(spec: ReleaseSpec, status: Status) -> bool:
    """Return whether the newest window of what serves drifted, and enough of the last ones did."""
    found, need = status.drift, spec.drift.sustained.at_least
    return (
        found is not None
        and status.stable is not None
        and found.revision == status.stable.revision
        and found.drifted
        and found.windows.endswith("D")
        and found.windows.count("D") >= need
    )


def in_the_way(spec: ReleaseSpec, status: Status, seen: Seen) -> str | None:
    """Return why no retraining may start now, whoever asks, or None."""
    if spec.paused:
        return "spec.paused holds it back"
    if status.phase is not Phase.STABLE or status.canary is not None:
        return "a release is going on"
    if running := next((job.name for job in seen.jobs.values() if job.outcome is None), None):
        return f"Job {running} still runs"
    return None


def _asks(commands: Commands, stable: StableStatus, found: RetrainStatus | None) -> bool:
    seen_before = found.asked_seen if found else None
    return Commands.names(commands.retrain, stable) and commands.retrain != seen_before


def _refreshed(found: RetrainStatus, asked: Retrain, commands: Commands) -> RetrainStatus:
    """Return the record as today's spec and annotations make it."""
    cooled = None if found.outcome in NO_COOLDOWN else found.since + parse_duration(asked.cooldown)
    heard = found.asked_seen if commands.retrain is not None else None
    return found.but(next_allowed=cooled, asked_seen=heard)


def _request(
    asked: Retrain, status: Status, stable: StableStatus, cause: RetrainCause, seen: Seen, now: datetime
) -> Heeded:
    """Write a request down. Its Job follows in the next pass, when this one cannot be lost any more."""
    last = status.retrain
    seed = f"{stable.revision}/{now.isoformat()}/{last.request if last else ''}"
    name = hashlib.sha256(seed.encode()).hexdigest()[:8]
    features = _drifted_features(status.drift)
    why = f"{', '.join(features) or 'data'} drifted" if cause is RetrainCause.DRIFTED else "a person asked"
    message = f"retraining of version {stable.version} is requested ({name}): {why}"
    request = RetrainStatus(
        request=name,
        cause=cause,
        revision=stable.revision,
        version=stable.version,
        features=features,
        since=now,
        message=message,
        next_allowed=now + parse_duration(asked.cooldown),
        asked_seen=seen.commands.retrain if cause is RetrainCause.ASKED else last and last.asked_seen,
    )
    notice = Notice(reason=Reason.RETRAIN_REQUESTED, message=message)
    return Heeded(status=_with(status, request), requeue=SOON, notices=(notice,))


def _follow(spec: ReleaseSpec, status: Status, found: RetrainStatus, seen: Seen, now: datetime) -> Heeded:
    job = seen.jobs.get(found.request)
    if job is None:
        return _without_job(spec, status, found, now)
    found = found.but(job=job.name)
    if job.outcome is None:
        found = found.but(message=f"Job {job.name} retrains version {found.version}")
        return Heeded(status=_with(status, found), requeue=RUNNING_LOOK)
    return _ended(status, found, job.outcome, _last_words(job, found, now), now)


def _without_job(spec: ReleaseSpec, status: Status, found: RetrainStatus, now: datetime) -> Heeded:
    """A request without a Job: it was deleted, it is not wanted any more, or it is still to be made."""
    if found.job:
        return _ended(status, found, RetrainOutcome.LOST, f"Job {found.job} was deleted before it ended", now)
    if spec.retrain is None:
        return _ended(status, found, RetrainOutcome.CANCELLED, "spec.retrain is gone", now)
    stable = status.stable
    if stable is None or stable.revision != found.revision or status.phase is not Phase.STABLE:
        return _ended(
            status, found, RetrainOutcome.CANCELLED, "a release began before the Job was started", now
        )
    if spec.paused:
        return Heeded(status=status)
    retraining = Retraining(asked=spec.retrain, request=found, stable=stable.target)
    return Heeded(status=status, retraining=retraining, requeue=SOON)


def refused(decision: Decision, retraining: Retraining, why: str, now: datetime) -> Decision:
    """Return the decision after the API server would not have the Job."""
    message = f"the Job of retraining {retraining.request.request} was refused: {why}"
    ended = _ended(decision.status, retraining.request, RetrainOutcome.FAILED, message, now)
    return replace(decision, status=ended.status, notices=(*decision.notices, *ended.notices))


def _ended(
    status: Status, found: RetrainStatus, outcome: RetrainOutcome, message: str, now: datetime
) -> Heeded:
    reason, warning = _TOLD[outcome]
    found = found.but(outcome=outcome, ended=now, message=message)
    notice = Notice(reason=reason, message=message, warning=warning)
    return Heeded(status=_with(status, found), requeue=SOON, notices=(notice,))


_TOLD = {
    RetrainOutcome.SUCCEEDED: (Reason.RETRAIN_SUCCEEDED, False),
    RetrainOutcome.FAILED: (Reason.RETRAIN_FAILED, True),
    RetrainOutcome.LOST: (Reason.RETRAIN_FAILED, True),
    RetrainOutcome.CANCELLED: (Reason.RETRAIN_CANCELLED, False),
}


def _last_words(job: JobSeen, found: RetrainStatus, now: datetime) -> str:
    took = format_duration(now - found.since)
    told = f": {job.message}" if job.message else ""
    return f"Job {job.name} {str(job.outcome).lower()} after {took}{told}"


def _drifted_features(found: DriftStatus | None) -> tuple[str, ...]:
    features = found.features if found else ()
    return tuple(each.name for each in features if each.verdict == DriftVerdict.DRIFTED)


def _with(status: Status, found: RetrainStatus) -> Status:
    return status.but(retrain=found)
