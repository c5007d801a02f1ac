"""The dashboards that the chart ships, as a test reads them: every question they ask of
Prometheus.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "charts/modelrelease/files/dashboards"
ANY = {"gate": ".+", "feature": ".+", "pod": ".+"}
"""What stands for variables of which all values are meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One expression, with where it stands and which labels its legend names."""

    board: str
    where: str
    expr: str
    legend: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return f"{self.board}: {self.where}"

    @property
    def variables(self) -> set[str]:
        """Variables that have to be filled in."""
        return set(re.findall(r"\$(\w+)", self.expr)) - {"1"}

    def about(self, values: Mapping[str, str], *, rate: str = "30s") -> str:
        """Return the expression as Grafana would send it, with the values of variables."""
        chosen = {**ANY, "window": "1m", "__rate_interval": rate, **values}
        return re.sub(r"\$([a-z_]+)", lambda found: chosen[found[1]], self.expr)


def boards() -> dict[str, dict[str, Any]]:
    """Return every dashboard by the name of its file."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def panels(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what shows something: no headings."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def questions() -> list[Question]:
    """Return what panels, annotations and variables of all dashboards ask."""
    return [question for name, board in boards().items() for question in _of(name, board)]


def _of(name: str, board: Mapping[str, Any]) -> list[Question]:
    found = [
        Question(
            board=name,
            where=f"panel {panel['title']} {target['refId']}",
            expr=target["expr"],
            legend=named(target["legendFormat"]),
        )
        for panel in panels(board)
        for target in panel["targets"]
    ]
    found += [
        Question(
            board=name,
            where=f"annotation {each['name']}",
            expr=each["expr"],
            legend=named(each["titleFormat"]),
        )
        for each in board["annotations"]["list"]
    ]
    for each in board["templating"]["list"]:
        if each["type"] == "query":
            asked = each["definition"].removeprefix("label_values(").removesuffix(")")
            expr, _, label = asked.rpartition(", ")
            found.append(
                Question(
                    board=name,
                    where=f"variable {each['name']}",
                    expr=expr,
                    legend=frozenset({label}),
                )
            )
    return found


def named(template: str) -> frozenset[str]:
    """Return the labels that a legend names."""
    return frozenset(re.findall(r"{{\s*(\w+)\s*}}", template))
