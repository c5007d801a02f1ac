"""A predictor as a process, for the tests of serving and of what listens to predictors."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from modelrelease_contract import MANIFEST_NAME, manifest_digest


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
        return HTTPConnection("127.0.0.1", self.port, timeout=60)

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
    """Run `python -m modelrelease_serving` on `artifact`, pinned;
    kill it at the end if it still runs.
    """
    digest = manifest_digest((artifact / MANIFEST_NAME).read_bytes())
    with process(**{"MODEL_PATH": str(artifact), "MODEL_SHA256": digest, **environment}) as running:
        yield running


@contextmanager
def process(*arguments: str, **environment: str) -> Iterator[Predictor]:
    """Run `python -m modelrelease_serving` on any free port;
    kill it at the end if it still runs.
    """
    clean = {
        name: value
        for name, value in os.environ.items()
        if name in {"PATH", "HOME", "LANG", "PYTHONPATH"}
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "modelrelease_serving", *arguments],
        env={**clean, "HOST": "127.0.0.1", "PORT": "0", **environment},
        stderr=subprocess.PIPE,
    )
    running = Predictor(child)
    reader = threading.Thread(target=running.read_logs)
    reader.start()
    try:
        yield running
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
        reader.join()
        assert child.stderr is not None
        child.stderr.close()
