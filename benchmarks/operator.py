"""What the operator costs: requests to the API server, processor time and memory.

    python -m benchmarks.operator [-o json]

The whole operator runs in a process of its own, kopf and all, against the fake API server of the
tests, which counts requests and whose nodes start pods at once. So the figures are the operator's
alone; the same with a real API server is `python -m benchmarks.fakenodes`. Each figure stands
beside its limit, and a limit that is missed ends the program with 1.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from testbed.api_server import ApiServer
from testbed.operating import model
from testbed.servers import serving

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
SETTLE_SECONDS = 45
"""Until what waits looks as seldom as it will."""
WATCH_SECONDS = 60
NOTHING = {"status": "success", "data": {"resultType": "vector", "result": []}}


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure beside its limit."""

    what: str
    value: float
    limit: float
    unit: str

    @property
    def is_kept(self) -> bool:
        """Return whether the limit is kept."""
        return self.value <= self.limit


@dataclass(kw_only=True)
class Process:
    """The operator's process."""

    pid: int

    def cpu(self) -> float:
        """Return the processor seconds that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self) -> float:
        """Return its resident megabytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE / 1e6


@dataclass(kw_only=True)
class Running(Process):
    """The operator's process, and the server that it talks to."""

    server: ApiServer

    def make(self, number: int) -> None:
        """Apply so many releases in one moment."""
        for index in range(number):
            self.server.put("ModelRelease", f"qna-{index}", spec={"model": model("1")})

    def stable(self) -> int:
        """Return how many releases are stable."""
        releases = self.server.of("ModelRelease")
        return sum(release.get("status", {}).get("phase") == "Stable" for release in releases)

    def with_status(self) -> int:
        """Return how many releases have a status."""
        return sum("status" in release for release in self.server.of("ModelRelease"))

    async def watched(self, seconds: float) -> tuple[float, float]:
        """Return the requests and the processor time of a second, over some time."""
        requests, cpu, began = self.server.requests.total(), self.cpu(), time.monotonic()
        await asyncio.sleep(seconds)
        took = time.monotonic() - began
        return (self.server.requests.total() - requests) / took, (self.cpu() - cpu) / took


@asynccontextmanager
async def running(*, asks_prometheus: bool = True, **parts: Any) -> AsyncIterator[Running]:
    """Start a server and an operator; wait until it watches."""
    server = await ApiServer(**parts).start()
    async with serving(_nothing) as prometheus:
        with tempfile.TemporaryDirectory() as folder:
            env = {
                **os.environ,
                "KUBECONFIG": str(server.kubeconfig(Path(folder))),
                "MODELRELEASE_PROMETHEUS_URL": prometheus if asks_prometheus else "",
                "MODELRELEASE_LIVENESS_PORT": "18080",
                "MODELRELEASE_METRICS_PORT": "19090",
                "MODELRELEASE_LOG_LEVEL": "ERROR",
            }
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "modelrelease_operator", "run", env=env
            )
            try:
                await until(lambda: server.requests["WATCH modelreleases"] > 0, within=60)
                await asyncio.sleep(1)
                yield Running(server=server, pid=process.pid)
            finally:
                process.terminate()
                await process.wait()
                await server.stop()


async def _nothing(_: web.Request) -> web.Response:
    return web.json_response(NOTHING)


async def until(is_reached: Callable[[], bool], *, within: float) -> float:
    """Wait for something; return how long it took."""
    began = time.monotonic()
    async with asyncio.timeout(within):
        while not is_reached():  # noqa: ASYNC110 - a predicate over two programs
            await asyncio.sleep(0.05)
    return time.monotonic() - began


async def releases_that_never_start(number: int = 60) -> list[Figure]:
    """Measure releases whose image cannot be pulled."""
    async with running(pods_start=False) as operator:
        operator.make(number)
        await until(lambda: operator.with_status() == number, within=60)
        await asyncio.sleep(SETTLE_SECONDS)
        requests, cpu = await operator.watched(WATCH_SECONDS)
    subject = f"{number} releases that can never start"
    return [Figure(subject, requests, 2, "requests/s"), Figure(subject, cpu, 0.05, "cores")]


