"""`modelrelease replay`: what would have been decided over a recorded past."""

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelrelease_operator.api.durations import format_duration
from modelrelease_operator.api.prometheus import Source
from modelrelease_operator.cli.common import (
    Commands,
    Manifest,
    NothingThere,
    add_output,
    command,
    indented,
    manifests,
    nothing_in,
    show,
)
from modelrelease_operator.cli.evidence import gates_table
from modelrelease_operator.cli.login import add_login, credentials_of
from modelrelease_operator.cli.report import ONE_REPORT, Watched, add_report
from modelrelease_operator.core.analysis.gates.registry import kind_of
from modelrelease_operator.core.measurement.queries import QueryScope
from modelrelease_operator.core.whatif.end import End
from modelrelease_operator.serving_runtimes import runtime_for

if TYPE_CHECKING:
    from modelrelease_operator.core.whatif.recording import Recording
    from modelrelease_operator.core.whatif.replay import ReplayedEvent, ReplayResult

DETAILS = """\
Reads the raw counters of a release from Prometheus, at the interval of its
analysis, asks the queries of its gates for the same moments, and lets the
operator's own decision look at them as if it had been there. Useful to try
gates on an incident that you remember. The weights of that time stay as they
were.

The revisions are found from the labels: stable is the one that had answered
most at --start, the canary the other one. If there were more, name them.

examples:
  modelrelease replay release.yaml -n prod --prometheus http://localhost:9090 \\
      --start 2026-11-01T12:00:00Z --end 2026-11-01T14:00:00Z
  modelrelease replay release.yaml --prometheus http://localhost:9090 \\
      --start 2026-11-01T12:00:00Z --end 2026-11-01T14:00:00Z -o json \\
      --stable 5f0c2a91be --canary 77d01e4c3a
  modelrelease replay release.yaml --prometheus https://prometheus.example.com \\
      --token-file token --start 2026-11-01T12:00:00Z --end 2026-11-01T14:00:00Z
"""

SAID = {
    End.PROMOTED: "would have been promoted",
    End.ROLLED_BACK: "would have been rolled back",
    End.INCONCLUSIVE: "would have paused as inconclusive",
    End.UNDECIDED: "was still undecided when its recording ended",
}


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(commands, "replay", "run the decision over what Prometheus recorded", DETAILS)
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="YAML with ModelReleases; - for standard input"
    )
    parser.add_argument(
        "--prometheus", metavar="URL", help="(default: spec.analysis.prometheus.url)"
    )
    parser.add_argument(
        "--start", type=_moment, required=True, metavar="RFC3339", help="first look"
    )
    parser.add_argument("--end", type=_moment, required=True, metavar="RFC3339", help="last look")
    parser.add_argument(
        "-n", "--namespace", metavar="NAMESPACE", help="(default: the manifest's, or default)"
    )
    parser.add_argument("--stable", metavar="REVISION", help="(default: found from the labels)")
    parser.add_argument("--canary", metavar="REVISION", help="(default: found from the labels)")
    add_login(parser)
    add_output(parser)
    add_report(parser, "what would have been decided")
    parser.set_defaults(run=_replay)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as problem:
        msg = f"must be a time such as 2026-11-01T12:00:00Z, got {text!r}"
        raise argparse.ArgumentTypeError(msg) from problem
    if moment.tzinfo is None:
        msg = f"must name its time zone, such as 2026-11-01T12:00:00Z, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    # Prometheus is asked in whole seconds.
    return moment.astimezone(UTC).replace(microsecond=0)


NOT_OF_SERVERS = (
    "has a gateway count (analysis.countedBy), and a past is told by the servers' counters alone"
)


def _replay(parsed: argparse.Namespace) -> int:
    if parsed.end <= parsed.start:
        print("modelrelease replay: --end must be after --start", file=sys.stderr)
        return 2
    try:
        releases = manifests(parsed.file)
    except NothingThere:
        return nothing_in(parsed.file)
    if parsed.report and len(releases) > 1:
        print(f"modelrelease replay: {ONE_REPORT}", file=sys.stderr)
        return 2
    results = []
    for release in releases:
        url = parsed.prometheus or (
            release.spec.analysis.prometheus and release.spec.analysis.prometheus.url
        )
        if release.spec.analysis.counted_by:
            print(f"modelrelease replay: {release.name} {NOT_OF_SERVERS}", file=sys.stderr)
            return 2
        if not url:
            print(f"modelrelease replay: {release.name} {_without_past(release)}", file=sys.stderr)
            return 2
        results.append((release, _replayed(release, url, parsed)))
    if parsed.output != "text":
        show([_as_json(release, replayed) for release, replayed in results], parsed.output)
    else:
        print("\n\n".join(_as_text(release, replayed) for release, replayed in results))
    return 0


