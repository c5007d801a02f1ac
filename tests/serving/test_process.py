"""The real process over real sockets: how it starts, how connections end, and how it leaves."""

import hashlib
import json
import pickle
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from examples.models import faulty
from modelrelease_contract import MANIFEST_NAME, ModelFile
from modelrelease_contract.runtime import EXIT_REFUSED
from modelrelease_training.export import Exported, Label
from tests.serving.support import Caller, Predictor, is_closed_by_peer, predictor, train, wait_until

SOON = 20
"""Seconds: less than a drain or a download takes here, and enough for a busy machine."""


@pytest.fixture(scope="session")
def body(artifact: Exported) -> bytes:
    return f'{{"features": {list(artifact.manifest.examples.rows[0])}}}'.encode()


@contextmanager
def callers(
    running: Predictor, body: bytes, *, kept_alive: int, fresh: int
) -> Iterator[list[Caller]]:
    """Steady load, stopped at the end whatever happens."""
    load = [Caller(running.port, body, keep_alive=True) for _ in range(kept_alive)]
    load += [Caller(running.port, body, keep_alive=False) for _ in range(fresh)]
    for caller in load:
        caller.start()
    try:
        yield load
    finally:
        for caller in load:
            caller.stop()


def ask(connection: HTTPConnection) -> tuple[int, bool]:
    """Status of /health, and whether the connection ends with this answer."""
    connection.request("GET", "/health")
    response = connection.getresponse()
    response.read()
    return response.status, response.will_close


def is_last(connection: socket.socket) -> bool:
    """Ask /health, and say whether the answer is the connection's last."""
    connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = b""
    while not answer.endswith(b"}"):
        answer += connection.recv(1000)
    return b"\r\nconnection: close\r\n" in answer.lower()


def wait_for_more(load: list[Caller], number: int) -> None:
    goals = [len(caller.answers) + number for caller in load]
    wait_until(
        f"every caller has {number} more answers",
        lambda: all(len(caller.answers) >= goal for caller, goal in zip(load, goals, strict=True)),
    )


def test_sigterm_under_load_loses_no_request(artifact: Exported, body: bytes) -> None:
    with predictor(artifact.path, DRAIN_SECONDS="3", CONNECTION_MAX_AGE_SECONDS="0") as running:
        running.wait_ready()
        idle = running.connect()
        assert ask(idle) == (200, False)
        with callers(running, body, kept_alive=4, fresh=2) as load:
            wait_for_more(load, 20)
            running.send(signal.SIGTERM)
            wait_until(
                "it says that it leaves",
                lambda: running.get("/ready") == (503, '{"status":"draining"}'),
            )
            before = [len(caller.answers) + 1 for caller in load]
            wait_for_more(load, 20)
            assert running.process.poll() is None
        assert ask(idle) == (200, True)
        idle.close()
        assert running.wait() == 0
        for caller, start in zip(load, before, strict=True):
            assert caller.failures == []
            assert {status for status, _ in caller.answers} == {200}
            assert all(closes for _, closes in caller.answers[start:])
            if caller.keep_alive:
                assert not caller.answers[0][1]
        messages = [entry["message"] for entry in running.logs]
        assert messages == ["listening", "ready", "draining", "stopped"]


def test_a_request_that_is_under_way_at_the_end_is_answered(
    artifact: Exported, body: bytes
) -> None:
    with predictor(artifact.path, DRAIN_SECONDS="0") as running:
        running.wait_ready()
        with socket.create_connection(("127.0.0.1", running.port), timeout=60) as slow:
            head = [
                "POST /predict HTTP/1.1",
                "Host: x",
                f"Content-Length: {len(body)}",
                "Expect: 100-continue",
            ]
            slow.sendall("\r\n".join([*head, "", ""]).encode())
            assert slow.recv(100).startswith(b"HTTP/1.1 100")
            running.send(signal.SIGTERM)
            wait_until("nobody listens", lambda: running.get("/health")[0] == 0)
            slow.sendall(body)
            assert slow.recv(1000).startswith(b"HTTP/1.1 200")
        assert running.wait() == 0


def test_an_idle_connection_is_closed_only_at_the_end(artifact: Exported) -> None:
    with predictor(artifact.path, DRAIN_SECONDS="0.5") as running:
        running.wait_ready()
        idle = running.connect()
        assert ask(idle) == (200, False)
        began = time.monotonic()
        running.send(signal.SIGTERM)
        assert is_closed_by_peer(idle.sock)
        assert time.monotonic() - began > 0.4
        idle.close()
        assert running.wait() == 0


def test_a_second_sigterm_stops_at_once(artifact: Exported) -> None:
    with predictor(artifact.path, DRAIN_SECONDS="60") as running:
        running.wait_ready()
        running.send(signal.SIGTERM)
        wait_until("it drains", lambda: running.logged("draining"))
        running.send(signal.SIGTERM)
        assert running.wait(within=SOON) == 0


