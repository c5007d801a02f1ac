"""The real process under clients that ask oddly, slowly, greedily or not at all."""

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import aiohttp
import h11
import httpx
import pytest
import requests

from modelrelease_serving.listening import allow_connections, listen, usable
from modelrelease_serving.protocol import Limits, protocol
from modelrelease_training.export import Exported
from tests.serving.support import Predictor, predictor, wait_until

JSON = "Content-Type: application/json"


@pytest.fixture(scope="module")
def body(artifact: Exported) -> bytes:
    return f'{{"features": {list(artifact.manifest.examples.rows[0])}}}'.encode()


@pytest.fixture(scope="module")
def running(artifact: Exported) -> Iterator[Predictor]:
    with predictor(artifact.path, DRAIN_SECONDS="0", CONNECTION_MAX_AGE_SECONDS="0") as found:
        found.wait_ready()
        yield found


@pytest.fixture(scope="module")
def strict(artifact: Exported) -> Iterator[Predictor]:
    """A predictor that waits for a second, and for 20 connections."""
    with predictor(
        artifact.path,
        DRAIN_SECONDS="0",
        CONNECTION_MAX_AGE_SECONDS="0",
        MAX_CONNECTIONS="20",
        MAX_REQUEST_SECONDS="1",
    ) as found:
        found.wait_ready()
        yield found


def connect(to: Predictor, *, buffer: int | None = None) -> socket.socket:
    found = socket.socket()
    if buffer is not None:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    found.settimeout(20)
    found.connect(("127.0.0.1", to.port))
    return found


def head(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def post(body: bytes, *headers: str, path: str = "/predict") -> bytes:
    return head("POST", path, JSON, f"Content-Length: {len(body)}", *headers) + body


def chunked(body: bytes, *headers: str) -> bytes:
    start = head("POST", "/predict", JSON, "Transfer-Encoding: chunked", *headers)
    return start + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def answers(connection: socket.socket, count: int) -> list[tuple[int, bytes]]:
    """Read so many whole answers, by a parser that is not the server's."""
    parser = h11.Connection(h11.CLIENT)
    found: list[tuple[int, bytes]] = []
    rest = b""
    for _ in range(count):
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        parser.send(h11.EndOfMessage())
        if rest:
            parser.receive_data(rest)
        status, content = 0, b""
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                parser.receive_data(connection.recv(65536))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                content += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
        rest = parser.trailing_data[0]
        found.append((status, content))
    return found


def is_ended(connection: socket.socket) -> bool:
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        return True
    return True


def prediction(to: Predictor, body: bytes) -> int:
    with connect(to) as connection:
        connection.sendall(post(body))
        return answers(connection, 1)[0][0]


def resident_mb(of: Predictor) -> float:
    for line in Path(f"/proc/{of.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no such process")


H2C = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"]
UPGRADES = [
    pytest.param(H2C, id="h2c"),
    pytest.param(
        ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"], id="websocket"
    ),
    pytest.param(["Upgrade: TLS/1.2, HTTP/9", "Connection: keep-alive, upgrade"], id="others"),
]


@pytest.mark.parametrize("asked", UPGRADES)
@pytest.mark.parametrize("write", [post, chunked])
def test_a_request_that_asks_for_another_protocol_keeps_its_body(
    running: Predictor, body: bytes, asked: list[str], write: Callable[..., bytes]
) -> None:
    with connect(running) as connection:
        connection.sendall(write(body))
        (plain,) = answers(connection, 1)
        connection.sendall(write(body, *asked))
        assert answers(connection, 1) == [plain]
        # Nothing of it is left behind, whatever follows and wherever the bytes are cut.
        for byte in write(body, *asked) + post(body):
            connection.sendall(bytes([byte]))
        assert answers(connection, 2) == [plain, plain]
        connection.sendall(write(body, *asked) * 20)
        assert answers(connection, 20) == [plain] * 20
    assert plain[0] == 200
    assert not running.logged("Unsupported upgrade request.")


def test_an_upgrade_keeps_close_and_large_bodies(running: Predictor, body: bytes) -> None:
    padded = body + b" " * 500_000
    with connect(running) as connection:
        connection.sendall(post(padded, "Connection: close, Upgrade", "Upgrade: h2c"))
        assert answers(connection, 1)[0][0] == 200
        assert is_ended(connection)


def test_a_get_that_asks_for_another_protocol_is_answered(running: Predictor) -> None:
    with connect(running) as connection:
        connection.sendall(head("GET", "/health", "Connection: Upgrade", "Upgrade: h2c") * 2)
        assert [status for status, _ in answers(connection, 2)] == [200, 200]


def test_a_tunnel_is_refused(running: Predictor) -> None:
    with connect(running) as connection:
        connection.sendall(head("CONNECT", "example.com:443"))
        assert answers(connection, 1)[0][0] in {400, 405}
        assert is_ended(connection)


def test_real_clients_are_answered(running: Predictor, body: bytes) -> None:
    url = f"http://127.0.0.1:{running.port}/predict"
    headers = {"Content-Type": "application/json"}

    async def by_aiohttp() -> int:
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=body, headers={**headers, "Expect": "100-continue"}) as answer,
        ):
            return answer.status

    def parts() -> Iterator[bytes]:
        yield body[:10]
        yield body[10:]

    assert httpx.post(url, content=body, headers=headers).status_code == 200
    assert httpx.post(url, content=parts(), headers=headers).status_code == 200
    assert requests.post(url, data=parts(), headers=headers, timeout=60).status_code == 200
    assert asyncio.run(by_aiohttp()) == 200


