"""What the operator tells about itself: logs, Events and metrics, all from the same decision."""

import json
import logging
from collections import deque
from datetime import UTC, datetime

from typing_extensions import override

from modelrelease_operator.api.spec import ReleaseSpec
from modelrelease_operator.api.status import Status
from modelrelease_operator.core.desired import Decision, Notice
from modelrelease_operator.core.lines import lines_of
from modelrelease_operator.errors import ReleaseError, Unavailable
from modelrelease_operator.runtime import metrics
from modelrelease_operator.runtime.kube import Kube, Object
from modelrelease_operator.runtime.namespaced_name import NamespacedName
from modelrelease_operator.runtime.notify import Notifier

log = logging.getLogger("modelrelease.operator")

MOST_UNRECORDED = 20
"""Events of one release that wait for the API server; of more, the oldest are lost."""


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

    def __init__(
        self, kube: Kube, namespace: str, name: str, notifier: Notifier | None = None
    ) -> None:
        self._kube, self._notifier = kube, notifier or Notifier()
        self._fields = {"namespace": namespace, "release": name}
        self._key = (namespace, name)
        self._told: set[Notice] = set()
        """Told although status could not be written: the same decision will be made again."""
        self._unrecorded: deque[tuple[Object, Notice]] = deque(maxlen=MOST_UNRECORDED)
        """Events that the API server did not take, to be tried again with the next."""

    @property
    def key(self) -> NamespacedName:
        """Namespace and name of the release."""
        return self._key

    async def tell(self, release: Object, before: Status, decision: Decision) -> None:
        """Log, count and record an Event for all that is notable; a failed Event is logged."""
        for notice in decision.notices:
            await self.notice(release, notice, phase=decision.status.phase)
        if before.message != decision.status.message and not decision.notices:
            log.debug(decision.status.message, extra={"fields": self._fields})
        await self._record()
        self.show(decision.status)

    async def notice(self, release: Object, notice: Notice, **fields: str) -> None:
        """Tell one thing, once until it is remembered."""
        if notice in self._told:
            return
        self._told.add(notice)
        metrics.DECISIONS.labels(*self._key, notice.reason).inc()
        metrics.DECIDED.labels(*self._key, notice.reason).set_to_current_time()
        level = logging.WARNING if notice.warning else logging.INFO
        log.log(
            level,
            notice.message,
            extra={"fields": {**self._fields, "reason": notice.reason, **fields}},
        )
        self._notifier.tell(self._key, notice)
        self._unrecorded.append((release, notice))
        await self._record()

    def remembered(self) -> None:
        """Take in that status was written: what is decided from now on is news."""
        self._told.clear()

    def show(self, status: Status) -> None:
        """Bring the metrics up to a status."""
        metrics.show(self._key, status)

    def show_lines(self, spec: ReleaseSpec, status: Status) -> None:
        """Show what the canary is held against, beside what was counted."""
        judged = status.canary and status.gates
        metrics.show_lines(self._key, lines_of(spec, status) if judged else {})

    def failing(self, failing: bool) -> None:
        """Show whether passes over the release fail for longer than a hiccup."""
        metrics.FAILING.labels(*self._key).set(failing)

    def forget(self) -> None:
        """Take a deleted release out of the metrics."""
        metrics.forget(self._key)

    async def _record(self) -> None:
        """Record what waits, oldest first; an API server that is silent is asked later."""
        while self._unrecorded:
            release, notice = self._unrecorded[0]
            try:
                await self._kube.event(
                    release, notice.reason, notice.message, warning=notice.warning
                )
            except Unavailable as problem:
                log.warning(
                    "an Event will be recorded later: %s", problem, extra={"fields": self._fields}
                )
                return
            except ReleaseError as problem:
                metrics.EVENTS_LOST.inc()
                log.warning(
                    "an Event was not recorded: %s", problem, extra={"fields": self._fields}
                )
            self._unrecorded.popleft()
