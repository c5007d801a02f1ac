"""What the operator tells about itself: logs, Events and metrics, all from the same decision."""

import json
import logging
from datetime import UTC, datetime

from prometheus_client import Counter, Gauge, Histogram
from typing_extensions import override

from modelrelease_operator.api.status import Phase, Status, Verdict
from modelrelease_operator.core.state import Decision
from modelrelease_operator.errors import ReleaseError
from modelrelease_operator.runtime.kube import Kube, Object

log = logging.getLogger("modelrelease.operator")

LABELS = ("namespace", "release")
PHASE = Gauge("modelrelease_phase", "1 for the phase that a release is in", (*LABELS, "phase"))
WEIGHT = Gauge("modelrelease_requested_weight_percent", "Weight asked for the canary", LABELS)
EFFECTIVE = Gauge(
    "modelrelease_effective_weight_percent", "Share of requests that the canary answered", LABELS
)
EVIDENCE = Gauge(
    "modelrelease_evidence_ratio", "Evidence as a share of what is needed", (*LABELS, "gate", "direction")
)
VERDICT = Gauge("modelrelease_gate_verdict", "1 for the verdict of a gate", (*LABELS, "gate", "verdict"))
DECISIONS = Counter("modelrelease_decisions_total", "Decisions by reason", (*LABELS, "reason"))
PASSES = Histogram("modelrelease_reconcile_seconds", "Time of one pass over a release", ("outcome",))
ERRORS = Counter("modelrelease_reconcile_errors_total", "Passes that failed, by kind of error", ("kind",))


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
    for chatty in ("kopf", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class Reporter:
    """Tells the world about decisions about one release."""

    def __init__(self, kube: Kube, namespace: str, name: str) -> None:
        self._kube = kube
        self._fields = {"namespace": namespace, "release": name}
        self._labels = (namespace, name)

    async def tell(self, release: Object, before: Status, decision: Decision) -> None:
        """Log, count and record an Event for everything notable; an Event that fails is only logged."""
        for notice in decision.notices:
            DECISIONS.labels(*self._labels, notice.reason).inc()
            fields = {**self._fields, "reason": notice.reason, "phase": decision.status.phase}
            log.log(
                logging.WARNING if notice.warning else logging.INFO, notice.message, extra={"fields": fields}
            )
            try:
                await self._kube.event(release, notice.reason, notice.message, warning=notice.warning)
            except ReleaseError as problem:
                log.warning("an Event was not recorded: %s", problem, extra={"fields": self._fields})
        if before.message != decision.status.message and not decision.notices:
            log.debug(decision.status.message, extra={"fields": self._fields})
        self._gauge(decision.status)

    def _gauge(self, status: Status) -> None:
        for phase in Phase:
            PHASE.labels(*self._labels, phase).set(phase is status.phase)
        WEIGHT.labels(*self._labels).set(status.weight)
        EFFECTIVE.labels(*self._labels).set((status.canary and status.canary.effective_weight) or 0)
        for gate in status.gates:
            EVIDENCE.labels(*self._labels, gate.name, "rollback").set(gate.evidence_for_rollback)
            EVIDENCE.labels(*self._labels, gate.name, "promotion").set(gate.evidence_for_promotion)
            for verdict in Verdict:
                VERDICT.labels(*self._labels, gate.name, verdict).set(verdict is gate.verdict)

    def forget(self) -> None:
        """Take a deleted release out of the metrics."""
        mine = dict(zip(LABELS, self._labels, strict=True))
        for metric in (PHASE, WEIGHT, EFFECTIVE, EVIDENCE, VERDICT, DECISIONS):
            metric.remove_by_labels(mine)
