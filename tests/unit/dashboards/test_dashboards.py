"""The dashboards in the chart are what the code makes, ask only for what is exported, choose by
variables that follow from one another, and lead to each other.
"""

import json
import re
from itertools import combinations
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.board import DRIFT, FLEET, OPERATOR, RELEASE
from dashboards.files import FILES, texts
from modelrelease_contract import metrics as words
from modelrelease_operator.api.status import Reason, Verdict
from modelrelease_operator.runtime import metrics as operators
from tests.contract.test_metrics_reference import documented, of_the_operator
from tests.support.dashboards import Question, boards, named, panels, questions

register_default_plugins()
BOARDS = boards()
BY_UID = {board["uid"]: board for board in BOARDS.values()}
EVERY = questions()
PANELS = [(name, panel) for name, board in BOARDS.items() for panel in panels(board)]
EXPORTED = documented()
"""Held against the code by tests/contract/test_metrics_reference.py."""
OF_PROMETHEUS = {"ALERTS": {"alertname", "alertstate", "severity", "release_namespace", "release"}}
"""What Prometheus makes of the chart's rules."""
OF_PYTHON = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
ADDED = {words.NAMESPACE, words.POD}
"""Labels that Prometheus adds."""
SELECTOR = re.compile(r"\b([a-zA-Z_]+)\{([^}]*)\}")
LABEL = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')
REPLACED = re.compile(r', "(\w+)", "\$1", "(\w+)", "\(\.\*\)"\)')
UNITS = {value for name, value in vars(units).items() if name[0].isupper()}

each_board = pytest.mark.parametrize("name", BOARDS)
each_question = pytest.mark.parametrize("question", EVERY, ids=[each.name for each in EVERY])
each_panel = pytest.mark.parametrize(
    "panel", [panel for _, panel in PANELS], ids=[f"{name}: {p['title']}" for name, p in PANELS]
)


def metric_of(name: str) -> str:
    """Return the metric that a series is of: a histogram has several."""
    found = re.sub(r"_(bucket|count)$", "", name)
    return found if found in EXPORTED else name


def labels_of(name: str) -> set[str]:
    if name in OF_PROMETHEUS:
        return OF_PROMETHEUS[name]
    if name in OF_PYTHON:
        return ADDED
    known = set(EXPORTED[metric_of(name)][1])
    return known | ADDED | ({"le"} if name.endswith("_bucket") else set())


def metrics_in(question: Question) -> set[str]:
    """Return what is asked for: with braces after it, or without."""
    bare = re.findall(r"\b(modelrelease_\w+)\b", question.expr)
    return {name for name, _ in SELECTOR.findall(question.expr)} | set(bare)


@pytest.mark.parametrize("file", texts())
def test_the_chart_has_what_the_code_makes(file: str):
    assert (FILES / file).read_text() == texts()[file], "run `make dashboards`"


def test_the_chart_has_no_dashboard_that_nobody_makes():
    made = {path for path in texts() if path.startswith("dashboards/")}
    assert {f"dashboards/{path.name}" for path in (FILES / "dashboards").iterdir()} == made


@each_board
def test_a_dashboard_has_no_field_that_grafanas_types_do_not_know(name: str):
    """What they do not know is lost when it is read by them."""
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(BOARDS[name])))
    for each in (*read["links"], *read["annotations"]["list"]):
        del each["placement"]
    assert read == BOARDS[name]


@each_question
def test_every_metric_that_is_asked_for_is_exported(question: Question):
    assert metrics_in(question)
    exported = {*EXPORTED, *OF_PROMETHEUS, *OF_PYTHON}
    assert {metric_of(name) for name in metrics_in(question)} <= exported


@each_question
def test_every_label_that_is_named_exists(question: Question):
    for name, selector in SELECTOR.findall(question.expr):
        assert set(LABEL.findall(selector)) <= labels_of(name), name
    known = set().union(*(labels_of(name) for name in metrics_in(question)))
    for made, source in REPLACED.findall(question.expr):
        assert source in known
        known.add(made)
    grouped = re.findall(r"\b(?:by|on|group_left)\s*\(([^)]*)\)", question.expr)
    used = {label.strip() for group in grouped for label in group.split(",") if label.strip()}
    assert used | question.legend <= known


@each_question
def test_every_question_is_about_what_was_chosen(question: Question):
    """A selector that was forgotten shows other releases, or the operator of another install."""
    if question.where == "variable namespace":
        return
    for name, selector in SELECTOR.findall(question.expr):
        if name in OF_PROMETHEUS:
            continue
        ours = name.startswith("modelrelease_") and question.board != "operator"
        space = "release_namespace" if ours else "namespace"
        if question.board == "fleet":
            assert f'{space}=~"$namespace"' in selector, name
            continue
        assert f'{space}="$namespace"' in selector, name
        what = "pod=~" if question.board == "operator" else "release="
        assert what in selector or question.where in ("variable release", "variable pod"), name


def test_every_reason_that_is_marked_exists_and_every_event_is_marked():
    marked = {
        reason
        for each in BY_UID[RELEASE]["annotations"]["list"]
        for reason in re.findall(r'reason=~"([^"]*)"', each["expr"])[0].split("|")
    }
    assert marked <= set(Reason)
    told = {
        Reason.CANARY_STARTED,
        Reason.STEP_STARTED,
        Reason.PROMOTED,
        Reason.REGRESSION,
        Reason.DRIFTED,
        Reason.RETRAIN_REQUESTED,
    }
    assert told <= marked


