"""One release as the page and the report show it, and the line that it has in the list.

Plain values, ready to be JSON. Every sentence is the operator's own or one of `explain`.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import CanaryStatus, GateStatus, Phase, Status, is_unseen
from modelrelease_operator.core.explain import (
    Action,
    Explanation,
    explain,
    holds,
    spec_of,
    waits_for_person,
)
from modelrelease_operator.core.history import Told, told_of
from modelrelease_operator.core.lines import Lines, lines_of
from modelrelease_operator.core.release.words import probed_steps
from modelrelease_operator.errors import Invalid
from modelrelease_operator.ui.moments import Past, in_columns

UNSEEN: Final = "not seen by the operator yet"
Object = Mapping[str, Any]


def row(release: Object) -> dict[str, Any]:
    """Return what the list shows of a release; one that cannot be read says why."""
    meta = release["metadata"]
    place = {"namespace": meta["namespace"], "name": meta["name"]}
    try:
        status = Status.parse(release.get("status"))
    except Invalid as problem:
        return {
            **_EMPTY_ROW,
            **place,
            "phase": "Unreadable",
            "person": True,
            "message": str(problem),
        }
    canary = status.canary
    deciding = [gate for gate in status.gates if not gate.dry_run] if canary else []
    return {
        **_EMPTY_ROW,
        **place,
        "phase": "Unseen" if is_unseen(release.get("status")) else status.phase,
        "stable": status.stable.version if status.stable else None,
        "canary": canary.version if canary else None,
        "asked": status.weight if canary else None,
        "counted": canary.effective_weight if canary else None,
        "verdict": status.verdict if canary else None,
        "back": max((gate.evidence_for_rollback for gate in deciding), default=None),
        "on": min((gate.evidence_for_promotion for gate in deciding), default=None),
        "person": waits_for_person(status),
        "rejected": status.rejected is not None and status.phase is Phase.STABLE,
        "drifted": holds(status, "Drifted"),
        "message": status.message or UNSEEN,
    }


_EMPTY_ROW: Final[dict[str, Any]] = dict.fromkeys(
    ("stable", "canary", "asked", "counted", "verdict", "back", "on")
) | {"person": False, "rejected": False, "drifted": False}


def story(
    release: dict[str, Any], now: datetime, past: Past, *, context: str | None = None
) -> dict[str, Any]:
    """Return all that is shown of a release; raises Invalid for a status that no operator wrote."""
    told = explain(release, now, context=context)
    spec, _ = spec_of(release)
    status = told.status
    return {
        **row({**release, "metadata": {"namespace": told.namespace, "name": told.name}}),
        "now": now.timestamp(),
        "paused": bool(spec and spec.paused),
        "model": spec.model.uri if spec else None,
        "happened": told.happened,
        "advice": told.advice,
        "warnings": list(told.warnings),
        "arms": list(_arms(status)),
        "notes": list(_notes(status)),
        "steps": _steps(spec, status),
        "gates": list(_gates(spec, status)),
        "samples": _samples(status),
        "shadow": _shadow(spec, status.canary),
        "drift": _drift(status),
        "awaited": [
            {"what": each.what, "until": each.until.timestamp() if each.until else None}
            for each in told.awaited
        ],
        "history": [_told(each) for each in told_of(status)],
        "actions": [_action(action) for action in actions(told, spec)],
        "seen_since": past.since,
        "moments": in_columns(past.moments),
    }


def actions(told: Explanation, spec: ReleaseSpec | None) -> Iterator[Action]:
    """Yield what a person may do now: what `why` tells, and a pause of what goes on."""
    yield from told.next_actions
    going = told.status.canary is not None and told.status.phase is not Phase.ROLLING_BACK
    if going and spec and not spec.paused:
        yield Action(
            does="hold it back until it is resumed (or in Git: spec.paused)",
            command=(
                f"kubectl -n {told.namespace} patch modelrelease {told.name} --type=merge "
                '-p \'{"spec":{"paused":true}}\''
            ),
            verb="pause",
            patch={"spec": {"paused": True}},
        )


def value_of(action: Action) -> str:
    """Return what tells a command from one of the same verb at another time: a value that names the
    revision, or nothing for a field of the spec.
    """
    notes: Mapping[str, str] = action.patch.get("metadata", {}).get("annotations", {})
    return next(iter(notes.values()), "")


def _action(action: Action) -> dict[str, Any]:
    return {
        "verb": action.verb,
        "does": action.does,
        "command": action.command,
        "doubt": action.doubt,
        "value": value_of(action),
    }


def _arms(status: Status) -> Iterator[dict[str, Any]]:
    if stable := status.stable:
        since = stable.since.timestamp()
        yield {"track": "stable", "version": stable.version, "revision": stable.revision,
               "since": since}  # fmt: skip
    if canary := status.canary:
        since = canary.since.timestamp()
        yield {"track": "canary", "version": canary.version, "revision": canary.revision,
               "since": since}  # fmt: skip


def _notes(status: Status) -> Iterator[str]:
    """Yield what is remarkable about the canary and is not in the release's sentence already."""
    canary = status.canary
    if canary is None:
        return
    share = canary.share.message if canary.share else None
    for note in (canary.note, probed_steps(canary), canary.blocked, share):
        if note and note not in status.message:
            yield note


