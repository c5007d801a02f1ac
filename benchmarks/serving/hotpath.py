"""What one answer costs above ASGI, and where it goes: the predictor's app called without sockets.

The app gets the same request again and again, in this process, from a loop without a server. The
first figure is the time of one call; the table splits it by the shares that Python's profiler sees.
The profiler slows every call down, so the shares of what makes many calls are a little too large.
"""

import argparse
import asyncio
import cProfile
import json
import pstats
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import uvloop
from starlette.types import Message, Scope

from benchmarks.doc_markers import put
from modelrelease_serving.app import PredictorApp, create_app
from modelrelease_serving.connections import STATE_KEY, Connection
from modelrelease_serving.loaders import Rules
from modelrelease_serving.model import Model
from modelrelease_serving.settings import Settings
from modelrelease_training.data import make_data, split
from modelrelease_training.export import Label, export_artifact
from modelrelease_training.train import fit

STAGES: Final = {
    "take the body": ("predictions.py", "_read"),
    "decode and check it": ("predictions.py", "read"),
    "predict": ("engine.py", "predict"),
    "write the answer": ("predictions.py", "_write_one"),
    "count the answer": ("metrics.py", "count_response"),
    "count the row for drift": ("bins.py", "add"),
    "should the connection end?": ("connections.py", "is_last"),
    "send": ("responses.py", "send"),
}
"""File and function of each stage."""
_CALLS: Final = 20_000


def _request() -> tuple[PredictorApp, bytes]:
    """Return the app with a logistic pipeline, and a body for it."""
    data = split(make_data(seed=1, rows=3000))
    with tempfile.TemporaryDirectory() as folder:
        label = Label(name="logistic", version="1")
        exported = export_artifact(
            fit(data.training), label=label, data=data, metrics={}, output=Path(folder)
        )
        model = Model.open(exported.path, rules=Rules(allow_unpinned=True))
        model.load()
        app = create_app(model, Settings(connection_max_age_seconds=1e9))
    return app, json.dumps({"features": data.held_out.rows[0].tolist()}).encode()


async def _calls(app: PredictorApp, body: bytes) -> float:
    """Return the microseconds of one call."""
    headers = [(b"host", b"127.0.0.1:8000"), (b"content-type", b"application/json")]
    connection = Connection()

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(_message: Message) -> None:
        pass

    began = time.perf_counter()
    for _ in range(_CALLS):
        scope: Scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers}
        scope["state"] = {STATE_KEY: connection}
        await app(scope, receive, send)
    return (time.perf_counter() - began) / _CALLS * 1e6


def measure() -> str:
    """Return the time of one call, and its stages as a table."""
    app, body = _request()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_calls(app, body))
        took = median(runner.run(_calls(app, body)) for _ in range(5))
        profile = cProfile.Profile()
        profile.enable()
        runner.run(_calls(app, body))
        profile.disable()
    stats: dict[tuple[str, int, str], Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    spent: dict[tuple[str, str], float] = {}
    for (file, _, name), figures in stats.items():
        # Of functions that share a name, the outermost: it has spent most.
        function = (Path(file).name, name)
        spent[function] = max(spent.get(function, 0.0), figures[3])
    whole = spent["app.py", "__call__"]
    shares = {stage: spent[function] / whole for stage, function in STAGES.items()}
    shares["the calls between these"] = 1 - sum(shares.values())
    rows = [
        f"| {stage} | {100 * share:.0f} | {share * took:.1f} |" for stage, share in shares.items()
    ]
    return "\n".join(
        [
            f"One answer: {took:.1f} us in the app.",
            "",
            "| stage | % | us |",
            "|---|---:|---:|",
            *rows,
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving.hotpath", description=__doc__
    )
    parser.add_argument(
        "--into", type=Path, help="put the table between the marks of this file as well"
    )
    options = parser.parse_args(arguments)
    text = measure()
    print(text)
    if options.into:
        put(options.into, text, mark="hotpath")
    return 0


if __name__ == "__main__":
    sys.exit(main())
