"""Real things for the tests of serving: an artifact, a predictor process, a web server that misbehaves."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from modelrelease_contract import MANIFEST_NAME, manifest_digest
from modelrelease_serving.settings import Settings
from modelrelease_training.data import make_data, split
from modelrelease_training.evaluate import evaluate
from modelrelease_training.export import Exported, Label, export_artifact
from modelrelease_training.train import fit


def train(output: Path, version: str = "1", *, seed: int = 7, rows: int = 400) -> Exported:
    data = split(make_data(seed=seed, rows=rows))
    model = fit(data.training)
    metrics = evaluate(model, data.held_out)
    return export_artifact(
        model, label=Label(name="qna", version=version), data=data, metrics=metrics, output=output
    )


def settings(**values: Any) -> Settings:
    return Settings(**values)


def wait_until(what: str, predicate: Callable[[], Any], *, within: float = 60.0) -> Any:
    """Return the first true answer of `predicate`."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if answer := predicate():
            return answer
        time.sleep(0.01)
    msg = f"waited {within} s in vain until {what}"
    raise AssertionError(msg)


@dataclass
class Predictor:
    """A predictor process on loopback, with its log lines."""

    process: subprocess.Popen[bytes]
    logs: list[dict[str, Any]] = field(default_factory=list)

    def read_logs(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                self.logs.append(json.loads(line))
            except ValueError:
                self.logs.append({"message": line.decode(), "level": "garbage"})

    def logged(self, message: str) -> list[dict[str, Any]]:
        return [entry for entry in self.logs if entry["message"] == message]

    @property
    def port(self) -> int:
        return int(wait_until("it listens", lambda: self.logged("listening"))[0]["port"])

    def connect(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=10)

    def get(self, path: str) -> tuple[int, str]:
        """Answer on a fresh connection, or status 0 when nobody listens."""
        connection = self.connect()
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except ConnectionError:
            return 0, ""
        finally:
            connection.close()

    def wait_ready(self) -> None:
        wait_until("it is ready", lambda: self.get("/ready")[0] == 200)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, within: float = 60.0) -> int:
        return self.process.wait(timeout=within)


@contextmanager
def predictor(artifact: Path, **environment: str) -> Iterator[Predictor]:
    """Run `python -m modelrelease_serving` on `artifact`, pinned; kill it at the end if it still runs."""
    clean = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    digest = manifest_digest((artifact / MANIFEST_NAME).read_bytes())
    values = {"MODEL_PATH": str(artifact), "MODEL_SHA256": digest, "HOST": "127.0.0.1", "PORT": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "modelrelease_serving"],
        env={**clean, **values, **environment},
        stderr=subprocess.PIPE,
    )
    running = Predictor(process)
    reader = threading.Thread(target=running.read_logs)
    reader.start()
    try:
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join()
        assert process.stderr is not None
        process.stderr.close()


@dataclass
class Caller(threading.Thread):
    """Sends predictions one after another, and keeps every answer and every failure."""

    port: int
    body: bytes
    keep_alive: bool
    answers: list[tuple[int, bool]] = field(default_factory=list)
    """Status, and whether the answer said that its connection ends."""
    failures: list[Exception] = field(default_factory=list)
    leaving: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        threading.Thread.__init__(self)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        while not self.leaving.is_set():
            try:
                # http.client opens a new connection only when the last answer said so, and never
                # repeats a request, so a reset cannot hide.
                connection.request("POST", "/predict", self.body)
                response = connection.getresponse()
                response.read()
                self.answers.append((response.status, response.will_close))
            except Exception as error:
                self.failures.append(error)
                connection.close()
            if not self.keep_alive:
                connection.close()
        connection.close()

    def stop(self) -> None:
        self.leaving.set()
        self.join()


def is_closed_by_peer(connection: socket.socket) -> bool:
    connection.settimeout(10)
    return connection.recv(1) == b""


Answer = tuple[int, bytes] | Callable[[BaseHTTPRequestHandler], None]


class Handler(BaseHTTPRequestHandler):
    """Gives each path its scripted answers in order, the last one for ever."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        web = self.server
        assert isinstance(web, Web)
        web.asked.append(self.path)
        script = web.script.get(self.path, [(404, b"not here")])
        answer = script.pop(0) if len(script) > 1 else script[0]
        self.close_connection = True
        if callable(answer):
            answer(self)
            return
        status, body = answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", self.date_time_string())
        self.send_header("ETag", f'"{hash(body)}"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Stay silent."""


class Web(ThreadingHTTPServer):
    """A web server on loopback that answers as told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: dict[str, list[Answer]] = {}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/qna"

    def publish(self, artifact: Path) -> None:
        for path in artifact.iterdir():
            self.script[f"/qna/{path.name}"] = [(200, path.read_bytes())]


@contextmanager
def web_server() -> Iterator[Web]:
    with Web() as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield web
        finally:
            web.shutdown()
            thread.join()