def _steps(spec: ReleaseSpec | None, status: Status) -> list[dict[str, Any]]:
    """Return every stage of a release: done, now, back (it ends there) or ahead."""
    if spec is None:
        return []
    dark = ["start", "shadow"] if spec.canary.shadow else ["start"]
    stages: list[dict[str, Any]] = [{"name": name} for name in dark]
    stages += [
        {"name": f"{step.weight} %", "bake": step.bake.span.total_seconds()}
        for step in spec.canary.plan
    ]
    stages.append({"name": "promoted"})
    at = _stage(len(dark), len(spec.canary.plan), status)
    here = "back" if status.phase is Phase.ROLLING_BACK else "now"
    for index, stage in enumerate(stages):
        stage["state"] = here if index == at else "done" if index < at else "ahead"
    return stages


def _stage(dark: int, steps: int, status: Status) -> int:
    """Return at which stage a release is, `dark` of them without users; -1 without a canary."""
    if status.canary is None:
        return -1
    at = {Phase.STARTING: 0, Phase.SHADOWING: dark - 1, Phase.PROMOTING: dark + steps}
    return at.get(status.phase, dark + status.canary.step)


def _gates(spec: ReleaseSpec | None, status: Status) -> Iterator[dict[str, Any]]:
    lines = lines_of(spec, status) if spec else {}
    for gate in status.gates:
        yield _gate(gate, lines.get(gate.name, Lines()))


def _gate(gate: GateStatus, lines: Lines) -> dict[str, Any]:
    interval = gate.interval
    return {
        "name": gate.name,
        "verdict": gate.verdict,
        "dry_run": gate.dry_run,
        "canary": _counts(gate.canary_total, gate.canary_bad, gate.canary_percent),
        "stable": _counts(gate.stable_total, gate.stable_bad, gate.stable_percent),
        "value": gate.value,
        "bound": gate.bound,
        "interval": interval.model_dump(mode="json") if interval else None,
        "withheld": gate.interval_withheld,
        "tolerated": lines.tolerated,
        "margin": lines.margin,
        "limit": lines.limit,
        "back": gate.evidence_for_rollback,
        "on": gate.evidence_for_promotion,
        "message": gate.message,
    }


def _counts(total: int, bad: int, percent: float | None) -> dict[str, Any]:
    return {"total": total, "bad": bad, "percent": percent}


def _samples(status: Status) -> dict[str, Any] | None:
    samples = status.samples
    if samples is None or status.canary is None:
        return None
    return {
        "canary_pods": samples.canary_pods,
        "stable_pods": samples.stable_pods,
        "source": samples.source,
        "oldest": samples.oldest.timestamp() if samples.oldest else None,
        "seconds": samples.scrape_seconds,
        "left_out": list(samples.left_out),
    }


def _shadow(spec: ReleaseSpec | None, canary: CanaryStatus | None) -> dict[str, Any] | None:
    if canary is None or canary.shadow is None:
        return None
    shadow = canary.shadow
    wanted = spec.canary.shadow.pairs if spec and spec.canary.shadow else None
    return {
        "pairs": shadow.pairs,
        "wanted": wanted,
        "counts": dict(shadow.counts),
        "passed": shadow.passed,
        "message": shadow.message,
    }


def _drift(status: Status) -> dict[str, Any] | None:
    drift = status.drift
    if drift is None:
        return None
    return {
        "drifted": drift.drifted,
        "baseline": drift.baseline,
        "windows": drift.windows,
        "at": drift.at.timestamp() if drift.at else None,
        "message": drift.message,
        "features": [feature.model_dump(mode="json") for feature in drift.features],
    }


def _told(told: Told) -> dict[str, Any]:
    entry = told.entry
    return {
        "at": entry.at.timestamp(),
        "outcome": str(entry.outcome),
        "from": told.served,
        "to": entry.version,
        "by": told.by,
        "message": entry.message,
    }
