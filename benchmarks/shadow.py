"""What a shadow comparison costs the users of stable: their latency while requests are copied,
while no canary answers, and with copies switched off.

Three predictors of one model serve side by side and are loaded in turns, round after round, at one
rate and at random moments over loopback; ratios are those of all rounds together. Of the first
every request is copied to a canary, one in ten of them is asked a second time of stable, and all
pairs are compared. The predictors have one core. The canary shares the other with the client and
gives way to it at once (SCHED_IDLE), as one on a core of its own would not be in its way.
"""

import argparse
import json
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.doc_markers import put
from benchmarks.serving.measure import LOAD_CORE, SERVER_CORE
from benchmarks.serving.processes import Server, end_well_on_sigterm, start
from cluster.progress import say
from examples.waiting import NotSeenError, wait_until
from modelrelease_contract.runtime import (
    ENV_CONNECTION_MAX_AGE_SECONDS,
    ENV_MODEL_PATH,
    ENV_MODEL_SHA256,
    ENV_RELEASE,
    ENV_REVISION,
)
from modelrelease_contract.shadow import (
    BOTH_FAILED,
    CANARY_FAILED,
    DIFFERENT,
    DROPPED,
    ENV_SHADOW,
    SAME,
    SHADOW_PAIRS_TOTAL,
    STABLE_FAILED,
    UNREACHABLE,
    ShadowSettings,
)
from modelrelease_training.data import make_data, split
from modelrelease_training.export import Exported, Label, export_artifact
from modelrelease_training.train import fit
from testbed.ports import free_ports

COPYING: Final = "every request copied"
NO_CANARY: Final = "nobody answers for the canary"
OFF: Final = "copies switched off"
WANTED: Final = ShadowSettings(
    share=1, per_second=1000, noise_share=0.1, slower_ratio=1.5, slower_seconds=0.005
)
_LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)\r\n.*?\r\n\r\n", re.DOTALL)
_START_SECONDS: Final = 60.0
_WARM_UP_SECONDS: Final = 2.0
_RESAMPLES: Final = 1000
_COPIES: Final = (
    SAME, DIFFERENT, CANARY_FAILED, STABLE_FAILED, BOTH_FAILED, DROPPED, UNREACHABLE
)  # fmt: skip
"""What a copy counts as, once each."""


@dataclass(slots=True)
class Arm:
    """One predictor that users ask, and their latencies by round."""

    name: str
    port: int
    rounds_ms: list[list[float]] = field(default_factory=list)
    """The milliseconds of each round, shortest first."""
    sent: int = 0
    failed: int = 0


@contextmanager
def _predictor(
    folder: Path, model: Exported, *, core: int, port: int, environment: Mapping[str, str]
) -> Iterator[Server]:
    """Run a predictor until the block ends."""
    variables = {
        ENV_RELEASE: "qna", ENV_MODEL_PATH: str(model.path), ENV_MODEL_SHA256: model.digest,
        ENV_CONNECTION_MAX_AGE_SECONDS: "0", "HOST": "127.0.0.1", "PORT": str(port),
    }  # fmt: skip
    command = [sys.executable, "-m", "modelrelease_serving"]
    server = start(
        command, core=core, folder=folder, variables={**variables, **environment},
        log=folder / f"{port}.log",
    )  # fmt: skip
    try:
        wait_until("the predictor", lambda: _is_ready(port), bool, within=_START_SECONDS, every=0.1)
        yield server
    finally:
        server.stop()


def give_way(server: Server) -> None:
    """Let a server, and each thread of it, run only while its core is idle otherwise."""
    for thread in Path(f"/proc/{server.pid}/task").iterdir():
        os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))


def _is_ready(port: int) -> bool:
    try:
        return _get(port, "/ready")[0] == 200
    except (OSError, HTTPException):
        return False


