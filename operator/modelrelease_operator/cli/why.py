"""`modelrelease why`: why a release is where it is, and how to go on."""

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelrelease_operator.api import names
from modelrelease_operator.api.durations import format_duration
from modelrelease_operator.api.prometheus import Source
from modelrelease_operator.api.status import CanaryStatus, Phase, Samples, StableStatus, Status
from modelrelease_operator.cli.common import (
    Commands,
    add_output,
    add_place,
    command,
    indented,
    plain,
    releases_in,
    show,
    table,
)
from modelrelease_operator.cli.evidence import gates_table, intervals
from modelrelease_operator.core.explain import Awaited, Explanation, explain
from modelrelease_operator.core.release.words import probed_steps

DETAILS = """\
Reads one ModelRelease and tells its story: what was decided, on what
evidence, what is awaited and until when, and which commands lead on. Reads
with your kubeconfig; nothing is changed.

examples:
  modelrelease why qna -n prod
  modelrelease why qna -n prod --context production -o json
  kubectl get modelreleases -A -o json | modelrelease why -f -
"""


READ_FROM = {
    Source.PROMETHEUS: "as Prometheus shows them",
    Source.PODS: "on their own pages of metrics",
}


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "why", "say why a release is where it is, and how to go on", DETAILS)
    parser.add_argument("name", nargs="?", metavar="NAME", help="name of the ModelRelease")
    add_place(parser)
    parser.add_argument(
        "-f", "--file", type=Path, metavar="FILE",
        help="read what `kubectl get modelrelease -o json` printed instead; - for standard input",
    )  # fmt: skip
    add_output(parser)
    parser.set_defaults(run=_why)


def _why(parsed: argparse.Namespace) -> int:
    if not parsed.name and not parsed.file:
        print("modelrelease why: a NAME or -f FILE is needed; --help has examples", file=sys.stderr)
        return 2
    releases = _from_file(parsed) if parsed.file else [_from_cluster(parsed)]
    if not releases:
        about = f" {parsed.name}" if parsed.name else ""
        print(f"no {names.KIND}{about} was found in {parsed.file}", file=sys.stderr)
        return 2
    now = datetime.now(UTC)
    explanations = [explain(release, now, context=parsed.context) for release in releases]
    if parsed.output != "text":
        show([_as_json(explanation) for explanation in explanations], parsed.output)
    else:
        print(plain("\n\n".join(_as_text(explanation, now) for explanation in explanations)))
    return 0