def test_many_pipelined_requests_are_all_answered_in_order(running: Predictor, body: bytes) -> None:
    with connect(running) as connection:
        asked = (head("GET", "/health") + post(body) + chunked(b"{}")) * 300
        sender = threading.Thread(target=connection.sendall, args=(asked,))
        sender.start()
        found = [status for status, _ in answers(connection, 900)]
        sender.join()
    assert found == [200, 200, 400] * 300


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(head("GET", "/health"), id="GET"),
        pytest.param(head("GET", "/metrics"), id="large answers"),
        pytest.param(post(b"{}"), id="POST"),
    ],
)
def test_one_greedy_connection_costs_little_and_nobody_else(
    running: Predictor, body: bytes, asked: bytes
) -> None:
    before = resident_mb(running)
    with connect(running, buffer=4096) as greedy:
        greedy.setblocking(False)
        sent, slowest = 0, 0.0
        many = asked * (200_000 // len(asked))
        until = time.monotonic() + 3
        while time.monotonic() < until and sent < 30_000_000:
            try:
                sent += greedy.send(many)
            except BlockingIOError:
                began = time.monotonic()
                assert prediction(running, body) == 200
                slowest = max(slowest, time.monotonic() - began)
        assert resident_mb(running) - before < 20
        assert slowest < 5, "as long as all that was asked takes"


def test_a_silent_connection_is_ended(strict: Predictor) -> None:
    with connect(strict) as connection:
        began = time.monotonic()
        assert connection.recv(1) == b""
        assert 0.9 < time.monotonic() - began < 20


STUCK = [
    pytest.param(b"GET /hea", id="request line"),
    pytest.param(b"GET /health HTTP/1.1\r\nHost: x\r\nA: ", id="head"),
    pytest.param(head("POST", "/predict", JSON, "Content-Length: 10") + b"{", id="body"),
    pytest.param(head("POST", "/v2/models/qna/infer", "Content-Length: 10") + b"{", id="v2 body"),
    pytest.param(head("POST", "/predict", "Transfer-Encoding: chunked") + b"5\r\n{", id="chunk"),
    pytest.param(head("POST", "/predict", "Content-Length: 9", *H2C), id="h2c"),
    pytest.param(
        head("POST", "/predict", "Content-Length: 9", "Expect: 100-continue"), id="continue"
    ),
]


@pytest.mark.parametrize("begun", STUCK)
def test_a_request_that_is_stuck_ends_with_408(strict: Predictor, begun: bytes) -> None:
    with connect(strict) as connection:
        connection.sendall(begun)
        content = b""
        while part := connection.recv(65536):
            content += part
    content = content.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert content.startswith(b"HTTP/1.1 408 ")
    assert b"the request was not complete after 1 seconds" in content
    assert b"connection: close" in content.lower()


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(b"POST /predict HTTP/1.1\r\nHost: x\r\nA: ", id="head"),
        pytest.param(head("POST", "/predict", "Content-Length: 1000"), id="body"),
        pytest.param(head("GET", "/health", "Content-Length: 1000"), id="body that nobody reads"),
        pytest.param(head("POST", "/nothing", "Content-Length: 1000"), id="body of nothing"),
    ],
)
def test_a_request_that_trickles_is_ended_too(strict: Predictor, begin: bytes) -> None:
    with connect(strict) as connection:
        connection.sendall(begin)

        def is_refused() -> bool:
            try:
                connection.sendall(b"a")
            except (BrokenPipeError, ConnectionResetError):
                return True
            time.sleep(0.05)
            return False

        wait_until("it is cut", is_refused, within=20)


