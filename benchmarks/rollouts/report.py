"""Tables in Markdown, and JSON that holds everything. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from benchmarks.rollouts.figures import FAILING, HEALTHY, Course, Share, Streak, lost_in

TITLES: Final = {
    HEALTHY: "A healthy version",
    FAILING: "A version that fails on a tenth of its requests",
}
COLUMNS: Final = ("ours-replicas", "argo-rollouts", "ours-gateway", "flagger")
NONE: Final = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole run, or what there is of it."""

    about: Mapping[str, str] = field(default_factory=dict)
    """Machine, versions, settings, time."""
    courses: Sequence[Course] = ()
    shares: Sequence[Share] = ()
    streaks: Sequence[Streak] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    """By part: why it could not be measured."""

    @property
    def missed(self) -> list[str]:
        """What ours promises and was not so, and what could not be measured. Rivals promise us
        nothing.
        """
        ours = [course for course in self.courses if course.contender.startswith("ours")]
        wrong = [f"{each.contender}, {each.kind}" for each in ours if not each.as_expected]
        wrong += [f"share at {each.weight} %" for each in self.shares if not each.as_expected]
        wrong += [f"streak, {each.provider}" for each in self.streaks if each.lost]
        return wrong + [f"{part}: not measured" for part in self.failures]


def as_json(report: Report) -> dict[str, Any]:
    """Return everything that was measured."""
    return {
        "about": dict(report.about),
        "courses": [course.as_dict() for course in report.courses],
        "shares": [asdict(share) for share in report.shares],
        "streaks": [streak.as_dict() for streak in report.streaks],
        "failures": dict(report.failures),
    }


def from_json(values: Mapping[str, Any]) -> Report:
    """Read what `as_json` wrote."""
    return Report(
        about=values["about"],
        courses=[Course(**each) for each in values["courses"]],
        shares=[Share(**each) for each in values["shares"]],
        streaks=[Streak(**each) for each in values["streaks"]],
        failures=values["failures"],
    )


def as_markdown(report: Report) -> str:
    """Return the conditions, then a table for each question."""
    parts = [f"- {name}: {value}" for name, value in report.about.items()]
    for kind, title in TITLES.items():
        of_kind = sorted((each for each in report.courses if each.kind == kind), key=_column)
        if of_kind:
            parts += ["", f"**{title}**", "", *_courses(of_kind, kind)]
    if report.shares:
        parts += ["", "**Share against weight, ours by the Gateway**", "", *_shares(report.shares)]
    if report.streaks:
        parts += ["", "**Promotions and rollbacks in a row, ours**", "", *_streaks(report.streaks)]
    if report.failures:
        parts += ["", "Not measured:", ""]
        parts += [f"- {name}: {' '.join(why.split())}" for name, why in report.failures.items()]
    return "\n".join(parts).strip()


def _column(course: Course) -> int:
    """Keep one order in both tables: which contender ended first is no order."""
    return COLUMNS.index(course.contender) if course.contender in COLUMNS else len(COLUMNS)


def _courses(courses: Sequence[Course], kind: str) -> list[str]:
    rows: list[tuple[str, Callable[[Course], str]]] = [
        ("ended", lambda course: course.end),
        (_LEFT[kind], lambda course: _number(course.seconds, 0)),
        ("requests in that time", lambda course: f"{course.requests:,}"),
        ("failed requests", _failed),
        ("failed probes of the Gateway", lambda course: _number(course.gateway_probes_failed, 0)),
    ]
    if kind == FAILING:
        rows.append(("bad answers to users", lambda course: f"{course.bad_answers:,}"))
    rows += [
        ("pods started", lambda course: str(course.pods_started)),
        ("controller, CPU s", lambda course: _number(course.cpu_seconds, 2)),
        ("controller, millicores", lambda course: _number(course.millicores, 1)),
    ]
    head = ["| | " + " | ".join(course.contender for course in courses) + " |"]
    head.append("|---" + "|---:" * len(courses) + "|")
    return head + [
        f"| {name} | " + " | ".join(cell(course) for course in courses) + " |"
        for name, cell in rows
    ]


_LEFT: Final = {
    HEALTHY: "seconds from applied to 100 %",
    FAILING: "seconds until no user met it",
}


def _failed(course: Course) -> str:
    """Say how many failed, and how most of them did."""
    count = sum(course.failed.values())
    if not count:
        return "0"
    most = max(course.failed, key=lambda words: course.failed[words])
    return f"{count:,} ({most})"


def _shares(shares: Sequence[Share]) -> list[str]:
    rows = [
        "| weight | requests | canary | share | standard errors |",
        "|---:|---:|---:|---:|---:|",
    ]
    for share in shares:
        mark = "" if share.as_expected else " (missed)"
        rows.append(
            f"| {share.weight} % | {share.requests:,} | {share.canary:,} | {share.percent:.2f} % "
            f"| {share.standard_errors:+.2f}{mark} |"
        )
    return rows


def _streaks(streaks: Sequence[Streak]) -> list[str]:
    rows = [
        "| provider | promotions | rollbacks | requests | lost | failed probes of the Gateway |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for streak in streaks:
        lost = sum(streak.lost.values())
        rows.append(
            f"| {streak.provider} | {streak.promotions} | {streak.rollbacks} "
            f"| {streak.requests:,} | {lost:,} | {_number(streak.gateway_probes_failed, 0)} |"
        )
    requests = sum(streak.requests for streak in streaks)
    return [*rows, "", f"Together {lost_in(streaks):,} of {requests:,} requests were lost."]


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:,.{digits}f}"
