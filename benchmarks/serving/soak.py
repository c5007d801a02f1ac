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
from pathlib import Path
from typing import Any, Final

import uvloop

from benchmarks.marks import put
from benchmarks.serving import environments
from benchmarks.serving.agree import DisagreesError, worst_difference
from benchmarks.serving.candidates import OWN, Candidate, Role, chosen
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
class Wanted:
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
    asked = _parser().parse_args(arguments)
    os.sched_setaffinity(0, {LOAD_CORE})
    end_well_on_sigterm()
    ours = {one.name: one for one in chosen([]) if one.role is Role.OURS}
    phases = (
        Wanted(
            name="Steady",
            candidate=ours[asked.steady],
            minutes=asked.minutes,
            times=asked.share,
            judge=steady_goals,
        ),
        Wanted(
            name="Overload",
            candidate=ours[asked.overload],
            minutes=asked.overload_minutes,
            times=10,
            judge=overload_goals,
            rows=asked.overload_rows,
        ),
    )
    done: list[tuple[Phase, list[Goal]]] = []
    try:
        ensure_wrk()
        _allow_connections()
        environments.make(OWN)
        with prepared([], Path, trees=TREES) as models:
            for wanted in phases:
                if wanted.minutes > 0:
                    phase = _run(wanted, models)
                    done.append((phase, wanted.judge(phase)))
    except ClusterError as error:
        print(f"benchmarks.serving.soak: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("stopped; what is shown are the phases that were over")
    return _show(done, asked)


def _allow_connections() -> None:
    """Raise the limit of open files for the client, and for the server, which inherits it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = CONNECTIONS + 1000
    if most != resource.RLIM_INFINITY and most < needed:
        fact = f"this shell may open {most} files, and {needed} are needed"
        raise ClusterError(fact, f"allow more (ulimit -Hn {needed}, as root) and run this again")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))


def _show(done: Sequence[tuple[Phase, list[Goal]]], asked: argparse.Namespace) -> int:
    text = "\n\n".join(as_markdown(phase, goals) for phase, goals in done)
    print(text)
    asked.json.parent.mkdir(parents=True, exist_ok=True)
    asked.json.write_text(
        json.dumps([as_json(phase, goals) for phase, goals in done], indent=1) + "\n"
    )
    if asked.into:
        put(asked.into, text, mark="soak")
    return int(not done or any(goal.met is False for _, goals in done for goal in goals))


def _run(wanted: Wanted, models: Prepared) -> Phase:
    """Start the server, find what it sustains, send, and end it."""
    candidate = wanted.candidate
    where = places(candidate, models)
    port = int(where["port"])
    with tempfile.TemporaryDirectory(prefix="bench-serving-soak-") as name:
        server = launch(candidate, where, Path(name) / "log")
        try:
            wait_for_answer(server, port, candidate, models)
            bodies = _bodies(models, wanted.rows)
            sustainable = _sustainable(candidate, port, bodies[0], Path(name) / "request.lua")
            rate = min(wanted.times * sustainable, MOST_PER_SECOND)
            say(
                f"{wanted.name}: {candidate.name} sustains {sustainable:,.0f} a second; sending "
                f"{rate:,.0f}"
            )
            before = server.usage().resident_bytes / 1e6
            client = OpenLoop(port, candidate.wire.path, bodies, connections=CONNECTIONS)
            samples = _send(client, server, rate, 60 * wanted.minutes)
            return Phase(
                name=wanted.name,
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
    asked = models.rows * rows
    chunks = [asked[at : at + rows] for at in range(0, len(asked), rows)]
    return [{"features": chunk if rows > 1 else chunk[0]} for chunk in chunks]


def _sustainable(candidate: Candidate, port: int, body: dict[str, Any], lua: Path) -> float:
    lua.write_text(script(body))
    url = f"http://127.0.0.1:{port}{candidate.wire.path}"
    seen = shoot(url, lua, core=LOAD_CORE, connections=MANY, seconds=_CALIBRATION_SECONDS)
    return seen.requests / seen.seconds


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
    servers = [one.name for one in chosen([]) if one.role is Role.OURS]
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
