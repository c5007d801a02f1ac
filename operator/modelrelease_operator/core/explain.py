"""Why a release is where it is, from its object alone: what was decided, on what, and what is
awaited.

Everything here is in the object already. What this adds is order, deadlines that follow from spec
and status together, and the commands that a person may give now.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from modelrelease_operator.api import names
from modelrelease_operator.api.spec import OnInsufficientEvidence, ReleaseSpec
from modelrelease_operator.api.status import (
    CanaryStatus,
    Phase,
    Reason,
    StableStatus,
    Status,
    Verdict,
    is_unseen,
)
from modelrelease_operator.core.advice import what_happened, what_next
from modelrelease_operator.core.analysis import sample_ratio
from modelrelease_operator.core.measurement.samples import blind_limit
from modelrelease_operator.core.release.commands import ANYWAY, blind, value_for
from modelrelease_operator.errors import Invalid
from modelrelease_operator.serving_runtimes import asks_examples

TROUBLE = {"Stalled": "True", "Drifted": "True", "Autoscaled": "False", "Protected": "False"}
"""By condition: the status that a person should hear of."""
OVERDUE_AFTER = timedelta(minutes=2)
"""After a look was due: the operator is not running, or cannot reach the API server."""
WITHOUT = {
    OnInsufficientEvidence.PAUSE: "the release is inconclusive",
    OnInsufficientEvidence.PROMOTE: "the canary is promoted without one",
    OnInsufficientEvidence.ROLL_BACK: "the canary is rolled back without one",
}
"""What the end of progressDeadline brings."""
WITH_CLIENTS = (Phase.PROGRESSING, Phase.PAUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """Something that has to happen, and until when."""

    what: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A command that a person may give now, and what it does."""

    does: str
    command: str
    """For kubectl."""
    verb: str
    """What `modelrelease` calls it, such as approve."""
    patch: dict[str, Any]
    """The same as a merge patch."""
    doubt: str | None = None
    """What speaks against it, and is overruled by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A release as a person on call wants to hear of it."""

    namespace: str
    name: str
    status: Status
    happened: str
    """What is the case, and on what it was decided; empty where no operator looked yet."""
    advice: str
    """What a person does next, or that nothing has to be done."""
    warnings: tuple[str, ...]
    awaited: tuple[Awaited, ...]
    next_actions: tuple[Action, ...]


def explain(release: dict[str, Any], now: datetime, *, context: str | None = None) -> Explanation:
    """Explain a ModelRelease as the API server gives it; `context` goes into the commands.

    Raises Invalid, naming the object, for one that is no ModelRelease or whose status no operator
    wrote.
    """
    meta = release.get("metadata")
    name = meta.get("name") if isinstance(meta, dict) else None
    if release.get("kind") != names.KIND:
        msg = f"this is {release.get('kind', 'no object')} {name or ''}, no {names.KIND}".replace(
            " ,", ","
        )
        raise Invalid(msg)
    if not isinstance(meta, dict) or not isinstance(name, str):
        msg = f"this {names.KIND} has no name: its metadata is {meta!r}"
        raise Invalid(msg)
    namespace = str(meta.get("namespace") or "default")
    raw = release.get("status")
    if raw is not None and not isinstance(raw, dict):
        msg = f"{names.KIND} {namespace}/{name}: status must be a mapping, got {raw!r}"
        raise Invalid(msg)
    try:
        status = Status.parse(raw)
    except Invalid as problem:
        msg = f"{names.KIND} {namespace}/{name}: {problem}"
        raise Invalid(msg) from problem
    spec, trouble = spec_of(release)
    return Explanation(
        namespace=namespace,
        name=name,
        status=status,
        happened=what_happened(status),
        advice=_advice(spec, status, raw),
        warnings=tuple(_warnings(release, status, trouble, now)),
        awaited=tuple(_awaited(spec, status, now)) if spec else (),
        next_actions=tuple(_next_actions(_Annotate(namespace, name, context), spec, status)),
    )


def _advice(spec: ReleaseSpec | None, status: Status, raw: dict[str, Any] | None) -> str:
    if is_unseen(raw):
        return "see whether the operator runs and watches this namespace: modelrelease doctor"
    return what_next(spec, status)


def waits_for_person(status: Status) -> bool:
    """Return whether a release goes on only when somebody does something."""
    return holds(status, "WaitingForPerson", "Stalled")


def holds(status: Status, *types: str) -> bool:
    """Return whether any of these conditions is true."""
    return any(
        condition.type in types and condition.status == "True" for condition in status.conditions
    )


def spec_of(release: dict[str, Any]) -> tuple[ReleaseSpec | None, str | None]:
    """Return what is asked for, or why that cannot be read."""
    try:
        return ReleaseSpec.parse(release.get("spec") or {}), None
    except Invalid as problem:
        return None, str(problem)


