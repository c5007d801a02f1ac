"""Real things for the tests of serving:
an artifact, a predictor process, a web server that misbehaves.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from modelrelease_serving.settings import Settings
from modelrelease_training.data import make_data, split
from modelrelease_training.evaluate import evaluate
from modelrelease_training.export import Exported, Label, export_artifact
from modelrelease_training.train import fit
from tests.support.predictors import Predictor, predictor, wait_until

__all__ = ["Predictor", "predictor", "wait_until"]


def train(output: Path, version: str = "1", *, seed: int = 7, rows: int = 400) -> Exported:
    data = split(make_data(seed=seed, rows=rows))
    model = fit(data.training)
    metrics = evaluate(model, data.held_out)
    return export_artifact(
        model, label=Label(name="qna", version=version), data=data, metrics=metrics, output=output
    )


def settings(**values: Any) -> Settings:
    return Settings(**values)


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
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
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
    connection.settimeout(60)
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

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, 0), Handler)
        self.script: dict[str, list[Answer]] = {}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        host = str(self.server_address[0])
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_address[1]}/qna"

    def publish(self, artifact: Path) -> None:
        for path in artifact.iterdir():
            self.script[f"/qna/{path.name}"] = [(200, path.read_bytes())]


@contextmanager
def web_server(host: str = "127.0.0.1") -> Iterator[Web]:
    with Web(host) as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield web
        finally:
            web.shutdown()
            thread.join()
