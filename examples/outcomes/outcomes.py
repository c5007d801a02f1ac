"""Joins predictions with what came of them later, and counts by revision: a gate of kind `counts`
judges a canary by these two counters.

The predictor sends each answer as a CloudEvent (SAMPLE_URL). Your systems post what came of it, by
the X-Request-ID that the client sent: the true value of a regression (LIMIT), or that a visitor
clicked or bought something (WINDOW_SECONDS).

Standard library alone, so that it runs from a ConfigMap in any image with Python 3.11.
"""

import json
import os
import socket
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

MOST_WAITING: Final = 200_000
"""Predictions that are remembered at most: the oldest gives way, and is counted as dropped."""
MOST_BYTES: Final = 1 << 20
"""Of one request's body."""

Arm = tuple[str, str]
"""Release and revision."""
Key = tuple[str, int]
"""Id of a request, and the row's place in it."""


@dataclass
class Waiting:
    """A prediction whose outcome is not known yet, or not counted yet."""

    arm: Arm
    predicted: float
    since: float
    converted: bool = False


@dataclass
class Outcomes:
    """What was predicted and what came of it.

    With a `window` each prediction is counted when its window ends, whether or not something came:
    counting good ones at once would flatter whoever serves since a moment ago. Without one each is
    counted when its true value comes, because when it comes does not depend on the prediction.
    """

    limit: float = 0.0
    """A prediction is bad when it is further than this from the true value."""
    window: float | None = None
    """Seconds in which something may come of a prediction, else it is bad."""
    clock: Callable[[], float] = time.monotonic
    most: int = MOST_WAITING
    waiting: OrderedDict[Key, Waiting] = field(default_factory=OrderedDict)
    """In the order in which they came."""
    total: dict[Arm, int] = field(default_factory=dict)
    bad: dict[Arm, int] = field(default_factory=dict)
    dropped: int = 0
    unknown: int = 0
    """Outcomes of no prediction that is remembered."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def predicted(self, event: Mapping[str, Any]) -> None:
        """Remember what an event says was predicted; raise ValueError for one of no use.

        The first prediction of an id stands: with a visitor's id in X-Request-ID each visitor
        counts once, for the version that was met first.
        """
        try:
            arm = (str(event["release"]), str(event["revision"]))
            name = str(event["predictionid"])
            values = [float(value) for value in event["data"]["predictions"]]
        except (KeyError, TypeError) as problem:
            msg = f"the event has no {problem}: clients have to send X-Request-ID"
            raise ValueError(msg) from problem
        with self.lock:
            # Shown with 0 before the first: what appears with 1 is not counted.
            self.total.setdefault(arm, 0)
            self.bad.setdefault(arm, 0)
            for row, value in enumerate(values):
                self.waiting.setdefault((name, row), Waiting(arm, value, self.clock()))
            while len(self.waiting) > self.most:
                self.waiting.popitem(last=False)
                self.dropped += 1

    def came(self, name: str, value: float, row: int = 0) -> None:
        """Take what came of a prediction: its true value, or, with a window, 1 for a conversion."""
        with self.lock:
            found = self.waiting.get((name, row))
            if found is None:
                self.unknown += 1
            elif self.window is not None:
                found.converted |= value > 0
            else:
                del self.waiting[name, row]
                # Written so that NaN counts as bad.
                self._count(found.arm, good=abs(found.predicted - value) <= self.limit)

    def page(self) -> str:
        """Return the metrics in Prometheus' text format."""
        with self.lock:
            self._end_windows()
            return "".join(f"{line}\n" for line in self._lines())

    def _count(self, arm: Arm, *, good: bool) -> None:
        self.total[arm] += 1
        self.bad[arm] += not good

    def _end_windows(self) -> None:
        if self.window is None:
            return
        ended = self.clock() - self.window
        while self.waiting and next(iter(self.waiting.values())).since <= ended:
            _, found = self.waiting.popitem(last=False)
            self._count(found.arm, good=found.converted)

    def _lines(self) -> Iterator[str]:
        for name, counted in (("outcomes", self.total), ("bad_outcomes", self.bad)):
            yield f"# TYPE {name}_total counter"
            for (release, revision), count in sorted(counted.items()):
                yield f'{name}_total{{release="{release}",revision="{revision}"}} {count}'
        for name, count in (("dropped", self.dropped), ("unknown", self.unknown)):
            yield f"# TYPE outcomes_{name}_total counter"
            yield f"outcomes_{name}_total {count}"
        yield "# TYPE outcomes_waiting gauge"
        yield f"outcomes_waiting {len(self.waiting)}"


def take(outcomes: Outcomes, path: str, body: bytes) -> None:
    """Take what was posted; raise ValueError where it is of no use."""
    found = json.loads(body)
    if path == "/events":
        outcomes.predicted(found)
        return
    try:
        name, value, row = str(found["id"]), float(found["value"]), int(found.get("row", 0))
    except (KeyError, TypeError, AttributeError) as problem:
        msg = 'an outcome is {"id": …, "value": a number}, and "row" where a request had several'
        raise ValueError(msg) from problem
    outcomes.came(name, value, row)


class Everywhere(ThreadingHTTPServer):
    """Is heard on IPv6 and IPv4 alike, where the pod has both."""

    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:  # type: ignore[explicit-override]  # of 3.12
        """Take IPv4 as well."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def serve(outcomes: Outcomes, port: int) -> ThreadingHTTPServer:
    """Take events at /events and outcomes at /outcomes, and show /metrics, in the background."""

    class Page(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(200, outcomes.page())

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            if length > MOST_BYTES:
                # It stays unread, so nothing more is read of this connection.
                self.close_connection = True
                self._answer(413, f"at most {MOST_BYTES} bytes\n")
                return
            body = self.rfile.read(length)
            if self.path not in ("/events", "/outcomes"):
                self._answer(404, "post to /events or /outcomes\n")
                return
            try:
                take(outcomes, self.path, body)
            except ValueError as problem:
                self._answer(400, f"{problem}\n")
            else:
                self._answer(202, "")

        def _answer(self, code: int, text: str) -> None:
            body = text.encode()
            self.send_response(code)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:  # type: ignore[explicit-override]  # of 3.12
            """Keep quiet: every answer of the predictor comes by here."""

    server = Everywhere(("", port), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def from_environment(env: Mapping[str, str]) -> Outcomes:
    """Return what the settings ask for; end the process with a sentence where they say nothing."""
    if ("LIMIT" in env) == ("WINDOW_SECONDS" in env):
        sys.exit(
            "set LIMIT, how far a prediction may be from its true value, or WINDOW_SECONDS, in "
            "which something may come of it; not both"
        )
    if "LIMIT" in env:
        return Outcomes(limit=float(env["LIMIT"]))
    return Outcomes(window=float(env["WINDOW_SECONDS"]))


def main() -> None:
    """Run with the settings of the environment."""
    server = serve(from_environment(os.environ), int(os.environ.get("PORT", "8000")))
    sys.stderr.write(f"listening on port {server.server_port}\n")
    threading.Event().wait()


if __name__ == "__main__":
    main()
