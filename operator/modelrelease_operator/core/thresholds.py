"""Gates that hold one number within limits: no counts, so no error bound, only looks in a row."""

import zlib
from datetime import datetime, timedelta

from modelrelease_operator.api.queries import Threshold
from modelrelease_operator.api.spec import Gate
from modelrelease_operator.api.status import GateStatus, Streak, Verdict
from modelrelease_operator.core.answers import Answer, NoAnswer, Number


def key_of(gate: str, asked: Threshold) -> str:
    """Return where a gate's looks in a row are kept: a gate that is edited starts anew."""
    return f"{gate}-{zlib.crc32(asked.model_dump_json().encode()):08x}"


def look_at(
    gate: Gate, asked: Threshold, answer: Answer, streak: Streak, *, now: datetime, interval: timedelta
) -> tuple[GateStatus, Streak]:
    """Return what a gate says after one more look, and its looks in a row.

    A look without a number ends the row: looks on both sides of a gap are not in a row.
    """
    if not isinstance(answer, Number):
        said = answer if isinstance(answer, NoAnswer) else None
        verdict = said.verdict if said else Verdict.UNAVAILABLE
        message = said.message if said else "its query was not asked for a number"
        found = GateStatus(
            name=gate.name, dry_run=gate.dry_run, verdict=verdict, bound=asked.words,
            message=f"gate {gate.name}: {message}",
        )  # fmt: skip
        return found, Streak()
    inside = asked.keeps(answer.value)
    streak = _longer(streak, inside=inside, most=asked.consecutive, now=now, interval=interval)
    row = abs(streak.looks)
    share = round(row / asked.consecutive, 3)
    verdict = Verdict.INSUFFICIENT
    if row >= asked.consecutive:
        verdict = Verdict.PASS if inside else Verdict.FAIL
    message = (
        f"gate {gate.name}: {answer.value:.4g} is {'' if inside else 'not '}{asked.words}, "
        f"{row} of {asked.consecutive} looks in a row"
    )
    found = GateStatus(
        name=gate.name, dry_run=gate.dry_run, verdict=verdict, value=answer.value, bound=asked.words,
        evidence_for_promotion=share if inside else 0.0, evidence_for_rollback=0.0 if inside else share,
        message=message,
    )  # fmt: skip
    return found, streak


def _longer(streak: Streak, *, inside: bool, most: int, now: datetime, interval: timedelta) -> Streak:
    """Count a look; one that comes sooner than the interval sees the same scrape and is not counted.

    A look before the last one is of a clock that was set back, and waits for nobody.
    """
    side = 1 if inside else -1
    if streak.looks * side <= 0:
        return Streak(looks=side, at=now)
    if streak.at is not None and timedelta(0) <= now - streak.at < interval:
        return streak
    return Streak(looks=side * min(abs(streak.looks) + 1, most), at=now)
