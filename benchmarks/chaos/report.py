"""A table in Markdown, and JSON that holds everything. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.chaos.figures import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole run, or what there is of it."""

    about: Mapping[str, str] = field(default_factory=dict)
    """Versions and settings."""
    rows: Sequence[Row] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    """By fault: why it could not be tried."""

    @property
    def missed(self) -> list[str]:
        """What was not as it must be, and what could not be tried."""
        wrong = [row.fault for row in self.rows if not row.as_expected]
        return wrong + [f"{fault}: not tried" for fault in self.failures]


def as_json(report: Report) -> dict[str, Any]:
    """Return everything that was seen."""
    return {
        "about": dict(report.about),
        "rows": [row.as_dict() for row in report.rows],
        "failures": dict(report.failures),
    }


def from_json(values: Mapping[str, Any]) -> Report:
    """Read what `as_json` wrote."""
    return Report(
        about=values["about"],
        rows=[Row.from_dict(each) for each in values["rows"]],
        failures=values["failures"],
    )


def as_markdown(report: Report) -> str:
    """Return the conditions, the table, and whatever needs a word."""
    lines = [f"- {name}: {value}" for name, value in report.about.items()]
    lines += [
        "",
        "| fault | what is done | releases ended | seconds | requests | failed | without the operator |",  # noqa: E501
        "|---|---|---|---:|---:|---:|---:|",
    ]
    lines += [_line(row) for row in report.rows]
    told = [_told(row) for row in report.rows if row.failed or row.notes]
    if told:
        lines += ["", "What failed, and what releases said at their end:", "", *told]
    if report.failures:
        lines += ["", "Not tried:", ""]
        lines += [f"- {fault}: {' '.join(why.split())}" for fault, why in report.failures.items()]
    return "\n".join(lines).strip()


def _line(row: Row) -> str:
    ended = ", ".join(f"{count} {how}" for how, count in sorted(row.ended.items()) if count)
    mark = "" if row.as_expected else " **(missed)**"
    beside = "" if row.beside is None else f"{row.beside:,}"
    return (
        f"| {row.fault} | {row.does} | {ended}{mark} | {row.seconds:.0f} | {row.requests:,} "
        f"| {row.lost:,} | {beside} |"
    )


def _told(row: Row) -> str:
    """Say how requests failed, and whose they were."""
    kinds: dict[str, int] = {}
    for words, count in row.failed.items():
        # Version and kind of error: what follows has addresses in it.
        kind = ": ".join(words.split(": ")[:2])
        kinds[kind] = kinds.get(kind, 0) + count
    parts = [f"{count:,} {kind}" for kind, count in sorted(kinds.items())]
    whose = f" (by {row.loses})" if parts and row.loses else ""
    failed = [f"failed{whose}: {'; '.join(parts)}"] if parts else []
    return f"- {row.fault}: " + ". ".join([*failed, *row.notes])
