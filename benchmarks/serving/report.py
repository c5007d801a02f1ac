"""Tables in Markdown, and JSON that holds everything. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from benchmarks.serving.candidates import CANDIDATES, Role, Work
from benchmarks.serving.figures import MANY, ONE, Summary, Visit, summaries
from benchmarks.serving.goals import Goal, goals

_COLUMNS: Final = (
    "server",
    "req/s, 32 connections",
    "p50 ms",
    "p99 ms",
    "CPU us",
    "req/s, one",
    "p50 ms",
    "p99 ms",
    "MB (processes)",
    "start s",
    "import s",
    "errors",
    "off by",
    "probe ms",
    "others %",
)
_TITLES: Final = {
    Work.LOGISTIC: "StandardScaler and LogisticRegression, 16 features",
    Work.FOREST: "RandomForestClassifier, 100 trees, 16 features",
    Work.NOTHING: "Ceilings: a constant answer",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole run, or what there is of it."""

    visits: Sequence[Visit]
    about: Mapping[str, str] = field(default_factory=dict)
    """Machine, versions, settings, time."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """By candidate: why it could not be measured."""

    @property
    def by_candidate(self) -> dict[str, Summary]:
        """The visits by candidate."""
        return summaries(CANDIDATES, self.visits)

    @property
    def goals(self) -> list[Goal]:
        """The promises, and what was measured."""
        return goals(self.by_candidate)

    @property
    def missed(self) -> bool:
        """Whether a goal was missed or a candidate could not be measured."""
        return bool(self.failures) or any(goal.met is False for goal in self.goals)


def as_json(report: Report) -> dict[str, Any]:
    """Return everything that was measured."""
    return {
        "about": dict(report.about),
        "goals": [asdict(goal) for goal in report.goals],
        "failures": dict(report.failures),
        "visits": [visit.as_dict() for visit in report.visits],
    }


def from_json(values: Mapping[str, Any]) -> Report:
    """Read what `as_json` wrote."""
    visits = [Visit.from_dict(visit) for visit in values["visits"]]
    return Report(visits=visits, about=values["about"], failures=values["failures"])


def as_markdown(report: Report) -> str:
    """Return the tables: goals first, then each model's servers from fast to slow."""
    by_name = report.by_candidate
    parts = [f"- {name}: {value}" for name, value in report.about.items()]
    rounds = sorted({len(summary.visits) for summary in by_name.values()}) or [0]
    parts.append(
        "- rounds that were done: "
        f"{' to '.join(str(n) for n in dict.fromkeys((rounds[0], rounds[-1])))}"
    )
    parts += ["", "| goal | | measured |", "|---|---|---|"]
    parts += [f"| {goal.text} | {goal.verdict} | {goal.measured} |" for goal in report.goals]
    for work, title in _TITLES.items():
        of_work = [summary for summary in by_name.values() if summary.candidate.work is work]
        if of_work:
            parts += ["", f"**{title}**", "", *_table(of_work)]
    if report.failures:
        parts += ["", "Not measured:", ""]
        parts += [f"- {name}: {' '.join(why.split())}" for name, why in report.failures.items()]
    return "\n".join(parts)


def _table(of_work: Sequence[Summary]) -> list[str]:
    ordered = sorted(of_work, key=lambda summary: -summary.rate(MANY).middle)
    head = ["| " + " | ".join(_COLUMNS) + " |", "|---" + "|---:" * (len(_COLUMNS) - 1) + "|"]
    return head + ["| " + " | ".join(_cells(summary)) + " |" for summary in ordered]


def _cells(summary: Summary) -> list[str]:
    name, loaded, alone = summary.candidate.name, summary.rate(MANY), summary.rate(ONE)
    off = summary.worst_difference
    return [
        f"**{name}**" if summary.candidate.role is Role.OURS else name,
        f"{loaded.middle:,.0f} ({loaded.low:,.0f}-{loaded.high:,.0f})",
        f"{summary.p50_ms(MANY):.2f}",
        f"{summary.p99_ms(MANY):.1f}",
        f"{summary.cpu_us(MANY):,.0f}",
        f"{alone.middle:,.0f} ({alone.low:,.0f}-{alone.high:,.0f})",
        f"{summary.p50_ms(ONE):.2f}",
        f"{summary.p99_ms(ONE):.1f}",
        f"{summary.resident_mb:.0f} ({summary.processes})",
        f"{summary.start_seconds:.1f}",
        f"{summary.import_seconds:.1f}",
        str(summary.errors),
        "" if off is None else f"{off:.0e}",
        f"{summary.probe_ms(MANY):.1f}",
        f"{100 * summary.foreign_share:.0f}",
    ]