def _warnings(
    release: dict[str, Any], status: Status, trouble: str | None, now: datetime
) -> Iterator[str]:
    """Say first what makes the rest doubtful."""
    if is_unseen(release.get("status")):
        yield (
            "the operator has not seen this release yet: is it running, and does it watch this "
            "namespace?"
        )
        return
    generation = release["metadata"].get("generation", status.observed_generation)
    if generation > status.observed_generation:
        seen = status.observed_generation
        yield (
            f"the spec is of generation {generation}, the operator has seen {seen}: the rest is "
            "about that"
        )
    due = status.canary.next_look if status.canary and status.phase in WITH_CLIENTS else None
    if due and now - due > OVERDUE_AFTER:
        yield "the operator's next look is overdue: is it running, and can it reach the API server?"
    if trouble:
        goes_on = status.canary or status.previous
        effect = "what is under way goes on by the one before it" if goes_on else "nothing moves"
        yield f"the spec is invalid, so {effect}: {trouble}"
    for condition in status.conditions:
        said_already = condition.message in status.message or condition.message == trouble
        is_trouble = TROUBLE.get(condition.type) == condition.status
        if is_trouble and not said_already:
            yield f"{condition.type} ({condition.reason}): {condition.message}"


def _awaited(spec: ReleaseSpec, status: Status, now: datetime) -> Iterator[Awaited]:
    """Return what the release waits for, the soonest first where it is known."""
    yield from _awaited_of_retraining(status, now)
    for outcome in status.outcomes:
        yield Awaited(what=f"MLflow is told that {outcome.registered} was {outcome.fate}")
    canary, start = status.canary, spec.canary.start_deadline.span
    match status.phase:
        case Phase.PENDING:
            yield Awaited(what="all pods of the first version are ready")
        case Phase.STABLE:
            yield from _awaited_while_stable(status)
        case Phase.STARTING if canary:
            yield Awaited(
                what="the canary's pods are ready, or it is rolled back",
                until=_end(canary, start, canary.starting_seconds, counts=not canary.blocked),
            )
        case Phase.SHADOWING if canary:
            yield from _awaited_of_shadow(spec, status.stable, canary)
        case Phase.PROGRESSING | Phase.PAUSED if canary:
            yield from _awaited_of_canary(spec, status, canary, now)
        case Phase.PROMOTING if canary:
            until = _end(canary, start, canary.starting_seconds, counts=not canary.blocked)
            yield Awaited(what="the canary is at full strength, or it is rolled back", until=until)
        case Phase.ROLLING_BACK:
            yield Awaited(what="no client is sent to the canary any more; then its pods go")
        case _:
            # A phase that needs a canary, and somebody took it out of the status.
            return


def _awaited_while_stable(status: Status) -> Iterator[Awaited]:
    """Say what a release in which nothing goes on waits for."""
    if status.previous:
        warm = f"version {status.previous.version} stays warm, to go back to at once"
        yield Awaited(what=warm, until=status.previous.until)
    if status.rejected:
        yield Awaited(what=f"another version than {status.rejected.version}, or a retry")


def _awaited_of_shadow(
    spec: ReleaseSpec, stable: StableStatus | None, canary: CanaryStatus
) -> Iterator[Awaited]:
    """Say what a canary in the shadow waits for."""
    shadow, known = spec.canary.shadow, canary.shadow
    if shadow is None or known is None:
        return
    examples = stable is not None and asks_examples(stable, canary)
    of = " to example requests" if examples else ""
    yield Awaited(
        what=(
            f"proof from pairs of answers{of} that users may meet the canary: "
            f"{known.pairs:,} pairs, of {shadow.pairs:,} at least"
        ),
        until=_end(canary, shadow.deadline.span, known.seconds, counts=canary.question is None),
    )


def _awaited_of_retraining(status: Status, now: datetime) -> Iterator[Awaited]:
    retrain = status.retrain
    if retrain is None:
        return
    if retrain.under_way:
        yield Awaited(what=retrain.message)
    elif retrain.next_allowed and retrain.next_allowed > now:
        yield Awaited(what="drift may start the next retraining", until=retrain.next_allowed)