def _from_file(parsed: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the releases of a file, inside of lists too, that bear the name, if one is given."""
    releases = releases_in(parsed.file)
    return [release for release in releases if _wanted(release, parsed.name, parsed.namespace)]


def _wanted(release: dict[str, Any], name: str | None, namespace: str | None) -> bool:
    meta = release.get("metadata") or {}
    if not isinstance(meta, dict):
        return True  # What is wrong with it is told.
    return name in (None, meta.get("name")) and namespace in (None, meta.get("namespace"))


def _from_cluster(parsed: argparse.Namespace) -> dict[str, Any]:
    return asyncio.run(_read(parsed))


async def _read(parsed: argparse.Namespace) -> dict[str, Any]:
    from modelrelease_operator.runtime.as_user import as_user  # noqa: PLC0415 - only this needs a client

    async with as_user(parsed.namespace, parsed.context) as cluster:
        return await cluster.read(parsed.name)


def _as_text(explanation: Explanation, now: datetime) -> str:
    status = explanation.status
    parts = [f"{names.KIND} {explanation.namespace}/{explanation.name}: {status.phase}"]
    parts += [indented(warning, first="! ") for warning in explanation.warnings]
    parts += ["", *_arms(status, now)]
    parts += ["", "What happened", indented(explanation.happened)] if explanation.happened else []
    parts += ["", "What to do", indented(explanation.advice)]
    parts += _evidence(status, now)
    if explanation.awaited:
        rows = [["", awaited.what, _until(awaited, now)] for awaited in explanation.awaited]
        parts += ["", "What is awaited", table(rows, left=frozenset({0, 1, 2}))]
    if status.history:
        parts += ["", "What was decided"]
        parts += [
            indented(
                f"{_at(entry.at)}  {entry.outcome}, version {entry.version}: {entry.message}",
                then="    ",
            )
            for entry in status.history
        ]
    if explanation.next_actions:
        parts += ["", "How to go on"]
        parts += [f"  {action.does}:\n    {action.command}" for action in explanation.next_actions]
    return "\n".join(parts)


def _arms(status: Status, now: datetime) -> list[str]:
    rows = []
    if stable := status.stable:
        rows.append(
            [
                "",
                "stable",
                _revision(stable),
                f"since {_at(stable.since)} ({_ago(stable.since, now)})",
            ]
        )
    if canary := status.canary:
        rows.append(["", "canary", _revision(canary), _where(canary, status.phase)])
    lines = [table(rows, left=frozenset({0, 1, 2, 3}))] if rows else []
    if canary := status.canary:
        share = canary.share.message if canary.share else ""
        told_already = share in status.message
        notes = (canary.note, probed_steps(canary), None if told_already else share)
        lines += [indented(text) for text in notes if text]
    return lines


def _where(canary: CanaryStatus, phase: Phase) -> str:
    if phase is Phase.STARTING:
        return "starts unseen by clients"
    if phase is Phase.SHADOWING:
        return "answers copies of requests in the dark"
    if phase is Phase.ROLLING_BACK:
        return "is taken back"
    if phase in (Phase.PROGRESSING, Phase.PAUSED) and not canary.requested_weight:
        return "is tried at full strength in the dark"
    text = f"step {canary.step + 1} of {canary.steps}, {canary.requested_weight} % asked for"
    return (
        text
        if canary.effective_weight is None
        else f"{text}, {canary.effective_weight:g} % counted"
    )


def _revision(arm: StableStatus | CanaryStatus) -> str:
    return f"version {arm.version} ({arm.revision})"


def _evidence(status: Status, now: datetime) -> list[str]:
    """Return both arms' counts and the share of the needed evidence, then each gate's sentence."""
    if not status.gates:
        return []
    about = "" if status.canary else " of the last canary"
    lines = ["", f"What the evidence is{about}", gates_table(status.gates)]
    # The sentence that is the release's own was just read.
    sentences = [
        f"{gate.name}: {gate.message}"
        for gate in status.gates
        if gate.message not in status.message
    ]
    samples = [_of_whom(status.samples, now)] if status.samples and status.canary else []
    return [*lines, *map(indented, [*sentences, *intervals(status.gates), *samples])]


def _of_whom(samples: Samples, now: datetime) -> str:
    """Say of whom there are samples, how old they are, and what they lack."""
    text = f"seen: {samples.canary_pods} pods of the canary, {samples.stable_pods} of stable"
    if samples.source is not None:
        text = f"{text}, {READ_FROM[samples.source]}"
    if samples.oldest is not None:
        text = f"{text}; the oldest sample is of {_ago(samples.oldest, now)}"
    if samples.scrape_seconds is not None:
        text = f"{text}, a pod is read every {samples.scrape_seconds:g} s"
    if samples.left_out:
        text = f"{text}; not seen: {', '.join(samples.left_out)}"
    if any(samples.resets):
        canary, stable = samples.resets
        text = (
            f"{text}; processes that began anew: {canary} of the canary, {stable} of stable. What "
            "they answered since their last sample is not counted"
        )
    return text


def _until(awaited: Awaited, now: datetime) -> str:
    if awaited.until is None:
        return ""
    if awaited.until < now:
        return f"was due {_ago(awaited.until, now)}"
    return f"{_at(awaited.until)} (in {format_duration(awaited.until - now)})"


def _at(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _ago(moment: datetime, now: datetime) -> str:
    return f"{format_duration(now - moment)} ago"


def _as_json(explanation: Explanation) -> dict[str, Any]:
    fields = explanation.status.to_dict()
    return {
        "namespace": explanation.namespace,
        "name": explanation.name,
        **{
            key: fields[key]
            for key in (
                "phase",
                "message",
                "verdict",
                "stable",
                "canary",
                "gates",
                "samples",
                "rejected",
                "history",
            )
            if key in fields
        },
        "happened": explanation.happened,
        "advice": explanation.advice,
        "warnings": list(explanation.warnings),
        "awaited": [
            {"what": awaited.what, "until": awaited.until.isoformat() if awaited.until else None}
            for awaited in explanation.awaited
        ],
        "commands": [
            {"does": action.does, "command": action.command} for action in explanation.next_actions
        ],
    }
