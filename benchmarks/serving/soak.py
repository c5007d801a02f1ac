"""Hold the predictor under a steady rate for minutes, and then under ten times what it can do.

The steady phase sends half of what the server sustains (an open loop: requests come whether or not
answers do) and watches its memory. The overload phase sends ten times what the server sustains, to
a model so slow that one core of client can send that much: requests of many rows, to a forest of a
thousand trees that scikit-learn itself computes. It must refuse with 503, stay alive, keep its
memory bounded and answer rightly afterwards. The server has core 0, the client core 1.
"""

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

import uvloop

from benchmarks.doc_markers import put
from benchmarks.serving import environments
from benchmarks.serving.candidates import OWN, Candidate, Role, matching
from benchmarks.serving.endurance import (
    Phase,
    Sample,
    as_json,
    as_markdown,
    overload_goals,
    steady_goals,
)
from benchmarks.serving.figures import MANY
from benchmarks.serving.goals import Goal
from benchmarks.serving.load import ensure_wrk, script, shoot
from benchmarks.serving.measure import LOAD_CORE, launch, places, wait_for_answer
from benchmarks.serving.models import Prepared, prepared
from benchmarks.serving.openloop import OpenLoop
from benchmarks.serving.processes import Server, end_well_on_sigterm
from benchmarks.serving.verify import DisagreesError, worst_difference
from cluster.errors import ClusterError
from cluster.progress import say