def test_every_verdict_has_a_colour():
    (timeline,) = [each for each in panels(BY_UID[RELEASE]) if each["title"] == "Verdicts"]
    shown = timeline["fieldConfig"]["defaults"]["mappings"][0]["options"]
    assert {each["text"] for each in shown.values()} == set(Verdict)
    assert len({each["color"] for each in shown.values()}) == len(shown)
    for value, each in shown.items():
        expr = timeline["targets"][0]["expr"]
        assert f"{value} * max by (gate) (modelrelease_gate_verdict" in expr
        assert f'verdict="{each["text"]}"' in expr


@each_board
def test_a_variable_follows_from_those_before_it(name: str):
    known = {"datasource", "__rate_interval"}
    first, *others = BOARDS[name]["templating"]["list"]
    assert (first["name"], first["type"]) == ("datasource", "datasource")
    for each in others:
        asked = each.get("definition", "")
        assert set(re.findall(r"\$(\w+)", asked)) <= known, each["name"]
        known.add(each["name"])
    used = set().union(*(each.variables for each in EVERY if each.board == name))
    repeated = {panel["repeat"] for panel in panels(BOARDS[name]) if "repeat" in panel}
    assert used | repeated <= known


@each_board
def test_no_variable_is_chosen_for_nothing(name: str):
    asked = set().union(*(each.variables for each in EVERY if each.board == name))
    chosen = {each["name"] for each in BOARDS[name]["templating"]["list"]}
    assert chosen - asked == {"datasource"}


def test_one_release_is_chosen_by_namespace_and_name():
    for uid in (RELEASE, DRIFT):
        names = [each["name"] for each in BY_UID[uid]["templating"]["list"]]
        assert names[:3] == ["datasource", "namespace", "release"]


def addresses(found: Any) -> list[str]:
    """Return every address in a dashboard, wherever it stands."""
    if isinstance(found, dict):
        here = [found["url"]] if isinstance(found.get("url"), str) else []
        return here + [url for value in found.values() for url in addresses(value)]
    return [url for each in found for url in addresses(each)] if isinstance(found, list) else []


@each_board
def test_every_link_leads_to_a_dashboard_with_the_variables_that_it_gives(name: str):
    found = addresses(BOARDS[name])
    assert found
    for url in found:
        # What Grafana fills in at that place: the range of time.
        parts = urlsplit(url.replace("&${__url_time_range}", ""))
        target = BY_UID[parts.path.removeprefix("/d/")]
        given = {key.removeprefix("var-") for key, _ in parse_qsl(parts.query)}
        assert given <= {each["name"] for each in target["templating"]["list"]}
        assert "${__url_time_range}" in url


def test_every_dashboard_is_reached_from_every_other():
    leads = {
        uid: {urlsplit(url).path.removeprefix("/d/") for url in addresses(board)}
        for uid, board in BY_UID.items()
    }
    for start in BY_UID:
        reached = {start}
        while further := {uid for each in reached for uid in leads[each]} - reached:
            reached |= further
        assert reached == {FLEET, RELEASE, DRIFT, OPERATOR}, start


@each_panel
def test_every_panel_says_what_it_shows_in_which_unit(panel: dict[str, Any]):
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"]["uid"] == "${datasource}"
    for target in panel["targets"]:
        alone = len(panel["targets"]) == 1 or panel["type"] == "table"
        assert target["legendFormat"] or alone, "two lines need names"


def unit_of(panel: dict[str, Any], field: str) -> str | None:
    """Return the unit that a field has beside the panel's."""
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"] == {"id": "byName", "options": field}:
            units_set = [each["value"] for each in override["properties"] if each["id"] == "unit"]
            return units_set[0] if units_set else None
    return None


def test_words_have_no_unit_of_numbers():
    """A bin called 1 would be 100 % otherwise."""
    charts = [panel for _, panel in PANELS if panel["type"] == "barchart"]
    assert charts
    assert {unit_of(panel, panel["options"]["xField"]) for panel in charts} == {"string"}
    tables = [panel for _, panel in PANELS if panel["type"] == "table"]
    assert tables
    assert {unit_of(panel, "release") for panel in tables} == {"string"}


@each_board
def test_panels_do_not_overlap_and_fill_their_rows(name: str):
    boxes = [panel["gridPos"] for panel in BOARDS[name]["panels"]]
    for one, other in combinations(boxes, 2):
        apart = (
            one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        )  # fmt: skip
        assert apart, (one, other)
    for y in {box["y"] for box in boxes}:
        row = [box for box in boxes if box["y"] == y]
        assert sum(box["w"] for box in row) == 24
        assert len({box["h"] for box in row}) == 1
    assert len({panel["id"] for panel in BOARDS[name]["panels"]}) == len(boxes)


def test_every_metric_of_the_operator_is_shown_somewhere():
    asked = {metric_of(name) for each in EVERY for name in metrics_in(each)}
    assert set(of_the_operator()) <= asked


def test_every_metric_of_a_release_is_shown_beside_the_release():
    asked = set().union(*(metrics_in(each) for each in EVERY if each.board in ("release", "drift")))
    of_a_release = {
        metric._name for metric in operators.OF_A_RELEASE if metric is not operators.DECISIONS
    }
    assert of_a_release <= asked


def test_what_decides_is_drawn_from_metrics_and_not_from_numbers_of_ours():
    asked = {name for each in EVERY if each.board == "release" for name in metrics_in(each)}
    assert {
        "modelrelease_gate_difference_points",
        "modelrelease_gate_bound_points",
        "modelrelease_gate_limit_percent",
    } <= asked


def test_legends_name_labels():
    assert named("{{track}} {{ model_version }}") == {"track", "model_version"}
