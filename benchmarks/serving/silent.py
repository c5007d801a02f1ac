"""What clients cost that open connections and do not ask: memory, and the time of those who do ask.

Starts a predictor, opens silent sockets, bodies that lack their last byte, and one connection that
pipelines and reads nothing. A new client asks for a prediction all the while. Only on loopback.
"""

import argparse
import json
import resource
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

from typing_extensions import override

from benchmarks.doc_markers import put
from benchmarks.serving.processes import Server, start
from examples.waiting import wait_until
from modelrelease_training.data import make_data, split
from modelrelease_training.export import Label, export_artifact
from modelrelease_training.train import fit
from testbed.ports import free_ports

_BODY_BYTES: Final = 1_000_000
_MOST_MB: Final = 100
_GREEDY_SECONDS: Final = 10.0


@dataclass
class Client(threading.Thread):
    """Asks on a connection of its own, again and again."""

    port: int
    body: bytes
    milliseconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    leaving: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Become a thread."""
        threading.Thread.__init__(self, daemon=True)

    @override
    def __hash__(self) -> int:
        """Return what threads are known by."""
        return id(self)

    @override
    def run(self) -> None:
        """Ask until told to stop."""
        while not self.leaving.wait(0.02):
            began = time.monotonic()
            try:
                connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
                connection.request(
                    "POST", "/predict", self.body, {"Content-Type": "application/json"}
                )
                response = connection.getresponse()
                response.read()
                if response.status != 200:
                    self.failures.append(str(response.status))
            except (OSError, HTTPException) as error:
                self.failures.append(type(error).__name__)
            finally:
                connection.close()
            self.milliseconds.append((time.monotonic() - began) * 1000)

    def take(self) -> tuple[int, int, float]:
        """Return answers, failures and the slowest milliseconds since the last time."""
        times, failed = self.milliseconds, self.failures
        self.milliseconds, self.failures = [], []
        return len(times) - len(failed), len(failed), max(times, default=0.0)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    what: str
    resident_mb: float
    answers: int
    failures: int
    slowest_ms: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it, print the table, and say by the exit code whether the limits were kept."""
    options = _parser().parse_args(arguments)
    files = options.silent + options.unfinished + 500
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, most), most))
    with tempfile.TemporaryDirectory(prefix="bench-silent-") as name:
        rows = _run(Path(name), options.silent, options.unfinished)
    text = _table(rows)
    print(text)
    if options.into:
        put(options.into, text, mark="silent")
    grown = max(row.resident_mb for row in rows) - rows[0].resident_mb
    return int(grown > _MOST_MB or any(row.failures for row in rows))


def _run(folder: Path, silent: int, unfinished: int) -> list[Row]:
    data = split(make_data(seed=1, rows=3000))
    exported = export_artifact(
        fit(data.training),
        label=Label(name="qna", version="1"),
        data=data,
        metrics={},
        output=folder,
    )
    (port,) = free_ports(1)
    variables = {
        "MODEL_PATH": str(exported.path),
        "MODEL_SHA256": exported.digest,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "DRAIN_SECONDS": "0",
    }
    command = [sys.executable, "-m", "modelrelease_serving"]
    server = start(command, core=0, folder=Path.cwd(), variables=variables, log=folder / "log")
    row = data.held_out.rows[0].tolist()
    client = Client(port, json.dumps({"features": row}).encode())
    try:
        wait_until("the server to be ready", lambda: _is_ready(port), bool, within=60)
        client.start()
        return _steps(server, client, silent, unfinished)
    finally:
        client.leaving.set()
        server.stop()


def _steps(server: Server, client: Client, silent: int, unfinished: int) -> list[Row]:
    rows: list[Row] = []

    def note(step_name: str, seconds: float = 2.0) -> None:
        time.sleep(seconds)
        rows.append(Row(step_name, server.usage().resident_bytes / 1e6, *client.take()))

    note("nobody else")
    with ExitStack() as stack:
        for _ in range(silent):
            stack.enter_context(_connect(client.port))
        note(f"{silent:,} silent connections")
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {_BODY_BYTES}\r\n\r\n"
        for _ in range(unfinished):
            connection = stack.enter_context(_connect(client.port))
            connection.sendall(head.encode() + b" " * (_BODY_BYTES - 1))
        note(f"and {unfinished:,} bodies without their last byte")
        taken_bytes = _pipeline(stack.enter_context(_connect(client.port)))
        note(f"and one that pipelines ({taken_bytes / 1e6:.1f} MB taken)")
    note("they have left")
    return rows


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def _pipeline(connection: socket.socket) -> int:
    """Send requests for some seconds and read nothing; return the bytes that the server took."""
    connection.setblocking(False)
    requests, taken_bytes = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 5000, 0
    until = time.monotonic() + _GREEDY_SECONDS
    while time.monotonic() < until:
        try:
            taken_bytes += connection.send(requests)
        except BlockingIOError:
            time.sleep(0.01)
        except ConnectionError:
            break
    return taken_bytes


def _is_ready(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _table(rows: Sequence[Row]) -> str:
    lines = [
        "| | resident | more than before | answers to new clients | failures | slowest |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.what} | {row.resident_mb:.0f} MB | {row.resident_mb - rows[0].resident_mb:.0f} MB "
        f"| {row.answers:,} | {row.failures:,} | {row.slowest_ms:.0f} ms |"
        for row in rows
    ]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving.silent", description=__doc__
    )
    parser.add_argument(
        "--silent", type=int, default=5000, help="connections without a byte (5000)"
    )
    parser.add_argument(
        "--unfinished", type=int, default=300, help="bodies without their last byte (300)"
    )
    parser.add_argument(
        "--into", type=Path, help="put the table between the marks of this file as well"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