def _awaited_of_canary(
    spec: ReleaseSpec, status: Status, canary: CanaryStatus, now: datetime
) -> Iterator[Awaited]:
    if status.phase is Phase.PAUSED:
        yield Awaited(what="a person: see how to go on")
    if canary.next_look:
        yield Awaited(what="the next look", until=canary.next_look)
    if canary.step_since is None:
        dark = "all of the canary's pods are ready, in the dark"
        yield Awaited(what=dark if spec.canary.switches else "the weight is seen in effect")
    elif canary.step < len(spec.canary.plan):
        scrapes = status.evidence.scrape_seconds or 0.0
        least = sample_ratio.time_of(spec, canary.step, scrapes)
        baked = _end(canary, least, canary.step_seconds)
        if baked and baked > now:
            yield Awaited(what="the step has baked", until=baked)
    if canary.unready_since:
        start = spec.canary.start_deadline.span
        waited = max(canary.unready_seconds, canary.growing_seconds)
        until = _end(canary, start, waited, counts=not canary.blocked)
        yield Awaited(what="all of the canary's pods are ready, or it is rolled back", until=until)
    short = [gate.name for gate in status.gates if gate.verdict != "Pass"]
    # A gate without users stays open when its probes answered for it.
    if short and status.verdict is not Verdict.PASS:
        yield Awaited(what=f"gates that do not pass yet: {', '.join(short)}")
    if canary.share and canary.share.mismatch:
        yield Awaited(what=f"the canary is seen to answer its {canary.share.weight} % of requests")
    yield from _awaited_of_sight(spec, status, canary)
    asks = canary.question is Reason.WAITING_FOR_APPROVAL
    if not (asks or canary.inconclusive or canary.unseen):
        deadline = spec.canary.progress_deadline.span
        until = _end(canary, deadline, canary.judged_seconds, counts=canary.question is None)
        yield Awaited(
            what=f"a verdict, or {WITHOUT[spec.analysis.on_insufficient_evidence]}", until=until
        )


def _awaited_of_sight(spec: ReleaseSpec, status: Status, canary: CanaryStatus) -> Iterator[Awaited]:
    if canary.unseen:
        yield Awaited(what="the canary can be seen again; then its step begins anew")
    elif canary.blind_since:
        limit = blind_limit(spec.analysis.max_blind.span, status.evidence)
        until = _end(canary, limit, canary.blind_seconds)
        yield Awaited(what="the canary can be seen, or it leaves the Service", until=until)


def _end(
    canary: CanaryStatus, whole: timedelta, gone: float, *, counts: bool = True
) -> datetime | None:
    """Return when a time that is added up from pass to pass will be over;
    None while it does not count.
    """
    if not counts:
        return None
    return (canary.clock_at or canary.since) + whole - timedelta(seconds=gone)


@dataclass(frozen=True, slots=True)
class _Annotate:
    """Writes the kubectl commands of one release."""

    namespace: str
    name: str
    context: str | None

    def __call__(self, verb: str, value: str, does: str, *, doubt: str | None = None) -> Action:
        key = f"{names.GROUP}/{verb}"
        return Action(
            does=does,
            command=f"{self._kubectl('annotate')} {key}={value} --overwrite",
            verb=verb,
            patch={"metadata": {"annotations": {key: value}}},
            doubt=doubt,
        )

    def resume(self) -> Action:
        patch = {"spec": {"paused": False}}
        written = json.dumps(patch, separators=(",", ":"))
        return Action(
            does="let it go on (or in Git: spec.paused)",
            command=f"{self._kubectl('patch')} --type=merge -p '{written}'",
            verb="resume",
            patch=patch,
        )

    def _kubectl(self, verb: str) -> str:
        context = f" --context {self.context}" if self.context else ""
        return f"kubectl{context} -n {self.namespace} {verb} modelrelease {self.name}"


def _next_actions(
    annotate: _Annotate, spec: ReleaseSpec | None, status: Status
) -> Iterator[Action]:
    canary, rejected = status.canary, status.rejected
    if canary and status.phase is not Phase.ROLLING_BACK:
        if spec and spec.paused:
            yield annotate.resume()
        else:
            yield from _actions_forward(annotate, status, canary)
        value = value_for(status, "abort", canary.revision)
        yield annotate("abort", value, f"take canary {canary.version} back")
    elif rejected and status.phase is Phase.STABLE:
        value = value_for(status, "retry", rejected.revision)
        yield annotate("retry", value, f"try version {rejected.version} again")
    retrain, stable = status.retrain, status.stable
    if spec and spec.retrain and stable and not canary and not (retrain and retrain.under_way):
        token = f"{stable.revision}/after-{retrain.request}" if retrain else stable.revision
        yield annotate("retrain", token, "retrain now, whatever drift says")


def _goes_on(phase: Phase) -> str:
    if phase is Phase.SHADOWING:
        return "let the first users meet it"
    return "let it go on to the next step, or be promoted after the last"


def _actions_forward(annotate: _Annotate, status: Status, canary: CanaryStatus) -> Iterator[Action]:
    """Return what lets a canary go on: an approval where one is asked for,
    a promotion by hand always.
    """
    if canary.question in (Reason.WAITING_FOR_APPROVAL, Reason.INCONCLUSIVE):
        why = blind(status)
        value = value_for(status, "approve", canary.revision, ANYWAY if why else None)
        does = _goes_on(status.phase) + (f", although {why}" if why else "")
        yield annotate("approve", value, does, doubt=why)
    if status.phase in (Phase.STARTING, Phase.SHADOWING, Phase.PROGRESSING, Phase.PAUSED):
        value = value_for(status, "promote", canary.revision)
        does = f"promote canary {canary.version} by hand, without a verdict"
        yield annotate("promote", value, does)
