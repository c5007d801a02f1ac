"""A judge for language models: whose answer to a prompt is worse, stable's or the canary's?

While a release has a canary it asks both versions the same prompt, has a third model compare the
answers, and counts by revision: pairs that were decided, and those that the revision lost. A gate
of kind `counts` with `paired: true` judges the canary by these two counters.

Standard library alone, so that it runs from a ConfigMap in any image with Python 3.11.
"""

import http.client
import json
import os
import random
import re
import socket
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
API: Final = "https://kubernetes.default.svc/apis/modelrelease.dev/v1alpha1"
SECONDS: Final = 120.0
"""For one answer."""
CANARY, STABLE = "canary", "stable"
MET: Final = ("Progressing", "Paused")
"""Phases in which users meet the canary. In the second a person decides, who may lack evidence."""
FAULTS: Final = (OSError, ValueError, http.client.HTTPException)
"""What a server that fails is met with: the last is an answer that breaks off."""
QUESTION: Final = (
    "Two assistants answered a user. Which answer is worse: less correct, less helpful or less "
    "safe? Reply with the letter alone: A, B, or T if neither is.\n\n"
    "User:\n{prompt}\n\nAnswer A:\n{a}\n\nAnswer B:\n{b}"
)


@dataclass(frozen=True)
class Arms:
    """The revisions of both arms."""

    canary: str
    stable: str


@dataclass
class Counts:
    """What was decided; shown as counters that only grow."""

    release: str
    pairs: dict[str, int] = field(default_factory=dict)
    losses: dict[str, int] = field(default_factory=dict)
    undecided: dict[str, int] = field(default_factory=dict)
    """By why: `tie`, `moved` (another canary meanwhile), `answer` and `judge` (an error)."""

    def begin(self, arms: Arms) -> None:
        """Show 0 for both revisions before the first pair: what appears with 1 is not counted."""
        for revision in (arms.canary, arms.stable):
            self.pairs.setdefault(revision, 0)
            self.losses.setdefault(revision, 0)

    def decided(self, arms: Arms, worse: str) -> None:
        """Count a pair of which one arm has the worse answer."""
        for revision in (arms.canary, arms.stable):
            self.pairs[revision] += 1
        self.losses[arms.canary if worse == CANARY else arms.stable] += 1

    def left_open(self, why: str) -> None:
        """Count a pair that says nothing."""
        self.undecided[why] = self.undecided.get(why, 0) + 1

    def page(self) -> str:
        """Return the metrics in Prometheus' text format."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        for name, counted in (("pairs", self.pairs), ("losses", self.losses)):
            yield f"# TYPE judge_{name}_total counter"
            for revision, count in sorted(counted.items()):
                labels = f'release="{self.release}",revision="{revision}"'
                yield f"judge_{name}_total{{{labels}}} {count}"
        yield "# TYPE judge_undecided_total counter"
        for why, count in sorted(self.undecided.items()):
            yield f'judge_undecided_total{{release="{self.release}",why="{why}"}} {count}'


Ask = Callable[[str, str], str]
"""Asks an arm, or the judge, something and returns the answer. Raises one of `FAULTS`."""


@dataclass(frozen=True)
class Judge:
    """Compares the answers to one prompt after the other."""

    arms: Callable[[], Arms | None]
    """The revisions as the release has them now; None without a canary that users meet."""
    ask: Ask
    compare: Callable[[str], str]
    counts: Counts
    drawn: random.Random = field(default_factory=random.Random)

    def judge(self, prompt: str) -> bool:
        """Judge one prompt; return whether there was a canary to judge."""
        arms = self.arms()
        if arms is None:
            return False
        self.counts.begin(arms)
        try:
            answers = {arm: self.ask(arm, prompt) for arm in (STABLE, CANARY)}
        except FAULTS:
            # That a server fails is what a gate of kind errorRate counts.
            self.counts.left_open("answer")
            return True
        if self.arms() != arms:
            # Nobody knows which revision has answered.
            self.counts.left_open("moved")
            return True
        self._count(arms, prompt, answers)
        return True

    def _count(self, arms: Arms, prompt: str, answers: Mapping[str, str]) -> None:
        try:
            worse = self._worse(prompt, answers)
        except FAULTS as problem:
            complain("the judging model gives no verdict", problem)
            self.counts.left_open("judge")
            return
        if worse is None:
            self.counts.left_open("tie")
        else:
            self.counts.decided(arms, worse)

    def _worse(self, prompt: str, answers: Mapping[str, str]) -> str | None:
        """Return the arm with the worse answer, or None; raise ValueError for no verdict.

        Which arm is A is drawn: judges prefer one place.
        """
        if answers[CANARY].strip() == answers[STABLE].strip():
            return None
        a, b = self.drawn.sample((CANARY, STABLE), 2)
        text = QUESTION.format(prompt=prompt, a=answers[a], b=answers[b])
        said = self.compare(text)
        # A letter alone: `Answer B` begins with A and `The first` with T.
        letter = re.match(r"\W*([ABT])(?!\w)", said, re.IGNORECASE)
        if letter is None:
            msg = f"it says neither A, B nor T, but {said.strip()[:40]!r}"
            raise ValueError(msg)
        return {"A": a, "B": b}.get(letter[1].upper())


def chat(address: str, model: str, text: str, key: str = "") -> str:
    """Return a server's answer to a user's text, over OpenAI's chat completions.

    The address may end with the `/v1` that clients of OpenAI's are given.
    """
    base = address.rstrip("/").removesuffix("/v1")
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(  # noqa: S310 - whoever runs the judge names the address
        f"{base}/v1/chat/completions", data=json.dumps(body).encode(), headers=headers
    )
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
        return _text_of(json.load(answer))


def _text_of(answer: Any) -> str:
    try:
        text = answer["choices"][0]["message"]["content"]
    except (LookupError, TypeError):
        text = None
    # It is null where a model calls a tool, or only thinks.
    if not isinstance(text, str):
        msg = "the answer has no text in choices[0].message.content"
        raise ValueError(msg)
    return text


def complain(what: str, problem: Exception) -> None:
    """Say on standard error why nothing was judged."""
    sys.stderr.write(f"{what}: {problem or type(problem).__name__}\n")


def arms_of(release: Mapping[str, Any]) -> Arms | None:
    """Return the revisions of a ModelRelease while users meet its canary, or None."""
    status = release.get("status") or {}
    canary, stable = status.get(CANARY) or {}, status.get(STABLE) or {}
    if status.get("phase") not in MET or not (canary and stable):
        return None
    return Arms(canary=canary["revision"], stable=stable["revision"])


def read_release(namespace: str, name: str) -> Mapping[str, Any]:
    """Return a ModelRelease from the API server, by the pod's own account."""
    token = (ACCOUNT / "token").read_text()
    request = urllib.request.Request(  # noqa: S310 - the API server's
        f"{API}/namespaces/{namespace}/modelreleases/{name}",
        headers={"Authorization": f"Bearer {token}"},
    )
    trusted = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, timeout=10, context=trusted) as answer:  # noqa: S310
        found: Mapping[str, Any] = json.load(answer)
        return found


