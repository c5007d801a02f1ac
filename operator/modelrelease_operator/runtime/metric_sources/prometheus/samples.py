"""Samples of Prometheus' answers: their times, and the targets that they are of."""

import math
import zlib
from datetime import UTC, datetime
from typing import Any

from modelrelease_contract import metrics as words

SAMPLE_TIME = "sample_time"
"""Value of the label KIND on the rows that tell when a target was scraped."""
LAST_MOMENT = datetime.max.replace(tzinfo=UTC).timestamp()
"""The last unix time that is a date: milliseconds that are taken for seconds are beyond it."""
TargetLabels = frozenset[tuple[str, str]]
"""The labels that a target has given to all of its series."""


def moment_of(row: dict[str, Any]) -> float:
    """Return a row's value as a unix time; raises ValueError for what is none."""
    moment = float(row["value"][1])
    if not math.isfinite(moment):
        msg = f"{moment} is no time"
        raise ValueError(msg)
    return moment


def sampled_at(row: dict[str, Any]) -> float:
    """Return a row's value as the unix time of a sample; raises ValueError for what is no date."""
    moment = moment_of(row)
    if not 0 <= moment < LAST_MOMENT:
        msg = f"{moment} is the time of no sample"
        raise ValueError(msg)
    return moment


def short_name(target: TargetLabels) -> str:
    """Return what tells a target from others of its pod, in eight characters, if anything does."""
    labels = sorted(item for item in target if item[0] not in (words.NAMESPACE, words.POD))
    return f"{zlib.crc32(repr(labels).encode()):08x}" if labels else ""
