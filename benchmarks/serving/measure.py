"""One visit to one candidate: start it, compare its answers, load it, end it."""

import http.client
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from benchmarks.serving import environments
from benchmarks.serving.candidates import Candidate, Role, Work
from benchmarks.serving.figures import MANY, ONE, Load, Visit
from benchmarks.serving.load import script, shoot
from benchmarks.serving.models import APPS, Prepared
from benchmarks.serving.probe import SpeedProbe
from benchmarks.serving.processes import Server, core_busy_seconds, start
from benchmarks.serving.verify import predict_rows, worst_difference
from cluster.errors import ClusterError
from cluster.shell import run
from testbed.ports import free_ports

SERVER_CORE: Final = 0
LOAD_CORE: Final = 1
_START_PATIENCE_SECONDS: Final = 180
_POLL_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long to load."""

    seconds: float
    lonely_seconds: float


def places(candidate: Candidate, prepared: Prepared) -> dict[str, Any]:
    """Return what the templates of a candidate stand for, with fresh ports."""
    port, port2, port3 = free_ports(3)
    return {
        "env": str(environments.folder_of(candidate.environment)),
        "models": str(prepared.folder),
        "apps": str(APPS),
        "root": str(environments.ROOT),
        "port": str(port),
        "port2": str(port2),
        "port3": str(port3),
        "sha256": prepared.digests,
    }


def launch(candidate: Candidate, settings: Mapping[str, Any], log: Path) -> Server:
    """Start the candidate's server on its core."""
    return start(
        [word.format_map(settings) for word in candidate.command],
        core=SERVER_CORE,
        folder=Path(candidate.folder.format_map(settings)),
        variables={name: value.format_map(settings) for name, value in candidate.variables.items()},
        log=log,
    )


def visit(candidate: Candidate, prepared: Prepared, plan: Plan, *, number: int) -> Visit:
    """Measure a fresh server of the candidate; `number` is the round.

    Raises ClusterError when it does not start, DisagreesError when it answers otherwise than
    scikit-learn.
    """
    imports = import_seconds(candidate.environment, candidate.imports)
    settings = places(candidate, prepared)
    port = int(settings["port"])
    with tempfile.TemporaryDirectory(prefix="bench-serving-visit-") as name:
        folder = Path(name)
        server = launch(candidate, settings, folder / "log")
        try:
            started = wait_for_answer(server, port, candidate, prepared)
            off = _compare(port, candidate, prepared)
            lua = folder / "request.lua"
            lua.write_text(script(candidate.wire.body(prepared.rows[0])))
            url = f"http://127.0.0.1:{port}{candidate.wire.path}"
            shoot(url, lua, core=LOAD_CORE, connections=MANY, seconds=candidate.warm_up_seconds)
            loads = {
                MANY: _load(server, url, lua, MANY, plan.seconds),
                ONE: _load(server, url, lua, ONE, plan.lonely_seconds),
            }
            usage = server.usage()
        finally:
            server.stop()
    return Visit(
        candidate=candidate.name,
        round=number,
        start_seconds=started,
        import_seconds=imports,
        resident_mb=usage.resident_bytes / 1e6,
        processes=usage.processes,
        worst_difference=off,
        loads=loads,
    )


@cache
def import_seconds(environment: str, modules: str) -> float:
    """Return how long a fresh Python takes to import these modules. Measured once a run."""
    python = environments.folder_of(environment) / "bin" / "python"
    # It measures itself, so that neither Python's own start nor ours is in it.
    paths = f"{environments.ROOT}/serving:{environments.ROOT}/contract"
    code = f"import time; b = time.perf_counter(); import {modules}; print(time.perf_counter() - b)"
    printed = run(
        ("taskset", "--cpu-list", str(SERVER_CORE), python, "-c", code),
        env={"PYTHONPATH": paths},
        timeout=120,
    ).stdout
    return float(printed.split()[-1])


def wait_for_answer(server: Server, port: int, candidate: Candidate, prepared: Prepared) -> float:
    """Return the seconds from the start to the first right answer.

    Raises ClusterError with the server's last words.
    """
    last_problem = "nothing"
    while (waited := time.monotonic() - server.began) < _START_PATIENCE_SECONDS and server.alive:
        try:
            predict_rows(port, candidate.wire, prepared.rows[:1])
        except (OSError, http.client.HTTPException, ValueError) as problem:
            last_problem = f"{type(problem).__name__}: {problem}"
            time.sleep(_POLL_SECONDS)
        else:
            return time.monotonic() - server.began
    problem_text = (
        f"{candidate.name} gave no answer within {waited:.0f} s; last seen: "
        f"{last_problem}\n{server.last_words()}"
    )
    raise ClusterError(problem_text, "read what the server printed, above")


def _compare(port: int, candidate: Candidate, prepared: Prepared) -> float | None:
    if candidate.role is Role.CEILING:
        return None
    return worst_difference(
        port, candidate.wire, prepared.rows, prepared.answers[Work(candidate.work)]
    )


def _load(server: Server, url: str, lua: Path, connections: int, seconds: float) -> Load:
    before, busy = server.usage(), core_busy_seconds(SERVER_CORE)
    with SpeedProbe(SERVER_CORE) as probe:
        result = shoot(url, lua, core=LOAD_CORE, connections=connections, seconds=seconds)
    cpu_seconds = server.usage().cpu_seconds - before.cpu_seconds
    elsewhere = core_busy_seconds(SERVER_CORE) - busy - cpu_seconds
    return Load(
        requests_per_second=result.requests / result.seconds,
        p50_ms=result.p50_ms,
        p99_ms=result.p99_ms,
        cpu_us=1e6 * cpu_seconds / max(result.requests, 1),
        errors=result.errors,
        probe_ms=probe.milliseconds,
        foreign_share=max(0.0, elsewhere / result.seconds),
    )
