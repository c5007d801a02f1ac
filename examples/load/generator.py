"""An open-loop load generator: so many requests a second, whatever the answers.

Half of the requests open a fresh connection, half go over kept-alive ones: clients of both kinds
exist, and a release must lose none of either. Nothing is retried, so nothing is hidden: a reset, a
refused connection or a time-out is a failed request.

Runs in a pod as one file, with aiohttp alone. `GET /stats` tells what happened so far, and
`POST /rate?rps=N` changes the rate. It stops by itself after `--seconds`.
"""

import argparse
import asyncio
import json
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

PATIENCE_SECONDS = 20.0
"""Beyond what a pod that leaves or a busy machine takes: what is later is lost."""
MOST_IN_FLIGHT = 2000
"""A request that would be one more is counted as not sent, and as the generator's own failure."""


@dataclass
class Tally:
    """What became of the requests."""

    sent: int = 0
    outcomes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By kind of connection, version that answered, and outcome (a status code or an error)."""
    last_failures: list[str] = field(default_factory=list)
    not_sent: int = 0

    def add(self, connection: str, version: str, outcome: str) -> None:
        """Count one answer; remember the last few failures with their time."""
        self.outcomes[(connection, version, outcome)] += 1
        if outcome != "200":
            stamp = time.strftime("%H:%M:%S")
            self.last_failures = [
                *self.last_failures[-49:],
                f"{stamp} {connection} {version} {outcome}",
            ]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        rows = [
            {"connection": kind, "version": version, "outcome": outcome, "count": count}
            for (kind, version, outcome), count in sorted(self.outcomes.items())
        ]
        return {
            "sent": self.sent,
            "answered": sum(self.outcomes.values()),
            "not_sent": self.not_sent,
            "outcomes": rows,
            "last_failures": self.last_failures,
        }


@dataclass
class Generator:
    """Sends rows to one URL at a steady rate."""

    url: str
    rows: list[list[float]]
    rps: float
    headers: dict[str, str] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    flying: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, seconds: float) -> None:
        """Send until the time is over or the task is cancelled; then wait for the last answers."""
        timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS, connect=PATIENCE_SECONDS / 2)
        fresh = aiohttp.TCPConnector(force_close=True, limit=0)
        reused = aiohttp.TCPConnector(limit=16, keepalive_timeout=30)
        async with (
            aiohttp.ClientSession(connector=fresh, timeout=timeout) as fresh_session,
            aiohttp.ClientSession(connector=reused, timeout=timeout) as reused_session,
        ):
            started = due = time.monotonic()
            while (now := time.monotonic()) - started < seconds:
                if now < due:
                    await asyncio.sleep(min(due - now, 0.05))
                    continue
                due += 1 / self.rps
                index = self.tally.sent
                kind, session = ("fresh", fresh_session) if index % 2 else ("kept", reused_session)
                self._launch(session, kind, index)
            await asyncio.gather(*self.flying, return_exceptions=True)

    def _launch(self, session: aiohttp.ClientSession, kind: str, index: int) -> None:
        self.tally.sent += 1
        if len(self.flying) >= MOST_IN_FLIGHT:
            self.tally.not_sent += 1
            return
        task = asyncio.create_task(self._send(session, kind, index))
        self.flying.add(task)
        task.add_done_callback(self.flying.discard)

    async def _send(self, session: aiohttp.ClientSession, kind: str, index: int) -> None:
        body = body_for(self.url, self.rows[index % len(self.rows)])
        try:
            async with session.post(self.url, json=body, headers=self.headers) as response:
                await response.read()
                version = response.headers.get("X-Model-Version", "none")
                self.tally.add(kind, version, str(response.status))
        except (TimeoutError, aiohttp.ClientError, OSError) as problem:
            self.tally.add(kind, "none", f"{type(problem).__name__}: {problem}"[:120])


def body_for(url: str, row: list[float]) -> dict[str, Any]:
    """Return what a row is sent as: to a path of the Open Inference Protocol as a tensor, and to
    llama.cpp's `/infill` as the text before a gap of eight tokens.
    """
    if url.endswith("/infill"):
        return {"input_prefix": f"def f({row[0]}):", "input_suffix": "return", "n_predict": 8}
    if not url.endswith("/infer"):
        return {"features": row}
    tensor = {"name": "rows", "shape": [1, len(row)], "datatype": "FP64", "data": row}
    return {"inputs": [tensor]}


def serve_stats(generator: Generator) -> web.Application:
    """Return the little web application that tells and takes the rate."""

    async def stats(_: web.Request) -> web.Response:
        return web.json_response(generator.tally.as_dict())

    async def rate(request: web.Request) -> web.Response:
        generator.rps = min(1000.0, max(0.1, float(request.query["rps"])))
        return web.json_response({"rps": generator.rps})

    app = web.Application()
    app.add_routes([web.get("/stats", stats), web.post("/rate", rate)])
    return app


async def listen(generator: Generator, port: int) -> web.AppRunner:
    """Start the little web application on every address of IPv6 and IPv4; clean it up later."""
    runner = web.AppRunner(serve_stats(generator), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, None, port).start()
    return runner


async def _main(options: argparse.Namespace, rows: list[list[float]]) -> None:
    headers = dict(pair.split("=", maxsplit=1) for pair in options.header)
    generator = Generator(url=options.url, rows=rows, rps=options.rps, headers=headers)
    runner = await listen(generator, options.port)
    task = asyncio.create_task(generator.run(options.seconds))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await asyncio.gather(task, return_exceptions=True)
    print(json.dumps(generator.tally.as_dict()), flush=True)
    await runner.cleanup()


def main() -> None:
    """Read the arguments and send."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--url",
        required=True,
        help="where to POST, such as http://qna/predict or http://qna/v2/models/qna/infer",
    )
    parser.add_argument("--header", action="append", default=[], help="NAME=VALUE, sent along")
    parser.add_argument("--rows", required=True, help="JSON file with a list of rows")
    parser.add_argument("--rps", type=float, default=50, help="requests a second (default: 50)")
    parser.add_argument(
        "--seconds", type=float, default=1800, help="stop after this time (default: 1800)"
    )
    parser.add_argument("--port", type=int, default=8000, help="port of /stats (default: 8000)")
    options = parser.parse_args()
    asyncio.run(_main(options, json.loads(Path(options.rows).read_text())))


if __name__ == "__main__":
    main()
