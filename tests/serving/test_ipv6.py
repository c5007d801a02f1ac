"""A network that speaks only IPv6: a predictor, its prober,
its samples and its artifact over ::1 alone.
"""

import socket
from http.client import HTTPConnection
from pathlib import Path

import pytest

from modelrelease_contract import MANIFEST_NAME
from modelrelease_serving.fetch import Patience, fetch
from modelrelease_serving.sampling import Sender
from modelrelease_training.export import Exported
from tests.serving.support import Predictor, predictor, settings, wait_until, web_server
from tests.serving.test_probe import manifests, prober

LOOPBACK = "::1"


def ask(running: Predictor, path: str) -> tuple[int, str]:
    connection = HTTPConnection(LOOPBACK, running.port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def wait_ready(running: Predictor) -> None:
    assert running.port
    wait_until("it is ready", lambda: ask(running, "/ready")[0] == 200)


def test_a_predictor_listens_on_the_one_address_that_it_is_given(artifact: Exported) -> None:
    with predictor(artifact.path, HOST=LOOPBACK, DRAIN_SECONDS="0") as running:
        wait_ready(running)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", running.port), timeout=5)


def test_an_artifact_is_fetched_from_a_literal_address(artifact: Exported, tmp_path: Path) -> None:
    with web_server(LOOPBACK) as web:
        web.publish(artifact.path)
        assert web.url.startswith("http://[::1]:")
        patience = Patience(5.0, first_pause=0.01, longest_pause=0.02)
        fetch(
            settings(model_uri=web.url, model_path=tmp_path, model_sha256=artifact.digest),
            patience=patience,
        )
    assert {path.name for path in tmp_path.iterdir()} >= {MANIFEST_NAME}


def test_the_prober_asks_literal_addresses_and_shows_its_counts(
    artifact: Exported, tmp_path: Path
) -> None:
    with (
        predictor(artifact.path, HOST=LOOPBACK, DRAIN_SECONDS="0") as stable,
        predictor(artifact.path, HOST=LOOPBACK, DRAIN_SECONDS="0") as canary,
    ):
        wait_ready(stable)
        wait_ready(canary)
        urls = [f"http://[::1]:{each.port}" for each in (stable, canary)]
        with prober(manifests(tmp_path, artifact, artifact), *urls, HOST=LOOPBACK) as running:
            same = 'result="same"'
            wait_until("both repeat", lambda: ask(running, "/metrics")[1].count(same) >= 2)


def test_samples_are_sent_to_a_literal_address(artifact: Exported) -> None:
    with web_server(LOOPBACK) as web:
        sender = Sender(web.url.removesuffix("/qna"))
        trouble = sender.post(b"{}")
        sender.close()
    assert trouble == "the receiver answers 501", "it is reached, and takes no POST"