def test_a_stuck_body_is_counted(artifact: Exported, body: bytes) -> None:
    with predictor(artifact.path, DRAIN_SECONDS="0", MAX_REQUEST_SECONDS="0.3") as found:
        found.wait_ready()
        with connect(found) as connection:
            connection.sendall(post(body)[:-1])
            assert answers(connection, 1)[0][0] == 408
        assert 'code="408"' in found.get("/metrics")[1]


def test_silent_connections_keep_nobody_out(artifact: Exported, body: bytes) -> None:
    with (
        predictor(artifact.path, DRAIN_SECONDS="0", MAX_CONNECTIONS="20") as found,
        ExitStack() as stack,
    ):
        found.wait_ready()
        for index in range(60):
            silent = stack.enter_context(connect(found))
            if index % 3 == 1:
                silent.sendall(b"POST /pre")
            if index % 3 == 2:
                silent.sendall(post(body)[:-1])
            assert prediction(found, body) == 200


def test_idle_connections_keep_nobody_out_for_long(artifact: Exported, body: bytes) -> None:
    with predictor(
        artifact.path, DRAIN_SECONDS="0", MAX_CONNECTIONS="5", CONNECTION_MAX_AGE_SECONDS="0"
    ) as found:
        found.wait_ready()
        with ExitStack() as stack:
            for _ in range(5):
                idle = stack.enter_context(connect(found))
                idle.sendall(head("GET", "/health"))
                assert answers(idle, 1)[0][0] == 200
            assert prediction(found, body) == 503
            wait_until("an idle one made room", lambda: prediction(found, body) == 200)


def test_a_client_that_takes_no_answers_is_ended(strict: Predictor, body: bytes) -> None:
    with connect(strict, buffer=4096) as greedy:
        greedy.settimeout(0.1)
        many = head("GET", "/metrics") * 2000

        def is_cut() -> bool:
            try:
                greedy.send(many)
            except TimeoutError:
                return False
            except (BrokenPipeError, ConnectionResetError):
                return True
            return False

        wait_until("it is cut", is_cut)
    assert prediction(strict, body) == 200


@contextmanager
def unfinished(to: Predictor, count: int, whole: bytes) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            connection = stack.enter_context(connect(to))
            connection.sendall(whole[:-1])
            found.append(connection)
        yield found


def test_unfinished_bodies_are_bounded_in_bytes(artifact: Exported, body: bytes) -> None:
    whole = post(body + b" " * (1_000_000 - len(body)))
    with predictor(artifact.path, DRAIN_SECONDS="0", MAX_RECEIVING_BYTES="8000000") as found:
        found.wait_ready()
        assert prediction(found, body) == 200
        before = resident_mb(found)
        with unfinished(found, 60, whole) as connections:
            assert prediction(found, body) == 200
            assert resident_mb(found) - before < 30
            connections[-1].settimeout(0.5)
            refused = [each for each in connections if _has_answer(each)]
            assert 50 <= len(refused) < 60
            assert {answers(each, 1)[0][0] for each in refused} == {503}
        with connect(found) as large:
            large.sendall(whole)
            assert answers(large, 1)[0][0] == 200


def _has_answer(connection: socket.socket) -> bool:
    connection.settimeout(0.2)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return False
    finally:
        connection.settimeout(20)


