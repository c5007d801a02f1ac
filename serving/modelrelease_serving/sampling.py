"""Sends a share of the answered requests to somebody who looks at them, and never makes a client
wait.

A request is put into a bounded queue or dropped; a thread makes events of what is in the queue and
posts them one after another on one connection. A receiver that is slow or dead costs dropped
samples, which are counted, and nothing else.
"""

import json
import logging
import random
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from queue import Empty, Full, Queue
from typing import Final
from urllib.parse import SplitResult, urlsplit

from prometheus_client import CollectorRegistry, Counter

from modelrelease_contract import events
from modelrelease_contract import metrics as names
from modelrelease_serving.comparison import Answer
from modelrelease_serving.logs import fields

Value = float | str | None

TIMEOUT_SECONDS: Final = 5.0
MAX_WAITING_CHARACTERS: Final = 16 * 1024 * 1024
"""Texts and values that wait in the queue, together: an event may hold a megabyte."""
_LONGEST_PAUSE: Final = 30.0
_LAST_MOMENTS: Final = 2.0
"""Seconds that a process which ends goes on sending what waits."""
_IDLE: Final = 0.2

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sample:
    """One answered request."""

    rows: Sequence[Sequence[Value]]
    answers: Sequence[Answer]
    request_id: str | None
    at: float
    """Unix time."""
    size: int
    """About as many characters as its event will have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Whose requests are sampled."""

    release: str
    revision: str
    version: str
    features: tuple[str, ...]


class PayloadSampler:
    """Takes answered requests; posts a share of them to `url` as CloudEvents."""

    def __init__(
        self, url: str, *, share: float, waiting: int, origin: Origin, registry: CollectorRegistry
    ) -> None:
        self._share = share
        self._origin = origin
        self._sender = Sender(url)
        self._queue: Queue[Sample] = Queue(maxsize=waiting)
        self._waiting_characters = 0
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampling", daemon=True)
        self._trouble: str | None = None
        counter = Counter(
            names.SAMPLED_REQUESTS_TOTAL,
            "Sampled requests by what became of them: sent, dropped because others waited, failed.",
            [names.RELEASE, names.REVISION, names.OUTCOME],
            registry=registry,
        )
        who = {names.RELEASE: origin.release, names.REVISION: origin.revision}
        self._sent, self._dropped, self._failed = (
            counter.labels(**who, outcome=outcome) for outcome in ("sent", "dropped", "failed")
        )

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def close(self) -> None:
        """Send what waits, for a moment at most, and stop.
        What is left is lost: samples are no ledger.
        """
        self._ending.set()
        self._thread.join(_LAST_MOMENTS)

    def __call__(
        self,
        rows: Sequence[Sequence[Value]],
        answers: Sequence[Answer],
        request_id: str | None,
    ) -> None:
        """Take one answered request, or let it pass. Takes microseconds, and raises nothing."""
        if random.random() >= self._share:
            return
        kept = rows[: events.MAX_EVENT_ROWS]
        size = sum(len(value) if isinstance(value, str) else 8 for row in kept for value in row)
        with self._lock:
            if self._waiting_characters + size > MAX_WAITING_CHARACTERS:
                self._dropped.inc()
                return
            self._waiting_characters += size
        try:
            answered = answers[: events.MAX_EVENT_ROWS]
            self._queue.put_nowait(Sample(kept, answered, request_id, time.time(), size))
        except Full:
            self._dropped.inc()
            self._forget(size)

    def _forget(self, size: int) -> None:
        with self._lock:
            self._waiting_characters -= size

    def _run(self) -> None:
        pause = 0.0
        while not (self._ending.is_set() and (self._queue.empty() or pause)):
            try:
                sample = self._queue.get(timeout=_IDLE)
            except Empty:
                continue
            self._forget(sample.size)
            trouble = self._sender.post(event(sample, self._origin))
            (self._failed if trouble else self._sent).inc()
            self._report(trouble)
            pause = min(_LONGEST_PAUSE, 2 * pause or 0.5) if trouble else 0.0
            if pause:
                self._ending.wait(pause)
        self._sender.close()

    def _report(self, trouble: str | None) -> None:
        """Log that the receiver fails, or works again:
        once each, however many events it concerns.
        """
        if trouble and not self._trouble:
            _LOG.warning("sampled requests cannot be sent", extra=fields(reason=trouble))
        elif self._trouble and not trouble:
            _LOG.info("sampled requests are sent again")
        self._trouble = trouble


class Sender:
    """Posts events on one connection, which it opens again when it has to."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._target = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        self._connection: HTTPConnection | None = None

    def post(self, body: bytes) -> str | None:
        """Send one event. Return None, or why it did not arrive."""
        reused = self._connection is not None
        try:
            return self._exchange(body)
        except (OSError, HTTPException) as error:
            self.close()
            if not reused or isinstance(error, TimeoutError):
                return f"{type(error).__name__}: {error}"
        try:
            # An idle connection may have been closed by the other side: that is no trouble of the
            # receiver.
            return self._exchange(body)
        except (OSError, HTTPException) as error:
            self.close()
            return f"{type(error).__name__}: {error}"

    def close(self) -> None:
        """Close the connection; the next event opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(self, body: bytes) -> str | None:
        if self._connection is None:
            self._connection = _connect(self._url)
        self._connection.request("POST", self._target, body, {"Content-Type": events.STRUCTURED})
        answer = self._connection.getresponse()
        # Read a little, so that the connection can be used again; a receiver that talks on is left.
        if len(answer.read(65536)) == 65536:
            self.close()
        return None if 200 <= answer.status < 300 else f"the receiver answers {answer.status}"


def _connect(url: SplitResult) -> HTTPConnection:
    kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
    return kind(url.hostname or "", url.port, timeout=TIMEOUT_SECONDS)


def event(sample: Sample, origin: Origin) -> bytes:
    """Return a sample as a CloudEvent in JSON."""
    at = (
        datetime.fromtimestamp(sample.at, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
    attributes = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": f"/modelrelease/{origin.release}/{origin.revision}",
        "type": events.SAMPLED_TYPE,
        "time": at,
        "datacontenttype": "application/json",
        "release": origin.release,
        "revision": origin.revision,
        "modelversion": origin.version,
    }
    if sample.request_id:
        attributes["predictionid"] = sample.request_id
    data = {"features": origin.features, "rows": sample.rows, "predictions": sample.answers}
    return json.dumps({**attributes, "data": data}, separators=(",", ":"), default=_plain).encode()


def _plain(value: object) -> object:
    """Return numpy's arrays and numbers as JSON takes them."""
    plain = getattr(value, "tolist", None)
    if plain is None:
        msg = f"{type(value).__name__} has no place in an event"
        raise TypeError(msg)
    return plain()