class Slow:
    """Takes a minute to unpickle."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return time.sleep, (60,)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_process_that_loads_ends_at_once(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    exported = train(tmp_path)
    content = pickle.dumps(Slow())
    (exported.path / "model.joblib").write_bytes(content)
    file = ModelFile(
        path="model.joblib", sha256=hashlib.sha256(content).hexdigest(), size=len(content)
    )
    manifest = exported.manifest.model_copy(update={"files": (file,)})
    (exported.path / MANIFEST_NAME).write_text(manifest.model_dump_json())
    with predictor(exported.path, DRAIN_SECONDS="30") as running:
        assert running.get("/ready")[0] == 503
        running.send(number)
        assert running.wait(within=SOON) == code
        assert not running.logged("ready")


def test_a_process_whose_model_does_not_come_back_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """Else the kubelet waits for the whole of the grace period before it starts another."""
    exported = faulty.hanging(
        faulty.Order(label=Label(name="qna", version="3"), output=tmp_path, rows=2000, share=0.02)
    )
    lowest = list(exported.manifest.examples.rows[0])
    lowest[0] = -1e6
    asked = f'{{"features": {lowest}}}'.encode()
    with predictor(exported.path, MAX_CALL_SECONDS="0.2", DRAIN_SECONDS="60") as running:
        running.wait_ready()
        assert asks_for_a_prediction(running, asked) == 503
        assert running.get("/health")[0] == 503
        running.send(signal.SIGTERM)
        assert running.wait(within=SOON) == 0


def test_sigint_stops_at_once(artifact: Exported) -> None:
    with predictor(artifact.path, DRAIN_SECONDS="60") as running:
        running.wait_ready()
        running.send(signal.SIGINT)
        assert running.wait(within=SOON) == 130
        assert not running.logged("draining")


def test_an_old_connection_ends_with_an_answer_that_says_so(artifact: Exported) -> None:
    with predictor(artifact.path, CONNECTION_MAX_AGE_SECONDS="0.5", DRAIN_SECONDS="0") as running:
        running.wait_ready()
        with socket.create_connection(("127.0.0.1", running.port), timeout=60) as connection:
            began = time.monotonic()
            assert not is_last(connection)
            wait_until("an answer is the last", lambda: is_last(connection))
            # Half a second, give or take a fifth, and the machine's own delays.
            assert 0.39 < time.monotonic() - began < SOON
            assert is_closed_by_peer(connection)
        with socket.create_connection(("127.0.0.1", running.port), timeout=60) as connection:
            assert not is_last(connection), "a new connection is young again"


def test_a_connection_too_many_is_answered_503_and_ends(artifact: Exported, body: bytes) -> None:
    with predictor(artifact.path, MAX_CONNECTIONS="2", DRAIN_SECONDS="0") as running:
        running.wait_ready()
        first, second, third = (running.connect() for _ in range(3))
        assert ask(first) == (200, False)
        assert ask(second) == (200, False)
        third.request("POST", "/predict", body)
        refused = third.getresponse()
        problem = json.loads(refused.read())
        assert (refused.status, refused.getheader("Retry-After"), refused.will_close) == (
            503,
            "1",
            True,
        )
        assert (
            problem["detail"]
            == "as many connections stand as this server takes: try again in a second"
        )
        assert ask(third) == (200, True), "a kubelet that asks for health is answered all the same"
        first.close()
        wait_until(
            "a new connection is served", lambda: asks_for_a_prediction(running, body) == 200
        )
        assert ask(second) == (200, False)
        counted = [line for line in running.get("/metrics")[1].splitlines() if 'code="503"' in line]
        second.close()
        third.close()
        assert any(
            line.startswith("predictions_total") and line.endswith(" 1.0") for line in counted
        )


def asks_for_a_prediction(running: Predictor, body: bytes) -> int:
    connection = running.connect()
    connection.request("POST", "/predict", body)
    status = connection.getresponse().status
    connection.close()
    return status


def test_callers_move_on_without_a_failed_request(artifact: Exported, body: bytes) -> None:
    with predictor(artifact.path, CONNECTION_MAX_AGE_SECONDS="0.2", DRAIN_SECONDS="0") as running:
        running.wait_ready()
        with callers(running, body, kept_alive=4, fresh=0) as load:
            wait_until(
                "every caller has moved twice",
                lambda: all(sum(closes for _, closes in caller.answers) >= 2 for caller in load),
            )
        for caller in load:
            assert caller.failures == []
            assert {status for status, _ in caller.answers} == {200}
            assert sum(closes for _, closes in caller.answers) < len(caller.answers) / 2


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        pytest.param(faulty.broken, "example row 0", id="wrong examples"),
        pytest.param(faulty.tampered, "changed after it was exported", id="changed file"),
    ],
)
def test_a_model_that_must_not_serve_ends_the_process_with_one_sentence(
    kind: object, words: str, tmp_path: Path
) -> None:
    assert callable(kind)
    exported = kind(faulty.Order(label=Label(name="qna", version="3"), output=tmp_path, rows=400))
    sentence = tmp_path / "termination-log"
    sentence.touch()
    with predictor(exported.path, TERMINATION_LOG=str(sentence)) as running:
        assert running.wait() == EXIT_REFUSED
        assert words in sentence.read_text()
        assert sentence.read_text().count("\n") == 1
        assert not running.logged("ready")
        assert [entry["level"] for entry in running.logs] == ["info", "error"]


def test_a_wrong_setting_ends_the_process_with_its_name_and_value(artifact: Exported) -> None:
    with predictor(artifact.path, DRAIN_SECONDS="soon") as running:
        assert running.wait() == 2
        wait_until("the log is read", lambda: running.logs)
        (entry,) = running.logs
        assert "DRAIN_SECONDS='soon' is wrong" in entry["message"]


def test_logs_are_objects_with_fields(artifact: Exported) -> None:
    with predictor(artifact.path, DRAIN_SECONDS="0") as running:
        running.wait_ready()
        running.send(signal.SIGTERM)
        assert running.wait() == 0
        (ready,) = running.logged("ready")
        assert ready["version"] == "1"
        assert ready["sha256"] == artifact.digest
        assert ready["level"] == "info"
        assert ready["logger"] == "modelrelease_serving.model"
        assert ready["time"].endswith("Z")