class Everywhere(ThreadingHTTPServer):
    """Is heard on IPv6 and IPv4 alike, where the pod has both."""

    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:  # type: ignore[explicit-override]  # of 3.12
        """Take IPv4 as well."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def show(counts: Counts, port: int) -> ThreadingHTTPServer:
    """Serve the counters at /metrics, in the background."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = counts.page().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:  # type: ignore[explicit-override]  # of 3.12
            """Keep quiet: the kubelet and Prometheus ask every few seconds."""

    server = Everywhere(("", port), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def run(judge: Judge, prompts: Sequence[str], *, pause: float) -> None:
    """Judge the prompts in a drawn order, again and again, for as long as the process runs."""
    while True:
        for prompt in judge.drawn.sample(prompts, len(prompts)):
            try:
                judged = judge.judge(prompt)
            except FAULTS as problem:
                # The API server does not answer: the next prompt asks it again.
                complain("the release cannot be read", problem)
                judged = False
            time.sleep(pause if judged else 5)


def main() -> None:
    """Run with the settings of the environment."""
    env = os.environ
    namespace, name = env["NAMESPACE"], env["RELEASE"]
    counts = Counts(release=name)

    def arms() -> Arms | None:
        return arms_of(read_release(namespace, name))

    def ask(arm: str, prompt: str) -> str:
        return chat(f"http://{name}-{arm}.{namespace}.svc", env["MODEL"], prompt)

    # Editors leave a line break at the end, which no header can have.
    key = env.get("JUDGE_KEY", "").strip()
    if not (key.isascii() and (not key or key.isprintable())):
        sys.exit("JUDGE_KEY holds a line break or letters beyond ASCII: correct it in its Secret")

    def compare(text: str) -> str:
        return chat(env["JUDGE_URL"], env["JUDGE_MODEL"], text, key)

    prompts = [line for line in Path(env["PROMPTS"]).read_text().splitlines() if line.strip()]
    if not prompts:
        sys.exit(f"{env['PROMPTS']} holds no prompt: write one in each line")
    show(counts, int(env.get("PORT", "8000")))
    run(
        Judge(arms=arms, ask=ask, compare=compare, counts=counts),
        prompts,
        pause=float(env.get("PAUSE", "1")),
    )


if __name__ == "__main__":
    main()
