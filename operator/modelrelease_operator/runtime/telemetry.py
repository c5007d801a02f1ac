"""What the operator tells about itself: logs, Events and metrics, all from the same decision."""

import json
import logging
from datetime import UTC, datetime

from typing_extensions import override

from modelrelease_operator.api.status import Status
from modelrelease_operator.core.state import Decision
from modelrelease_operator.errors import ReleaseError
from modelrelease_operator.runtime import metrics
from modelrelease_operator.runtime.kube import Kube, Object
from modelrelease_operator.runtime.notify import Notifier

log = logging.getLogger("modelrelease.operator")


class JsonLines(logging.Formatter):
    """One JSON object a line, with the fields given as `extra={"fields": …}`."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_as_json(level: str) -> None:
    """Send every log line to standard error as JSON."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # The API server's client would log whole answers at DEBUG, Secrets among them.
    for chatty in ("kopf", "aiohttp.access", "kubernetes", "kubernetes_asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class Reporter:
    """Tells the world about decisions about one release."""

    def __init__(self, kube: Kube, namespace: str, name: str, notifier: Notifier | None = None) -> None:
        self._kube, self._notifier = kube, notifier or Notifier()
        self._fields = {"namespace": namespace, "release": name}
        self._key = (namespace, name)

    async def tell(self, release: Object, before: Status, decision: Decision) -> None:
        """Log, count and record an Event for everything notable; an Event that fails is only logged."""
        for notice in decision.notices:
            metrics.DECISIONS.labels(*self._key, notice.reason).inc()
            metrics.DECIDED.labels(*self._key, notice.reason).set_to_current_time()
            fields = {**self._fields, "reason": notice.reason, "phase": decision.status.phase}
            log.log(
                logging.WARNING if notice.warning else logging.INFO, notice.message, extra={"fields": fields}
            )
            self._notifier.tell(self._key, notice)
            try:
                await self._kube.event(release, notice.reason, notice.message, warning=notice.warning)
            except ReleaseError as problem:
                log.warning("an Event was not recorded: %s", problem, extra={"fields": self._fields})
        if before.message != decision.status.message and not decision.notices:
            log.debug(decision.status.message, extra={"fields": self._fields})
        metrics.show(self._key, decision.status)

    def forget(self) -> None:
        """Take a deleted release out of the metrics."""
        metrics.forget(self._key)