async def releases_at_once(number: int = 200) -> list[Figure]:
    """Measure releases that begin in one moment, and the same when they are idle."""
    async with running() as operator:
        before, requests = operator.cpu(), operator.server.requests.total()
        operator.make(number)
        took = await until(lambda: operator.stable() == number, within=180)
        spent, request_count = operator.cpu() - before, operator.server.requests.total() - requests
        await asyncio.sleep(5)
        idle_requests, idle = await operator.watched(WATCH_SECONDS)
    subject, quiet = f"{number} releases begun at once", f"{number} idle releases"
    return [
        Figure(f"{subject}, until all are stable", took, 30, "s"),
        Figure(subject, spent, 4, "CPU s"),
        Figure(subject, request_count / number, 20, "requests each"),
        Figure(quiet, idle, 0.01, "cores"),
        Figure(quiet, idle_requests, 0.2, "requests/s"),
    ]


async def foreign_objects(number: int = 3000) -> list[Figure]:
    """Measure what other people's objects cost."""
    async with running() as operator:
        operator.make(1)
        await until(lambda: operator.stable() == 1, within=60)
        before, cpu = operator.memory(), operator.cpu()
        for index in range(number):
            operator.server.put(
                "Deployment", f"foreign-{index}", "elsewhere", spec={"replicas": 0, "x": "y" * 2000}
            )
            operator.server.put("Service", f"foreign-{index}", "elsewhere", spec={"selector": {}})
        await asyncio.sleep(10)
        grown, spent = operator.memory() - before, operator.cpu() - cpu
    subject = f"{number} foreign Deployments and Services"
    return [Figure(subject, grown, 10, "MB"), Figure(subject, spent, 0.5, "CPU s")]


async def small_site(number: int = 3) -> list[Figure]:
    """Measure what a site with a few releases pays for the operator, without Prometheus.

    The fake pods have no addresses, so what drift asks of pods for the first time is not in it.
    """
    async with running(asks_prometheus=False) as operator:
        await asyncio.sleep(SETTLE_SECONDS)
        alone, (_, nothing) = operator.memory(), await operator.watched(WATCH_SECONDS)
        operator.make(number)
        await until(lambda: operator.stable() == number, within=60)
        await asyncio.sleep(SETTLE_SECONDS)
        requests, cpu = await operator.watched(WATCH_SECONDS)
        memory = operator.memory()
    subject, quiet = "no Prometheus, no release", f"no Prometheus, {number} idle releases"
    return [
        Figure(subject, alone, 100, "MB"),
        Figure(subject, nothing, 0.01, "cores"),
        Figure(quiet, memory, 100, "MB"),
        Figure(quiet, cpu, 0.01, "cores"),
        Figure(quiet, requests, 0.2, "requests/s"),
    ]


async def measured() -> list[Figure]:
    """Measure everything, one after the other."""
    return [
        *await small_site(),
        *await releases_that_never_start(),
        *await releases_at_once(),
        *await foreign_objects(),
    ]


def table_of(figures: list[Figure]) -> str:
    """Return the figures beside their limits."""
    lines = ["| what | measured | limit |", "|---|---|---|"]
    for figure in figures:
        mark = "" if figure.is_kept else " (missed)"
        limit = f"{figure.limit:g} {figure.unit}{mark}"
        lines.append(f"| {figure.what} | {figure.value:.3g} {figure.unit} | {limit} |")
    return "\n".join(lines)


def report(figures: list[Figure], output: str) -> int:
    """Print the figures, as a `table` or as `json`; return 1 when a limit is missed."""
    if output == "json":
        print(json.dumps([asdict(figure) for figure in figures]))
    else:
        print(table_of(figures))
    return 0 if all(figure.is_kept for figure in figures) else 1


def main() -> int:
    """Print the figures; return 1 when a limit is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operator", description=__doc__)
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    output = parser.parse_args().output
    return report(asyncio.run(measured()), output)


if __name__ == "__main__":
    sys.exit(main())
