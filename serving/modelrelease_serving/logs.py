"""Structured logs: one JSON object a line, so that a log store can ask about fields.

Sets up the standard library's logging and nothing else; what is logged is decided where it happens.
"""

import json
import logging
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from typing_extensions import override

_LOG = logging.getLogger("modelrelease_serving")


def fields(**values: Any) -> dict[str, Any]:
    """Return the `extra` of a log call that puts `values` beside the message."""
    return {"fields": values}


class JsonFormatter(logging.Formatter):
    """One object a line: time (UTC), level, logger, message, the call's fields, any traceback."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        entry: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry.update(getattr(record, "fields", {}))
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """For people: time, level, logger, message, then the fields as name=value."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line of text, and a traceback below it if there is one."""
        extra = "".join(f" {name}={value}" for name, value in getattr(record, "fields", {}).items())
        line = f"{_time(record)} {record.levelname:<7} {record.name}: {record.getMessage()}{extra}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure(*, level: str, form: Literal["json", "text"]) -> None:
    """Send every log and every Python warning to standard error, in one format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for noisy in ("asyncio", "uvicorn.error"):
        # uvicorn announces every step of its start at INFO; ours say what matters.
        logging.getLogger(noisy).setLevel(
            max(logging.WARNING, logging.getLevelNamesMapping()[level])
        )


def fail_with_message(sentence: str, *, termination_log: Path) -> None:
    """Say why this container ends: in the log, and where the operator reads it."""
    _LOG.error(sentence)
    # The kubelet makes this file; outside a container there is none, and the log has the sentence.
    if termination_log.exists():
        with suppress(OSError):
            termination_log.write_text(sentence + "\n", encoding="utf-8")


def _time(record: logging.LogRecord) -> str:
    return (
        datetime.fromtimestamp(record.created, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