def test_a_head_without_end_is_refused(running: Predictor) -> None:
    before = resident_mb(running)
    with connect(running) as connection:
        try:
            connection.sendall(b"GET / HTTP/1.1\r\n")
            for index in range(100_000):
                connection.sendall(b"X-%d: %s\r\n" % (index, b"a" * 100))
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert resident_mb(running) - before < 5


def test_broken_requests_are_told_once(artifact: Exported) -> None:
    with predictor(artifact.path, DRAIN_SECONDS="0") as found:
        found.wait_ready()
        for _ in range(50):
            with connect(found) as connection:
                connection.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
                assert answers(connection, 1)[0][0] == 400
        (told,) = wait_until("it is told", lambda: found.logged("requests were no valid HTTP"))
        assert 1 <= told["requests"] <= 50
        assert not found.logged("Invalid HTTP request received.")


def test_a_broken_chunk_is_answered(running: Predictor) -> None:
    with connect(running) as connection:
        connection.sendall(head("POST", "/predict", "Transfer-Encoding: chunked") + b"zz\r\n")
        assert answers(connection, 1)[0][0] == 400
        assert is_ended(connection)


def test_a_broken_request_after_a_good_one_leaves_the_good_one_its_answer(
    running: Predictor, body: bytes
) -> None:
    with connect(running) as connection:
        connection.sendall(post(body) + b"\x00\x00\r\n\r\n")
        assert answers(connection, 1)[0][0] == 200
        assert is_ended(connection)


def test_stuck_requests_do_not_hold_a_process_that_leaves(artifact: Exported, body: bytes) -> None:
    with predictor(artifact.path, DRAIN_SECONDS="0", MAX_REQUEST_SECONDS="1") as found:
        found.wait_ready()
        with connect(found) as connection:
            connection.sendall(post(body)[:-1])
            found.send(signal.SIGTERM)
            assert answers(connection, 1)[0][0] == 408
        assert found.wait() == 0


def test_thousands_of_silent_and_unfinished_clients_cost_little(
    artifact: Exported, body: bytes
) -> None:
    """The small form of `benchmarks.serving.silent`."""
    whole = post(body + b" " * (1_000_000 - len(body)))
    with (
        predictor(artifact.path, DRAIN_SECONDS="0", MAX_CONNECTIONS="300") as found,
        ExitStack() as stack,
    ):
        found.wait_ready()
        assert prediction(found, body) == 200
        before = resident_mb(found)
        for _ in range(500):
            stack.enter_context(connect(found))
        assert prediction(found, body) == 200
        stack.enter_context(unfinished(found, 60, whole))
        assert prediction(found, body) == 200
        assert resident_mb(found) - before < 60


def test_it_listens_on_both_families(artifact: Exported) -> None:
    if usable("::") != "::":
        pytest.skip("this machine has no IPv6")
    with predictor(artifact.path, HOST="::", DRAIN_SECONDS="0") as found:
        for host in ("127.0.0.1", "::1"):
            connection = HTTPConnection(host, found.port, timeout=60)
            connection.request("GET", "/health")
            assert connection.getresponse().status == 200
            connection.close()


def test_without_ipv6_it_listens_on_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.create_server

    def without_ipv6(*arguments: object, **options: object) -> socket.socket:
        if options["family"] == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "create_server", without_ipv6)
    assert usable("::") == "0.0.0.0"  # noqa: S104
    with listen("::", 0) as found:
        assert found.family == socket.AF_INET


def test_a_port_that_is_taken_ends_the_process_with_a_sentence(
    artifact: Exported, tmp_path: Path
) -> None:
    sentence = tmp_path / "termination-log"
    sentence.touch()
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        predictor(
            artifact.path, PORT=str(taken.getsockname()[1]), TERMINATION_LOG=str(sentence)
        ) as found,
    ):
        assert found.wait() == 1
    assert "cannot listen on HOST=127.0.0.1 PORT=" in sentence.read_text()


def test_a_limit_of_open_files_bounds_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 1024))
    monkeypatch.setattr("resource.setrlimit", lambda *_: None)
    assert allow_connections(4000) == (1024 - 256) // 2
    assert allow_connections(100) == 100


def test_each_server_counts_for_itself() -> None:
    assert protocol(Limits()).PEERS is not protocol(Limits()).PEERS
