"""A dashboard around its panels: variables that follow from one another, links, and marks."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from dashboards.panels import BAD, CALM, GOOD, PROMETHEUS, WARN, Panel
from dashboards.promql import ONE
from modelrelease_operator.api.status import Reason

TAG: Final = "modelrelease"
FLEET, RELEASE, DRIFT, OPERATOR = (
    "modelrelease-fleet", "modelrelease", "modelrelease-drift", "modelrelease-operator",
)  # fmt: skip
"""What each is known by in addresses. The second is from when it was the only one."""
SOURCE: Final = "var-datasource=${datasource}&${__url_time_range}"
WINDOWS: Final = ("10m", "30m", "1h", "6h")

Variable = Builder[dashboard.VariableModel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One dashboard, to be written into a file of its own."""

    file: str
    uid: str
    title: str
    says: str
    variables: Sequence[Variable]
    parts: Sequence[tuple[str, Sequence[Panel]]]
    """Headings, and the panels below each."""
    marks: Sequence[Builder[dashboard.AnnotationQuery]] = ()
    links: Sequence[tuple[str, str]] = ()
    """Titles and addresses of other dashboards."""
    since: str = "now-1h"
    refresh: str = "10s"

    def build(self) -> dashboard.Dashboard:
        """Return it as Grafana's own type."""
        made = (
            builders.Dashboard(self.title)
            .uid(self.uid)
            .description(self.says)
            .tags([TAG])
            .version(1)
            .editable()
            .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
            .refresh(self.refresh)
            .time(self.since, "now")
            .timezone("browser")
            .variables([_source(), *self.variables])
            .annotations(list(self.marks))
            .links([_link(title, address) for title, address in self.links])
        )
        for heading, panels in self.parts:
            if heading:
                made.with_row(builders.Row(heading))
            for panel in panels:
                made.with_panel(panel)
        board = made.build()
        for number, each in enumerate(board.panels or (), 1):
            each.id_val = number
        return board

    def text(self) -> str:
        """Return it as Grafana reads it, indented, so that a change is seen in a diff."""
        told = json.loads(JSONEncoder().encode(self.build()))
        # The builders put both into a menu, where nobody looks for the way to another dashboard.
        for each in (*told["links"], *told["annotations"]["list"]):
            del each["placement"]
        return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def to(uid: str, **variables: str) -> str:
    """Return the address of another dashboard, at the same times and of the same Prometheus.

    A variable's value is a text, or an expression of Grafana's such as `${release}`.
    """
    chosen = "&".join(
        f"var-{name}={quote(value, safe='${}_.')}" for name, value in variables.items()
    )
    return f"/d/{uid}?{SOURCE}" + (f"&{chosen}" if chosen else "")


SAME_RELEASE: Final = {"namespace": "${namespace}", "release": "${release}"}


def row_link(title: str, uid: str, **variables: str) -> dict[str, str]:
    """Return a link in a table, to what its row is about."""
    return {"title": title, "url": to(uid, **variables)}


def asked(
    name: str, label: str, values_of: str, *, of: str, several: bool = False
) -> builders.QueryVariable:
    """Return a variable with the values of a label, asked anew when the time range changes."""
    question = f"label_values({of}, {values_of})"
    found = (
        builders.QueryVariable(name)
        .label(label)
        .datasource(PROMETHEUS)
        .query({"query": question, "refId": name})
        .definition(question)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(several)
        .include_all(several)
    )
    if several:
        found.current(dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]))
    return found


def of_a_release() -> list[Variable]:
    """Return the variables that choose a release."""
    within = 'modelrelease_phase{release_namespace="$namespace"}'
    return [
        asked("namespace", "Namespace", "release_namespace", of="modelrelease_phase"),
        asked("release", "Release", "release", of=within),
    ]


def window() -> Variable:
    """Return the variable that says over which time drift is looked at."""
    first = WINDOWS[0]
    options = [
        dashboard.VariableOption(selected=each == first, text=each, value=each) for each in WINDOWS
    ]
    return (
        builders.CustomVariable("window")
        .label("Drift window")
        .values(",".join(WINDOWS))
        .options(options)
        .current(options[0])
    )


MARKS: Final = (
    ("Steps", CALM, (Reason.CANARY_STARTED, Reason.STEP_STARTED, Reason.PROMOTING)),
    ("Promotions", GOOD, (Reason.FIRST_VERSION_SERVES, Reason.PROMOTED, Reason.PROMOTED_BY_HAND)),
    (
        "Rollbacks",
        BAD,
        (
            Reason.REGRESSION, Reason.CANARY_NOT_READY, Reason.ARTIFACT_REFUSED, Reason.ABORTED,
            Reason.SUPERSEDED, Reason.SPEC_REVERTED, Reason.ROLLED_BACK,
        ),
    ),
    (
        "Waiting for a person",
        "yellow",
        (Reason.INCONCLUSIVE, Reason.WAITING_FOR_APPROVAL, Reason.SUSPENDED),
    ),
    ("Drift", WARN, (Reason.DRIFTED, Reason.DRIFT_ENDED)),
    (
        "Retraining",
        "purple",
        (
            Reason.RETRAIN_REQUESTED, Reason.RETRAIN_SUCCEEDED, Reason.RETRAIN_FAILED,
            Reason.RETRAIN_CANCELLED,
        ),
    ),
)  # fmt: skip
"""What is marked over all panels: name, colour, reasons."""


def marks(*names: str) -> list[builders.AnnotationQuery]:
    """Return marks of what was decided about the release, by their names; all without any."""
    return [
        _mark(name, colour, reasons)
        for name, colour, reasons in MARKS
        if not names or name in names
    ]


def _mark(name: str, colour: str, reasons: Sequence[Reason]) -> builders.AnnotationQuery:
    told = ONE.of_operator(
        "modelrelease_decision_timestamp_seconds", f'reason=~"{"|".join(reasons)}"'
    )
    return (
        builders.AnnotationQuery()
        .name(name)
        .enable(True)
        .hide(False)
        .icon_color(colour)
        .datasource(PROMETHEUS)
        .expr(f"max by (reason) ({told}) * 1000")
        .step("15s")
        .title_format("{{reason}}")
        .tag_keys("reason")
        .use_value_for_time(True)
    )


def _source() -> Variable:
    return builders.DatasourceVariable("datasource").label("Data source").type("prometheus")


def _link(title: str, address: str) -> builders.DashboardLink:
    return (
        builders.DashboardLink(title)
        .type(dashboard.DashboardLinkType.LINK)
        .url(address)
        .icon("dashboard")
        .tooltip("")
        .keep_time(False)
        .target_blank(False)
    )
