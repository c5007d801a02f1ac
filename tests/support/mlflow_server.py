"""A real MLflow server on this machine:
SQLite, artifacts through its proxy, as operators meet it.
"""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from examples.waiting import wait_until
from testbed.ports import free_port

START_SECONDS = 180
"""Importing MLflow takes seconds alone, and a minute on a machine that builds something else."""


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Run `mlflow server` in `folder` until the block ends; yields its address."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += [
        "--workers",
        "1",
        "--serve-artifacts",
        "--artifacts-destination",
        str(folder / "artifacts"),
    ]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    # The background jobs of MLflow (traces, gateways) are several more processes that nobody asks
    # here.
    env = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(
            "MLflow to answer", lambda: _answers(url, server, folder), bool, within=START_SECONDS
        )
        yield url
    finally:
        # The whole group: uvicorn's workers are children of the server's process.
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _answers(url: str, server: "subprocess.Popen[bytes]", folder: Path) -> bool:
    if server.poll() is not None:
        raise AssertionError(
            f"mlflow server ended with {server.returncode}:\n{(folder / 'server.log').read_text()}"
        )
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2):  # noqa: S310
            return True
    except OSError:
        return False
