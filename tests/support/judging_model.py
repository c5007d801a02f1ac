"""A stand-in for the third model of a judge: an answer without a letter is worse than one with.

It speaks OpenAI's chat completions and reads the question of examples/judge/judge.py. Between two
answers alike it says T. Standard library alone: it runs from a ConfigMap.
"""

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PORT = 8080


def verdict(question: str) -> str:
    """Return the letter of the worse answer, or T."""
    _, _, answers = question.rpartition("\n\nAnswer A:\n")
    a, _, b = answers.partition("\n\nAnswer B:\n")
    a_speaks, b_speaks = (bool(re.search("[a-z]", answer)) for answer in (a, b))
    if a_speaks == b_speaks:
        return "T"
    return "B" if a_speaks else "A"


class Routes(BaseHTTPRequestHandler):
    """Answers at /v1/chat/completions, and tells the kubelet that it does."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Say that it is well."""
        self._send({})

    def do_POST(self) -> None:
        """Judge."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = verdict(asked["messages"][-1]["content"])
        self._send({"choices": [{"message": {"role": "assistant", "content": content}}]})

    def _send(self, answer: Any) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", PORT), Routes).serve_forever()
