"""A release in a few sentences: what happened, why, and what a person does next, if anything."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import (
    CanaryStatus,
    Condition,
    HistoryEntry,
    Phase,
    Reason,
    Rejected,
    Status,
    Verdict,
)
from modelrelease_operator.core.release.transitions import caveat_of

AFTER_REJECTION: Final[Mapping[str, str]] = MappingProxyType(
    {
        Reason.REGRESSION: (
            "find out what is wrong with version {version} and release a mended one; if the cause "
            "lay elsewhere, try version {version} again"
        ),
        Reason.CANARY_NOT_READY: (
            "see what its pods say, or allow more time by spec.canary.startDeadline; then try "
            "version {version} again, or release another one"
        ),
        Reason.ARTIFACT_REFUSED: (
            "make the artifact anew and release it as another version; version {version} is "
            "refused again as long as its files are the same"
        ),
        Reason.ABORTED: "release another version, or try version {version} again",
        Reason.INCONCLUSIVE: (
            "give it more requests, a longer spec.canary.progressDeadline or a wider tolerance "
            "(`modelrelease plan` tells what it needs); then try version {version} again"
        ),
    }
)
"""By why a version was rejected: what a person does next."""
AFTER_STALL: Final[Mapping[str, str]] = MappingProxyType(
    {
        Reason.SPEC_INVALID: "correct the spec and apply it; what serves goes on serving",
        Reason.MODEL_INVALID: (
            "correct spec.model, or what lies at its address, which is looked at again by itself"
        ),
        Reason.ALIAS_MISSING: "set the alias in the registry, or name a version in spec.model",
        Reason.ARTIFACT_REFUSED: (
            "make the artifact anew and name it in spec.model as another version"
        ),
    }
)
"""By why nothing moves: what a person does next."""
MEND: Final = "mend what is said; the release goes on by itself then"
NOTHING: Final = "nothing has to be done"
BY_ITSELF: Final = "nothing has to be done: it goes on by itself"

FIRST_PODS: Final = (
    "nothing has to be done while its pods come up; where they do not, see what they say: "
    "`kubectl describe pods` with the release's label"
)


def what_happened(status: Status) -> str:
    """Return what is the case, on what it was decided, and what keeps it from moving."""
    more: list[str | None] = []
    if status.phase is Phase.STABLE and status.history and not status.rejected:
        more.append(_decided_by(status.history[0]))
    if stalled := _true(status, "Stalled"):
        more.append(stalled.message)
    said = (part for part in more if part and part not in status.message)
    return "; ".join(filter(None, (status.message, *said)))


def what_next(spec: ReleaseSpec | None, status: Status) -> str:
    """Return what a person does next; says so where that is nothing.

    `spec` is None where it cannot be read.
    """
    if spec is None:
        return AFTER_STALL[Reason.SPEC_INVALID]
    stalled = _true(status, "Stalled")
    if status.phase is Phase.STABLE and status.rejected and _is_about(stalled, status.rejected):
        return _after(status.rejected)
    if stalled:
        return AFTER_STALL.get(stalled.reason, MEND)
    if _is_failing(status):
        return f"{MEND}: it is tried again all the time"
    if canary := status.canary:
        return _with_a_canary(spec, status, canary)
    if status.phase is Phase.PENDING:
        return FIRST_PODS
    return _while_stable(status) if status.phase is Phase.STABLE else BY_ITSELF


def _decided_by(last: HistoryEntry) -> str | None:
    """Say by what the last decision was made; None of the first version, which nobody judged."""
    if last.outcome == Reason.FIRST_VERSION_SERVES:
        return None
    if last.outcome != Reason.PROMOTED:
        return last.message
    caveat = caveat_of(last.message)
    told = f"version {last.version} was"
    if not caveat:
        return f"{told} promoted because it passed every gate"
    return f"{told} {caveat}" if caveat.startswith("promoted") else f"{told} promoted: {caveat}"


def _true(status: Status, kind: str) -> Condition | None:
    found = status.condition(kind)
    return found if found and found.status == "True" else None


def _is_about(stalled: Condition | None, rejected: Rejected) -> bool:
    """Return whether nothing else than a rejection keeps a release from moving."""
    return stalled is None or stalled.message == rejected.message


def _after(rejected: Rejected) -> str:
    told = AFTER_REJECTION.get(rejected.reason, AFTER_REJECTION[Reason.ABORTED])
    return told.format(version=rejected.version)


def _is_failing(status: Status) -> bool:
    return any(each.type == "Ready" and each.reason == Reason.FAILING for each in status.conditions)


def _with_a_canary(spec: ReleaseSpec, status: Status, canary: CanaryStatus) -> str:
    if status.phase is Phase.ROLLING_BACK:
        return BY_ITSELF
    if spec.paused:
        return f"set spec.paused to false to let it go on, or abort canary {canary.version}"
    if canary.blocked:
        return (
            "give the cluster what it lacks, and it goes on by itself: the wait is not the "
            "canary's fault and uses up none of its time"
        )
    if canary.unseen:
        return (
            "mend what hides the canary, and it gets clients again by itself; or abort it, or "
            "promote it unseen"
        )
    if canary.question is Reason.INCONCLUSIVE or canary.inconclusive:
        return "approve it on your own judgement, or abort it; a proven regression still ends it"
    if canary.question is Reason.WAITING_FOR_APPROVAL:
        return f"approve canary {canary.version} to let it go on, or abort it"
    # Goes on by itself when it can be measured again, which nobody but a person may bring about.
    unmeasured = status.verdict is Verdict.UNAVAILABLE
    return MEND if canary.question or unmeasured else BY_ITSELF


def _while_stable(status: Status) -> str:
    if any(each.reason == Reason.STABLE_NOT_READY for each in status.conditions):
        return "see what its pods say (`kubectl describe pods`), and mend that"
    if _true(status, "Drifted"):
        return "see whether the model still fits what it is asked, and retrain it if not"
    if status.previous:
        back = f"set spec.model back to version {status.previous.version}"
        return f"{NOTHING}; to go back at once while it is warm, {back}"
    return NOTHING
