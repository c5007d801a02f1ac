"""Load by wrk: a fixed body over kept-alive connections, as fast as answers come."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cluster.errors import ClusterError
from cluster.progress import say
from cluster.shell import run

_MARK: Final = "wrk-result "
_REPORT_SCRIPT: Final = """
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'MARK{"requests": %d, "microseconds": %d, "p50": %.1f, "p99": %.1f, "connect": %d, "read": %d, '
      .. '"write": %d, "status": %d, "timeout": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
""".replace("MARK", _MARK)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """What the load tool saw."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int
    """Refused, reset, timed out, or not 2xx."""


def ensure_wrk() -> None:
    """Install wrk from the distribution where it is missing and that is allowed;
    else say what to do.
    """
    if shutil.which("wrk"):
        return
    advice = "install it (Debian and Ubuntu: apt-get install wrk) and run this again"
    if not shutil.which("apt-get"):
        raise ClusterError("the load tool wrk is not on this machine", advice)
    say("installing wrk, the load tool")
    try:
        run(("apt-get", "update", "-qq"), timeout=300)
        run(
            ("apt-get", "install", "-y", "-qq", "wrk"),
            env={"DEBIAN_FRONTEND": "noninteractive"},
            timeout=300,
        )
    except ClusterError as error:
        raise ClusterError(f"wrk could not be installed: {error.problem}", advice) from error


def script(body: dict[str, Any]) -> str:
    """Return wrk's script: a POST of `body`, and one line of JSON at the end."""
    return "\n".join(
        (
            'wrk.method = "POST"',
            'wrk.headers["Content-Type"] = "application/json"',
            f"wrk.body = [==[{json.dumps(body)}]==]",
            _REPORT_SCRIPT,
        )
    )


def parse(printed: str) -> LoadResult:
    """Read what the script printed. Raises ValueError when it did not."""
    for line in printed.splitlines():
        if line.startswith(_MARK):
            result = json.loads(line.removeprefix(_MARK))
            return LoadResult(
                requests=result["requests"],
                seconds=result["microseconds"] / 1e6,
                p50_ms=result["p50"] / 1000,
                p99_ms=result["p99"] / 1000,
                errors=sum(
                    result[kind] for kind in ("connect", "read", "write", "status", "timeout")
                ),
            )
    msg = f"wrk printed no result: {printed.strip()[-500:]}"
    raise ValueError(msg)


def shoot(url: str, lua: Path, *, core: int, connections: int, seconds: float) -> LoadResult:
    """Load `url` from one core with so many connections, and return what came back.

    Raises ClusterError when wrk fails.
    """
    duration = f"{max(1, round(seconds))}s"
    command = ("wrk", "-t1", f"-c{connections}", f"-d{duration}", "--timeout", "5s", "-s", lua, url)
    child = run(("taskset", "--cpu-list", str(core), *command), timeout=seconds + 60)
    try:
        return parse(child.stdout)
    except ValueError as error:
        raise ClusterError(str(error), "look at what the server printed") from error
