"""Measure the predictor beside other servers of scikit-learn models.

Every server answers the same row with the same model, alone on core 0, while wrk asks from core 1:
over 32 connections and over one. Rounds are interleaved in a shuffled order, each with a fresh
process, and the tables show medians. Each rival runs in an environment of its own, made once below
the cache folder. Only ratios within one run mean something: the speed of a core moves, which is
what the column "probe ms" shows.
"""

import argparse
import json
import os
import platform
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.doc_markers import put
from benchmarks.serving import environments
from benchmarks.serving.candidates import Candidate, UnknownError, matching
from benchmarks.serving.figures import MANY, ONE, Visit
from benchmarks.serving.load import ensure_wrk
from benchmarks.serving.measure import LOAD_CORE, Plan, visit
from benchmarks.serving.models import prepared
from benchmarks.serving.processes import end_well_on_sigterm
from benchmarks.serving.report import Report, as_json, as_markdown, from_json
from benchmarks.serving.verify import DisagreesError
from cluster.errors import ClusterError
from cluster.progress import say

_EXAMPLES = """\
examples:
  everything, as the recorded run (about half an hour, and some minutes more to make environments):
    python -m benchmarks.serving

  ours beside the ceilings, in two minutes:
    python -m benchmarks.serving --only 'ours-*' raw-asgi fastapi-constant --rounds 1

  the tables of a run that is over, into the documentation:
    python -m benchmarks.serving --show serving.json --into benchmarks/README.md

Ends with 1 when a goal is missed or a candidate could not be measured, 2 for a wrong option, 130 after
Ctrl-C, which keeps what was measured. Ends only processes that it started.
"""  # noqa: E501


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when a goal is missed."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        candidates = matching(options.only)
    except UnknownError as error:
        parser.error(str(error))
    if options.list:
        print(
            "\n".join(
                f"{candidate.name:<26} {candidate.role:<8} {candidate.note}"
                for candidate in candidates
            )
        )
        return 0
    stopped = False
    if options.show:
        report = from_json(json.loads(options.show.read_text()))
        if options.note:
            report = replace(report, about={**report.about, "note": options.note})
    else:
        try:
            report, stopped = _run(candidates, options)
        except ClusterError as error:
            print(f"benchmarks.serving: {error}", file=sys.stderr)
            return 1
    print(as_markdown(report))
    if options.into:
        put(options.into, as_markdown(report), mark="serving")
    return 130 if stopped else int(report.missed)


def _run(candidates: Sequence[Candidate], options: argparse.Namespace) -> tuple[Report, bool]:
    """Measure round by round. Return what there is, and whether Ctrl-C ended it."""
    ensure_wrk()
    end_well_on_sigterm()
    # All that is not a server stays away from the servers' core.
    os.sched_setaffinity(0, {LOAD_CORE})
    visits: list[Visit] = []
    failures: dict[str, str] = {}
    about = _about(options)
    plan = Plan(seconds=options.seconds, lonely_seconds=options.lonely_seconds or options.seconds)
    stopped = False
    try:
        for name in dict.fromkeys(candidate.environment for candidate in candidates):
            environments.make(name)
        with prepared(candidates, environments.folder_of) as models:
            for number, candidate in _schedule(candidates, options.rounds, options.seed):
                if candidate.name in failures:
                    continue
                try:
                    latest = visit(candidate, models, plan, number=number)
                except (ClusterError, DisagreesError) as error:
                    failures[candidate.name] = str(error)
                    say(f"{candidate.name} could not be measured: {error}")
                    continue
                visits.append(latest)
                _progress(latest, len(visits), options.rounds * len(candidates))
                _keep(options.json, Report(visits=visits, about=about, failures=failures))
    except KeyboardInterrupt:
        say("stopped; what was measured until now is kept")
        stopped = True
    report = Report(visits=visits, about=about | {"ended": _now()}, failures=failures)
    _keep(options.json, report)
    return report, stopped


def _schedule(
    candidates: Sequence[Candidate], rounds: int, seed: int
) -> list[tuple[int, Candidate]]:
    """Return every candidate once a round, in an order that differs between rounds."""
    draw = random.Random(seed)
    schedule: list[tuple[int, Candidate]] = []
    for number in range(1, rounds + 1):
        order = draw.sample(list(candidates), len(candidates))
        schedule += [(number, candidate) for candidate in order]
    return schedule


def _progress(latest: Visit, visits: int, of: int) -> None:
    loaded, alone = latest.loads[MANY], latest.loads[ONE]
    rates = f"{loaded.requests_per_second:,.0f} a second, p99 {loaded.p99_ms:.1f} ms"
    lonely = f"alone {alone.requests_per_second:,.0f}"
    errors = loaded.errors + alone.errors
    costs = f"{latest.resident_mb:.0f} MB, {errors} errors, probe {loaded.probe_ms:.1f} ms"
    say(f"{visits}/{of} {latest.candidate}: {rates}; {lonely}; {costs}")


def _keep(path: Path, report: Report) -> None:
    """Write what there is, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(as_json(report), indent=1) + "\n")
    fresh.replace(path)


def _about(options: argparse.Namespace) -> dict[str, str]:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    names = ("scikit-learn", "numpy", "fastapi", "uvicorn", "uvloop", "httptools")
    lonely = options.lonely_seconds or options.seconds
    about = {
        "machine": f"{os.cpu_count()} x {model}, Linux {platform.release()}",
        "ours": ", ".join(
            [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in names)]
        ),
        "run": f"{options.rounds} rounds, {options.seconds:g} s at {MANY} connections and "
        f"{lonely:g} s at one, seed {options.seed}",
        "load average at the start": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "began": _now(),
    }
    if options.note:
        about["note"] = options.note
    return about


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _positive(text: str) -> float:
    value = float(text)
    if not value >= 1:
        msg = f"{text} is too short: at least 1 second"
        raise argparse.ArgumentTypeError(msg)
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="only these; * and ? are patterns"
    )
    parser.add_argument("--rounds", type=int, default=3, help="visits to each candidate (3)")
    parser.add_argument(
        "--seconds", type=_positive, default=6, help="of load at 32 connections (6)"
    )
    parser.add_argument(
        "--lonely-seconds", type=_positive, help="of load at one connection (as --seconds)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the order within rounds (1)")
    parser.add_argument(
        "--list", action="store_true", help="show who takes part, and start nothing"
    )
    parser.add_argument("--note", help="kept beside the figures: what else the machine did")
    parser.add_argument(
        "--json",
        type=Path,
        default=Path("build/serving.json"),
        help="every figure (build/serving.json)",
    )
    parser.add_argument(
        "--show", type=Path, metavar="JSON", help="measure nothing; show a run that is over"
    )
    parser.add_argument(
        "--into", type=Path, help="put the tables between the marks of this file as well"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