MOST_PER_SECOND: Final = 8000
"""What one core of client can send and time."""
CONNECTIONS: Final = 10_000
"""More than the rows that may wait in the predictor (MAX_WAITING_ROWS),
or nothing would be refused.
"""
TREES: Final = 1000
"""Of the forest: ten times those of the other measurements."""
_SAMPLE_SECONDS: Final = 5.0
_CALIBRATION_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PhasePlan:
    """One phase to come."""

    name: str
    candidate: Candidate
    minutes: float
    times: float
    """Rate, in multiples of what the server sustains."""
    judge: Callable[[Phase], list[Goal]]
    rows: int = 1
    """Rows of each request."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both phases and print; 1 when one of their goals is missed."""
    options = _parser().parse_args(arguments)
    os.sched_setaffinity(0, {LOAD_CORE})
    end_well_on_sigterm()
    ours = {candidate.name: candidate for candidate in matching([]) if candidate.role is Role.OURS}
    phases = (
        PhasePlan(
            name="Steady",
            candidate=ours[options.steady],
            minutes=options.minutes,
            times=options.share,
            judge=steady_goals,
        ),
        PhasePlan(
            name="Overload",
            candidate=ours[options.overload],
            minutes=options.overload_minutes,
            times=10,
            judge=overload_goals,
            rows=options.overload_rows,
        ),
    )
    finished: list[tuple[Phase, list[Goal]]] = []
    try:
        ensure_wrk()
        _allow_connections()
        environments.make(OWN)
        with prepared([], Path, trees=TREES) as models:
            for plan in phases:
                if plan.minutes > 0:
                    phase = _run(plan, models)
                    finished.append((phase, plan.judge(phase)))
    except ClusterError as error:
        print(f"benchmarks.serving.soak: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("stopped; what is shown are the phases that were over")
    return _show(finished, options)


def _allow_connections() -> None:
    """Raise the limit of open files for the client, and for the server, which inherits it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_files = CONNECTIONS + 1000
    if most != resource.RLIM_INFINITY and most < open_files:
        fact = f"this shell may open {most} files, and {open_files} are needed"
        raise ClusterError(
            fact, f"allow more (ulimit -Hn {open_files}, as root) and run this again"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, most))


def _show(finished: Sequence[tuple[Phase, list[Goal]]], options: argparse.Namespace) -> int:
    text = "\n\n".join(as_markdown(phase, goals) for phase, goals in finished)
    print(text)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(
        json.dumps([as_json(phase, goals) for phase, goals in finished], indent=1) + "\n"
    )
    if options.into:
        put(options.into, text, mark="soak")
    all_goals = chain.from_iterable(goals for _, goals in finished)
    return int(not finished or any(goal.met is False for goal in all_goals))


def _run(plan: PhasePlan, models: Prepared) -> Phase:
    """Start the server, find what it sustains, send, and end it."""
    candidate = plan.candidate
    settings = places(candidate, models)
    port = int(settings["port"])
    with tempfile.TemporaryDirectory(prefix="bench-serving-soak-") as name:
        server = launch(candidate, settings, Path(name) / "log")
        try:
            wait_for_answer(server, port, candidate, models)
            bodies = _bodies(models, plan.rows)
            sustainable = _sustainable(candidate, port, bodies[0], Path(name) / "request.lua")
            rate = min(plan.times * sustainable, MOST_PER_SECOND)
            say(
                f"{plan.name}: {candidate.name} sustains {sustainable:,.0f} a second; sending "
                f"{rate:,.0f}"
            )
            before = server.usage().resident_bytes / 1e6
            client = OpenLoop(port, candidate.wire.path, bodies, connections=CONNECTIONS)
            samples = _send(client, server, rate, 60 * plan.minutes)
            return Phase(
                name=plan.name,
                server=candidate.name,
                sustainable=sustainable,
                rate=rate,
                samples=samples,
                resident_before_mb=before,
                alive=server.alive,
                right_after=_is_right(port, candidate, models),
            )
        finally:
            server.stop()


def _bodies(models: Prepared, rows: int) -> list[dict[str, Any]]:
    """Return requests of so many rows each."""
    all_rows = models.rows * rows
    chunks = [all_rows[at : at + rows] for at in range(0, len(all_rows), rows)]
    if rows == 1:
        return [{"features": chunk[0]} for chunk in chunks]
    return [{"features": chunk} for chunk in chunks]


def _sustainable(candidate: Candidate, port: int, body: dict[str, Any], lua: Path) -> float:
    lua.write_text(script(body))
    url = f"http://127.0.0.1:{port}{candidate.wire.path}"
    result = shoot(url, lua, core=LOAD_CORE, connections=MANY, seconds=_CALIBRATION_SECONDS)
    return result.requests / result.seconds


def _send(client: OpenLoop, server: Server, rate: float, seconds: float) -> list[Sample]:
    """Send for so long, and sample every few seconds."""
    samples: list[Sample] = []

    async def send() -> None:
        began = time.monotonic()
        sending = asyncio.create_task(client.run(rate, seconds))
        while not sending.done():
            await asyncio.wait([sending], timeout=_SAMPLE_SECONDS)
            samples.append(_sample(client, server, time.monotonic() - began))
            say(_line(samples[-1]))
        await sending

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(send())
    return samples


def _sample(client: OpenLoop, server: Server, at: float) -> Sample:
    tally = client.take()
    resident = server.usage().resident_bytes / 1e6
    return Sample.of(at, resident, tally.sent, tally.outcomes, tally.milliseconds)


def _line(sample: Sample) -> str:
    outcomes = ", ".join(
        f"{count:,} x {outcome}" for outcome, count in sorted(sample.outcomes.items())
    )
    return (
        f"{sample.at_seconds:5.0f} s: {sample.resident_mb:.1f} MB; {outcomes}; p99 "
        f"{sample.p99_ms:.1f} ms"
    )


def _is_right(port: int, candidate: Candidate, models: Prepared) -> bool:
    with suppress(OSError, ValueError, DisagreesError):
        worst_difference(port, candidate.wire, models.rows, models.answers[candidate.work])
        return True
    return False


def _parser() -> argparse.ArgumentParser:
    servers = [candidate.name for candidate in matching([]) if candidate.role is Role.OURS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving.soak",
        description=__doc__,
        epilog="example, an hour and five minutes:\n"
        "  python -m benchmarks.serving.soak --minutes 60 --overload-minutes 5",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add: Any = parser.add_argument
    add("--minutes", type=float, default=10, help="of the steady rate; 0 leaves it out (10)")
    add(
        "--overload-minutes",
        type=float,
        default=2,
        help="of ten times too much; 0 leaves it out (2)",
    )
    add(
        "--share",
        type=float,
        default=0.5,
        help="the steady rate, as a share of what it sustains (0.5)",
    )
    add("--steady", choices=servers, default="ours-logistic", help="server of the steady phase")
    add(
        "--overload",
        choices=servers,
        default="ours-forest-opaque",
        help="server of the overload phase",
    )
    add(
        "--overload-rows",
        type=int,
        default=16,
        help="rows of each request of the overload phase (16)",
    )
    add("--json", type=Path, default=Path("build/soak.json"), help="every sample (build/soak.json)")
    add("--into", type=Path, help="put the tables between the marks of this file as well")
    return parser


if __name__ == "__main__":
    sys.exit(main())
