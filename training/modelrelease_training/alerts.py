"""Tells people by webhook what a command found.

An alert never fails the command, nor delays it for long. A webhook's address is a secret: it comes
from an option or the environment, and no message repeats it.
"""

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

WEBHOOK_VARIABLE: Final = "SLACK_WEBHOOK_URL"
"""Environment variable with the webhook that alerts go to when no option names one."""
STATE_VARIABLE: Final = "ALERT_STATE"
"""Environment variable with the file that remembers which alerts were sent."""
ATTEMPTS: Final = 3
TIMEOUT_SECONDS: Final = 3.0
REPEAT_SECONDS: Final = 3600.0
"""The same alert about the same thing is not sent again within this time."""
_WORTH_ANOTHER_TRY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One thing that a person should know."""

    kind: str
    """What happened: `drift`, `decay`, `data`, `retrain`."""
    subject: str
    """What it happened to: a model, a file."""
    text: str
    """One sentence that a person on call can act on."""

    @property
    def key(self) -> str:
        """Two alerts with one key tell the same news."""
        return f"{self.kind}/{self.subject}"


def _state_file() -> Path:
    if path := os.environ.get(STATE_VARIABLE):
        return Path(path)
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "modelrelease" / "alerts.json"


@dataclass(frozen=True, slots=True)
class Memory:
    """Which alerts were sent and when, in a file: a command run every minute does not nag."""

    path: Path = field(default_factory=_state_file)
    repeat_seconds: float = REPEAT_SECONDS

    def is_news(self, alert: Alert, *, now: float) -> bool:
        """Return whether this alert was not sent lately; an unreadable file remembers nothing."""
        return now - self._times().get(alert.key, float("-inf")) >= self.repeat_seconds

    def remember(self, alert: Alert, *, now: float) -> None:
        """Note that the alert was sent; where the disk refuses, it may be sent again."""
        fresh = {
            key: time_sent
            for key, time_sent in self._times().items()
            if now - time_sent < self.repeat_seconds
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            draft = self.path.with_name(f"{self.path.name}.{os.getpid()}")
            draft.write_text(json.dumps({**fresh, alert.key: now}))
            draft.replace(self.path)
        except OSError:
            return

    def _times(self) -> dict[str, float]:
        try:
            return {
                str(key): float(time_sent)
                for key, time_sent in json.loads(self.path.read_text()).items()
            }
        except (OSError, ValueError, AttributeError, TypeError):
            return {}


def notify(
    alert: Alert, webhooks: Iterable[str], *, memory: Memory | None = None, now: float | None = None
) -> list[str]:
    """Send an alert to each webhook unless sent lately. Return a sentence for each that failed."""
    memory = memory or Memory()
    now = time.time() if now is None else now
    targets = list(webhooks)
    if not targets or not memory.is_news(alert, now=now):
        return []
    problems = [problem for webhook in targets if (problem := send(webhook, alert.text))]
    if len(problems) < len(targets):
        memory.remember(alert, now=now)
    return problems


def webhooks(option: str | None) -> list[str]:
    """Return where alerts go: the option's webhook, else the environment's, else nowhere."""
    webhook = option or os.environ.get(WEBHOOK_VARIABLE)
    return [webhook] if webhook else []


def send(webhook: str, text: str) -> str | None:
    """Post `text` in the shape that Slack takes. Return None, or a sentence on why it failed.

    Tries `ATTEMPTS` times where another try can help, each for `TIMEOUT_SECONDS` at most. Raises
    nothing.
    """
    try:
        url = httpx.URL(webhook)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        return "the alert was not sent: the webhook must be an http:// or https:// address"
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(0.5 * attempt)
        try:
            response = httpx.post(url, json={"text": text}, timeout=TIMEOUT_SECONDS)
        except httpx.HTTPError as error:
            reason = f"does not answer ({type(error).__name__})"
            continue
        if response.is_success:
            return None
        reason = f"answers {response.status_code}"
        if response.status_code not in _WORTH_ANOTHER_TRY:
            break
    return f"the alert was not sent: the webhook at {url.host} {reason}; check its address"
