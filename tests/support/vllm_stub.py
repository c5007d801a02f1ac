"""A stub that speaks vLLM's names: no model, no tokens, but its routes and what it counts.

It stands in for vLLM where no GPU is: what it shows is what vLLM's source says, and no more is
proven by it. It runs from a ConfigMap, in any image with prometheus_client.
"""

import json
import os
import random
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest

MODEL: Final = ("0", "stub")
LABELS: Final = ("engine", "model_name")
FIRST: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0)
E2E: Final = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0)
PER_TOKEN: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
TOKENS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
SHOWN_IN: Final = 10.0
"""Times are counted so much longer than they take: nobody wants to wait for a test."""


@dataclass(frozen=True)
class Behaviour:
    """How the model answers."""

    first: float = 0.05
    """Seconds to the first token, as they are counted."""
    tokens: int = 60
    cut: float = 0.0
    """Share of the answers that end by `length`."""

    @classmethod
    def of(cls, version: str, text: str) -> "Behaviour":
        """Read a version's from JSON, by version."""
        return cls(**json.loads(text or "{}").get(version, {}))


class Model:
    """Answers, and counts as vLLM does."""

    def __init__(self, behaviour: Behaviour, *, seed: int | None = None) -> None:
        self.behaviour = behaviour
        self.random = random.Random(seed)
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._http = Counter(
            "http_requests", "Requests.", ("handler", "method", "status"), registry=self.registry
        )
        self._ended = Counter(
            "vllm:request_success", "Ended.", (*LABELS, "finished_reason"), registry=self.registry
        )
        for reason in ("stop", "length", "abort", "error"):
            self._ended.labels(*MODEL, reason)
        self._e2e = self._histogram("vllm:e2e_request_latency_seconds", E2E)
        self._first = self._histogram("vllm:time_to_first_token_seconds", FIRST)
        self._each = self._histogram("vllm:request_time_per_output_token_seconds", PER_TOKEN)
        self._tokens = self._histogram("vllm:request_generation_tokens", TOKENS)

    def _histogram(self, name: str, bounds: tuple[float, ...]) -> Histogram:
        return Histogram(name, name, LABELS, buckets=bounds, registry=self.registry)

    def answer(self) -> dict[str, Any]:
        """Answer one chat, after a tenth of the time that is counted for its first token."""
        drawn, behaviour = self.random, self.behaviour
        first = behaviour.first * drawn.uniform(0.7, 1.3)
        tokens = round(behaviour.tokens * drawn.uniform(0.6, 1.6))
        each = drawn.uniform(0.01, 0.03)
        reason = "length" if drawn.random() < behaviour.cut else "stop"
        time.sleep(first / SHOWN_IN)
        self._first.labels(*MODEL).observe(first)
        self._each.labels(*MODEL).observe(each)
        self._tokens.labels(*MODEL).observe(tokens)
        self._e2e.labels(*MODEL).observe(first + each * tokens)
        self._ended.labels(*MODEL, reason).inc()
        message = {"role": "assistant", "content": f"{tokens} tokens"}
        return {"choices": [{"index": 0, "message": message, "finish_reason": reason}]}

    def counted(self, handler: str, method: str, status: int) -> None:
        """Count a request, as the instrumentator in vLLM does: by class of the status."""
        self._http.labels(handler, method, f"{status // 100}xx").inc()

    def page(self) -> bytes:
        """Return the metrics page."""
        return generate_latest(self.registry)


def serve(model: Model, port: int, version: str = "") -> ThreadingHTTPServer:
    """Return a server of /v1/chat/completions, /health and /metrics."""

    class Routes(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            known = self.path in ("/health", "/metrics")
            self._send(model.page() if self.path == "/metrics" else b"", 200 if known else 404)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            known = self.path == "/v1/chat/completions"
            self._send(json.dumps(model.answer()).encode() if known else b"", 200 if known else 404)

        def _send(self, body: bytes, status: int) -> None:
            model.counted(self.path, self.command, status)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Model-Version", version)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    return ThreadingHTTPServer(("", port), Routes)


if __name__ == "__main__":
    its_version = os.environ.get("MODEL_VERSION", "")
    stub = Model(Behaviour.of(its_version, os.environ.get("BEHAVIOUR", "")))
    serve(stub, 8000, its_version).serve_forever()
