"""Gates with a `threshold`: one number within limits.
No counts, so no error bound, only looks in a row.
"""

import math
import zlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from typing_extensions import override

from modelrelease_operator.api.durations import format_duration
from modelrelease_operator.api.queries import ThresholdGate
from modelrelease_operator.api.spec import Gate
from modelrelease_operator.api.status import GateStatus, Streak, Verdict
from modelrelease_operator.core.analysis.assumptions import Assumption, Values
from modelrelease_operator.core.analysis.gates.kind import GateKind
from modelrelease_operator.core.measurement.queries import QueryScope, short
from modelrelease_operator.core.query_results import NotMeasured, QueryResult, ScalarResult


class ThresholdKind(GateKind[ThresholdGate]):
    """A number that a query gives."""

    has_tests = False
    own_queries = True
    form = "VALUE,VALUE,..., a number for each look, of which the last stays, such as 0.4,0.6"

    @override
    def query(self, settings: ThresholdGate, query_scope: QueryScope) -> str:
        return query_scope.render(settings.query, query_scope.canary)

    @override
    def queries(self, settings: ThresholdGate) -> tuple[str, ...]:
        return (settings.query,)

    @override
    def answer(self, settings: ThresholdGate, query_scope: QueryScope, result: Any) -> QueryResult:
        return _number(settings, result)

    @override
    def look_at(
        self,
        gate: Gate,
        settings: ThresholdGate,
        answer: QueryResult,
        streak: Streak,
        now: datetime,
        interval: timedelta,
    ) -> tuple[GateStatus, Streak]:
        return _look_at(gate, settings, answer, streak, now=now, interval=interval)

    @override
    def streak_key(self, name: str, settings: ThresholdGate) -> str:
        return key_of(name, settings)

    @override
    def broken(
        self, name: str, settings: ThresholdGate, streaks: Mapping[str, Streak]
    ) -> str | None:
        streak = streaks.get(key_of(name, settings))
        if streak is None or -streak.looks < settings.consecutive:
            return None
        return f"by gate {name} it is not {settings.words}, {settings.consecutive} looks in a row"

    @override
    def assumed(
        self, settings: ThresholdGate, *, stable_errors: float, canary_errors: float
    ) -> Values:
        return Values(values=(self.calm_value(settings),))

    @override
    def read_assumption(
        self, text: str, share: Callable[[str], float], number: Callable[[str], float]
    ) -> Assumption:
        return Values(values=tuple(number(part) for part in text.split(",")))

    @override
    def calm_value(self, settings: ThresholdGate) -> float:
        """Return the last value that it allows."""
        limit = settings.max if settings.max is not None else settings.min
        if limit is None:
            msg = "a threshold without limits cannot be parsed"
            raise AssertionError(msg)
        return limit

    @override
    def looks_in_row(self, settings: ThresholdGate) -> int:
        return settings.consecutive

    @override
    def plan_words(
        self, settings: ThresholdGate, look: timedelta, requests: Callable[[], str], errors: str
    ) -> str:
        row = settings.consecutive
        needs = (
            f"needs {row} looks in a row, {format_duration((row - 1) * look)} after a step's first"
        )
        return f"{needs}; what its query gives is not known here"


KIND = ThresholdKind()


def _number(settings: ThresholdGate, result: Any) -> QueryResult:
    query = f"`{short(settings.query)}`"
    scalar = len(result) == 2 and not isinstance(result[0], Mapping)
    if not scalar and not result:
        return NotMeasured(verdict=Verdict.INSUFFICIENT, message=f"{query} found nothing")
    if not scalar and len(result) > 1:
        message = (
            f"{query} gives {len(result)} series and must give one; put sum() or max() around it"
        )
        return NotMeasured(verdict=Verdict.UNAVAILABLE, message=message)
    value = float(result[1] if scalar else result[0]["value"][1])
    if not math.isfinite(value):
        message = f"{query} gives {value}, which is no number to compare (no requests yet?)"
        return NotMeasured(verdict=Verdict.INSUFFICIENT, message=message)
    return ScalarResult(value=value)


def key_of(gate: str, settings: ThresholdGate) -> str:
    """Return where a gate's looks in a row are kept: a gate that is edited starts anew."""
    return f"{gate}-{zlib.crc32(settings.model_dump_json().encode()):08x}"


def _look_at(
    gate: Gate,
    settings: ThresholdGate,
    answer: QueryResult,
    streak: Streak,
    *,
    now: datetime,
    interval: timedelta,
) -> tuple[GateStatus, Streak]:
    """Return what a gate says after one more look, and its looks in a row.

    A look without a number ends the row: looks on both sides of a gap are not in a row.
    """
    if not isinstance(answer, ScalarResult):
        trouble = answer if isinstance(answer, NotMeasured) else None
        verdict = trouble.verdict if trouble else Verdict.UNAVAILABLE
        message = trouble.message if trouble else "its query was not asked for a number"
        status = GateStatus(
            name=gate.name, dry_run=gate.dry_run, verdict=verdict, bound=settings.words,
            message=f"gate {gate.name}: {message}",
        )  # fmt: skip
        return status, Streak()
    inside = settings.keeps(answer.value)
    streak = _longer(streak, inside=inside, most=settings.consecutive, now=now, interval=interval)
    row = abs(streak.looks)
    share = round(row / settings.consecutive, 3)
    verdict = Verdict.INSUFFICIENT
    if row >= settings.consecutive:
        verdict = Verdict.PASS if inside else Verdict.FAIL
    message = (
        f"gate {gate.name}: {answer.value:.4g} is {'' if inside else 'not '}{settings.words}, "
        f"{row} of {settings.consecutive} looks in a row"
    )
    status = GateStatus(
        name=gate.name, dry_run=gate.dry_run, verdict=verdict, value=answer.value,
        bound=settings.words,
        evidence_for_promotion=share if inside else 0.0,
        evidence_for_rollback=0.0 if inside else share,
        message=message,
    )  # fmt: skip
    return status, streak


def _longer(
    streak: Streak, *, inside: bool, most: int, now: datetime, interval: timedelta
) -> Streak:
    """Count a look; one that comes sooner than the interval sees the same scrape and is not
    counted.

    A look before the last one is of a clock that was set back, and waits for nobody.
    """
    side = 1 if inside else -1
    if streak.looks * side <= 0:
        return Streak(looks=side, at=now)
    if streak.at is not None and timedelta(0) <= now - streak.at < interval:
        return streak
    return Streak(looks=side * min(abs(streak.looks) + 1, most), at=now)
