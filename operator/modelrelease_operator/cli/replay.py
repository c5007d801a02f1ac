"""`modelrelease replay`: what would have been decided over a recorded past."""

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelrelease_operator.api.durations import format_duration
from modelrelease_operator.cli.common import (
    Commands,
    Manifest,
    NothingThere,
    command,
    indented,
    manifests,
    nothing_in,
    show,
)
from modelrelease_operator.cli.evidence import gates_table
from modelrelease_operator.core.queries import Place
from modelrelease_operator.errors import Invalid
from modelrelease_operator.serving_runtimes import runtime_of

if TYPE_CHECKING:
    from modelrelease_operator.runtime.credentials import Credentials
    from modelrelease_operator.runtime.recording import Recording
    from modelrelease_operator.runtime.replay import Replayed

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
    "promoted": "would have been promoted",
    "rolled_back": "would have been rolled back",
    "inconclusive": "would have paused as inconclusive",
    "undecided": "was still undecided when its recording ended",
}


def add(commands: Commands) -> None:
    """Add the command."""
    made = command(commands, "replay", "run the decision over what Prometheus recorded", DETAILS)
    made.add_argument("file", type=Path, metavar="FILE", help="YAML with ModelReleases; - for standard input")
    made.add_argument("--prometheus", metavar="URL", help="(default: spec.analysis.prometheus.url)")
    made.add_argument("--start", type=_moment, required=True, metavar="RFC3339", help="first look")
    made.add_argument("--end", type=_moment, required=True, metavar="RFC3339", help="last look")
    made.add_argument("-n", "--namespace", metavar="NAMESPACE", help="(default: the manifest's, or default)")
    made.add_argument("--stable", metavar="REVISION", help="(default: found from the labels)")
    made.add_argument("--canary", metavar="REVISION", help="(default: found from the labels)")
    made.add_argument("--token-file", type=Path, metavar="FILE", help="bearer token for Prometheus")
    made.add_argument("--user", metavar="NAME", help="basic authentication, with --password-file")
    made.add_argument("--password-file", type=Path, metavar="FILE", help="see --user")
    made.add_argument(
        "--ca-file", type=Path, metavar="FILE", help="certificates, PEM, to trust (default: the system's)"
    )
    made.add_argument("-o", "--output", choices=("text", "json"), default="text", help="(default: text)")
    made.set_defaults(run=_replay)


def _credentials(parsed: argparse.Namespace) -> "Credentials":
    """Read what Prometheus is to be shown. From files: what stands in a command line, everybody may read."""
    from modelrelease_operator.runtime.credentials import Credentials  # noqa: PLC0415

    if bool(parsed.user) != bool(parsed.password_file):
        msg = "--user and --password-file belong together"
        raise Invalid(msg)
    token, password, ca = (_text(file) for file in (parsed.token_file, parsed.password_file, parsed.ca_file))
    return Credentials(token=token, username=parsed.user, password=password, ca=ca)


def _text(file: Path | None) -> str | None:
    try:
        return None if file is None else file.read_text().strip()
    except (OSError, UnicodeDecodeError) as problem:
        msg = f"{file} cannot be read: {problem}"
        raise Invalid(msg) from problem


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


def _replay(parsed: argparse.Namespace) -> int:
    if parsed.end <= parsed.start:
        print("modelrelease replay: --end must be after --start", file=sys.stderr)
        return 2
    try:
        found = manifests(parsed.file)
    except NothingThere:
        return nothing_in(parsed.file)
    results = []
    for release in found:
        url = parsed.prometheus or (release.spec.analysis.prometheus and release.spec.analysis.prometheus.url)
        if not url:
            print(
                f"modelrelease replay: {release.name} names no Prometheus; give --prometheus", file=sys.stderr
            )
            return 2
        results.append((release, _replayed(release, url, parsed)))
    if parsed.output == "json":
        show([_as_json(release, told) for release, told in results])
    else:
        print("\n\n".join(_as_text(release, told) for release, told in results))
    return 0


def _replayed(release: Manifest, url: str, parsed: argparse.Namespace) -> "Replayed":
    # Only this command needs a client of Prometheus.
    from modelrelease_operator.runtime.metric_sources.prometheus.history import (  # noqa: PLC0415
        PrometheusHistory,
    )
    from modelrelease_operator.runtime.replay import arms_of, replay, target_of  # noqa: PLC0415

    spec, namespace = release.spec, parsed.namespace or release.namespace or "default"
    credentials = _credentials(parsed)

    async def recorded() -> "tuple[Recording, str, str]":
        metrics = runtime_of(spec.serving.image or "").metrics
        history = PrometheusHistory(url, credentials=credentials, metrics=metrics)
        recording = await history.read(
            namespace=namespace, release=release.name, start=parsed.start, end=parsed.end,
            interval=spec.analysis.period, predictions=any(gate.predictions for gate in spec.analysis.gates),
        )  # fmt: skip
        stable, canary = arms_of(recording, parsed.stable, parsed.canary)
        place = Place(
            namespace=namespace, release=release.name, interval=spec.analysis.period,
            stable=target_of(spec, recording, stable), canary=target_of(spec, recording, canary),
        )  # fmt: skip
        return await history.with_answers(recording, spec, place), stable, canary

    recording, stable, canary = asyncio.run(recorded())
    return replay(spec, recording, stable=stable, canary=canary)


def _as_text(release: Manifest, told: "Replayed") -> str:
    after = format_duration(told.at - told.began)
    parts = [
        indented(
            f"{release.name}: canary {told.canary.version} ({told.canary.revision}) beside "
            f"{told.stable.version} ({told.stable.revision}) {SAID[told.end]}, "
            f"{after} after its first sample",
            first="",
        ),
        "",
        *(
            indented(f"{it.at.strftime('%Y-%m-%d %H:%M:%S')}  {it.reason}: {it.message}", then="    ")
            for it in told.happenings
        ),
    ]
    if told.end == "undecided":
        parts += ["", indented(f"It waited: {told.status.message}", first="")]
    if told.status.gates:
        parts += ["", "At the last look", gates_table(told.status.gates)]
    return "\n".join(parts)


def _as_json(release: Manifest, told: "Replayed") -> dict[str, Any]:
    return {
        "name": release.name,
        "end": told.end,
        "at": told.at.isoformat(),
        "began": told.began.isoformat(),
        "seconds": (told.at - told.began).total_seconds(),
        "stable": {"revision": told.stable.revision, "version": told.stable.version},
        "canary": {"revision": told.canary.revision, "version": told.canary.version},
        "events": [
            {"at": it.at.isoformat(), "reason": it.reason, "message": it.message} for it in told.happenings
        ],
        "gates": [gate.model_dump(mode="json", by_alias=True) for gate in told.status.gates],
    }