def _without_past(release: Manifest) -> str:
    """Say why a release that names no Prometheus cannot be replayed, and what would help."""
    if release.spec.analysis.source is Source.PODS:
        return (
            "reads its pods (analysis.source), which keep no past: only a Prometheus that has "
            "scraped them meanwhile can tell it; give --prometheus"
        )
    return "names no Prometheus, and pods keep no past; give --prometheus"


def _replayed(release: Manifest, url: str, parsed: argparse.Namespace) -> "ReplayResult":
    # Only this command needs a client of Prometheus.
    from modelrelease_operator.core.whatif.replay import arms_of, recorded_target, replay  # noqa: PLC0415
    from modelrelease_operator.runtime.metric_sources.prometheus.history import (  # noqa: PLC0415
        PrometheusHistory,
    )

    spec, gates = release.spec, release.spec.analysis.gates
    namespace = parsed.namespace or release.namespace or "default"
    named = spec.analysis.prometheus
    credentials = credentials_of(parsed, named.tenant if named else None)

    runtime = spec.serving.runtime

    async def recorded() -> "tuple[Recording, str, str]":
        server = runtime_for(runtime.to_dict() if runtime else {})
        metrics = server.metrics.asked_by({gate.settings.asks for gate in gates})
        history = PrometheusHistory(url, credentials=credentials, metrics=metrics)
        recording = await history.read(
            namespace=namespace, release=release.name, start=parsed.start, end=parsed.end,
            interval=spec.analysis.period,
            predictions=any(kind_of(gate).reads_bins for gate in gates),
        )  # fmt: skip
        stable, canary = arms_of(recording, parsed.stable, parsed.canary)
        query_scope = QueryScope(
            namespace=namespace, release=release.name, interval=spec.analysis.period,
            stable=recorded_target(spec, recording, stable), canary=recorded_target(spec, recording,
            canary),
        )  # fmt: skip
        return await history.with_answers(recording, spec, query_scope), stable, canary

    recording, stable, canary = asyncio.run(recorded())
    if not parsed.report:
        return replay(spec, recording, stable=stable, canary=canary)
    seen = Watched(release.name, namespace, spec)
    replayed = replay(spec, recording, stable=stable, canary=canary, watch=seen.watch)
    seen.write(parsed.report, f"as a replay of what {url} recorded, which {SAID[replayed.end]}")
    return replayed


def _as_text(release: Manifest, replayed: "ReplayResult") -> str:
    after = format_duration(replayed.at - replayed.began)
    parts = [
        indented(
            f"{release.name}, as Prometheus recorded it: canary {replayed.canary.version} "
            f"({replayed.canary.revision}) beside "
            f"{replayed.stable.version} ({replayed.stable.revision}) {SAID[replayed.end]}, "
            f"{after} after its first sample",
            first="",
        ),
        "",
        *(indented(_line_of(event), then="    ") for event in replayed.events),
    ]
    if replayed.end is End.UNDECIDED:
        parts += ["", indented(f"It waited: {replayed.status.message}", first="")]
    if replayed.status.gates:
        parts += ["", "At the last look", gates_table(replayed.status.gates)]
    return "\n".join(parts)


def _line_of(event: "ReplayedEvent") -> str:
    moment = event.at.strftime("%Y-%m-%d %H:%M:%S")
    return f"{moment}  {event.reason}: {event.message}"


def _as_json(release: Manifest, replayed: "ReplayResult") -> dict[str, Any]:
    return {
        "name": release.name,
        "end": replayed.end,
        "at": replayed.at.isoformat(),
        "began": replayed.began.isoformat(),
        "seconds": (replayed.at - replayed.began).total_seconds(),
        "stable": {"revision": replayed.stable.revision, "version": replayed.stable.version},
        "canary": {"revision": replayed.canary.revision, "version": replayed.canary.version},
        "events": [
            {"at": event.at.isoformat(), "reason": event.reason, "message": event.message}
            for event in replayed.events
        ],
        "gates": [gate.model_dump(mode="json", by_alias=True) for gate in replayed.status.gates],
    }