def _get(port: int, path: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@contextmanager
def _arms(folder: Path, model: Exported) -> Iterator[list[Arm]]:
    """Run the canary and the three predictors that users ask."""
    canary, nobody, *ports = free_ports(5)
    with ExitStack() as stack:

        def run(core: int, port: int, revision: str, **environment: str) -> Server:
            variables = {ENV_REVISION: revision, **environment}
            return stack.enter_context(
                _predictor(folder, model, core=core, port=port, environment=variables)
            )

        give_way(run(LOAD_CORE, canary, "new", **{ENV_SHADOW: WANTED.model_dump_json()}))
        places = {
            COPYING: {"SHADOW_CANARY_URL": f"http://127.0.0.1:{canary}"},
            NO_CANARY: {"SHADOW_CANARY_URL": f"http://127.0.0.1:{nobody}"},
            OFF: {"SHADOW_COPIES": "false"},
        }
        for port, environment in zip(ports, places.values(), strict=True):
            stable = {"SHADOW_STABLE_URL": f"http://127.0.0.1:{port}", **environment}
            run(SERVER_CORE, port, "old", **stable)
        arms = [Arm(name, port) for name, port in zip(places, ports, strict=True)]
        wait_until("a canary", lambda: _pairs(arms[0]), bool, within=_START_SECONDS, every=0.1)
        yield arms


def _pairs(arm: Arm) -> dict[str, float]:
    """Return what a predictor counted of its copies."""
    return {
        each.labels["result"]: each.value
        for family in text_string_to_metric_families(_get(arm.port, "/metrics")[1])
        for each in family.samples
        if each.name == SHADOW_PAIRS_TOTAL
    }


def _load(
    arm: Arm, bodies: Sequence[dict[str, Any]], random: Random, *, rate: float, seconds: float
) -> list[float]:
    """Ask at random moments, one request at a time. Return the milliseconds, shortest first.

    A request that is due before the last one was answered counts from when it was due.
    """
    requests = [_request(body) for body in bodies]
    milliseconds = []
    with socket.create_connection(("127.0.0.1", arm.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        due = 0.0
        while (due := due + random.expovariate(rate)) < seconds:
            wait = began + due - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            since = time.perf_counter() if wait > 0 else began + due
            connection.sendall(requests[arm.sent % len(requests)])
            arm.failed += _status(connection) != 200
            arm.sent += 1
            milliseconds.append(1000 * (time.perf_counter() - since))
    return sorted(milliseconds)


def _request(body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    head = (
        "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def _status(connection: socket.socket) -> int:
    """Read one answer to its end and return its status."""
    answer = connection.recv(65536)
    while not (match := _LENGTH.search(answer)) or len(answer) < match.end() + int(match[1]):
        more = connection.recv(65536)
        if not more:
            return 0
        answer += more
    return int(answer[9:12])


def measure(*, rate: float, seconds: float, rounds: int) -> str:
    """Load the arms in turns and return the table. Raises NotSeenError when one does not start."""
    data = split(make_data(seed=1, rows=3000))
    with tempfile.TemporaryDirectory(prefix="bench-shadow-") as name:
        folder = Path(name)
        label = Label(name="logistic", version="1")
        model = export_artifact(
            fit(data.training), label=label, data=data, metrics={}, output=folder
        )
        bodies = [{"features": row} for row in data.held_out.rows[:100].tolist()]
        with _arms(folder, model) as arms:
            for arm in arms:
                _load(arm, bodies, Random(0), rate=rate, seconds=_WARM_UP_SECONDS)
            for number in range(rounds):
                # Whoever comes first in a round comes last in the next ones.
                for at in range(len(arms)):
                    arm = arms[(number + at) % len(arms)]
                    # All arms of a round are asked at the same moments.
                    latencies = _load(arm, bodies, Random(number), rate=rate, seconds=seconds)
                    arm.rounds_ms.append(latencies)
                    p50, p99 = _quantile(latencies, 0.5), _quantile(latencies, 0.99)
                    say(f"{number + 1} of {rounds}, {arm.name}: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
            copied = _copied(arms[0])
    load = f"{rate:g} requests/s, {rounds} rounds of {seconds:g} s, load average "
    return f"{load}{os.getloadavg()[0]:.1f} at the end.\n\n{_as_markdown(arms)}\n\n{copied}"


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def _copied(arm: Arm) -> str:
    """Return how many requests were copied, in a sentence. Waits a little for the last ones."""
    with suppress(NotSeenError):
        wait_until(
            "the last copies", lambda: _copies(_pairs(arm)), lambda n: n >= arm.sent, within=5
        )
    pairs = _pairs(arm)
    counts = ", ".join(f"{count:,.0f} {result}" for result, count in pairs.items() if count)
    return f"Of {arm.sent:,} requests {_copies(pairs):,.0f} were copied: {counts}."


def _copies(pairs: Mapping[str, float]) -> float:
    return sum(pairs.get(result, 0) for result in _COPIES)


def _as_markdown(arms: Sequence[Arm]) -> str:
    """Return the arms as a table: quantiles of all rounds, and their ratios to the last arm's."""
    *_, base = arms
    lines = [
        "| stable | p50 ms | p99 ms | p50, times | p99, times | failed |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for arm in arms:
        cells = [
            f"{_pooled(arm.rounds_ms, 0.5):.2f}",
            f"{_pooled(arm.rounds_ms, 0.99):.2f}",
            _ratio(arm, base, 0.5),
            _ratio(arm, base, 0.99),
            str(arm.failed),
        ]
        lines.append(f"| {arm.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _pooled(rounds: Iterable[Sequence[float]], share: float) -> float:
    """Return a quantile of all rounds together."""
    return _quantile(sorted(chain.from_iterable(rounds)), share)


def _ratio(arm: Arm, base: Arm, share: float) -> str:
    """Return the ratio of two arms' quantiles with a 95 % interval.

    The interval is that of a bootstrap of rounds, of both arms the same ones: requests of one round
    share what else the machine does then (Efron and Tibshirani 1993, section 8.5).
    """
    random = Random(0)
    pairs = list(zip(arm.rounds_ms, base.rounds_ms, strict=True))

    def ratio(chosen: Sequence[tuple[list[float], list[float]]]) -> float:
        ours, theirs = zip(*chosen, strict=True)
        return _pooled(ours, share) / _pooled(theirs, share)

    ratios = sorted(ratio(random.choices(pairs, k=len(pairs))) for _ in range(_RESAMPLES))
    low, high = _quantile(ratios, 0.025), _quantile(ratios, 0.975)
    return f"{ratio(pairs):.2f} ({low:.2f}-{high:.2f})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shadow", description=__doc__)
    parser.add_argument("--rate", type=float, default=200, help="requests a second (200)")
    parser.add_argument("--seconds", type=float, default=5, help="of load, a round and arm (5)")
    parser.add_argument("--rounds", type=int, default=5, help="of all three (5)")
    parser.add_argument(
        "--into", type=Path, help="put the table between the marks of this file as well"
    )
    options = parser.parse_args(arguments)
    os.sched_setaffinity(0, {LOAD_CORE})
    end_well_on_sigterm()
    try:
        text = measure(rate=options.rate, seconds=options.seconds, rounds=options.rounds)
    except NotSeenError as error:
        print(f"benchmarks.shadow: {error}", file=sys.stderr)
        return 1
    print(text)
    if options.into:
        put(options.into, text, mark="shadow")
    return 0


if __name__ == "__main__":
    sys.exit(main())
