"""The dashboard that the chart ships, as a test reads it: every question it asks of Prometheus."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[2] / "charts/modelrelease/files/dashboard.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One expression, with where it stands and which labels its legend names."""

    where: str
    expr: str
    legend: frozenset[str] = frozenset()

    def about(self, namespace: str, release: str, *, window: str = "1m", rate: str = "30s") -> str:
        """Return the expression as Grafana would send it."""
        values = {
            "namespace": namespace,
            "release": release,
            "window": window,
            "__rate_interval": rate,
        }
        return re.sub(r"\$(\w+)", lambda found: values[found[1]], self.expr)


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def questions() -> list[Question]:
    """Return what panels, annotations and variables ask."""
    board = dashboard()
    found = [
        Question(
            where=f"panel {panel['title']} {target['refId']}",
            expr=target["expr"],
            legend=named(target["legendFormat"]),
        )
        for panel in panels()
        for target in panel["targets"]
    ]
    found += [
        Question(
            where=f"annotation {each['name']}", expr=each["expr"], legend=named(each["titleFormat"])
        )
        for each in board["annotations"]["list"]
    ]
    for each in board["templating"]["list"]:
        if each["type"] == "query":
            expr, _, label = (
                each["definition"].removeprefix("label_values(").removesuffix(")").rpartition(", ")
            )
            found.append(
                Question(where=f"variable {each['name']}", expr=expr, legend=frozenset({label}))
            )
    return found


def named(template: str) -> frozenset[str]:
    """Return the labels that a legend names."""
    return frozenset(re.findall(r"{{\s*(\w+)\s*}}", template))
