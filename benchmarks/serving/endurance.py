"""What minutes of steady load and of too much load did to a server:
memory, answers, verdicts. Pure.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import linear_regression, median
from typing import Any, Final

from benchmarks.serving.goals import Goal

FLAT_MB: Final = 2.0
"""Memory that may lie between the second and the last quarter of a steady run."""
OVERLOAD_MB: Final = 100.0
"""Memory that too much load may add: thousands of connections, and a queue with an end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Some seconds of load."""

    at_seconds: float
    resident_mb: float
    sent: int
    outcomes: Mapping[str, int]
    p50_ms: float
    p99_ms: float
    """Of answers with status 200, counted from when they were due."""

    @classmethod
    def of(
        cls,
        at: float,
        resident_mb: float,
        sent: int,
        outcomes: Mapping[str, int],
        latencies: Sequence[float],
    ) -> "Sample":
        """Summarise the latencies; both are 0 where nothing was answered with 200."""
        ordered = sorted(latencies) or [0.0]
        return cls(
            at_seconds=at,
            resident_mb=resident_mb,
            sent=sent,
            outcomes=dict(outcomes),
            p50_ms=ordered[len(ordered) // 2],
            p99_ms=ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One server under one rate."""

    name: str
    server: str
    sustainable: float
    """Answers a second at 32 connections, measured just before."""
    rate: float
    samples: Sequence[Sample]
    resident_before_mb: float
    alive: bool
    """Whether the same process still ran at the end."""
    right_after: bool
    """Whether it answered rightly when all was over."""

    @property
    def minutes(self) -> float:
        """How long it was."""
        return self.samples[-1].at_seconds / 60 if self.samples else 0.0

    @property
    def outcomes(self) -> Counter[str]:
        """All answers, by status or failure."""
        total: Counter[str] = Counter()
        for sample in self.samples:
            total.update(sample.outcomes)
        return total

    @property
    def slope_mb_per_hour(self) -> float:
        """Least squares through the memory, without the first quarter, in which caches fill."""
        samples = self._after_first_quarter()
        if len(samples) < 2:
            return 0.0
        line = linear_regression(
            [s.at_seconds / 3600 for s in samples], [s.resident_mb for s in samples]
        )
        return float(line.slope)

    @property
    def gained_mb(self) -> float:
        """Median memory of the last quarter less that of the second."""
        quarter = max(1, len(self.samples) // 4)
        second, last = self.samples[quarter : 2 * quarter] or self.samples, self.samples[-quarter:]
        return median(s.resident_mb for s in last) - median(s.resident_mb for s in second)

    @property
    def peak_mb(self) -> float:
        """Most memory that was seen."""
        return max(sample.resident_mb for sample in self.samples)

    def _after_first_quarter(self) -> Sequence[Sample]:
        return self.samples[len(self.samples) // 4 :]


def steady_goals(phase: Phase) -> list[Goal]:
    """What a steady rate must leave behind: the same memory, and answers only."""
    failures = {outcome: count for outcome, count in phase.outcomes.items() if outcome != "200"}
    slope = f"slope {phase.slope_mb_per_hour:+.1f} MB an hour over {phase.minutes:.0f} minutes"
    return [
        Goal(
            text=(
                f"memory is flat: less than {FLAT_MB:g} MB between the second and the last quarter"
            ),
            met=abs(phase.gained_mb) < FLAT_MB or phase.gained_mb < 0,
            measured=f"{phase.gained_mb:+.2f} MB; {slope}; at most {phase.peak_mb:.0f} MB",
        ),
        Goal(
            text="every request is answered with 200",
            met=not failures,
            measured=_outcome_counts(phase.outcomes),
        ),
    ]


def overload_goals(phase: Phase) -> list[Goal]:
    """What ten times too much must leave behind:
    503s, no restart, bounded memory, right answers.
    """
    outcomes = phase.outcomes
    answered = outcomes["200"] + outcomes["503"]
    sent = sum(outcomes.values()) - outcomes["not sent"]
    more = phase.peak_mb - phase.resident_before_mb
    late = f"from the second to the last quarter {phase.gained_mb:+.1f} MB"
    process = "the same process" if phase.alive else "it ended"
    afterwards = "right" if phase.right_after else "wrong or no"
    return [
        Goal(
            text="every request that was sent is answered, with 200 or 503, and some with each",
            met=outcomes["200"] > 0 and outcomes["503"] > 0 and answered == sent,
            measured=f"{_outcome_counts(outcomes)}; answered {100 * answered / max(1, sent):.2f} %",
        ),
        Goal(
            text="the process survives, and answers rightly afterwards",
            met=phase.alive and phase.right_after,
            measured=f"{process}; {afterwards} answers afterwards",
        ),
        Goal(
            text=f"memory is bounded: at most {OVERLOAD_MB:g} MB more than before",
            met=more <= OVERLOAD_MB,
            measured=f"{more:+.0f} MB at the peak; {late}",
        ),
    ]


def as_markdown(phase: Phase, goals: Sequence[Goal]) -> str:
    """Return a phase as a table of its minutes, and its verdicts."""
    lines = [
        f"**{phase.name}**: `{phase.server}`, {phase.rate:,.0f} requests a second for "
        f"{phase.minutes:.1f} minutes, {phase.rate / phase.sustainable:.2g} times the "
        f"{phase.sustainable:,.0f} that it sustained "
        "at 32 connections just before.",
        "",
        "| goal | | measured |",
        "|---|---|---|",
        *(f"| {goal.text} | {goal.verdict} | {goal.measured} |" for goal in goals),
        "",
        "| minute | MB | sent | 200 | 503 | else | p50 ms | p99 ms |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    return "\n".join(lines + [_row(samples) for samples in _by_minute(phase.samples)])


def as_json(phase: Phase, goals: Sequence[Goal]) -> dict[str, Any]:
    """Return everything that was seen."""
    return {
        "name": phase.name,
        "server": phase.server,
        "sustainable_per_second": phase.sustainable,
        "rate_per_second": phase.rate,
        "resident_before_mb": phase.resident_before_mb,
        "slope_mb_per_hour": phase.slope_mb_per_hour,
        "goals": [{"text": g.text, "met": g.met, "measured": g.measured} for g in goals],
        "samples": [
            {
                "at_seconds": s.at_seconds,
                "resident_mb": s.resident_mb,
                "sent": s.sent,
                "outcomes": dict(s.outcomes),
                "p50_ms": s.p50_ms,
                "p99_ms": s.p99_ms,
            }
            for s in phase.samples
        ],
    }


def _by_minute(samples: Sequence[Sample]) -> list[list[Sample]]:
    minutes: dict[int, list[Sample]] = {}
    for sample in samples:
        # A sample belongs to the minute that it ends in; one at 60.0 s ends the first.
        minutes.setdefault(int((sample.at_seconds - 1e-6) // 60), []).append(sample)
    return list(minutes.values())


def _row(samples: Sequence[Sample]) -> str:
    total: Counter[str] = Counter()
    for sample in samples:
        total.update(sample.outcomes)
    others = sum(total.values()) - total["200"] - total["503"]
    last = samples[-1]
    cells = (
        f"{last.at_seconds / 60:.1f}",
        f"{last.resident_mb:.1f}",
        f"{sum(sample.sent for sample in samples):,}",
        f"{total['200']:,}",
        f"{total['503']:,}",
        f"{others:,}",
        f"{median(sample.p50_ms for sample in samples):.1f}",
        f"{max(sample.p99_ms for sample in samples):.1f}",
    )
    return "| " + " | ".join(cells) + " |"


def _outcome_counts(outcomes: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{count:,} x {outcome}" for outcome, count in sorted(outcomes.items()))
        or "nothing"
    )
