"""Sampled requests reach a receiver as CloudEvents,
and one that is slow or dead costs samples only.
"""

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from modelrelease_contract.events import MAX_EVENT_ROWS, STRUCTURED, SampledEvent
from modelrelease_serving import sampling
from modelrelease_serving.sampling import Origin, PayloadSampler
from modelrelease_training.export import Exported
from tests.serving.support import Predictor, predictor, settings, wait_until

ORIGIN = Origin(release="qna", revision="abc", version="7", features=("question", "age"))
ROWS: list[list[float | str | None]] = [["How do I block my card?", 41.0]]


class Receiver(ThreadingHTTPServer):
    """Takes events on loopback: answers `status`, and only while `open_door` is set."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.daemon_threads = True
        self.status = 202
        self.hangs_up = False
        self.open_door = threading.Event()
        self.open_door.set()
        self.events: list[SampledEvent] = []
        self.media_types: set[str | None] = set()
        self.connections: set[Any] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/events?from=tests"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        receiver = self.server
        assert isinstance(receiver, Receiver)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/events?from=tests"
        receiver.open_door.wait(20)
        receiver.media_types.add(self.headers["Content-Type"])
        receiver.connections.add(self.client_address)
        if receiver.status < 300:
            receiver.events.append(SampledEvent.model_validate_json(body))
        self.send_response(receiver.status)
        self.send_header("Content-Length", "0")
        self.end_headers()
        # After the answer, and without announcing it: an idle connection that a receiver tires of.
        self.close_connection = receiver.hangs_up

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Stay silent."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.open_door.set()
            server.shutdown()
            thread.join()


class Sampling:
    """A sampler and its counters."""

    def __init__(self, url: str, *, share: float = 1.0, waiting: int = 100) -> None:
        self.registry = CollectorRegistry()
        self.take = PayloadSampler(
            url, share=share, waiting=waiting, origin=ORIGIN, registry=self.registry
        )

    def count(self, outcome: str) -> float:
        labels = {"release": "qna", "revision": "abc", "outcome": outcome}
        found = self.registry.get_sample_value("sampled_requests_total", labels)
        assert found is not None
        return found


def has_sent(running: Sampling, count: int) -> bool:
    return running.count("sent") == count


@contextmanager
def started(url: str, **options: Any) -> Iterator[Sampling]:
    running = Sampling(url, **options)
    running.take.start()
    try:
        yield running
    finally:
        running.take.close()


def test_every_sampled_request_arrives_as_a_cloud_event_on_one_connection(
    receiver: Receiver,
) -> None:
    with started(receiver.url) as running:
        for number in range(50):
            running.take(ROWS, [number], f"request-{number}")
        wait_until("all have arrived", lambda: running.count("sent") == 50)
    assert [event.predictionid for event in receiver.events] == [f"request-{n}" for n in range(50)]
    assert len({event.id for event in receiver.events}) == 50
    first = receiver.events[0]
    assert (first.release, first.revision, first.modelversion) == ("qna", "abc", "7")
    assert first.data.rows == (("How do I block my card?", 41.0),)
    assert first.data.predictions == (0,)
    assert receiver.media_types == {STRUCTURED}
    assert len(receiver.connections) == 1


def test_only_the_share_that_was_asked_for_is_taken(receiver: Receiver) -> None:
    with started(receiver.url, share=0.2, waiting=2000) as running:
        for _ in range(2000):
            running.take(ROWS, [1], None)
        wait_until("the queue is empty", running.take._queue.empty)
    # Closing waits for the event that was being sent.
    assert 300 < len(receiver.events) < 500


def test_a_slow_receiver_delays_nobody_and_what_has_no_room_is_counted(receiver: Receiver) -> None:
    receiver.open_door.clear()
    with started(receiver.url, waiting=10) as running:
        for _ in range(500):
            running.take(ROWS, [1], None)
        assert running.count("dropped") >= 489
        assert running.count("sent") == 0
        receiver.open_door.set()
        wait_until(
            "the rest has arrived", lambda: running.count("sent") + running.count("dropped") == 500
        )
    assert running.count("failed") == 0


def test_a_dead_receiver_costs_samples_and_its_return_is_noticed(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = 503
    caplog.set_level("INFO")
    with started(receiver.url) as running:
        running.take(ROWS, [1], None)
        wait_until("the refusal is counted", lambda: running.count("failed") == 1)
        receiver.status = 202
        for _ in range(3):
            running.take(ROWS, [1], None)
        wait_until("it is tried again", lambda: running.count("sent") == 3)
    assert [record.message for record in caplog.records] == [
        "sampled requests cannot be sent",
        "sampled requests are sent again",
    ]


def test_nobody_listening_is_counted_and_does_not_hold_up_the_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    began = time.monotonic()
    with started(f"http://127.0.0.1:{port}/events") as running:
        for _ in range(50):
            running.take(ROWS, [1], None)
        wait_until("the failure is counted", lambda: running.count("failed") >= 1)
    assert not running.take._thread.is_alive()
    assert time.monotonic() - began < 15


def test_a_receiver_that_never_answers_is_left_after_a_time_out(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "TIMEOUT_SECONDS", 0.2)
    receiver.open_door.clear()
    with started(receiver.url) as running:
        running.take(ROWS, [1], None)
        wait_until("it is given up", lambda: running.count("failed") == 1)


def test_a_connection_that_the_receiver_closed_is_opened_again_without_a_loss(
    receiver: Receiver,
) -> None:
    receiver.hangs_up = True
    with started(receiver.url) as running:
        for number in range(5):
            running.take(ROWS, [number], None)
            wait_until("it has arrived", partial(has_sent, running, number + 1))
    assert running.count("failed") == 0


def test_a_large_request_is_cut_and_huge_texts_fill_no_memory(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "MAX_WAITING_CHARACTERS", 10_000)
    with started(receiver.url) as running:
        running.take([["x", 1.0]] * 1000, [1] * 1000, None)
        running.take([["x" * 20_000, 1.0]], [1], None)
        wait_until("one is sent", lambda: running.count("sent") == 1)
    assert (
        len(receiver.events[0].data.rows)
        == len(receiver.events[0].data.predictions)
        == MAX_EVENT_ROWS
    )
    assert running.count("dropped") == 1


def test_what_waits_at_the_end_is_sent(receiver: Receiver) -> None:
    with started(receiver.url) as running:
        for _ in range(20):
            running.take(ROWS, [1], None)
    assert len(receiver.events) == 20


def ask(running: Predictor, row: tuple[Any, ...], request_id: str) -> int:
    connection = running.connect()
    try:
        headers = {"Content-Type": "application/json", "X-Request-ID": request_id}
        connection.request("POST", "/predict", json.dumps({"features": row}), headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_predictor_samples_what_it_answered(receiver: Receiver, artifact: Exported) -> None:
    row = artifact.manifest.examples.rows[0]
    with predictor(artifact.path, SAMPLE_URL=receiver.url, SAMPLE_SHARE="1") as running:
        running.wait_ready()
        assert ask(running, row, "mine") == 200
        assert ask(running, row[:3], "refused") == 422
        # The event is there before it is counted: the sender waits for the receiver's answer.
        sent = 'outcome="sent",release="local",revision="local"} 1.0'
        wait_until("the event is counted", lambda: sent in running.get("/metrics")[1])
    (event,) = receiver.events
    assert event.predictionid == "mine"
    assert event.data.rows == (row,)
    assert event.data.predictions == pytest.approx((artifact.manifest.examples.predictions[0],))
    assert event.data.features == tuple(feature.name for feature in artifact.manifest.features)


def test_a_predictor_whose_receiver_never_answers_answers_as_ever(
    receiver: Receiver, artifact: Exported
) -> None:
    receiver.open_door.clear()
    row = artifact.manifest.examples.rows[0]
    with predictor(
        artifact.path,
        SAMPLE_URL=receiver.url,
        SAMPLE_SHARE="1",
        SAMPLE_QUEUE="5",
        DRAIN_SECONDS="0",
    ) as running:
        running.wait_ready()
        assert {ask(running, row, str(number)) for number in range(50)} == {200}
        assert 'sampled_requests_total{outcome="dropped"' in running.get("/metrics")[1]
        running.send(signal.SIGTERM)
        assert running.wait() == 0


@pytest.mark.parametrize(
    "url", ["drift:8000", "ftp://drift/events", "http://", "http://a b/", "http://x:99999/"]
)
def test_an_address_that_cannot_be_posted_to_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(ValidationError, match="http:// or https:// address"):
        settings(SAMPLE_URL=url)


def test_nothing_is_sampled_unless_asked(artifact: Exported) -> None:
    assert settings().sample_url is None
    with predictor(artifact.path) as running:
        running.wait_ready()
        assert "sampled_requests_total" not in running.get("/metrics")[1]
